"""One runner at a time: the lock, and who holds it.

The kernel's lock on locks/runner.lock is what counts; it is free the moment its holder is gone. locks/runner.json
only says who that is, for people and for look verbs. Neither is ever deleted: who holds a lock on a deleted file
holds nothing. Must not wait for the lock: whoever comes second is told so, and who was first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from runner.core.model import Json
from runner.errors import BadJobFile, Busy, StateError
from runner.store.files import MODE, process_start
from runner.store.shelf import LOCKS, TMP, Shelf

PATIENCE = 1.0
"""Seconds that who has just taken the lock may need to say who it is."""

_LOCK = "runner.lock"
_HOLDER = "runner.json"


class Holder(Struct, frozen=True, kw_only=True):
    """The process that holds the runner lock, or held it last. `info` is what it said about itself."""

    pid: int
    start: str  # of the process, in the kernel's ticks: a pid alone is reused
    host: str
    run: str = ""
    info: dict[str, Json] = {}

    @property
    def alive(self) -> bool:
        """Whether it still runs; of a process on another host only that host can tell: True."""
        return self.host != os.uname().nodename or process_start(self.pid) == self.start


@contextmanager
def hold_lock(shelf: Shelf, info: Mapping[str, Json]) -> Iterator[None]:
    """Hold the runner lock. Raises Busy, naming the holder, if another process (or store) has it."""
    from filelock import FileLock, Timeout  # here, as it costs 13 ms that no look verb needs

    lock = FileLock(
        os.path.join(shelf.path, LOCKS, _LOCK), mode=MODE, blocking=False, thread_local=False, fallback_to_soft=False
    )
    try:
        lock.acquire()
    except Timeout:
        raise Busy(_who(shelf)) from None
    except OSError as error:
        raise _unusable(shelf, _LOCK, error) from None
    try:
        shelf.took_lock()
        try:
            announce(shelf, info)
        except IsADirectoryError as error:
            raise _unusable(shelf, _HOLDER, error) from None
        yield
    finally:
        lock.release()


def announce(shelf: Shelf, info: Mapping[str, Json]) -> None:
    """Say who holds the lock, and for which run. Only its holder may."""
    rest = dict(info)
    holder = Holder(
        pid=os.getpid(),
        start=process_start(os.getpid()) or "",
        host=os.uname().nodename,
        run=str(rest.pop("run", shelf.run)),
        info=rest,
    )
    data = msgspec.json.format(msgspec.json.encode(holder), indent=2) + b"\n"
    name = shelf.write_tmp(_HOLDER, data)
    shelf.files.rename(shelf.fds[TMP], name, shelf.fds[LOCKS], _HOLDER)  # by a rename: a reader never sees half of it


def holder(shelf: Shelf) -> Holder | None:
    """Who holds the lock, or held it last (see `Holder.alive`). None: nobody yet, or it cannot be read."""
    try:
        return msgspec.json.decode(shelf.load_name(LOCKS, _HOLDER), type=Holder)
    except (OSError, ValueError, RecursionError, BadJobFile):
        return None


def _unusable(shelf: Shelf, name: str, error: OSError) -> StateError:
    return StateError(f"{shelf.path}/{LOCKS}/{name} is no file of the runner's ({error.strerror}): move it away")


def _who(shelf: Shelf) -> str:
    deadline = time.monotonic() + PATIENCE
    while (found := holder(shelf)) is None or not found.alive:  # it has the lock and has not said so yet
        if time.monotonic() > deadline:
            return f"another runner has just started on {shelf.path}: wait for it, or ask it to stop"
        time.sleep(0.01)
    run = f", run {found.run}" if found.run else ""
    return (
        f"another runner is alive on {shelf.path}: pid {found.pid} on {found.host}{run}: wait for it, or ask it to stop"
    )
