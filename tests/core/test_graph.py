"""A forest of sorters that grows by batches, against a plain model of who waits for whom."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Mapping
from contextlib import suppress
from graphlib import TopologicalSorter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.graph import Forest, prepared
from runner.errors import CycleFound


def test_who_waits_for_nothing_is_released_at_once() -> None:
    assert sorted(Forest().plant({"a": [], "b": ["a"], "c": []})) == ["a", "c"]


def settle(forest: Forest, id: str) -> list[str]:
    """A job that was released is through."""
    released, too_early = forest.settle(id)
    assert not too_early
    return sorted(released)


def test_a_job_is_released_when_the_last_one_it_waits_for_is_settled() -> None:
    forest = Forest()
    forest.plant({"a": [], "b": [], "c": ["a", "b"]})
    assert settle(forest, "a") == []
    assert settle(forest, "b") == ["c"]


def test_a_batch_waits_for_jobs_of_earlier_ones() -> None:
    forest = Forest()
    forest.plant({"a": [], "b": []})
    assert forest.plant({"c": ["a"], "d": ["b", "c"]}) == []
    assert settle(forest, "a") == ["c"]
    assert settle(forest, "c") == []
    assert settle(forest, "b") == ["d"]


def test_several_batches_wait_for_one_job() -> None:
    forest = Forest()
    forest.plant({"a": []})
    for n in range(3):
        assert forest.plant({f"after{n}": ["a"]}) == []
    assert settle(forest, "a") == ["after0", "after1", "after2"]


def test_to_settle_what_nobody_holds_releases_nobody() -> None:
    forest = Forest()
    assert settle(forest, "a") == []
    forest.plant({"a": [], "b": ["a"]})
    settle(forest, "a")
    assert settle(forest, "a") == []


def test_a_job_that_was_released_and_planted_again_waits_anew() -> None:
    forest = Forest()
    assert forest.plant({"a": []}) == ["a"]
    forest.plant({"b": []})
    assert forest.plant({"a": ["b"]}) == []
    assert settle(forest, "b") == ["a"]


def test_it_tells_of_a_job_that_is_settled_before_it_was_released() -> None:
    forest = Forest()
    forest.plant({"a": [], "b": ["a"], "c": ["b"]})
    assert forest.settle("b") == ([], True), "c has to be looked at"
    assert "c" not in settle(forest, "a")


def test_it_tells_of_a_job_that_an_older_sorter_holds_back() -> None:
    """What each waits for is turned round between two batches."""
    forest = Forest()
    forest.plant({"a": [], "b": ["a"], "c": ["b"]})
    assert forest.plant({"b": [], "a": ["b"]}) == ["b"]
    released, too_early = forest.settle("b")
    assert released == ["a"]
    assert too_early, "c has to be looked at"


@pytest.mark.parametrize(
    ("waits", "cycle"),
    [
        ({"a": ["a"]}, {"a"}),
        ({"a": ["b"], "b": ["a"]}, {"a", "b"}),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, {"a", "b", "c"}),
    ],
)
def test_a_cycle_is_refused_and_named_with_nothing_changed(waits: Mapping[str, list[str]], cycle: set[str]) -> None:
    forest = Forest()
    forest.plant({"x": [], "y": ["x"]})
    with pytest.raises(CycleFound) as caught:
        forest.plant({**waits, "z": ["x"]})
    found = caught.value.cycle
    assert set(found) == cycle
    assert found[0] == found[-1]
    assert all(after in waits[id] for id, after in pairwise(found)), "each waits for the next"
    assert " -> ".join(found) in str(caught.value)
    assert settle(forest, "x") == ["y"], "z was not planted"


def test_a_prepared_sorter_can_be_used() -> None:
    sorter = prepared({"a": [], "b": ["a"]})
    assert isinstance(sorter, TopologicalSorter)
    assert sorter.get_ready() == ("a",)


def test_a_sorter_that_nobody_holds_any_more_is_garbage() -> None:
    forest = Forest()
    forest.plant({"a": [], "b": ["a"]})
    held = weakref.ref(forest._holders["b"])  # type: ignore[arg-type]
    settle(forest, "a")
    assert held() is not None
    settle(forest, "b")
    gc.collect()
    assert held() is None
    assert not forest._holders


graphs = st.lists(st.dictionaries(st.integers(0, 19), st.lists(st.integers(0, 19), max_size=3), max_size=6), max_size=6)


@given(graphs, st.randoms(use_true_random=False))
def test_in_plain_use_each_job_is_released_once_and_when_nothing_is_left_to_wait_for(
    batches: list[dict[int, list[int]]], random: Random
) -> None:
    """Every job is planted once, waits for smaller numbers that are not settled yet, and settles after its release."""
    forest = Forest()
    waiting: dict[str, set[str]] = {}
    released: set[str] = set()
    seen: set[str] = set()

    def take(given: list[str]) -> None:
        assert sorted(given) == sorted(id for id, others in waiting.items() if not others)
        released.update(given)
        for id in given:
            del waiting[id]

    while batches or released:
        if batches and (not released or random.random() < 0.5):
            batch = {f"{n}": others for n, others in batches.pop().items() if f"{n}" not in seen}
            seen |= batch.keys()
            unsettled = waiting.keys() | released | batch.keys()
            new = {id: {f"{o}" for o in others if o < int(id)} & unsettled for id, others in batch.items()}
            waiting.update(new)
            take(forest.plant({id: set(others) for id, others in new.items()}))
        else:
            id = random.choice(sorted(released))
            released.remove(id)
            for others in waiting.values():
                others.discard(id)
            take(settle(forest, id))
    assert not waiting


class Keeper:
    """Whoever keeps the facts: looks at those that the forest releases, and at those behind who settled too early."""

    def __init__(self) -> None:
        self.forest = Forest()
        self.after: dict[str, set[str]] = {}  # of all that are not settled
        self.released: set[str] = set()

    def plant(self, batch: Mapping[str, set[str]]) -> None:
        """Raises CycleFound; what waits for whom in earlier batches is to have no cycle with it."""
        waits = {id: others & (self.after.keys() | batch.keys()) for id, others in batch.items()}
        prepared({**self.after, **waits})
        given = self.forest.plant({id: set(others) for id, others in waits.items()})
        self.after.update(waits)
        self.released -= batch.keys()
        self.look(given)

    def look(self, ids: Iterable[str]) -> None:
        for id in ids:
            if id not in self.after or id in self.released:
                continue
            if self.after[id]:
                assert self.forest.plant({id: set(self.after[id])}) == []
            else:
                self.released.add(id)

    def settle(self, id: str) -> None:
        del self.after[id]
        self.released.discard(id)
        behind = [other for other, others in self.after.items() if id in others]
        for other in behind:
            self.after[other].discard(id)
        released, too_early = self.forest.settle(id)
        self.look(released)
        self.look(behind if too_early else ())


numbers = st.integers(0, 7)
acts = st.lists(numbers | st.dictionaries(numbers, st.lists(numbers, max_size=3), max_size=4), max_size=30)


@settings(max_examples=300)
@given(acts)
def test_nobody_is_forgotten_whatever_is_settled_or_planted_again(acts: list[int | dict[int, list[int]]]) -> None:
    """Jobs that are new, wait still, were released, or were settled before; and that settle out of turn."""
    keeper = Keeper()
    for act in acts:
        if isinstance(act, dict):
            with suppress(CycleFound):
                keeper.plant({f"{id}": {f"{other}" for other in others} for id, others in act.items()})
        elif f"{act}" in keeper.after:
            keeper.settle(f"{act}")
        assert keeper.released == {id for id, others in keeper.after.items() if not others}
