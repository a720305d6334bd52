"""Verbs that start a run, or go on with one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Unpack

from runner.api.common import Flags, StrPath, bounds_of, importable, modules_of, options_of, places, top
from runner.ask import Ask
from runner.batch import Found
from runner.errors import UsageError
from runner.session import Options, Summary, open_session, recorded
from runner.settings import Settings, load_settings
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.target import check_class, check_target
from runner.task import Task


def run(
    tasks: Found | Iterable[Task], *, state: StrPath = "state", root: StrPath = ".", **flags: Unpack[Flags]
) -> Summary:
    """Run tasks (or a graph, `{task: {tasks it waits for}}`), as `python -m runner run` does with those of a flow.

    The tasks' classes must lie in importable modules: workers import them by name. Raises RunnerError.
    """
    folder, path = places(root, state)
    found = tasks if isinstance(tasks, Mapping | Task) else list(tasks)
    settings = load_settings(folder)
    flat = [found] if isinstance(found, Task) else list(found)
    for task in flat:
        if isinstance(task, Task) and type(task).__module__ == "__main__":
            raise UsageError(
                f"{type(task).__name__} is defined in the script itself, where no worker can import it: "
                "move it to a module"
            )
    named = sorted({top(type(task).__module__) for task in flat if isinstance(task, Task)})
    modules = tuple(dict.fromkeys((*settings.modules, *named)))
    with importable(folder):
        check_classes(flags, modules)
    with open_session(
        folder, path, modules, options_of(settings, flags), bounds_of(flags), flags.get("pool")
    ) as session:
        return session.start(Ask(tasks=found))


def run_target(
    target: str | None, arguments: Mapping[str, str], *, root: Path, state: Path, **flags: Unpack[Flags]
) -> Summary:
    """Start a run of a target by name; None: the project's own. Raises RunnerError."""
    settings = load_settings(root)
    target, modules = chosen(settings, target, arguments, root, flags)
    with open_session(
        root, state, modules, options_of(settings, flags), bounds_of(flags), flags.get("pool")
    ) as session:
        return session.start(Ask(target=target, arguments=dict(arguments)))


def chosen(
    settings: Settings, target: str | None, arguments: Mapping[str, str], root: Path, flags: Flags
) -> tuple[str | None, tuple[str, ...]]:
    """The target and the modules whose tasks may run, checked before anything is touched. Raises UsageError."""
    if target is None:
        target = settings.target
        if target is None and arguments:
            raise UsageError(f"{next(iter(arguments))}=...: arguments need a target, and pyproject.toml names none")
    modules = modules_of(settings, target)
    with importable(root):
        if target is not None:
            check_target(target, arguments, modules)
        check_classes(flags, modules)
    return target, modules


def check_classes(flags: Flags, modules: Sequence[str]) -> None:
    """Whether `force_tasks` names task classes. Raises UsageError."""
    for name in flags.get("force_tasks", ()):
        check_class(name, modules)


def resume(*, state: StrPath = "state", root: StrPath = ".", **flags: Unpack[Flags]) -> Summary | None:
    """Go on with the newest run that has not ended, with its own options where none are given here.

    Without such a run: what is pending or in the inbox, as a new run; None if there is nothing of that. Raises
    RunnerError.
    """
    folder, path = places(root, state)
    if not path.exists():
        return None
    settings = load_settings(folder)
    with FolderStore(path, create=False, root=folder) as store:
        record = next(iter(Runs(store).unfinished()), None)
    before = recorded(record) if record is not None else Options()
    kept = before.address if before.address and flags.get("executor") != "local" else None
    merged: Flags = {
        "workers": flags.get("workers") or before.workers or None,
        "threads": flags.get("threads") or before.threads,
        "limits": {**before.limits, **(flags.get("limits") or {})},
        "rates": {**before.rates, **(flags.get("rates") or {})},
        "durability": flags.get("durability") or before.durability,
        "force": before.force,
        "force_tasks": before.force_tasks,
        "adopt": before.adopt,
        "verify": before.verify,
        "executor": flags.get("executor") or ("local" if before.executor == "pool" else before.executor),
        "address": address if (address := flags.get("address")) is not None else kept,
        "pool": flags.get("pool"),
        "verbosity": flags.get("verbosity", -2),
    }
    modules = before.modules or modules_of(settings, record.target if record is not None else None)
    with open_session(
        folder, path, modules, options_of(settings, merged), bounds_of(flags), flags.get("pool")
    ) as session:
        return session.resume()
