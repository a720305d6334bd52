"""Killed at any moment, resumed without a flag: nothing is lost, nothing runs twice at once, done is done."""

from __future__ import annotations

import os
import random
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import processes
from tests.acceptance.conftest import ROUNDS
from tests.acceptance.invariants import check_state, whole_files
from tests.acceptance.killer import Killer, Kind
from tests.acceptance.project import QUICK, Project

FLOW = "jobs.work:everything"
JOBS = 1 + 3 + 2 * 3 * 10 + 8 + 60
KILLS = 8
STEP = 8

Syscalls = tuple[str, ...]
RENAMES: Syscalls = ("rename", "renameat", "renameat2")
SYNCS: Syscalls = ("fsync", "fdatasync", "syncfs")
LINKS: Syscalls = ("link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat")


class Ledger:
    """What the tasks noted of themselves, and which of them were done at each death of a scheduler."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.deaths: list[tuple[set[str], int]] = []

    def lines(self, since: int = 0) -> list[str]:
        log = self.project.log
        return log.read_bytes()[since:].decode().splitlines() if log.exists() else []

    def note_death(self) -> None:
        """First the names of what is done, then the place in the log: a task noted after it was not done yet."""
        done = {noted_name(job) for job in self.project.jobs("done")}
        size = self.project.log.stat().st_size if self.project.log.exists() else 0
        self.deaths.append((done, size))

    def check(self) -> None:
        lines = self.lines()
        assert not [line for line in lines if line.startswith("twice")], "a task ran twice at the same time"
        for done, since in self.deaths:
            again = {line.split()[1] for line in self.lines(since) if line.startswith("start")} & done
            assert not again, f"done, and done again after a resume: {again}"


def noted_name(job: dict[str, Any]) -> str:
    """How the tasks of work.py call themselves in the log."""
    task, params = job["task"].partition(":")[2], job["params"]
    if task == "Parse":
        return f"Parse-{Path(params['input_filepath']).stem}"
    return "-".join([task, *(str(params[key]) for key in ("number", "name") if key in params)])


def working_project(project: Project, **variables: str) -> Project:
    """A project with the tasks of work.py, and the one file that they take as given."""
    project.module("work", (Path(__file__).parent.parent / "acceptance" / "work.py").read_text())
    project.variables.update(variables)
    source = project.root / "data" / "chain" / "0.txt"
    source.parent.mkdir(parents=True)
    source.write_text("0\n")
    return project


def expected(roots: int, pairs: int, links: int) -> dict[str, str]:
    """Every output, by path below data/."""
    files = {f"chain/{n}.txt": f"{n}\n" for n in range(links + 1)}
    merged = ""
    for root in range(roots):
        names = [f"{root}-{n}" for n in range(pairs)]
        files[f"found/{root}.txt"] = "".join(f"{name}\n" for name in names)
        for name in names:
            files[f"raw/{name}.txt"] = f"page {name}\n" * 50
            files[f"text/{name}.txt"] = files[f"raw/{name}.txt"].upper()
            merged += files[f"text/{name}.txt"]
    return {**files, "merged.txt": merged}


def outputs(project: Project) -> dict[str, str]:
    """All files below data/, leftovers and dot files too."""
    data = project.root / "data"
    return {str(file.relative_to(data)): file.read_text() for file in data.rglob("*") if file.is_file()}


def check_end(project: Project, jobs: int, wanted: dict[str, str]) -> None:
    assert outputs(project) == wanted
    assert project.counts() == {"done": jobs}
    check_state(project.root)
    checked = project.runner("check")
    assert checked.code == 0, checked.err + checked.out


@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("kind", ["scheduler", "group", "worker"])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_random_kills(
    turn: int,
    project: Project,
    kind: Kind,
    durability: str,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    # No retry is allowed: deaths of the runner must use none up. A task may well be alone with its worker when that
    # is killed, though, and then it is charged.
    working_project(project, WORK_RETRIES="1000" if kind == "worker" else "0", WORK_SECONDS="0.02")
    ledger = Ledger(project)
    first = ("run", FLOW, "--workers", "3", "--durability", durability)
    killer = Killer(project, first, seed, kinds=[kind], step=STEP, while_dead=ledger.note_death)
    record_property("struck", killer.run(KILLS))
    ledger.check()
    check_end(project, JOBS, expected(3, 10, 8))
    if kind != "worker":
        failed = [job["id"] for job in project.jobs("done") for try_ in job["attempts"] if try_["outcome"] == "failed"]
        assert not failed


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_kills_of_all_kinds_with_threads(
    turn: int, project: Project, seed: int, record_property: Callable[[str, object], None]
) -> None:
    working_project(project, WORK_RETRIES="1000", WORK_SECONDS="0.03")
    ledger = Ledger(project)
    first = ("run", FLOW, "--workers", "2", "--threads", "4", *QUICK)
    killer = Killer(project, first, seed, step=STEP, while_dead=ledger.note_death)
    record_property("struck", killer.run(KILLS))
    ledger.check()
    check_end(project, JOBS, expected(3, 10, 8))


def test_a_reader_never_sees_half_a_file_or_misses_a_job(project: Project) -> None:
    """Guarantee 1, beside a live run; and in flow order every admitted job is seen."""
    working_project(project, WORK_SECONDS="0.01")
    process = project.start("run", FLOW, *QUICK)
    known: set[str] = set()
    looks = 0
    while process.poll() is None:
        whole_files(project.state)
        seen = {name for status in ("pending", "running", "done") for name in project.ids(status)}
        assert known <= seen, f"not to be seen: {known - seen}"
        known = seen
        looks += 1
    assert process.returncode == 0, project.said()
    assert looks > 5
    assert len(known) > JOBS // 2


def test_an_orphan_is_waited_for_or_named(project: Project) -> None:
    """The scheduler dies while a long task runs: who resumes at once must not start that task beside the old one."""
    working_project(project, WORK_SECONDS="1.5")
    process = project.start("run", "jobs.work:Single", "number=1", *QUICK)
    processes.wait_until("the task has begun", lambda: "start Single-1" in Ledger(project).lines())
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(50):
        outcome = project.runner("resume")
        if outcome.code != 75:
            break
        assert re.search(r"\d+", outcome.err), "who is alive must be named"
    assert outcome.code == 0, outcome.err
    ledger = Ledger(project)
    ledger.check()
    assert "end Single-1" in ledger.lines()
    check_state(project.root)


# ------------------------------------------------------------------------------------- at the N-th system call

SMALL = ("roots=1", "pairs=2", "links=2", "singles=2")
SMALL_JOBS = 1 + 1 + 4 + 2 + 2


def strace(log: Path, calls: Syscalls, kill_at: int | None = None) -> tuple[str, ...]:
    """A command line in front of the runner's. N counts per process, and the call does not take effect.

    Not with --seccomp-bpf: strace then counts nothing and injects nothing.
    """
    names = ",".join(calls)
    inject = ("-e", f"inject={names}:signal=SIGKILL:when={kill_at}") if kill_at else ()
    return ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={names}", *inject)


def most_calls(log: Path) -> int:
    """The most calls that one process made."""
    counted = Counter(line.split()[0] for line in log.read_text(errors="replace").splitlines() if "(" in line)
    return max(counted.values(), default=0)


@pytest.fixture(scope="module")
def calls_of_a_run(tmp_path_factory: pytest.TempPathFactory) -> dict[Syscalls, int]:
    """How many of these system calls the busiest process of an undisturbed run makes."""
    found = {}
    for calls in (RENAMES, SYNCS, LINKS):
        project = working_project(Project(tmp_path_factory.mktemp("calls")), WORK_SECONDS="0")
        log = project.root / "strace.log"
        process = project.start("run", FLOW, *SMALL, before=strace(log, calls))
        try:
            assert process.wait(timeout=60) == 0, project.said()
        finally:
            project.close()
        found[calls] = most_calls(log)
    return found


@pytest.mark.strace
@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize(("calls", "points"), [(RENAMES, 8), (SYNCS, 4), (LINKS, 4)], ids=["rename", "sync", "link"])
def test_killed_at_the_nth_system_call(
    new_project: Callable[..., Project],
    calls_of_a_run: dict[Syscalls, int],
    calls: Syscalls,
    points: int,
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Whichever process makes its N-th call first is killed before the call takes effect."""
    last = calls_of_a_run[calls]
    assert last > 0, f"a run makes none of {calls}"
    chosen = sorted(random.Random(seed).sample(range(1, last + 1), min(points * ROUNDS, last)))
    struck = 0
    for kill_at in chosen:
        project = working_project(new_project(f"at-{kill_at}"), WORK_SECONDS="0", WORK_RETRIES="1000")
        struck += kill_at_call(project, calls, kill_at)
    assert struck, f"no kill struck at {chosen} of {last}"
    record_property("struck", f"{struck} of {len(chosen)} kills, at calls {chosen} of {last}")


def kill_at_call(project: Project, calls: Syscalls, kill_at: int) -> bool:
    """One run under strace, then resumes to the end. Whether somebody was killed."""
    log = project.root / "strace.log"
    first = ("run", FLOW, *SMALL)
    process = project.start(*first, before=strace(log, calls, kill_at))
    process.wait(timeout=60)
    project.all_gone(process)
    struck = "+++ killed by SIGKILL" in log.read_text(errors="replace")
    check_state(project.root)
    ledger = Ledger(project)
    ledger.note_death()
    for _ in range(3):
        recorded = any(name.endswith(".json") for name in project.names("runs"))
        outcome = project.runner(*(("resume",) if recorded else first))
        if outcome.code != 75:
            break
    assert outcome.code == 0, f"killed at call {kill_at} of {calls}: {outcome.err}"
    ledger.check()
    check_end(project, SMALL_JOBS, expected(1, 2, 2))
    return struck


@pytest.mark.strace
@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_while_large_batches_enter(
    turn: int, durability: str, project: Project, seed: int, record_property: Callable[[str, object], None]
) -> None:
    """One run, killed again and again at some rename, further and further into it."""
    working_project(project, WORK_SECONDS="0", WORK_RETRIES="1000")
    ledger = Ledger(project)
    chosen = sorted(random.Random(seed).sample(range(1, 500), 8))
    struck = 0
    for kill_at in chosen:
        log = project.root / "strace.log"
        recorded = any(name.endswith(".json") for name in project.names("runs"))
        verb = ("resume",) if recorded else ("run", "jobs.work:many", "--durability", durability)
        process = project.start(*verb, before=strace(log, RENAMES, kill_at))
        process.wait(timeout=60)
        project.all_gone(process)
        struck += "+++ killed by SIGKILL" in log.read_text(errors="replace")
        check_state(project.root)
        ledger.note_death()
    assert struck >= len(chosen) // 2
    assert project.runner("resume").code == 0
    ledger.check()
    found = expected(2, 75, -1)
    del found["merged.txt"]
    check_end(project, 2 + 2 * 2 * 75 + 200, found | {"chain/0.txt": "0\n"})
    record_property("struck", f"{struck} of {len(chosen)} kills, at renames {chosen}")


def test_nothing_to_resume(project: Project) -> None:
    outcome = project.runner("resume")
    assert outcome.code == 0
    assert "nothing to resume" in outcome.said + outcome.out


def test_resume_after_the_end_does_nothing(project: Project) -> None:
    working_project(project, WORK_SECONDS="0")
    assert project.runner("run", FLOW, *SMALL, *QUICK).code == 0
    before = project.snapshot(), Ledger(project).lines()
    assert project.runner("resume").code == 0
    assert (project.snapshot(), Ledger(project).lines()) == before


def test_a_second_run_does_nothing_again(project: Project) -> None:
    working_project(project, WORK_SECONDS="0")
    assert project.runner("run", FLOW, *SMALL, *QUICK).code == 0
    lines = Ledger(project).lines()
    assert project.runner("run", FLOW, *SMALL, *QUICK).code == 0
    assert Ledger(project).lines() == lines
    os.unlink(project.root / "data" / "text" / "0-0.txt")
    assert project.runner("run", FLOW, *SMALL, *QUICK).code == 0
    again = Ledger(project).lines()[len(lines) :]
    assert again[:2] == ["start Parse-0-0", "end Parse-0-0"], "a lost output is made again, from the page that is there"
    assert set(again[2:]) <= {"start Merge", "end Merge"}, "and nothing else but what reads it"
    check_end(project, SMALL_JOBS, expected(1, 2, 2))
