"""All that there is to tell of one run: when workers did what, how fast it went, what failed and why, what it brought.

By job files and run records alone, so it is the same for a run that lives, rests, or was killed. Of each job the last
20 attempts are on disk. Must not change anything, nor wait.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from statistics import quantiles

from msgspec import Struct

from runner.core.policy import CHARGED
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import SCHEMA
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.views.changes import Changes, changes
from runner.views.gist import Gist, GistAttempt, gists
from runner.views.graph import Graph, graph

SLOWEST = 20
"""How many of the slowest attempts are named."""

BUCKETS = 120
"""How many parts the time of a run is divided into, to show how fast it went."""

PIXELS = 1000
"""Attempts that lie closer together than this part of the run's time are one bar."""

MOST_WORKERS = 64
"""How many workers are told apart; where many died, there were more."""

MOST_LANES = 64
"""How many things at once are shown of one worker; of more, bars lie on top of each other."""

LONGEST = 1e9
"""Seconds. What a job file says beyond that is no time."""

_BLUR = 1e-4  # seconds: stamps and times are rounded
_GROUPS, _EXAMPLES = 50, 10
_NUMBERS = re.compile(r"[0-9a-f]{8,}|\d+|'[^']*'|\"[^\"]*\"")


class Bar(Struct, frozen=True):
    """Something that a worker was at, `start` and `end` in seconds since the run's beginning. `count`: attempts."""

    start: float
    end: float
    task: str
    outcome: str
    count: int
    id: str  # of the first


class Lane(Struct, frozen=True):
    """One worker's bars. `worker`: its process id, or "" where the job files do not say."""

    worker: str
    bars: list[Bar]


class Bucket(Struct, frozen=True):
    """A part of the run's time: how many attempts ended in it."""

    start: float
    done: int
    failed: int


class Durations(Struct, frozen=True):
    """How long attempts at a task class's jobs took, in seconds."""

    task: str
    attempts: int
    total: float
    low: float
    quarter: float
    median: float
    three_quarters: float
    p95: float
    high: float


class Slow(Struct, frozen=True):
    """One of the longest attempts."""

    id: str
    task: str
    seconds: float
    outcome: str


class FailureGroup(Struct, frozen=True):
    """Attempts that failed alike: the same task class, the same error, the same message but for numbers and names."""

    task: str
    type: str
    message: str  # of the first
    traceback: str
    attempts: int
    final: int  # of these jobs so many are failed now
    ids: list[str]  # some of them


class Retried(Struct, frozen=True):
    """Jobs of one task class that needed more than one attempt in this run."""

    task: str
    jobs: int
    attempts: int
    succeeded: int
    reasons: dict[str, int]  # outcome of the attempts that were not the last -> how many


class RunReport(Struct, frozen=True, kw_only=True):
    """`seconds`: from the run's beginning to its end, or to the last that is known of it; `span`: to what came last,
    also where a clock was put back meanwhile."""

    schema: int = SCHEMA
    run: str
    target: str | None
    start: str
    ended: str | None
    exit: int | None
    seconds: float
    span: float
    statuses: dict[str, int]  # of all jobs in the state
    outcomes: dict[str, int]  # of the run's attempts
    lanes: list[Lane]
    buckets: list[Bucket]
    durations: list[Durations]
    slowest: list[Slow]
    failures: list[FailureGroup]
    retries: list[Retried]
    graph: Graph
    changes: Changes


class _Try(Struct, frozen=True):
    """An attempt. `start`, `end`: since the run's beginning. `seconds` None: nobody noted how long it took."""

    job: Gist
    attempt: GistAttempt
    start: float
    end: float
    seconds: float | None


def report(store: FolderStore, text: str | None = None) -> RunReport:
    """Of the run whose id is `text`, or begins with it; None: the newest. Raises UsageError, StateError."""
    changed = changes(store, text)
    run = Runs(store).read(changed.run)
    jobs = list(gists(store))
    began = codec.parse_stamp(run.start)
    tries = sorted(_tries(jobs, run.id, began), key=lambda each: each.start)
    timed = [each for each in tries if each.seconds is not None]
    last = max((each.end for each in tries), default=0.0)
    seconds = codec.parse_stamp(run.ended) - began if run.ended is not None else last
    span = max(seconds, last, 0.001)
    return RunReport(
        run=run.id,
        target=run.target,
        start=run.start,
        ended=run.ended,
        exit=run.exit,
        seconds=max(seconds, 0.0),
        span=span,
        statuses=dict(Counter(job.status for job in jobs)),
        outcomes=dict(Counter(each.attempt.outcome for each in tries)),
        lanes=_lanes(timed, span),
        buckets=_buckets(tries, span),
        durations=_durations(timed),
        slowest=[
            Slow(each.job.id, each.job.name, each.seconds or 0.0, each.attempt.outcome)
            for each in sorted(timed, key=lambda each: -(each.seconds or 0.0))[:SLOWEST]
        ],
        failures=_failures(tries),
        retries=_retries(tries),
        graph=graph(jobs),
        changes=changed,
    )


def _tries(jobs: Iterable[Gist], run: str, began: float) -> Iterator[_Try]:
    for job in jobs:
        end = 0.0
        for attempt in job.attempts:
            if attempt.run == run:
                start = _since(attempt.started, began)
                seconds = attempt.seconds
                if start is None or seconds is None or not 0.0 <= seconds <= LONGEST:
                    seconds = None
                start = end if start is None else max(0.0, start)
                end = start + (seconds or 0.0)
                yield _Try(job, attempt, start, end, seconds)


def _since(stamp: str | None, began: float) -> float | None:
    """Seconds since then; None: nobody knows. A file may say anything."""
    with suppress(BadJobFile, OverflowError):
        return None if stamp is None else min(LONGEST, codec.parse_stamp(stamp) - began)
    return None


def _lanes(tries: Sequence[_Try], span: float) -> list[Lane]:
    """A worker has as many lanes as it did tasks at once. Where there were too many, or job files do not say who it
    was, whoever was free."""
    named = len({each.attempt.worker for each in tries}) <= MOST_WORKERS
    bars: dict[tuple[str, int], list[Bar]] = {}
    free: dict[str, list[float]] = {}  # when each lane of a worker was through
    for each in tries:
        worker = str(each.attempt.worker or "") if named else ""
        ends = free.setdefault(worker, [])
        number = next((n for n, end in enumerate(ends) if end <= each.start + _BLUR), len(ends))
        if number >= MOST_LANES:
            number = ends.index(min(ends))
        ends[number:] = [each.end, *ends[number + 1 :]]
        _draw(bars.setdefault((worker, number), []), each, span)
    return [Lane(worker, bars[worker, number]) for worker, number in sorted(bars, key=lambda key: bars[key][0].start)]


def _draw(lane: list[Bar], each: _Try, span: float) -> None:
    """Add it, or lengthen the last bar, if it is of the same kind and as good as in the same place."""
    task, outcome = each.job.name, each.attempt.outcome
    before = lane[-1] if lane else None
    if (
        before is not None
        and each.end - before.start < span / PIXELS
        and (before.task, before.outcome) == (task, outcome)
    ):
        lane[-1] = Bar(before.start, each.end, task, outcome, before.count + 1, before.id)
    else:
        lane.append(Bar(each.start, each.end, task, outcome, 1, each.job.id))


def _buckets(tries: Iterable[_Try], span: float) -> list[Bucket]:
    width = span / BUCKETS
    counts: list[Counter[str]] = [Counter() for _ in range(BUCKETS)]
    for each in tries:
        kind = "failed" if each.attempt.outcome in CHARGED else each.attempt.outcome
        counts[min(BUCKETS - 1, int(each.end / width))][kind] += 1
    return [Bucket(n * width, count["done"], count["failed"]) for n, count in enumerate(counts)]


def _durations(tries: Iterable[_Try]) -> list[Durations]:
    seconds: dict[str, list[float]] = {}
    for each in tries:
        seconds.setdefault(each.job.name, []).append(each.seconds or 0.0)
    found = []
    for task, values in seconds.items():
        cuts = quantiles(values, n=20, method="inclusive") if len(values) > 1 else values * 19
        found.append(
            Durations(task, len(values), sum(values), min(values), cuts[4], cuts[9], cuts[14], cuts[18], max(values))
        )
    return sorted(found, key=lambda each: -each.total)


def _failures(tries: Iterable[_Try]) -> list[FailureGroup]:
    groups: dict[tuple[str, str, str], list[_Try]] = {}
    for each in tries:
        error = each.attempt.error
        if error is not None and each.attempt.outcome in CHARGED:
            groups.setdefault((each.job.name, error.type, _NUMBERS.sub("#", error.message)), []).append(each)
    found = []
    for (task, kind, _), these in groups.items():
        first = these[0].attempt.error
        assert first is not None
        ids = dict.fromkeys(each.job.id for each in these)
        failed = {each.job.id for each in these if each.job.status == "failed"}
        found.append(
            FailureGroup(task, kind, first.message, first.traceback, len(these), len(failed), list(ids)[:_EXAMPLES])
        )
    return sorted(found, key=lambda group: (-group.final, -group.attempts))[:_GROUPS]


def _retries(tries: Iterable[_Try]) -> list[Retried]:
    of: dict[str, dict[str, list[_Try]]] = {}
    for each in tries:
        of.setdefault(each.job.name, {}).setdefault(each.job.id, []).append(each)
    found = []
    for task, jobs in of.items():
        again = [these for these in jobs.values() if len(these) > 1]
        if again:
            reasons = Counter(each.attempt.outcome for these in again for each in these[:-1])
            succeeded = sum(these[-1].attempt.outcome == "done" for these in again)
            found.append(Retried(task, len(again), sum(map(len, again)), succeeded, dict(reasons)))
    return found
