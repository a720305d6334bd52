"""Tasks of a small site, night after night; copied into a project as jobs/nights.py, beside work.py as jobs/work.py.

A page is a file in site/: lines that begin with "text" are its text, "links" names further pages, "fail" makes its
fetch fail, and one that is not there is absent. The file `night` says which night it is: so the clock decides nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from jobs.work import RETRIES, at_work, note

from runner import Absent, Hint, Input, Output, Task, previous
from runner.task import Last

SELECTOR = "text"


@dataclass
class Fetch(Task):
    name: str
    output: Output
    night: Hint[str] = ""
    retries = RETRIES
    backoff = 0.01

    def due(self, last: Last, now: datetime) -> str | None:
        return None if last.hints["night"] == self.night else f"it is night {self.night}"

    def run(self) -> Absent | None:
        with at_work(f"{type(self).__name__}-{self.name}"):
            remember(f"{type(self).__name__}-{self.name}")
            page = Path("site", self.name)
            if not page.exists():
                return Absent()
            if "fail" in page.read_text():
                raise RuntimeError("503 Service Unavailable")
            self.output.write_bytes(page.read_bytes())
        return None


@dataclass
class FindingFetch(Fetch):
    """Finds its parse, and the fetches of the pages that it links to."""

    def downstream_tasks(self) -> Iterator[Task]:
        yield Parse(self.output, text(self.name), SELECTOR)
        for line in self.output.read_text().splitlines():
            if line.startswith("links "):
                yield FindingFetch(line.split()[1], raw(line.split()[1]), self.night)


@dataclass
class Parse(Task):
    input: Input
    output: Output
    selector: str = "text"
    version = 1
    retries = RETRIES
    backoff = 0.01

    def run(self) -> None:
        with at_work(f"{type(self).__name__}-{self.input.stem}"):
            remember(f"{type(self).__name__}-{self.input.stem}")
            lines = self.input.read_text().splitlines()
            self.output.write_text("".join(f"{line}\n" for line in lines if line.startswith(self.selector)))


@dataclass
class Merge(Task):
    texts: list[Input]
    output: Output
    retries = RETRIES
    backoff = 0.01

    def run(self) -> None:
        with at_work("Merge"):
            remember("Merge")
            self.output.write_text("".join(text.read_text() for text in self.texts))


@dataclass
class Report(Task):
    """Made of what is there, whatever failed."""

    pages: list[Input]
    output: Output
    trigger_rule = "all_done"

    def run(self) -> None:
        with at_work("Report"):
            self.output.write_text("".join(page.read_text() for page in self.pages))


def remember(name: str) -> None:
    if previous() is not None:
        note(f"previous {name}")


def raw(name: str) -> Path:
    return Path("raw", f"{name}.html")


def text(name: str) -> Path:
    return Path("text", f"{name}.txt")


def names() -> list[str]:
    return Path("names").read_text().split()


def rooted() -> Iterator[Task]:
    """Every job a root."""
    night = Path("night").read_text()
    for name in names():
        yield Fetch(name, raw(name), night)
        yield Parse(raw(name), text(name), SELECTOR)
    yield Merge([text(name) for name in names()], Path("all.txt"))


def found() -> Iterator[Task]:
    """The parses are found by the fetches."""
    night = Path("night").read_text()
    yield from (FindingFetch(name, raw(name), night) for name in names())
    yield Merge([text(name) for name in names()], Path("all.txt"))


def reported() -> Iterator[Task]:
    night = Path("night").read_text()
    yield from (Fetch(name, raw(name), night) for name in names())
    yield Report([raw(name) for name in names()], Path("report.txt"))
