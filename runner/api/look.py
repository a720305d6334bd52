"""Verbs that look, for programs."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from runner.api.common import Flags, StrPath, importable
from runner.api.work import chosen
from runner.ask import Ask
from runner.plan import How, Plan
from runner.plan import plan as foretell
from runner.settings import load_settings
from runner.store.folders import FolderStore
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


def plan(target: str | None, arguments: Mapping[str, str], *, root: Path, state: Path, **flags: Unpack[Flags]) -> Plan:
    """What `run_target` would do with the same arguments. Runs no task, writes nothing. Raises RunnerError."""
    target, modules = chosen(load_settings(root), target, arguments, root, flags)
    how = How(
        verify=flags.get("verify", False),
        force=flags.get("force", False),
        force_tasks=tuple(flags.get("force_tasks", ())),
        adopt=flags.get("adopt", False),
    )
    with importable(root), contextlib.ExitStack() as stack:
        if not state.exists():  # nothing has run yet
            state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(FolderStore(state, create=False, root=root))
        return foretell(store, Ask(target=target, arguments=dict(arguments)), modules, root, how)
