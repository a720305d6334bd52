"""Verbs that look, for programs."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from runner.api.common import Flags, StrPath, importable, options_of, places
from runner.api.work import chosen
from runner.ask import Ask
from runner.catalog import Catalog
from runner.plan import Plan
from runner.plan import plan as foretell
from runner.session import Options, recorded
from runner.settings import load_settings, overrides
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.views.changes import KINDS
from runner.views.changes import changes as look
from runner.views.explain import Explained, Explainer
from runner.views.reading import open_state
from runner.workers.judge import Judge

if TYPE_CHECKING:
    from pandas import DataFrame


def changes(run: str | None = None, *, jobs: bool = False, state: StrPath = "state", root: StrPath = ".") -> DataFrame:
    """What a run (its id, or the beginning of it; None: the newest) brought: class names by kinds, in numbers of jobs.

    `jobs`: instead a row for each job that is not as it was: change, task, id, and the first output (None: it has
    none). `attrs["run"]` is the run's id. Raises UsageError, StateError.
    """
    import pandas

    folder, path = places(root, state)
    with open_state(path, folder) as store:
        found = look(store, run)
    if jobs:
        rows = [(job.change, job.task, job.id, job.output) for job in found.jobs]
        frame = pandas.DataFrame(rows, columns=["change", "task", "id", "output"])
    else:
        frame = pandas.DataFrame.from_dict(found.tasks, orient="index", columns=list(KINDS))
        frame.index.name = "task"
    frame.attrs["run"] = found.run
    return frame


def explain(text: str, *, root: StrPath = ".", state: StrPath = "state") -> Explained:
    """Why the job whose id is `text`, or begins with it, runs, waits, was skipped or is blocked. Raises RunnerError."""
    folder, path = places(root, state)
    settings = load_settings(folder)
    with importable(folder), open_state(path, folder) as store:
        left = next(iter(Runs(store).unfinished()), None)
        options = recorded(left) if left is not None else Options()
        modules = tuple(dict.fromkeys((*settings.modules, *options.modules)))
        catalog = Catalog(modules, folder)
        judge = Judge(
            catalog,
            options.how,
            run=left.id if left is not None else "",
            started=codec.parse_stamp(left.start) if left is not None else time.time(),
        )
        limits: dict[str, int | str] = {**settings.limits, **options.limits}
        rates: dict[str, float | str] = {**settings.rates, **options.rates}
        return Explainer(store, catalog, judge, overrides(limits, rates)).explain(text)


def plan(target: str | None, arguments: Mapping[str, str], *, root: Path, state: Path, **flags: Unpack[Flags]) -> Plan:
    """What `run_target` would do with the same arguments. Runs no task, writes nothing. Raises RunnerError."""
    settings = load_settings(root)
    target, modules = chosen(settings, target, arguments, root, flags)
    options = options_of(settings, flags)
    with importable(root), contextlib.ExitStack() as stack:
        if not state.exists():  # nothing has run yet
            state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = stack.enter_context(FolderStore(state, create=False, root=root))
        left = (module for run in Runs(store).unfinished() for module in recorded(run).modules)
        modules = tuple(dict.fromkeys((*modules, *left)))
        ask = Ask(target=target, arguments=dict(arguments))
        return foretell(store, ask, modules, root, options.how, adopt=options.adopt)
