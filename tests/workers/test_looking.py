"""Looking at done jobs ahead of time: what a worker sees, what it leaves to others, and who is asked."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from runner import Task
from runner.core.events import Finished, Judged
from runner.errors import StateError
from runner.store.codec import JobFile
from runner.store.shelf import MAX_KEPT_BYTES
from runner.task import Last
from runner.workers.bench import Bench
from runner.workers.child import Look
from runner.workers.judge import How
from runner.workers.local import LocalExecutor
from runner.workers.looking import Looker
from runner.workers.port import Looked, Reply, Sight
from tests.workers.support import Yard, earlier, losses, only, outcomes, replies, wait_for, working
from tests.workers.tasks import Copied, Echo, Hold, Noop, Write


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks in this process come to their end, however slow it is."""
    monkeypatch.setattr("runner.workers.looking.LONG", 60.0)


def done(yard: Yard, *tasks: Task) -> list[JobFile]:
    """These, done by an earlier run."""
    return [yard.put("done", earlier(yard.finished(yard.perform(task)))) for task in tasks]


def look(yard: Yard, ids: Sequence[str], **settings: Any) -> dict[str, Sight]:
    bench = Bench(yard.settings(**settings))
    try:
        return {sight.job.id: sight for sight in Looker(bench).look(ids).sights}
    finally:
        bench.close()


def test_it_sees_what_the_file_holds_and_whether_the_job_is_due(yard: Yard) -> None:
    Path("in.txt").write_text("text")
    jobs = done(yard, Write(Path("a.txt")), Write(Path("b.txt")), Copied(Path("in.txt"), Path("c.txt")))
    Path("b.txt").unlink()
    Path("in.txt").write_text("other")
    sights = look(yard, [job.id for job in jobs])
    assert [sights[job.id].judged for job in jobs] == [
        Judged(id=jobs[0].id, reason=None),
        Judged(id=jobs[1].id, reason="output b.txt is not there"),
        Judged(id=jobs[2].id, reason="input in.txt changed"),
    ]
    for job in jobs:
        seen = sights[job.id].job
        assert (seen.task, seen.params, seen.after, seen.depth) == (job.task, job.params, job.after, job.depth)
        assert seen.result is not None


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"force": True}, "forced"),
        ({"force_tasks": ("Write",)}, "forced"),
        ({"force_tasks": ("Copied",)}, None),
        ({"verify": True}, "output a.txt holds other bytes than were made"),
    ],
)
def test_it_judges_as_the_run_does(yard: Yard, how: dict[str, Any], reason: str | None) -> None:
    (job,) = done(yard, Write(Path("a.txt")))
    Path("a.txt").write_text("tixt\n")
    (sight,) = look(yard, [job.id], how=How(**how)).values()
    assert sight.judged is not None
    assert sight.judged.reason == reason


class Asked(Task):
    """Would tell if it was asked."""

    def due(self, last: Last, now: datetime) -> str | None:
        raise SystemExit("a worker that only looks must not call it")


class Aged(Task):
    max_age = 1.0


@pytest.mark.parametrize("cls", [Asked, Aged])
def test_it_calls_no_method_of_the_user_s(yard: Yard, cls: type[Task]) -> None:
    (job,) = done(yard, cls())
    (sight,) = look(yard, [job.id]).values()
    assert sight.judged is None
    assert sight.job.result is not None, "that the scheduler can judge it without reading the file"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def link(path: Path) -> None:
    path.rename("elsewhere.json")
    path.symlink_to(Path("elsewhere.json").absolute())


def of_nobody_s_class(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"tasks:Write", b"tasks:Wrote"))


def of_no_module(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"tests.workers", b"json.workers"))


@pytest.mark.parametrize("spoil", [Path.unlink, cut, link, lambda path: (path.unlink(), os.mkfifo(path))])
def test_what_it_cannot_read_it_leaves_to_the_scheduler(yard: Yard, spoil: Callable[[Path], object]) -> None:
    jobs = done(yard, Write(Path("a.txt")), Write(Path("b.txt")))
    spoil(yard.state / "done" / f"{jobs[0].id}.json")
    assert list(look(yard, ["no id", *(job.id for job in jobs)])) == [jobs[1].id]


@pytest.mark.parametrize("spoil", [of_nobody_s_class, of_no_module])
def test_what_it_has_no_class_for_it_leaves_to_the_scheduler(yard: Yard, spoil: Callable[[Path], object]) -> None:
    jobs = done(yard, Write(Path("a.txt")), Write(Path("b.txt")))
    spoil(yard.state / "done" / f"{jobs[0].id}.json")
    assert list(look(yard, [job.id for job in jobs])) == [jobs[1].id]


def test_it_does_not_take_long(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = done(yard, *(Write(Path(f"{number}.txt")) for number in range(5)))
    monkeypatch.setattr("runner.workers.looking.LONG", -1.0)
    assert list(look(yard, [job.id for job in jobs])) == [jobs[0].id]


# ----------------------------------------------------------------------------------------------- in worker processes


def asks(executor: LocalExecutor, ids: Sequence[str]) -> Looked:
    """What the first worker sees that can be had."""
    wait_for("a worker is there", lambda: executor.look(ids))
    found = only(executor)
    assert isinstance(found, Looked)
    assert found.sights, "the first is looked at, however long it takes"
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_process_looks(yard: Yard, threads: int) -> None:
    jobs = done(yard, *(Write(Path(f"{number}.txt")) for number in range(200)))
    with working(yard, threads=threads) as executor:
        found = asks(executor, [job.id for job in jobs])
        assert [sight.job.id for sight in found.sights] == [job.id for job in jobs][: len(found.sights)]
        assert all(sight.judged == Judged(id=sight.job.id, reason=None) for sight in found.sights)
        executor.start([yard.order(Noop(1))])
        (reply,) = replies([only(executor)]).values()
        assert isinstance(reply.event, Finished)


def test_nobody_is_waited_for(yard: Yard) -> None:
    """Before a fork is known to be quick, no worker is made for it."""
    with working(yard) as executor:
        assert not executor.look([])
        assert executor.pids == []


def test_only_who_has_nothing_to_do_is_asked(yard: Yard) -> None:
    (job,) = done(yard, Write(Path("a.txt")))
    with working(yard) as executor:
        asks(executor, [job.id])
        executor.start([yard.order(Hold(1))])
        assert not executor.look([job.id])
        Path("open").touch()
        only(executor)
        assert executor.look([job.id])
        assert not executor.look([job.id]), "it is looking"
        only(executor)
        assert executor.look([job.id])


@pytest.mark.parametrize("threads", [1, 2])
def test_orders_that_lie_there_already_come_first(yard: Yard, threads: int) -> None:
    """The scheduler sends no look behind an order; whoever did would wait for its turn."""
    (job,) = done(yard, Write(Path("a.txt")))
    with working(yard, threads=threads) as executor:
        asks(executor, [job.id])
        executor.start([yard.order(Hold(number)) for number in range(threads)])
        wait_for("they have begun", lambda: all(Path(f"begun-{number}").exists() for number in range(threads)))
        (worker,) = executor._workers
        worker.send(Look((job.id,)))
        assert executor.wait(0.2) == []
        Path("open").touch()
        found = outcomes(executor, threads + 1)
    assert [len(outcome.sights) for outcome in found if isinstance(outcome, Looked)] == [1]


def test_one_who_is_told_to_stop_is_not_asked(yard: Yard) -> None:
    (job,) = done(yard, Write(Path("a.txt")))
    with working(yard) as executor:
        asks(executor, [job.id])
        executor.unbegun()
        assert not executor.look([job.id])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_that_dies_over_it_costs_nothing(yard: Yard, threads: int) -> None:
    (job,) = done(yard, Write(Path("a.txt")))
    with working(yard, threads=threads) as executor:
        asks(executor, [job.id])
        (pid,) = executor.pids
        os.kill(pid, signal.SIGSTOP)
        assert executor.look([job.id])
        os.kill(pid, signal.SIGKILL)
        wait_for("another takes its place", lambda: executor.wait(0.05) or executor.pids not in ([], [pid]))
        assert isinstance(asks(executor, [job.id]), Looked)
        executor.start([yard.order(Noop(number)) for number in range(3)])
        assert all(isinstance(outcome, Reply) for outcome in outcomes(executor, 3))


def test_when_no_worker_can_be_made_nobody_looks(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for those who need one to say so."""
    (job,) = done(yard, Write(Path("a.txt")))
    with working(yard) as executor:
        wait_for("a fork is quick", lambda: executor.wait(0.01) or executor._crew.server.ready)
        monkeypatch.setattr("runner.workers.forkserver._START", "raise SystemExit")
        os.kill(executor._crew.server._process.pid, signal.SIGKILL)
        executor._crew.server._process.wait()
        assert not executor.look([job.id])
        with pytest.raises(StateError, match="no worker can be started"):
            executor.start([yard.order(Noop(1))])


# --------------------------------------------------------------------------------------- orders behind a long look


@contextmanager
def looking(yard: Yard) -> Iterator[LocalExecutor]:
    """An executor whose one worker looks, and does not come to an end of it."""
    (job,) = done(yard, Write(Path("a.txt")))
    with working(yard) as executor:
        asks(executor, [job.id])
        os.kill(executor.pids[0], signal.SIGSTOP)
        assert executor.look([job.id])
        yield executor


def test_an_order_behind_a_look_has_not_begun_so_its_time_does_not_run(yard: Yard) -> None:
    with looking(yard) as executor:
        executor.start([yard.order(Noop(1), timeout=0.2)])
        assert executor.wait(0.5) == []
        os.kill(executor.pids[0], signal.SIGCONT)
        found = outcomes(executor, 2)
    assert [type(outcome) for outcome in found] == [Looked, Reply]


def test_a_death_over_a_look_is_not_charged_to_the_order_behind_it(yard: Yard) -> None:
    order = yard.order(Noop(1))
    with looking(yard) as executor:
        executor.start([order])
        os.kill(executor.pids[0], signal.SIGKILL)
        (lost,) = losses([only(executor)])
    assert (lost.begun, lost.waiting) == ((), (order.id,))


def test_a_large_job_file_is_left_to_the_scheduler(yard: Yard) -> None:
    jobs = done(yard, Echo("x" * MAX_KEPT_BYTES), Write(Path("a.txt")))
    assert list(look(yard, [job.id for job in jobs])) == [jobs[1].id]
