"""A small site that changes between nights, the flow over it, and runs of it by the session itself, in this process.

The tasks look at `SITE`, which stands for the outside world and for the user's code of that night.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import runner.staff
from runner import Absent, Hint, Input, Output, Task
from runner.ask import Ask
from runner.core.events import Failed, Finished
from runner.session import Options, Summary, open_session
from runner.store.folders import FolderStore
from runner.store.runs import RunFile, Runs, read_journal
from runner.workers.port import Order, Reply
from tests.rig import Inline

TARGET = "tests.nightly:nightly"
MODULES = ("tests",)
OPTIONS = Options(durability="process", modules=MODULES, verbosity=-1)


@dataclass
class Site:
    """What is out there tonight, and what the user's code says tonight."""

    roots: list[str] = field(default_factory=list)  # pages that the flow names
    links: dict[str, list[str]] = field(default_factory=dict)  # page -> pages that it names
    texts: dict[str, str] = field(default_factory=dict)  # page -> its text; None: there is no such page
    broken: set[str] = field(default_factory=set)  # pages that cannot be fetched
    hint: str = ""
    selector: int = 0  # a parameter of the parse
    filter: str = ""  # links with this in their name are not followed, says downstream_tasks()
    due: set[str] = field(default_factory=set)  # pages that are due tonight
    stumbles: set[str] = field(default_factory=set)  # pages whose downstream_tasks() raises
    merges: list[str] = field(default_factory=list)


SITE = Site()


def raw(name: str) -> Path:
    return Path("raw") / f"{name}.json"


def text(name: str) -> Path:
    return Path("text") / f"{name}.txt"


@dataclass
class Page(Task):
    name: str
    output: Output
    hint: Hint[str] = ""
    retries = 0

    def run(self) -> Any:
        if self.name in SITE.broken:
            raise ValueError(f"no {self.name}")
        if self.name not in SITE.texts:
            return Absent()
        self.output.write_text(json.dumps([SITE.texts[self.name], SITE.links.get(self.name, [])]))
        return None

    def due(self, last: Any, now: Any) -> str | None:
        return "it is said so" if self.name in SITE.due else None

    def downstream_tasks(self) -> Iterator[Task]:
        if self.name in SITE.stumbles:
            raise LookupError(self.name)
        yield Parse(raw(self.name), text(self.name), SITE.selector)
        for name in json.loads(self.output.read_text())[1]:
            if not SITE.filter or SITE.filter not in name:
                yield Page(name, raw(name), SITE.hint)


@dataclass
class Parse(Task):
    """Its text is the same for some changes of the page."""

    page: Input
    output: Output
    selector: int = 0
    retries = 0

    def run(self) -> None:
        self.output.write_text(json.loads(self.page.read_text())[0][:1] + str(self.selector % 2))


@dataclass
class Notes(Task):
    """Reads a file that a person edits."""

    source: Input
    output: Output
    extra: Input | None = None
    retries = 0

    def run(self) -> None:
        self.output.write_text(self.source.read_text()[:1] + str(self.extra))


@dataclass
class Merge(Task):
    parts: list[Input]
    output: Output
    retries = 0

    def run(self) -> None:
        self.output.write_text("".join(part.read_text() for part in self.parts))


CLASSES: list[type[Task]] = [Page, Parse, Notes, Merge]


def nightly() -> Iterator[Task]:
    yield from (Page(name, raw(name), SITE.hint) for name in SITE.roots)
    yield Notes(Path("notes.txt"), Path("notes.out"), text("a"))
    if SITE.merges:
        yield Merge([text(name) for name in SITE.merges], Path("merged.txt"))


def bump(cls: Any, version: int) -> None:
    """The user edits the class."""
    cls.version = version
    with suppress(AttributeError):
        del cls._task_type


class Cut(Exception):
    """The process is killed."""


class Here(Inline):
    """Workers in this process. `ran`: the jobs that they ran to an end; `cut`: after how many the process dies."""

    ran: ClassVar[dict[str, bool]] = {}  # id -> whether it succeeded
    cut: ClassVar[int] = -1

    def __init__(self, workers: int, settings: Any, preload: Any = (), server: Any = None) -> None:
        super().__init__(settings, places=2)

    def _perform(self, order: Order) -> Reply:
        if Here.cut == 0:
            raise Cut
        Here.cut -= 1
        reply = super()._perform(order)
        if isinstance(reply.event, Finished | Failed):
            Here.ran[order.id] = isinstance(reply.event, Finished)
        return reply

    def close(self) -> Sequence[str]:
        self.bench.close()
        return super().close()


def night(root: Path, *, cut: int = -1, resume: bool = False, **options: Any) -> Summary | None:
    """One run; None: it was cut off, or there was nothing to resume."""
    Here.ran, Here.cut = {}, cut
    executor, runner.staff.LocalExecutor = runner.staff.LocalExecutor, Here  # type: ignore[assignment, misc]
    try:
        chosen = Options(**{name: getattr(OPTIONS, name) for name in OPTIONS.__struct_fields__} | options)
        with open_session(root, root / "state", MODULES, chosen) as session:
            return session.resume() if resume else session.start(Ask(target=TARGET))
    except Cut:
        return None
    finally:
        runner.staff.LocalExecutor = executor  # type: ignore[misc]


def reasons(store: FolderStore, run: str) -> dict[str, str]:
    """Why done jobs were due in a run, by its journal: the first reason of each."""
    found: dict[str, str] = {}
    for line in read_journal(store, run):
        if line["step"] == "expire":
            found.setdefault(str(line["id"]), str(line.get("why", "")))
    return found


def newest(store: FolderStore) -> RunFile:
    run = Runs(store).newest()
    assert run is not None
    return run
