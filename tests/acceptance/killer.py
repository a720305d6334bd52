"""Kill -9 to the scheduler, to one worker, to the whole group, at random moments; then resume, until all is done.

A kill counts only if it struck a live process of the runner that was started. After each death of the scheduler the
folders are looked at before anybody resumes: what is in done/ then must never be done again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tests.acceptance import processes
from tests.acceptance.invariants import check_state, whole_files
from tests.acceptance.project import Project

Kind = Literal["scheduler", "worker", "group"]
KINDS: tuple[Kind, ...] = ("scheduler", "worker", "group")
BUSY = 75


@dataclass
class Killer:
    """Runs `first` in the project, and `resume` after every death, until exit 0."""

    project: Project
    first: Sequence[str]
    seed: int
    kinds: Sequence[Kind] = KINDS
    step: int = 10  # at most so many more jobs are done between two kills
    while_dead: Callable[[], None] = lambda: None  # called after a death, before the resume
    patience: float = 60.0  # seconds for anything that must happen
    progress: Callable[[], int] | None = None  # how much is done; None: the number of files in done/
    struck: Counter[str] = field(default_factory=Counter)
    interrupted: set[str] = field(default_factory=set)  # ids in running/ when a scheduler died

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.deck: list[Kind] = []
        self.earlier = self.project.names("runs")
        print(f"killer's seed: {self.seed}")

    def run(self, wanted: int) -> str:
        """Until at least `wanted` kills struck, and then to the end. Returns a line that says what struck."""
        deaths = 0
        process = self.start()
        while self.struck.total() < wanted:
            if self.moment(process) and self.strike(process):
                deaths += 1
                process = self.start()
            elif process.poll() is not None and self.struck.total() < wanted:
                process = self.ended(process, wanted)
        while (code := process.wait(timeout=self.patience)) == BUSY:
            process = self.again(process)
        assert code == 0, f"exit code {code} (seed {self.seed}): {self.project.said()[-2000:]}"
        self.project.all_gone(process)
        kinds = ", ".join(f"{kind} {self.struck[kind]}" for kind in self.kinds)
        return f"{self.struck.total()} kills ({kinds}), {deaths} resumes, seed {self.seed}"

    def start(self) -> subprocess.Popen[bytes]:
        """`resume`; or the first command, as long as its run is not on record, and so cannot be resumed."""
        recorded = any(name.endswith(".json") for name in self.project.names("runs") - self.earlier)
        return self.project.start(*(("resume",) if recorded else self.first))

    def again(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """A runner found workers that the killed one left behind: it said so, and may be tried again soon."""
        self.patience -= 0.2
        assert self.patience > 0, f"still busy: {self.project.said()[-2000:]}"
        time.sleep(0.2)
        return self.start()

    def ended(self, process: subprocess.Popen[bytes], wanted: int) -> subprocess.Popen[bytes]:
        assert process.returncode == BUSY, (
            f"ended with exit code {process.returncode} after {self.struck.total()} of {wanted} kills "
            f"(seed {self.seed}): {self.project.said()[-2000:]}"
        )
        return self.again(process)

    def moment(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait for a random moment. False if the process ended before it came.

        One in four is a time since now (early ones strike start-up and recovery), unless too much is done by then; the
        others are a bit of progress. So many kills fit into a run, however fast the machine is.
        """
        deadline = time.monotonic() + self.patience
        by_time = self.random.random() < 0.25
        due = time.monotonic() + (self.random.uniform(0.02, 1.0) if by_time else self.patience)
        goal = self.done() + (2 * self.step if by_time else self.random.randint(1, self.step))
        while time.monotonic() < due and self.done() < goal:
            if process.poll() is not None:
                return False
            time.sleep(0.002)
        assert time.monotonic() < deadline, f"no progress (seed {self.seed}): {self.project.said()[-2000:]}"
        time.sleep(self.random.uniform(0, 0.01))
        return process.poll() is None

    def done(self) -> int:
        return self.project.count("done") if self.progress is None else self.progress()

    def strike(self, process: subprocess.Popen[bytes]) -> bool:
        """One kill. True if the scheduler is dead of it, and all looks were had."""
        if not self.deck:
            self.deck = self.random.sample(self.kinds, len(self.kinds))  # each kind gets its share
        kind = self.deck.pop()
        if kind == "worker":
            workers = self.project.workers(process)
            if workers and processes.kill(self.random.choice(workers)):
                self.struck[kind] += 1
            else:
                self.deck.append(kind)  # there was none just then
            whole_files(self.project.state)
            return False
        if kind == "scheduler":
            process.send_signal(signal.SIGKILL)  # not reaped yet, so the pid is still its own
        else:
            os.killpg(process.pid, signal.SIGKILL)
            processes.clear(self.project.mark(process))  # workers may have groups of their own
        if process.wait() != -signal.SIGKILL:
            return False  # it had ended by itself a moment before
        self.struck[kind] += 1
        self.look()
        return True

    def look(self) -> None:
        self.interrupted |= self.project.ids("running")
        check_state(self.project.root)
        self.while_dead()
