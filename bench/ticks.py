"""Tasks that take a set time and write down when they ran. Copied into a benchmark's project as ticks.py."""

import os
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner import Task

SPAN = struct.Struct("=qqdd")  # process, thread, begin, end: seconds by the clock of the machine


class _Notes(threading.local):
    """A file of its own for each thread of a worker, open as long as that lives."""

    def __init__(self) -> None:
        name = f"spans-{os.getpid()}-{threading.get_native_id()}"
        self.file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, begin: float, end: float) -> None:
        os.write(self.file, SPAN.pack(os.getpid(), threading.get_native_id(), begin, end))


_notes: list[_Notes] = []


def notes() -> _Notes:
    """Made in the worker, not in the process that it was forked from."""
    if not _notes:
        _notes.append(_Notes())
    return _notes[0]


@dataclass
class Tick(Task):
    number: int
    seconds: float

    def run(self) -> None:
        begin = time.monotonic()
        time.sleep(self.seconds)
        notes().add(begin, time.monotonic())


@dataclass
class Quick(Task):
    number: int

    def run(self) -> None:
        pass


@dataclass
class Finder(Task):
    """Finds so many, once others have been at work for a while."""

    children: int
    after: float  # seconds

    def run(self) -> None:
        time.sleep(self.after)
        begin = time.monotonic()
        notes().add(begin, begin)

    def downstream_tasks(self) -> Iterator[Task]:
        return (Quick(number) for number in range(self.children))


def ticking(count: int, seconds: float) -> Iterator[Task]:
    return (Tick(number, seconds) for number in range(count))


def finding(ticks: int, seconds: float, children: int, after: float) -> Iterator[Task]:
    yield Finder(children, after)
    yield from ticking(ticks, seconds)


def spans(folder: Path) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """For each thread of each worker what it ran, in order."""
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for path in folder.glob("spans-*"):
        for process, thread, begin, end in SPAN.iter_unpack(path.read_bytes()):
            found.setdefault((process, thread), []).append((begin, end))
    return {thread: sorted(those) for thread, those in found.items()}
