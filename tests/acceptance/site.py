"""A project with the tasks of nights.py, its pages, and its nights: what was run, as told by three who must agree.

The log is written by the tasks themselves, the attempts are in the job files, and `changes` is what a user asks.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, STATUSES, Outcome, Project

TASKS = Path(__file__).parent
NAMES = ["00", "01", "02"]  # the pages, where a test asks for no other number
FETCHES = [f"FindingFetch-{name}" for name in NAMES]
PARSES = [f"Parse-{name}" for name in NAMES]
ALL = [*FETCHES, "Merge", *PARSES]  # what runs in the first night of the flow `found`


@dataclass
class Site:
    project: Project
    flow: str = "found"
    pages: int = 3
    night: int = 0
    noted: int = 0  # bytes of the log that were there before this night
    extra: tuple[str, ...] = field(default=QUICK)

    def __post_init__(self) -> None:
        self.project.variables.setdefault("WORK_SECONDS", "0")
        self.project.module("work", (TASKS / "work.py").read_text())
        self.tasks()
        (self.project.root / "site").mkdir()
        names = [f"{number:02}" for number in range(self.pages)]
        for name in names:
            self.page(name, f"text {name}\nstamp 1\n")
        self.name(*names)

    # ------------------------------------------------------------------------------------------ what a user changes

    def tasks(self, replaced: dict[str, str] | None = None) -> None:
        """Write jobs/nights.py; `replaced`: what stands there is replaced; it must be there."""
        text = (TASKS / "nights.py").read_text()
        for old, new in (replaced or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        self.project.module("nights", text)

    def page(self, name: str, text: str | None) -> None:
        """What the site has there now; None: nothing any more."""
        path = self.project.root / "site" / name
        if text is None:
            path.unlink()
        else:
            path.write_text(text)

    def name(self, *names: str) -> None:
        """The pages that the flow names."""
        (self.project.root / "names").write_text(" ".join(names))

    # ---------------------------------------------------------------------------------------------------- the nights

    @property
    def target(self) -> tuple[str, ...]:
        return ("run", f"jobs.nights:{self.flow}", *self.extra)

    def falls(self) -> None:
        """Another night."""
        self.night += 1
        (self.project.root / "night").write_text(str(self.night))
        self.noted = len(self.log)

    def tonight(self, *flags: str, code: int = 0) -> Outcome:
        """A run in the next night."""
        self.falls()
        return self.again(*flags, code=code)

    def again(self, *flags: str, code: int = 0) -> Outcome:
        """A run in the same night; only what it does is noted from here on."""
        self.noted = len(self.log)
        done = self.project.runner(*self.target, *flags)
        assert done.code == code, done.err
        check_state(self.project.root)
        return done

    # ---------------------------------------------------------------------------------------------- who was at work

    @property
    def log(self) -> bytes:
        return self.project.log.read_bytes() if self.project.log.exists() else b""

    def lines(self, word: str) -> list[str]:
        """The names after this word in the log, of this night."""
        lines = self.log[self.noted :].decode().splitlines()
        return sorted(line.split()[1] for line in lines if line.split()[0] == word)

    @property
    def started(self) -> list[str]:
        return self.lines("start")

    @property
    def run(self) -> str:
        """The newest run's id."""
        return max(name for name in self.project.names("runs") if name.endswith(".json")).removesuffix(".json")

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.project.state / "runs" / f"{self.run}.json").read_bytes())
        return found

    def records(self) -> list[dict[str, Any]]:
        """All run records."""
        return [json.loads(file.read_bytes()) for file in sorted(self.project.state.glob("runs/*.json"))]

    def attempts(self, *outcomes: str) -> Counter[str]:
        """Attempts of the newest run by job, as `called`; all outcomes, if none is given. Not where absence spread."""
        found: Counter[str] = Counter()
        for status in STATUSES:
            for job in self.project.jobs(status):
                for attempt in job["attempts"]:
                    if attempt.get("change") == "absent" and "input" in job["params"]:
                        continue  # its run() was not called
                    if attempt["run"] == self.run and (not outcomes or attempt["outcome"] in outcomes):
                        found[called(job)] += 1
        return found

    def ran(self) -> list[str]:
        """What ran in the newest run, and succeeded. The log and the job files must agree, where nothing was killed."""
        done = sorted(self.attempts("done").elements())
        assert self.lines("end") == done
        return done

    def changes(self, *run: str) -> dict[str, Any]:
        outcome = self.project.runner("changes", "--json", *run)
        assert outcome.code == 0, outcome.err
        found: dict[str, Any] = json.loads(outcome.out)
        return found

    def changed(self) -> dict[str, list[str]]:
        """What `changes` says of single jobs: kind -> outputs. Its numbers, those of the job files and these agree."""
        changes = self.changes()
        kinds: dict[str, list[str]] = {}
        for job in changes["jobs"]:
            kinds.setdefault(job["change"], []).append(job["output"])
        sums: Counter[str] = Counter()
        for numbers in changes["tasks"].values():
            sums.update(numbers)
        assert {kind: len(jobs) for kind, jobs in kinds.items() if kind != "blocked"} == {
            kind: number for kind, number in sums.items() if number and kind not in ("unchanged", "blocked")
        }, changes
        return {kind: sorted(jobs, key=str) for kind, jobs in kinds.items()}

    def job(self, task: str, name: str = "") -> tuple[str, dict[str, Any]]:
        """Status and file of a job, by its class and its page."""
        found = [
            (status, job)
            for status in STATUSES
            for job in self.project.jobs(status, f"{task}-")
            if not name or called(job) == f"{task}-{name}"
        ]
        assert len(found) == 1, found
        return found[0]

    def id(self, task: str, name: str = "") -> str:
        return str(self.job(task, name)[1]["id"])

    def read(self, path: str) -> str:
        return (self.project.root / path).read_text()

    def traces(self) -> dict[str, tuple[object, ...]]:
        """What must not change if nothing is done: job files with bytes and inode, outputs with inode and mtime."""
        root, found = self.project.root, {}
        for path in (*root.glob("state/done/*"), *root.glob("raw/*"), *root.glob("text/*"), root / "all.txt"):
            stat = path.stat()
            found[str(path.relative_to(root))] = (stat.st_ino, stat.st_mtime_ns, path.read_bytes())
        return found


def called(job: dict[str, Any]) -> str:
    """How the tasks of nights.py call themselves in the log."""
    task, params = job["task"].partition(":")[2], job["params"]
    if "name" in params:
        return f"{task}-{params['name']}"
    return f"{task}-{Path(params['input']).stem}" if "input" in params else str(task)
