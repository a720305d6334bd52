"""Figures as tables: what a state folder tells of attempts, by task class, host, run or night. Imports pandas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from runner.api.common import StrPath, places
from runner.core.policy import CHARGED
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.views.changes import KINDS
from runner.views.gist import gists
from runner.views.reading import open_state, records

if TYPE_CHECKING:
    from pandas import DataFrame

By: TypeAlias = Literal["task", "host", "run", "night"]
BY: tuple[By, ...] = get_args(By)

_ATTEMPT = ["task", "id", "host", "run", "worker", "started", "seconds", "outcome", "change"]


def attempts(*, state: StrPath = "state", root: StrPath = ".") -> DataFrame:
    """A row for each attempt that job files tell of (the last 20 of each job): task (class name), id, host (of the
    first parameter that is an address), run, worker (process id), started (UTC), seconds, outcome, change.

    Raises StateError.
    """
    folder, path = places(root, state)
    with open_state(path, folder) as store:
        return _attempts(store)


def _attempts(store: FolderStore) -> DataFrame:
    import pandas

    rows = [
        (
            job.name,
            job.id,
            job.host,
            each.run,
            _small(each.worker),
            each.started,
            each.seconds,
            each.outcome,
            each.change,
        )
        for job in gists(store)
        for each in job.attempts
    ]
    frame = pandas.DataFrame(rows, columns=_ATTEMPT)
    frame["started"] = pandas.to_datetime(frame["started"], utc=True, format="ISO8601", errors="coerce")
    frame["seconds"] = frame["seconds"].astype("float64")
    frame["worker"] = frame["worker"].astype("Int64")
    return frame


def stats(by: By = "task", *, state: StrPath = "state", root: StrPath = ".") -> DataFrame:
    """One row for each task class, host or run: jobs, attempts, done, failed (attempts that were), and how long an
    attempt took in seconds (total, mean, median, 95 % quantile, longest). By "night": one row for each run, with how
    many jobs were new, changed, unchanged, absent, gone, failed and blocked; `attrs["problems"]` has what is wrong with
    records that could not be read. Raises StateError.
    """
    folder, path = places(root, state)
    with open_state(path, folder) as store:
        return _nights(store) if by == "night" else _grouped(_attempts(store), by)


def _small(worker: int | None) -> int | None:
    """A file may say anything; a column holds 64 bits."""
    return worker if worker is not None and abs(worker) < 1 << 63 else None


def _grouped(frame: DataFrame, by: str) -> DataFrame:
    groups = frame.groupby(by, dropna=True)
    seconds = groups["seconds"]
    return groups.agg(
        jobs=("id", "nunique"),
        attempts=("id", "size"),
        done=("outcome", lambda outcomes: int((outcomes == "done").sum())),
        failed=("outcome", lambda outcomes: int(outcomes.isin(CHARGED).sum())),
    ).assign(
        total_s=seconds.sum(),
        mean_s=seconds.mean(),
        median_s=seconds.median(),
        p95_s=seconds.quantile(0.95),
        max_s=seconds.max(),
    )


def _nights(store: FolderStore) -> DataFrame:
    import pandas

    runs = Runs(store)
    found, problems = records(runs, runs.ids())
    rows = []
    for run in found:
        counts = [sum(kinds.get(kind, 0) for kinds in run.changes.values()) for kind in KINDS]
        rows.append((run.id, run.target, run.start, run.ended, run.exit, *counts))
    frame = pandas.DataFrame(rows, columns=["run", "target", "start", "ended", "exit", *KINDS])
    for column in ("start", "ended"):
        frame[column] = pandas.to_datetime(frame[column], utc=True, format="ISO8601")
    frame.insert(4, "seconds", (frame["ended"] - frame["start"]).dt.total_seconds())
    frame["exit"] = frame["exit"].astype("Int64")
    frame = frame.set_index("run")
    frame.attrs["problems"] = problems
    return frame
