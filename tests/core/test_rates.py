"""Rates, as the engine keeps them: from a job's claim to its beginning, and from one run to the next."""

from __future__ import annotations

from math import inf

import pytest

from runner.core.commands import Launch
from runner.core.events import Asked, Began, Returned, Slots
from runner.core.model import Limit, Proposal
from tests.core.direct import Direct, id_of, wish

SLOW = {"host": Limit(None, 0.5)}


def pages(count: int, **more: object) -> list[Proposal]:
    return [wish(path, limits=SLOW, **more) for path in "abc"[:count]]


def launched(run: Direct) -> list[Launch]:
    return [command for command in run.do(Slots(9)) if isinstance(command, Launch)]


def test_only_who_has_a_rate_is_paced() -> None:
    run = Direct(wish("a", limits=SLOW), wish("b", limits={"one": Limit(1)}), wish("c"))
    assert [launch.id for launch in launched(run) if launch.paced] == [id_of("a")]


@pytest.mark.parametrize("rate", [0.5, inf])
def test_a_rate_from_the_command_line_is_one_too_unless_it_is_no_bound(rate: float) -> None:
    run = Direct(wish("a", limits={"host": Limit(4)}), overrides=[("host", Limit(None, rate))])
    assert [launch.paced for launch in launched(run)] == [rate == 0.5]


def test_the_next_may_start_an_interval_after_the_last_has_begun() -> None:
    run = Direct(*pages(3))
    assert run.slots() == ["claim a", "launch a"]
    run.now = 10.0
    assert run.slots() == [], "it has not begun so far"
    assert run.engine.next_time() is None
    run.do(Began(id_of("a"), 9.5))
    assert run.engine.next_time() == 11.5
    run.now = 11.4
    assert run.slots() == []
    run.now = 11.5
    assert run.slots() == ["claim b", "launch b"]
    run.do(Began(id_of("b"), 11.4), Began(id_of("b"), 99.0))
    assert run.engine.next_time() == 13.5, "said again, by a clock that was read a moment later"


def test_a_worker_that_never_said_so_may_have_begun_it_at_the_end() -> None:
    run = Direct(*pages(2))
    run.slots()
    run.now = 10.0
    run.finish("a")
    assert run.slots() == []
    assert run.engine.next_time() == 12.0


def test_what_was_told_is_not_told_anew_by_its_end() -> None:
    run = Direct(*pages(2))
    run.slots()
    run.do(Began(id_of("a"), 0.0))
    run.now = 10.0
    run.finish("a")
    assert run.slots() == ["claim b", "launch b"]


def test_one_that_did_not_come_to_its_run_costs_the_others_nothing() -> None:
    run = Direct(*pages(2))
    run.slots()
    run.do(Returned(id_of("a"), begun=False))
    assert run.slots() == ["claim b", "launch b"]


def test_of_a_worker_s_death_only_who_may_have_begun_costs_an_interval() -> None:
    one, other = wish("a", limits={"x": Limit(None, 0.5)}), wish("b", limits={"y": Limit(None, 0.5)})
    run = Direct(one, other, wish("c", limits={"x": Limit(None, 0.5)}), wish("d", limits={"y": Limit(None, 0.5)}))
    assert run.slots() == ["claim a", "launch a", "claim b", "launch b"]
    run.now = 10.0
    run.do(Returned(id_of("a")), Returned(id_of("b"), begun=False))
    assert run.slots() == ["claim d", "launch d"]
    run.now = 12.0
    assert run.slots() == ["claim c", "launch c"]


def test_to_be_asked_for_its_children_is_no_start() -> None:
    run = Direct(*pages(1, finds=True))
    run.slots()
    run.do(Began(id_of("a"), 0.0))
    run.finish("a")
    run.do(Asked(id=id_of("a"), children=[]))
    run.now = 1.0
    run.do(Began("unknown-0123456789abcdef", 1.0), Returned(id_of("a")))
    assert run.engine.next_time() is None


def test_a_run_keeps_its_distance_from_the_last_start_of_the_one_before() -> None:
    run = Direct(*pages(2), wish("d"), last_start=-1.5)
    assert run.slots() == ["claim d", "launch d"]
    assert run.engine.next_time() == 0.5
    run.now = 0.5
    assert run.slots() == ["claim a", "launch a"]
