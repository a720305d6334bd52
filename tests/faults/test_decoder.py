"""The decoder against hostile bytes: the documented errors and no others; what is read, and written, means the same.

Three kinds of input: arbitrary bytes, arbitrary JSON in the form of a job file, and whole files that were damaged. Each
test sees some of its examples refused and some taken.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from runner.errors import BadJobFile, NewerSchema, StateError
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.inbox import Inbox
from runner.store.runs import Runs, read_journal
from runner.views import journal
from tests.faults.conftest import TORTURE
from tests.faults.hostile import RUN, attempt, done, id_of, job, result, text

EXAMPLES = 3000 if TORTURE else 250
ID = id_of("data/x.txt")
OTHER = id_of("other")

times = st.sampled_from(["2026-01-01T02:00:00Z", "2026-01-01t02:00:00.5z", "0001-01-01T00:00:00+23:59", "tomorrow", ""])
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from([ID, OTHER, "../../x", RUN, "done", "failed", "\0"])
    | times
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("schema", "id", "task", "params", "after", "found_by", "submitted", "depth", "not_before", "retries_from",
        "attempts", "result", "verb", "ids", "start", "roots", "options", "ended", "extra")  # fmt: skip
WHOLE = [
    done("data/x.txt"),
    job("data/x.txt"),
    job("data/x.txt", after=[OTHER], attempts=[attempt(), attempt("died")], retries_from=1, owner={"name": "me"}),
    done(
        "data/x.txt", not_before="2026-01-01T02:00:00Z", result=result("data/x.txt", found=[OTHER], value=[1.5, None])
    ),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A whole file with some of its values exchanged, at any depth, or keys put in or left out."""
    document = json.loads(json.dumps(draw(st.sampled_from(WHOLE))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys or draw(st.integers(0, 9)) == 0:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(values)
            break
        if isinstance(place, dict) and draw(st.integers(0, 4)) == 0:
            place[draw(st.sampled_from(KEYS))] = draw(values)
    return text(document)


@st.composite
def cut(draw: st.DrawFn) -> bytes:
    """The bytes of a whole file: some replaced, left out or doubled."""
    whole = text(draw(st.sampled_from(WHOLE)))
    start = draw(st.integers(0, len(whole)))
    end = draw(st.integers(start, min(len(whole), start + 12)))
    middle = draw(
        st.binary(max_size=4) | st.sampled_from([b"null", b"{}", b"[]", b"-1", b"1e400", b'"\\ud800"', b"NaN"])
    )
    return whole[:start] + middle * draw(st.integers(1, 2)) + whole[end:]


documents = st.dictionaries(st.sampled_from(KEYS), values, max_size=12).map(text)
hostile = st.binary(max_size=300) | documents | mutated() | cut()
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def fuzzed(seed: int, struck: Counter[str], data: st.SearchStrategy[bytes], check: Callable[[bytes], str]) -> None:
    """Many examples, all of one seed; what `check` says of each is counted."""

    @seeded(seed)
    @fuzz
    @given(data)
    def run(data: bytes) -> None:
        struck[check(data)] += 1

    run()


def test_whatever_it_is_it_is_a_job_or_refused(seed: int, struck: Counter[str]) -> None:
    """What is taken is written as it is read, to a file of ours that says the same."""

    def check(data: bytes) -> str:
        try:
            found = codec.decode(data)
        except (BadJobFile, NewerSchema):
            return "refused"
        written = codec.encode(found)
        assert codec.decode(written, found.id) == found
        assert codec.encode(codec.decode(written)) == written
        codec.brief(found)
        return "taken"

    fuzzed(seed, struck, hostile, check)
    assert min(struck["refused"], struck["taken"]) > 0


def test_a_skim_agrees_with_the_whole_reading(seed: int, struck: Counter[str]) -> None:
    """Where both answer they say the same; and what only the skim can read, is salvaged to a whole file or left."""

    def check(data: bytes) -> str:
        skimmed = codec.skim(data, ID)
        try:
            found = codec.decode(data, ID)
        except (BadJobFile, NewerSchema):
            saved = codec.salvaged(data, ID)
            if saved is not None:
                assert skimmed is not None
                assert codec.brief(codec.decode(codec.encode(saved), ID)) == skimmed
                return "salvaged"
            return "refused"
        if skimmed is None:
            return "left to decode"
        assert codec.brief(found) == skimmed
        return "agreed"

    fuzzed(seed, struck, mutated() | cut(), check)
    assert min(struck["agreed"], struck["refused"], struck["salvaged"]) > 0


def test_what_is_handed_in_is_a_job_or_refused(seed: int, struck: Counter[str]) -> None:
    def check(data: bytes) -> str:
        try:
            found = codec.decode_handed_in(data)
        except BadJobFile:
            return "refused"
        assert found.schema == 1
        assert found.id == "" or codec.is_id(found.id)
        whole = codec.decode_handed_in(codec.encode(found)) if found.id else found
        assert whole == found
        return "taken"

    fuzzed(seed, struck, hostile, check)
    assert min(struck["refused"], struck["taken"]) > 0


@pytest.fixture
def store() -> Iterator[FolderStore]:
    with tempfile.TemporaryDirectory() as folder, FolderStore(Path(folder) / "state", durability="process") as store:
        yield store


def test_run_records_journals_and_commands(seed: int, struck: Counter[str], store: FolderStore) -> None:
    """A record is read or named, a line of a journal read or left out, a command carried or bad."""
    state, runs = Path(store.path), Runs(store)
    record: dict[str, Any] = {"schema": 1, "id": RUN, "start": "2026-01-01T02:00:00Z", "options": {}, "roots": [ID]}

    def check(data: bytes) -> str:
        with suppress(ValueError, RecursionError):
            found = json.loads(data)
            if isinstance(found, dict):
                data = text(record | {key: value for key, value in found.items() if key != "id"})
        (state / "runs" / f"{RUN}.json").write_bytes(data)
        (state / "runs" / f"{RUN}.jsonl").write_bytes(b'{"id":"' + ID.encode() + b'"}\n' + data.replace(b"\n", b" "))
        (state / "inbox" / "x.do.json").write_bytes(data)
        (entry,) = Inbox(store).scan(4e9) or [None]
        assert entry is None or entry.kind in ("command", "bad")
        list(read_journal(store, RUN))
        assert journal.story(store, ID, frozenset({RUN})).entries
        journal.rate(store, RUN, 1e9)
        with suppress(StateError):
            runs.head(RUN)
        try:
            run = runs.read(RUN)
        except StateError:
            return "refused"
        runs.write(run)
        assert runs.read(RUN) == run
        assert runs.unfinished() in ([], [run])
        return "taken"

    fuzzed(seed, struck, hostile, check)
    assert min(struck["refused"], struck["taken"]) > 0
