"""Workers whose scheduler is dead, and runners beside each other: never two writers, and who is in the way is named.

What the recovery does about a worker that is alive, case by case, is in tests/workers/test_orphans.py.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance import processes
from tests.acceptance.project import QUICK, Project
from tests.faults.at_work import fork_server, gate, nothing_left, outcomes, started, state_of, troubled, unlink
from tests.faults.conftest import TORTURE

ALONE = ("--workers", "1", *QUICK)
FIFREEZE, FITHAW = 0xC0045877, 0xC0045878


@pytest.fixture
def project(project: Project) -> Project:
    return troubled(project)


def at_work_on(project: Project, name: str, *words: str) -> subprocess.Popen[bytes]:
    """Start a runner, and wait until the task of that name has begun in it."""
    before = started(project)[name]
    process = project.start(*words)
    processes.wait_until(f"{name} has begun", lambda: started(project)[name] > before)
    return process


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_worker_that_goes_on_writing_is_ended_before_its_task_runs_again(
    project: Project, struck: Counter[str]
) -> None:
    """It has asked the kernel not to be killed, as nobody can forbid: the recovery waits for it, then kills it."""
    process = at_work_on(project, "Clings", "run", "jobs.trouble:Clings", "output_filepath=data/out.txt", *ALONE)
    (worker,) = project.workers(process)
    processes.wait_until("it clings", (project.root / "clings").exists)
    kill(process)
    (staged,) = (project.root / "data").glob(".out*")
    size = staged.stat().st_size
    processes.wait_until("it writes on", lambda: staged.stat().st_size > size)
    resumed = project.runner("resume")
    assert resumed.code == 0, resumed.err
    assert "workers that an earlier run left behind were ended" in resumed.said
    assert processes.look(worker.pid) != worker
    struck["orphan ended"] += 1
    nothing_left(project, process)
    assert (project.root / "data" / "out.txt").read_text() == "whole\n"
    assert outcomes(project, "done", "Clings") == [["interrupted", "done"]]


@pytest.fixture
def frozen(project: Project, tmp_path: Path) -> Iterator[int]:
    """A file system of its own for data/, to be frozen: who writes there then cannot even be killed."""
    image, data = tmp_path / "image", project.root / "data"
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if mkfs is None:
        pytest.skip("needs mkfs.ext4")
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run([mkfs, "-q", "-F", str(image)], check=True, capture_output=True)
    try:
        subprocess.run(["mount", "-o", "loop", str(image), str(data)], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount a loop device here: {error.stderr!r}")
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield folder
    finally:
        with suppress(OSError):  # it is thawed
            fcntl.ioctl(folder, FITHAW, 0)
        os.close(folder)
        project.close()
        subprocess.run(["umount", str(data)], check=True, capture_output=True)


@pytest.mark.root
def test_a_worker_that_cannot_be_ended_is_named_and_nothing_is_touched(
    project: Project, frozen: int, struck: Counter[str]
) -> None:
    gates = gate(project, "Fetch-0")
    target = ("jobs.work:Fetch", "name=0", "output_filepath=data/0.txt")
    process = at_work_on(project, "Fetch-0", "run", *target, *ALONE)
    (worker,) = project.workers(process)
    fcntl.ioctl(frozen, FIFREEZE, 0)
    unlink(gates)
    processes.wait_until("it is stuck in the kernel", lambda: state_of(worker.pid) == "D")
    kill(process)
    before = project.snapshot()
    for words in (("resume",), ("run", *target, *QUICK)) if TORTURE else (("resume",),):
        refused = project.runner(*words)
        assert refused.code == 75, refused.err
        assert f"pid {worker.pid} " in refused.said
        assert state_of(worker.pid) == "D"
        assert project.snapshot() == before
        struck["refused"] += 1
    fcntl.ioctl(frozen, FITHAW, 0)
    resumed = project.runner("resume")
    assert resumed.code == 0, resumed.err
    nothing_left(project, process)
    assert outcomes(project, "done", "Fetch") == [["interrupted", "done"]]


@pytest.mark.parametrize("who", ["the worker", "the fork server", "everybody"])
def test_what_is_stopped_when_the_scheduler_is_killed_ends_with_it(
    project: Project, who: str, struck: Counter[str]
) -> None:
    """It can do nothing for that itself: it is the kernel that ends it."""
    gates = gate(project, "Single-1")
    process = at_work_on(project, "Single-1", "run", "jobs.work:Single", "number=1", *ALONE)
    stopped = {
        "the worker": project.workers(process),
        "the fork server": [fork_server(project, process)],
        "everybody": processes.family(project.mark(process)),
    }[who]
    for each in stopped:
        os.kill(each.pid, signal.SIGSTOP)
        processes.wait_until("it is stopped", lambda each=each: state_of(each.pid) == "T")
        struck["stopped"] += 1
    kill(process)
    unlink(gates)
    resumed = project.runner("resume")
    assert resumed.code == 0, resumed.err
    nothing_left(project, process)
    assert outcomes(project, "done", "Single") == [["interrupted", "done"]]


@pytest.mark.timeout(600)
def test_resumed_while_the_killed_one_is_not_even_dead(project: Project, seed: int, struck: Counter[str]) -> None:
    """The kill comes at any moment of the new runner's start; its workers are at work until then."""
    chance = random.Random(seed)
    gates = gate(project, "Fetch-0", "Fetch-1")
    process = project.start("run", "jobs.trouble:beside", "hows=", "innocents=2", "--workers", "2", *QUICK)
    for _ in range(5 if not TORTURE else 50):
        two_workers(project, process)
        resuming = project.start("resume")
        time.sleep(chance.uniform(0, 0.4))
        kill(process)
        before = started(project)  # the dead start no more, and the other one is not that quick
        struck["kill"] += 1
        processes.wait_until(
            "it works, or has refused",
            lambda before=before, new=resuming: (
                started(project).total() >= before.total() + 2 or new.poll() is not None
            ),
        )
        process = resuming
        if resuming.poll() is not None:
            assert resuming.returncode == 75, project.said()
            struck["refused"] += 1
            process = project.start("resume")
    two_workers(project, process)
    unlink(gates)
    assert process.wait(60) == 0, project.said()
    for each in project.started.values():
        nothing_left(project, each)
    assert {outcome for job in outcomes(project, "done", "Fetch") for outcome in job[:-1]} == {"interrupted"}


def two_workers(project: Project, process: subprocess.Popen[bytes]) -> None:
    processes.wait_until("both are at work", lambda: len(project.workers(process)) == 2)


@pytest.mark.timeout(600)
def test_of_two_runners_started_together_one_works_and_the_other_names_it(
    project: Project, seed: int, struck: Counter[str]
) -> None:
    """On a state that is not there yet; then on one with an interrupted run, by `run` and `resume` in any mixture."""
    chance = random.Random(seed)
    gates = gate(project, "Fetch-0", "Fetch-1")
    run = ("run", "jobs.trouble:beside", "hows=", "innocents=2", "--workers", "2", *QUICK)
    said = project.root / "stderr.txt"
    for number in range(10 if not TORTURE else 50):
        offset = said.stat().st_size if number else 0
        begun = started(project).total()
        verbs = [run, run] if not number else chance.choices([run, ("resume",)], k=2)
        pair = []
        for verb in verbs:
            pair.append(project.start(*verb))
            time.sleep(chance.choice((0, chance.uniform(0, 0.05))))
        processes.wait_until("one has ended", lambda pair=pair: any(each.poll() is not None for each in pair))
        (second,) = (each for each in pair if each.poll() is not None)
        (first,) = (each for each in pair if each is not second)
        words = said.read_bytes()[offset:].decode()
        assert second.returncode == 75, words
        assert re.search(rf"another runner .*pid {first.pid}\b", words), words
        processes.wait_until("the first is at work", lambda begun=begun: started(project).total() == begun + 2)
        struck["pairs"] += 1
        kill(first)
    unlink(gates)
    resumed = project.runner("resume")
    assert resumed.code == 0, resumed.err
    for each in project.started.values():
        nothing_left(project, each)
    assert project.runner("check").code == 0


def test_a_stopped_runner_keeps_its_place(project: Project, struck: Counter[str]) -> None:
    """Whoever comes meanwhile is told who holds it; what it was asked for then is done once it goes on."""
    gates = gate(project, "Single-1")
    process = at_work_on(project, "Single-1", "run", "jobs.work:Single", "number=1", *QUICK)
    process.send_signal(signal.SIGSTOP)
    processes.wait_until("it is stopped", lambda: state_of(process.pid) == "T")
    struck["stopped"] += 1
    for words in (("resume",), ("run", "jobs.work:Single", "number=2")):
        refused = project.runner(*words, *QUICK)
        assert refused.code == 75, refused.err
        assert f"pid {process.pid} " in refused.said
    assert project.runner("status").code == 0
    assert project.runner("submit", "jobs.work:Single", "number=3").code == 0
    process.send_signal(signal.SIGCONT)
    unlink(gates)
    assert process.wait(60) == 0, project.said()
    nothing_left(project, process)
    assert outcomes(project, "done", "Single") == [["done"], ["done"]]
