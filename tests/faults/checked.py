"""A real state with a bit of all in it, made by runs that were let end and one that was killed, for `check` to look at.

Also what tests plant faults with, and `look`: the verb itself, in this process, as a start of Python for each of a
hundred cases would take a minute.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from runner.cli import cli
from runner.errors import RunnerError
from tests.acceptance import processes
from tests.acceptance.project import QUICK, STATUSES, Outcome, Project

TASKS = '''
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from runner import Absent, Hint, Input, Output, Task

DATA = Path("data")
PAGES = 5

@dataclass
class Site(Task):
    """Finds its pages, and their texts."""
    output: Output = DATA / "site.txt"

    def run(self):
        self.output.write_text("site")

    def downstream_tasks(self):
        for number in range(PAGES):
            page = DATA / f"page-{number}.html"
            yield Page(number, page, "tonight")
            yield Text(page, DATA / f"text-{number}.txt")

@dataclass
class Page(Task):
    """0 needs a second try, 1 is absent the second night, 2 always fails."""
    number: int
    output: Output
    seen: Hint[str]
    retries = 1
    backoff = 0.01
    max_age = 0

    def run(self):
        tried = Path(f"tried-{self.number}")
        again = tried.exists()
        tried.touch()
        if self.number == 2 or (self.number == 0 and not again):
            raise ValueError("no page")
        if self.number == 1 and again:
            return Absent()
        self.output.write_text("page" * (self.number + 1))

@dataclass
class Text(Task):
    page: Input
    output: Output

    def run(self):
        self.output.write_text(self.page.read_text().upper())

@dataclass
class Corpus(Task):
    texts: list[Input]
    output: Output = DATA / "corpus.txt"
    trigger_rule = "all_done"

    def run(self):
        self.output.write_text("".join(text.read_text() for text in self.texts))

@dataclass
class Report(Task):
    """Never to be made, as one of what it reads fails."""
    texts: list[Input]
    output: Output = DATA / "report.txt"

    def run(self):
        self.output.write_text("report")

@dataclass
class Both(Task):
    number: int
    one: Output
    two: Output

    def run(self):
        self.one.write_text("one")
        self.two.write_text("two")

@dataclass
class Note(Task):
    """Makes no file."""
    text: str
    why: Hint[str] = ""

    def run(self):
        return self.text

@dataclass
class Old(Task):
    output: Output = DATA / "renamed.txt"

    def run(self):
        self.output.write_text("old")

@dataclass
class New(Old):
    """Makes what Old has made."""

@dataclass
class Hold(Task):
    """Does not end, unless somebody makes a file named `open`."""
    number: int

    def run(self):
        while not Path("open").exists():
            sleep(0.005)

@dataclass
class Last(Task):
    held: int
    output: Output

    def upstream_tasks(self):
        yield Hold(self.held)

    def run(self):
        self.output.write_text("last")

def night(old: bool = False):
    texts = [DATA / f"text-{number}.txt" for number in range(PAGES)]
    both = [Both(number, DATA / f"one-{number}", DATA / f"two-{number}") for number in range(2)]
    return [Site(), Corpus(texts), Report(texts), *both, Note("kept", "because"), Old() if old else New()]

def held(count: int = 2):
    for number in range(count):
        yield Hold(number)
        yield Last(number, DATA / f"last-{number}.txt")
'''


def make(project: Project) -> None:
    """Two nights of a flow, a file for quarantine, a job of somebody's; a run that is killed, and one more job."""
    project.module("night", TASKS)
    outcomes = [project.runner("run", "jobs.night:night", "old=true", *QUICK)]
    (project.state / "inbox" / "bad.json").write_text('{"task": "jobs.night:Nobody", "params": {}}')
    outcomes.append(project.runner("submit", "jobs.night:Note", "text=submitted"))
    outcomes.append(project.runner("run", "jobs.night:night", *QUICK))
    outcomes.append(project.runner("run", "jobs.night:Note", "text=once", *QUICK))
    assert [outcome.code for outcome in outcomes] == [1, 0, 1, 0], [outcome.err for outcome in outcomes]
    process = project.start("run", "jobs.night:held", "--workers", "2", *QUICK)
    processes.wait_until("both are held", lambda: project.count("running") == 2, 60)
    for each in processes.family(project.mark(process)):
        processes.kill(each)
    process.wait()
    project.all_gone(process, 60)
    assert project.runner("submit", "jobs.night:Note", "text=waits").code == 0
    there = {status: project.count(status) for status in (*STATUSES, "quarantine", "inbox", "trash", "logs", "tmp")}
    lacking = [name for name, count in there.items() if not count and name not in ("logs", "tmp")]
    assert not lacking, f"the state that faults are planted in has nothing in {lacking}: {there}"


def made(folder: Path) -> Iterator[Project]:
    """For a fixture."""
    project = Project(folder / "project")
    try:
        make(project)
        yield project
    finally:
        project.close()


@dataclass
class Planted:
    """A copy of that state, to plant a fault in."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @classmethod
    def copy(cls, of: Project, to: Path) -> Planted:
        shutil.copytree(of.root, to, symlinks=True)
        return cls(to)

    def file(self, status: str, task: str = "", number: int = 0) -> Path:
        """A job file of that class."""
        return sorted((self.state / status).glob(f"{task}-*.json" if task else "*-*.json"))[number]

    def of(self, output: str) -> Path:
        """The file of the done job that made this first."""
        for file in (self.state / "done").glob("*.json"):
            if next(iter(read(file)["result"]["outputs"]), None) == output:
                return file
        raise AssertionError(f"nobody has made {output}")

    def run(self, target: str) -> Path:
        """The record of the newest run of this target."""
        return [file for file in sorted((self.state / "runs").glob("*.json")) if read(file)["target"] == target][-1]

    def everything(self) -> Counter[bytes]:
        """The bytes of all files, wherever they lie, but for what runners say, of themselves and to the tests."""
        found: Counter[bytes] = Counter()
        for file in self.root.rglob("*"):
            if file.is_symlink():
                found[os.fsencode(os.readlink(file))] += 1
            elif file.is_file() and file.parent.name not in ("locks", "__pycache__") and file.name != "stderr.txt":
                found[same_but_for_retries(file.read_bytes())] += 1
        return found


def same_but_for_retries(data: bytes) -> bytes:
    """A job that is put back counts its retries anew: that is no loss."""
    try:
        job = json.loads(data)
    except ValueError:
        return data
    if not isinstance(job, dict) or "retries_from" not in job:
        return data
    return json.dumps({**job, "retries_from": 0}, sort_keys=True).encode()


def read(file: Path) -> Any:
    return json.loads(file.read_bytes())


def write(file: Path, document: Any) -> None:
    file.write_text(json.dumps(document, indent=2) + "\n")


def edit(file: Path, change: Callable[[Any], object]) -> str:
    """Change a job file, or a run record, as a person would with an editor; its id."""
    document = read(file)
    change(document)
    write(file, document)
    return str(document["id"])


def look(root: Path, *words: str) -> Outcome:
    """`check` and its exit code."""
    result = CliRunner().invoke(cli, ["-C", str(root), "check", *words], env={"COLUMNS": "1000", "NO_COLOR": "1"})
    if isinstance(result.exception, RunnerError):
        return Outcome(result.exception.exit_code, result.stdout, str(result.exception))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def found(outcome: Outcome, kind: str = "faults") -> list[dict[str, Any]]:
    """What `check --json` found."""
    listed: list[dict[str, Any]] = json.loads(outcome.out)[kind]
    return listed
