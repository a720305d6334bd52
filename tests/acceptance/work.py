"""Tasks for the kill tests; copied into a project as jobs/work.py. Each notes its start and its end in work.log.

A task holds an flock of its own name while it runs: the kernel frees it at the process's death and not before, so a
second start at the same time is seen for certain, whatever was killed in between.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner import Input, Output, Task

WISHES = json.loads(Path("work.json").read_text()) if Path("work.json").exists() else {}
RETRIES = int(WISHES.get("WORK_RETRIES", "0"))
SECONDS = float(WISHES.get("WORK_SECONDS", "0.01"))


def note(line: str) -> None:
    log = os.open("work.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(log, f"{line}\n".encode())
    finally:
        os.close(log)


@contextmanager
def at_work(name: str) -> Iterator[None]:
    Path("held").mkdir(exist_ok=True)
    held = os.open(f"held/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note(f"twice {name}")
            raise
        note(f"start {name}")
        time.sleep(SECONDS)
        while Path(f"gate-{name}").exists():
            time.sleep(0.005)
        yield
        note(f"end {name}")
    finally:
        os.close(held)


@dataclass
class Single(Task):
    """No files at all."""

    number: int
    retries = RETRIES
    backoff = 0.01

    def run(self) -> int:
        with at_work(f"Single-{self.number}"):
            return self.number


@dataclass
class Fetch(Task):
    name: str
    output_filepath: Output
    retries = RETRIES
    backoff = 0.01

    def run(self) -> None:
        with at_work(f"Fetch-{self.name}"):
            self.output_filepath.write_text(f"page {self.name}\n" * 50)


@dataclass
class Parse(Task):
    input_filepath: Input
    output_filepath: Output
    retries = RETRIES
    backoff = 0.01

    def run(self) -> None:
        with at_work(f"Parse-{self.input_filepath.stem}"):
            self.output_filepath.write_text(self.input_filepath.read_text().upper())


@dataclass
class Find(Task):
    """Finds `pairs` fetches, and the parse of each, when it runs."""

    number: int
    pairs: int
    output_filepath: Output
    retries = RETRIES
    backoff = 0.01

    def run(self) -> None:
        with at_work(f"Find-{self.number}"):
            self.output_filepath.write_text("".join(f"{name}\n" for name in names(self.number, self.pairs)))

    def downstream_tasks(self) -> Iterator[Task]:
        for name in self.output_filepath.read_text().split():
            raw = Path("data") / "raw" / f"{name}.txt"
            yield Fetch(name, raw)
            yield Parse(raw, Path("data") / "text" / f"{name}.txt")


@dataclass
class Link(Task):
    """One of a chain: each reads what the one before it wrote."""

    number: int
    input_filepath: Input
    output_filepath: Output
    retries = RETRIES
    backoff = 0.01

    def run(self) -> None:
        with at_work(f"Link-{self.number}"):
            self.output_filepath.write_text(f"{int(self.input_filepath.read_text()) + 1}\n")


@dataclass
class Merge(Task):
    """Waits for all texts, which nobody makes before they are found."""

    input_filepaths: list[Input]
    output_filepath: Output
    retries = RETRIES
    backoff = 0.01

    def run(self) -> None:
        with at_work("Merge"):
            self.output_filepath.write_text("".join(path.read_text() for path in self.input_filepaths))


def names(number: int, pairs: int) -> list[str]:
    return [f"{number}-{n}" for n in range(pairs)]


def everything(roots: int = 3, pairs: int = 10, links: int = 8, singles: int = 60) -> Iterator[Task]:
    """Fan-out, a chain, children found at run time, and a fan-in over them."""
    data = Path("data")
    yield Merge(
        [data / "text" / f"{name}.txt" for number in range(roots) for name in names(number, pairs)], data / "merged.txt"
    )
    for number in range(roots):
        yield Find(number, pairs, data / "found" / f"{number}.txt")
    yield from (Single(number) for number in range(singles))
    for number in range(links):
        yield Link(number, data / "chain" / f"{number}.txt", data / "chain" / f"{number + 1}.txt")


def many(roots: int = 2, pairs: int = 75, singles: int = 200) -> Iterator[Task]:
    """Large batches, which enter part by part: of roots, and of children."""
    yield from (Find(number, pairs, Path("data") / "found" / f"{number}.txt") for number in range(roots))
    yield from (Single(number) for number in range(singles))
