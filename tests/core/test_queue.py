"""Who may start now, and when next."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.model import Limit
from runner.core.queue import ReadyQueue

NONE: Mapping[str, Limit] = {}


def drain(queue: ReadyQueue, now: float = 0.0) -> list[str]:
    popped = []
    while (id := queue.pop(now)) is not None:
        popped.append(id)
    return popped


def test_a_higher_priority_goes_first_then_who_came_first() -> None:
    queue = ReadyQueue()
    for id, priority in [("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)]:
        queue.push(id, priority, NONE)
    assert len(queue) == 5
    assert drain(queue) == ["b", "d", "a", "c", "e"]
    assert len(queue) == 0


def test_priority_counts_between_jobs_with_other_limits_too() -> None:
    queue = ReadyQueue()
    queue.push("a", 0, {"x": Limit(1)})
    queue.push("b", 1, {"y": Limit(1)})
    queue.push("c", 2, {"x": Limit(1)})
    assert drain(queue) == ["c", "b"]
    queue.release({"x": Limit(1)})
    assert drain(queue) == ["a"]


def test_no_more_than_the_limit_at_once_and_the_others_pass_by() -> None:
    queue = ReadyQueue()
    host = {"host": Limit(2)}
    for n in range(4):
        queue.push(f"host{n}", 1, host)
    queue.push("free", 0, NONE)
    assert drain(queue) == ["host0", "host1", "free"]
    queue.release(host)
    assert drain(queue) == ["host2"]


def test_no_more_starts_a_second_than_the_rate() -> None:
    queue = ReadyQueue()
    for n in range(3):
        queue.push(f"job{n}", 0, {"host": Limit(None, 2.0)})
    assert drain(queue, 10.0) == ["job0"]
    assert queue.next_start() == 10.5
    assert drain(queue, 10.4) == []
    assert drain(queue, 10.5) == ["job1"]
    assert drain(queue, 20.0) == ["job2"], "time that went by is not saved up"
    assert queue.next_start() is None


def test_a_job_needs_all_its_limits() -> None:
    queue = ReadyQueue()
    both = {"host": Limit(1), "all": Limit(2)}
    queue.push("a", 0, both)
    queue.push("b", 0, {"all": Limit(2)})
    queue.push("c", 0, {"all": Limit(2)})
    assert drain(queue) == ["a", "b"]
    queue.release(both)
    assert drain(queue) == ["c"]


def test_a_place_that_is_not_used_goes_to_whoever_waits_behind() -> None:
    """The lane that was woken for the place had only a job that was withdrawn."""
    queue = ReadyQueue()
    one, other = {"gate": Limit(1)}, {"gate": Limit(1), "more": Limit(9)}
    queue.push("running", 0, one)
    assert drain(queue) == ["running"]
    queue.push("withdrawn", 0, one)
    queue.push("behind", 0, other)
    assert drain(queue) == []
    queue.withdraw("withdrawn")
    queue.release(one)
    assert drain(queue) == ["behind"]


def test_a_place_is_passed_on_when_another_limit_stops_the_job() -> None:
    queue = ReadyQueue()
    slow = {"gate": Limit(1), "slow": Limit(None, 1.0)}
    queue.push("first", 0, slow)
    assert drain(queue) == ["first"]
    queue.push("stopped", 0, slow)
    queue.push("behind", 0, {"gate": Limit(1)})
    assert drain(queue) == []
    queue.release(slow)
    assert drain(queue, 0.5) == ["behind"]


def test_a_withdrawn_job_does_not_start_unless_it_is_pushed_again() -> None:
    queue = ReadyQueue()
    queue.push("a", 0, NONE)
    queue.withdraw("a")
    queue.withdraw("never there")
    assert len(queue) == 0
    assert drain(queue) == []
    queue.push("a", 0, {"key": Limit(1)})
    assert drain(queue) == ["a"]


def test_a_job_pushed_again_takes_its_new_place() -> None:
    queue = ReadyQueue()
    queue.push("a", 9, NONE)
    queue.push("b", 5, NONE)
    queue.withdraw("a")
    queue.push("a", 0, NONE)
    assert drain(queue) == ["b", "a"]


@pytest.mark.parametrize(
    ("overrides", "popped"),
    [
        ([], ["a0", "b0"]),
        ([("host:*", Limit(2))], ["a0", "a1", "b0", "b1"]),
        ([("host:a", Limit(3))], ["a0", "a1", "a2", "b0"]),
        ([("host:*", Limit(2)), ("host:a", Limit(1))], ["a0", "b0", "b1"]),
        ([("*", Limit(None, 1.0))], ["a0", "b0"]),
    ],
)
def test_what_the_command_line_sets_beats_the_task(overrides: list[tuple[str, Limit]], popped: list[str]) -> None:
    queue = ReadyQueue(overrides)
    for host in "ab":
        for n in range(3):
            queue.push(f"{host}{n}", 0, {f"host:{host}": Limit(1)})
    assert sorted(drain(queue)) == popped


def test_a_rate_set_from_outside_leaves_the_bound_at_once() -> None:
    queue = ReadyQueue([("host", Limit(None, 10.0))])
    for n in range(3):
        queue.push(f"{n}", 0, {"host": Limit(2)})
    assert drain(queue, 0.0) == ["0"]
    assert drain(queue, 0.1) == ["1"]
    assert drain(queue, 0.2) == [], "two at once"


LIMITS = {"one": Limit(1), "two": Limit(2), "slow": Limit(None, 1.0), "both": Limit(2, 2.0)}

steps = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "pop", "pop", "withdraw", "release", "wait"]),
        st.integers(0, 9),
        st.lists(st.sampled_from(sorted(LIMITS)), max_size=3, unique=True),
        st.integers(0, 2),
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(steps)
def test_whoever_may_start_does_and_nobody_else(steps: list[tuple[str, int, list[str], int]]) -> None:
    """Against a plain list of what is ready, what runs, and when each rate lets the next one start."""
    queue, now = ReadyQueue(), 0.0
    ready: dict[str, tuple[int, tuple[str, ...]]] = {}
    running: dict[str, tuple[str, ...]] = {}
    starts = dict.fromkeys(LIMITS, 0.0)

    def may(keys: tuple[str, ...]) -> bool:
        taken = [key for others in running.values() for key in others]
        return all(
            (LIMITS[key].at_once is None or taken.count(key) < (LIMITS[key].at_once or 0))
            and (LIMITS[key].per_second is None or starts[key] <= now)
            for key in keys
        )

    for what, number, keys, priority in steps:
        id, limits = f"{number}", tuple(keys)
        if what == "push" and id not in ready and id not in running:
            ready[id] = priority, limits
            queue.push(id, priority, {key: LIMITS[key] for key in limits})
        elif what == "withdraw":
            ready.pop(id, None)
            queue.withdraw(id)
        elif what == "release" and running:
            id = sorted(running)[number % len(running)]
            queue.release({key: LIMITS[key] for key in running.pop(id)})
        elif what == "wait":
            now += priority / 2
        elif what == "pop":
            able = {id: priority for id, (priority, limits) in ready.items() if may(limits)}
            popped = queue.pop(now)
            assert (popped in able) if able else popped is None
            if popped is not None:
                assert able[popped] == max(able.values())
                running[popped] = ready.pop(popped)[1]
                for key in running[popped]:
                    if rate := LIMITS[key].per_second:
                        starts[key] = now + 1.0 / rate
        assert len(queue) == len(ready)
