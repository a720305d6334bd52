"""`check`: a sound state has no fault, and a live runner's moves are none. Planted faults: tests/faults."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.commands import Create, Move
from runner.core.model import Proposal, Status, Step
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import process_start
from runner.store.folders import FolderStore
from runner.views import check as module
from runner.views.check import Report, check
from tests.views.state import RUN, START, Built, done_attempt, failed_attempt, id_of


def look(built: Built, **options: object) -> Report:
    with built.store() as store:
        return check(store, **{"modules": ["jobs"], **options})  # type: ignore[arg-type]


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.faults]


def warned(report: Report) -> list[str]:
    return [finding.code for finding in report.warnings]


def sound(built: Built) -> dict[str, str]:
    """Jobs in every status, with all that may be there besides."""
    child = built.put("done", "data/text.txt", "Parse", after=(id_of("data/a.html"),), found_by=id_of("data/a.html"))
    ids = {
        "child": child,
        "parent": built.put("done", "data/a.html", found=[child]),
        "failed": built.put("failed", "data/b.html"),
        "blocked": built.put("blocked", "data/b.txt", "Parse", after=(id_of("data/b.html"),)),
        "pending": built.put("pending", "data/c.html", attempts=[failed_attempt()], not_before=START),
        "cancelled": built.put("cancelled", "data/d.html", attempts=[failed_attempt(outcome="gone")]),
    }
    built.run(roots=[ids["parent"], ids["failed"], ids["pending"]], admitted=START)
    (built.state / "done" / "notes.txt").write_text("mine")
    (built.state / "done" / ".half.json").write_text("{")
    return ids


# ----------------------------------------------------------------------------------------------------- what is sound


def test_a_sound_state(built: Built) -> None:
    sound(built)
    report = look(built, verify=True)
    assert report.faults == []
    assert report.warnings == []
    assert (report.jobs, report.outputs, report.runs, report.live) == (6, 2, 1, False)


def test_an_empty_state_and_one_that_was_never_used(built: Built, tmp_path: Path) -> None:
    assert look(built).faults == []
    (tmp_path / "other" / "state").mkdir(parents=True, mode=0o755)
    with FolderStore(tmp_path / "other" / "state", create=False) as store:
        report = check(store)
    assert (report.faults, report.warnings, report.jobs) == ([], [], 0)


def test_it_changes_nothing(built: Built) -> None:
    sound(built)
    built.file("pending", id_of("x")).write_text("{")
    before = {file: file.stat().st_mtime_ns for file in built.root.rglob("*")}
    assert look(built).faults
    assert {file: file.stat().st_mtime_ns for file in built.root.rglob("*")} == before


def test_what_lies_in_quarantine_is_not_lost(built: Built) -> None:
    ids = sound(built)
    built.file("done", ids["child"]).rename(built.state / "quarantine" / f"2.{ids['child']}.json")
    report = look(built)
    assert report.faults == []
    assert warned(report) == ["quarantine", "no reason"]


def test_an_absent_output_may_be_absent(built: Built) -> None:
    built.put("done", "data/a.html", result=built.result({"data/a.html": None}, change="absent"))
    assert look(built).warnings == []


def test_a_job_without_output(built: Built) -> None:
    built.put("done", "whatever", result=built.result({}))
    report = look(built)
    assert (report.faults, report.warnings) == ([], [])


def test_a_worker_that_is_still_alive(built: Built) -> None:
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        start = process_start(worker.pid)
        (built.state / "locks" / f"worker-{worker.pid}-{start}.lock").touch()
        (built.state / "locks" / "worker-1-2.lock").touch()
        report = look(built)
        assert warned(report) == ["orphan"]
        assert str(worker.pid) in report.warnings[0].what
    finally:
        worker.kill()
        worker.wait()


def test_modules_that_are_not_allowed(built: Built) -> None:
    built.put("pending", "data/a.html", task="os:Fetch")
    built.put("pending", "data/b.html", task="tools.sub:Fetch")
    built.put("pending", "data/c.html", task="jobsite:Fetch")
    built.put("done", "data/d.html", task="gone:Fetch")
    built.run(target="tools.flows:nightly")
    report = look(built)
    assert report.faults == []
    assert sorted(w.what.split("module ")[1].split(",")[0] for w in report.warnings) == ["jobsite", "os"]


ID = id_of("data/new.html")


def test_a_lock_file_that_is_gone_under_a_runner(built: Built) -> None:
    built.holder()
    (built.state / "locks" / "runner.lock").unlink()
    assert codes(look(built)) == ["lock file"]


@given(st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_no_bytes_bring_it_down(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        built = Built(Path(folder))
        built.file("done", ID).write_bytes(data)
        assert codes(look(built)) == ["invalid"]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_taken_away_is_missed(data: st.DataObject) -> None:
    """Random graphs of found jobs: whole, there is no fault; without one of them, it is named."""
    with tempfile.TemporaryDirectory() as folder:
        built = Built(Path(folder))
        count = data.draw(st.integers(2, 8))
        finders = [data.draw(st.integers(0, n - 1), label=f"finder of {n}") for n in range(1, count)]
        upstream = [data.draw(st.none() | st.integers(0, n - 1), label=f"upstream of {n}") for n in range(1, count)]
        ids = [id_of(str(n)) for n in range(count)]
        for n in range(count):
            found = [ids[m + 1] for m, finder in enumerate(finders) if finder == n]
            after = () if n == 0 or upstream[n - 1] is None else (ids[upstream[n - 1] or 0],)
            status = "done" if found else data.draw(st.sampled_from(["done", "pending", "failed", "blocked"]))
            if status == "done":
                built.put(status, str(n), found=found, after=after)
            else:
                built.put(status, str(n), after=after)
        built.run(roots=ids[:1], admitted=START)
        assert codes(look(built)) == []
        gone = data.draw(st.sampled_from(ids))
        next(built.state.glob(f"*/{gone}.json")).unlink()
        assert any(gone in fault.what for fault in look(built).faults)


# ------------------------------------------------------------------------------------------------ beside a live runner


def test_what_comes_right_at_a_later_look_is_no_fault(built: Built) -> None:
    """A child that was created after the scan, and a job that is between two folders at the first looks."""
    built.holder()
    parent = built.put("done", "data/a.html", found=[id_of("data/late")])
    built.put("done", "data/b.html", result=None)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            built.put("pending", "data/late")
            built.put("done", "data/b.html")

    report = look(built, sleep=sleep)
    assert report.faults == []
    assert parent
    assert pauses == list(module.PAUSES[1:3]), "once all is right, it waits no more"


def test_a_warning_is_looked_at_again(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    built.holder()
    built.put("done", "data/a.html")
    (built.root / "data" / "a.html").unlink()
    examined = module.Examiner.again

    def again(self: module.Examiner, id: str) -> list[module.Finding]:
        (built.root / "data" / "a.html").write_bytes(b"abc")
        return examined(self, id)

    monkeypatch.setattr(module.Examiner, "again", again)
    assert look(built).warnings == []


def test_beside_a_runner_that_moves_all_the_time(
    built: Built, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    """Forward, backward, with children made before their parent is done: never a fault, and never a job missed."""
    built.holder()
    examined, suspects = module.Examiner.again, 0

    def again(self: module.Examiner, id: str) -> list[module.Finding]:
        nonlocal suspects
        suspects += 1
        return examined(self, id)

    monkeypatch.setattr(module.Examiner, "again", again)
    jobs, stop = 60, threading.Event()
    ids = [id_of(str(n)) for n in range(jobs)]

    def record(store: FolderStore, id: str, found: list[str]) -> str:
        result = {"run": RUN, "version": 1, "checked_at": START, "change": "new", "outputs": {}, "found": found}
        job = JobFile(id=id, task="jobs.scrape:Fetch", params={}, attempts=[done_attempt()], result=result)
        return store.stage(id, codec.encode(job))

    def work() -> None:
        with FolderStore(built.state, root=built.root, durability="process") as store:
            first = Proposal(id=ids[0], task="jobs.scrape:Fetch", params={}, fingerprint="")
            store.carry_out([Create(first, ())])
            made, turn = 1, 0
            while not stop.is_set():
                id = ids[turn % made]
                store.carry_out([Move(id, Status.PENDING, Status.RUNNING, Step.CLAIM)])
                commands: list[Create | Move] = []
                if made < jobs:
                    child = Proposal(id=ids[made], task="jobs.scrape:Fetch", params={}, fingerprint="", after=(id,))
                    commands.append(Create(child, (id,)))
                    made += 1
                found = [ids[made - 1]] if commands else []
                staged = record(store, id, found)
                commands.append(Move(id, Status.RUNNING, Status.DONE, Step.FINISH, record=staged))
                store.carry_out(commands)
                store.carry_out([Move(id, Status.DONE, Status.PENDING, Step.EXPIRE)])
                turn += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        looks, until = 0, time.monotonic() + 4
        while time.monotonic() < until:
            report = look(built)
            assert report.faults == [], report.faults
            assert report.live
            looks += 1
    finally:
        stop.set()
        thread.join()
    assert looks > 5
    assert suspects, "nothing ever looked wrong: this test could not have failed"
    record_property("struck", f"{suspects} second looks in {looks} checks")
    assert look(built).jobs == jobs


def test_a_runner_that_died_as_it_set_a_done_job_aside(built: Built) -> None:
    sound(built)
    note = {**failed_attempt(), "outcome": "superseded"}
    built.put("done", "data/new.html", attempts=[done_attempt(), note])
    assert codes(look(built)) == []
