"""Workers that are killed, stuck or led astray by what they run: that job is charged, and nobody else.

End to end: the real command line, its job files, its exit codes, and the processes as /proc shows them. What the
executor does about each, step by step, is in tests/workers/test_deaths.py and test_orphans.py.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from typing import Any

import pytest

from tests.acceptance import processes
from tests.acceptance.conftest import ROUNDS
from tests.acceptance.project import QUICK, Project
from tests.faults.at_work import fork_server, gate, nothing_left, outcomes, started, troubled, unlink

ALONE = ("--workers", "1", *QUICK)
SIGKILLED = "its worker was killed by SIGKILL"
GARBLED = "its worker was ended: what came over its stream to the runner was no message"
LATE = "took longer than its timeout of 0.5 s"

LOST = {  # what ends its worker, in both attempts -> what is said of it
    "killed": SIGKILLED,
    "killed_by_the_kernel": SIGKILLED,
    "crashes": "its worker was killed by SIGSEGV",
    "leaves": "its worker exited with code 3",
    "half_a_message": SIGKILLED,
    "garbage": GARBLED,
    "garbage_in_a_frame": GARBLED,
    "closes_all": "its worker",  # who is quicker: the runner that kills it, or itself
}
ENDLESS = ("holds_the_gil", "deaf", "has_children", "stopped")
FAILED = {"exits": "3"}
FINE = {
    "child_returns": "parent",
    "child_raises": "parent",
    "pool": [1, 2],
    "spawned_pool": [1, 2],
    "terminates": -signal.SIGTERM,
    "leaves_threads": "returned",
}


@pytest.fixture
def project(project: Project) -> Project:
    return troubled(project)


@pytest.mark.parametrize("threads", [1, 3])
def test_each_pays_for_what_it_does_itself(project: Project, threads: int, struck: Counter[str]) -> None:
    """All of them in one run, beside an innocent that is at work all the while."""
    gates = gate(project, "Fetch-0")
    hows = [*LOST, *FAILED, *FINE]
    words = (f"hows={' '.join(hows)}", f"endless={' '.join(ENDLESS)}", "--workers", "3", "--threads", str(threads))
    process = project.start("run", "jobs.trouble:beside", *words, *QUICK)
    processes.wait_until("the innocent is left", lambda: only_waiting(project) or process.poll() is not None, 60)
    unlink(gates)
    assert process.wait(60) == 1, project.said()
    nothing_left(project, process)
    jobs = {job["params"]["how"]: job for status in ("failed", "done") for job in trouble(project, status)}
    assert jobs.keys() == {*hows, *ENDLESS}
    for how, told in {**LOST, **FAILED, **dict.fromkeys(ENDLESS, LATE)}.items():
        outcome = "timeout" if how in ENDLESS else "died" if how in LOST else "failed"
        charged = [attempt for attempt in jobs[how]["attempts"] if attempt["outcome"] != "interrupted"]
        assert [attempt["outcome"] for attempt in charged] == [outcome] * (1 if how in ENDLESS else 2), how
        for attempt in charged:
            assert attempt["error"]["message"].startswith(told), (how, attempt)
        struck[how] += len(charged)
    for how, value in FINE.items():
        assert jobs[how]["result"]["value"] == value
        assert [a["outcome"] for a in jobs[how]["attempts"] if a["outcome"] != "interrupted"] == ["done"], how
        struck[how] += 1
    (innocent,) = outcomes(project, "done", "Fetch")
    assert innocent == ["done"] if threads == 1 else set(innocent[:-1]) <= {"interrupted"}


def trouble(project: Project, status: str) -> list[dict[str, Any]]:
    return [*project.jobs(status, "Trouble-"), *project.jobs(status, "Endless-")]


def only_waiting(project: Project) -> bool:
    """Whether all trouble is over, but for what was sent ahead to the worker that the innocent is in."""
    left = [job["params"]["how"] for status in ("pending", "running") for job in trouble(project, status)]
    return not project.ids("pending") and not any((project.root / f"pid-{how}").exists() for how in left)


@pytest.mark.parametrize("threads", [1, 3])
def test_a_kill_from_outside_costs_one_attempt_at_most(project: Project, threads: int, struck: Counter[str]) -> None:
    """As the OOM killer does it. With threads nobody knows whose memory it was: nobody is charged."""
    project.variables["WORK_RETRIES"] = "1"
    count = 2 * threads
    gates = gate(project, *(f"Fetch-{number}" for number in range(count)))
    words = ("hows=", f"innocents={count}", "--workers", "2", "--threads", str(threads))
    process = project.start("run", "jobs.trouble:beside", *words, *QUICK)
    processes.wait_until("all have begun", lambda: started(project).total() == count)
    before = project.workers(process)
    assert len(before) == 2
    struck["kill"] += processes.kill(before[0])
    processes.wait_until("one begins again", lambda: started(project).total() > count)
    processes.wait_until("its worker is replaced", lambda: len(project.workers(process)) == 2)
    unlink(gates)
    assert process.wait(60) == 0, project.said()
    nothing_left(project, process)
    lost = ["died", "done"] if threads == 1 else ["interrupted", "done"]
    assert sorted(outcomes(project, "done", "Fetch")) == sorted([["done"]] * threads + [lost] * threads)
    assert started(project).total() == count + threads


@pytest.mark.parametrize("threads", [1, 2])
def test_when_the_fork_server_is_killed_nobody_is_charged(project: Project, threads: int, struck: Counter[str]) -> None:
    count = 2 * threads
    gates = gate(project, *(f"Fetch-{number}" for number in range(count)))
    words = ("hows=", f"innocents={count}", "--workers", "2", "--threads", str(threads))
    process = project.start("run", "jobs.trouble:beside", *words, *QUICK)
    processes.wait_until("all have begun", lambda: started(project).total() == count)
    struck["kill"] += processes.kill(fork_server(project, process))
    processes.wait_until("all begin again", lambda: started(project).total() == 2 * count)
    unlink(gates)
    assert process.wait(60) == 0, project.said()
    nothing_left(project, process)
    assert outcomes(project, "done", "Fetch") == [["interrupted", "done"]] * count


@pytest.mark.timeout(300 * ROUNDS)
def test_an_innocent_long_job_survives_twenty_deaths_of_the_runner(
    project: Project, seed: int, struck: Counter[str]
) -> None:
    """It has no retry, and every death finds it at work."""
    gates = gate(project, "Single-1")
    chance = random.Random(seed)
    process = project.start("run", "jobs.work:Single", "number=1", *QUICK)
    for death in range(1, 20 * ROUNDS + 1):
        processes.wait_until("it has begun", lambda death=death: started(project)["Single-1"] == death)
        kind = chance.choice(("scheduler", "group"))
        if kind == "group":
            processes.clear(project.mark(process))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        struck[kind] += 1
        process = project.start("resume")
    processes.wait_until("it has begun", lambda: started(project)["Single-1"] == death + 1)
    unlink(gates)
    assert process.wait(60) == 0, project.said()
    nothing_left(project, process)
    (found,) = outcomes(project, "done", "Single")
    assert found[-1] == "done"
    assert set(found[:-1]) == {"interrupted"}
    assert len(found) >= 20
    assert struck.total() == death


def test_where_memory_is_limited_it_is_a_failure_like_any_other(project: Project, struck: Counter[str]) -> None:
    """`ulimit -v`: the task is told, its worker lives on, and so does everybody else."""
    limited = ("sh", "-c", 'ulimit -v 4000000 && exec "$@"', "sh")
    process = project.start("run", "jobs.trouble:beside", "hows=allocates", *ALONE, before=limited)
    assert process.wait(60) == 1, project.said()
    nothing_left(project, process)
    (job,) = project.jobs("failed", "Trouble-")
    assert [(a["outcome"], a["error"]["type"]) for a in job["attempts"]] == [("failed", "MemoryError")] * 2
    assert len(set((project.root / "pid-allocates").read_text().split())) == 1, "one worker for both attempts"
    assert outcomes(project, "done", "Fetch") == [["done"]]
    struck["limit"] += 2


@pytest.mark.parametrize(("where", "flag"), [(6, ()), (0, ("--verify",))], ids=["longer", "other bytes"])
def test_what_is_written_once_the_task_has_returned_is_noticed(
    project: Project, where: int, flag: tuple[str, ...], struck: Counter[str]
) -> None:
    """The outputs that count are those of the moment when run() returned. A child that still has the file open can
    spoil it, and nobody is there to prevent that; it is seen, made again, and then out of that child's reach.
    """
    output = project.root / "data" / "out.txt"
    target = ("run", "jobs.trouble:Lingers", "output_filepath=data/out.txt", f"where={where}", *QUICK)
    process = project.start(*target)
    assert process.wait(60) == 0, project.said()
    assert output.read_text() == "whole\n"
    assert project.runner("check", *flag).code == 0
    for number in range(2):
        (project.root / f"write-{number}").touch()
        written = project.root / f"written-{number}"
        processes.wait_until("the child has written", lambda written=written: written.exists())
        struck["late write"] += 1
        if number == 0:
            assert "later" in output.read_text()
            checked = project.runner("check", *flag)
            assert checked.code == 0, "what is spoilt after it was done is no fault of ours"
            assert "output data/out.txt" in checked.out.partition("warning: ")[2]
            assert project.runner(*target, *flag).code == 0
        assert output.read_text() == "whole\n"
    assert outcomes(project, "done", "Lingers") == [["done", "done"]]
    assert project.runner("check", *flag).code == 0
