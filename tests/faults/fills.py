"""Tasks that need room on the disk; copied into a project as jobs/fills.py. Each waits while its gate is there.

`begun-NAME` tells that a task has begun. Both lie in the folder $GATES: on another disk than the one that fills.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner import Output, Task


def pass_the_gate(name: str) -> None:
    gates = Path(os.environ["GATES"])
    (gates / f"begun-{name}").touch()
    while (gates / f"gate-{name}").exists():
        time.sleep(0.005)


@dataclass
class Write(Task):
    """Needs a megabyte."""

    number: int
    output: Output
    retries = 0

    def run(self) -> None:
        pass_the_gate(f"write-{self.number}")
        with self.output.open("wb") as file:
            for _ in range(16):
                file.write(bytes(1 << 16))


@dataclass
class Long(Task):
    """Needs next to nothing."""

    output: Output
    retries = 0

    def run(self) -> None:
        pass_the_gate("long")
        self.output.write_text("long")


@dataclass
class Find(Task):
    """Finds so many others."""

    count: int
    output: Output
    retries = 0

    def run(self) -> None:
        pass_the_gate("find")
        self.output.write_text("found")

    def downstream_tasks(self) -> Iterator[Task]:
        return (Write(number, Path(f"data/{number}")) for number in range(self.count))


def flow(writers: int = 6) -> Iterator[Task]:
    yield Long(Path("data/long"))
    yield from (Write(number, Path(f"data/{number}")) for number in range(writers))


def finding(count: int = 6) -> Iterator[Task]:
    yield Long(Path("data/long"))
    yield Find(count, Path("data/find"))
