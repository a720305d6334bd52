"""`check` and runners: it calls nothing a fault that a kill leaves, or a live runner does; `--repair` can be killed.

The first test cuts a night short before each change of a file there is, in this process; the others kill real ones.
"""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.outcome import Absent
from runner.store import inbox
from runner.store.folders import FolderStore
from runner.store.runs import RunFile, Runs
from runner.task import Task
from runner.views.check import check
from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.killer import Killer, Kind
from tests.acceptance.project import QUICK, Project
from tests.faults.checked import Planted, found, look, made
from tests.faults.conftest import TORTURE
from tests.faults.planted import FAULTS
from tests.faults.test_kills import RENAMES, strace, working_project
from tests.rig import RUN, STARTED, Rig
from tests.store.support import Crash, FaultyFiles
from tests.workers import tasks
from tests.workers.tasks import Act, Finder, Gather, Once, Read, Write

NEXT = "20261123T020000Z"
A, B, C, X, Y = (Path(name) for name in "abcxy")

Night = Callable[[], list[Task]]
"""What a flow gives one night; it may also hand something in."""


def fine() -> list[Task]:
    return [Once("write", A), Read(A, B), Write(C)]


def failing() -> list[Task]:
    return [Once("fail", A), Read(A, B), Read(B, C)]


def taken_over() -> list[Task]:
    """Another class makes the file; who reads it is not named again."""
    return [Act("write", A)]


def taken_over_by_failures() -> list[Task]:
    return [Read(Path("nowhere"), C), Read(Path("nowhere"), A)]


def finding() -> list[Task]:
    tasks.CHILDREN["write"] = lambda task: [Write(X), Read(X, Y), Write(C)]
    return [Finder("write", A), Read(X, B)]


def finding_others() -> list[Task]:
    tasks.CHILDREN["write"] = lambda task: {Write(Y): {Write(C)}, Act("write", X): set()}
    return [Finder("write", A), Read(X, B)]


def absent() -> list[Task]:
    return [Act("absent", A), Read(A, B), Gather([A, B], C)]


def retried() -> list[Task]:
    for file in Path("state/failed").glob("*.json"):
        inbox.retry("state", file.stem)
    return []


def cancelled() -> list[Task]:
    inbox.command("state", "cancel", ids=[file.stem for file in Path("state").glob("*/*-*.json")])
    return [Write(C)]


def distrusted() -> list[Task]:
    inbox.command("state", "invalidate", ids=[file.stem for file in Path("state").glob("*/*-*.json")])
    return fine()


NIGHTS: list[tuple[Night, Night]] = [
    (list, fine),
    (list, failing),
    (fine, taken_over),
    (failing, taken_over),
    (fine, taken_over_by_failures),
    (finding, finding_others),
    (fine, absent),
    (failing, retried),
    (failing, cancelled),
    (fine, distrusted),
]


def night(flow: Night, run: str, cut_at: int | None = None) -> bool:
    """One run; whether it was cut short."""
    rig = Rig(run=run, started=STARTED, files=FaultyFiles(cut_at))
    try:
        rig.recover()
        rig.submit(flow())
        assert rig.loop.run()
        rig.store.close()
    except Crash:
        rig.store.shelf.close()
        return True
    finally:
        rig.executor.bench.close()
        Rig.made.remove(rig)
    return False


@pytest.mark.parametrize("nights", NIGHTS, ids=lambda nights: " then ".join(flow.__name__ for flow in nights))
def test_cut_short_before_any_change_of_a_file(
    nights: tuple[Night, Night], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, struck: Counter[str]
) -> None:
    monkeypatch.setitem(tasks.ACTIONS, "absent", lambda task: Absent())
    for cut_at in range(1, 200):
        folder = tmp_path / str(cut_at)
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert not night(nights[0], RUN)
        with FolderStore("state") as store:
            Runs(store).write(RunFile(id=NEXT, start="2026-11-23T02:00:00Z", target="flow"))
        was_cut = night(nights[1], NEXT, cut_at)
        with FolderStore("state", create=False) as store:
            report = check(store, modules=["tests"])
        assert report.faults == [], f"cut short before change {cut_at}"
        struck.update(f"then {warning.code}" for warning in report.warnings)
        struck["cut"] += was_cut
        if not was_cut:
            break
    assert struck["cut"] > 5


# -------------------------------------------------------------------------------------------------------- real kills


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    yield from made(tmp_path_factory.mktemp("whole"))


def no_fault(project: Project) -> dict[str, Any]:
    outcome = look(project.root, "--json")
    assert outcome.code == 0, outcome.out + outcome.err
    return {warning["code"]: warning for warning in found(outcome, "warnings")}


@pytest.mark.parametrize("kind", ["scheduler", "group"])
def test_killed_at_any_time(project: Project, kind: Kind, seed: int, struck: Counter[str]) -> None:
    """No fault right after it, though nobody has recovered anything: a second opinion is that of the killer itself."""
    working_project(project, WORK_SECONDS="0.01")

    def while_dead() -> None:
        if not project.state.exists():
            return
        struck.update(f"then {code}" for code in no_fault(project))

    kills = 40 if TORTURE else 3
    first = ("run", "jobs.work:everything", "--workers", "2", "--durability", "process")
    killer = Killer(project, first, seed, kinds=[kind], step=2 if TORTURE else 16, while_dead=while_dead)
    killer.run(kills)
    struck.update(killer.struck)
    assert not no_fault(project)


def test_beside_a_runner_at_full_speed(project: Project, struck: Counter[str]) -> None:
    """Jobs of no work, found in large batches: what moves between two looks of one check is no fault."""
    working_project(project, WORK_SECONDS="0")
    process = project.start("run", "jobs.work:many", "roots=4", "pairs=150", "singles=300", *QUICK)
    while process.poll() is None:
        if not project.names("runs"):
            continue
        before = project.count("done")
        outcome = look(project.root, "--json")
        assert outcome.code == 0, found(outcome)
        struck["checks"] += 1
        struck["jobs done during one"] += project.count("done") - before
    assert process.returncode == 0, project.said()
    assert struck["checks"] > 3
    assert struck["jobs done during one"] > 100
    assert not no_fault(project)


def test_faults_beside_a_live_runner(
    whole: Project, new_project: Callable[..., Project], tmp_path: Path, struck: Counter[str]
) -> None:
    """Found there as well, by a check that looks again until it is sure; what mends is for later: exit code 75."""
    state = Planted.copy(whole, tmp_path / "project")
    project = new_project()
    process = project.start("resume", *QUICK)
    processes.wait_until("it has taken in what was handed in", lambda: not project.names("inbox"), 60)
    both = {"pending": 3, "running": 2}
    processes.wait_until("both are held again", lambda: project.counts().items() >= both.items(), 60)
    planted = {}
    for name in ("half a file in failed", "an older copy", "done without a record", "a root with other arguments"):
        plant, code, _ = FAULTS[name]
        planted[plant(state)] = code
    before = project.snapshot()
    outcome = look(project.root)
    assert outcome.code == 1
    for named, code in planted.items():
        assert any(line.startswith("fault: ") and named in line for line in outcome.out.splitlines()), outcome.out
        struck[code] += 1
    refused = project.runner("check", "--repair")
    assert refused.code == 75, refused.err
    assert str(process.pid) in refused.said
    assert project.snapshot() == before, "nothing was touched"
    (project.state / "locks" / "runner.lock").unlink()
    assert "lock file" in {fault["code"] for fault in found(look(project.root, "--json"))}
    struck["lock file"] += 1
    process.send_signal(signal.SIGKILL)
    process.wait()


# ------------------------------------------------------------------------------------------------- --repair is killed

SEVERAL = (
    "half a file in failed", "half a file in blocked", "an older copy", "a symlink", "a name that is no id",
    "done by a failure", "pending, moved to failed", "an id of no such output", "half a run record",
)  # fmt: skip


@pytest.mark.strace
@pytest.mark.timeout(600 if TORTURE else 120)
def test_repair_is_killed(
    whole: Project, new_project: Callable[..., Project], tmp_path: Path, seed: int, struck: Counter[str]
) -> None:
    """At its N-th rename. Another repair does the rest, nothing is lost, and a run goes on from there."""
    chosen = range(1, 100) if TORTURE else sorted(random.Random(seed).sample(range(2, 18), 3))
    for kill_at in chosen:
        state = Planted.copy(whole, tmp_path / f"at-{kill_at}" / "project")
        for name in SEVERAL:
            FAULTS[name][0](state)
        before = state.everything()
        project = new_project(f"at-{kill_at}/project")
        log = tmp_path / f"strace-{kill_at}.log"
        process = project.start("check", "--repair", before=strace(log, RENAMES, kill_at))
        process.wait(timeout=60)
        was_killed = "+++ killed by SIGKILL" in log.read_text(errors="replace")
        struck["kill"] += was_killed
        assert not before - state.everything(), f"lost at rename {kill_at}: {before - state.everything()}"
        look(state.root, "--repair")
        assert not before - state.everything()
        left = {fault["code"] for fault in found(look(state.root, "--json"))}
        assert left <= {"root", "child", "upstream"}, left
        assert was_killed or kill_at > 10
        if not was_killed:
            break
    (state.root / "open").touch()
    outcome = project.runner("run", "jobs.night:night", *QUICK)
    assert outcome.code == 1, outcome.err  # one page always fails
    assert no_fault(project).keys() <= {"quarantine", "left pending"}
    check_state(project.root)
