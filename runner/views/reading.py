"""What all views need to read a state folder: to open it, to find a job by part of its id, to read what is moving.

Must not change anything, nor wait.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runner.core.model import FLOW_ORDER, Status
from runner.errors import BadJobFile, StateError, UsageError
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.store.runs import RunFile, Runs
from runner.store.shelf import INBOX

_CANDIDATES = 10
_TRIES = 8  # a job would have to move each time between the look for it and the read of it
_REASON = ".reason.txt"
_MAX_REASON = 1 << 16


def open_state(state: Path, root: Path) -> FolderStore:
    """The state folder, to look at. Raises StateError, with what to do next."""
    if not os.path.lexists(state):
        raise StateError(
            f"{state}: there is no state folder yet: `python -m runner run` makes it (--state: another one)"
            f"{_above(root)}"
        )
    try:
        return FolderStore(state, create=False, root=root)
    except OSError as error:
        raise StateError(f"{state} cannot be read: {error.strerror}: see whose it is, and its permissions") from error


def _above(root: Path) -> str:
    """The project that this folder lies in, if there is one: a hint for who is too deep."""
    for parent in root.absolute().parents:
        if all((parent / "state" / name).is_dir() for name in ("pending", "done", "inbox")):
            return f"; or did you mean the one of {parent} (-C {parent})?"
    return ""


def load_job(store: FolderStore, id: str, status: Status) -> tuple[bytes, Status] | None:
    """The job's file, unchecked, and where it is by now; None: nowhere any more. Raises BadJobFile, OSError."""
    for _ in range(_TRIES):
        try:
            return store.shelf.load(id, status), status
        except FileNotFoundError:
            found = store.find(id)
            if found is None:
                return None
            status = found
    return None


def read_job(store: FolderStore, id: str, status: Status) -> tuple[JobFile, Status] | None:
    """The job, and where it is by now; None: nowhere any more. Raises BadJobFile, NewerSchema, OSError."""
    found = load_job(store, id, status)
    if found is None:
        return None
    data, status = found
    return store.shelf.parse(data, id, status), status


@contextmanager
def opened(store: FolderStore, folder: str, name: str) -> Iterator[int | None]:
    """A descriptor of a file in one of the state's folders; None if there is none that can be read."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    if "/" in name or "\0" in name:  # it is to be in that folder, whoever made up the name
        yield None
        return
    try:
        descriptor = os.open(name, flags, dir_fd=store.shelf.fds[folder])
    except (OSError, KeyError):
        yield None
        return
    try:
        yield descriptor if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
    finally:
        os.close(descriptor)


def names(store: FolderStore, folder: str) -> list[str]:
    """The names in one of the state's folders that `ls` would show; none if there is no such folder."""
    fds = store.shelf.fds
    return [n for n in store.shelf.files.names(fds[folder]) if not n.startswith(".")] if folder in fds else []


def records(runs: Runs, ids: Iterable[str]) -> tuple[list[RunFile], list[str]]:
    """The records of these runs, and what is wrong with those that cannot be read: one damaged must not hide all."""
    found, problems = [], []
    for id in ids:
        try:
            found.append(runs.read(id))
        except FileNotFoundError:
            pass  # it was pruned just now
        except (StateError, OSError) as error:
            problems.append(str(error))
    return found, problems


def quarantined(store: FolderStore) -> list[str]:
    """The files in quarantine/, without their reasons."""
    return sorted(name for name in names(store, Status.QUARANTINE) if not name.endswith(_REASON))


def reason(store: FolderStore, name: str) -> str:
    """Why a file was put into quarantine/; "" if nobody said."""
    fds = store.shelf.fds
    try:
        data = store.shelf.files.read(fds[Status.QUARANTINE], name + _REASON, _MAX_REASON)
    except (OSError, KeyError, BadJobFile):
        return ""
    return data.decode("utf-8", "replace").strip()


def in_inbox(store: FolderStore, id: str) -> bool:
    """Whether the job was moved back into inbox/, under its own name."""
    fds = store.shelf.fds
    return INBOX in fds and codec.is_id(id) and store.shelf.files.exists(fds[INBOX], f"{id}.json")


def resolve(store: FolderStore, text: str) -> tuple[str, Status | None]:
    """The one job whose id is `text` or begins with it, and its status; None: it lies in inbox/.

    Raises UsageError when there is none, or more than one (they are listed).
    """
    status = store.find(text)
    if status is not None:
        return text, status
    if in_inbox(store, text):
        return text, None
    known: dict[str, Status | None] = dict(store.scan())
    handed = names(store, INBOX)
    for name in handed:
        id = name.removesuffix(".json")
        if id != name and codec.is_id(id):
            known.setdefault(id, None)
    found = sorted(id for id in known if id.startswith(text)) if text else []
    if not found:
        for id in (name.removesuffix(".json").rpartition(".")[2] for name in handed):
            if text and codec.is_id(id) and id.startswith(text):  # as `submit` has just told it
                raise UsageError(
                    f"{id} lies in {INBOX}/, to be taken up by a live runner, or else by `run` or `resume`"
                )
        raise UsageError(f"no job's id begins with {text!r}: `python -m runner list` shows them all")
    if len(found) > 1:
        shown = [f"  {id}  {known[id] or INBOX}" for id in found[:_CANDIDATES]]
        if len(found) > _CANDIDATES:
            shown.append(f"  and {len(found) - _CANDIDATES:,} more")
        raise UsageError("\n".join([f"{text!r} is ambiguous: more of the id, please; it may be", *shown]))
    return found[0], known[found[0]]


def places(store: FolderStore, id: str) -> list[Status]:
    """The status folders that the job is in: one, but for a fault. A job that moves meanwhile is not seen twice."""
    fds, files, name = store.shelf.fds, store.shelf.files, f"{id}.json"

    def look() -> list[Status]:
        return [
            status
            for status in FLOW_ORDER
            if status is not Status.QUARANTINE and status in fds and files.exists(fds[status], name)
        ]

    first, second = look(), look()
    both = [status for status in second if status in first]
    return both or second[-1:] or first[-1:]
