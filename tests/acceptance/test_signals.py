"""Ctrl-C once and twice, SIGTERM, `stop`, and a second runner on the same state."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project

SLEEPER = """
    import os
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Output, Task

    @dataclass
    class Sleep(Task):
        number: int
        seconds: float
        output_filepath: Output
        retries = 0

        def run(self):
            Path(f"begun-{self.number}").touch()
            time.sleep(self.seconds)
            self.output_filepath.write_text("slept")

    def sleepers(count: int = 6, seconds: float = 1.0):
        return [Sleep(n, seconds, Path(f"data/{n}.txt")) for n in range(count)]
"""
FLOW = "jobs.sleeper:sleepers"


@pytest.fixture
def project(project: Project) -> Project:
    project.module("sleeper", SLEEPER)
    return project


def start(project: Project, count: int = 6, seconds: float = 1.0) -> subprocess.Popen[bytes]:
    """A run that is at work with two workers."""
    process = project.start("run", FLOW, f"count={count}", f"seconds={seconds}", "--workers", "2", *QUICK)
    processes.wait_until("two tasks have begun", lambda: begun(project) >= 2 or process.poll() is not None)
    assert process.poll() is None, project.said()
    return process


def begun(project: Project) -> int:
    return len(list(project.root.glob("begun-*")))


def resumed_to_the_end(project: Project, count: int = 6) -> None:
    """Nothing was lost, and no retry was used up: these tasks have none."""
    check_state(project.root)
    outcome = project.runner("resume")
    assert outcome.code == 0, outcome.err
    assert project.counts() == {"done": count}


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """As a terminal does it: the whole foreground group gets the signal."""
    os.killpg(process.pid, signal.SIGINT)


def test_ctrl_c_once(project: Project) -> None:
    """What runs is finished, the rest waits, the exit code is 3, and it is said how to go on."""
    process = start(project)
    interrupt(process)
    assert process.wait(timeout=15) == 3, project.said()
    done = project.count("done")
    assert project.counts() == {"done": done, "pending": 6 - done}
    assert 2 <= done < 6
    assert begun(project) == done, "what had begun was finished, and nothing else was begun"
    assert "resume" in project.said()
    project.all_gone(process, 5)
    resumed_to_the_end(project)


def test_ctrl_c_twice(project: Project) -> None:
    """At once, though the tasks would take a minute; they are back in pending/, and no attempt is charged."""
    process = start(project, seconds=60)
    interrupt(process)
    time.sleep(0.5)
    assert process.poll() is None, "the first one waits for what runs"
    begin = time.monotonic()
    interrupt(process)
    code = process.wait(timeout=15)
    assert code == 3, project.said()
    assert time.monotonic() - begin < 5
    project.all_gone(process, 5)
    assert project.counts() == {"pending": 6}
    assert not list(project.root.glob("data/*.txt"))
    project.module("sleeper", SLEEPER.replace("time.sleep(self.seconds)", "pass"))
    resumed_to_the_end(project)


def test_sigterm(project: Project) -> None:
    """The whole group gets it, as from systemd: good order, exit 3, soon."""
    process = start(project)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=30) == 3, project.said()
    project.all_gone(process, 5)
    assert not project.count("running")
    resumed_to_the_end(project)


def test_stop(project: Project) -> None:
    process = start(project)
    stopped = project.runner("stop")
    assert stopped.code == 0, stopped.err
    assert process.wait(timeout=15) == 3, project.said()
    done = project.count("done")
    assert project.counts() == {"done": done, "pending": 6 - done}
    assert 2 <= done < 6
    resumed_to_the_end(project)


def test_a_stop_is_for_the_runner_it_was_meant_for(project: Project) -> None:
    """Nobody is alive: whether that is an error or not, it must not stop the next one."""
    project.runner("stop")
    assert project.runner("run", FLOW, "count=2", "seconds=0", *QUICK).code == 0


def test_a_second_runner(project: Project) -> None:
    """Exit 75, the first one named; it goes on undisturbed, and looking is never in its way."""
    process = start(project, count=4, seconds=6)
    for words in (("run", FLOW, *QUICK), ("resume",)):
        second = project.runner(*words)
        assert second.code == 75, second.err
        assert str(process.pid) in second.err
    begin = time.monotonic()
    assert project.runner("status").code == 0
    assert project.runner("list").code == 0
    assert time.monotonic() - begin < 5
    handed_in = project.runner("submit", "jobs.sleeper:Sleep", "number=9", "seconds=0", "output_filepath=data/9.txt")
    assert handed_in.code == 0, handed_in.err
    assert process.wait(timeout=30) == 0, project.said()
    assert project.counts() == {"done": 5}, "what was handed in beside a live runner is done by it"


def test_a_killed_runner_leaves_no_lock(project: Project) -> None:
    process = start(project, seconds=0.5)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed_to_the_end(project)


def test_retry_and_wait(project: Project) -> None:
    """Without a live runner it is carried out at once, and nothing is started."""
    project.module("sleeper", SLEEPER.replace("time.sleep(self.seconds)", "Path('cure').read_text()"))
    assert project.runner("run", FLOW, "count=2", *QUICK).code == 1
    retried = project.runner("retry", "--failed", "--wait")
    assert retried.code == 0, retried.err
    assert project.counts() == {"pending": 2}
    (project.root / "cure").write_text("now")
    assert project.runner("resume", *QUICK).code == 0
    assert project.counts() == {"done": 2}


def test_retry_failed(project: Project) -> None:
    project.module("sleeper", SLEEPER.replace("time.sleep(self.seconds)", "Path('cure').read_text()"))
    assert project.runner("run", FLOW, "count=2", *QUICK).code == 1
    assert project.counts() == {"failed": 2}
    (project.root / "cure").write_text("now")
    retried = project.runner("retry", "--failed")
    assert retried.code == 0, retried.err
    outcome = project.runner("run", *QUICK)
    assert outcome.code == 0, outcome.err
    assert project.counts() == {"done": 2}
