"""The job graph as boxes and lines: what comes after what, and who has found whom. Must not change anything, nor wait.

A large one is drawn by task classes: a box for each, with how many of its jobs stand where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from msgspec import Struct

from runner.core.model import Status
from runner.store.codec import SCHEMA
from runner.views.gist import Gist

MOST = 60
"""How many jobs are drawn one by one; of more, one box for each task class."""


class Box(Struct, frozen=True, kw_only=True):
    """A job, or with `job` None all jobs of a task class. `statuses`: how many of them stand in which."""

    key: str
    task: str  # the class's own name
    job: str | None
    statuses: dict[str, int]

    @property
    def jobs(self) -> int:
        return sum(self.statuses.values())

    @property
    def status(self) -> str:
        """The one that matters most."""
        return next((status for status in _MATTERS if self.statuses.get(status)), Status.DONE.value)


class Line(Struct, frozen=True, kw_only=True):
    """`after`: the target waits for the source; else the source has found it. `count`: how many pairs of jobs."""

    source: str
    target: str
    after: bool
    count: int


class Graph(Struct, frozen=True, kw_only=True):
    """`focus`: the job whose ancestors and descendants these are; None: all jobs. `jobs`: how many they are."""

    schema: int = SCHEMA
    focus: str | None
    jobs: int
    boxes: list[Box]
    lines: list[Line]


_MATTERS = ("failed", "quarantine", "blocked", "running", "pending", "done", "cancelled")


def graph(jobs: Iterable[Gist], focus: str | None = None, most: int = MOST) -> Graph:
    """`focus`: only this job, what it depends on, and what depends on it. Of more than `most` boxes: by task class."""
    known = {job.id: job for job in jobs}
    pairs = _pairs(known)
    if focus is not None:
        wanted = _reachable(focus, pairs, 0) | _reachable(focus, pairs, 1) | {focus}
        known = {id: job for id, job in known.items() if id in wanted}
        pairs = {pair: after for pair, after in pairs.items() if pair[0] in wanted and pair[1] in wanted}
    single = known if len(known) <= most else {focus}
    key_of = {id: id if id in single else job.name for id, job in known.items()}
    statuses: dict[str, Counter[str]] = {}
    for id, job in known.items():
        statuses.setdefault(key_of[id], Counter())[job.status] += 1
    lines: Counter[tuple[str, str, bool]] = Counter()
    for (source, target), after in pairs.items():
        lines[key_of[source], key_of[target], after] += 1
    return Graph(
        focus=focus,
        jobs=len(known),
        boxes=[
            Box(
                key=key,
                task=known[key].name if key in known else key,
                job=key if key in known else None,
                statuses=dict(counts),
            )
            for key, counts in statuses.items()
        ],
        lines=[Line(source=a, target=b, after=after, count=count) for (a, b, after), count in sorted(lines.items())],
    )


def _pairs(known: Mapping[str, Gist]) -> dict[tuple[str, str], bool]:
    """Who comes before whom, and whether the second waits for the first (else it was found by it)."""
    pairs: dict[tuple[str, str], bool] = {}
    for id, job in known.items():
        if job.found_by is not None and job.found_by in known:
            pairs.setdefault((job.found_by, id), False)
        for found in job.result.found if job.result is not None else ():
            if found in known:
                pairs.setdefault((id, found), False)
    for id, job in known.items():
        pairs.update(((upstream, id), True) for upstream in job.after if upstream in known)
    return pairs


def _reachable(start: str, pairs: Iterable[tuple[str, str]], direction: int) -> set[str]:
    near: dict[str, list[str]] = {}
    for pair in pairs:
        near.setdefault(pair[direction], []).append(pair[1 - direction])
    found: dict[str, None] = {}
    queue = [start]
    for id in queue:  # it grows
        for other in near.get(id, ()):
            if other not in found:
                found[other] = None
                queue.append(other)
    return set(found)
