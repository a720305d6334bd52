"""A project in a temporary folder, and the runner's command line on it: what a user has, and nothing more."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

from tests.acceptance import processes

STATUSES = ("pending", "running", "done", "failed", "blocked", "cancelled")
QUICK = ("--durability", "process")  # where the durability is not the point


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that was said to the user, on one line: how it was wrapped does not matter."""
        return re.sub(r"\s+", " ", self.err)


@dataclass
class Project:
    root: Path
    settings: str = ""
    variables: dict[str, str] = field(default_factory=dict)  # of the runner's environment; WORK_... is for `work.py`
    hears: Path | None = None  # the file that what started runners say goes to; None: stderr.txt in the project
    cwd: Path | None = None  # where the runner is called; None: the folder that the project is in
    address: str = ""  # of the Dask scheduler whose workers run the tasks; "": processes of the runner's own do
    started: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)  # by the mark of its family

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        if not (self.root / "pyproject.toml").exists():
            (self.root / "pyproject.toml").write_text(f'[tool.runner]\nmodules = ["jobs"]\n{self.settings}')
        (self.root / "jobs").mkdir(exist_ok=True)
        (self.root / "jobs" / "__init__.py").touch()

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def ear(self) -> Path:
        return self.hears or self.root / "stderr.txt"

    @property
    def log(self) -> Path:
        """Where the tasks of `work.py` note their starts and ends."""
        return self.root / "work.log"

    def module(self, name: str, text: str) -> None:
        """Write jobs/NAME.py."""
        (self.root / "jobs" / f"{name}.py").write_text(dedent(text), encoding="utf-8")

    # ------------------------------------------------------------------------------------------- the command line

    def command(self, *words: str) -> list[str]:
        elsewhere = self.address and words and words[0] in ("run", "resume") and "--executor" not in words
        where = ("--executor", "dask", "--address", self.address) if elsewhere else ()
        return [sys.executable, "-m", "runner", "-C", str(self.root), *words, *where]

    def environment(self) -> dict[str, str]:
        wishes = {name: value for name, value in self.variables.items() if name.startswith("WORK_")}
        if wishes:  # in a file: workers elsewhere do not have the runner's environment
            new = self.root / f".work-{secrets.token_hex(4)}.json"
            new.write_text(json.dumps(wishes))
            new.replace(self.root / "work.json")
        return {**os.environ, "NO_COLOR": "1", "COLUMNS": "240", "PYTHONDONTWRITEBYTECODE": "1", **self.variables}

    def runner(self, *words: str, given: str | None = None, seconds: float = 60) -> Outcome:
        """Run a verb to its end."""
        done = subprocess.run(
            self.command(*words),
            input=given,
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=seconds,
            cwd=self.cwd or self.root.parent,
            check=False,
        )
        assert "Traceback (most recent call last)" not in done.stderr, done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
        """Start a verb in a process group of its own; what it says goes to a file, for `said`."""
        mark = secrets.token_hex(8)
        with self.ear.open("ab") as said:
            process = subprocess.Popen(
                [*before, *self.command(*words)],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=self.environment() | {processes.MARK: mark},
                cwd=self.cwd or self.root.parent,
                start_new_session=True,
            )
        self.started[mark] = process
        return process

    def mark(self, process: subprocess.Popen[bytes]) -> str:
        """What tells the family of a process that was started here."""
        return next(mark for mark, started in self.started.items() if started is process)

    def workers(self, process: subprocess.Popen[bytes]) -> list[processes.Process]:
        if not self.address:
            return processes.workers(self.mark(process), process.pid)
        locks = (name.removeprefix("worker-").partition("-")[0] for name in self.names("locks") if "worker-" in name)
        found = (processes.look(int(pid)) for pid in locks)
        return [worker for worker in found if worker is not None and worker.alive]

    def all_gone(self, process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
        """Wait until nobody is left of what was started here."""
        processes.all_gone(self.mark(process), seconds)

    def said(self) -> str:
        """What the started runners said so far, on one line."""
        return re.sub(r"\s+", " ", self.ear.read_text(errors="replace"))

    def close(self) -> None:
        """End all that was started and is still alive."""
        for mark, process in self.started.items():
            processes.clear(mark)
            process.wait()

    # --------------------------------------------------------------------------------------------- plain looks

    def names(self, folder: str) -> set[str]:
        """File names in a folder of the state that a user's `ls` would show."""
        try:
            return {name for name in os.listdir(self.state / folder) if not name.startswith(".")}
        except FileNotFoundError:
            return set()

    def ids(self, status: str) -> set[str]:
        return {name.removesuffix(".json") for name in self.names(status) if name.endswith(".json")}

    def count(self, status: str) -> int:
        return len(self.names(status))

    def counts(self) -> dict[str, int]:
        """How many jobs each status has, the empty ones left out."""
        return {status: count for status in (*STATUSES, "quarantine") if (count := len(self.ids(status)))}

    def jobs(self, status: str, task: str = "") -> list[dict[str, Any]]:
        """The job files of a status whose task's class is `task`."""
        found = []
        for file in sorted(self.state.glob(f"{status}/{task}*.json")):
            with suppress(FileNotFoundError):  # beside a live runner it may have moved on
                found.append(json.loads(file.read_bytes()))
        return found

    def error(self, task: str, status: str = "failed") -> str:
        """Type and message of the last attempt of the one job of this class."""
        (job,) = self.jobs(status, f"{task}-")
        error = job["attempts"][-1]["error"]
        return f"{error['type']}: {error['message']}"

    def snapshot(self) -> dict[str, bytes]:
        """Every job file with its bytes: to prove that nothing was moved."""
        folders = ("inbox", *STATUSES, "quarantine")
        files = (file for folder in folders for file in self.state.glob(f"{folder}/*"))
        return {str(file.relative_to(self.state)): file.read_bytes() for file in files}
