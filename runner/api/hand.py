"""Verbs that hand something in: wishes to the runner, durable when they return."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.api.common import StrPath, importable, options_of, places
from runner.batch import load_class, load_target, propose
from runner.core.model import UNFINISHED, Proposal, Status
from runner.errors import RunnerError, UsageError
from runner.session import open_session
from runner.settings import load_settings
from runner.store import codec, inbox
from runner.store.folders import FolderStore
from runner.store.shelf import INBOX
from runner.task import decode
from runner.views.downstream import downstream_of
from runner.views.reading import names, open_state, resolve
from runner.views.status import live_runner

_CANCELLABLE = UNFINISHED | {Status.FAILED}
_IDS_A_FILE = 100_000


def submit_target(target: str, arguments: Mapping[str, str], *, root: Path, state: Path) -> list[str]:
    """Hand in the jobs of a target; their ids. They are on disk when this returns. Raises RunnerError."""
    settings = load_settings(root)
    with importable(root):
        try:
            batch = propose(load_target(target, arguments, settings.modules), root=root, submitted=True)
        except TypeError as error:
            raise UsageError(str(error)) from error
    return _hand_in(batch, root, state)


def submit_lines(data: bytes, *, root: Path, state: Path) -> list[str]:
    """Hand in jobs given as JSON lines with `task` and `params`: all, or none when one is not valid. Their ids."""
    settings = load_settings(root)
    tasks = []
    with importable(root):
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
    ids: Sequence[str], *, failed: bool = False, wait: bool = False, state: StrPath = "state", root: StrPath = "."
) -> list[tuple[str, str]]:
    """Have jobs tried again; each id with what is done about it. The wish is on disk when this returns.

    `wait`: it has been carried out, too, by the live runner or, if there is none, by this process: the jobs are in
    pending/. Raises UsageError, with nothing done, for an id that names no job, or several.
    """
    folder, path = places(root, state)
    with open_state(path, folder) as store:
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
        handed = {f"{id}.json" for id in chosen} | _command(store, "retry", delayed)
        if wait:
            _see_it_done(store, handed, folder)
    return said


def cancel(
    ids: Sequence[str], *, wait: bool = False, state: StrPath = "state", root: StrPath = "."
) -> list[tuple[str, str]]:
    """Have jobs never run, until they are retried or handed in by name; what runs is not stopped, only not tried again.

    Otherwise as `retry`.
    """
    folder, path = places(root, state)
    with open_state(path, folder) as store:
        chosen = dict(resolve(store, text) for text in ids)
        wished = {id: None for id, status in chosen.items() if status in _CANCELLABLE}
        handed = _command(store, "cancel", list(wished))
        if wait:
            _see_it_done(store, handed, folder)
    will = "is cancelled, or is not tried again if it runs" if wait else "will be cancelled"
    return [
        (id, will if id in wished else f"is {status or 'in inbox'}: nothing to cancel") for id, status in chosen.items()
    ]


def invalidate(
    ids: Sequence[str],
    *,
    downstream: bool = False,
    wait: bool = False,
    state: StrPath = "state",
    root: StrPath = ".",
) -> list[tuple[str, str]]:
    """Do not rely any more on what jobs made: they are due when a run reaches them next, and start from nothing.

    `downstream`: nor on what the jobs made that come after them or were found by them, and so on. Otherwise as `retry`.
    """
    folder, path = places(root, state)
    with open_state(path, folder) as store:
        chosen = dict(resolve(store, text) for text in ids)
        if downstream:
            chosen = downstream_of(store, chosen)
        wished = {id: None for id, status in chosen.items() if status not in (None, Status.QUARANTINE)}
        said = [
            (id, "will be made anew" if id in wished else f"is {status or 'in inbox'}: nothing to invalidate")
            for id, status in chosen.items()
        ]
        handed = _command(store, "invalidate", list(wished))
        if wait:
            _see_it_done(store, handed, folder)
    return said


def _command(store: FolderStore, verb: str, ids: Sequence[str]) -> set[str]:
    """Hand in a command about these jobs; the names of its files."""
    parts = [ids[start : start + _IDS_A_FILE] for start in range(0, len(ids), _IDS_A_FILE)]
    return {inbox.command(store, verb, ids=list(part)) for part in parts}


def _see_it_done(store: FolderStore, handed: set[str], root: Path) -> None:
    """Until what was handed in has been carried out: by the live runner, or else here and now."""
    if live_runner(store) is None:
        settings = load_settings(root)
        with open_session(root, Path(store.path), settings.modules, options_of(settings, {})) as session:
            session.take_in()
    while live_runner(store) is not None and not handed.isdisjoint(names(store, INBOX)):
        time.sleep(0.05)


def stop(*, state: StrPath = "state") -> str:
    """Ask the live runner to finish what runs, and leave; what was done about it, in words."""
    if not Path(state).exists():
        return f"no runner is alive on {state}"
    with FolderStore(state) as store:
        holder = store.holder()
        if holder is None or not holder.alive:
            return f"no runner is alive on {state}"
        inbox.command(store, "stop", pid=holder.pid, start=holder.start)
    return f"run {holder.run} (pid {holder.pid}) was asked to stop"


def _hand_in(batch: Sequence[Proposal], root: Path, state: Path) -> list[str]:
    with FolderStore(state, root=root) as store:
        inbox.hand_in(store, [codec.new_file(proposal, proposal.after) for proposal in batch])
    return [proposal.id for proposal in batch]
