"""Jobs that have a rate, in their workers: never behind others, and it is known when the last of them began."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner import NoRetry
from runner.core.events import Began, Failed, Finished, Lacked
from runner.errors import StateError
from runner.store.files import Files
from runner.store.folders import FolderStore
from runner.store.pace import NAME, last_start, note_start, steady
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.hindrance import Hindered
from runner.workers.local import LocalExecutor
from runner.workers.port import Order, Outcome, Reply
from tests.workers import tasks
from tests.workers.support import Yard, expect, losses, outcomes, wait_for, working
from tests.workers.tasks import Act, Copied, Die, Hold, Noop, Write


def paced(yard: Yard, task: Any) -> Order:
    return yard.order(task, paced=True)


def begins(found: Sequence[Outcome]) -> dict[str, float]:
    return {outcome.id: outcome.at for outcome in found if isinstance(outcome, Began)}


def answers(executor: LocalExecutor, count: int) -> list[Outcome]:
    """Wait for so many answers; what is told of beginnings comes with them."""
    found: list[Outcome] = []
    deadline = time.monotonic() + 20
    while sum(not isinstance(outcome, Began) for outcome in found) < count:
        assert time.monotonic() < deadline, found
        found += executor.wait(0.2)
    return found


def noted(yard: Yard) -> float:
    """What the next runner would hear."""
    with FolderStore(yard.state, root=yard.root) as store:
        return last_start(store.shelf)


# ------------------------------------------------------------------------------------------------- worker processes


@pytest.mark.parametrize("threads", [1, 3])
def test_it_is_told_when_it_begins_before_anything_else_is(yard: Yard, threads: int) -> None:
    before = steady()
    with working(yard, 1, threads=threads) as executor:
        order = paced(yard, Noop(1))
        executor.start([order, yard.order(Noop(2))])
        found = answers(executor, 2)
    (at,) = begins(found).values()
    assert before < at < steady()
    own = [type(outcome).__name__ for outcome in found if getattr(outcome, "event", outcome).id == order.id]
    assert own == ["Began"] * (len(own) - 1) + ["Reply"]
    assert noted(yard) == pytest.approx(at, abs=1e-6)


def held(yard: Yard, executor: LocalExecutor, count: int) -> None:
    """All threads are at work until the file `open` is there."""
    executor.start([yard.order(Hold(number)) for number in range(count)])
    wait_for("all have begun", lambda: all(Path(f"begun-{number}").exists() for number in range(count)))


def test_it_lies_behind_nobody_and_gets_the_next_thread_that_has_nothing_to_do(yard: Yard) -> None:
    with working(yard, 2) as executor:
        executor.start([yard.order(Noop(number)) for number in range(100)])
        outcomes(executor, 100)
        assert executor.free() > 2, "such short tasks are sent ahead"
        held(yard, executor, 2)
        ahead = [yard.order(Noop(number)) for number in range(200, 204)]
        executor.start(ahead)
        late = paced(yard, Noop(300))
        executor.start([late])
        assert executor.free() == 0, "what is sent ahead now would keep threads from having nothing to do"
        assert executor.busy == 7
        assert executor.wait(0.05) == []
        assert executor.free() == 0
        Path("open").touch()
        found = answers(executor, 7)
        assert executor.free() > 2
    order = [outcome.event.id for outcome in found if isinstance(outcome, Reply)]
    assert set(order) == {each.id for each in (*ahead, late)} | {yard.order(Hold(number)).id for number in (0, 1)}
    assert late.id in begins(found)


def test_it_goes_to_the_worker_that_has_nothing_to_do(yard: Yard) -> None:
    with working(yard, 2, threads=2) as executor:
        held(yard, executor, 3)
        order = paced(yard, Noop(9))
        executor.start([order])
        assert set(begins(answers(executor, 1))) == {order.id}, "the others hold all threads but that one"
        Path("open").touch()
        outcomes(executor, 3)


def test_who_waits_for_a_thread_is_handed_back(yard: Yard) -> None:
    with working(yard, 1) as executor:
        held(yard, executor, 1)
        order = paced(yard, Noop(9))
        executor.start([order])
        assert executor.unbegun() == (order.id,)
        assert executor.busy == 1
        Path("open").touch()
        (reply,) = outcomes(executor, 1)
        assert isinstance(reply, Reply)
        assert executor.busy == 0
    assert noted(yard) == 0.0


def test_a_worker_dies_under_it_and_the_next_one_gets_who_waited(yard: Yard) -> None:
    with working(yard, 1) as executor:
        dies, waits = paced(yard, Die("SIGKILL")), paced(yard, Noop(9))
        executor.start([dies, waits])
        found = answers(executor, 2)
    assert list(begins(found)) == [dies.id, waits.id]
    (lost,) = losses(found)
    assert (lost.begun, lost.waiting) == ((dies.id,), ())
    assert noted(yard) == pytest.approx(begins(found)[waits.id], abs=1e-6)


def test_names_to_unlink_reach_a_worker_with_the_next_order_of_any_kind(yard: Yard) -> None:
    for number, options in enumerate(({"paced": True}, {"alone": True}, {})):
        (yard.state / "tmp" / "litter").touch()
        with working(yard, 1) as executor:
            executor.start([yard.order(Noop(number), **options)], ["litter"])
            answers(executor, 1)
            wait_for("it is gone", lambda: not (yard.state / "tmp" / "litter").exists())


def sent_along(executor: LocalExecutor) -> list[str]:
    """Names that workers have been sent, and are not known to have unlinked."""
    return [name for worker in executor._workers for name in worker.litter()]


def test_names_that_a_worker_has_not_read_are_given_to_the_next(yard: Yard) -> None:
    for name in ("with", "behind"):
        (yard.state / "tmp" / name).touch()
    with working(yard, 1) as executor:
        expect(executor, Hold=1e-4, Noop=1e-4)
        executor.start([yard.order(Hold(0))])
        wait_for("it has begun", Path("begun-0").exists)
        executor.start([yard.order(Noop(1))], ["with"])
        executor.start([yard.order(Noop(2))], ["behind"])
        assert sent_along(executor) == ["with", "behind"]
        os.kill(executor.pids[0], signal.SIGKILL)
        (lost,) = losses(answers(executor, 1))
        assert lost.begun == (yard.job(Hold(0)).id,)
        executor.start([yard.order(Noop(3))])
        answers(executor, 1)
        assert not (yard.state / "tmp" / "with").exists()
        assert not (yard.state / "tmp" / "behind").exists()
        assert executor.close() == []
        assert executor.close() == []


def test_names_that_were_sent_along_with_what_was_taken_back_come_back(yard: Yard) -> None:
    with working(yard, 1) as executor:
        expect(executor, Hold=1e-4, Noop=1e-4)
        executor.start([yard.order(Hold(0))])
        wait_for("it has begun", Path("begun-0").exists)
        executor.start([yard.order(Noop(1))], ["unread"])
        assert sent_along(executor) == ["unread"]
        assert executor.unbegun() == (yard.job(Noop(1)).id,)
        assert executor.close() == ["unread"]


def test_names_that_cannot_be_sent_as_there_is_no_worker_come_back(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.workers.crew.Worker", no_worker)
    with working(yard, 1) as executor:
        with pytest.raises(StateError, match="no worker can be started"):
            executor.start([yard.order(Noop(1))], ["unsent"])
        assert executor.close() == ["unsent"]


def no_worker(*_: object) -> None:
    raise ConnectionError("it cannot fork")


# ---------------------------------------------------------------------------------------------------- in this process


@pytest.fixture
def told(yard: Yard) -> list[Began]:
    found: list[Began] = []
    yard._bench = Bench(yard.settings(), tell=found.append)
    return found


def attempt(yard: Yard, order: Order) -> Reply:
    assert yard._bench is not None
    return perform(order, yard._bench)


def test_only_a_job_with_a_rate_is_told_of(yard: Yard, told: list[Began]) -> None:
    seen: list[float] = []
    tasks.ACTIONS["it"] = lambda task: seen.append(noted(yard))
    reply = attempt(yard, yard.order(Act("it")))
    assert (told, seen, reply.begun) == ([], [0.0], True)
    reply = attempt(yard, paced(yard, Act("it")))
    assert {began.id for began in told} == {reply.event.id}
    assert seen[1] == pytest.approx(told[-1].at, abs=1e-6), "it is on disk before the task begins"
    assert reply.begun


def test_what_does_not_come_to_its_run_is_no_start(yard: Yard, told: list[Began]) -> None:
    lacking = attempt(yard, paced(yard, Copied("nowhere.txt", "b.txt")))
    gone = yard.order(replace(yard.job(Noop(1)), task="tests.workers.tasks:Gone"), paced=True)
    hopeless = attempt(yard, gone)
    absent = {"outputs": {"a.txt": None}, "change": "absent"}
    maker = yard.put("done", yard.job(Write("a.txt"), result=absent))
    reader = attempt(yard, yard.order(yard.job(Copied("a.txt", "b.txt"), after=(maker.id,)), paced=True))
    for reply, kind in ((lacking, Lacked), (hopeless, Failed), (reader, Finished)):
        assert isinstance(reply.event, kind)
        assert not reply.begun
    assert told == []
    assert noted(yard) == 0.0


def test_one_that_fails_has_begun(yard: Yard, told: list[Began]) -> None:
    def action(task: Act) -> None:
        raise NoRetry("403")

    tasks.ACTIONS["it"] = action
    assert attempt(yard, paced(yard, Act("it"))).begun
    assert told


def test_what_took_long_to_say_is_said_again(yard: Yard) -> None:
    """The thread was kept from going on to the task's run() while it told that it does."""
    told: list[Began] = []

    def tell(began: Began) -> None:
        told.append(began)
        time.sleep(0.01 if len(told) < 3 else 0.0)

    began: list[float] = []
    tasks.ACTIONS["it"] = lambda task: began.append(steady())
    yard._bench = Bench(yard.settings(), tell=tell)
    attempt(yard, paced(yard, Act("it")))
    assert len(told) >= 3
    assert began[0] - told[-1].at < 0.01 <= told[-1].at - told[0].at
    assert noted(yard) == pytest.approx(told[-1].at, abs=1e-6)


def test_where_it_cannot_be_noted_nothing_begins_and_nobody_is_charged(yard: Yard) -> None:
    class Full(Files):
        def overwrite(self, folder: int, name: str, data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    ran: list[Act] = []
    tasks.ACTIONS["it"] = ran.append
    yard._bench = Bench(yard.settings(), files=Full())
    with pytest.raises(Hindered, match="No space left"):
        attempt(yard, paced(yard, Act("it")))
    assert ran == []


# --------------------------------------------------------------------------------------------------------- the number


def note(yard: Yard, text: bytes) -> None:
    (yard.state / "locks" / NAME).write_bytes(text)


def test_the_next_runner_reads_what_was_written_last(yard: Yard) -> None:
    locks = os.open(yard.state / "locks", os.O_RDONLY)
    times = [note_start(Files(), locks) for _ in range(3)]
    os.close(locks)
    assert noted(yard) == pytest.approx(times[-1], abs=1e-6)
    assert times == sorted(times)


def test_a_number_of_another_boot_or_none_is_as_old_as_this_boot(yard: Yard) -> None:
    """Whatever began before it began before it, so that is soon enough."""
    assert noted(yard) == 0.0
    for text in (b"", b"\n", b"%020.6f\n" % (steady() + 60), b"nan\n", b"-1.0\n", b"0000000000001.000000", b"x" * 21):
        note(yard, text)
        assert noted(yard) == 0.0, text
    note(yard, b"0000000000001.000000\n")
    assert noted(yard) == 1.0


def test_what_is_no_file_of_the_runner_s_is_named(yard: Yard) -> None:
    path = yard.state / "locks" / NAME
    path.symlink_to("runner.lock")
    with pytest.raises(StateError, match=r"locks/last-start is a symlink: move it away"):
        noted(yard)
    path.unlink()
    path.mkdir()
    with pytest.raises(StateError, match=r"locks/last-start is no regular file: move it away"):
        noted(yard)
    path.rmdir()
    note(yard, b"x" * 100)
    with pytest.raises(StateError, match="move it away"):
        noted(yard)
