"""Workers that die, of whatever: who is named with them, who is charged, and that work goes on. Real kills."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from runner.core.events import Failed, WorkerLost
from runner.errors import StateError
from runner.workers.local import LocalExecutor
from runner.workers.port import Order, Reply
from tests.workers.support import (
    Yard,
    alive,
    expect,
    losses,
    only,
    outcomes,
    pid_in,
    replies,
    wait_for,
    working,
)
from tests.workers.tasks import (
    Closes,
    Die,
    Forks,
    Greedy,
    Hold,
    LeavesChild,
    Lists,
    Meddles,
    Noop,
    Shuts,
    Sleep,
    Starts,
)


def orders(yard: Yard, *numbers: int) -> list[Order]:
    return [yard.order(Noop(number)) for number in numbers]


def cpu_time(pid: int) -> float:
    """Seconds that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def begun(number: int) -> bool:
    return Path(f"begun-{number}").exists()


DEATHS = [
    ("SIGKILL", "killed by SIGKILL"),
    ("SIGUSR1", "killed by SIGUSR1"),
    ("segfault", "killed by SIGSEGV"),
    ("abort", "killed by SIGABRT"),
    ("exit", "exited with code 3"),
]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies ready in a worker stays there, however long it takes to die."""
    monkeypatch.setattr("runner.workers.worker.LONG", 60.0)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(("how", "told"), DEATHS)
def test_a_death_costs_the_job_that_was_begun_and_no_other(yard: Yard, how: str, told: str) -> None:
    victim = yard.order(Die(how))
    with working(yard) as executor:
        expect(executor, Noop=1e-4, Die=1e-4)
        executor.start([*orders(yard, 1), victim, *orders(yard, 2, 3)])
        found = outcomes(executor, 2)
        (lost,) = losses(found)
        assert (lost.begun, len(lost.waiting), lost.outcome) == ((victim.id,), 2, "died")
        assert lost.message == f"its worker was {told}".replace("was exited", "exited")
        assert len(replies(found)) == 1
        executor.start([order for order in orders(yard, 2, 3) if order.id in lost.waiting])
        assert len(replies(outcomes(executor, 2))) == 2, "its worker was replaced"


def test_the_other_worker_is_not_touched(yard: Yard) -> None:
    with working(yard, 2) as executor:
        executor.start([yard.order(Hold(1)), yard.order(Die("SIGKILL", others=1))])
        lost = only(executor)
        assert isinstance(lost, WorkerLost)
        assert [id.partition("-")[0] for id in lost.begun] == ["Die"]
        Path("open").touch()
        assert isinstance(only(executor), Reply)


def test_sys_exit_in_a_task_is_a_failure_like_any_other(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(Die("sys.exit"))])
        reply = only(executor)
        (pid,) = executor.pids
        executor.start(orders(yard, 1))
        assert isinstance(only(executor), Reply)
        assert executor.pids == [pid], "it costs no worker"
    assert isinstance(reply, Reply)
    assert isinstance(reply.event, Failed)
    assert reply.error == "SystemExit: 3"


@pytest.mark.usefixtures("patience")
def test_with_threads_all_that_shared_a_worker_are_named_with_it(yard: Yard) -> None:
    begun_ones = [yard.order(Hold(1)), yard.order(Hold(2)), yard.order(Die("SIGKILL", others=2))]
    with working(yard, threads=3) as executor:
        expect(executor, Noop=1e-4, Hold=1e-4, Die=1e-4)
        executor.start([*begun_ones, *orders(yard, 1, 2)])
        lost = only(executor)
        assert isinstance(lost, WorkerLost)
        assert set(lost.begun) == {order.id for order in begun_ones}
        assert len(lost.waiting) == 2
        assert lost.guilty == ()


def test_a_suspect_is_alone_in_its_worker_whatever_else_is_started(yard: Yard) -> None:
    with working(yard, 2, threads=4) as executor:
        executor.start([yard.order(Hold(number)) for number in (1, 2, 3)])
        suspects = [yard.order(Die("SIGKILL"), alone=True), yard.order(Sleep(9, 0.1), alone=True)]
        executor.start([suspects[0], *orders(yard, *range(20)), suspects[1]])
        Path("open").touch()
        found = outcomes(executor, 25)
        (lost,) = losses(found)
        assert (lost.begun, lost.waiting) == ((suspects[0].id,), ())
        assert len(replies(found)) == 24


def test_a_single_worker_empties_itself_for_a_suspect(yard: Yard) -> None:
    with working(yard, 1, threads=2) as executor:
        executor.start([yard.order(Hold(1)), *orders(yard, 1)])
        suspect = yard.order(Noop(9), alone=True)
        executor.start([suspect])
        assert executor.free() == 0, "it gets nothing more until it is empty"
        wait_for("the first has begun", lambda: begun(1))
        Path("open").touch()
        assert suspect.id in replies(outcomes(executor, 3))
        assert executor.free() > 0


def test_a_child_that_holds_the_stream_does_not_hide_a_death(yard: Yard) -> None:
    """The child has all the worker's descriptors, and a session of its own: no signal to the group reaches it."""
    with working(yard) as executor:
        executor.start([yard.order(LeavesChild(1, "SIGKILL", session=True)), *orders(yard, 1)])
        lost = only(executor, 10)
        assert isinstance(lost, WorkerLost)
        assert lost.message == "its worker was killed by SIGKILL"
        executor.start(orders(yard, 1))
        assert isinstance(only(executor), Reply)
        child = pid_in(Path("child-1"))
        assert alive(child)
        os.kill(child, signal.SIGKILL)


def test_two_deaths_at_once_that_no_stream_tells_are_both_noticed(yard: Yard) -> None:
    with working(yard, 2) as executor:
        executor.start([yard.order(LeavesChild(number, "SIGKILL", session=True)) for number in (1, 2)])
        assert len(losses(outcomes(executor, 2, 10))) == 2
        for number in (1, 2):
            os.kill(pid_in(Path(f"child-{number}")), signal.SIGKILL)


def test_what_a_task_has_started_ends_with_its_worker(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(LeavesChild(1)), yard.order(Starts(["sleep", "60"])), yard.order(Die("SIGKILL"))])
        outcomes(executor, 3)
        for path in ("child-1", "program"):
            wait_for(f"{path} is gone", lambda path=path: not alive(pid_in(Path(path))), 5)
    with working(yard) as executor:
        executor.start([yard.order(LeavesChild(2))])
        only(executor)
    wait_for("and with the end of the run", lambda: not alive(pid_in(Path("child-2"))), 5)


def test_a_program_that_a_task_starts_gets_none_of_the_worker_s_descriptors(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(Lists(1))])
        reply = only(executor)
    listed = (yard.written(reply.event.record).result or {})["value"]  # type: ignore[union-attr]
    assert "socket:" not in listed
    assert str(yard.state) not in listed


@pytest.mark.parametrize("threads", [1, 3])
def test_a_worker_whose_stream_ends_before_it_does_is_ended(yard: Yard, threads: int) -> None:
    with working(yard, threads=threads) as executor:
        executor.start([yard.order(Closes(1))])
        start = time.monotonic()
        lost = only(executor)
        assert isinstance(lost, WorkerLost)
        assert lost.outcome == "died"
        assert time.monotonic() - start < 1.5
        assert not alive(pid_in(Path("closed")))


@pytest.mark.parametrize("threads", [1, 3])
def test_a_worker_whose_tickets_are_closed_is_replaced(yard: Yard, threads: int) -> None:
    with working(yard, threads=threads) as executor:
        executor.start([yard.order(Meddles("closes the tickets"))])
        pids = executor.pids
        assert isinstance(only(executor), Reply)
        executor.start(orders(yard, *range(threads + 6)))
        wait_for("it is gone", lambda: not executor.wait(0.1) and executor.pids != pids)
        executor.unbegun()
        assert not alive(pids[0])


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("threads", [1, 2])
def test_what_has_begun_behind_an_answer_that_did_not_come_has_begun(yard: Yard, threads: int) -> None:
    with working(yard, threads=threads) as executor:
        expect(executor, Meddles=1e-4, Sleep=1e-4, Noop=1e-4)
        meddles = yard.order(Meddles("writes on the stream", seconds=0.5))
        sleeps = [yard.order(Sleep(number, 60.0, output=Path(f"{number}.txt"))) for number in range(threads)]
        executor.start([meddles, *sleeps, *orders(yard, 1)])
        last = sleeps[-1]
        wait_for("the last one that can begins", lambda: any("-" + last.id[-16:] in name for name in yard.files()))
        (lost,) = losses(outcomes(executor, 1))
        assert set(lost.begun) == {meddles.id, *(order.id for order in sleeps)}
        assert lost.waiting == (orders(yard, 1)[0].id,)


def test_a_stream_that_does_not_wait_any_more_is_no_harm(yard: Yard) -> None:
    with working(yard, threads=2) as executor:
        executor.start([yard.order(Meddles("has the stream not wait")), *orders(yard, 1)])
        outcomes(executor, 2)
        (pid,) = executor.pids
        before, start = cpu_time(pid), time.monotonic()
        while time.monotonic() - start < 0.5:
            executor.wait(0.1)
        assert cpu_time(pid) - before < 0.2
        executor.start(orders(yard, 2))
        assert isinstance(only(executor), Reply)
        assert executor.pids == [pid]


def test_a_child_that_comes_back_from_run_answers_nothing(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(Forks(1)), *orders(yard, 1)])
        found = outcomes(executor, 2)
        assert executor.wait(0.1) == []
        assert executor.pids == [pid_in(Path("parent"))]
    (reply,) = [reply for id, reply in replies(found).items() if id.startswith("Forks")]
    assert (yard.written(reply.event.record).result or {})["value"] == "parent"  # type: ignore[union-attr]


# -------------------------------------------------------------------------------------------------- the fork server


@pytest.mark.parametrize("threads", [1, 2])
def test_when_the_fork_server_is_killed_nobody_is_charged_and_work_goes_on(yard: Yard, threads: int) -> None:
    with working(yard, 2, threads=threads) as executor:
        executor.start([yard.order(Hold(number)) for number in range(2 * threads)])
        wait_for("all have begun", lambda: all(begun(number) for number in range(2 * threads)))
        before = executor.pids
        os.kill(executor._crew.server._process.pid, signal.SIGKILL)
        found = losses(outcomes(executor, 2))
        assert {(lost.outcome, len(lost.begun), lost.guilty) for lost in found} == {("interrupted", threads, ())}
        Path("open").touch()
        executor.start(orders(yard, *range(10)))
        assert len(replies(outcomes(executor, 10))) == 10
        assert not set(before) & set(executor.pids)
        assert not any(alive(pid) for pid in before)


def test_the_same_where_a_child_holds_the_streams_open(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(LeavesChild(1, session=True))])
        only(executor)
        executor.start([yard.order(Hold(1))])
        wait_for("it has begun", lambda: begun(1))
        os.kill(executor._crew.server._process.pid, signal.SIGKILL)
        lost = only(executor, 10)
        assert isinstance(lost, WorkerLost)
        assert lost.outcome == "interrupted"
        os.kill(pid_in(Path("child-1")), signal.SIGKILL)


def test_when_it_was_killed_unnoticed_the_next_order_finds_out(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start(orders(yard, 1))
        only(executor)
        server = executor._crew.server._process
        os.kill(executor.pids[0], signal.SIGKILL)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        executor.start(orders(yard, 2))
        found = outcomes(executor, 1)
        if losses(found):
            assert losses(found)[0].outcome in ("interrupted", "died")
            executor.start(orders(yard, 2))
            found = outcomes(executor, 1)
        assert len(replies(found)) == 1


def test_when_it_is_killed_while_nobody_works_it_is_replaced(yard: Yard) -> None:
    """And nobody runs in circles at the end of its socket."""
    with working(yard) as executor:
        wait_for("it is ready", lambda: executor.wait(0.02) or executor.free())
        executor._crew.server._process.kill()
        waits, deadline = 0, time.monotonic() + 1.0
        while time.monotonic() < deadline:
            executor.wait(0.1)
            waits += 1
        assert waits < 50
        executor.start(orders(yard, 1))
        assert len(replies(outcomes(executor, 1))) == 1


def test_a_fork_server_that_cannot_start_is_an_error_and_no_endless_loop(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/true")
    with working(yard) as executor, pytest.raises(StateError, match="no worker can be started"):
        executor.start(orders(yard, 1))


# --------------------------------------------------------------------------------------------------- no job's fault


def hindered(executor: LocalExecutor) -> WorkerLost:
    """The only outcome: that no job is to blame for."""
    lost = only(executor)
    assert isinstance(lost, WorkerLost)
    assert (lost.outcome, lost.guilty) == ("hindered", ())
    assert executor.busy == 0
    return lost


@pytest.mark.parametrize("threads", [1, 2])
def test_a_worker_that_cannot_write_to_the_state_charges_nobody(yard: Yard, threads: int) -> None:
    with working(yard, threads=threads) as executor:
        executor.start(orders(yard, 1))
        only(executor)
        before = executor.pids
        shutil.rmtree(yard.state / "tmp")
        executor.start(orders(yard, 2))
        assert "tmp: No such file" in hindered(executor).message
        (yard.state / "tmp").mkdir()
        assert executor.pids == before, "others that it is at go on"


def test_a_worker_that_cannot_even_begin_tells_why(yard: Yard) -> None:
    (yard.state / "locks").rmdir()
    (yard.state / "locks").touch()
    with working(yard) as executor:
        executor.start(orders(yard, 1, 2))
        assert len(executor.unbegun()) == 2
        lost = hindered(executor)
        assert re.match("a worker cannot go on: File exists: /", lost.message)
        assert executor.pids == [], "and no other is started, that would do no better"


def test_a_job_file_that_was_damaged_on_its_way_is_told_by_name(yard: Yard) -> None:
    order = yard.order(Noop(1))
    with working(yard) as executor:
        executor.start([Order(id="Noop-0123456789abcdef", job=order.job)])
        assert re.search("a worker cannot go on: .*Noop-0123456789abcdef", hindered(executor).message)


def test_a_worker_whose_folders_a_task_has_closed_is_replaced_and_that_one_charged(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(Shuts(1))])
        lost = only(executor)
        assert isinstance(lost, WorkerLost)
        assert (lost.outcome, lost.message) == ("died", "a task has closed what its worker had open")
        executor.start(orders(yard, 1))
        assert isinstance(only(executor), Reply)


def test_a_worker_without_descriptors_is_replaced_and_the_job_that_met_it_is_charged(yard: Yard) -> None:
    """Some earlier task has leaked most of them."""
    with working(yard) as executor:
        executor.start([yard.order(Greedy(spared=1))])
        assert isinstance(only(executor), Reply)
        executor.start([yard.order(Greedy(spared=0))])
        lost = only(executor)
        assert isinstance(lost, WorkerLost)
        assert (len(lost.begun), lost.outcome, lost.message) == (1, "died", "its worker had too many open files")
        executor.start(orders(yard, 1))
        assert isinstance(only(executor), Reply)
