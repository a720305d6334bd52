"""Journals are read in pieces, and whatever the pieces are, the same is found."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.views import journal
from tests.views.state import NOW, RUN, Built, id_of

IDS = [id_of(str(n)) for n in range(3)]
moves = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(["claim", "finish", "fail"]), st.text(max_size=20)))


@given(moves, st.integers(1, 400), st.booleans())
@settings(max_examples=60, deadline=None)
def test_in_pieces_of_any_size(entries: list[tuple[str, str, str]], chunk: int, torn: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        built = Built(Path(folder))
        patch.setattr(journal, "_CHUNK", chunk)
        said = [
            {"at": "2026-11-22T02:00:00.000000Z", "id": id, "source": "a", "target": "b", "step": step}
            | {"why": f'"step":"finish" "id":"{IDS[0]}" {why}'}
            for id, step, why in entries
        ]
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in said)
        if torn:
            data += f'{{"at":"2026-11-22T02:00:00.000000Z","id":"{IDS[0]}","sou\n'.encode() + data
            said *= 2
        (built.state / "runs" / f"{RUN}.jsonl").write_bytes(data)
        with built.store() as store:
            assert journal.count_finished(store, RUN) == sum(line["step"] == "finish" for line in said)
            for id in IDS:
                story = journal.story(store, id, frozenset())
                assert [(e.step, e.why) for e in story.entries] == [
                    (line["step"], line["why"]) for line in said if line["id"] == id
                ]


def test_stories_go_over_runs_and_stop_at_their_budget(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [f"2026112{n}T020000Z" for n in range(4)]
    for run in runs:
        built.journal((0, IDS[0], "pending", "running", "claim"), run=run)
    with built.store() as store:
        assert [entry.run for entry in journal.story(store, IDS[0], frozenset()).entries] == runs
        monkeypatch.setattr(journal, "_BUDGET", 1)
        story = journal.story(store, IDS[0], frozenset(runs[:1]))
    assert [entry.run for entry in story.entries] == [runs[0], runs[3]], "what the job file names, and the newest"
    assert story.unread == 2


def test_no_journal_and_what_is_none(built: Built) -> None:
    with built.store() as store:
        assert journal.count_finished(store, RUN) == 0
        assert journal.rate(store, RUN, NOW) is None
        (built.state / "runs" / f"{RUN}.jsonl").mkdir()
        assert journal.count_finished(store, RUN) == 0
        assert journal.story(store, IDS[0], frozenset()).entries == []


def test_a_rate_from_a_torn_and_odd_tail(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_TAIL", 1000)
    for n in range(60):
        built.journal((n, IDS[0], "running", "done", "finish"))
    with (built.state / "runs" / f"{RUN}.jsonl").open("ab") as file:
        file.write(b'\n{"at": "yesterday", "id": "x", "step": "finish"}\n{"at":')
    with built.store() as store:
        assert journal.rate(store, RUN, NOW) == pytest.approx(1.0, rel=0.2)
        assert journal.rate(store, RUN, NOW + 600) is None
