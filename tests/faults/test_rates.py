"""A rate is kept, whatever is killed: between any two begins of a key lies the time that it asks for.

The tasks note when they begin, by a clock that all processes share and nobody sets.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.killer import Killer, Kind
from tests.acceptance.project import QUICK, Project
from tests.faults.conftest import TORTURE
from tests.faults.test_clock import DAY, Clock

TOLERANCE = 0.95  # a task may be kept from noting its begin for some milliseconds

MODULE = """
    import os
    import time
    from dataclasses import dataclass
    from runner import Task
    from jobs.work import at_work

    def begun(key):
        log = os.open("begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(log, f"{key} {time.monotonic()}\\n".encode())
        os.close(log)

    @dataclass
    class Fetch(Task):
        number: int
        key: str
        rate: float
        retries = 100
        backoff = 0.01

        def limits(self):
            return {self.key: (None, self.rate)}

        def run(self):
            begun(self.key)
            with at_work(f"Fetch-{self.key}-{self.number}"):
                time.sleep(0.01)

    @dataclass
    class Parse(Task):
        number: int
        seconds: float
        retries = 100
        backoff = 0.01

        def limits(self):
            return ["cpu"]

        def run(self):
            begun("cpu")
            time.sleep(self.seconds)

    def nightly(fetches: int, rate: float, parses: int, long: int = 0):
        yield from (Parse(number, 0.001) for number in range(parses // 2))
        yield from (Fetch(number, "host:a", rate) for number in range(fetches))
        yield from (Parse(10**6 + number, 0.3) for number in range(long))
        yield from (Parse(number, 0.001) for number in range(parses // 2, parses))
"""


@pytest.fixture
def project(project: Project) -> Project:
    project.module("work", (Path(__file__).parents[1] / "acceptance" / "work.py").read_text())
    project.module("pace", MODULE)
    project.variables["WORK_SECONDS"] = "0"
    return project


def begins(project: Project, key: str) -> list[float]:
    try:
        lines = (project.root / "begun").read_text().splitlines()
    except FileNotFoundError:
        return []
    return sorted(float(at) for name, at in map(str.split, lines) if name == key)


def gaps(project: Project) -> list[float]:
    return [after - before for before, after in pairwise(begins(project, "host:a"))]


def flow(fetches: int, rate: float, parses: int, long: int = 0) -> list[str]:
    return ["jobs.pace:nightly", f"fetches={fetches}", f"rate={rate}", f"parses={parses}", f"long={long}"]


# ------------------------------------------------------------------------------------------------------- undisturbed


@pytest.mark.parametrize("threads", [1, 4])
def test_begins_keep_the_rate_and_not_only_what_is_handed_over(
    project: Project, threads: int, record_property: Callable[[str, object], None]
) -> None:
    """Beside tasks so short that they are sent ahead, and long ones for those to lie behind."""
    words = flow(12, 4.0, 1500, 8 * threads)
    outcome = project.runner("run", *words, "--workers", "2", "--threads", str(threads), *QUICK)
    assert outcome.code == 0, outcome.err
    assert len(gaps(project)) == 11
    assert min(gaps(project)) >= TOLERANCE / 4.0
    rest = [at for at in begins(project, "cpu") if at > begins(project, "host:a")[0]]
    assert len(rest) > 100, "the others go on meanwhile"
    record_property("struck", f"{threads} threads: gaps of {min(gaps(project)):.4f} to {max(gaps(project)):.4f} s")


# ------------------------------------------------------------------------------------------------------------- killed


@pytest.mark.timeout(900 if TORTURE else 150)
@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_at_any_moment(project: Project, durability: str, seed: int, struck: Counter[str]) -> None:
    """Runner, workers and all of them, again and again; two workers with four threads each."""
    count, kills, kinds = (200, 60, 4000) if TORTURE else (24, 8, 600)
    words = ("run", *flow(count, 4.0, kinds, 24), "--workers", "2", "--threads", "4", "--durability", durability)
    each: tuple[Kind, ...] = ("scheduler", "worker", "group")
    killer = Killer(project, words, seed, each, step=4)
    killer.progress = lambda: len(begins(project, "host:a"))
    killer.run(kills)
    struck.update({kind: killer.struck[kind] for kind in each})
    assert len(begins(project, "host:a")) >= count
    assert min(gaps(project)) >= TOLERANCE / 4.0
    assert project.counts() == {"done": count + kinds + 24}
    assert "twice" not in project.log.read_text()
    assert project.runner("check").code == 0


INTERVAL = 4.0


def kill(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGKILL)
    return -signal.SIGKILL


def kill_all(process: subprocess.Popen[bytes]) -> int:
    os.killpg(process.pid, signal.SIGKILL)
    return -signal.SIGKILL


def interrupt(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGINT)
    return 3


def ended(process: subprocess.Popen[bytes]) -> int:
    return 0


def again(project: Project, process: subprocess.Popen[bytes], end: Callable[[Any], int], *words: str) -> float:
    """Once its first fetch has begun the run ends; the next one starts at once. Returns when that is ready to work."""
    processes.wait_until("the first has begun", lambda: begins(project, "host:a"))
    code = end(process)
    assert process.wait(timeout=60) == code, project.said()
    project.all_gone(process)
    before = len(begins(project, "cpu"))
    following = project.start(*words)
    processes.wait_until("others have begun", lambda: len(begins(project, "cpu")) > before or following.poll())
    ready = time.monotonic()
    assert len(begins(project, "host:a")) == 1, "nobody else waits for it"
    assert following.wait(timeout=60) == 0, project.said()
    check_state(project.root)
    return ready


@pytest.mark.parametrize("verb", ["resume", "run"])
@pytest.mark.parametrize("end", [kill, kill_all, interrupt, ended])
def test_the_next_runner_waits_for_what_is_left(
    project: Project, end: Callable[[Any], int], verb: str, struck: Counter[str]
) -> None:
    """The interval from the last begin, no less and not much more; who has no rate does not wait."""
    if end is ended:
        process = project.start("run", *flow(1, 1 / INTERVAL, 0), *QUICK)
        next_words = ("run", *flow(2, 1 / INTERVAL, 40), "--workers", "2", *QUICK)
    else:
        words = ("run", *flow(2, 1 / INTERVAL, 0, 20), "--workers", "2", *QUICK)
        process = project.start(*words)
        next_words = ("resume",) if verb == "resume" else words
    ready = again(project, process, end, *next_words)
    struck[end.__name__] += 1
    begun = begins(project, "host:a")
    assert begun[1] - begun[0] >= TOLERANCE * INTERVAL
    assert begun[1] <= max(begun[0] + INTERVAL, ready) + 1.0, "no later than it has to be"


@pytest.mark.parametrize("day", [DAY, -DAY], ids=["forward", "back"])
def test_wherever_the_clock_is_put_meanwhile(project: Project, day: float, struck: Counter[str]) -> None:
    clock = Clock(project, struck)
    words = ("run", *flow(2, 1 / INTERVAL, 0, 20), "--workers", "2", *QUICK)
    process = project.start(*words)

    def end(process: subprocess.Popen[bytes]) -> int:
        clock.jump(day)
        return kill(process)

    ready = again(project, process, end, "resume")
    begun = begins(project, "host:a")
    assert begun[1] - begun[0] >= TOLERANCE * INTERVAL
    assert begun[1] <= max(begun[0] + INTERVAL, ready) + 1.0


def test_what_had_not_begun_when_the_run_was_stopped_was_no_start(project: Project, struck: Counter[str]) -> None:
    """All threads are at work when the fetch comes due, and the run is stopped before one has nothing to do."""
    project.module("hold", HOLD)
    process = project.start("run", "jobs.hold:flow", "--workers", "1", *QUICK)
    processes.wait_until("the thread is at work", lambda: (project.root / "holding").exists())
    handed = project.runner("submit", "jobs.pace:Fetch", "number=1", "key=host:a", f"rate={1 / 60}")
    assert handed.code == 0, handed.err
    processes.wait_until("the fetch is taken in", lambda: project.count("pending") == 1 and not project.names("inbox"))
    process.send_signal(signal.SIGINT)
    struck["interrupt"] += 1
    (project.root / "open").touch()
    assert process.wait(timeout=60) == 3, project.said()
    assert begins(project, "host:a") == []
    started = time.monotonic()
    assert project.runner("resume").code == 0
    (begun,) = begins(project, "host:a")
    assert begun - started < 30, "an interval is a minute"


HOLD = """
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Task

    @dataclass
    class Hold(Task):
        def run(self):
            Path("holding").touch()
            while not Path("open").exists():
                time.sleep(0.005)

    @dataclass
    class Short(Task):
        number: int
        priority = 1

    def flow():
        yield from (Short(number) for number in range(100))  # after such short ones others are sent ahead
        yield Hold()
"""
