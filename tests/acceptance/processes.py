"""Processes as /proc shows them: who descends from whom, who is alive. A pid alone proves nothing:
start times go with it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MARK = "RUNNER_TEST_MARK"


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    started: int  # clock ticks since boot
    state: str

    @property
    def alive(self) -> bool:
        return self.state not in "ZX"

    @property
    def command(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""


def look(pid: int) -> Process | None:
    """The process as it is now; None if there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return Process(pid, int(fields[1]), int(fields[19]), fields[0])


def family(mark: str) -> list[Process]:
    """All live processes that were started with MARK=`mark` in their environment, and what they have started.

    Sessions, groups and parents tell less: a worker may have a session of its own, and no parent any more.
    """
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                environment = Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue
            if wanted in environment.split(b"\0") and (process := look(int(name))) is not None and process.alive:
                found.append(process)
    return found


def workers(mark: str, leader: int) -> list[Process]:
    """The leaves below `leader`: its worker processes, with or without a fork server between."""
    members = family(mark)
    parents = {process.parent for process in members}
    return [
        process
        for process in members
        if process.pid != leader and process.pid not in parents and "resource_tracker" not in process.command
    ]


def kill(process: Process) -> bool:
    """SIGKILL to exactly this process. True if it was alive to be struck."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        now = look(process.pid)
        if now is None or now.started != process.started or not now.alive:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def clear(mark: str) -> None:
    """End everything that a test started with this mark."""
    for process in family(mark):
        kill(process)


def wait_until(what: str, condition: Callable[[], object], seconds: float = 20.0, step: float = 0.01) -> None:
    """Poll a callable until it is true; AssertionError naming `what` when it is not in time."""

    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(step)


def all_gone(mark: str, seconds: float = 20.0) -> None:
    """Wait until nobody of a family is left."""
    wait_until("all its processes are gone", lambda: not family(mark), seconds)
