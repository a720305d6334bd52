"""Who is gone: what leads to a job, and what does not; beside moves, and where a file cannot be read."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.model import Status
from runner.errors import NewerSchema, StateError
from runner.store.files import Files
from runner.store.folders import FolderStore
from runner.views.listing import rows
from runner.views.reach import Reach
from tests.store.support import Watched
from tests.views.state import RUN, START, Built, done_attempt, failed_attempt, id_of

LATER, LAST = "20261123T020000Z", "20261124T020000Z"
NAMES = "no longer names it"


def ended(built: Built, *roots: str, id: str = RUN, **fields: Any) -> None:
    """A run that was admitted and has ended."""
    built.run(id, **{"roots": list(roots), "admitted": START, "ended": START, **fields})


def gone(built: Built, **options: Any) -> dict[str, str]:
    with FolderStore(built.state, create=False, root=built.root, **options) as store:
        reach = Reach(store)
        found = {id: reach.why(id) for id, _ in reach.gone()}
        assert {id: reach.why(id) for id in store.scan()} == dict.fromkeys(store.scan()) | found
        assert None not in found.values()
    return found  # type: ignore[return-value]


def made(*found: str, **changes: Any) -> dict[str, Any]:
    """A record that names these as found."""
    return {"outputs": {}, "found": list(found), "run": RUN, **changes}


# --------------------------------------------------------------------------------------------------- what leads where


def test_roots_what_they_found_and_what_they_come_after(built: Built) -> None:
    text = built.put("done", "text", "Parse", found_by=id_of("page"), after=(id_of("page"),))
    page = built.put("done", "page", found=[text])
    base = built.put("done", "base", after=(page,))
    root = built.put("done", "root", after=(base,))
    dropped = built.put("done", "dropped", "Parse", found_by=page, after=(page,))
    its = built.put("failed", "its", "Parse", found_by=dropped)
    reader = built.put("blocked", "reader", after=(dropped,))
    nobodys = built.put("done", "nobodys", found=[built.put("done", "child", found_by=id_of("nobodys"))])
    ended(built, root)
    assert gone(built) == {
        dropped: f"gone: {page} {NAMES}",
        its: f"gone: {dropped} {NAMES}",
        reader: "gone: no run's target names it",
        nobodys: "gone: no run's target names it",
        id_of("child"): f"gone: so is {nobodys}, which found it",
    }


def test_a_state_without_runs_or_jobs(built: Built) -> None:
    assert gone(built) == {}
    built.put("done", "a")
    assert list(gone(built).values()) == ["gone: no run's target names it"]


def test_the_newest_admitted_run_of_each_target_and_arguments(built: Built) -> None:
    old, new, other, unadmitted = (built.put("done", name) for name in ("old", "new", "other", "unadmitted"))
    ended(built, old, other)
    ended(built, new, id=LATER)
    built.run(LAST, roots=[unadmitted], ended=START, exit=2)
    assert gone(built).keys() == {old, other, unadmitted}
    ended(built, other, id="20261121T020000Z", arguments={"site": "x", "n": "1"})
    assert gone(built).keys() == {old, unadmitted}
    ended(built, id="20261121T020001Z", arguments={"n": "1", "site": "x"})
    assert gone(built).keys() == {old, other, unadmitted}, "the same arguments, in another order"
    ended(built, old, id="20261120T020000Z", target="jobs.scrape:other")
    assert gone(built).keys() == {other, unadmitted}
    ended(built, id=LAST)
    assert gone(built).keys() == {new, other, unadmitted}, "the target names nothing any more"


def test_every_run_without_a_target_counts(built: Built) -> None:
    one, two = built.put("done", "1"), built.put("done", "2")
    ended(built, one, target=None)
    ended(built, two, id=LATER, target=None)
    ended(built, id=LAST, target=None)
    assert gone(built) == {}
    with built.store() as store:
        assert Reach(store).named == {RUN, LATER}


def test_what_was_handed_in_stays(built: Built) -> None:
    child = built.put("done", "child", found_by=id_of("parent"))
    built.put("failed", "parent", submitted=True, result=made(child))
    ended(built)
    assert gone(built) == {}


@pytest.mark.parametrize("status", ["pending", "running"])
def test_what_is_unfinished_stays_and_leads_on(built: Built, status: str) -> None:
    old, upstream = built.put("done", "old"), built.put("failed", "upstream")
    built.put(status, "open", after=(upstream,), result=made(old))
    ended(built)
    assert gone(built) == {}


def test_what_is_only_blocked_does_not_stay(built: Built) -> None:
    built.put("blocked", "a", after=(built.put("failed", "b"),))
    ended(built)
    assert gone(built).keys() == {id_of("a"), id_of("b")}


@pytest.mark.parametrize("status", ["pending", "running", "done", "failed", "blocked", "cancelled"])
def test_whatever_became_of_a_parent_its_children_stay(built: Built, status: str) -> None:
    child = built.put("done", "child", found_by=id_of("parent"))
    parent = built.put(status, "parent", result=made(child), attempts=[done_attempt(), failed_attempt()])
    ended(built, parent)
    assert gone(built) == {}


def test_a_circle(built: Built) -> None:
    one, two, three = id_of("1"), id_of("2"), id_of("3")
    built.put("done", "1", found=[one, two], found_by=three)
    built.put("done", "2", found=[three], after=(one,), found_by=one)
    built.put("done", "3", found=[one], found_by=two)
    ended(built)
    assert gone(built) == {
        one: f"gone: so is {three}, which found it",
        two: f"gone: so is {one}, which found it",
        three: f"gone: so is {two}, which found it",
    }
    ended(built, two)
    assert gone(built) == {}


# ------------------------------------------------------------------------------ what is in no record yet, or any more


@pytest.mark.parametrize(("status", "stays"), [("pending", True), ("running", True), ("done", False)])
def test_a_child_of_a_job_that_is_about_to_be_recorded(built: Built, status: str, stays: bool) -> None:
    parent = built.put(status, "parent", result=made())
    child = built.put("done", "child", found_by=parent, found=[built.put("done", "grandchild")])
    ended(built, parent)
    assert gone(built).keys() == (set() if stays else {child, id_of("grandchild")})


def test_what_the_run_that_is_going_on_has_worked_on(built: Built) -> None:
    """Its roots are not recorded before all of them are in."""
    before = built.put("done", "before")
    ended(built, before)
    built.put("done", "made", attempts=[done_attempt(run=LAST)], result=made(run=LAST))
    built.put("failed", "tried", attempts=[failed_attempt(run=LAST)])
    built.put("done", "earlier", attempts=[done_attempt(run=LATER)], result=made(run=LATER))
    built.run(LATER)
    assert gone(built).keys() == {id_of("made"), id_of("tried")}
    built.run(LAST)
    assert gone(built).keys() == {id_of("earlier")}, "`resume` goes on with the newest one only"
    built.run(LAST, ended=START)
    assert gone(built).keys() == {id_of("made"), id_of("tried")}


def test_a_finder_that_cannot_be_read_may_have_found_anything(built: Built) -> None:
    child = built.put("done", "child", found_by=id_of("parent"))
    ended(built)
    parent = built.file("done", id_of("parent"))
    parent.write_text("{")
    assert gone(built) == {}, "nor is it known whether it was handed in itself"
    parent.rename(built.file("quarantine", id_of("parent")))
    assert gone(built) == {}
    built.file("quarantine", id_of("parent")).unlink()
    assert gone(built).keys() == {child}


@pytest.mark.parametrize("name", [f"{id_of('parent')}.json", "again.json"])
def test_what_was_moved_back_into_the_inbox_leads_on(built: Built, name: str) -> None:
    named, found, upstream = built.put("done", "1"), built.put("done", "2"), built.put("done", "3")
    parent = built.put("failed", "parent", result=made(named), after=(upstream,))
    built.put("done", "2", found_by=parent)
    (built.state / "inbox" / "half.json").write_text("{")
    ended(built)
    assert gone(built).keys() == {named, found, upstream, parent}
    built.file("failed", parent).rename(built.state / "inbox" / name)
    assert gone(built) == {}


def test_a_known_job_that_is_handed_in_again(built: Built) -> None:
    id = built.put("done", "a", found=[built.put("done", "b")])
    ended(built)
    assert len(gone(built)) == 2
    built.file("inbox", id).write_text(json.dumps({"id": id, "task": "jobs.scrape:Fetch", "params": {}}))
    assert gone(built) == {}


def test_a_damaged_run_record_and_a_newer_one(built: Built) -> None:
    built.put("done", "a")
    record = built.state / "runs" / f"{RUN}.json"
    for text, error in (("{", StateError), ('{"id": "x", "start": "y"}', StateError), ('{"schema": 2}', NewerSchema)):
        record.write_text(text)
        with pytest.raises(error, match=RUN):
            gone(built)
    ended(built)
    record.write_text(record.read_text().replace('"roots": []', '"roots": [1]'))
    with pytest.raises(StateError, match="roots"):
        gone(built)


def test_a_job_of_a_newer_version(built: Built) -> None:
    built.file("done", id_of("a")).write_text('{"schema": 2}')
    with pytest.raises(NewerSchema):
        gone(built)


def test_it_changes_nothing(built: Built) -> None:
    built.put("done", "a", found=[built.put("failed", "b")])
    ended(built)
    before = {file: file.stat().st_mtime_ns for file in built.root.rglob("*")}
    assert gone(built)
    assert {file: file.stat().st_mtime_ns for file in built.root.rglob("*")} == before


# ------------------------------------------------------------------------------------------- against a plain model


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_it_is_what_a_plain_closure_finds(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    built = Built(tmp_path_factory.mktemp("state"))
    count = data.draw(st.integers(1, 8))
    ids = [id_of(str(n)) for n in range(count)]
    some = st.lists(st.sampled_from(ids), max_size=2, unique=True)
    status: dict[str, str] = {}
    leads: dict[str, set[str]] = {}
    finder: dict[str, str | None] = {}
    kept: set[str] = set()
    for n, id in enumerate(ids):
        found, after, submitted = data.draw(some), data.draw(some), data.draw(st.integers(0, 9)) == 0
        status[id] = data.draw(st.sampled_from(["done", "done", "failed", "cancelled", "blocked", "pending"]))
        finder[id] = data.draw(st.none() | st.sampled_from(ids))
        leads[id] = {*found, *after}
        built.put(status[id], str(n), result=made(*found), after=tuple(after), found_by=finder[id], submitted=submitted)
        if submitted or status[id] == "pending":
            kept.add(id)
    roots = data.draw(some)
    ended(built, *roots)
    kept |= {*roots, *(id for id, by in finder.items() if by is not None and status[by] == "pending")}
    while more := {to for id in kept for to in leads[id]} - kept:
        kept |= more
    assert gone(built).keys() == set(ids) - kept


# --------------------------------------------------------------------------------------------- while jobs are moving


class Meanwhile(Watched):
    """Does something once, right after a file of that name was read."""

    def __init__(self, name: str, do: Callable[[], object]) -> None:
        self._name, self._do = name, do
        self.done = False

    def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
        return

    def read(self, folder: int, name: str, cap: int) -> bytes:  # type: ignore[override]
        data = Files.read(self, folder, name, cap)
        if name == self._name and not self.done:
            self.done = True
            self._do()
        return data


@pytest.mark.parametrize("order", [("1", "2"), ("2", "1")])
def test_a_child_that_goes_from_one_finder_to_another(built: Built, order: tuple[str, str]) -> None:
    """At every moment one of them names it; whichever is read first must not hide it."""
    child = built.put("done", "child", found_by=id_of("1"))
    giver, taker = id_of(order[0]), id_of(order[1])
    built.put("done", order[0], found=[child])
    built.put("done", order[1], found=[])
    ended(built, giver, taker)

    def hand_over() -> None:
        built.put("done", order[1], found=[child])
        built.put("done", order[0], found=[])

    files = Meanwhile(f"{taker}.json", hand_over)
    assert gone(built, files=files) == {}
    assert files.done


def test_a_run_that_is_admitted_meanwhile(built: Built) -> None:
    old, new = built.put("done", "old"), built.put("done", "new")
    ended(built, old)
    files = Meanwhile(f"{old}.json", lambda: ended(built, new, id=LATER))
    assert gone(built, files=files) == {}
    assert files.done
    assert gone(built).keys() == {old}


def test_what_leaves_the_inbox_right_before_the_second_look_at_it(built: Built) -> None:
    """It was not in pending/ when the folders were listed, and is not in inbox/ any more."""
    parent = built.put("failed", "parent", result=made(built.put("done", "child")))
    handed = built.file("failed", parent).rename(built.file("inbox", parent))
    ended(built)
    looks: list[str] = []

    class Taken(Watched):
        def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
            if name == "names" and os.path.samestat(os.fstat(arguments[0]), handed.parent.stat()):
                looks.append(name)
                if len(looks) == 2:
                    handed.rename(built.file("pending", parent))

    assert gone(built, files=Taken()) == {}
    assert len(looks) == 2


def test_a_job_that_comes_to_life_again_while_it_is_listed(built: Built) -> None:
    first, second = sorted(built.put("failed", str(n)) for n in range(2))
    ended(built)
    with built.store() as store:
        seen = rows(store, gone=Reach(store).why)
        assert next(seen).id == first
        built.file("failed", second).rename(built.file("pending", second))
        assert list(seen) == []


def test_jobs_that_are_taken_away_meanwhile(built: Built) -> None:
    ids = sorted(built.put("failed", str(n)) for n in range(3))
    ended(built)

    def take_away() -> None:
        for id in ids:
            built.file("failed", id).unlink()

    files = Meanwhile(f"{ids[0]}.json", take_away)
    with FolderStore(built.state, create=False, files=files) as store:
        assert len(list(Reach(store).gone())) <= 1
        assert files.done


# ------------------------------------------------------------------------------------------------------- list --gone


def test_rows_of_those_that_are_gone(built: Built) -> None:
    page = built.put("done", "page")
    text = built.put("done", "text", "Parse", found_by=page, params={"n": 1})
    bad = built.put("cancelled", "bad", "Parse", found_by=page, params={"n": 2})
    (built.state / "quarantine" / "x.json").write_text("{")
    ended(built, page)
    with built.store() as store:
        why = Reach(store).why
        found = list(rows(store, gone=why))
        assert [(row.id, row.status, row.why) for row in found] == [
            (text, Status.DONE, f"gone: {page} {NAMES}"),
            (bad, Status.CANCELLED, f"gone: {page} {NAMES}"),
        ]
        assert [row.id for row in rows(store, gone=why, statuses=["done"])] == [text]
        assert [row.id for row in rows(store, gone=why, where={"n": "2"})] == [bad]
        assert list(rows(store, gone=why, task="Fetch")) == []


@pytest.mark.parametrize("count", [20, 80])
def test_the_way_is_gone_once_however_many_one_job_has_found(built: Built, count: int) -> None:
    ids = [built.put("done", str(n), found_by=id_of("finder")) for n in range(count)]
    finder = built.put("done", "finder", found=ids)
    ended(built)
    steps: list[int] = []

    class Counting(Reach):
        def _links(self, source: int) -> Iterator[int]:
            for number in super()._links(source):
                steps.append(number)
                yield number

    with built.store() as store:
        reach = Counting(store)
        assert {reach.why(id) for id in ids} == {f"gone: so is {finder}, which found it"}
    assert len(steps) <= 2 * count


def test_it_reads_each_job_once(built: Built) -> None:
    ids = [built.put("done", str(n)) for n in range(50)]
    ended(built, *ids)
    reads: list[str] = []

    class Counting(Watched):
        def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
            if name == "read" and arguments[1].startswith("Fetch-"):
                reads.append(arguments[1])

    time.sleep(0.15)  # what was written this very moment is looked at twice
    assert gone(built, files=Counting()) == {}
    assert sorted(reads) == sorted(f"{id}.json" for id in ids)
