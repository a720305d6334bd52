"""Verbs that look, for programs: tables as pandas has them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.api.common import StrPath
from runner.views.changes import KINDS
from runner.views.changes import changes as look
from runner.views.reading import open_state

if TYPE_CHECKING:
    from pandas import DataFrame


def changes(run: str | None = None, *, jobs: bool = False, state: StrPath = "state", root: StrPath = ".") -> DataFrame:
    """What a run (its id, or the beginning of it; None: the newest) brought: class names by kinds, in numbers of jobs.

    `jobs`: instead a row for each job that is not as it was: change, task, id, and the first output (None: it has
    none). `attrs["run"]` is the run's id. Raises UsageError, StateError.
    """
    import pandas

    with open_state(Path(state), Path(root)) as store:
        found = look(store, run)
    if jobs:
        rows = [(job.change, job.task, job.id, job.output) for job in found.jobs]
        frame = pandas.DataFrame(rows, columns=["change", "task", "id", "output"])
    else:
        frame = pandas.DataFrame.from_dict(found.tasks, orient="index", columns=list(KINDS))
        frame.index.name = "task"
    frame.attrs["run"] = found.run
    return frame
