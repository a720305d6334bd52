"""Workers that a killed runner left behind: wait for them, kill them, or say who they are.

A worker holds a lock on a file named after it as long as it lives. Only the holder of the runner lock calls this, and
no name is ever used twice, so a lock file whose lock is free can be removed.

What a worker has started may outlive it, in its process group. That group's number is the worker's, and numbers are
given away again, after a reboot at the latest: so nobody is killed by it who is not of the session that the worker
noted in its lock file. (It is the fork server's; a stranger's group that has the one number has not the other.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections.abc import Iterator

from filelock import FileLock, Timeout

from runner.errors import Busy
from runner.store.files import Writer, process_start, writer_of

GRACE = 2.0
"""Seconds to wait for a worker to end by itself: the kernel kills it when its runner is gone."""

PATIENCE = 5.0
"""Seconds to wait for a worker that was killed."""

MOMENT = 0.5
"""The same for whoever has others to look after, and will come again."""

_PREFIX, _SUFFIX = "worker-", ".lock"


def clear_orphans(locks: str, agent: str | None = None) -> int:
    """Make sure that no worker of an earlier runner is alive, or (`agent`) none of that agent's. Returns how many had
    to be killed.

    Those on another ground cannot be seen from here, and are gone: who asks has waited for their agents (`lease.py`).
    Raises Busy, naming the process, when one cannot be ended.
    """
    killed = 0
    grace, patience = (GRACE, PATIENCE) if agent is None else (0.0, MOMENT)
    deadline = time.monotonic() + grace
    for name, path, worker in _lock_files(locks):
        if agent is not None and worker.agent != agent:
            continue
        if worker.near:
            killed += _clear(path, worker, deadline, patience)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(locks, name))
    return killed


def clear_dead(locks: str) -> None:
    """End what workers on this ground have started, and did not live to end. Those that live are left alone."""
    for _, path, worker in _lock_files(locks):
        with contextlib.suppress(OSError):
            # Whose process lives may be about to take its lock, and is not to find it taken.
            if worker.near and process_start(worker.pid) != worker.start and _free(path, 0.0):
                _kill(worker.pid, worker.start, _session(path))
                os.unlink(path)


def _lock_files(locks: str) -> Iterator[tuple[str, str, Writer]]:
    for name in sorted(os.listdir(locks)):
        worker = writer_of(name[len(_PREFIX) :]) if name.startswith(_PREFIX) and name.endswith(_SUFFIX) else None
        if worker is None or worker.pid <= 1:
            continue
        path = os.path.join(locks, name)
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISREG(os.lstat(path).st_mode):  # else none of ours; to open a FIFO would wait for ever
                yield name, path, worker


def _clear(path: str, worker: Writer, deadline: float, patience: float) -> bool:
    """Whether it had to be killed."""
    free = _free(path, deadline)
    _kill(worker.pid, worker.start, _session(path))  # or what its tasks had started, if anything
    if not free and not _free(path, time.monotonic() + patience):
        raise Busy(
            f"a worker of an earlier run is alive and cannot be ended: pid {worker.pid} holds {path}; "
            "end it (or what it has started), then try again"
        )
    return not free


def _free(path: str, deadline: float) -> bool:
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=max(0.0, deadline - time.monotonic()), poll_interval=0.01)
    except Timeout:
        return False
    lock.release()
    return True


def _session(path: str) -> int:
    """The session that the worker has noted. -1: it did not live to do that, and so had begun nothing."""
    try:
        with open(path, "rb") as file:
            return int(file.read(20))
    except (OSError, ValueError):
        return -1


def _kill(pid: int, start: str, session: int) -> None:
    """Kill a worker and its process group, or what is left of the group."""
    now = process_start(pid)
    if now == start or (now is None and _is_left(pid, session)):
        for kill in (os.killpg, os.kill) if now == start else (os.killpg,):  # it may not have made its group yet
            with contextlib.suppress(ProcessLookupError, PermissionError):
                kill(pid, signal.SIGKILL)


def _is_left(group: int, session: int) -> bool:
    """Whether there is such a process group in that session. As far as /proc tells: False where there is none."""
    try:
        names = os.listdir("/proc")
    except OSError:
        return False
    for name in names:
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if len(fields) > 3 and (int(fields[2]), int(fields[3])) == (group, session):
                return True
    return False
