"""Worker processes: what they answer, how long they may take, and how they are stopped."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from runner.core.events import Finished, WorkerLost
from runner.workers.local import REST, LocalExecutor
from runner.workers.port import Order, Reply
from tests.workers.support import (
    Yard,
    alive,
    expect,
    only,
    outcomes,
    pid_in,
    replies,
    wait_for,
    working,
)
from tests.workers.tasks import (
    Echo,
    FindsMuch,
    Hold,
    Limited,
    Noop,
    Sleep,
    Write,
)


def orders(yard: Yard, *numbers: int) -> list[Order]:
    return [yard.order(Noop(number)) for number in numbers]


def begun(number: int) -> bool:
    return Path(f"begun-{number}").exists()


def test_every_order_is_answered_once(yard: Yard) -> None:
    with working(yard, 2) as executor:
        wanted = orders(yard, *range(200))
        executor.start(wanted)
        found = outcomes(executor, 200)
        assert executor.wait(0.05) == []
    assert len(found) == 200
    assert set(replies(found)) == {order.id for order in wanted}
    assert all(isinstance(outcome, Reply) and isinstance(outcome.event, Finished) for outcome in found)


def test_workers_begin_with_the_first_order_and_not_before(yard: Yard) -> None:
    with working(yard, 3) as executor:
        assert executor.free() == 0, "they cannot be forked before all is imported, and nobody waits for that"
        wait_for("all is imported", lambda: executor.wait(0.01) or executor.free())
        assert executor.pids == []
        assert executor.free() == 1, "the first one is alone, until it is known what the tasks are like"
        executor.start([yard.order(Hold(1))])
        assert len(executor.pids) == 1
        assert executor.wait(5.0) == [], "it wakes up by itself"
        assert executor.free() == 2
        executor.start([yard.order(Hold(2))])
        assert len(executor.pids) == 3
        Path("open").touch()
        outcomes(executor, 2)


def test_one_worker_is_enough_for_tasks_that_take_next_to_no_time(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    for patience in ("LATE", "LONG"):  # other tests may take the processor away from it
        monkeypatch.setattr(f"runner.workers.worker.{patience}", 10.0)
    with working(yard, 2) as executor:
        executor.start(orders(yard, 1))
        outcomes(executor, 1)
        expect(executor, Noop=1e-6, Hold=20.0)
        monkeypatch.setattr(executor._expected, "learn", lambda reply: None)
        for start in range(2, 2000, 500):
            executor.start(orders(yard, *range(start, start + 500)))
            assert executor.free() == 0, "more than can lie in it"
            assert executor.busy == 500
            outcomes(executor, 500)
        assert len(executor.pids) == 1
        executor.start([yard.order(Hold(1)), *orders(yard, *range(3000, 3200))])
        assert len(executor.pids) == 2
        assert len(replies(outcomes(executor, 200))) == 200
        Path("open").touch()
        outcomes(executor, 1)


def test_who_has_something_ready_is_not_soon_through_however_long_it_takes(yard: Yard) -> None:
    with working(yard, 1) as executor:
        executor.start(orders(yard, 1))
        outcomes(executor, 1)
        (worker,) = executor._workers
        assert not worker.soon_through(0.0), "it has nothing to do"
        for number in range(2, 8):  # each time a little later than was expected, and none is answered
            worker.put(yard.order(Noop(number)), 0.0010, now=number * 0.0011)
        assert not worker.soon_through(8 * 0.0011)
        assert worker.answered(yard.order(Noop(2)).id)
        assert not worker.soon_through(8 * 0.0011)


@pytest.mark.parametrize(("seconds", "count", "rests"), [(0.006, 40, True), (1e-4, 120, False)])
def test_answers_gather_while_all_have_enough_to_do(
    yard: Yard, slept: list[float], monkeypatch: pytest.MonkeyPatch, seconds: float, count: int, rests: bool
) -> None:
    """And not where the turn that follows would take longer than what lies ready."""
    monkeypatch.setattr("runner.workers.worker.LONG", 10.0)  # nothing is taken back, however slow this machine is
    with working(yard, 1) as executor:
        expect(executor, Hold=seconds)
        executor.start([yard.order(Hold(number)) for number in range(count)])
        executor.wait(0.01)
        assert slept == ([REST] if rests else [])
        slept.clear()
        executor.wait(0.002)
        assert slept == ([0.002] if rests else []), "no longer than one is to wait"
        Path("open").touch()
        outcomes(executor, count)


def test_what_turns_out_to_take_long_is_no_reason_to_wait_for_others(yard: Yard) -> None:
    """It was expected to take next to no time: what lies behind it, and what comes, is for another worker."""
    with working(yard, 2) as executor:
        expect(executor, Noop=1e-6, Hold=1e-6)
        executor.start([yard.order(Hold(1)), *orders(yard, *range(100))])
        assert len(executor.pids) == 1
        assert len(replies(outcomes(executor, 100))) == 100
        assert len(executor.pids) == 2
        Path("open").touch()
        outcomes(executor, 1)


def test_long_tasks_are_not_queued_behind_each_other_and_short_ones_are(yard: Yard) -> None:
    with working(yard, 2, threads=3) as executor:
        executor.start([yard.order(Sleep(number, 0.1)) for number in range(6)])
        outcomes(executor, 6)
        assert executor.free() == 6
        executor.start(orders(yard, *range(200)))
        outcomes(executor, 200)
        assert executor.free() > 6, "more than one for each thread"


def test_a_watched_descriptor_ends_the_wait(yard: Yard) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, working(yard) as executor:
        executor.watch(ours.fileno())
        theirs.send(b".")
        start = time.monotonic()
        assert executor.wait(10) == []
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("threads", [1, 2])
def test_messages_of_many_megabytes_go_both_ways(yard: Yard, threads: int) -> None:
    text = "x" * (24 << 20)
    with working(yard, threads=threads) as executor:
        executor.start([yard.order(Echo(text)), yard.order(Noop(1)), yard.order(FindsMuch(40, 1 << 19))])
        start = time.monotonic()
        found = replies(outcomes(executor, 3))
        assert time.monotonic() - start < 15
    (event,) = [reply.event for id, reply in found.items() if id.startswith("FindsMuch")]
    assert isinstance(event, Finished)
    assert event.children is not None
    assert sum(len(child.params["text"]) for child in event.children) == 40 << 19


# ------------------------------------------------------------------------------------------------------ time-outs


def test_a_job_that_takes_too_long_is_killed_and_named_and_its_worker_replaced(yard: Yard) -> None:
    with working(yard) as executor:
        slow = yard.order(Sleep(1, 60), timeout=0.2)
        executor.start([slow, *orders(yard, 1)])
        start = time.monotonic()
        lost = only(executor)
        assert 0.15 < time.monotonic() - start < 3
        assert isinstance(lost, WorkerLost)
        assert (lost.begun, lost.waiting, lost.guilty) == ((slow.id,), (), (slow.id,))
        assert (lost.outcome, lost.message) == ("timeout", "took longer than its timeout of 0.2 s")
        assert not alive(pid_in(Path("begun-1")))
        assert isinstance(only(executor), Reply), "the one that waited for it"


def test_with_threads_only_the_slow_one_is_guilty(yard: Yard) -> None:
    with working(yard, threads=2) as executor:
        slow, other = yard.order(Sleep(1, 60), timeout=0.3), yard.order(Sleep(2, 60))
        executor.start([slow, other])
        lost = only(executor)
        assert isinstance(lost, WorkerLost)
        assert (set(lost.begun), lost.guilty) == ({slow.id, other.id}, (slow.id,))


def test_waiting_behind_another_is_no_part_of_a_job_s_time(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(Sleep(1, 0.5)), yard.order(Sleep(2, 0.1), timeout=0.4)])
        assert len(replies(outcomes(executor, 2))) == 2


def test_a_job_of_an_asked_for_time_that_is_in_time_is_left_alone(yard: Yard) -> None:
    with working(yard) as executor:
        for number in range(3):
            executor.start([yard.order(Limited(number, 0.05), timeout=1.0)])
            assert isinstance(only(executor), Reply)


# ---------------------------------------------------------------------------------------------------- Halt and close


@pytest.mark.parametrize("short", [(), ("Hold", "Noop")], ids=["it waits here", "it lies in the worker"])
@pytest.mark.parametrize("threads", [1, 2])
def test_on_a_halt_what_was_begun_is_finished_and_the_rest_comes_back_at_once(
    yard: Yard, threads: int, short: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if short:
        monkeypatch.setattr("runner.workers.worker.LONG", 60.0)  # so that it stays there
    with working(yard, threads=threads) as executor:
        expect(executor, Write=1.0, **dict.fromkeys(short, 1e-4))
        held = [yard.order(Hold(number)) for number in range(threads)]
        executor.start([*held, *(waiting := orders(yard, *range(5)))])
        assert [len(worker.ahead) for worker in executor._workers] == [5 if short else 0]
        wait_for("they have begun", lambda: all(begun(number) for number in range(threads)))
        alone = yard.order(Noop(9), alone=True)
        executor.start([alone])
        assert set(executor.unbegun()) == {alone.id, *(order.id for order in waiting)}
        assert executor.free() == 0
        assert executor.busy == threads
        Path("open").touch()
        assert replies(outcomes(executor, threads)).keys() == {order.id for order in held}
        assert executor.unbegun() == ()
        assert executor.wait(0.05) == []


def test_what_lies_in_a_worker_with_many_megabytes_can_be_taken_back(yard: Yard) -> None:
    with working(yard) as executor:
        expect(executor, Hold=1e-4, Echo=1e-4)
        executor.start([yard.order(Hold(1))])
        wait_for("it has begun", lambda: begun(1))
        big = [yard.order(Echo(f"{number}" + "x" * (1 << 20))) for number in range(8)]
        executor.start(big)
        assert set(executor.unbegun()) == {order.id for order in big}
        executor.start(big[3:5])
        Path("open").touch()
        assert replies(outcomes(executor, 3)).keys() == {yard.order(Hold(1)).id, big[3].id, big[4].id}


def test_close_ends_everything_at_once_and_waits_for_it(yard: Yard) -> None:
    executor = LocalExecutor(3, yard.settings())
    executor.start([yard.order(Sleep(number, 60)) for number in range(3)])
    wait_for("all have begun", lambda: all(begun(number) for number in range(3)))
    pids, server = executor.pids, executor._crew.server._process.pid
    start = time.monotonic()
    executor.close()
    assert time.monotonic() - start < 3
    assert not any(map(alive, [*pids, server]))
    executor.close()


def test_a_worker_holds_a_lock_file_of_its_own_with_its_session(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(Write(Path("a.txt")))])
        only(executor)
        (lock,) = os.listdir(yard.state / "locks")
        assert lock.startswith(f"worker-{executor.pids[0]}-")
        assert int((yard.state / "locks" / lock).read_text()) == os.getsid(executor.pids[0])
