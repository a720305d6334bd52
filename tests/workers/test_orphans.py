"""Workers that a killed scheduler leaves behind: gone within a second, waited for, ended, or named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.errors import Busy
from runner.store.files import process_start
from runner.workers import orphans
from runner.workers.orphans import clear_orphans
from tests.workers.support import Yard, alive, pid_in, wait_for

SCHEDULER = """
import sys, time
from pathlib import Path
from tests.workers.support import Yard, working
from tests.workers.tasks import *

yard = Yard(Path.cwd())
with working(yard, {workers}, threads={threads}) as executor:
    executor.start([yard.order(task) for task in {tasks}])
    Path("workers").write_text(" ".join(map(str, executor.pids)))
    while True:
        executor.wait(1.0)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(yard: Yard) -> Iterator[Start]:
    """Start a program in a process of its own; ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, *words: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        started.append(subprocess.Popen([sys.executable, "-c", program, *words], env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def scheduler(start: Start, tasks: str, *, workers: int = 1, threads: int = 1) -> subprocess.Popen[bytes]:
    return start(SCHEDULER.format(tasks=tasks, workers=workers, threads=threads))


def workers() -> list[int]:
    wait_for("the workers are known", lambda: Path("workers").exists() and Path("workers").read_text())
    return [int(pid) for pid in Path("workers").read_text().split()]


def locks(yard: Yard) -> list[str]:
    return sorted(os.listdir(yard.state / "locks"))


@pytest.mark.parametrize(
    ("tasks", "ready"),
    [
        ("[Sleep(1, 60), Sleep(2, 60)]", ["begun-1", "begun-2"]),
        ("[Stubborn('gil')]", ["stubborn"]),
        ("[Stubborn('forks')]", ["child"]),
        ("[Stubborn('deaf')]", ["stubborn"]),
        ("[LeavesChild(1, session=True)]", ["child-1"]),
    ],
    ids=["asleep", "holds the GIL", "has forked", "ignores signals", "left a child"],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_when_the_scheduler_is_killed_its_workers_are_gone_within_a_second(
    yard: Yard, start: Start, tasks: str, ready: list[str], threads: int
) -> None:
    process = scheduler(start, tasks, workers=2, threads=threads)
    for name in ready:
        pid_in(Path(name))
    pids = workers()
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for("the workers are gone", lambda: not any(map(alive, pids)), 1.0)
    assert clear_orphans(str(yard.state / "locks")) == 0
    assert locks(yard) == []
    for name in {"child", "child-1"} & set(ready):
        child = pid_in(Path(name))
        if name == "child":
            wait_for("what the task forked is ended by the recovery", lambda: not alive(child), 1.0)  # noqa: B023
        else:
            os.kill(child, signal.SIGKILL)


def test_no_lock_files_no_orphans(yard: Yard) -> None:
    (yard.state / "locks" / "runner.lock").touch()
    (yard.state / "locks" / "worker-x.lock").touch()
    (yard.state / "locks" / "worker-1-1.lock").touch()
    assert clear_orphans(str(yard.state / "locks")) == 0
    assert locks(yard) == ["runner.lock", "worker-1-1.lock", "worker-x.lock"]


# ------------------------------------------------------------------------- workers that nobody has killed as they ought

WORKER = """
import os, signal, sys, time
from filelock import FileLock
from runner.store.files import process_start

os.setpgid(0, 0)
pid, locks, seconds = os.getpid(), sys.argv[1], float(sys.argv[2])
name = sys.argv[3] or f"worker-{pid}-{process_start(pid)}.lock"
lock = FileLock(os.path.join(locks, name))
lock.acquire()
open(lock.lock_file, "w").write(f"{os.getsid(0)}\\n")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[4] and os.fork() == 0:
    open(sys.argv[4], "w").write(str(os.getpid()))
    time.sleep(60)
open("locked", "w").write(str(pid))
time.sleep(seconds)
os._exit(0)
"""


def orphan(start: Start, yard: Yard, seconds: float, lock: str = "", child: str = "") -> subprocess.Popen[bytes]:
    process = start(WORKER, str(yard.state / "locks"), str(seconds), lock, child)
    pid_in(Path("locked"))
    return process


def test_a_worker_that_is_about_to_end_is_waited_for(yard: Yard, start: Start) -> None:
    process = orphan(start, yard, 0.3)
    assert clear_orphans(str(yard.state / "locks")) == 0
    assert process.wait(1) == 0, "nobody has killed it"
    assert locks(yard) == []


def test_a_worker_that_goes_on_is_killed(yard: Yard, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "GRACE", 0.2)
    process = orphan(start, yard, 60)
    assert clear_orphans(str(yard.state / "locks")) == 1
    assert process.wait(1) == -signal.SIGKILL
    assert locks(yard) == []


def test_who_cannot_be_ended_is_named_and_its_file_stays(
    yard: Yard, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is held, and not by the process that it is named after: of another machine, or another namespace."""
    monkeypatch.setattr(orphans, "GRACE", 0.1)
    monkeypatch.setattr(orphans, "PATIENCE", 0.2)
    process = orphan(start, yard, 60, f"worker-{os.getpid()}-1.lock")
    with pytest.raises(Busy, match=f"pid {os.getpid()} holds .*worker-"):
        clear_orphans(str(yard.state / "locks"))
    assert process.poll() is None
    assert len(locks(yard)) == 1
    process.kill()
    process.wait()
    assert clear_orphans(str(yard.state / "locks")) == 0


def test_what_a_dead_worker_has_left_in_its_group_is_ended(yard: Yard, start: Start) -> None:
    process = orphan(start, yard, 0, child="child")
    child = pid_in(Path("child"))
    assert process.wait(5) == 0
    assert alive(child)
    assert clear_orphans(str(yard.state / "locks")) == 0
    wait_for("its child is gone", lambda: not alive(child), 1.0)
    assert locks(yard) == []


STRANGER = """
import os, sys, time
os.setsid()
if os.fork() == 0:
    open("stranger", "w").write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.mark.parametrize("noted", ["12345\n", "", "no number\n"])
def test_a_group_of_strangers_that_got_a_dead_worker_s_number_is_left_alone(
    yard: Yard, start: Start, noted: str
) -> None:
    """As after a reboot: some daemon's first process had that pid, and its group lives on without it."""
    leader = start(STRANGER)
    stranger = pid_in(Path("stranger"))
    assert leader.wait(5) == 0
    try:
        assert process_start(leader.pid) is None
        assert os.getpgid(stranger) == leader.pid
        (yard.state / "locks" / f"worker-{leader.pid}-1.lock").write_text(noted)
        assert clear_orphans(str(yard.state / "locks")) == 0
        time.sleep(0.05)
        assert alive(stranger)
        assert locks(yard) == []
    finally:
        os.kill(stranger, signal.SIGKILL)


def test_a_process_that_got_a_dead_worker_s_number_is_left_alone(yard: Yard, start: Start) -> None:
    other = start("import time; time.sleep(60)")
    (yard.state / "locks" / f"worker-{other.pid}-1.lock").write_text(f"{os.getsid(0)}\n")
    assert clear_orphans(str(yard.state / "locks")) == 0
    time.sleep(0.05)
    assert other.poll() is None


def test_what_is_no_lock_file_of_ours_is_left_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    locks = tmp_path / "locks"
    locks.mkdir()
    os.mkfifo(locks / "worker-99999991-1.lock")
    (locks / "worker-99999992-1.lock").mkdir()
    (locks / "worker-99999993-1.lock").symlink_to(victim)
    (locks / "worker-x-1.lock").touch()
    (locks / "worker-99999994-1.lock").write_text("no number")
    assert clear_orphans(str(locks)) == 0
    assert victim.read_text() == "precious"
    assert sorted(os.listdir(locks)) == [f"worker-{n}-1.lock" for n in ("99999991", "99999992", "99999993", "x")]
