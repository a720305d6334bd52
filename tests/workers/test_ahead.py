"""What is sent ahead to workers, and what is taken back from them: nothing short waits for anything long."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from runner.core.events import Began, WorkerLost
from runner.workers.local import BLIND, LocalExecutor
from runner.workers.port import Order, Reply
from tests.workers.support import Yard, expect, losses, only, outcomes, replies, wait_for, working
from tests.workers.tasks import Hold, Moody, Noop, Stubborn

SHORT = 6e-4  # seconds: so many of them are sent ahead, and yet each is worth waking up a worker for


def shorts(yard: Yard, *numbers: int) -> list[Order]:
    return [yard.order(Noop(number)) for number in numbers]


def moody(yard: Yard, *numbers: int, held: bool = False) -> list[Order]:
    return [yard.order(Moody(number, held)) for number in numbers]


def ids(orders: list[Order]) -> set[str]:
    return {order.id for order in orders}


def let_go(*numbers: int) -> None:
    for number in numbers:
        Path(f"open-{number}").touch()


def ran() -> Counter[int]:
    """How many times each Moody was begun."""
    return Counter(map(int, Path("ran").read_text().split())) if Path("ran").exists() else Counter()


def lying(executor: LocalExecutor) -> int:
    """How many orders lie in workers without having begun."""
    return sum(len(worker.ahead) for worker in executor._workers)


# ------------------------------------------------------------------------------------------- no short waits for a long


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("known", [{}, {"Hold": 1.0}, {"Hold": SHORT}], ids=["unknown", "long", "taken for short"])
def test_no_short_one_waits_for_a_long_one_of_another_class(yard: Yard, threads: int, known: dict[str, float]) -> None:
    long = [yard.order(Hold(number)) for number in range(2 * threads - 1)]
    before, after = shorts(yard, *range(100)), shorts(yard, *range(100, 300))
    with working(yard, 2, threads=threads) as executor:
        expect(executor, Noop=SHORT, **known)
        executor.start([*before, *long, *after])
        found = outcomes(executor, 300)
        assert replies(found).keys() == ids([*before, *after]), "all of them, while the long ones are at work"
        Path("open").touch()
        assert replies(outcomes(executor, len(long))).keys() == ids(long)


@pytest.mark.parametrize("threads", [1, 3])
def test_no_short_one_waits_for_a_long_one_of_its_class(yard: Yard, threads: int) -> None:
    with working(yard, 2, threads=threads) as executor:
        executor.start(moody(yard, *range(100)))
        outcomes(executor, 100)
        expect(executor, Moody=SHORT)  # it was, but a test is not to fail of a slow machine
        held = range(1000, 1000 + 2 * threads - 1)
        wanted = moody(yard, *range(100, 300))
        executor.start([*wanted[:50], *moody(yard, *held, held=True), *wanted[50:]])
        assert lying(executor) > 50
        assert replies(outcomes(executor, 200)).keys() == ids(wanted)
        let_go(*held)
        outcomes(executor, len(held))
    assert set(ran().values()) == {1}


def test_all_wait_here_where_all_are_at_something_long_and_go_on_as_soon_as_one_is_through(yard: Yard) -> None:
    with working(yard, 2) as executor:
        expect(executor, Moody=SHORT)
        executor.start([*moody(yard, 1, 2, held=True), *(rest := moody(yard, *range(10, 30)))])
        assert lying(executor) == 20
        wait_for("they are taken back", lambda: executor.wait(0.01) or not lying(executor))
        assert (executor.busy, executor.free()) == (22, 0)
        assert executor.wait(0.2) == []
        let_go(1)
        assert replies(outcomes(executor, 21)).keys() == ids([*rest, *moody(yard, 1, held=True)])
        let_go(2)
        only(executor)
    assert set(ran().values()) == {1}


@pytest.mark.parametrize("threads", [1, 2])
def test_few_jobs_that_have_not_begun_are_asked_for_when_long_ones_follow_short_ones(yard: Yard, threads: int) -> None:
    with working(yard, 2, threads=threads) as executor:
        executor.start(shorts(yard, *range(200)))
        outcomes(executor, 200)
        expect(executor, Noop=SHORT)
        started = 0
        while (free := executor.free()) > 0:
            executor.start([yard.order(Hold(number)) for number in range(started, started + free)])
            started += free
        assert 2 * threads < started <= 2 * threads + BLIND
        assert lying(executor) == 0, "whoever is through first gets the next one"
        Path("open").touch()
        outcomes(executor, started)


def test_what_is_always_long_is_not_asked_for_ahead(yard: Yard) -> None:
    with working(yard, 2) as executor:
        expect(executor, Hold=10.0)
        for number in range(30):
            executor._expected.start(yard.order(Hold(number)))
        executor.start([yard.order(Hold(number)) for number in (1, 2)])
        assert executor.free() == 0
        Path("open").touch()
        outcomes(executor, 2)
        assert executor.free() == 2


def test_a_single_short_one_is_enough_to_send_more_of_its_class_ahead(yard: Yard) -> None:
    with working(yard, 1) as executor:
        executor.start(shorts(yard, 1))
        assert executor.free() == 0, "nothing is known yet"
        outcomes(executor, 1)
        assert executor.free() > 1
        executor.start([*shorts(yard, *range(2, 10)), yard.order(Hold(1))])
        assert lying(executor) >= 7
        assert replies(outcomes(executor, 8)).keys() == ids(shorts(yard, *range(2, 10)))
        Path("open").touch()
        outcomes(executor, 1)


# ------------------------------------------------------------------------------------------------- what is taken back


def test_a_worker_that_is_stopped_is_not_asked_for_what_it_has_not_begun(yard: Yard) -> None:
    with working(yard, 2) as executor:
        expect(executor, Moody=SHORT)
        executor.start(moody(yard, 1, 2))
        outcomes(executor, 2)
        os.kill(executor.pids[0], signal.SIGSTOP)
        executor.start(wanted := moody(yard, *range(10, 30)))
        found = outcomes(executor, 19)
        os.kill(executor.pids[0], signal.SIGCONT)
        found += outcomes(executor, 1)
        assert replies(found).keys() == ids(wanted)
    assert set(ran().values()) == {1}


def test_nor_is_one_whose_task_holds_the_interpreter(yard: Yard) -> None:
    with working(yard, 2, threads=2) as executor:
        expect(executor, Noop=SHORT, Stubborn=SHORT)
        executor.start([yard.order(Stubborn("gil"))])
        wait_for("it has begun", lambda: Path("stubborn").exists())
        wanted = shorts(yard, *range(100))
        for order in wanted:
            executor.start([order])
        found = outcomes(executor, 99)  # the other thread of that worker may have begun one, and comes to no end
        assert replies(found).keys() <= ids(wanted)


def test_what_was_taken_back_is_handed_back_on_a_halt(yard: Yard) -> None:
    with working(yard, 2) as executor:
        expect(executor, Moody=SHORT)
        executor.start([*moody(yard, 1, 2, held=True), *(rest := moody(yard, *range(10, 30)))])
        wait_for("they are taken back", lambda: executor.wait(0.01) or not lying(executor))
        assert sorted(executor.unbegun()) == sorted(ids(rest))
        assert executor.busy == 2
        let_go(1, 2)
        assert len(replies(outcomes(executor, 2))) == 2
        assert executor.wait(0.1) == []
    assert ran().keys() == {1, 2}


def test_one_with_a_rate_that_its_worker_could_not_begin_is_handed_back_too(yard: Yard) -> None:
    with working(yard, 1) as executor:
        executor.start(shorts(yard, 1))
        only(executor)
        os.kill(executor.pids[0], signal.SIGSTOP)
        order = yard.order(Noop(2), paced=True)
        executor.start([order])
        assert executor.unbegun() == (order.id,)
        os.kill(executor.pids[0], signal.SIGCONT)
        assert executor.wait(0.2) == []
        assert executor.busy == 0


def test_when_its_worker_dies_it_is_not_named_and_runs_elsewhere(yard: Yard) -> None:
    (long,) = moody(yard, 1, held=True)
    with working(yard, 1) as executor:
        expect(executor, Moody=SHORT)
        executor.start([long, *(rest := moody(yard, *range(10, 15)))])
        wait_for("they are taken back", lambda: executor.wait(0.01) or (ran() and not lying(executor)))
        os.kill(executor.pids[0], signal.SIGKILL)
        found = outcomes(executor, 6)
    (lost,) = losses(found)
    assert (lost.begun, lost.waiting) == ((long.id,), ())
    assert replies(found).keys() == ids(rest)


def test_its_time_does_not_run_while_it_waits_for_another_worker(yard: Yard) -> None:
    (long,) = moody(yard, 1, held=True)
    with working(yard, 1) as executor:
        expect(executor, Moody=SHORT)
        executor.start([long, *(yard.order(Moody(number), timeout=0.3) for number in range(10, 15))])
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            assert executor.wait(0.1) == []
        let_go(1)
        assert len(replies(outcomes(executor, 6))) == 6


def test_beside_one_that_must_be_alone_and_one_with_a_rate(yard: Yard) -> None:
    with working(yard, 2) as executor:
        expect(executor, Moody=SHORT)
        executor.start([*moody(yard, 1, 2, held=True), *(rest := moody(yard, *range(10, 30)))])
        alone, paced = yard.order(Noop(1), alone=True), yard.order(Noop(2), paced=True)
        executor.start([alone, paced])
        wait_for("they are taken back", lambda: executor.wait(0.01) or not lying(executor))
        let_go(1, 2)
        found = [outcome for outcome in outcomes(executor, 24 + 1) if not isinstance(outcome, Began)]
        found += outcomes(executor, 24 - len(found)) if len(found) < 24 else []
        assert replies(found).keys() == ids([*rest, *moody(yard, 1, 2, held=True), alone, paced])
    assert set(ran().values()) == {1}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("round", range(4))
def test_each_runs_once_whoever_is_killed_meanwhile(
    yard: Yard,
    threads: int,
    round: int,
    chance: random.Random,
    struck: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All is sent ahead, and taken back again and again. What a death cuts short is started anew, as the loop does."""
    monkeypatch.setattr("runner.workers.worker.LONG", 0.0005)
    chance.seed(f"{chance.random()} {round}")
    count = 400
    wanted = {order.id: order for number in range(count) for order in moody(yard, number, held=number % 20 == 0)}
    answered: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    with working(yard, 3, threads=threads) as executor:
        executor.start(list(wanted.values()))
        closed = list(range(0, count, 20))
        while answered.total() < count:
            expect(executor, Moody=SHORT)
            for outcome in executor.wait(chance.random() * 0.004):
                if isinstance(outcome, Reply):
                    answered[outcome.event.id] += 1
                    continue
                assert isinstance(outcome, WorkerLost)
                begun.update(outcome.begun)
                executor.start([wanted[id] for id in (*outcome.begun, *outcome.waiting)])
            if len(closed) > 5 * (struck["kill"] < 6) and chance.random() < 0.2:
                let_go(closed.pop(chance.randrange(len(closed))))
            if struck["kill"] < 6 and executor.pids and chance.random() < 0.05:
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(executor.pids), signal.SIGKILL)
                    struck["kill"] += 1
        assert executor.busy == 0
        assert executor.wait(0.05) == []
    assert answered == Counter(wanted.keys())
    times = ran()
    for number, order in enumerate(wanted.values()):
        assert 1 <= times[number] <= 1 + begun[order.id], order.id
    assert struck["kill"] == 6


def test_a_worker_with_one_thread_has_no_other(yard: Yard) -> None:
    """Its tasks may fork."""
    with working(yard, 1) as executor:
        executor.start(shorts(yard, 1))
        only(executor)
        assert len(os.listdir(f"/proc/{executor.pids[0]}/task")) == 1
