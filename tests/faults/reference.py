"""The run that every crash point is tried on: two nights of a small site, in this process.

A fan-out of pages, links found at run time, a reader of each, a fan-in over all; one page fails once and is tried
again, one always fails (and blocks who reads it), one is absent. In the second night one page has another text, one
another stamp only, one is absent, one is back, one is new. `SITE` stands for the world, which no kill rolls back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from runner import Absent, Input, Output, Task

TARGET = "tests.faults.reference:nightly"
RETRIES = 5  # more than there are faults


@dataclass
class Site:
    pages: dict[str, str] = field(default_factory=dict)  # name -> text, stamp, links
    night: int = 0
    tried: set[str] = field(default_factory=set)
    ran: list[str] = field(default_factory=list)  # ids of those whose run() was called, in order


SITE = Site()

NIGHTS: list[dict[str, str]] = [
    {"a": "alpha 1 d e", "b": "beta 1", "c": "gamma 1 f", "flaky": "phi 1", "d": "delta 1", "e": "eta 1", "f": "psi 1"},
    {"a": "alpha 1 d e", "b": "BETA 2", "c": "gamma 2 g", "flaky": "phi 1", "d": "delta 1", "g": "new", "gone": "back"},
]
ROOTS = ("a", "b", "c", "flaky", "broken", "gone")
MERGED = (*ROOTS, "d", "e", "f", "g")


def falls(night: int) -> None:
    """The world as it is in that night."""
    SITE.pages, SITE.night = NIGHTS[night], night
    SITE.tried.clear()
    SITE.ran.clear()


def raw(name: str) -> Path:
    return Path("raw") / f"{name}.txt"


def text(name: str) -> Path:
    return Path("text") / f"{name}.txt"


@dataclass
class Fetch(Task):
    name: str
    output: Output
    retries = RETRIES
    backoff = 0.0

    def run(self) -> Absent | None:
        SITE.ran.append(f"Fetch {self.name}")
        if self.name == "broken":
            self.output.write_text("half of")
            raise ValueError("it always fails")
        if self.name == "flaky" and self.name not in SITE.tried:
            SITE.tried.add(self.name)
            raise TimeoutError("it fails once")
        if self.name not in SITE.pages:
            return Absent()
        self.output.write_text(SITE.pages[self.name])
        return None

    def due(self, last: object, now: object) -> str:
        return "every night"

    def downstream_tasks(self) -> Iterator[Task]:
        yield Parse(self.output, text(self.name))
        for link in self.output.read_text().split()[2:]:
            yield Fetch(link, raw(link))


@dataclass
class Parse(Task):
    """Only the text of a page: no word of its stamp or links."""

    page: Input
    output: Output
    retries = RETRIES
    backoff = 0.0

    def run(self) -> None:
        SITE.ran.append(f"Parse {self.page.stem}")
        self.output.write_text(self.page.read_text().split()[0] + "\n")


@dataclass
class Merge(Task):
    texts: list[Input]
    output: Output
    trigger_rule = "all_done"
    retries = RETRIES
    backoff = 0.0

    def run(self) -> None:
        SITE.ran.append("Merge")
        self.output.write_text("".join(path.read_text() for path in self.texts))


@dataclass
class Report(Task):
    """Reads the page that always fails."""

    page: Input
    output: Output

    def run(self) -> None:
        raise AssertionError("it is blocked")


def nightly() -> Iterator[Task]:
    yield Merge([text(name) for name in MERGED], Path("merged.txt"))
    yield Report(raw("broken"), Path("report.txt"))
    yield from (Fetch(name, raw(name)) for name in ROOTS)
