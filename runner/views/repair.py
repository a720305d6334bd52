"""`check --repair`: what can be put right without knowing more than the disk tells. The one view that changes things.

Only under the runner lock, so no runner works meanwhile. It deletes nothing: what is no valid job, and what is there
twice, goes to quarantine/ with the reason; a job that is done without having been finished, or failed without having
been tried, goes back to pending/. It can be cut short anywhere, and done again. Must not guess: a job that is nowhere
is named, and left to be made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from msgspec.structs import replace

from runner.core.commands import Change, Move
from runner.core.model import Status, Step, transition
from runner.errors import BadJobFile
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.store.shelf import same_job
from runner.views.check import Report, check
from runner.views.examine import Finding
from runner.views.reading import open_state, places


def check_and_repair(
    state: Path, root: Path, *, verify: bool = False, modules: Collection[str] | None = None
) -> Report:
    """Check, and mend what can be; each fault that was says how. Raises Busy, NewerSchema, StateError."""
    open_state(state, root).close()  # to repair a state is not to make one
    with FolderStore(state, root=root) as store, store.lock({"verb": "check --repair"}):
        report = check(store, verify=verify, modules=modules)
        faults = [_mend(store, fault) for fault in report.faults]
        store.sync()
    return replace(report, faults=faults)


def _mend(store: FolderStore, fault: Finding) -> Finding:
    mender = _MENDERS.get(fault.code)
    if mender is None:
        return fault
    try:
        return replace(fault, mended=mender(store, fault))
    except FileNotFoundError:
        return fault  # taken away by hand meanwhile


def _put_aside(store: FolderStore, fault: Finding) -> str:
    folder, _, name = fault.where.partition("/")
    return f"moved to quarantine/{store.quarantine(folder, name, fault.what)}"


def _settle_double(store: FolderStore, fault: Finding) -> str:
    """The most advanced copy stays, if all are copies of one job; what cannot be read, or differs, goes."""
    assert fault.id is not None
    found = places(store, fault.id)
    jobs: list[tuple[Status, JobFile | None]] = []
    for status in found:
        try:
            jobs.append((status, store.read(fault.id, status)))
        except BadJobFile:
            jobs.append((status, None))
    readable = [(status, job) for status, job in jobs if job is not None]
    best, model = readable[-1] if readable else (None, None)
    agree = model is not None and all(same_job(model, job) for _, job in readable)
    moved = []
    for status, job in jobs:
        if agree and status is best:
            continue
        if job is None:
            why = f"{fault.what}; this copy is no valid job"
        elif agree:
            why = f"{fault.what}: {best}/ has a later copy"
        else:
            why = f"{fault.what}, with different parameters: put the right one into inbox/"
        name = store.quarantine(status, f"{fault.id}.json", why)
        moved.append(f"{status}/ to quarantine/{name}")
    return "moved from " + ", ".join(moved)


def _put_back(store: FolderStore, fault: Finding) -> str:
    """It is not what its folder says: it waits to run again."""
    assert fault.id is not None
    status = Status(fault.where.partition("/")[0])
    step = Step.EXPIRE if status is Status.DONE else Step.RETRY
    target = transition(fault.id, status, step)
    store.carry_out([Move(fault.id, status, target, step, change=Change(reset_retries=True), why=fault.what)])
    return f"moved to {target}/: it will run again"


_MENDERS: dict[str, Callable[[FolderStore, Finding], str]] = {
    "invalid": _put_aside,
    "name": _put_aside,
    "run record": _put_aside,
    "double": _settle_double,
    "identity": _put_aside,
    "task": _put_aside,
    "no record": _put_back,
    "not finished": _put_back,
    "untold": _put_back,
}
