"""The clock jumps by a day, forward or back: whoever waits for a time waits as long as it was to wait, and no longer.

All processes of a runner have their time from a clock of this test's: the system's own, and what the test adds to it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.killer import Killer
from tests.acceptance.project import QUICK, Project
from tests.faults.conftest import TORTURE

DAY = 24 * 3600.0
WAYS = pytest.mark.parametrize("day", [DAY, -DAY], ids=["forward", "back"])

# Imported by every interpreter before anything else: `from time import time` and default arguments get this one too.
SET_CLOCK = """
import mmap
import os
import struct
import time

with open(os.environ["TEST_CLOCK"], "rb") as file:
    ahead = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
system, system_ns = time.time, time.time_ns
time.time = lambda: system() + struct.unpack("d", ahead)[0]
time.time_ns = lambda: system_ns() + int(struct.unpack("d", ahead)[0]) * 10**9
"""

TASKS = """
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from runner import RetryLater, Task
    from jobs.work import at_work, note

    def times(name):
        with open(f"times-{name}", "a+") as file:  # how often it was here before
            file.seek(0)
            before = len(file.read())
            file.write(".")
        note(f"at {name} {time.monotonic()} {time.time()}")
        return before

    @dataclass
    class Flaky(Task):
        number: int
        retries = 1
        backoff = 1.0

        def run(self):
            with at_work(f"Flaky-{self.number}"):
                if times(f"Flaky-{self.number}") == 0:
                    raise RuntimeError("503 Service Unavailable")

    @dataclass
    class Later(Task):
        number: int
        retries = 0

        def run(self):
            with at_work(f"Later-{self.number}"):
                if times(f"Later-{self.number}") < 2:
                    raise RetryLater(1.0, "429 Too Many Requests")

    @dataclass
    class Rated(Task):
        number: int
        retries = 0

        def limits(self):
            return {"host": (None, 2.0)}

        def run(self):
            with at_work(f"Rated-{self.number}"):
                times(f"Rated-{self.number}")

    @dataclass
    class Aged(Task):
        number: int
        max_age = 3600.0
        timeout = 3600.0

        def run(self):
            with at_work(f"Aged-{self.number}"):
                times(f"Aged-{self.number}")

    def rated(count: int = 4):
        return [Rated(number) for number in range(count)]

    def mixed(count: int):
        return [kind(number) for number in range(count) for kind in (Flaky, Later, Rated)]
"""


class Clock:
    """The time of a project's processes."""

    def __init__(self, project: Project, struck: Counter[str]) -> None:
        self.project, self.struck = project, struck
        self.file = project.root / "clock"
        self.ahead = 0.0
        self.file.write_bytes(struct.pack("d", 0.0))
        (project.root / "clock.d").mkdir()
        (project.root / "clock.d" / "sitecustomize.py").write_text(SET_CLOCK)
        path = [str(project.root / "clock.d"), os.environ.get("PYTHONPATH", "")]
        project.variables["PYTHONPATH"] = os.pathsep.join(filter(None, path))
        project.variables["TEST_CLOCK"] = str(self.file)
        project.variables["WORK_SECONDS"] = "0"
        project.module("work", (Path(__file__).parents[1] / "acceptance" / "work.py").read_text())
        project.module("late", TASKS)

    def jump(self, seconds: float) -> None:
        self.ahead += seconds
        with self.file.open("r+b", buffering=0) as file:
            file.write(struct.pack("d", self.ahead))
        self.struck["forward" if seconds > 0 else "back"] += 1

    def starts(self, name: str) -> list[tuple[float, float]]:
        """When a task has begun, by the clock that nobody sets and by the one that jumps."""
        lines = self.project.log.read_text().splitlines() if self.project.log.exists() else []
        noted = [line.split() for line in lines]
        return [(float(words[2]), float(words[3])) for words in noted if words[:2] == ["at", name]]

    def begun(self, name: str, times: int = 1) -> None:
        processes.wait_until(f"{name} has begun for the {times}. time", lambda: len(self.starts(name)) >= times, 60)

    def felt(self, name: str, least: float = DAY / 2) -> None:
        """The jump came between two starts of a task."""
        walls = [wall for _, wall in self.starts(name)]
        assert any(abs(after - before) > least for before, after in pairwise(walls)), walls


@pytest.fixture
def clock(project: Project, struck: Counter[str]) -> Clock:
    return Clock(project, struck)


def waiting(project: Project) -> dict[str, Any]:
    """The one job, as soon as it waits for its time."""
    found: list[dict[str, Any]] = []

    def look() -> bool:
        found[:] = [job for job in project.jobs("pending") if job["not_before"]]
        return bool(found)

    processes.wait_until("it waits for its time", look, 60)
    return found[0]


def ends(project: Project, process: Any, code: int = 0) -> None:
    """Well within a minute, and not within a day."""
    assert process.wait(timeout=60) == code, project.said()
    check_state(project.root)


def gaps(clock: Clock, name: str) -> list[float]:
    starts = [steady for steady, _ in clock.starts(name)]
    return [after - before for before, after in pairwise(starts)]


def run(project: Project, *words: str) -> Any:
    return project.start("run", *words, "--workers", "1", *QUICK)


# ------------------------------------------------------------------------------------------------------ while it runs


@WAYS
def test_a_retry_waits_for_its_backoff(project: Project, clock: Clock, day: float) -> None:
    process = run(project, "jobs.late:Flaky", "number=1")
    wait = waiting(project)["attempts"][-1]["retry_in"]
    clock.jump(day)
    ends(project, process)
    clock.felt("Flaky-1")
    (gap,) = gaps(clock, "Flaky-1")
    assert gap >= wait


@WAYS
def test_who_asked_for_more_time_gets_it_and_uses_up_no_retry(project: Project, clock: Clock, day: float) -> None:
    """Not even if the clock says that it has been asking for a day."""
    process = run(project, "jobs.late:Later", "number=1")
    waiting(project)
    clock.jump(day)
    ends(project, process)
    clock.felt("Later-1")
    assert all(gap >= 1.0 for gap in gaps(clock, "Later-1"))
    (job,) = project.jobs("done")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["later", "later", "done"]


def test_a_rate_is_kept(project: Project, clock: Clock) -> None:
    """Forward and back again: what was reckoned in between is of no day. Two start each second."""
    process = run(project, "jobs.late:rated", "count=4")
    left: set[str] = set()  # whom the runner has let go; when that was can be told from one side only
    nobody = end = time.monotonic()
    while len(left) < 4:
        before = time.monotonic()
        now = project.ids("running") | project.ids("done")
        nobody = nobody if now else before
        if len(now) > len(left):
            clock.jump(DAY if clock.ahead <= 0 else -2 * DAY)
        left |= now
        assert before < end + 60, project.said()
        time.sleep(0.002)
    assert time.monotonic() - nobody >= 1.5
    ends(project, process)
    assert [len(clock.starts(f"Rated-{number}")) for number in range(4)] == [1] * 4


@WAYS
def test_a_timeout_is_a_time_that_has_passed(project: Project, clock: Clock, day: float) -> None:
    (project.root / "gate-Aged-1").touch()
    process = run(project, "jobs.late:Aged", "number=1")
    processes.wait_until("it has begun", lambda: project.log.exists() and project.log.read_text(), 60)
    clock.jump(day)
    handed = project.runner("submit", "jobs.late:Aged", "number=2")
    assert handed.code == 0, handed.err
    processes.wait_until("the runner has looked round", lambda: not project.names("inbox"), 60)
    (project.root / "gate-Aged-1").unlink()
    ends(project, process)
    assert [[each["outcome"] for each in job["attempts"]] for job in project.jobs("done")] == [["done"], ["done"]]


# ---------------------------------------------------------------------------------------------- between two processes


@pytest.mark.parametrize("verb", ["resume", "run"])
@pytest.mark.parametrize("name", ["Flaky", "Later"])
@WAYS
def test_killed_while_it_waits(project: Project, clock: Clock, day: float, name: str, verb: str) -> None:
    """The time in its file is a day off then; it is waited for at most as long as it was to be."""
    process = run(project, f"jobs.late:{name}", "number=1")
    job = waiting(project)
    process.send_signal(signal.SIGKILL)
    process.wait()
    project.all_gone(process)
    clock.struck["kill"] += 1
    clock.jump(day)
    if day < 0:
        told = json.loads(project.runner("explain", job["id"], "--json").out)
        assert " min" not in told["verdict"], "who asks is told the same"
        assert " h" not in told["verdict"]
    words = ("resume",) if verb == "resume" else ("run", f"jobs.late:{name}", "number=1", *QUICK)
    outcome = project.runner(*words)
    assert outcome.code == 0, outcome.err
    clock.felt(f"{name}-1")
    check_state(project.root)


def test_runs_are_in_order_whatever_their_clock_says(project: Project, clock: Clock) -> None:
    """Ids strictly increase, the last is the newest, and what is up to date stays so."""
    seen: list[str] = []
    for day in (DAY, -DAY, -DAY):
        clock.jump(day)
        assert project.runner("run", "jobs.late:Flaky", "number=1", *QUICK).code == 0
        (new,) = {name.removesuffix(".json") for name in project.names("runs") if name.endswith(".json")} - {*seen}
        assert not seen or new > seen[-1]
        seen.append(new)
    assert json.loads(project.runner("status", "--json").out)["run"]["id"] == seen[-1]
    assert json.loads(project.runner("changes", "--json").out)["run"] == seen[-1]
    assert len(clock.starts("Flaky-1")) == 2
    clock.jump(-DAY)
    process = run(project, "jobs.late:Later", "number=1")
    waiting(project)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 3
    clock.jump(-DAY)
    resumed = project.runner("resume")
    assert resumed.code == 0, resumed.err
    assert len(clock.starts("Later-1")) == 3
    assert project.runner("check").code == 0


def test_an_age_below_nothing(project: Project, clock: Clock) -> None:
    """What was made tomorrow is young, and grows old in its time."""

    def started(times: int) -> None:
        outcome = project.runner("run", "jobs.late:Aged", "number=1", *QUICK)
        assert outcome.code == 0, outcome.err
        assert len(clock.starts("Aged-1")) == times

    clock.jump(DAY)
    started(1)
    clock.jump(-DAY)
    started(1)
    clock.jump(DAY)
    started(1)
    clock.jump(DAY)
    started(2)


# ----------------------------------------------------------------------------------------------------------- the inbox


def drop(project: Project, name: str, text: str) -> None:
    (project.state / "inbox" / name).write_text(text)


def looked(project: Project, number: int) -> None:
    """The runner has looked into the inbox since."""
    task = {"task": "jobs.late:Aged", "params": {"number": number}}
    (project.root / "whole.json").write_text(json.dumps(task))
    (project.root / "whole.json").rename(project.state / "inbox" / f"whole-{number}.json")
    processes.wait_until("the runner looks", lambda: f"whole-{number}.json" not in project.names("inbox"), 60)


@WAYS
def test_half_a_file_gets_its_two_seconds(project: Project, clock: Clock, day: float) -> None:
    """No less, and no day more."""
    (project.root / "gate-Aged-0").touch()
    process = run(project, "jobs.late:Aged", "number=0")
    processes.wait_until("it has begun", lambda: project.count("running") == 1, 60)
    shown = 0
    for number in range(1, 20, 2):
        began = time.monotonic()
        drop(project, f"half-{number}.json", '{"task": "jobs.late:Aged", "par')
        looked(project, number)
        clock.jump(day)
        looked(project, number + 1)
        there = f"half-{number}.json" in project.names("inbox")
        if time.monotonic() - began < 2.0:  # else the machine was too slow to tell
            assert there, "it was put aside at once"
            shown += 1
        name = f"half-{number}.json"
        processes.wait_until("it is put aside", lambda name=name: name in project.names("quarantine"), 60)
        if shown:
            break
    assert shown
    (project.root / "gate-Aged-0").unlink()
    ends(project, process, 1)


# ------------------------------------------------------------------------------------------------------- all the time


@pytest.mark.timeout(600 if TORTURE else 120)
def test_a_clock_that_never_rests(project: Project, clock: Clock, seed: int) -> None:
    """Jumps at random moments, by a day from the right time, and kills of the runner among them."""
    chance, over = random.Random(seed), threading.Event()

    def jumps() -> None:
        while not over.wait(chance.uniform(0.01, 0.2)):
            clock.jump(chance.choice([day for day in (-DAY, 0.0, DAY) if day != clock.ahead]) - clock.ahead)

    count, kills = (80, 60) if TORTURE else (4, 3)  # three jobs each: four for a kill
    first = ("run", "jobs.late:mixed", f"count={count}", "--workers", "2", *QUICK)
    killer = Killer(project, first, seed, ["scheduler"], step=2)
    jumper = threading.Thread(target=jumps)
    jumper.start()
    try:
        killer.run(kills)
    finally:
        over.set()
        jumper.join()
    clock.struck["kill"] += killer.struck.total()
    assert "twice" not in project.log.read_text()
    assert project.counts() == {"done": 3 * count}
    for job in project.jobs("done"):
        charged = [each for each in job["attempts"] if each["outcome"] in ("failed", "died", "timeout")]
        assert len(charged) <= ("Flaky" in job["id"]), "what the clock says uses up no retry"
    assert project.runner("check").code == 0
