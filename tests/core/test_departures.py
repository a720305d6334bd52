"""Jobs that nobody names any more: parked at first, gone in the end, and back when somebody names them."""

from __future__ import annotations

from runner.core.events import Slots
from runner.core.model import Status, Step
from tests.core.kinds import Kind, kind
from tests.core.world import World

P, Q = kind("p", finds=True, priority=1), kind("q", finds=True)
CHILD, READER = kind("c"), kind("r", "c")


def second_night(*roots: Kind) -> World:
    """P has found a child that was left unfinished; tonight P runs again, and names nobody."""
    world = World([P, Q, CHILD, READER])
    world.submit([P, Q])
    world.slots(2)
    world.answer(P, found=[CHILD])
    world.answer(Q)
    world.start(roots, due=[P.id])
    while world.judging:
        world.judge()
    return world


def answered(world: World, parent: Kind, *found: Kind) -> None:
    while parent.id not in world.working:
        world.do(Slots(1))
    world.answer(parent, found=found)


def test_a_dropped_job_that_has_not_begun_waits_and_then_is_gone() -> None:
    world = second_night(P, Q)
    answered(world, P)
    answered(world, Q)
    world.drain()
    assert world.launches[CHILD.id] == 0, "it was taken over, and dropped before a worker was free"
    assert world.status(CHILD) is Status.CANCELLED
    assert world.job(CHILD).attempts[-1]["outcome"] == "gone"
    assert world.engine.gone == [CHILD.id]
    assert world.engine.census.changes()["Job"]["gone"] == 1
    world.check_end()


def test_somebody_else_may_name_it_later() -> None:
    world = second_night(P, Q)
    answered(world, P)
    answered(world, Q, CHILD)
    world.drain()
    assert world.launches[CHILD.id] == 1
    assert world.status(CHILD) is Status.DONE
    assert world.engine.gone == []


def test_what_comes_after_it_is_blocked_and_goes_on_when_it_is_found_again() -> None:
    world = second_night(P, Q, READER)
    answered(world, P)
    answered(world, Q)
    world.drain()
    assert (world.status(CHILD), world.status(READER)) == (Status.CANCELLED, Status.BLOCKED)
    world.start([P, Q, READER], due=[Q.id])
    while world.judging:
        world.judge()
    answered(world, Q, CHILD)
    world.drain()
    assert (world.status(CHILD), world.status(READER)) == (Status.DONE, Status.DONE)
    assert world.moves(CHILD)[-4:] == [Step.CANCEL, Step.RETRY, Step.CLAIM, Step.FINISH]


def test_whom_a_finder_names_that_could_not_be_asked_is_left_alone() -> None:
    world = World([P, Q, CHILD])
    world.submit([P, Q])
    world.slots(2)
    world.answer(P, found=[CHILD])
    world.answer(Q, found=[CHILD])
    world.drain()
    world.start([P, Q], due=[P.id, Q.id])
    while world.judging:
        world.judge()
    answered(world, P)
    while world.status(Q) is not Status.FAILED:
        world.turn("failed")
    world.drain()
    assert world.engine.gone == [], "Q failed tonight, and its record names it"
    assert world.status(CHILD) is Status.DONE


def test_a_dropped_job_that_was_held_until_it_is_certain_what_it_comes_after_does_not_run() -> None:
    """It comes after one that this run has not reached; once nobody may find that one, it would else begin."""
    source, reader = kind("s"), kind("t", "s")
    world = World([P, Q, source, reader])
    world.submit([P, Q, source])
    world.complete()
    world.slots(3)
    world.answer(source)
    world.answer(P, found=[reader])
    world.answer(Q)
    world.start([P, Q], due=[P.id, Q.id])
    while world.judging:
        world.judge()
    answered(world, P)
    answered(world, Q)
    world.drain()
    assert world.launches[reader.id] == 0
    assert world.status(reader) is Status.CANCELLED
    assert world.engine.gone == [reader.id]
    world.check_end()
