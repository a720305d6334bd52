"""A fleet that is struck: what goes wrong is told of, charged to nobody who is not to blame, and never for ever."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.errors import Busy, StateError
from runner.store.pace import steady
from runner.workers import agent, fleet, member, roster
from runner.workers.exchange import Answer, Request, encode
from runner.workers.fleet import Fleet
from runner.workers.lease import grants
from runner.workers.link import Broke, Came, Cut, Left
from runner.workers.local import LocalExecutor
from runner.workers.port import Outcome
from tests.workers.afar import Lines, a_fleet
from tests.workers.support import Yard, alive, losses, outcomes, pid_in, replies, wait_for
from tests.workers.tasks import Hold, Moody, Noop, Sleep
from tests.workers.test_fleet import STEP, ran, until_free


def busy_until_idle(crew: Fleet, seconds: float = 10.0) -> list[Outcome]:
    """What comes until nothing is left to wait for."""
    found: list[Outcome] = []
    deadline = time.monotonic() + seconds
    while crew.busy:
        assert time.monotonic() < deadline, f"{crew.busy} are still waited for: {found}"
        found += crew.wait(0.05)
    return found


def passes(crew: Fleet, seconds: float) -> list[Outcome]:
    found: list[Outcome] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found += crew.wait(STEP)
    return found


def begun(task: Hold) -> bool:
    return Path(f"begun-{task.number}").exists()


def end(there: member.Member) -> None:
    """Somebody ends that agent."""
    agent.exchange(encode(Request(agent=there.name, number=1 << 40, close=True)))


# ----------------------------------------------------------------------------------------------------- a run that stops


def test_what_is_handed_back_late_is_handed_back(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the recall comes when nobody waits for it any more: its orders are nobody's, and known to be."""
    monkeypatch.setattr(fleet, "RECALL", 0.1)

    def late(word: Request | Answer) -> bool:
        if isinstance(word, Answer) and word.back:
            time.sleep(0.5)
        return False

    with a_fleet(yard, lease=20, link=Lines({"one": 1})) as (crew, link, _):
        until_free(crew)
        crew.start([yard.order(Moody(number)) for number in range(100)])
        outcomes(crew, 100)
        link.loses = late
        others = [yard.order(Moody(number)) for number in range(1001, 1021)]
        crew.start([yard.order(Moody(1000, held=True)), *others])
        wait_for("the first has begun", lambda: 1000 in ran())
        back = crew.unbegun()
        Path("open-1000").touch()
        found = busy_until_idle(crew)
        lost = {id for each in losses(found) for id in each.waiting}
        assert {*back, *lost} == {order.id for order in others}, "each once, and nothing else"
        assert all(each.outcome == "interrupted" and not each.begun for each in losses(found))
        assert ran() == [*range(100), 1000]


def test_what_comes_back_while_a_run_stops_is_not_begun(yard: Yard) -> None:
    """An agent gave it back by itself, a moment before it was asked to."""
    with a_fleet(yard, lease=20, link=Lines({"one": 1})) as (crew, _, _said):
        until_free(crew)
        crew.start([yard.order(Moody(number)) for number in range(50)])
        outcomes(crew, 50)
        others = [yard.order(Moody(number)) for number in range(1001, 1011)]
        crew.start([yard.order(Moody(1000, held=True)), *others])
        time.sleep(0.6)  # they have come back, and the fleet has not heard of it yet
        back = crew.unbegun()
        Path("open-1000").touch()
        found = busy_until_idle(crew)
        lost = [id for each in losses(found) for id in each.waiting]
        assert sorted([*back, *lost]) == sorted(order.id for order in others)
        assert max(ran()) == 1000


# ------------------------------------------------------------------------------------------------------------- messages


@pytest.mark.parametrize("lease", [2.0, 5.0])
def test_one_message_that_is_lost_costs_nothing(yard: Yard, lease: float) -> None:
    """It listens, and nobody hears that it does until the answer is overdue."""

    class Loses(Lines):
        lost = 0
        armed = False

        def _ask(self, lane: str, name: str, way: int, data: bytes, seconds: float) -> None:
            if self.armed and way == member.LISTEN and not self.lost:
                self.lost += 1
                time.sleep(seconds)
                self.say(Broke(lane, name, way))
                return
            super()._ask(lane, name, way, data, seconds)

    link = Loses({"one": 1})
    with a_fleet(yard, lease=lease, link=link) as (crew, _, said):
        until_free(crew)
        crew.start([yard.order(Sleep(1, lease * 1.7))])
        pid_in(Path("begun-1"))
        link.armed = True
        assert replies(outcomes(crew, 1, seconds=lease * 2 + 10)), said
        assert link.lost == 1
        assert said == []


def test_an_answer_that_is_none_is_one_that_did_not_come(yard: Yard) -> None:
    with a_fleet(yard, link=Lines({"one": 1})) as (crew, link, _):
        until_free(crew)
        (there,) = crew._members.values()
        link.say(Came("one", there.name, member.LISTEN, b"<html>"))
        crew.start([yard.order(Noop(1))])
        assert replies(outcomes(crew, 1))


# ------------------------------------------------------------------------------------------------------------ who pays


def test_what_may_never_have_arrived_is_charged_to_nobody(yard: Yard) -> None:
    with a_fleet(yard, lease=2.0, link=Lines({"one": 1})) as (crew, link, _):
        until_free(crew)
        link.cut.add("one")
        order = yard.order(Hold(7))
        crew.start([order])
        (lost,) = losses(outcomes(crew, 1))
        assert (lost.begun, lost.outcome) == ((order.id,), "interrupted")
        assert not Path("begun-7").exists()
        link.cut.clear()


def test_the_runner_s_own_pause_is_charged_to_nobody(yard: Yard) -> None:
    """As with Ctrl-Z. The agent has ended its work by itself, and says so."""
    with a_fleet(yard, lease=2.0, link=Lines({"one": 1})) as (crew, _, _said):
        until_free(crew)
        order = yard.order(Sleep(1, 60.0))
        crew.start([order])
        pid = pid_in(Path("begun-1"))
        passes(crew, 0.3)
        time.sleep(4.0)
        (lost,) = losses(outcomes(crew, 1))
        assert not alive(pid)
        assert (lost.begun, lost.outcome) == ((order.id,), "interrupted")


def test_what_was_done_during_a_pause_is_done(yard: Yard) -> None:
    """Its agent has ended since, with its lease. What it had to tell is kept."""
    with a_fleet(yard, lease=2.0, link=Lines({"one": 1})) as (crew, _, _said):
        until_free(crew)
        crew.start([yard.order(Sleep(1, 0.5))])
        pid_in(Path("begun-1"))
        passes(crew, 0.1)
        time.sleep(4.0)
        assert replies(outcomes(crew, 1))


def test_a_dask_scheduler_that_takes_its_workers_along_is_charged_to_nobody(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers on other machines: nobody can see that they are gone, so it is known late; and by then there is another
    scheduler."""
    monkeypatch.setattr(agent, "ground", lambda: "0123abcd")
    with a_fleet(yard, lease=2.0, link=Lines({"one": 1})) as (crew, link, _):
        until_free(crew)
        order = yard.order(Sleep(1, 60.0))
        crew.start([order])
        pid_in(Path("begun-1"))
        link.cut.add("one")
        link.say(Cut("no Dask scheduler answers"))
        link.leave("one")
        passes(crew, 0.4)
        link.say(Cut(""))
        (lost,) = losses(outcomes(crew, 1))
        assert (lost.begun, lost.outcome) == ((order.id,), "interrupted")
        link.cut.clear()


def test_who_takes_its_agent_along_is_found_and_others_are_not_charged(yard: Yard) -> None:
    """As when a machine runs out of memory: with others, then alone with an agent. There it is charged."""
    with a_fleet(yard, lease=4.0, link=Lines({"one": 2, "two": 2})) as (crew, _, _said):
        until_free(crew, 2)
        tasks = [Hold(number) for number in range(4)]
        orders = [yard.order(task) for task in tasks]
        crew.start(orders)
        wait_for("all are at work", lambda: crew.wait(STEP) or all(map(begun, tasks)))
        there = next(each for each in crew._members.values() if orders[0].id in each.orders)
        end(there)
        (lost,) = losses(outcomes(crew, 1))
        assert len(lost.begun) == 2
        suspects = [task for task, order in zip(tasks, orders, strict=True) if order.id in lost.begun]
        for task in suspects:
            Path(f"begun-{task.number}").unlink()
        until_free(crew)
        crew.start([yard.order(task, alone=True) for task in suspects])
        wait_for("one is at work", lambda: crew.wait(STEP) or any(map(begun, suspects)))
        passes(crew, 0.5)
        (one,) = filter(begun, suspects)
        (there,) = [each for each in crew._members.values() if yard.order(one).id in each.orders]
        assert len(there.orders) == 1, "the other waits: the other agent is not empty"
        assert there.free == there.vacant == crew.free() == 0
        end(there)
        (lost,) = losses(outcomes(crew, 1))
        assert lost.begun == (yard.order(one).id,), "so it is known who that was"
        Path("open").touch()
        assert len(replies(outcomes(crew, 3))) == 3


# ----------------------------------------------------------------------------------------------------- never for ever


@pytest.mark.parametrize("others", [False, True])
def test_who_cannot_be_asked_any_more_may_be_at_work(yard: Yard, others: bool) -> None:
    """The first was given something: what it has is for others only when its lease is over."""
    with a_fleet(yard, lease=2.0, link=Lines({"one": 1, "two": 1} if others else {"one": 1})) as (crew, link, _):
        until_free(crew, 2 if others else 1)
        crew.start([yard.order(Sleep(1, 60.0))])
        pid = pid_in(Path("begun-1"))
        (there,) = [each for each in crew._members.values() if each.orders]
        link.loses = lambda word: isinstance(word, Request) and word.agent == there.name
        link.say(Broke(there.lane, there.name, member.LISTEN, "it cannot be asked (RuntimeError: no new thread)"))
        passes(crew, 0.3)
        assert alive(pid)
        assert there.name in {grant.agent for grant in grants(str(yard.state / "locks"))}
        (lost,) = losses(outcomes(crew, 1))
        assert len(lost.begun) == 1
        assert not alive(pid)
        link.loses = lambda word: False
        until_free(crew)


def test_who_could_not_be_asked_and_has_left_is_forgotten(yard: Yard) -> None:
    """Not even then is there nobody who can work: there is nobody."""
    link = Lines({"one": 1}, loses=lambda word: True)
    with a_fleet(yard, link=link) as (crew, _, _said):
        crew.wait(STEP)
        (there,) = crew._members.values()
        link.say(Broke("one", there.name, member.BRING, "it has no module 'runner'"))
        link.say(Left("one"))
        passes(crew, 0.5)
        assert crew.free() == 0


def test_an_agent_that_stands_still_keeps_no_lease(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process answers, but the thread that does the work does not get on."""
    go_on = threading.Event()
    start: Callable[..., Any] = LocalExecutor.start

    def stuck(self: LocalExecutor, *arguments: Any) -> None:
        go_on.wait(30)
        start(self, *arguments)

    monkeypatch.setattr(agent.LocalExecutor, "start", stuck)
    with a_fleet(yard, lease=2.0, link=Lines({"one": 1})) as (crew, _, said):
        until_free(crew)
        crew.start([yard.order(Noop(1))])
        began = time.monotonic()
        assert losses(outcomes(crew, 1))
        assert any("not heard" in line for line in said)
        crew.close()
        assert time.monotonic() - began < 15
        go_on.set()


def test_a_place_that_never_answers_takes_nobody_s_place(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "OPENING", 1.0)
    link = Lines({"one": 1, "two": 1})
    link.cut.add("one")
    with a_fleet(yard, lease=2.0, link=link, most=1) as (crew, _, said):
        crew.start([yard.order(Noop(1))])
        assert replies(outcomes(crew, 1))
        assert said == ["the worker one does not answer: others are asked first"]
        link.cut.clear()


def test_a_worker_that_cannot_be_ended_ends_no_run(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its disk is frozen, say. What its agent had is for others only when it has ended."""
    clear: Callable[..., int] = roster.clear_orphans
    hangs = threading.Event()

    def hanging(locks: str, name: str) -> int:
        if hangs.is_set():
            raise Busy("a worker of an earlier run is alive and cannot be ended: pid 7")
        return clear(locks, name)

    monkeypatch.setattr(roster, "clear_orphans", hanging)
    with a_fleet(yard, lease=2.0, link=Lines({"one": 1, "two": 1})) as (crew, _, said):
        until_free(crew, 2)
        crew.start([yard.order(Hold(1))])
        pid_in(Path("begun-1"))
        (there,) = [each for each in crew._members.values() if each.orders]
        hangs.set()
        end(there)
        there.until = steady() - 1.0
        assert passes(crew, 1.0) == []
        waits, deadline = 0, time.monotonic() + 1.0
        while time.monotonic() < deadline:
            crew.wait(None)
            waits += 1
        assert waits < 60, "nobody runs in circles meanwhile"
        assert set(said) == {"a worker of an earlier run is alive and cannot be ended: pid 7"}
        crew.start([yard.order(Noop(2))])
        assert replies(outcomes(crew, 1)), "the others go on"
        hangs.clear()
        assert losses(outcomes(crew, 1))


def test_the_process_that_forks_workers_dies_and_imports_take_longer_than_a_lease(yard: Yard) -> None:
    """Nobody waits for them: meanwhile the lease goes on."""
    (yard.root / "slow.py").write_text("import time\ntime.sleep(float(open('seconds').read()))\n")
    (yard.root / "seconds").write_text("0")
    link, said = Lines({"one": 1}), list[str]()
    crew = Fleet(link, yard.settings(), ["slow", "tests.workers.tasks"], most=None, lease=2.0, say=said.append)
    try:
        until_free(crew)
        crew.start([yard.order(Noop(1))])
        assert replies(outcomes(crew, 1))
        (yard.root / "seconds").write_text("4")
        (server,) = children_with("forkserver")
        os.kill(server, signal.SIGKILL)
        passes(crew, 0.3)
        crew.start([yard.order(Noop(2))])
        assert outcomes(crew, 1)
        crew.start([yard.order(Noop(3))])
        assert replies(outcomes(crew, 1))
        assert said == []
    finally:
        crew.close()


def children_with(word: str) -> list[int]:
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            parent = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and word in Path(f"/proc/{name}/cmdline").read_text():
                found.append(int(name))
        except OSError:
            continue
    return found


# --------------------------------------------------------------------------------------------------- who cannot work


def test_what_cannot_be_imported_there_is_told_and_costs_no_job(yard: Yard) -> None:
    """Though the runner can."""
    (yard.root / "lacking.py").write_text("import none_of_this_name\n")
    said: list[str] = []
    crew = Fleet(
        Lines({"one": 1}), yard.settings(), ["lacking", "tests.workers.tasks"], most=None, lease=3.0, say=said.append
    )
    try:
        crew.start([yard.order(Noop(1))])
        with pytest.raises(StateError, match=r"no worker can be used.*No module named 'none_of_this_name'"):
            outcomes(crew, 2)
        assert any("lacking cannot be imported: ModuleNotFoundError" in line for line in said)
    finally:
        crew.close()
