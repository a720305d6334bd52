"""`stop`, `retry`, and a second runner on the same state. (Signals: tests/faults/test_signals.py.)"""

from __future__ import annotations

import os
import signal

import pytest

from tests.acceptance import processes
from tests.acceptance.project import QUICK, Project
from tests.acceptance.sleepers import FLOW, SLEEPER, in_order, let_go, resumed_to_the_end, start

FRAIL = SLEEPER.replace('while not Path("open").exists():', "while not Path('cure').read_text():")


@pytest.fixture
def project(project: Project) -> Project:
    project.module("sleeper", SLEEPER)
    return project


def test_stop(project: Project) -> None:
    process = start(project)
    stopped = project.runner("stop")
    assert stopped.code == 0, stopped.err
    processes.wait_until("it is taken in", lambda: not project.names("inbox"))
    let_go(project)
    assert process.wait(timeout=60) == 3, project.said()
    in_order(project)
    resumed_to_the_end(project)


def test_a_stop_is_for_the_runner_it_was_meant_for(project: Project) -> None:
    """Nobody is alive: whether that is an error or not, it must not stop the next one."""
    project.runner("stop")
    let_go(project)
    assert project.runner("run", FLOW, "count=2", *QUICK).code == 0


def test_a_second_runner(project: Project) -> None:
    """Exit 75, the first one named; it goes on undisturbed, and looking is never in its way."""
    process = start(project)
    for words in (("run", FLOW, *QUICK), ("resume",)):
        second = project.runner(*words)
        assert second.code == 75, second.err
        assert str(process.pid) in second.err
    assert project.runner("status").code == 0
    assert project.runner("list").code == 0
    handed_in = project.runner("submit", "jobs.sleeper:Sleep", "number=9", "output_filepath=data/9.txt")
    assert handed_in.code == 0, handed_in.err
    let_go(project)
    assert process.wait(timeout=60) == 0, project.said()
    assert project.counts() == {"done": 7}, "what was handed in beside a live runner is done by it"


def test_a_killed_runner_leaves_no_lock(project: Project) -> None:
    process = start(project)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed_to_the_end(project)


def test_retry_and_wait(project: Project) -> None:
    """Without a live runner it is carried out at once, and nothing is started."""
    project.module("sleeper", FRAIL)
    assert project.runner("run", FLOW, "count=2", *QUICK).code == 1
    retried = project.runner("retry", "--failed", "--wait")
    assert retried.code == 0, retried.err
    assert project.counts() == {"pending": 2}
    (project.root / "cure").write_text("now")
    assert project.runner("resume", *QUICK).code == 0
    assert project.counts() == {"done": 2}


def test_retry_failed(project: Project) -> None:
    project.module("sleeper", FRAIL)
    assert project.runner("run", FLOW, "count=2", *QUICK).code == 1
    assert project.counts() == {"failed": 2}
    (project.root / "cure").write_text("now")
    retried = project.runner("retry", "--failed")
    assert retried.code == 0, retried.err
    outcome = project.runner("run", *QUICK)
    assert outcome.code == 0, outcome.err
    assert project.counts() == {"done": 2}
