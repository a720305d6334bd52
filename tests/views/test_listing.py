"""`list`: what is chosen, and what is said about each job."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.commands import Move
from runner.core.model import Status, Step
from runner.store.folders import FolderStore
from runner.views.listing import Row, matches, rows
from runner.words import moment
from tests.views.state import START, Built, failed_attempt, id_of


def listed(built: Built, **options: Any) -> list[Row]:
    with built.store() as store:
        return list(rows(store, **options))


def ids(found: list[Row]) -> set[str]:
    return {row.id for row in found}


def test_by_status_and_task(built: Built) -> None:
    fetch, parse = built.put("done", "a"), built.put("done", "b", "Parse")
    failed = built.put("failed", "c")
    nested = built.put("pending", "d", "Inner", task="jobs.scrape:Outer.Inner")
    assert [row.id for row in listed(built)] == [nested, *sorted([fetch, parse]), failed]
    assert ids(listed(built, statuses=["failed", "pending"])) == {failed, nested}
    assert ids(listed(built, task="Fetch")) == {fetch, failed}
    assert ids(listed(built, task="jobs.scrape:Fetch", statuses=["done"])) == {fetch}
    assert ids(listed(built, task="jobs.other:Fetch")) == set()
    assert ids(listed(built, task="jobs.scrape:Outer.Inner")) == {nested}


def test_where(built: Built) -> None:
    one = built.put("done", "a", params={"url": "https://example.org/?q=1", "n": 1, "deep": {"lang": "de"}})
    two = built.put("pending", "b", params={"url": "x", "n": 2, "flag": True, "none": None, "a.b": [1, 2]})
    for where, found in (
        ({"url": "https://example.org/?q=1"}, {one}),
        ({"n": "2"}, {two}),
        ({"n": "1", "url": "x"}, set()),
        ({"deep.lang": "de"}, {one}),
        ({"deep.lang.x": "de"}, set()),
        ({"a.b": "[1, 2]"}, {two}),
        ({"flag": "True"}, {two}),
        ({"flag": "1"}, set()),
        ({"none": "null"}, {two}),
        ({"nobody": "null"}, set()),
    ):
        assert ids(listed(built, where=where)) == found, where


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    )
)
def test_every_value_matches_itself_as_json(value: Any) -> None:
    assert matches({"key": value}, "key", json.dumps(value))


@given(st.text(), st.text())
def test_a_text_matches_itself_only(one: str, other: str) -> None:
    assert matches({"key": one}, "key", other) is (one == other)


def test_what_is_said(built: Built) -> None:
    failed = built.put("failed", "a", attempts=[failed_attempt("HTTPError", "404\nmore of it")])
    built.put("blocked", "b", after=(failed,))
    built.put("blocked", "b2", after=(built.put("done", "z"),))
    built.put("pending", "c", after=(id_of("b"),))
    built.put("pending", "d", not_before=START, attempts=[failed_attempt()])
    built.put("pending", "e")
    superseded = failed_attempt("Superseded", "Other-0123456789abcdef makes its output now", outcome="superseded")
    built.put("cancelled", "f", attempts=[superseded])
    built.put("failed", "g", attempts=[])
    why = {row.id: row.why for row in listed(built)}
    assert why[failed] == "HTTPError: 404"
    assert why[id_of("b")] == f"{failed} is failed"
    assert "next run" in why[id_of("b2")]
    assert why[id_of("c")] == f"waits: {id_of('b')} is blocked"
    assert why[id_of("d")] == f"not before {START}; ValueError: no page"
    assert why[id_of("e")] == ""
    assert why[id_of("f")] == "Superseded: Other-0123456789abcdef makes its output now"
    assert why[id_of("g")] == "no attempt says why"
    assert why[id_of("z")] == f"new {moment(START)}"


def test_what_cannot_be_read_is_listed(built: Built) -> None:
    built.file("done", id_of("a")).write_text("{")
    (row,) = listed(built)
    assert (row.id, row.task) == (id_of("a"), None)
    assert "check" in row.why


def test_quarantine(built: Built) -> None:
    (built.state / "quarantine" / "bad.json").write_text("{")
    (built.state / "quarantine" / "bad.json.reason.txt").write_text("inbox/bad.json: is cut\nshort")
    (built.state / "quarantine" / f"{id_of('a')}.json").write_text("{")
    found = listed(built)
    assert [(row.id, row.status, row.why) for row in found] == [
        (id_of("a"), "quarantine", "nobody said why"),
        ("bad", "quarantine", "inbox/bad.json: is cut"),
    ]
    assert ids(listed(built, statuses=["quarantine"], task="Fetch")) == {id_of("a")}
    assert listed(built, statuses=["done"]) == []


def test_jobs_that_move_while_they_are_listed(built: Built) -> None:
    """They are shown where they are, if they are still what was asked for."""
    first, second = sorted(built.put("pending", str(n)) for n in range(2))
    with built.store() as store, FolderStore(built.state, durability="process") as mover:
        for statuses, found in ((["pending"], [first]), ([], [first, second])):
            seen = rows(store, statuses=statuses)
            assert next(seen).id == first
            mover.carry_out([Move(second, Status.PENDING, Status.RUNNING, Step.CLAIM)])
            rest = list(seen)
            assert [first, *(row.id for row in rest)] == found
            assert all(row.status == "running" for row in rest)
            mover.carry_out([Move(second, Status.RUNNING, Status.PENDING, Step.REQUEUE)])


def test_a_job_that_is_taken_away(built: Built) -> None:
    first, second = sorted(built.put("failed", str(n)) for n in range(2))
    with built.store() as store:
        seen = rows(store)
        next(seen)
        built.file("failed", second).unlink()
        assert list(seen) == []
    assert first


@pytest.mark.parametrize("status", ["failed", "blocked", "cancelled"])
def test_a_job_that_is_being_retried_is_still_shown(built: Built, status: str) -> None:
    first, second = sorted(built.put(status, str(n)) for n in range(2))
    with built.store() as store:
        seen = rows(store)
        next(seen)
        built.file(status, second).rename(built.file("inbox", second))
        assert [row.id for row in seen] == [second]
    assert first
