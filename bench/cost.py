"""What a command costs, with all that it has started: time on the wall, time of the processors, memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.05  # seconds between two looks at the memory


@dataclass(frozen=True)
class Cost:
    """`cpu`: of the process and of all below it that was waited for. `memory`: in MB, 0 if it was not watched."""

    seconds: float
    cpu: float
    memory: float


def cost(words: Sequence[str], cwd: Path, *, watch: bool = False) -> Cost:
    """Of one command. Exits with what it said if it failed.

    `watch`: its memory too. Looking costs the kernel time, so the other figures are then no good.
    """
    os.sync()  # what was written before must not be paid for here
    with tempfile.TemporaryFile() as said:
        begin = time.perf_counter()
        process = subprocess.Popen(words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
        watcher = _Watcher(process.pid) if watch else None
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = watcher.peak() if watcher else 0.0
        if process.returncode:
            said.seek(0)
            sys.exit(f"exit code {process.returncode} of {' '.join(words)}:\n{said.read()[-2000:].decode()}")
    return Cost(seconds, used.ru_utime + used.ru_stime, peak)


class _Watcher(threading.Thread):
    """Adds up the memory of a process and of all below it: what they share is counted once (PSS)."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._most = 0
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(EVERY):
            self._most = max(self._most, sum(map(_pss, _family(self._pid))))

    def peak(self) -> float:
        """MB; ends the watching."""
        self._over.set()
        self.join()
        return self._most / 1024


def _family(pid: int) -> Iterator[int]:
    """The process and all below it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has just ended
            continue
        for child in children:
            yield from _family(int(child))


def _pss(pid: int) -> int:
    """kB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
