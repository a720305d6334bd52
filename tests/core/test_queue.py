"""Who may start now, and when next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.core.model import Limit
from runner.core.queue import ReadyQueue

NONE: Mapping[str, Limit] = {}


SLOW: Mapping[str, Limit] = {"host": Limit(None, 2.0)}


def drain(queue: ReadyQueue, now: float = 0.0) -> list[str]:
    """Pop what may start; nobody says when it has begun."""
    popped = []
    while (id := queue.pop(now)) is not None:
        popped.append(id)
    return popped


def start(queue: ReadyQueue, now: float) -> list[str]:
    """Pop what may start, and have it begin there and then."""
    popped = []
    while (id := queue.pop(now)) is not None:
        queue.begun(id, now)
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
    queue.release("c")
    assert drain(queue) == ["a"]


def test_those_with_other_limits_take_turns() -> None:
    """Else, of hosts that all have places, the one that was found last would be asked last."""
    queue = ReadyQueue()
    for host in "abc":
        for n in range(3):
            queue.push(f"{host}{n}", 0, {host: Limit(2)})
    queue.push("urgent", 1, {"c": Limit(2)})
    assert drain(queue) == ["urgent", "a0", "b0", "c0", "a1", "b1"]
    queue.push("d0", 0, NONE)
    for id in ("a0", "c0"):
        queue.release(id)
    assert drain(queue) == ["c1", "a2", "d0"]


def test_no_host_falls_behind_where_there_are_fewer_workers_than_places() -> None:
    queue = ReadyQueue()
    hosts = [f"host{n}" for n in range(4)]
    for host in hosts:
        for n in range(100):
            queue.push(f"{host}/{n}", 0, {host: Limit(8)})
    running = [queue.pop(0.0) for _ in range(29)]
    begun = dict.fromkeys(hosts, 0)
    for _ in range(400 - 29):
        if first := running.pop(0):
            queue.release(first)
        running.append(popped := queue.pop(0.0))
        if popped:
            begun[popped.partition("/")[0]] += 1
        if sum(begun.values()) % 20 == 0:
            assert max(begun.values()) - min(begun.values()) <= 3
    assert sum(begun.values()) == 400 - 29


def test_no_more_than_the_limit_at_once_and_the_others_pass_by() -> None:
    queue = ReadyQueue()
    host = {"host": Limit(2)}
    for n in range(4):
        queue.push(f"host{n}", 1, host)
    queue.push("free", 0, NONE)
    assert drain(queue) == ["host0", "host1", "free"]
    queue.release("host0")
    assert drain(queue) == ["host2"]


def test_those_that_wait_are_counted_by_what_they_wait_for() -> None:
    queue = ReadyQueue()
    for id in "abcd":
        queue.push(id, 0, {"x": Limit(1)})
    for id in "efg":
        queue.push(id, 0, SLOW)
    queue.push("h", 0, NONE)
    assert queue.held() == {}, "nobody has asked yet"
    assert sorted(start(queue, 0.0)) == ["a", "e", "h"]
    assert queue.held() == {"x": 3, "host": 2}
    queue.release("a")
    start(queue, 0.6)
    assert queue.held() == {"x": 2, "host": 1}
    queue.withdraw("c")
    assert queue.held() == {"x": 1, "host": 1}, "who was withdrawn waits no more"
    for id in "bcdf":
        queue.release(id)
        start(queue, 100.0)
    assert queue.held() == {}


def test_no_more_starts_a_second_than_the_rate() -> None:
    queue = ReadyQueue()
    for n in range(3):
        queue.push(f"job{n}", 0, SLOW)
    assert start(queue, 10.0) == ["job0"]
    assert queue.next_start() == 10.5
    assert start(queue, 10.4) == []
    assert start(queue, 10.5) == ["job1"]
    assert start(queue, 20.0) == ["job2"], "time that went by is not saved up"
    assert queue.next_start() is None


def test_a_rate_counts_from_when_a_job_begins() -> None:
    queue = ReadyQueue()
    for n in range(3):
        queue.push(f"job{n}", 0, SLOW)
    queue.push("free", -1, NONE)
    assert drain(queue, 10.0) == ["job0", "free"]
    assert (queue.has_rate("job0"), queue.has_rate("free")) == (True, False)
    assert drain(queue, 12.0) == [], "it lies before some worker, and may begin any moment"
    assert queue.next_start() is None
    queue.begun("job0", 11.9)
    assert not queue.has_rate("job0")
    assert queue.next_start() == 12.4
    assert drain(queue, 12.3) == []
    assert drain(queue, 12.4) == ["job1"]
    queue.release("job0")
    assert drain(queue, 20.0) == [], "job1 has not begun"
    queue.begun("job1", 12.5)
    assert drain(queue, 20.0) == ["job2"]


def test_what_is_said_again_was_a_little_later() -> None:
    queue = ReadyQueue()
    for n in range(3):
        queue.push(f"job{n}", 0, SLOW)
    assert start(queue, 10.0) == ["job0"]
    assert queue.next_start() == 10.5
    queue.begun("job0", 10.2)
    assert start(queue, 10.6) == []
    assert queue.next_start() == 10.7
    assert drain(queue, 10.7) == ["job1"]
    queue.begun("job0", 10.3)
    assert drain(queue, 20.0) == [], "job1 has not begun for that"


def test_one_that_comes_back_unbegun_was_no_start() -> None:
    queue = ReadyQueue()
    for n in range(3):
        queue.push(f"job{n}", 0, SLOW)
    assert start(queue, 10.0) == ["job0"]
    assert drain(queue, 10.5) == ["job1"]
    queue.release("job1")
    queue.push("job1", 0, SLOW)
    assert drain(queue, 10.6) == ["job2"], "half a second after job0, and at once after job1, which has not begun"


def test_nobody_starts_too_soon_after_those_of_an_earlier_run() -> None:
    """And nobody waits who has no rate, nor longer than his own rate asks for."""
    queue = ReadyQueue(last=100.0)
    queue.push("slow", 0, {"a": Limit(None, 0.1)})
    queue.push("quick", 0, {"b": Limit(2, 2.0)})
    queue.push("bound", 0, {"c": Limit(1)})
    queue.push("free", 0, NONE)
    assert start(queue, 100.1) == ["bound", "free"]
    assert queue.next_start() == 100.5
    assert start(queue, 100.5) == ["quick"]
    assert start(queue, 109.9) == []
    assert start(queue, 110.0) == ["slow"]


def test_of_several_limits_for_one_key_the_strictest_holds() -> None:
    """As long as a job that has it is ready or running, whoever came last."""
    queue = ReadyQueue()
    strict, mild = {"host": Limit(1, 0.5)}, {"host": Limit(3, 10.0)}
    queue.push("mild0", 9, mild)
    queue.push("strict", 8, strict)
    for n in range(1, 6):
        queue.push(f"mild{n}", 0, mild)
    assert start(queue, 0.0) == ["mild0"]
    assert start(queue, 5.0) == [], "one at once"
    queue.release("mild0")
    assert start(queue, 5.0) == ["strict"]
    assert start(queue, 7.0) == []
    queue.release("strict")
    assert start(queue, 7.0) == ["mild1"]
    assert [start(queue, 7.0 + n / 10) for n in range(1, 4)] == [["mild2"], ["mild3"], []]
    queue.push("strict", 0, strict)
    queue.release("mild1")
    queue.release("mild2")
    assert start(queue, 9.1) == [], "one at once again"
    queue.withdraw("strict")
    assert [start(queue, 9.1), start(queue, 9.2)] == [["mild4"], ["mild5"]]


def test_a_wait_for_a_strict_rate_ends_when_nobody_has_it_any_more() -> None:
    queue = ReadyQueue()
    queue.push("first", 1, {"host": Limit(None, 10.0)})
    queue.push("strict", 1, {"host": Limit(None, 0.1)})
    queue.push("mild", 0, {"host": Limit(None, 10.0)})
    assert start(queue, 0.0) == ["first"]
    assert start(queue, 1.0) == []
    assert queue.next_start() == 10.0
    queue.withdraw("strict")
    assert queue.next_start() == 0.1
    assert start(queue, 1.0) == ["mild"]


def test_all_that_a_strict_bound_has_kept_start_when_nobody_has_it_any_more() -> None:
    queue = ReadyQueue()
    queue.push("strict", 1, {"host": Limit(1)})
    for n in range(4):
        queue.push(f"mild{n}", 0, {"host": Limit(4), f"key{n}": Limit(1)})
    assert drain(queue) == ["strict"]
    queue.release("strict")
    assert drain(queue) == ["mild0", "mild1", "mild2", "mild3"]


def test_what_started_before_its_key_had_a_rate_counts_too() -> None:
    queue = ReadyQueue()
    queue.push("list", 0, {"host": Limit(4)})
    assert drain(queue, 10.0) == ["list"]
    queue.push("page", 0, {"host": Limit(4, 0.5)})
    assert drain(queue, 11.9) == []
    assert drain(queue, 12.0) == ["page"]


def test_of_those_that_wait_at_one_gate_the_higher_priority_goes_first() -> None:
    queue = ReadyQueue()
    one, other = {"gate": Limit(1)}, {"gate": Limit(1), "more": Limit(9)}
    queue.push("running", 0, one)
    assert drain(queue) == ["running"]
    queue.push("low", 0, one)
    assert drain(queue) == []
    queue.push("high", 5, other)
    assert drain(queue) == []
    queue.push("highest", 9, one)
    popped = []
    for id in ("running", "highest", "high"):
        queue.release(id)
        popped += drain(queue)
    assert popped == ["highest", "high", "low"]


def test_a_job_needs_all_its_limits() -> None:
    queue = ReadyQueue()
    both = {"host": Limit(1), "all": Limit(2)}
    queue.push("a", 0, both)
    queue.push("b", 0, {"all": Limit(2)})
    queue.push("c", 0, {"all": Limit(2)})
    assert drain(queue) == ["a", "b"]
    queue.release("a")
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
    queue.release("running")
    assert drain(queue) == ["behind"]


def test_a_place_is_passed_on_when_another_limit_stops_the_job() -> None:
    queue = ReadyQueue()
    slow = {"gate": Limit(1), "slow": Limit(None, 1.0)}
    queue.push("first", 0, slow)
    assert start(queue, 0.0) == ["first"]
    queue.push("stopped", 0, slow)
    queue.push("behind", 0, {"gate": Limit(1)})
    assert drain(queue) == []
    queue.release("first")
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
    assert start(queue, 0.0) == ["0"]
    assert start(queue, 0.1) == ["1"]
    assert start(queue, 0.2) == [], "two at once"


KEYS = ("one", "two", "slow", "both")
BOUNDS = (None, 1, 2)
RATES = (None, 1.0, 2.0)
PLAIN = {"one": Limit(1), "two": Limit(2), "slow": Limit(None, 1.0), "both": Limit(2, 2.0)}

limits = st.lists(st.sampled_from(KEYS), max_size=3, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries(
        {key: st.just(PLAIN[key]) | st.builds(Limit, st.sampled_from(BOUNDS), st.sampled_from(RATES)) for key in keys}
    )
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "push", "pop", "pop", "begin", "withdraw", "release", "wait", "restart"]),
        st.integers(0, 9),
        limits,
        st.integers(0, 2),
    ),
    max_size=80,
)


class Plain:
    """What the queue is to do, by plain lists of what is ready, what runs, and who has begun when."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ready: dict[str, tuple[int, dict[str, Limit]]] = {}
        self.running: dict[str, dict[str, Limit]] = {}
        self.unbegun: dict[str, dict[str, float]] = {}  # popped, with the keys of theirs that had a rate, and which
        self.starts: dict[str, list[float]] = {key: [] for key in KEYS}  # in all runs
        self.last = -inf  # in all runs, of any key; what the disk knows
        self.earlier = -inf  # the same, when this run began
        self.since: dict[str, float] = {}  # of each key, in this run

    def rate(self, key: str) -> float:
        """The strictest that holds for a key: seconds from one start to the next."""
        return max((1.0 / limit.per_second for limit in self.given(key) if limit.per_second), default=0.0)

    def given(self, key: str) -> list[Limit]:
        """All that is said of a key by those that are ready or running."""
        jobs = [*(limits for _, limits in self.ready.values()), *self.running.values()]
        return [limits[key] for limits in jobs if key in limits]

    def opens(self, key: str) -> float:
        return max(self.since.get(key, -inf), self.earlier) + self.rate(key) if self.rate(key) else -inf

    def may(self, limits: dict[str, Limit]) -> bool:
        for key in limits:
            bound = min((limit.at_once for limit in self.given(key) if limit.at_once is not None), default=inf)
            full = sum(key in theirs for theirs in self.running.values()) >= bound
            if full or any(key in keys for keys in self.unbegun.values()) or self.opens(key) > self.now:
                return False
        return True

    def begin(self, queue: ReadyQueue, id: str) -> None:
        for key, rate in self.unbegun.pop(id).items():
            assert all(self.now - start >= rate for start in self.starts[key][-1:]), "too soon after another"
            self.starts[key].append(self.now)
            self.last = self.now
        self.since.update(dict.fromkeys(self.running[id], self.now))  # also of keys that get a rate only later
        queue.begun(id, self.now)

    def pop(self, queue: ReadyQueue) -> None:
        able = {id: priority for id, (priority, limits) in self.ready.items() if self.may(limits)}
        popped = queue.pop(self.now)
        assert (popped in able) if able else popped is None
        if popped is None:
            return
        assert able[popped] == max(able.values())
        limits = self.ready[popped][1]
        rated = {key: rate for key in limits if (rate := self.rate(key))}
        del self.ready[popped]
        self.running[popped] = limits
        if rated:
            self.unbegun[popped] = rated
        assert queue.has_rate(popped) == bool(rated)
        self.since.update((key, self.now) for key in limits if key not in rated)

    def check_alarm(self, queue: ReadyQueue) -> None:
        """When nobody may start now, it is known when somebody may, unless something has to happen first."""
        if any(self.may(limits) for _, limits in self.ready.values()):
            return
        assert queue.pop(self.now) is None
        told, now = queue.next_start(), self.now
        keys = {key for _, limits in self.ready.values() for key in limits}
        times = sorted(at for key in keys if (at := self.opens(key)) > now)
        first = next((at for at in times if self._anybody(at)), None)
        assert self.now == now
        assert first is None or (told is not None and told <= first), (told, first)

    def _anybody(self, at: float) -> bool:
        before, self.now = self.now, at
        try:
            return any(self.may(limits) for _, limits in self.ready.values())
        finally:
            self.now = before


@settings(max_examples=int(os.environ.get("RUNNER_TEST_EXAMPLES", "150")) * 3)
@given(steps)
def test_whoever_may_start_does_and_nobody_else(steps: list[tuple[str, int, dict[str, Limit], int]]) -> None:
    """Whatever limits jobs give for one key, and in whatever run: the highest of those that may, and neither sooner nor
    later than all rates allow.
    """
    queue, plain = ReadyQueue(), Plain()
    for what, number, limits, priority in steps:
        id = f"{number}"
        if what == "push" and id not in plain.ready and id not in plain.running:
            plain.ready[id] = priority, limits
            queue.push(id, priority, limits)
        elif what == "withdraw":
            plain.ready.pop(id, None)
            queue.withdraw(id)
        elif what == "begin" and plain.unbegun:
            plain.begin(queue, sorted(plain.unbegun)[number % len(plain.unbegun)])
        elif what == "release" and plain.running:
            id = sorted(plain.running)[number % len(plain.running)]
            plain.unbegun.pop(id, None)  # then it has not begun, and was no start
            del plain.running[id]
            queue.release(id)
        elif what == "wait":
            plain.now += priority / 2
        elif what == "restart":
            plain.earlier, plain.since = plain.last, {}
            queue = ReadyQueue(last=plain.last)
            left = plain.ready | {id: (0, limits) for id, limits in plain.running.items()}
            plain.ready, plain.running, plain.unbegun = {}, {}, {}
            for id, (priority, limits) in left.items():
                plain.ready[id] = priority, limits
                queue.push(id, priority, limits)
        elif what == "pop":
            plain.pop(queue)
        assert len(queue) == len(plain.ready)
        plain.check_alarm(queue)
