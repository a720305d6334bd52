"""Workers that a killed runner left behind: wait for them, kill them, or say who they are.

A worker holds a lock on a file named after it as long as it lives. Only the holder of the runner lock calls this, and
no name is ever used twice, so a lock file whose lock is free can be removed.
"""

from __future__ import annotations

import os
import signal
import time

from filelock import FileLock, Timeout

from runner.errors import Busy
from runner.store.files import process_start

GRACE = 2.0
"""Seconds to wait for a worker to end by itself: the kernel kills it when its runner is gone."""

PATIENCE = 5.0
"""Seconds to wait for a worker that was killed."""

_PREFIX, _SUFFIX = "worker-", ".lock"


def clear_orphans(locks: str) -> int:
    """Make sure that no worker of an earlier runner is alive. Returns how many had to be killed.

    Raises Busy, naming the process, when one cannot be ended.
    """
    killed = 0
    deadline = time.monotonic() + GRACE
    for name in sorted(os.listdir(locks)):
        if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)):
            continue
        pid, _, start = name[len(_PREFIX) : -len(_SUFFIX)].partition("-")
        if not (pid.isdecimal() and int(pid) > 1):
            continue
        path = os.path.join(locks, name)
        if not _free(path, deadline):
            killed += 1
            _kill(int(pid), start)
            if not _free(path, time.monotonic() + PATIENCE):
                raise Busy(
                    f"a worker of an earlier run is alive and cannot be ended: pid {pid} holds {path}; "
                    "end it (or what it has started), then try again"
                )
        else:
            _kill(int(pid), start)  # what its tasks had started, if anything
        os.unlink(path)
    return killed


def _free(path: str, deadline: float) -> bool:
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=max(0.0, deadline - time.monotonic()), poll_interval=0.01)
    except Timeout:
        return False
    lock.release()
    return True


def _kill(pid: int, start: str) -> None:
    """Kill the process group of a worker, unless its number belongs to somebody else by now."""
    if process_start(pid) not in (start, None):
        return
    try:  # its group lives on while one member does, and keeps the number from being given away
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
