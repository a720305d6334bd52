"""What others hand in: durable before it is acknowledged, whole or set aside, and never lost in between."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runner.core.commands import Change, Move
from runner.core.model import Status, Step
from runner.errors import BadJobFile
from runner.store import codec, inbox
from runner.store.folders import FolderStore
from runner.store.inbox import Entry, Inbox, command, hand_in, retry
from tests.store.support import (
    Crash,
    DurableFiles,
    FaultyFiles,
    Watched,
    claim,
    create,
    finished,
    job_id,
    names,
    open_store,
    proposal,
    put,
)

TASK = {"task": "jobs.x:Job", "params": {"n": 1}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderStore]:
    with open_store(tmp_path) as store:
        yield store


def drop(store: FolderStore, name: str, content: object) -> Path:
    """As `cp` or an editor would."""
    path = Path(store.path, "inbox", name)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def scan(store: FolderStore, later: float = 0.0) -> list[Entry]:
    return Inbox(store).scan(time.time() + later)


# ---------------------------------------------------------------------------------------------------- handing in


def test_jobs_are_handed_in_and_found_in_order(store: FolderStore) -> None:
    job = codec.new_file(proposal(7, submitted=True), ())
    records = [job, json.dumps({**TASK, "params": {"n": 2}}).encode(), TASK]
    given = hand_in(store, records)
    entries = scan(store)
    assert [entry.name for entry in entries] == given
    assert [(entry.kind, entry.job.params["n"]) for entry in entries if entry.job] == [("job", n) for n in (7, 2, 1)]
    assert [entry.job.id for entry in entries if entry.job] == [job_id(7), "", ""]
    for entry in entries:
        Inbox(store).remove(entry)
        Inbox(store).remove(entry)
    assert scan(store) == []


def test_one_bad_record_and_none_is_handed_in(store: FolderStore) -> None:
    for bad in (b"{", {"task": "x"}, {**TASK, "id": "../x"}, {**TASK, "schema": 2}):
        with pytest.raises(BadJobFile, match="record 2: "):
            hand_in(store, [TASK, bad])
    with pytest.raises(BadJobFile, match="16777216 are allowed"):
        hand_in(store, [{**TASK, "params": {"a": "x" * inbox.MAX_BYTES}}])
    assert names(store, "inbox") == names(store, "tmp") == []


def test_the_same_job_handed_in_twice_is_there_twice(store: FolderStore) -> None:
    job = codec.new_file(proposal(1), ())
    assert len({*hand_in(store, [job, job]), *hand_in(store, [job])}) == 3


def test_a_state_by_its_path_is_opened_and_made(tmp_path: Path) -> None:
    assert len(hand_in(tmp_path / "new" / "state", [TASK])) == 1
    assert len(list((tmp_path / "new" / "state" / "inbox").iterdir())) == 1


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("syncfs", [True, False])
def test_what_is_handed_in_is_durable_whatever_the_runner_s_durability(
    tmp_path: Path, count: int, syncfs: bool
) -> None:
    with open_store(tmp_path, files=DurableFiles(syncfs=syncfs)) as store:
        hand_in(store, [TASK] * count)
        command(store, "stop", run="x")


def test_a_submit_killed_anywhere_leaves_whole_files_only(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    for at in range(1, 12):
        with open_store(tmp_path, files=FaultyFiles(at)) as store:
            try:
                hand_in(store, [TASK] * 2)
            except Crash:
                pass
            else:
                break
        with open_store(tmp_path) as store:
            entries = scan(store)
            assert all(entry.kind == "job" for entry in entries)
            assert len(entries) <= 2
            for entry in entries:
                Inbox(store).remove(entry)
    else:
        pytest.fail("it never got through")
    assert at > 5


# -------------------------------------------------------------------------------------------------------- a scan


def test_dot_names_are_left_alone(store: FolderStore) -> None:
    drop(store, ".hidden.json", b"{")
    assert scan(store, later=99) == []


def test_a_file_of_any_other_name_counts(store: FolderStore) -> None:
    drop(store, "work", TASK)
    assert [entry.kind for entry in scan(store)] == ["job"]


def test_a_file_that_does_not_parse_gets_two_seconds(store: FolderStore) -> None:
    drop(store, "a.json", b'{"task": "jobs.x:Job", ')
    reader = Inbox(store)
    now = 1000.0
    assert reader.scan(now) == []
    assert reader.waiting == 1
    assert reader.scan(now + 1.0) == []
    (bad,) = reader.scan(now + 2.0)
    assert (bad.kind, bad.name, reader.waiting) == ("bad", "a.json", 0)
    assert "truncated" in bad.reason
    drop(store, "a.json", TASK)
    assert [entry.kind for entry in reader.scan(now + 2.1)] == ["job"]


def test_a_file_that_grows_gets_more_time(store: FolderStore) -> None:
    path = drop(store, "a.json", b"{")
    reader = Inbox(store)
    assert reader.scan(0.0) == []
    path.write_bytes(b'{"task"')
    assert reader.scan(2.0) == []
    assert reader.scan(3.0) == []
    assert reader.scan(4.0)[0].kind == "bad"


def test_a_file_that_has_lain_there_gets_no_more(store: FolderStore) -> None:
    path = drop(store, "a.json", b"{")
    os.utime(path, (time.time() - 2, time.time() - 2))
    assert Inbox(store).scan(0.0)[0].kind == "bad"


def test_a_file_with_a_time_to_come_does_not_wait_for_ever(store: FolderStore) -> None:
    path = drop(store, "a.json", b"{")
    os.utime(path, (time.time() + 9e6, time.time() + 9e6))
    reader = Inbox(store)
    assert reader.scan(0.0) == []
    assert reader.scan(2.0)[0].kind == "bad"


@pytest.mark.timeout(20)
def test_what_is_no_file_is_bad_and_nothing_hangs(store: FolderStore) -> None:
    there = Path(store.path, "inbox")
    (there / "link.json").symlink_to("/etc/passwd")
    (there / "folder.json").mkdir()
    os.mkfifo(there / "fifo.json")
    drop(store, "large.json", {**TASK, "params": {"a": "x" * inbox.MAX_BYTES}})
    drop(store, "newer.json", {**TASK, "schema": 9})
    drop(store, "code.do.json", [1])
    drop(store, "dumb.do.json", {"schema": 1})
    drop(store, "newer.do.json", {"schema": 9, "verb": "stop"})
    reader = Inbox(store)
    assert reader.scan(time.time()) == []
    assert reader.waiting == 8
    entries = reader.scan(time.time() + 3)
    assert {entry.kind for entry in entries} == {"bad"}
    assert all(entry.reason for entry in entries)
    for entry in entries:
        store.quarantine("inbox", entry.name, entry.reason)
    assert names(store, "inbox") == []
    assert len(names(store, "quarantine")) == 16


def test_a_large_job_may_come_back_from_a_status_folder_only(store: FolderStore) -> None:
    large = {"a": "x" * inbox.MAX_BYTES}
    put(store, Status.FAILED, codec.new_file(proposal(1, params=large), ()))
    assert retry(store, job_id(1)) is Status.FAILED
    os.utime(drop(store, f"{job_id(2)}.json", {**TASK, "params": large}), (1, 1))
    entries = scan(store)
    kinds = {entry.name: entry.kind for entry in entries}
    assert kinds == {f"{job_id(1)}.json": "job", f"{job_id(2)}.json": "bad"}


def test_commands_come_with_their_fields(store: FolderStore) -> None:
    given = [command(store, "cancel", ids=[job_id(1)]), command(store, "stop", run="20261122T020000Z")]
    entries = scan(store)
    assert [entry.name for entry in entries] == given
    assert [entry.command for entry in entries] == [
        {"schema": 1, "verb": "cancel", "ids": [job_id(1)]},
        {"schema": 1, "verb": "stop", "run": "20261122T020000Z"},
    ]


def test_a_look_at_a_state_without_an_inbox(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with open_store(tmp_path, create=False) as store:
        assert scan(store) == []


# --------------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("status", [Status.FAILED, Status.BLOCKED, Status.CANCELLED])
def test_a_retry_is_a_rename_back(store: FolderStore, status: Status) -> None:
    job = finished(codec.new_file(proposal(1), ()))
    put(store, status, job)
    assert retry(store.path, job_id(1)) is status
    assert store.scan() == {}
    (entry,) = scan(store)
    assert entry.job == job


def test_a_retry_of_what_is_in_no_such_folder(store: FolderStore, tmp_path: Path) -> None:
    put(store, Status.DONE, codec.new_file(proposal(1), ()))
    assert retry(store, job_id(1)) is None
    assert retry(store, job_id(2)) is None
    assert retry(store, "../done/x") is None
    (tmp_path / "empty").mkdir(mode=0o755)
    assert retry(tmp_path / "empty", job_id(1)) is None
    assert list((tmp_path / "empty").iterdir()) == []


def test_a_retry_does_not_replace_what_was_handed_in(store: FolderStore) -> None:
    put(store, Status.FAILED, codec.new_file(proposal(1), ()))
    path = drop(store, f"{job_id(1)}.json", {**TASK, "id": job_id(1), "params": {"n": 9}})
    before = path.read_bytes()
    assert retry(store, job_id(1)) is Status.FAILED
    assert path.read_bytes() == before


def test_a_job_that_came_back_keeps_its_history_and_starts_its_retries_anew(store: FolderStore) -> None:
    job = codec.with_attempt(finished(codec.new_file(proposal(1), ())), {"outcome": "failed"})
    put(store, Status.FAILED, job)
    retry(store, job_id(1))
    (entry,) = scan(store)
    wanted = proposal(1, params={"n": 5}, after=(job_id(2),))
    staged = Inbox(store).stage(entry, wanted)
    assert staged is not None
    store.carry_out([create(1, params={"n": 5}, after=(job_id(2),), staged=staged)])
    Inbox(store).remove(entry)
    back = store.read(job_id(1), Status.PENDING)
    assert (back.params, back.after, back.attempts, back.result) == ({"n": 5}, (job_id(2),), job.attempts, job.result)
    assert (back.retries_from, back.not_before) == (2, None)
    assert names(store, "tmp") == names(store, "inbox") == []


def test_what_has_no_history_is_not_staged(store: FolderStore) -> None:
    hand_in(store, [TASK, codec.new_file(proposal(2), ()), finished(codec.new_file(proposal(3), ()))])
    entries = scan(store)
    assert [Inbox(store).stage(entry, proposal(n)) for n, entry in enumerate(entries, 1)][:2] == [None, None]
    assert Inbox(store).stage(entries[2], proposal(4)) is None, "another job's history is none"
    assert Inbox(store).stage(entries[2], proposal(3)) is not None


def test_a_retry_beside_a_live_runner(store: FolderStore) -> None:
    """The runner still takes the job for failed: its moves find it where the person put it."""
    store.carry_out([create(1), claim(1), Move(job_id(1), Status.RUNNING, Status.FAILED, Step.FAIL, change=Change())])
    retry(store.path, job_id(1))
    reader = Inbox(store)
    (entry,) = reader.scan(time.time())
    again = Change(reset_retries=True)
    store.carry_out([Move(job_id(1), Status.FAILED, Status.PENDING, Step.RETRY, change=again)])
    reader.remove(entry)
    assert store.scan() == {job_id(1): Status.PENDING}
    assert reader.scan(time.time()) == []


def test_a_file_that_came_in_the_place_of_one_that_was_read_stays(store: FolderStore) -> None:
    box, path = Inbox(store), Path(store.path, "inbox", "x.json")

    def handed_in(text: str) -> Entry:
        new = path.with_name(".new")
        new.write_text(json.dumps({"task": "jobs.x:Job", "params": {"text": text}}))
        new.rename(path)
        (entry,) = box.scan(time.time())
        assert entry.job is not None
        assert entry.job.params == {"text": text}
        return entry

    first, second = handed_in("one"), handed_in("two")
    box.remove(first)
    assert path.exists()
    box.remove(second)
    assert not path.exists()


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("at", range(6))
def test_a_file_that_comes_at_any_moment_of_a_removal_is_read(tmp_path: Path, at: int, links: bool) -> None:
    """By a rename, as every tool that writes whole files does, between any two calls of those that remove the first."""

    class Shared(Watched):
        def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
            if coming and len(calls) == at:
                coming.pop().rename(path)
            calls.append(name)

        def link(self, folder: int, name: str, to_folder: int, to_name: str) -> bool:
            return links and super().link(folder, name, to_folder, to_name)

    coming: list[Path] = []
    calls: list[str] = []
    with open_store(tmp_path, files=Shared()) as store:
        path = drop(store, "x.json", TASK)
        box = Inbox(store)
        (first,) = box.scan(time.time())
        coming.append(drop(store, ".new", {**TASK, "params": {"n": 2}}))
        calls.clear()
        box.remove(first)
        if coming:
            coming.pop().rename(path)
        (second,) = box.scan(time.time())
        assert second.job is not None
        assert second.job.params == {"n": 2}
        box.remove(second)
        assert names(store, "inbox") == []
