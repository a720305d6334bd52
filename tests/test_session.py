"""A whole run, from the lock to the last line of its record: from a program, with real workers and real signals."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runner
from runner.errors import Busy, StateError, UsageError
from runner.session import Summary
from runner.store import inbox
from runner.store.folders import FolderStore
from runner.store.runs import RunFile, Runs
from runner.workers import local
from runner.workers.staging import staging_path
from tests.rig import files, id_of
from tests.workers.support import alive, pid_in, wait_for
from tests.workers.tasks import Copied, Die, Hold, Noop, Sleep, Write

QUICK: Any = {"durability": "process", "workers": 2}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose tasks are those of the tests."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nmodules = ["tests"]\n')
    return tmp_path


def counts() -> dict[str, int]:
    folders = ("pending", "running", "done", "failed", "blocked", "cancelled", "quarantine")
    found = {folder: sum(name.endswith(".json") for name in os.listdir(f"state/{folder}")) for folder in folders}
    return {folder: count for folder, count in found.items() if count}


def job(status: str, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("state", status, f"{id}.json").read_bytes())
    return found


def records() -> list[RunFile]:
    with FolderStore("state", root=".") as store:
        runs = Runs(store)
        return [runs.read(id) for id in runs.ids()]


def worker_locks() -> list[str]:
    return [name for name in os.listdir("state/locks") if name.startswith("worker-")]


# ------------------------------------------------------------------------------------------------- from a program


def test_a_program_runs_tasks_and_is_told_how_it_went(project: Path) -> None:
    before = os.getcwd()
    summary = runner.run([Write("a.txt"), Copied("a.txt", "b.txt"), Noop(1)], **QUICK)
    assert (summary.exit_code, summary.counts, summary.changes) == (0, {"done": 3}, {"new": 3})
    assert summary.ran == {"Write": 1, "Copied": 1, "Noop": 1}
    assert Path("b.txt").read_text() == "text\n"
    assert os.getcwd() == before
    (record,) = records()
    assert (record.id, record.exit) == (summary.run, 0)
    assert record.ended is not None
    assert record.admitted is not None
    assert len(record.roots) == 3


def test_a_second_run_finds_all_up_to_date_and_starts_no_worker(project: Path) -> None:
    tasks = [Write("a.txt"), Copied("a.txt", "b.txt")]
    runner.run(tasks, **QUICK)
    second = runner.run(tasks, **QUICK)
    assert (second.exit_code, second.counts, second.ran) == (0, {"done": 2}, {})


def test_a_graph_and_a_single_task_can_be_run_too(project: Path) -> None:
    first, second = Noop(1), Write("a.txt")
    assert runner.run({second: [first]}, **QUICK).counts == {"done": 2}
    assert job("done", id_of(second))["after"] == [id_of(first)]
    assert runner.run(Noop(3), **QUICK).counts == {"done": 1}


def test_it_works_in_the_root_it_is_given_and_beside_a_thread_that_is_not_the_main_one(project: Path) -> None:
    Path("elsewhere").mkdir()
    found: list[Summary] = []
    thread = threading.Thread(
        target=lambda: found.append(runner.run([Write("a.txt")], root="elsewhere", state="s", **QUICK))
    )
    thread.start()
    thread.join()
    assert found[0].exit_code == 0
    assert Path("elsewhere/a.txt").exists()
    assert Path("elsewhere/s/done").is_dir()


def test_a_failure_is_exit_code_1_and_blocks_what_comes_after(project: Path) -> None:
    summary = runner.run([Die("sys.exit", output=Path("a.txt")), Copied("a.txt", "b.txt")], **QUICK)
    assert summary.exit_code == 1
    assert counts()["failed"] == 1
    assert files() == ["pyproject.toml"], "nothing staged stays"


def test_what_is_no_task_is_a_usage_error_and_the_run_is_over(project: Path) -> None:
    with pytest.raises(UsageError, match="expected a task"):
        runner.run(["no task"], **QUICK)  # type: ignore[list-item]
    (record,) = records()
    assert record.exit == 2
    assert record.ended is not None
    assert runner.resume(**QUICK) is None


def test_a_terminal_that_was_lost_does_not_end_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Lost())
    summary = runner.run([Die("sys.exit"), *[Noop(number) for number in range(5)]], verbosity=1, **QUICK)
    assert (summary.exit_code, summary.ran) == (1, {"Noop": 5})


def test_a_second_runner_is_told_who_is_there(project: Path) -> None:
    with FolderStore("state", root=".") as store, store.lock(), pytest.raises(Busy, match=str(os.getpid())):
        runner.run([Noop(1)], **QUICK)


def test_nothing_to_resume(project: Path) -> None:
    assert runner.resume(**QUICK) is None
    runner.run([Noop(1)], **QUICK)
    assert runner.resume(**QUICK) is None


def test_resume_takes_what_lies_in_the_inbox_as_a_new_run(project: Path) -> None:
    runner.run([Noop(1)], **QUICK)
    inbox.hand_in("state", [{"task": "tests.workers.tasks:Noop", "params": {"number": 2}}])
    summary = runner.resume(**QUICK)
    assert summary is not None
    assert (summary.exit_code, summary.ran) == (0, {"Noop": 1})
    assert len(records()) == 2


# ----------------------------------------------------------------------------------------------- workers that die


@pytest.mark.parametrize("durability", ["process", "power"])
def test_no_lock_file_of_a_worker_stays_when_a_run_is_over(project: Path, durability: Any) -> None:
    runner.run([Noop(number) for number in range(5)], durability=durability, workers=2)
    assert worker_locks() == []
    assert sorted(os.listdir("state/tmp")) == []


def test_a_task_that_kills_its_worker_is_charged_each_time_and_costs_nobody_else_anything(project: Path) -> None:
    killer = Die("SIGKILL", output=Path("data/a.txt"))
    killer_id, ids = id_of(killer), [id_of(Noop(number)) for number in range(30)]
    summary = runner.run([killer, *[Noop(number) for number in range(30)]], **QUICK)
    assert summary.exit_code == 1
    assert counts() == {"done": 30, "failed": 1}
    attempts = job("failed", killer_id)["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["died"] * 3
    assert attempts[0]["error"]["message"] == "its worker was killed by SIGKILL"
    assert all([a["outcome"] for a in job("done", id)["attempts"]] == ["done"] for id in ids)
    assert os.listdir("data") == [], "what it had staged is gone, each time"
    assert worker_locks() == []


def test_with_threads_the_innocent_are_done_and_the_one_that_dies_alone_is_charged(project: Path) -> None:
    sleepers = [Sleep(number, 0.3, Path(f"data/{number}.txt")) for number in range(3)]
    killer = Die("segfault", others=3)
    summary = runner.run([*sleepers, killer], durability="process", workers=1, threads=4)
    assert summary.exit_code == 1
    assert counts() == {"done": 3, "failed": 1}
    outcomes = [attempt["outcome"] for attempt in job("failed", id_of(killer))["attempts"]]
    assert outcomes == ["interrupted", "died", "died", "died"]
    for sleeper in sleepers:
        assert {a["outcome"] for a in job("done", id_of(sleeper))["attempts"]} <= {"interrupted", "done"}
    assert sorted(os.listdir("data")) == ["0.txt", "1.txt", "2.txt"]


def test_a_state_that_cannot_be_opened_is_said_to_be_so(project: Path) -> None:
    (project / "file").touch()
    with pytest.raises(StateError, match="file/state"):
        runner.run([Noop(1)], state="file/state", **QUICK)


def test_a_state_that_workers_cannot_write_to_ends_the_run_and_fails_no_job(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = local.LocalExecutor.start

    def break_it(self: Any, *arguments: Any) -> None:
        Path("state/tmp").rename("state/away")
        start(self, *arguments)

    monkeypatch.setattr(local.LocalExecutor, "start", break_it)
    with pytest.raises(StateError, match="a worker cannot go on: No such file or directory: /"):
        runner.run([Noop(1)], **QUICK)
    monkeypatch.undo()
    os.chdir(project)
    Path("state/away").rename("state/tmp")
    assert counts() == {"pending": 1}
    summary = runner.resume(**QUICK)
    assert summary is not None
    assert summary.exit_code == 0
    assert [a["outcome"] for a in job("done", id_of(Noop(1)))["attempts"]] == ["done"]


# -------------------------------------------------------------------------------------------------- signals, and kills

SCRIPT = """
import sys
import runner
from tests.workers.tasks import *
summary = runner.run({tasks}, durability="process", workers={workers}, threads={threads})
sys.exit(summary.exit_code)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Start a run in a process of its own; ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(tasks: str, *, workers: int = 2, threads: int = 1) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        script = SCRIPT.format(tasks=tasks, workers=workers, threads=threads)
        started.append(
            subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=False)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def begun(*numbers: int) -> list[int]:
    """Wait until these have begun; the pids of their workers."""
    return [pid_in(Path(f"begun-{number}")) for number in numbers]


def outcomes(status: str, task: Any) -> list[str]:
    return [attempt["outcome"] for attempt in job(status, id_of(task))["attempts"]]


def test_one_interrupt_lets_what_runs_be_finished(start: Start) -> None:
    process = start("[Hold(number) for number in range(6)]")
    begun(0, 1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    Path("open").touch()
    assert process.wait(10) == 3
    assert counts() == {"pending": 4, "done": 2}
    assert all(outcomes("pending", Hold(number)) == [] for number in range(2, 6)), "they were not begun"
    assert worker_locks() == []
    summary = runner.resume(**QUICK)
    assert summary is not None
    assert (summary.exit_code, counts()) == (0, {"done": 6})
    assert b"resume" in (process.stderr.read() if process.stderr else b"")


@pytest.mark.parametrize(
    ("signals", "seconds"),
    [
        ([signal.SIGINT, signal.SIGINT], 3),
        ([signal.SIGTERM, signal.SIGTERM], 3),
        ([signal.SIGHUP, signal.SIGHUP], 3),
        ([signal.SIGTERM, signal.SIGINT], 3),
    ],
)
def test_the_second_signal_ends_it_at_once(start: Start, signals: list[signal.Signals], seconds: float) -> None:
    process = start("[Sleep(number, 60, Path(f'data/{number}.txt')) for number in range(3)]")
    pids = begun(0, 1)
    process.send_signal(signals[0])
    time.sleep(0.3)
    assert process.poll() is None, "the first one waits for what runs"
    begin = time.monotonic()
    process.send_signal(signals[1])
    assert process.wait(10) == 3
    assert time.monotonic() - begin < seconds
    assert not any(map(alive, pids))
    assert counts() == {"pending": 3}
    for number in range(2):
        assert outcomes("pending", Sleep(number, 60, Path(f"data/{number}.txt"))) == ["interrupted"]
    assert files("data") == []
    assert worker_locks() == []


def test_a_hangup_along_with_a_termination_is_one_wish(start: Start) -> None:
    process = start("[Hold(1)]")
    begun(1)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    Path("open").touch()
    assert process.wait(10) in (0, 3)
    assert counts() == {"done": 1}


@pytest.mark.parametrize("threads", [1, 3])
def test_after_a_kill_nothing_staged_stays_and_no_attempt_is_charged(start: Start, threads: int) -> None:
    tasks = "[Sleep(number, 60, Path(f'data/{number}.txt')) for number in range(8)]"
    process = start(tasks, workers=2, threads=threads)
    count = 2 * threads
    wait_for("enough have begun", lambda: len(list(Path().glob("begun-*"))) >= count)
    pids = {pid_in(path) for path in Path().glob("begun-*")}
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for("its workers are gone", lambda: not any(map(alive, pids)), 1.0)
    assert len(files("data")) >= count
    strangers = staging_path("data/other.txt", "Write-0123456789abcdef")
    Path(strangers).touch()
    with FolderStore("state", root=".") as store:
        unfinished = [id for id, status in store.scan().items() if status.value == "running"]
        assert len(unfinished) >= count
        for id in unfinished:  # so that they are quick the next time
            path = Path("state/running", f"{id}.json")
            path.write_bytes(path.read_bytes().replace(b'"seconds": 60.0', b'"seconds": 0.0  '))
    for path in Path("state/pending").glob("*.json"):
        path.write_bytes(path.read_bytes().replace(b'"seconds": 60.0', b'"seconds": 0.0  '))
    summary = runner.resume(**QUICK)
    assert summary is not None
    assert (summary.exit_code, counts()) == (0, {"done": 8})
    assert files("data") == [strangers, *[f"data/{number}.txt" for number in range(8)]]
    assert worker_locks() == []
    for id in unfinished:
        assert [a["outcome"] for a in job("done", id)["attempts"]] == ["interrupted", "done"]
