"""How long tasks are expected to take: by class, soon up and slowly down."""

from __future__ import annotations

from runner.core.events import Asked, Finished, Lacked
from runner.workers.expected import LONG, UNKNOWN, Expected
from runner.workers.port import Reply
from tests.workers.support import Yard
from tests.workers.tasks import Hold, Noop


def answer(yard: Yard, seconds: float, *, begun: bool = True) -> Reply:
    event = Finished(id=yard.order(Noop(1)).id, record="", deliver=(), trash=(), children=None)
    return Reply(event=event, seconds=seconds, begun=begun)


def test_nothing_is_known_of_a_class_until_one_was_seen(yard: Yard) -> None:
    expected = Expected()
    short, other = yard.order(Noop(1)), yard.order(Hold(1))
    assert expected.of(short) == UNKNOWN > LONG
    expected.learn(answer(yard, 1e-4))
    assert expected.of(yard.order(Noop(2))) == 1e-4
    assert expected.of(other) == UNKNOWN


def test_one_that_takes_long_is_believed_at_once_and_forgotten_slowly(yard: Yard) -> None:
    expected, order = Expected(), yard.order(Noop(1))
    for _ in range(50):
        expected.learn(answer(yard, 1e-4))
    expected.learn(answer(yard, 30.0))
    assert expected.of(order) > LONG
    for _ in range(20):
        expected.learn(answer(yard, 1e-4))
    assert expected.of(order) > LONG
    for _ in range(20):
        expected.learn(answer(yard, 1e-4))
    assert expected.of(order) < LONG


def test_to_be_asked_is_another_thing_than_to_run(yard: Yard) -> None:
    expected, order = Expected(), yard.order(Noop(1))
    expected.learn(Reply(event=Asked(id=order.id, children=[]), seconds=1e-4))
    assert expected.of(order) == UNKNOWN
    assert expected.of(yard.order(Noop(1), ask=True)) < LONG


def test_what_did_not_come_to_its_run_tells_nothing(yard: Yard) -> None:
    expected, order = Expected(), yard.order(Noop(1))
    expected.learn(Reply(event=Lacked(order.id, ("a.txt",)), begun=False))
    expected.learn(answer(yard, 1e-4, begun=False))
    assert expected.of(order) == UNKNOWN


def test_what_comes_next_is_like_the_first_one_and_then_like_what_was_started_lately(yard: Yard) -> None:
    expected = Expected()
    assert expected.next > LONG
    expected.learn(answer(yard, 1e-3))
    assert expected.next == 1e-3
    expected.learn(Reply(event=Asked(id=yard.order(Hold(1)).id, children=[]), seconds=1e-4))
    assert expected.next == 1e-3
    for number in range(50):
        expected.start(yard.order(Noop(number)))
    assert expected.next < 2e-3
    expected.start(yard.order(Hold(1)))
    assert expected.next < LONG, "one long one among many short ones: they are still worth being sent ahead"
    for number in range(20):
        expected.start(yard.order(Hold(number)))
    assert expected.next > LONG
