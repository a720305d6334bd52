"""Ctrl-C once and twice, SIGTERM, SIGHUP, and processes that are stopped and go on: nothing is left behind, and
no attempt is used up. What each pair of signals does to a run is in tests/test_session.py.
"""

from __future__ import annotations

import fcntl
import os
import pty
import random
import signal
import subprocess
import termios
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

import pytest

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project
from tests.acceptance.sleepers import FLOW, SLEEPER, begun, in_order, let_go, resumed_to_the_end, start
from tests.faults.at_work import fork_server, outcomes, state_of
from tests.faults.conftest import TORTURE


@pytest.fixture
def project(project: Project) -> Project:
    project.module("sleeper", SLEEPER)
    return project


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """As a terminal does it: the whole foreground group gets the signal."""
    os.killpg(process.pid, signal.SIGINT)


def test_ctrl_c_once(project: Project, struck: Counter[str]) -> None:
    """What runs is finished, the rest waits, the exit code is 3, and it is said how to go on."""
    process = start(project)
    interrupt(process)
    struck["SIGINT"] += 1
    processes.wait_until("it says so", lambda: "nothing more is started" in project.said())
    let_go(project)
    assert process.wait(timeout=60) == 3, project.said()
    in_order(project)
    assert "resume" in project.said()
    project.all_gone(process)
    resumed_to_the_end(project)
    assert outcomes(project, "done", "Sleep") == [["done"]] * 6


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_second_time_it_ends_at_once(project: Project, signum: signal.Signals, struck: Counter[str]) -> None:
    """Though the tasks would take for ever; they are back in pending/, and no attempt is charged."""
    process = start(project)
    begin = time.monotonic()
    for _ in range(2):
        assert process.poll() is None, "the first one waits for what runs"
        os.killpg(process.pid, signum)
        struck[signum.name] += 1
        time.sleep(0.5)  # two at the same moment are one
    assert process.wait(timeout=60) == 3, project.said()
    assert time.monotonic() - begin < 9, "it was not the end of the grace"
    requeued(project, process)


def requeued(project: Project, process: subprocess.Popen[bytes]) -> None:
    """What workers had was cut short: that is noted, and costs nothing."""
    project.all_gone(process)
    assert project.counts() == {"pending": 6}
    assert not list((project.root / "data").iterdir())
    resumed_to_the_end(project)
    noted = Counter(map(tuple, outcomes(project, "done", "Sleep")))
    assert noted.keys() == {("done",), ("interrupted", "done")}
    assert 2 <= noted["interrupted", "done"] <= 4


@pytest.mark.parametrize(
    ("signum", "whom"),
    [
        (signal.SIGTERM, "the scheduler"),
        (signal.SIGTERM, "all of them, as from systemd"),
        (signal.SIGHUP, "its group"),
        (signal.SIGINT, "all of them, as from systemd"),
    ],
)
def test_what_runs_is_finished_whoever_gets_the_signal(
    project: Project, signum: signal.Signals, whom: str, struck: Counter[str]
) -> None:
    process = start(project)
    if whom == "the scheduler":
        process.send_signal(signum)
        struck[signum.name] += 1
    elif whom == "its group":
        os.killpg(process.pid, signum)
        struck[signum.name] += 1
    else:
        family = processes.family(project.mark(process))
        assert len(family) == 1 + 1 + 2
        signal_all(family, signum)
        struck[signum.name] += len(family)
    let_go(project)
    assert process.wait(timeout=60) == 3, project.said()
    project.all_gone(process)
    in_order(project)
    resumed_to_the_end(project)
    assert outcomes(project, "done", "Sleep") == [["done"]] * 6


def signal_all(family: Iterable[processes.Process], signum: signal.Signals) -> None:
    for each in family:
        os.kill(each.pid, signum)


def test_what_takes_longer_than_the_grace_is_requeued_at_no_cost(project: Project, struck: Counter[str]) -> None:
    """Ten seconds after a SIGTERM, which no systemd unit has to raise."""
    process = start(project)
    begin = time.monotonic()
    process.terminate()
    struck["SIGTERM"] += 1
    assert process.wait(timeout=60) == 3, project.said()
    assert time.monotonic() - begin > 9
    requeued(project, process)


IGNORED = {signal.SIGHUP: ("nohup",), signal.SIGINT: ("sh", "-c", 'trap "" INT; exec "$@"', "sh")}


@pytest.mark.parametrize("signum", IGNORED, ids=["nohup", "in a script's background"])
def test_a_signal_that_was_ignored_before_stays_so(
    project: Project, signum: signal.Signals, struck: Counter[str]
) -> None:
    process = start(project, before=IGNORED[signum])
    for _ in range(2):
        os.killpg(process.pid, signum)
        struck[signum.name] += 1
    let_go(project)
    assert process.wait(timeout=60) == 0, project.said()
    assert project.counts() == {"done": 6}


def test_a_terminal_that_is_lost_is_a_hangup_and_nothing_else(project: Project, struck: Counter[str]) -> None:
    """What runs is finished. That nobody is there to read the last words changes no exit code."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        project.command("run", FLOW, "--workers", "2", *QUICK),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=project.environment(),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        os.close(theirs)
        processes.wait_until("two tasks have begun", lambda: begun(project) == 2)
        assert os.read(ours, 1)
        os.close(ours)
        struck["SIGHUP"] += 1
        let_go(project)
        assert process.wait(timeout=60) == 3
    finally:
        process.kill()
        process.wait()
    in_order(project)
    resumed_to_the_end(project)


# ------------------------------------------------------------------------------------------------ stopped, and going on


@pytest.mark.parametrize("who", ["the scheduler", "a worker", "the fork server", "everybody"])
def test_stopped_and_going_on(project: Project, who: str, struck: Counter[str]) -> None:
    process = start(project)
    workers = project.workers(process)
    members = {
        "the scheduler": [process.pid],
        "a worker": [workers[0].pid],
        "the fork server": [fork_server(project, process).pid],
        "everybody": [each.pid for each in processes.family(project.mark(process))],
    }[who]
    for pid in members:
        os.kill(pid, signal.SIGSTOP)
        processes.wait_until("it is stopped", lambda pid=pid: state_of(pid) == "T")
        struck["SIGSTOP"] += 1
    let_go(project)
    if who == "a worker":
        processes.wait_until("the other one works", lambda: project.count("done") >= 3)
    elif who == "the fork server":
        processes.wait_until("the work is done", lambda: project.count("done") == 6)
    for pid in members:
        with suppress(ProcessLookupError):  # a run that is over does not wait for ever for its fork server
            os.kill(pid, signal.SIGCONT)
    assert process.wait(timeout=60) == 0, project.said()
    project.all_gone(process)
    assert outcomes(project, "done", "Sleep") == [["done"]] * 6


def test_the_time_that_all_are_stopped_is_no_job_s_time(project: Project, struck: Counter[str]) -> None:
    process = start(project, "limited=True")
    family = processes.family(project.mark(process))
    signal_all(family, signal.SIGSTOP)
    processes.wait_until("all are stopped", lambda: all(state_of(each.pid) == "T" for each in family))
    assert project.counts()["running"] >= 2, "none has taken too long before"
    struck["SIGSTOP"] += len(family)
    time.sleep(5.5)  # longer than their timeout of 5 s
    signal_all(family[::-1], signal.SIGCONT)
    let_go(project)
    assert process.wait(timeout=60) == 0, project.said()
    assert outcomes(project, "done", "Limited") == [["done"]] * 6


def test_a_fork_server_that_stays_stopped_is_replaced(project: Project, struck: Counter[str]) -> None:
    """As soon as somebody needs it. Meanwhile the runner hears nobody, but for some seconds only."""
    process = start(project, "count=2")
    os.kill(fork_server(project, process).pid, signal.SIGSTOP)
    struck["SIGSTOP"] += 1
    assert processes.kill(project.workers(process)[0])
    let_go(project)
    assert process.wait(timeout=60) == 1, project.said()
    project.all_gone(process)
    assert outcomes(project, "failed", "Sleep") == [["died"]]
    assert outcomes(project, "done", "Sleep") == [["done"]]


# ----------------------------------------------------------------------------------------- at the start, and at the end


ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize(
    ("where", "signum"),
    [
        ("import", signal.SIGINT),
        ("import", signal.SIGTERM),
        *(("flow", signum) for signum in ALL),
        ("import-again", signal.SIGINT),
        ("import-again", signal.SIGTERM),
    ],
)
def test_at_the_start(project: Project, where: str, signum: signal.Signals, struck: Counter[str]) -> None:
    """While the target's module is imported: nothing was touched. While it is asked: as later. While workers are
    being prepared, and that does not come to an end: one does not have to wait for it.
    """
    held = project.root / where
    held.touch()
    process = project.start("run", FLOW, *QUICK)
    processes.wait_until("it is there", (project.root / f"{where}-begun").exists)
    process.send_signal(signum)
    struck[f"{signum.name} at {where}"] += 1
    code = process.wait(timeout=60)
    project.all_gone(process)
    if where == "import":
        assert code == (3 if signum == signal.SIGINT else -signum), project.said()
        assert not project.state.exists()
    else:
        assert code == 3, project.said()
        assert project.names("runs")
    assert begun(project) == 0
    held.unlink()
    let_go(project)
    outcome = project.runner(*(("run", FLOW) if where == "import" else ("resume",)), *QUICK)
    assert outcome.code == 0, outcome.err
    assert outcomes(project, "done", "Sleep") == [["done"]] * 6


@pytest.mark.timeout(600)
def test_at_any_moment_of_the_start(project: Project, seed: int, struck: Counter[str]) -> None:
    """And of the work that follows, as long as an undisturbed run takes here."""
    chance = random.Random(seed)
    let_go(project)
    begin = time.monotonic()
    assert project.runner("run", FLOW, "count=1", *QUICK).code == 0
    seconds = time.monotonic() - begin
    for number in range(6 if not TORTURE else 60):
        process = project.start("run", FLOW, f"count={number + 2}", *QUICK)
        signum = chance.choice((signal.SIGTERM, signal.SIGHUP))
        time.sleep(chance.uniform(0, seconds))
        process.send_signal(signum)
        code = process.wait(timeout=60)
        assert code in (0, 3, -signum), project.said()
        struck[signum.name] += code != 0
        project.all_gone(process)
        check_state(project.root)
    assert "Traceback" not in project.said()
    outcome = project.runner("run", FLOW, *QUICK)
    assert outcome.code == 0, outcome.err
    assert {tuple(each) for each in outcomes(project, "done", "Sleep")} <= {("done",), ("interrupted", "done")}
    assert project.runner("check").code == 0


def test_at_the_very_end(project: Project, struck: Counter[str]) -> None:
    """All is done, and there is nothing to stop any more. (The end is held by a fork server that is stopped.)"""
    process = start(project)
    server, worker = fork_server(project, process).pid, project.workers(process)[0].pid
    os.kill(server, signal.SIGSTOP)
    let_go(project)
    processes.wait_until("its worker is ended", lambda: state_of(worker) == "Z")
    for signum in ALL:
        process.send_signal(signum)
        struck[signum.name] += 1
    os.kill(server, signal.SIGCONT)
    assert process.wait(timeout=60) == 0, project.said()
    project.all_gone(process)
    resumed = project.runner("resume")
    assert "nothing to resume" in resumed.said
    assert outcomes(project, "done", "Sleep") == [["done"]] * 6
