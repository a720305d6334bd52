"""What a run brought, night against night: new, changed, unchanged, absent, gone, failed and blocked jobs.

By run records and job files alone. The record of a run that has ended has the numbers; which jobs they were, the
attempts in the job files say (the last 20 of each are kept). Must not change anything, nor wait.
"""

from __future__ import annotations

from collections import Counter

import msgspec
from msgspec import Struct

from runner.core.model import Status
from runner.core.policy import CHARGED
from runner.errors import BadJobFile, UsageError
from runner.store.codec import SCHEMA
from runner.store.folders import FolderStore
from runner.store.runs import RunFile, Runs
from runner.views.reading import load_job

KINDS = ("new", "changed", "unchanged", "absent", "gone", "failed", "blocked")


class ChangedJob(Struct, frozen=True, kw_only=True):
    """A job that is not as it was. `output`: the first file that it makes, if it makes any."""

    change: str
    task: str  # class name
    id: str
    output: str | None = None


class Changes(Struct, frozen=True, kw_only=True):
    """A run's changes. `ended` None: numbers so far; who is up to date or gone is known at its end."""

    schema: int = SCHEMA
    run: str
    target: str | None
    ended: str | None
    tasks: dict[str, dict[str, int]]  # class name -> kind -> jobs, all kinds
    jobs: list[ChangedJob]  # but for those that are unchanged


class _Attempt(Struct):
    run: str | None = None
    outcome: str = ""
    change: str | None = None


class _Result(Struct):
    run: str | None = None
    change: str | None = None
    outputs: dict[str, msgspec.Raw] = {}


class _Job(Struct):
    """As much of a job file as tells how it went."""

    attempts: list[_Attempt] = []
    result: _Result | None = None


_decode = msgspec.json.Decoder(_Job).decode


def changes(store: FolderStore, text: str | None = None) -> Changes:
    """The changes of a run; `text`: its id, or the beginning of it; None: the newest. Raises UsageError, StateError."""
    run = _find(Runs(store), text)
    found: list[ChangedJob] = []
    ran: Counter[tuple[str, str]] = Counter()
    gone = frozenset(run.gone)
    for id, status in sorted(store.scan().items()):
        job = _read(store, id, status)
        kind = "gone" if id in gone else _kind(job, run.id)
        if kind is None:
            continue
        name = id.rpartition("-")[0]
        ran[name, kind] += 1
        if kind != "unchanged":
            output = next(iter(job.result.outputs), None) if job.result is not None else None
            found.append(ChangedJob(change=kind, task=name, id=id, output=output))
    found.sort(key=lambda job: (KINDS.index(job.change), job.id))
    counts = run.changes if run.ended is not None else {}
    tasks = {
        name: {kind: max(counts.get(name, {}).get(kind, 0), ran[name, kind]) for kind in KINDS}
        for name in sorted({*counts, *(name for name, _ in ran)})
    }
    return Changes(run=run.id, target=run.target, ended=run.ended, tasks=tasks, jobs=found)


def _find(runs: Runs, text: str | None) -> RunFile:
    ids = runs.ids()
    if not ids:
        raise UsageError("there was no run yet")
    matching = ids[-1:] if text is None else [id for id in ids if id.startswith(text)]
    if len(matching) != 1:
        known = f"the newest are {', '.join(ids[-3:])}"
        raise UsageError(f"{'several runs begin' if matching else 'no run begins'} with {text!r}: {known}")
    return runs.read(matching[0])


def _read(store: FolderStore, id: str, status: Status) -> _Job:
    try:
        found = load_job(store, id, status)
        return _decode(found[0] if found is not None else b"{}")
    except (OSError, BadJobFile, ValueError, RecursionError):  # `check` tells of it
        return _Job()


def _kind(job: _Job, run: str) -> str | None:
    """What became of a job in a run: by the last attempt that it made there."""
    last = next((attempt for attempt in reversed(job.attempts) if attempt.run == run), None)
    if last is None:
        return None
    if last.outcome != "done":
        return "failed" if last.outcome in CHARGED else None
    if last.change is None and job.result is not None and job.result.run == run:
        return job.result.change
    return last.change if last.change in KINDS else None
