"""`prune`: what goes and what stays, and that it may be cut short between any two operations."""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import api
from runner.cli import cli
from runner.core.model import Status
from runner.errors import Busy, NewerSchema, StateError
from runner.prune import Prune, Pruned, prune_state
from runner.store import codec
from runner.store.files import Files
from runner.store.folders import FolderStore
from runner.store.runs import Runs, new_run_id
from runner.views.check import check
from runner.views.reach import Reach
from tests.acceptance.invariants import check_state
from tests.store.support import Crash, DurableFiles, FaultyFiles, Watched
from tests.views.state import RUN, START, Built, done_attempt, failed_attempt, id_of

DAY = 86400.0
LATER, LAST = "20261123T020000Z", "20261124T020000Z"
BEFORE = codec.parse_stamp(START) + 12 * 3600
YOUNG = "2026-11-23T02:00:00.000000Z"


@pytest.fixture
def built(tmp_path: Path) -> Built:
    return Built(tmp_path)


def ended(built: Built, *roots: str, id: str = RUN, **fields: Any) -> None:
    built.run(id, **{"roots": list(roots), "admitted": START, "ended": START, **fields})


def prune(built: Built, before: float = BEFORE, **options: Any) -> Pruned:
    return prune_state(built.state, built.root, before=before, **options)


def files(built: Built) -> set[str]:
    """All files that are the user's or tell of jobs and runs."""
    found = {
        str(file.relative_to(built.root)) for file in built.root.rglob("*") if file.is_symlink() or not file.is_dir()
    }
    return {name for name in found if not name.startswith("state/locks/") or name.endswith("/x.json")}


def aged(path: Path, at: float = BEFORE - 1) -> Path:
    os.utime(path, (at, at))
    return path


def sound(built: Built) -> None:
    with built.store() as store:
        report = check(store, modules=["jobs"])
    assert report.faults == []
    check_state(built.root)


def young(**changes: Any) -> dict[str, Any]:
    """What a job has that ran not long ago."""
    return {"attempts": [done_attempt(started=YOUNG)], **changes}


# ---------------------------------------------------------------------------------------------------------- the jobs


def test_jobs_that_are_gone_and_old(built: Built) -> None:
    root = built.put("done", "root")
    old = {
        built.put("done", "a"),
        built.put("failed", "b"),
        built.put("blocked", "c", attempts=[failed_attempt()]),
        built.put("cancelled", "d", attempts=[failed_attempt(outcome="cancelled")]),
    }
    built.put("done", "e", **young())
    built.put("failed", "f", attempts=[failed_attempt(started=YOUNG)])
    built.put("done", "g", result=built.result({"g": b"abc"}, checked_at=YOUNG))
    built.put("cancelled", "never ran")
    aged(built.file("cancelled", built.put("cancelled", "h")), BEFORE + 1)
    aged(built.file("cancelled", id_of("never ran")))
    old.add(id_of("never ran"))
    ended(built, root)
    before, sizes = files(built), sum(built.file(s, id).stat().st_size for id in old for s in places(built, id))
    pruned = prune(built)
    assert set(pruned.ids) == old
    assert (pruned.jobs.count, pruned.jobs.bytes) == (5, sizes)
    assert before - files(built) == {f"state/{s}/{id}.json" for s, id in pairs(before) if id in old}
    assert {"a", "root"} <= files(built), "outputs stay"
    sound(built)


def places(built: Built, id: str) -> list[str]:
    return [status for status in ("done", "failed", "blocked", "cancelled") if built.file(status, id).exists()]


def pairs(names: set[str]) -> list[tuple[str, str]]:
    """(status, id) of job files."""
    return [(part[1], part[2].removesuffix(".json")) for name in names if len(part := name.split("/")) == 3]


def test_what_is_reached_stays_however_old(built: Built) -> None:
    text = built.put("done", "text", "Parse", after=(id_of("page"),))
    page = built.put("done", "page", found=[text])
    cancelled = built.put("cancelled", "x", attempts=[failed_attempt(outcome="cancelled")])
    built.put("pending", "open")
    ended(built, page, cancelled)
    before = files(built)
    assert prune(built).ids == []
    assert files(built) == before


def test_what_a_job_names_that_stays_stays_too(built: Built) -> None:
    """Young ones, those in two folders, damaged ones: whatever they name has to be there."""
    deep = built.put("done", "deep")
    named = built.put("done", "named", after=(deep,))
    built.put("done", "young", **young(result=built.result({"young": b"abc"}, found=[named], checked_at=YOUNG)))
    before = built.put("done", "before")
    twice = built.put("done", "twice", after=(before,))
    built.file("failed", twice).write_bytes(built.file("done", twice).read_bytes())
    old = built.put("done", "old", after=(named,))
    ended(built)
    assert prune(built).ids == [old]
    built.file("failed", twice).unlink()
    assert set(prune(built).ids) == {twice, before}
    sound(built)


def test_a_damaged_file_is_not_deleted_nor_what_it_may_have_found(built: Built) -> None:
    id = built.put("done", "a")
    child = built.put("done", "child", found_by=id)
    file = built.file("done", id)
    file.write_bytes(file.read_bytes()[:-20])
    (built.state / "done" / "notes.json").write_text("mine")
    ended(built)
    assert prune(built).ids == []
    file.rename(built.file("quarantine", id))
    assert prune(built).ids == []
    assert child in {id for _, id in pairs(files(built))}


def test_the_inbox_and_what_came_from_there(built: Built) -> None:
    handed = built.put("done", "handed", submitted=True)
    moved = built.put("failed", "moved", after=(built.put("done", "upstream"),))
    built.file("failed", moved).rename(built.state / "inbox" / "again.json")
    ended(built)
    before = files(built)
    assert prune(built).ids == []
    assert files(built) == before
    assert handed in {id for _, id in pairs(before)}


def test_a_job_that_is_moved_back_at_the_very_last_moment(built: Built) -> None:
    upstream = built.put("done", "upstream")
    moved = built.put("failed", "moved", after=(upstream,))
    last = built.put("done", "last", after=(moved,))
    ended(built)

    class Person(Watched):
        def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
            if name == "unlink" and arguments[1] == f"{last}.json":
                built.file("failed", moved).rename(built.file("inbox", moved))

    with FolderStore(built.state, root=built.root, files=Person()) as store:
        assert Prune(store, BEFORE).carry_out().ids == [last]
    assert built.file("done", upstream).exists(), "it is going to wait for that"


# ------------------------------------------------------------------------------------------------ runs and the rest


def test_runs_and_journals(built: Built) -> None:
    a, b = built.put("done", "a"), built.put("done", "b")
    ended(built, id="20261101T020000Z")
    ended(built, a, id="20261102T020000Z", target="jobs.scrape:weekly")
    ended(built, a, id="20261103T020000Z", target=None)
    ended(built, id="20261104T020000Z", target=None)
    built.run("20261105T020000Z", admitted=START, exit=3, roots=[b])
    built.run("20261106T020000Z", ended=START, exit=2)
    ended(built, a, id="20261107T020000Z", ended=YOUNG, target="jobs.scrape:hourly")
    ended(built, a, id="20261107T030000Z", ended=START, target="jobs.scrape:hourly")
    ended(built, b, id="20261108T020000Z")
    built.run("20261109T020000Z", ended=START, exit=2)
    days = [*range(1, 10), 11]
    for day in days:
        built.journal((0, a, "pending", "running", "claim"), run=f"202611{day:02}T020000Z")
    built.journal((0, a, "pending", "running", "claim"), run="20270101T020000Z")
    (built.state / "runs" / "notes.jsonl").write_text("mine")
    (built.state / "runs" / "20261399T020000Z.jsonl").write_text("no such day")
    pruned = prune(built)
    left = {name.removeprefix("state/runs/") for name in files(built) if name.startswith("state/runs/")}
    assert {name for name in left if name.endswith(".json")} == {
        "20261102T020000Z.json",  # the newest of its target
        "20261103T020000Z.json",  # without a target, with roots
        "20261105T020000Z.json",  # has not ended
        "20261107T020000Z.json",  # not old
        "20261107T030000Z.json",
        "20261108T020000Z.json",
        "20261109T020000Z.json",  # the newest of all
    }
    assert {name for name in left if name.endswith(".jsonl")} == {
        "20261105T020000Z.jsonl",
        "20261107T020000Z.jsonl",
        "20261109T020000Z.jsonl",
        "20270101T020000Z.jsonl",
        "notes.jsonl",
        "20261399T020000Z.jsonl",
    }
    assert (pruned.runs.count, pruned.journals.count) == (3, 7)
    assert pruned.journals.bytes > pruned.journals.count
    with built.store() as store:
        assert new_run_id(Runs(store).ids(), 0.0) > "20261109T020000Z", "ids go on increasing"
    assert prune(built).runs.count == 0


def test_reachability_is_the_same_without_what_was_pruned(built: Built) -> None:
    old, new = built.put("done", "old", **young()), built.put("done", "new")
    ended(built, old)
    ended(built, new, id=LATER)
    with built.store() as store:
        before = dict(Reach(store).gone())
    assert prune(built, BEFORE).runs.count == 1
    with built.store() as store:
        assert dict(Reach(store).gone()) == before != {}


def test_logs_by_their_age(built: Built) -> None:
    id, other = built.put("done", "a"), built.put("done", "b")
    logs = built.state / "logs"
    (logs / f"{id}.log").write_text("12345")
    aged(logs / f"{id}.log")
    (logs / f"{other}.log").write_text("new")
    aged(logs / f"{other}.log", BEFORE + 1)
    (logs / "notes.log").write_text("mine")
    aged(logs / "notes.log")
    (logs / f"{id_of('folder')}.log").mkdir()
    aged(logs / f"{id_of('folder')}.log")
    ended(built, id, other)
    pruned = prune(built)
    assert (pruned.logs.count, pruned.logs.bytes) == (1, 5)
    assert sorted(os.listdir(logs)) == sorted(["notes.log", f"{other}.log", f"{id_of('folder')}.log"])


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_log_that_grows_every_night_loses_its_old_nights(built: Built, dry_run: bool) -> None:
    old, new = "--- run 20200101T020000Z, attempt 1\nlong ago\n", "--- run 20990101T020000Z, attempt 1\nnew\n"
    logs = {name: built.state / "logs" / f"{id_of(name)}.log" for name in ("both", "new", "none")}
    logs["both"].write_text(old + old + new)
    logs["new"].write_text(new + old)
    logs["none"].write_text("no header\n")
    pruned = api.prune(older=3600.0, dry_run=dry_run, state=built.state, root=built.root)
    assert (pruned.logs.count, pruned.logs.bytes) == (1, 2 * len(old))
    assert logs["both"].read_text() == (old + old + new if dry_run else new)
    assert logs["new"].read_text() == new + old
    assert logs["none"].read_text() == "no header\n"


def test_what_a_run_that_went_on_lately_wrote_is_not_old(built: Built) -> None:
    """It began long ago, was interrupted, and resumed."""
    built.run("20200101T020000Z", start="2020-01-01T02:00:00.000000Z")
    log = built.state / "logs" / f"{id_of('a')}.log"
    log.write_text(
        "--- run 20200101T020000Z, attempt 1\nwritten an hour ago\n--- run 20990101T020000Z, attempt 1\nnew\n"
    )
    before = log.read_bytes()
    assert api.prune(older=3600.0, state=built.state, root=built.root).logs.count == 0
    assert log.read_bytes() == before


def test_a_log_that_was_cut_is_as_old_as_it_was(built: Built) -> None:
    log = built.state / "logs" / f"{id_of('a')}.log"
    log.write_text("--- run 20200101T020000Z, attempt 1\nold\n--- run 20990101T020000Z, attempt 1\nnew\n")
    aged(log, time.time() - 1800)
    found = log.stat().st_mtime_ns
    assert api.prune(older=3600.0, state=built.state, root=built.root).logs.count == 1
    assert log.read_text() == "--- run 20990101T020000Z, attempt 1\nnew\n"
    assert log.stat().st_mtime_ns == found


def test_where_there_is_no_room_to_cut_the_rest_is_deleted(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    log = built.state / "logs" / f"{id_of('a')}.log"
    log.write_text("--- run 20200101T020000Z, attempt 1\nold\n--- run 20990101T020000Z, attempt 1\nnew\n")
    before = log.read_bytes()
    trash = built.state / "trash" / "20200101T020000Z"
    trash.mkdir(parents=True)
    (trash / "page.html").write_text("x" * 1000)
    write_whole = Files.write

    def write_half(files: Files, folder: int, name: str, data: bytes) -> None:
        if name.endswith(id_of("a")):
            write_whole(files, folder, name, data[:3])
            raise OSError(errno.ENOSPC, "No space left on device")
        write_whole(files, folder, name, data)

    monkeypatch.setattr(Files, "write", write_half)
    pruned = api.prune(older=3600.0, state=built.state, root=built.root)
    assert (pruned.logs.count, pruned.trash.count) == (0, 1)
    assert log.read_bytes() == before
    assert os.listdir(built.state / "tmp") == []


def test_trash_by_its_run(built: Built) -> None:
    trash = built.state / "trash"
    for name in ("20261101T020000Z/data/deep/a.html", f"{RUN}/b.html", f"{LATER}/c.html", "mine/d.html"):
        (trash / name).parent.mkdir(parents=True)
        (trash / name).write_text("123")
    (built.root / "outside").write_text("x")
    (trash / "20261101T020000Z" / "data" / "link").symlink_to(built.root)
    built.run(RUN)  # it has not ended
    before = files(built)
    pruned = prune(built)
    assert pruned.trash.count == 2
    assert pruned.trash.bytes == 3 + len(str(built.root))
    gone = {"state/trash/20261101T020000Z/data/deep/a.html", "state/trash/20261101T020000Z/data/link"}
    assert before - files(built) == gone
    assert sorted(os.listdir(trash)) == [RUN, LATER, "mine"]


def test_what_is_never_touched(built: Built) -> None:
    names = [f"{folder}/x.json" for folder in ("quarantine", "inbox", "tmp", "locks", "cache", "pending", "running")]
    for name in [*names, f"quarantine/{id_of('q')}.json", f"{RUN}.json", "README.md"]:
        aged(write(built.state / name))
    before = files(built)
    prune(built)
    assert files(built) == before


def write(path: Path) -> Path:
    path.write_text("{}")
    return path


# ------------------------------------------------------------------------------------------------------ how it is done


def a_bit_of_all(built: Built) -> None:
    """Kept jobs, and gone ones that name each other in circles, behind runs, logs and trash."""
    text = built.put("done", "kept.txt", "Parse", after=(id_of("kept"),), found_by=id_of("kept"))
    page = built.put("done", "kept", found=[text])
    for name in ("a", "b"):
        found = [id_of(f"{name}.txt", "Parse"), id_of("b" if name == "a" else "a")]
        built.put("done", name, found=found, found_by=id_of(found[1]))
        built.put("done", f"{name}.txt", "Parse", after=(id_of(name), page), found_by=id_of(name))
    texts = (id_of("a.txt", "Parse"), id_of("b.txt", "Parse"))
    built.put("failed", "merged", "Merge", after=texts)
    built.put("blocked", "next", "Merge", after=(id_of("merged", "Merge"),), attempts=[failed_attempt()])
    stays = built.put("done", "stays")
    built.put("cancelled", "young", after=(stays,), attempts=[failed_attempt(started=YOUNG)])
    ended(built, id_of("a"), id="20261101T020000Z")
    ended(built, page)
    built.journal((0, page, "pending", "running", "claim"), run="20261101T020000Z")
    aged(write(built.state / "logs" / f"{page}.log"))
    (built.state / "trash" / "20261101T020000Z" / "deep").mkdir(parents=True)
    write(built.state / "trash" / "20261101T020000Z" / "deep" / "a")


def test_cut_short_before_any_operation(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    def crash(at: int | None) -> tuple[Built, bool]:
        built = Built(tmp_path / str(at))
        a_bit_of_all(built)
        try:
            with FolderStore(built.state, root=built.root, files=FaultyFiles(at)) as store:
                Prune(store, BEFORE).carry_out()
                store.sync()
        except Crash:
            return built, True
        return built, False

    (tmp_path / "None").mkdir()
    whole, _ = crash(None)
    expected = files(whole)
    assert "state/done/" + id_of("kept") + ".json" in expected
    assert len(pairs(expected)) == 4 + 1, "four jobs and a run"
    struck = 0
    for at in range(1, 100):
        (tmp_path / str(at)).mkdir()
        built, was_cut = crash(at)
        if not was_cut:
            break
        struck += 1
        sound(built)
        assert {name for name in files(built) if "/tmp/" not in name} >= expected
        with built.store() as store:
            pruned = prune(built)
            store.recover()  # as the next start does: what a dead process left in tmp/
        left = {name for name in files(built) if "/tmp/" not in name}
        assert left == expected
        assert pruned.runs.count <= 1
        sound(built)
    assert struck > 12
    record_property("struck", struck)


def test_a_finder_goes_on_naming_those_of_its_children_that_stay(built: Built) -> None:
    stays, goes = built.put("done", "stays"), built.put("done", "goes", after=(id_of("finder"),))
    finder = built.put("done", "finder", found=[goes, stays], after=(stays,))
    ended(built, stays)

    class Cut(Watched):
        def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
            if name == "unlink":
                raise Crash

    with pytest.raises(Crash), FolderStore(built.state, root=built.root, files=Cut()) as store:
        Prune(store, BEFORE).carry_out()
    with built.store() as store:
        job = store.read(finder, Status.DONE)
    assert job.result is not None
    assert job.result["found"] == [stays]
    assert job.attempts == [done_attempt()]
    assert job.result["outputs"]


def test_what_is_written_is_durable_before_it_counts(built: Built) -> None:
    a_bit_of_all(built)
    files = DurableFiles()
    with FolderStore(built.state, root=built.root, files=files) as store:
        Prune(store, BEFORE).carry_out()
    assert files.renamed == 2


def test_what_is_deleted_is_deleted_for_good(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    a_bit_of_all(built)
    done: list[str] = []
    for name in ("unlink", "rmdir", "rename", "sync_filesystem"):
        real = getattr(Files, name)
        monkeypatch.setattr(Files, name, lambda *a, name=name, real=real: done.append(name) or real(*a))
    prune(built)
    assert done[-1] == "sync_filesystem"
    assert done[-2] == "rmdir"


def test_readers_go_before_what_they_come_after(built: Built) -> None:
    ids = [built.put("failed", "0")]
    for n in range(1, 6):
        ids.append(built.put("failed", str(n), after=(ids[-1], ids[0])))
    circle = [built.put("failed", name, after=(id_of(other),)) for name, other in (("x", "y"), ("y", "x"))]
    ended(built)
    deleted: list[str] = []

    class Watching(Watched):
        def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
            if name == "unlink":
                deleted.append(arguments[1].removesuffix(".json"))

    with FolderStore(built.state, root=built.root, files=Watching()) as store:
        Prune(store, BEFORE).carry_out()
    assert deleted[:6] == ids[::-1]
    assert sorted(deleted[6:]) == sorted(circle), "edited by hand; they go too"


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_what_is_left_names_nothing_that_went(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    built = Built(tmp_path_factory.mktemp("state"))
    count = data.draw(st.integers(1, 8))
    ids = [id_of(str(n)) for n in range(count)]
    for n, id in enumerate(ids):
        found = data.draw(st.lists(st.sampled_from(ids), max_size=2, unique=True))
        after = data.draw(st.lists(st.sampled_from(ids[:n]), max_size=2, unique=True)) if n else []
        status = data.draw(st.sampled_from(["done", "done", "failed", "cancelled"]))
        checked = data.draw(st.sampled_from([START, START, YOUNG]))
        result = built.result({str(n): b"abc"}, found=found, checked_at=checked)
        found_by = data.draw(st.none() | st.sampled_from(ids))
        last = failed_attempt() if status == "failed" else done_attempt()
        built.put(status, str(n), after=tuple(after), found_by=found_by, result=result, attempts=[last])
        assert built.file(status, id).exists()
    ended(built, *data.draw(st.lists(st.sampled_from(ids), max_size=2, unique=True)))
    sound(built)
    with built.store() as store:
        gone = {id for id, _ in Reach(store).gone()}
    cut = data.draw(st.integers(1, 12))
    try:
        with FolderStore(built.state, root=built.root, files=FaultyFiles(cut)) as store:
            Prune(store, BEFORE).carry_out()
    except Crash:
        sound(built)
    pruned = prune(built)
    assert set(pruned.ids) <= gone
    sound(built)
    assert prune(built).ids == []
    everything = prune(built, BEFORE + 30 * DAY)
    assert not everything.ids or set(everything.ids) <= gone
    with built.store() as store:
        assert list(Reach(store).gone()) == []
    sound(built)


def test_dry_run_says_the_same_and_does_nothing(built: Built) -> None:
    a_bit_of_all(built)
    with FolderStore(built.state, root=built.root) as store, store.lock({}):  # beside a runner, too
        before = {file: file.lstat().st_mtime_ns for file in built.root.rglob("*")}
        would = prune(built, dry_run=True)
        assert {file: file.lstat().st_mtime_ns for file in built.root.rglob("*")} == before
    done = prune(built)
    assert would.dry_run
    assert {name: getattr(would, name) for name in would.__struct_fields__ if name != "dry_run"} == {
        name: getattr(done, name) for name in done.__struct_fields__ if name != "dry_run"
    }
    assert done.jobs.count == 6
    assert done.trash.count == 1


def test_beside_a_runner(built: Built) -> None:
    with FolderStore(built.state) as store, store.lock({}), pytest.raises(Busy):
        prune(built)


def test_a_state_that_cannot_be_understood(built: Built, tmp_path: Path) -> None:
    a_bit_of_all(built)
    for text, error in (("{", StateError), ('{"schema": 2}', NewerSchema)):
        (built.state / "runs" / f"{LAST}.json").write_text(text)
        before = files(built)
        with pytest.raises(error):
            prune(built)
        assert files(built) == before
    (tmp_path / "empty").mkdir()
    with pytest.raises(StateError, match="no state folder"):
        prune_state(tmp_path / "empty" / "state", tmp_path / "empty", before=BEFORE)
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_state_that_was_never_used(built: Built) -> None:
    for folder in ("logs", "trash", "runs"):
        (built.state / folder).rmdir()
    pruned = prune(built, dry_run=True)
    assert pruned.jobs.count == pruned.logs.count == 0
    assert prune(built).ids == []


def test_an_error_of_the_disk(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    a_bit_of_all(built)
    monkeypatch.setattr("runner.store.files.os.unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with pytest.raises(StateError, match="again"):
        api.prune(older=0.0, state=built.state, root=built.root)


def test_the_api_in_seconds(built: Built) -> None:
    log = built.state / "logs" / f"{id_of('a')}.log"
    log.write_text("x")
    assert api.prune(older=3600.0, state=built.state, root=built.root).logs.count == 0
    assert api.prune(older=0.0, dry_run=True, state=built.state, root=built.root).logs.count == 1
    assert api.prune(older=0.0, state=built.state, root=built.root).logs.count == 1
    assert api.prune(older=1e12, state=built.state, root=built.root).before.startswith("1970")


# -------------------------------------------------------------------------------------------------- the command line


def call(built: Built, *words: str) -> str:
    result = CliRunner().invoke(cli, ["-C", str(built.root), "prune", *words])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def test_what_is_printed(built: Built) -> None:
    a_bit_of_all(built)
    long_ago = "--older=1000w"
    assert "would delete, of before 2" in call(built, "--dry-run")
    assert re.search(r"^jobs +0 +0$", call(built, long_ago), re.M)
    now = prune(built, time.time(), dry_run=True)
    found = json.loads(call(built, "--older", "0s", "--dry-run", "--json"))
    assert (found["schema"], found["dry_run"], found["state"]) == (1, True, str(built.state))
    assert found["ids"] == now.ids
    for kind in ("jobs", "runs", "journals", "logs", "trash"):
        assert found[kind] == {"count": getattr(now, kind).count, "bytes": getattr(now, kind).bytes}
    text = call(built, "--older", "0s")
    for kind in ("jobs", "runs", "journals", "logs", "trash"):
        assert re.search(rf"^{kind} +{found[kind]['count']} +{found[kind]['bytes']:,}$", text, re.M), text
    assert text.startswith("deleted, of before 2")
