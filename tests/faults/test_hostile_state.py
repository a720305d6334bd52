"""Hostile and damaged state: kept and set aside with the reason, and the rest of the queue goes on.

One run over all cases of `hostile_cases.py`, which leave each other alone; tests of their own for what concerns a
whole run, such as a file of a newer version.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from runner.cli import main
from tests.acceptance.processes import wait_until
from tests.acceptance.project import QUICK, STATUSES, Outcome, Project
from tests.acceptance.samples import says
from tests.faults.hostile import RUN, TASKS, Case, attempt, id_of, job, look, text
from tests.faults.hostile_cases import CASES

FLOW = ("run", "jobs.land:flow", *QUICK)


def hostile_project(root: Path) -> Project:
    project = Project(root)
    project.module("land", TASKS)
    project.module("broken", "import nowhere_to_be_found")
    for name in ("evil", "jobsevil"):
        (root / f"{name}.py").write_text("from pathlib import Path\nPath('owned-by-an-import').touch()\n")
    (root / "asked.txt").touch()
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "victim.txt").write_bytes(b"precious")
    assert project.runner(*FLOW).code == 0
    return project


def untouched(project: Project) -> bool:
    """Whether nothing was done outside the project, and no code ran that is no Task's."""
    victim = project.root.parent / "outside" / "victim.txt"
    return victim.read_bytes() == b"precious" and not list(project.root.parent.rglob("owned*"))


@dataclass
class Night:
    """A project, what was planted into its state, and how the runs over it went."""

    project: Project
    planted: dict[str, Any] = field(default_factory=dict)  # by title: what lay there before the runs
    runs: list[Outcome] = field(default_factory=list)
    before: dict[str, list[str]] = field(default_factory=dict)  # path -> what `check` calls it
    after: dict[str, list[str]] = field(default_factory=dict)

    def check(self) -> dict[str, list[str]]:
        outcome = self.project.runner("check", "--json")
        report = json.loads(outcome.out)
        assert outcome.code == 1
        found: dict[str, list[str]] = {}
        for finding in report["faults"] + report["warnings"]:
            found.setdefault(finding["where"], []).append(finding["code"])
        return found

    def plant(self, cases: list[Case]) -> None:
        for case in cases:
            if case.made:
                (self.project.root / case.made[0]).write_bytes(case.made[1])
            where = self.project.state / case.folder / case.file
            if case.folder == "locks":
                where.unlink(missing_ok=True)
            case.plant(where)
            self.planted[case.title] = look(where)
            if case.folder == "inbox" and not where.is_symlink():
                os.utime(where, (1e9, 1e9))  # what does not parse was not written just now
        (self.project.root / "asked.txt").write_text("".join(f"{case.asked}\n" for case in cases if case.asked))

    def work(self) -> None:
        os.mkfifo(self.project.root / "data" / "d6.txt")
        self.before = self.check()
        for words in (("list", "--json"), ("plan", "jobs.land:flow")):
            assert self.project.runner(*words).code == 0, words
        self.runs.append(self.project.runner(*FLOW))
        self.after = self.check()
        self.runs.append(self.project.runner(*FLOW, "--verify"))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    night = Night(hostile_project(tmp_path_factory.mktemp("hostile") / "project"))
    night.plant([case for case in CASES if os.geteuid() == 0 or not case.root])
    night.work()
    yield night
    night.project.close()


def shown(path: str) -> str:
    """As reasons and `check` write a path that is not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def kept_as(night: Night, case: Case) -> tuple[str, str] | None:
    """The name that a case has in quarantine/ and the reason; None: it was not put there."""
    where = shown(f"{case.folder}/{case.file}: ")
    quarantine = night.project.state / "quarantine"
    for name in night.project.names("quarantine"):
        if name.endswith(".reason.txt"):
            reason = (quarantine / name).read_text()
            if reason.startswith(where):
                return name.removesuffix(".reason.txt"), reason.removeprefix(where)
    return None


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.root] * c.root, id=c.title) for c in CASES])
def test_a_planted_file(night: Night, case: Case, struck: Counter[str]) -> None:
    """Where it is afterwards, with its bytes; why; what became of its job; what `check` has said of it."""
    state, planted = night.project.state, night.planted[case.title]
    struck[case.folder] += 1
    where = f"{case.folder}/{case.file}"
    kept = kept_as(night, case)
    if case.ends == "quarantine" and case.folder != "quarantine":
        assert kept is not None, night.runs[0].err
        assert look(state / "quarantine" / kept[0]) == planted
        assert case.says in kept[1]
    else:
        assert kept is None, kept
    if case.ends == case.folder and case.folder not in ("locks", "done"):
        assert look(state / where) == planted
    elif case.ends not in ("quarantine", ""):
        assert os.path.lexists(state / case.ends / case.file)
    job_id = case.job or case.file.removesuffix(".json")
    if case.then:
        found = [status for status in STATUSES if job_id in night.project.ids(status)]
        assert found == [case.then], night.runs[0].err
    if case.then == "failed":
        last = json.loads((state / "failed" / f"{job_id}.json").read_bytes())["attempts"][-1]["error"]
        assert case.says in f"{last['type']}: {last['message']}"
    ends = f"{case.ends}/{case.file}" if case.ends in STATUSES else where
    assert night.before.get(shown(where), [""])[0] == case.before
    assert night.after.get(shown(ends), [""])[0] == case.after


def test_the_rest_of_the_queue_went_on(night: Night, struck: Counter[str]) -> None:
    struck["hostile files"] += len(night.planted)
    project = night.project
    assert [run.code for run in night.runs] == [1, 0], "what is set aside is no fault of the next run"
    says(night.runs[0].said, "files went to quarantine")
    assert (project.root / "data" / "flow.txt").read_text() == "good"
    assert project.ids("done") >= {id_of("data/flow.txt")}
    assert not project.ids("running")
    assert project.names("inbox") == set()
    assert (project.root / "data" / "d6.txt").read_text() == "good", "a FIFO lay there, which was not opened"
    assert untouched(project)


# --------------------------------------------------------------------------------------------------- the whole run


def _put(where: str, data: bytes | dict[str, Any] | Callable[[Path], None]) -> Callable[[Path], None]:
    """Plant something in the place of what is there."""

    def plant(state: Path) -> None:
        path = state / where
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if callable(data):
            data(path)
        else:
            path.write_bytes(data if isinstance(data, bytes) else text(data))

    return plant


def _outside(path: Path) -> None:
    path.symlink_to("../../outside" if path.parent.name == "state" else "../../../outside/victim.txt")


def record(id: str = RUN, **changes: Any) -> dict[str, Any]:
    return {"schema": 1, "id": id, "start": "2026-01-01T02:00:00Z", "target": "jobs.land:flow", **changes}


NEWER = {"schema": 99}
FLOWS = f"{id_of('data/flow.txt')}.json"
RECORD = f"runs/{RUN}.json"
UNUSABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    **{
        f"newer, {s}": (_put(f"{s}/{id_of('new')}.json", NEWER), "schema 99") for s in ("pending", "running", "blocked")
    },
    "newer, done, and come to": (_put(f"done/{FLOWS}", NEWER), "schema 99"),
    "newer, in two folders": (_put(f"failed/{FLOWS}", NEWER), "schema 99"),
    "newer run record": (_put(RECORD, NEWER), "schema 99"),
    "run record cut": (_put(RECORD, b'{"schema": 1, "id"'), "truncated: move it away"),
    "run record empty": (_put(RECORD, b""), "truncated"),
    "run record deep": (_put(RECORD, b"[" * 100_000), "nested more"),
    "run record of another": (_put(RECORD, record("20260101T030000Z")), "the file is named"),
    "run record of no time": (_put(RECORD, record(start="2026-99-99T02:00:00Z")), "no time"),
    "run record a symlink": (_put(RECORD, _outside), "symlink"),
    "run record a FIFO": (_put(RECORD, os.mkfifo), "no regular file"),
    "run record at the end of time": (
        _put("runs/99991231T235959Z.json", record("99991231T235959Z", ended="2026-01-01T02:00:00Z")),
        "later than that",
    ),
    "pending a symlink": (_put("pending", _outside), "no folder of its own"),
    "runs a file": (_put("runs", b""), "no folder of its own"),
    "inbox a FIFO": (_put("inbox", os.mkfifo), "no folder of its own"),
    "generation a folder": (_put("locks/generation", Path.mkdir), "generation"),
    "generation a FIFO": (_put("locks/generation", os.mkfifo), "generation"),
    "generation a symlink": (_put("locks/generation", _outside), "generation"),
    "runner.lock a folder": (_put("locks/runner.lock", Path.mkdir), "runner.lock is no file of the runner's"),
    "runner.lock a symlink": (_put("locks/runner.lock", _outside), "runner.lock is no file of the runner's"),
    "runner.json a folder": (_put("locks/runner.json", Path.mkdir), "runner.json is no file of the runner's"),
    "state written by others": (lambda state: state.chmod(0o777), "can be written by others"),
    "inbox written by others": (lambda state: (state / "inbox").chmod(0o777), "can be written by others"),
    "pending written by a group": (lambda state: _group_may(state / "pending"), "can be written by others"),
}


def _group_may(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, -1, 54321)
        folder.chmod(0o775)
    else:
        folder.chmod(0o777)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose job is done, with another that is pending."""
    project = hostile_project(tmp_path_factory.mktemp("clean") / "project")
    (project.state / "pending" / f"{id_of('data/waits.txt')}.json").write_bytes(text(job("data/waits.txt")))
    (project.state / "pending" / f"{id_of('data/cut.txt')}.json").write_bytes(b"{")
    return project


@pytest.fixture
def copy(clean: Project, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(clean.root.parent, tmp_path / "copy")
    project = Project(tmp_path / "copy" / "project")
    yield project
    project.close()


def forked(project: Project, *words: str) -> tuple[int, str]:
    """The command line in a fork of this process, and what it said: half a second less than a new one takes."""
    with (project.root / "stderr.txt").open("wb") as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 2)
            sys.argv = ["runner", "-C", str(project.root), *words]
            sys.stderr = sys.__stderr__ = open(2, "w", closefd=False)  # noqa: SIM115
            code = 99
            try:
                main()
            except SystemExit as stop:
                code = int(stop.code or 0)
            finally:
                sys.stderr.flush()
                os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), project.said()


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_state_that_cannot_be_used(copy: Project, name: str, struck: Counter[str]) -> None:
    """Exit 4, saying what is in the way; no job was moved, not even a damaged one, and no task ran."""
    plant, said = UNUSABLE[name]
    plant(copy.state)
    struck["state"] += 1
    asks = "come to" in name  # what is done is read only when a run comes to it
    before = {} if "symlink" in name or asks else copy.snapshot()
    if asks:
        outcome = copy.runner(*FLOW)
        code, heard = outcome.code, outcome.said
    else:
        code, heard = forked(copy, "resume", *QUICK)
    assert code == 4, heard
    says(heard, said)
    assert untouched(copy)
    if before and "generation" not in name:
        assert copy.snapshot() == before
    if not asks:
        assert not (copy.root / "data" / "waits.txt").exists()


# ------------------------------------------------------------------------------------------------ one after the other


def test_unknown_fields_survive_a_job_s_whole_life(copy: Project, struck: Counter[str]) -> None:
    """Handed in, failed, retried, done, invalidated and done again, superseded, found again: they are kept."""
    owner = {"name": "me", "since": [2026, None]}
    path, gate = "data/life.txt", copy.root / "data" / "gate.txt"
    known = job(path, "Copy", params={"input_filepath": "data/gate.txt", "output_filepath": path}, owner=owner)
    later = {**attempt(), "machine": "m1"}
    (copy.state / "inbox" / "life.json").write_bytes(text({**known, "attempts": [later]}))
    seen: list[str] = []

    def lives(status: str, *words: str, code: int = 0) -> None:
        assert copy.runner(*words).code == code, words
        (found,) = copy.jobs(status, "Copy-")
        assert found["owner"] == owner
        assert found["attempts"][0] == later, "and those further in"
        seen.append(status)
        struck[status] += 1

    lives("failed", "resume", *QUICK, code=1)
    gate.write_text("open")
    assert copy.runner("retry", known["id"]).code == 0
    lives("done", "resume", *QUICK)
    assert copy.runner("invalidate", known["id"]).code == 0
    lives("done", "run", "jobs.land:Copy", "input_filepath=data/gate.txt", f"output_filepath={path}", *QUICK)
    lives("cancelled", "run", "jobs.land:Loud", f"output_filepath={path}", *QUICK)
    lives("done", "run", "jobs.land:Copy", "input_filepath=data/gate.txt", f"output_filepath={path}", *QUICK)
    assert seen == ["failed", "done", "done", "cancelled", "done"]


def test_a_damaged_failed_job_that_a_person_cancels(copy: Project, struck: Counter[str]) -> None:
    """It cannot be cancelled, and is set aside; no run stumbles over it, before or after."""
    damaged = copy.state / "failed" / f"{id_of('data/failed.txt')}.json"
    damaged.write_bytes(b'{"schema": 1, "id": "Goo')
    struck["cancel"] += 1
    assert copy.runner("cancel", damaged.stem, "--wait").code == 0
    assert not damaged.exists()
    kept = copy.state / "quarantine" / damaged.name
    assert kept.read_bytes() == b'{"schema": 1, "id": "Goo'
    says(kept.with_name(f"{kept.name}.reason.txt").read_text(), "failed/", "truncated")
    assert copy.runner("resume", *QUICK).code == 0
    assert copy.runner("check").code == 0


def test_a_retry_time_that_never_comes(copy: Project, struck: Counter[str]) -> None:
    """The job waits, and the others do not; the runner can be stopped, and `retry` lets the job go."""
    waiting = job("data/9999.txt", not_before="9999-12-31T23:59:59.999999Z")
    (copy.state / "pending" / f"{waiting['id']}.json").write_bytes(text(waiting))
    runner = copy.start("resume", *QUICK)
    wait_until("the others are done", lambda: (copy.root / "data" / "waits.txt").exists(), 60)
    assert copy.runner("stop").code == 0
    assert runner.wait(timeout=60) == 3, copy.said()
    assert copy.ids("pending") == {waiting["id"]}
    struck["9999"] += 1
    assert copy.runner("retry", waiting["id"]).code == 0
    assert copy.runner("resume", *QUICK).code == 0
    assert waiting["id"] in copy.ids("done")


@pytest.mark.root
def test_a_file_that_may_not_be_read(copy: Project, struck: Counter[str]) -> None:
    """Set aside like any other that is no valid job. (Root may read anything, unless it is told not to.)"""
    closed = [copy.state / folder / f"{id_of(folder)}.json" for folder in ("pending", "blocked", "inbox")]
    for path in closed:
        path.write_bytes(text(job(path.parent.name)))
        path.chmod(0)
        os.utime(path, (1e9, 1e9))
        struck[path.parent.name] += 1
    runner = copy.start(*FLOW, before=("setpriv", "--bounding-set", "-dac_override,-dac_read_search"))
    assert runner.wait(timeout=60) == 1, copy.said()
    for path in closed:
        assert not path.exists()
        says((copy.state / "quarantine" / f"{path.name}.reason.txt").read_text(), "may not be read by this user")
    assert (copy.root / "data" / "waits.txt").exists()
    assert copy.runner(*FLOW).code == 0


def test_what_an_absent_job_had_is_kept_wherever_it_was(copy: Project, struck: Counter[str]) -> None:
    """Outputs outside the project are the task's own to name: what became absent lies in trash/, and nowhere else."""
    adopting = ("run", "jobs.land:Good", "output_filepath=../outside/victim.txt", "--adopt", *QUICK)
    assert copy.runner(*adopting).code == 1  # of the damaged job beside it
    assert untouched(copy), "what is adopted is hashed, and stays as it is"
    (copy.state / "inbox" / "gone.json").write_bytes(text(job("../outside/victim.txt", "Gone", id=None)))
    (copy.state / "inbox" / "new.json").write_bytes(text(job("../outside/new.txt", id=None)))
    outcome = copy.runner("run", *QUICK)
    struck["outside"] += 3
    assert outcome.code == 0, outcome.err
    (trashed,) = (path for path in (copy.state / "trash").rglob("*") if path.is_file())
    assert trashed.read_bytes() == b"precious"
    assert {path.name for path in (copy.root.parent / "outside").iterdir()} == {"new.txt"}
    assert not list(copy.root.parent.glob("*.txt"))


def test_a_file_that_is_still_being_copied(copy: Project, struck: Counter[str]) -> None:
    """People use `cp`: what does not parse, and grows, is waited for; at the end of a run, too."""
    whole = text(job("data/copied.txt", id=None))
    path = copy.state / "inbox" / "copied.json"
    path.write_bytes(whole[:1])
    runner = copy.start(*FLOW)
    with path.open("ab") as file:
        for number in range(1, len(whole)):
            file.write(whole[number : number + 1])
            file.flush()
            struck["piece"] += runner.poll() is None
            time.sleep(0.025)  # more than the grace for all of it, and much less for each
    assert runner.wait(timeout=60) == 1, copy.said()  # of the damaged job beside it
    assert (copy.root / "data" / "copied.txt").exists()
    assert copy.ids("quarantine") == {id_of("data/cut.txt")}
