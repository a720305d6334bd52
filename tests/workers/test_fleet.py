"""A fleet of agents: all that is asked for is answered once, whatever is lost on the way, and nobody works when nobody
may. The agents are real, with worker processes of their own; only what carries words to them is the test's.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.core.events import Asked, Began, Failed, Finished, WorkerLost
from runner.errors import StateError
from runner.store.pace import NAME, steady
from runner.workers import agent
from runner.workers.exchange import Request, encode
from runner.workers.fleet import Fleet
from runner.workers.lease import grants, margin
from runner.workers.link import Joined
from runner.workers.port import Looked, Reply
from tests.workers.afar import Lines, a_fleet
from tests.workers.support import Yard, alive, losses, outcomes, pid_in, replies, wait_for
from tests.workers.tasks import Die, FindsMuch, Hold, Limited, Moody, Noop, Seeks, Sleep, Write

STEP = 0.02


def until_free(fleet: Fleet, count: int = 1) -> None:
    """Until so many orders are welcome."""
    wait_for("there is room", lambda: fleet.wait(STEP) or fleet.free() >= count)


def ran() -> list[int]:
    """Who was begun, in that order (see Moody)."""
    path = Path("ran")
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def locks(yard: Yard) -> list[str]:
    return sorted(os.listdir(yard.state / "locks"))


def test_every_order_is_answered_once(yard: Yard) -> None:
    with a_fleet(yard) as (fleet, link, _):
        fleet.start([yard.order(Noop(number)) for number in range(500)])
        assert fleet.busy == 500
        found = outcomes(fleet, 500)
        assert fleet.wait(0.1) == []
        assert fleet.busy == 0
        carried = [request for request in link.asked if request.orders]
        assert len(carried) < 200, "they travel in batches"
    assert len(replies(found)) == 500
    assert locks(yard) == [], "agents and workers have left nothing behind"


def test_what_is_lost_on_its_way_is_sent_again_and_done_once(yard: Yard) -> None:
    """Every third request, and every second answer to one that came."""
    words: Counter[str] = Counter()
    lost: Counter[str] = Counter()

    def loses(word: object) -> bool:
        name = type(word).__name__
        words[name] += 1
        gone = words[name] % {"Request": 3, "Answer": 2}[name] == 0
        lost[name] += gone
        return gone

    with a_fleet(yard, lease=20.0) as (fleet, link, _):
        until_free(fleet)
        link.loses = loses
        found = []
        for start in range(0, 200, 20):
            fleet.start([yard.order(Moody(number)) for number in range(start, start + 20)])
            found += outcomes(fleet, 20, seconds=60)
        link.loses = lambda word: False
    assert len(replies(found)) == 200
    assert sorted(ran()) == list(range(200))
    assert lost["Request"] > 1
    assert lost["Answer"] > 1


def test_no_more_workers_than_wished(yard: Yard) -> None:
    with a_fleet(yard, most=3, link=Lines({"one": 2, "two": 2, "three": 2})) as (fleet, _, _said):
        fleet.start([yard.order(Hold(number)) for number in range(6)])
        wait_for("three are at work", lambda: fleet.wait(STEP) or len(list(Path().glob("begun-*"))) == 3)
        time.sleep(0.3)
        assert len(list(Path().glob("begun-*"))) == 3
        Path("open").touch()
        assert len(replies(outcomes(fleet, 6))) == 6


def test_children_that_are_many_come_with_their_answer(yard: Yard) -> None:
    with a_fleet(yard) as (fleet, link, _):
        fleet.start([yard.order(FindsMuch(9_000, 100))])
        (reply,) = replies(outcomes(fleet, 1)).values()
        most = max(len(answer.told) for answer in link.answered)
    assert isinstance(reply.event, Finished)
    assert len(reply.event.children or ()) == 9_000
    assert most < 9_000 / agent.AT_ONCE * 20, "no answer holds all of them"


def test_nobody_waits_behind_a_slow_batch_mate(yard: Yard) -> None:
    """Both agents have a batch of what was quick so far; then one job hangs. Those behind it go to the other agent."""
    with a_fleet(yard) as (fleet, _, _said):
        fleet.start([yard.order(Moody(number)) for number in range(100)])
        outcomes(fleet, 100)
        began = time.monotonic()
        slow = yard.order(Moody(1000, held=True))
        fleet.start([slow, *(yard.order(Moody(number)) for number in range(1001, 1101))])
        found = outcomes(fleet, 100, seconds=10)
        took = time.monotonic() - began
        assert slow.id not in replies(found)
        Path("open-1000").touch()
        assert slow.id in replies(outcomes(fleet, 1))
    assert took < agent.BOUND + 2.0  # the bound is measured in bench/, where nobody else is at work
    assert len(ran()) == len(set(ran()))


def test_time_outs_deaths_and_failures_are_told_as_from_workers_of_one_s_own(yard: Yard) -> None:
    with a_fleet(yard) as (fleet, _, _said):
        slow, dying = yard.order(Limited(1, 30.0), timeout=0.3), yard.order(Die("SIGKILL"))
        fleet.start([slow])
        (lost,) = losses(outcomes(fleet, 1))
        assert (lost.outcome, lost.guilty) == ("timeout", (slow.id,))
        assert os.uname().nodename in lost.message
        fleet.start([dying])
        (lost,) = losses(outcomes(fleet, 1))
        assert (lost.outcome, lost.begun) == ("died", (dying.id,))
        assert "SIGKILL" in lost.message


def test_outputs_are_in_place_before_a_job_is_asked_for_its_children(yard: Yard) -> None:
    with a_fleet(yard) as (fleet, _, _said):
        order = yard.order(Seeks("out/list.txt", "a b c"))
        fleet.start([order])
        (reply,) = replies(outcomes(fleet, 1)).values()
        assert isinstance(reply.event, Finished)
        assert (yard.root / "out/list.txt").read_text() == "a b c"
        assert len(reply.event.children or ()) == 3
        assert reply.event.deliver == ()
        made = yard.written(reply.event.record)
        assert made.result is not None
        assert len(made.result["found"]) == 3
        assert made.result["outputs"]["out/list.txt"]["bytes"] == 5
        assert len(made.attempts) == 1
        litter = fleet.close()
        assert len([name for name in os.listdir(yard.state / "tmp") if name not in litter]) == 4, "record and children"
        log = (yard.state / "logs" / f"{order.id}.log").read_text()
        assert log.count("--- run") == 1
        assert log.splitlines()[1:] == ["seeking", "asked"]


def test_outputs_that_cannot_be_put_in_place_fail_their_job(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object, pairs: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", "out/list.txt")

    monkeypatch.setattr("runner.workers.bench.Bench.publish", refuse)
    with a_fleet(yard) as (fleet, _, _said):
        fleet.start([yard.order(Seeks("out/list.txt", "a"))])
        (reply,) = replies(outcomes(fleet, 1)).values()
        assert isinstance(reply.event, Failed)
        assert "No such file or directory" in reply.error
        assert yard.failed(reply)["outcome"] == "failed"


# ------------------------------------------------------------------------------------------------------------ leases


def test_who_is_cut_off_is_given_up_when_its_workers_are_gone(yard: Yard) -> None:
    """Neither side hears the other. Its workers end with its lease, and only then what it had is for others."""
    with a_fleet(yard, lease=2.0) as (fleet, link, said):
        until_free(fleet, 2)
        fleet.start([yard.order(Sleep(1, 60.0))])
        pid = pid_in(Path("begun-1"))
        (lane,) = [lane for lane, member in fleet._members.items() if member.orders]
        link.cut.add(lane)
        cut = time.monotonic()
        while not (found := fleet.wait(STEP)):
            assert time.monotonic() < cut + 20
        assert not alive(pid)
        (lost,) = losses(found)
        assert time.monotonic() - cut > margin(2.0)
        assert len(lost.begun) == 1
        assert any("not heard" in line for line in said), said
        link.cut.clear()
        until_free(fleet, 2)  # another agent has been opened there


def test_what_somebody_says_who_was_given_up_does_not_count(yard: Yard) -> None:
    """As with a machine that stood still past its lease, and went on: its answer comes when the job is another's."""

    def long_lease(request: Request) -> Request:
        opening = request.opening
        return replace(request, opening=replace(opening, lease=60.0)) if opening is not None else request

    link = Lines({"one": 1}, alters=long_lease)
    with a_fleet(yard, lease=2.0, link=link) as (fleet, _, _said):
        until_free(fleet)
        (name,) = [member.name for member in fleet._members.values()]
        order = yard.order(Seeks("out/list.txt", "first", wait="go"))
        fleet.start([order])
        wait_for("it is at work", lambda: fleet.wait(STEP) or Path("begun-go").exists())
        link.cut.add("one")
        link.alters = lambda request: request
        (lost,) = losses(outcomes(fleet, 1))
        assert lost.begun == (order.id,)
        link.cut.clear()
        Path("go").touch()  # the first one ends now, and says so to nobody who listens
        wait_for("it has ended", lambda: fleet.wait(STEP) or agent._agents[name]._told)
        assert not Path("out/list.txt").exists()
        until_free(fleet)
        again = yard.order(Seeks("out/list.txt", "second"))
        assert again.id == order.id
        fleet.start([again])
        (reply,) = replies(outcomes(fleet, 1)).values()
        assert isinstance(reply.event, Finished)
        assert Path("out/list.txt").read_text() == "second"
        assert fleet.wait(0.2) == []
        agent.exchange(encode(Request(agent=name, number=99, close=True)))


def test_who_has_died_is_given_up_at_once_on_our_own_ground(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_fleet(yard, lease=8.0) as (fleet, link, said):
        until_free(fleet, 2)
        fleet.start([yard.order(Sleep(1, 60.0))])
        pid_in(Path("begun-1"))
        (member,) = [member for member in fleet._members.values() if member.orders]
        link.cut.add(member.lane)
        for _ in range(20):
            fleet.wait(STEP)
        assert member.process is not None
        member.process = replace(member.process, start="1")  # as if that process were gone
        began = time.monotonic()
        (lost,) = losses(outcomes(fleet, 1))
        assert time.monotonic() - began < 15.0
        assert lost.outcome == "died"
        assert any("died" in line for line in said)
        link.cut.clear()


def test_a_close_waits_until_nobody_can_be_at_work(yard: Yard) -> None:
    link = Lines({"one": 1})
    with a_fleet(yard, lease=2.0, link=link) as (fleet, _, _said):
        until_free(fleet)
        fleet.start([yard.order(Sleep(1, 60.0))])
        pid = pid_in(Path("begun-1"))
        link.cut.add("one")
        fleet.close()
        assert not alive(pid)
    assert grants(str(yard.state / "locks")) == []


def test_what_nobody_has_begun_is_taken_back(yard: Yard) -> None:
    with a_fleet(yard, link=Lines({"one": 1})) as (fleet, _, _said):
        until_free(fleet)
        fleet.start([yard.order(Hold(1))])
        pid_in(Path("begun-1"))
        others = [yard.order(Noop(number)) for number in range(50)]
        fleet.start(others)
        for _ in range(10):
            fleet.wait(STEP)
        assert set(fleet.unbegun()) == {order.id for order in others}
        assert fleet.free() == 0
        assert fleet.busy == 1
        Path("open").touch()
        assert len(replies(outcomes(fleet, 1))) == 1


def test_a_job_that_is_half_way_is_brought_to_its_end(yard: Yard) -> None:
    """It has begun: what is taken back is not for another run to begin with."""
    with a_fleet(yard, link=Lines({"one": 1})) as (fleet, _, _said):
        until_free(fleet)
        order = yard.order(Seeks("out/list.txt", "a"))
        fleet.start([order])
        wait_for("it is half way", lambda: fleet._hear(STEP, fleet._words) or fleet._staged)
        assert fleet.unbegun() == ()
        (reply,) = replies(outcomes(fleet, 1)).values()
        assert isinstance(reply.event, Finished)


# ------------------------------------------------------------------------------------------------- who cannot work


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("version", "is version 0.0.9"),
        ("project", "does not see the project"),
        ("state", "another folder than the runner's"),
        ("module", "has no module 'tests'"),
    ],
)
def test_who_cannot_work_says_why(yard: Yard, monkeypatch: pytest.MonkeyPatch, what: str, reason: str) -> None:
    match what:
        case "version":
            monkeypatch.setattr(agent, "version", lambda name: "0.0.9")
            monkeypatch.setattr("runner.workers.roster.package_version", lambda: "1.0")
        case "project":
            monkeypatch.setattr(agent.os.path, "isdir", lambda path: False)
        case "state":
            monkeypatch.setattr(agent, "read_grant", lambda locks, name: None)
        case "module":
            monkeypatch.setattr(agent, "has_module", lambda module, root: False)
    with a_fleet(yard) as (fleet, _, said):
        fleet.start([yard.order(Noop(1))])
        with pytest.raises(StateError, match=f"no worker can be used.*{reason}"):
            outcomes(fleet, 1)
        assert any(f"on {os.uname().nodename} cannot be used: " in line and reason in line for line in said), said


def test_one_who_can_work_is_enough(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    real = agent._unfitness
    refused: list[str] = []

    def picky(opening: object, name: str) -> str | None:
        refused.append(name)
        return "it is in a bad mood" if len(refused) == 1 else real(opening, name)  # type: ignore[arg-type]

    monkeypatch.setattr(agent, "_unfitness", picky)
    with a_fleet(yard) as (fleet, _, said):
        fleet.start([yard.order(Noop(number)) for number in range(20)])
        assert len(replies(outcomes(fleet, 20))) == 20
        assert sum("bad mood" in line for line in said) == 1


def test_without_a_worker_one_waits_and_goes_on_when_there_is_one(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.workers.roster.ALONE", 0.2)
    link = Lines({"one": 1})
    with a_fleet(yard, link=link) as (fleet, _, said):
        until_free(fleet)
        link.leave("one")
        for member in fleet._members.values():
            member.at_rest = True
        fleet.start([yard.order(Noop(1))])
        wait_for("it is said", lambda: fleet.wait(STEP) or any("waiting for one (start one)" in line for line in said))
        link.say(Joined("one", 1))
        found = outcomes(fleet, 1)
        assert isinstance(found[0], Reply | WorkerLost)
        assert said[-1].startswith("going on")


# ------------------------------------------------------------------------------------------------------ far away


def test_on_another_machine_clocks_differ_and_what_is_written_is_synced_there(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "ground", lambda: "elsewher")
    with a_fleet(yard, durable=True) as (fleet, link, _):
        until_free(fleet)
        before = steady()
        fleet.start([yard.order(Write("out/a.txt"), paced=True)])
        found = outcomes(fleet, 2)
        while not replies(found):  # if it took long to say that it begins, it says so again
            found += fleet.wait(STEP)
        assert all(before <= outcome.at <= steady() for outcome in found if isinstance(outcome, Began))
        told = [each for answer in link.answered for each in answer.told if isinstance(each, Began)]
        assert told
        assert all(each.at <= 0 for each in told), "it says how long ago that was"
        noted = float((yard.state / "locks" / NAME).read_text())
        assert noted >= before
        (reply,) = replies(found).values()
        assert reply.elsewhere == "", "that warning is for other file systems"


def test_litter_is_unlinked_by_an_agent(yard: Yard) -> None:
    (yard.state / "tmp" / "old").touch()
    with a_fleet(yard) as (fleet, _, _said):
        until_free(fleet)
        fleet.start([yard.order(Noop(1))], ["old"])
        outcomes(fleet, 1)
        wait_for("it is gone", lambda: fleet.wait(STEP) or not (yard.state / "tmp" / "old").exists())
        assert list(fleet.close()) == []


def test_idle_workers_look_at_done_jobs(yard: Yard) -> None:
    done = yard.finished(yard.perform(Noop(1)))
    with a_fleet(yard) as (fleet, _, _said):
        until_free(fleet)
        wait_for("somebody is idle", lambda: fleet.wait(STEP) or fleet.look([done.id]))
        (looked,) = outcomes(fleet, 1)
        assert isinstance(looked, Looked)
        assert [sight.job.id for sight in looked.sights] == [done.id]


def test_a_done_job_is_asked_for_its_children(yard: Yard) -> None:
    Path("out").mkdir()
    Path("out/list.txt").write_text("a b")
    with a_fleet(yard) as (fleet, _, _said):
        fleet.start([yard.order(Seeks("out/list.txt", "a b"), ask=True)])
        (reply,) = replies(outcomes(fleet, 1)).values()
        assert isinstance(reply.event, Asked)
        assert len(reply.event.children) == 2
