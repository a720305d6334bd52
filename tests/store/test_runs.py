"""Run records: durable, replaced whole, ids that only grow; and journals that may lose lines but nothing else."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import NewerSchema, StateError
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.runs import Journal, RunFile, Runs, new_run_id, read_journal
from tests.store.support import NOW, Crash, DurableFiles, FaultyFiles, names, open_store

FIRST, SECOND, THIRD = "20261122T020000Z", "20261122T020001Z", "20261123T020000Z"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderStore]:
    with open_store(tmp_path) as store:
        yield store


def run(id: str, **fields: object) -> RunFile:
    base = RunFile(id=id, start=codec.stamp(NOW), target="jobs.x:flow", arguments={"day": "monday"}, roots=["A"])
    return msgspec.structs.replace(base, **fields)


def test_an_id_is_the_start_in_utc() -> None:
    assert new_run_id([], NOW + 0.9) == FIRST
    assert new_run_id([FIRST], NOW) == SECOND
    assert new_run_id([THIRD, FIRST], NOW) == "20261123T020001Z", "also when the clock was put back"
    assert new_run_id(["junk", "zzz"], NOW) == FIRST


@given(st.lists(st.floats(0, 4e9), max_size=30))
def test_ids_strictly_increase(times: list[float]) -> None:
    ids: list[str] = []
    for now in times:
        ids.append(new_run_id(reversed(ids), now))
    assert ids == sorted(set(ids))


def test_records_are_written_replaced_and_found(store: FolderStore) -> None:
    runs = Runs(store)
    assert (runs.newest(), runs.unfinished(), runs.ids()) == (None, [], [])
    first, second = run(FIRST), run(THIRD, options={"force": True}, exit=3)
    runs.write(second)
    runs.write(first)
    assert runs.ids() == [FIRST, THIRD]
    assert (runs.newest(), runs.unfinished()) == (second, [second, first])
    ended = msgspec.structs.replace(second, admitted=codec.stamp(NOW), ended=codec.stamp(NOW + 9), exit=0)
    runs.write(ended)
    assert (runs.newest(), runs.read(THIRD), runs.unfinished()) == (ended, ended, [first])
    assert names(store, "tmp") == []


def test_a_record_is_durable_before_it_has_its_name(tmp_path: Path) -> None:
    with open_store(tmp_path, files=DurableFiles()) as store:
        Runs(store).write(run(FIRST))
        Runs(store).write(run(FIRST, exit=1))


def test_a_crash_leaves_the_old_record_or_the_new_one(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        Runs(store).write(run(FIRST))
    seen = set()
    for at in range(1, 5):
        with open_store(tmp_path, files=FaultyFiles(at)) as store, pytest.raises(Crash):
            Runs(store).write(run(FIRST, exit=1))
        with open_store(tmp_path) as store:
            seen.add(Runs(store).read(FIRST).exit)
    assert seen == {None, 1}


def test_unknown_fields_are_kept(store: FolderStore) -> None:
    path = Path(store.path, "runs", f"{FIRST}.json")
    path.write_text(f'{{"id": "{FIRST}", "start": "2026-11-22T02:00:00Z", "colour": "red"}}')
    found = Runs(store).read(FIRST)
    Runs(store).write(msgspec.structs.replace(found, exit=0))
    assert msgspec.json.decode(path.read_bytes())["colour"] == "red"
    assert Runs(store).read(FIRST).extra == {"colour": "red"}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", StateError),
        ("{", StateError),
        (f'{{"id": "{FIRST}"}}', StateError),
        (f'{{"id": "{SECOND}", "start": "2026-11-22T02:00:00Z"}}', StateError),
        ('{"schema": 2, "id": 5}', NewerSchema),
    ],
)
def test_a_record_that_cannot_be_used_is_named(store: FolderStore, text: str, error: type[StateError]) -> None:
    Path(store.path, "runs", f"{FIRST}.json").write_text(text)
    with pytest.raises(error, match=f"runs/{FIRST}.json"):
        Runs(store).newest()


def test_a_run_that_is_none(store: FolderStore) -> None:
    with pytest.raises(FileNotFoundError):
        Runs(store).read(FIRST)
    with pytest.raises(StateError, match="no run id"):
        Runs(store).read("../../x")
    Path(store.path, "runs", "notes.json").write_text("{")
    Path(store.path, "runs", f".{FIRST}.json").write_text("{")
    assert Runs(store).newest() is None


def test_a_look_without_runs(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with open_store(tmp_path, create=False) as store:
        assert Runs(store).newest() is None
        assert list(read_journal(store, FIRST)) == []


# ------------------------------------------------------------------------------------------------------- the journal


def test_lines_are_gathered_and_written_at_once(store: FolderStore) -> None:
    journal = Journal(store, FIRST)
    for n in range(3):
        journal.add([{"n": n}])
    assert not os.path.exists(f"{store.path}/runs/{FIRST}.jsonl")
    journal.flush()
    journal.flush()
    journal.add([{"n": 3}])
    journal.flush()
    assert [entry["n"] for entry in read_journal(store, FIRST)] == [0, 1, 2, 3]
    assert Path(store.path, "runs", f"{FIRST}.jsonl").read_bytes().count(b"\n") == 4


def test_a_large_journal_flushes_itself(store: FolderStore) -> None:
    journal = Journal(store, FIRST)
    for n in range(5000):
        journal.add([{"n": n, "text": "x" * 100}])
    assert Path(store.path, "runs", f"{FIRST}.jsonl").stat().st_size > 500_000


def test_half_a_line_spoils_no_other(store: FolderStore) -> None:
    path = Path(store.path, "runs", f"{FIRST}.jsonl")
    path.write_bytes(b'{"n": 0}\n{"n": 1')
    journal = Journal(store, FIRST)
    journal.add([{"n": 2}])
    journal.flush()
    assert [entry["n"] for entry in read_journal(store, FIRST)] == [0, 2]


def test_a_journal_that_cannot_be_written_warns_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_store(tmp_path).close()
    with open_store(tmp_path, files=FaultyFiles(1, OSError(28, "No space left on device"))) as store:
        journal = Journal(store, FIRST)
        with caplog.at_level(logging.WARNING):
            for n in range(3):
                journal.add([{"n": n}])
                journal.flush()
    assert len(caplog.records) == 1
    assert "No space" in caplog.text


def test_a_record_nested_too_deep_and_one_of_no_time_are_named(store: FolderStore) -> None:
    runs, path = Runs(store), Path(store.path, "runs", "20261122T020000Z.json")
    times = '{"id": "20261122T020000Z", "start": "2026-99-99T00:00:00Z"}'
    for text, said in (("[" * 100_000, "nested"), (times, "no time")):
        path.write_text(text)
        for look in (runs.unfinished, lambda: runs.read("20261122T020000Z")):
            with pytest.raises(StateError, match=said):
                look()
    path.with_suffix(".jsonl").write_text("[" * 100_000 + '\n{"id": "x"}\n')
    assert list(read_journal(store, "20261122T020000Z")) == [{"id": "x"}]


@pytest.mark.parametrize("id", ["99991231T235959Z", "20269999T000000Z"])
def test_a_run_after_which_there_can_be_none(id: str) -> None:
    with pytest.raises(StateError, match=f"{id}.json: nothing can be later"):
        new_run_id([id], 0.0)
