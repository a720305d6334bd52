"""One function per verb: all that a program needs, and all that the command line calls.

`root` is the project's folder (default: the working directory): tasks run there, relative paths mean there. `state` is
the state folder (default: `state` in it). Errors are RunnerErrors, with `exit_code` as the command line has it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from runner.batch import Found, load_class, load_target, propose
from runner.core.model import Proposal, Status
from runner.errors import RunnerError, StateError, UsageError
from runner.prune import Pruned, prune_state
from runner.session import Ask, Options, Summary, open_session, recorded
from runner.settings import Settings, load_settings, overrides
from runner.store import codec, inbox
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.store.shelf import INBOX
from runner.target import check_target
from runner.task import Task, decode
from runner.views.reading import names, open_state, resolve

Durability = Literal["process", "power"]


def run(
    tasks: Found | Iterable[Task],
    *,
    state: str | os.PathLike[str] = "state",
    root: str | os.PathLike[str] = ".",
    workers: int | None = None,
    threads: int | None = None,
    limits: Mapping[str, int | str] | None = None,
    rates: Mapping[str, float | str] | None = None,
    durability: Durability = "power",
    verbosity: int = -1,
) -> Summary:
    """Run tasks (or a graph, `{task: {tasks it waits for}}`), as `python -m runner run` does with those of a flow.

    The tasks' classes must lie in importable modules: workers import them by name. Raises RunnerError.
    """
    folder = Path(root).absolute()
    found = tasks if isinstance(tasks, Mapping | Task) else list(tasks)
    settings = load_settings(folder)
    flat = [found] if isinstance(found, Task) else list(found)
    for task in flat:
        if isinstance(task, Task) and type(task).__module__ == "__main__":
            raise UsageError(
                f"{type(task).__name__} is defined in the script itself, where no worker can import it: "
                "move it to a module"
            )
    modules = (*settings.modules, *sorted({_top(type(task).__module__) for task in flat if isinstance(task, Task)}))
    options = _options(settings, workers, threads, limits, rates, durability, verbosity)
    with open_session(folder, folder / state, tuple(dict.fromkeys(modules)), options) as session:
        return session.start(Ask(tasks=found))


def run_target(
    target: str | None,
    arguments: Mapping[str, str],
    *,
    root: Path,
    state: Path,
    workers: int | None = None,
    threads: int | None = None,
    limits: Mapping[str, str] | None = None,
    rates: Mapping[str, str] | None = None,
    durability: Durability | None = None,
    verbosity: int = 0,
) -> Summary:
    """Start a run of a target by name; None: the project's own. Raises RunnerError."""
    settings = load_settings(root)
    if target is None:
        target = settings.target
        if target is None and arguments:
            raise UsageError(f"{next(iter(arguments))}=...: arguments need a target, and pyproject.toml names none")
    modules = _modules(settings, target)
    with _importable(root):
        if target is not None:
            check_target(target, arguments, modules)  # before anything is touched: a broken module moves nothing
    options = _options(settings, workers, threads, limits, rates, durability or "power", verbosity)
    with open_session(root, state, modules, options) as session:
        return session.start(Ask(target=target, arguments=dict(arguments)))


def resume(
    *,
    state: str | os.PathLike[str] = "state",
    root: str | os.PathLike[str] = ".",
    workers: int | None = None,
    threads: int | None = None,
    limits: Mapping[str, int | str] | None = None,
    rates: Mapping[str, float | str] | None = None,
    durability: Durability | None = None,
    verbosity: int = -1,
) -> Summary | None:
    """Go on with the newest run that has not ended, with its own options where none are given here.

    Without such a run: what is pending or in the inbox, as a new run; None if there is nothing of that. Raises
    RunnerError.
    """
    folder = Path(root).absolute()
    path = folder / state
    if not path.exists():
        return None
    settings = load_settings(folder)
    with FolderStore(path, create=False, root=folder) as store:
        record = next(iter(Runs(store).unfinished()), None)
    before = recorded(record) if record is not None else Options()
    options = _options(
        settings,
        workers or before.workers or None,
        threads or before.threads,
        {**before.limits, **(limits or {})},
        {**before.rates, **(rates or {})},
        durability or before.durability,
        verbosity,
    )
    modules = before.modules or _modules(settings, record.target if record is not None else None)
    with open_session(folder, path, modules, options) as session:
        return session.resume()


def submit_target(target: str, arguments: Mapping[str, str], *, root: Path, state: Path) -> list[str]:
    """Hand in the jobs of a target; their ids. They are on disk when this returns. Raises RunnerError."""
    settings = load_settings(root)
    with _importable(root):
        try:
            batch = propose(load_target(target, arguments, settings.modules), root=root, submitted=True)
        except TypeError as error:
            raise UsageError(str(error)) from error
    return _hand_in(batch, root, state)


def submit_lines(data: bytes, *, root: Path, state: Path) -> list[str]:
    """Hand in jobs given as JSON lines with `task` and `params`: all, or none when one is not valid. Their ids."""
    settings = load_settings(root)
    tasks = []
    with _importable(root):
        for number, line in enumerate(data.splitlines(), 1):
            if not line.strip():
                continue
            try:
                job = codec.decode_handed_in(line)
                tasks.append(decode(load_class(job.task, settings.modules), job.params, root))
            except (RunnerError, TypeError) as error:
                raise UsageError(f"line {number}: {error}; none was handed in") from error
        try:
            batch = propose(tasks, root=root, submitted=True)
        except TypeError as error:
            raise UsageError(str(error)) from error
    return _hand_in(batch, root, state)


def retry(
    ids: Sequence[str],
    *,
    failed: bool = False,
    wait: bool = False,
    state: str | os.PathLike[str] = "state",
    root: str | os.PathLike[str] = ".",
) -> list[tuple[str, str]]:
    """Have jobs tried again; each id with what is done about it. The wish is on disk when this returns.

    `wait`: it has been carried out, too, by the live runner or, if there is none, by this process: the jobs are in
    pending/. Raises UsageError, with nothing done, for an id that names no job, or several.
    """
    with open_state(Path(state), Path(root)) as store:
        chosen = dict(resolve(store, text) for text in ids)
        if failed:
            chosen |= {id: status for id, status in sorted(store.scan().items()) if status is Status.FAILED}
        said: list[tuple[str, str]] = []
        delayed: list[str] = []
        for id, status in chosen.items():
            was = inbox.retry(store, id)
            if was is not None:
                said.append((id, f"was {was}, will be tried again"))
            elif status is Status.PENDING:
                delayed.append(id)
                said.append((id, "is pending, will not wait for its retry time"))
            else:
                said.append((id, f"is {status or 'in inbox'}: nothing to retry"))
        if wait and not _live(store):
            folder = Path(root).absolute()
            settings = load_settings(folder)
            with open_session(folder, folder / state, settings.modules, _options(settings)) as session:
                session.take_in()
        handed = {f"{id}.json" for id in chosen}
        if delayed:
            handed.add(inbox.command(store, "retry", ids=delayed))
        while wait and _live(store) and not handed.isdisjoint(names(store, INBOX)):
            time.sleep(0.05)
    return said


def _live(store: FolderStore) -> bool:
    holder = store.holder()
    return holder is not None and holder.alive


def stop(*, state: str | os.PathLike[str] = "state") -> str:
    """Ask the live runner to finish what runs, and leave; what was done about it, in words."""
    if not Path(state).exists():
        return f"no runner is alive on {state}"
    with FolderStore(state) as store:
        holder = store.holder()
        if holder is None or not holder.alive:
            return f"no runner is alive on {state}"
        inbox.command(store, "stop", pid=holder.pid, start=holder.start)
    return f"run {holder.run} (pid {holder.pid}) was asked to stop"


def prune(
    *,
    older: float,
    dry_run: bool = False,
    state: str | os.PathLike[str] = "state",
    root: str | os.PathLike[str] = ".",
) -> Pruned:
    """Delete what is older than `older` seconds and nobody needs: gone jobs, run records, journals, logs, trash.

    `dry_run`: say what would be deleted, and take no lock. Outputs stay. Raises Busy, NewerSchema, StateError.
    """
    folder = Path(root).absolute()
    before = max(0.0, time.time() - older)
    try:
        return prune_state(folder / state, folder, before=before, dry_run=dry_run)
    except OSError as error:
        raise StateError(f"{state}: {error}; nothing that is needed was deleted: `prune` again") from error


# --------------------------------------------------------------------------------------------------------------- inside


def _options(
    settings: Settings,
    workers: int | None = None,
    threads: int | None = None,
    limits: Mapping[str, int | str] | None = None,
    rates: Mapping[str, float | str] | None = None,
    durability: Durability = "power",
    verbosity: int = -1,
) -> Options:
    options = Options(
        workers=workers or settings.workers or 0,
        threads=threads or settings.threads or 1,
        limits={key: str(value) for key, value in {**settings.limits, **(limits or {})}.items()},
        rates={key: str(value) for key, value in {**settings.rates, **(rates or {})}.items()},
        durability=durability,
        verbosity=verbosity,
    )
    overrides(options.limits, options.rates)  # said now, and not after the lock is taken
    return options


def _modules(settings: Settings, target: str | None) -> tuple[str, ...]:
    """The modules whose tasks may run: those of the settings, and the one that a person named as the target."""
    named = [_top(target.partition(":")[0])] if target else []
    return tuple(dict.fromkeys((*settings.modules, *named)))


def _top(module: str) -> str:
    return module.partition(".")[0]


def _hand_in(batch: Sequence[Proposal], root: Path, state: Path) -> list[str]:
    with FolderStore(state, root=root) as store:
        inbox.hand_in(store, [codec.new_file(proposal, proposal.after) for proposal in batch])
    return [proposal.id for proposal in batch]


@contextlib.contextmanager
def _importable(root: Path) -> Iterator[None]:
    """In the project's folder, with it on the import path, as tasks and flows are when they run."""
    before = os.getcwd()
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        yield
    finally:
        os.chdir(before)
