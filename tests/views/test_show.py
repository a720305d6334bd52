"""`show`: a job by part of its id, with its story, its outputs and the end of its log."""

from __future__ import annotations

import json

import msgspec
import pytest

from runner.errors import UsageError
from runner.store.inbox import hand_in
from runner.views.log import LOG_LINES
from runner.views.reading import places, resolve
from runner.views.show import Shown, show
from tests.views.state import RUN, Built, id_of


def shown(built: Built, text: str) -> Shown:
    with built.store() as store:
        return show(store, text)


def test_a_job_by_a_prefix_of_its_id(built: Built) -> None:
    id = built.put("done", "a")
    built.put("pending", "b")
    for text in (id, id[:-1], id[:8]):
        assert shown(built, text).id == id


def test_a_full_id_needs_no_scan(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    id = built.put("done", "a")
    with built.store() as store:
        monkeypatch.setattr(store, "scan", lambda: pytest.fail("it scanned"))
        assert resolve(store, id)[0] == id


@pytest.mark.parametrize("text", ["", "Nobody", "a" * 300, "../../etc/passwd", "Fetch-\n", "inbox/x"])
def test_nobody(built: Built, text: str) -> None:
    built.put("done", "a")
    with pytest.raises(UsageError, match=r"runner list"):
        shown(built, text)


def test_one_that_was_handed_in_and_not_taken_up_yet(built: Built) -> None:
    id = id_of("a")
    job = {"id": id, "task": "jobs.pages:Fetch", "params": {"output": "a"}}
    with built.store() as store:
        hand_in(store, [job])
    for text in (id, id[:-1]):
        with pytest.raises(UsageError, match=f"{id} lies in inbox/"):
            shown(built, text)
    with pytest.raises(UsageError, match=r"runner list"):
        shown(built, "")


def test_an_ambiguous_prefix_lists_the_candidates(built: Built) -> None:
    ids = sorted([built.put("done", "a"), built.put("failed", "b")])
    with pytest.raises(UsageError) as raised:
        shown(built, "Fetch")
    assert all(id in str(raised.value) for id in ids)
    assert "failed" in str(raised.value)
    for n in range(30):
        built.put("pending", str(n))
    with pytest.raises(UsageError, match="and 22 more"):
        shown(built, "Fetch-")


def test_its_file_story_outputs_and_log(built: Built) -> None:
    result = built.result({"data/a": b"abc", "data/b": b"x", "data/c": b"y", "data/d": None})
    id = built.put("done", "data/a", result=result)
    (built.root / "data" / "b").unlink()
    (built.root / "data" / "c").write_text("longer")
    built.journal((0, id, "pending", "running", "claim"), (1, id_of("x"), "pending", "running", "claim"))
    built.journal((2, id, "running", "done", "finish"))
    log = built.state / "logs" / f"{id}.log"
    log.write_bytes(b"".join(b"line %d\n" % n for n in range(20_000)) + b"\xff the end")
    found = shown(built, id)
    assert found.status == "done"
    assert [(look.path, look.now) for look in found.outputs] == [
        ("data/a", "whole"),
        ("data/b", "missing"),
        ("data/c", "other size"),
        ("data/d", "absent"),
    ]
    assert [(entry.run, entry.step) for entry in found.story.entries] == [(RUN, "claim"), (RUN, "finish")]
    assert found.log is not None
    assert found.log.bytes == log.stat().st_size
    assert len(found.log.lines) == LOG_LINES
    assert found.log.lines[-1] == "� the end"
    document = json.loads(msgspec.json.encode(found.document()))
    assert document["schema"] == 1
    assert document["job"] == json.loads(built.file("done", id).read_bytes())


def test_a_job_without_log_or_journal(built: Built) -> None:
    found = shown(built, built.put("pending", "a"))
    assert (found.log, found.story.entries, found.outputs) == (None, [], [])


def test_what_is_no_valid_job(built: Built) -> None:
    id = id_of("a")
    built.file("done", id).write_text('{"schema": 1')
    found = shown(built, id)
    assert found.job is None
    assert found.problem is not None
    assert "done/" in found.problem
    assert json.loads(msgspec.json.encode(found.document()))["job"] is None


def test_what_lies_in_quarantine_and_in_the_inbox(built: Built) -> None:
    bad, back = id_of("a"), built.put("failed", "b")
    built.file("quarantine", bad).write_text("{")
    (built.state / "quarantine" / f"{bad}.json.reason.txt").write_text("done/...: is cut")
    built.file("failed", back).rename(built.file("inbox", back))
    found = shown(built, bad)
    assert (found.status, found.problem) == ("quarantine", "done/...: is cut")
    for text in (back, back[:-3]):
        found = shown(built, text)
        assert (found.id, found.status, found.job is not None) == (back, "inbox", True)


def test_a_log_that_is_a_symlink_is_not_followed(built: Built) -> None:
    id = built.put("done", "a")
    secret = built.root / "secret"
    secret.write_text("secret")
    (built.state / "logs" / f"{id}.log").symlink_to(secret)
    assert shown(built, id).log is None


def test_places(built: Built) -> None:
    id = built.put("done", "a")
    with built.store() as store:
        assert places(store, id) == ["done"]
        built.put("pending", "a")
        assert places(store, id) == ["pending", "done"]
        assert places(store, id_of("nobody")) == []
