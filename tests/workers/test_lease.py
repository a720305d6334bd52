"""Leases: who may be at work, who is waited for, and what keeps the term."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec import Raw, json
from msgspec.structs import replace

from runner.errors import StateError
from runner.store.files import ground, process_start, tmp_name, write_for, writer_is_gone, writer_of
from runner.store.pace import NAME, steady
from runner.workers import agent, lease
from runner.workers.exchange import Opening, Request, decode_answer, encode
from runner.workers.forkserver import ForkServer
from runner.workers.lease import Grant, grants, margin, new_agent, read_grant, settle, write_grant
from runner.workers.local import LocalExecutor
from runner.workers.orphans import clear_dead, clear_orphans
from runner.workers.port import Reply
from tests.workers.support import Yard, alive, losses, outcomes, pid_in, wait_for
from tests.workers.tasks import Noop, Sleep

AFAR = "0123abcd"


@pytest.fixture
def locks(yard: Yard) -> str:
    return str(yard.state / "locks")


def grant(agent: str = "", **about: object) -> Grant:
    terms: dict[str, object] = {"lease": 2.0, "place": "tcp://10.0.0.1:1", "host": "far", "ground": AFAR, "pid": 1}
    return Grant(agent=agent or new_agent(), **{**terms, **about})  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------- of an earlier runner


def test_who_cannot_be_seen_is_waited_for(locks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PATIENCE", 0.1)
    write_grant(locks, grant(), durable=True)
    said: list[str] = []
    began = time.monotonic()
    assert settle(locks, said.append)
    assert 2.0 + margin(2.0) <= time.monotonic() - began < 20
    assert grants(locks) == []
    assert len(said) == 1
    assert "may still be at work on far" in said[0]
    assert float(Path(locks, NAME).read_text()) == pytest.approx(steady(), abs=5), "one with a rate may have begun"
    assert not settle(locks, said.append)


def test_who_is_seen_to_be_gone_is_not(locks: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    start = process_start(child.pid) or ""
    write_grant(locks, grant(pid=child.pid, start=start, ground=ground()), durable=False)
    child.wait()
    began = time.monotonic()
    assert settle(locks, print)
    assert time.monotonic() - began < 1.5
    assert grants(locks) == []


def test_who_says_that_it_has_ended_is_not_waited_for(locks: str) -> None:
    first, second = grant(), grant()
    for each in (first, second):
        write_grant(locks, each, durable=False)
    asked: list[object] = []

    def dismiss(agents: object) -> list[str]:
        asked.append(agents)
        return [first.agent, second.agent]

    began = time.monotonic()
    assert settle(locks, print, dismiss)
    assert time.monotonic() - began < 1.5
    assert len(asked) == 1


def test_who_is_asked_and_does_not_answer_is_waited_for_no_longer_than_any(locks: str) -> None:
    write_grant(locks, grant(), durable=False)
    never = threading.Event()

    def dismiss(agents: object) -> list[str]:
        never.wait(60)
        return []

    began = time.monotonic()
    assert settle(locks, print, dismiss)
    assert time.monotonic() - began < 20
    never.set()


def test_what_cannot_be_read_counts_as_one_that_is_at_work(locks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE", 0.5)
    Path(locks, "agent-0123456789abcdef.json").write_text("{")
    assert [each.agent for each in grants(locks)] == ["0123456789abcdef"]
    settle(locks, print)
    assert os.listdir(locks) == [NAME]


def test_a_grant_is_read_as_it_was_written(locks: str) -> None:
    written = grant(address="tcp://10.0.0.1:8786")
    write_grant(locks, written, durable=True)
    write_grant(locks, written, durable=False)
    assert read_grant(locks, written.agent) == written
    assert read_grant(locks, "other") is None
    assert len(os.listdir(locks)) == 1


# ------------------------------------------------------------------------------------------------ the agent's side


def opened(yard: Yard, name: str, seconds: float) -> Request:
    """What makes an agent."""
    write_grant(str(yard.state / "locks"), grant(name, ground=ground()), durable=False)
    opening = Opening(
        settings=Raw(json.encode(yard.settings())),
        preload=("tests.workers.tasks",),
        modules=("tests",),
        most=1,
        lease=seconds,
        ground=ground(),
        package=agent.package_version(),
    )
    return Request(agent=name, opening=opening)


def test_an_agent_goes_on_only_while_it_hears_that_it_was_heard(yard: Yard) -> None:
    name = new_agent()

    def ask(**words: object) -> int:
        answer = decode_answer(agent.exchange(encode(Request(agent=name, **words))))  # type: ignore[arg-type]
        assert not answer.unknown
        return answer.number

    answer = decode_answer(agent.exchange(encode(opened(yard, name, 1.0))))
    while not answer.free:  # it imports
        answer = decode_answer(agent.exchange(encode(Request(agent=name, heard=answer.number, listen=0.2))))
    heard = ask(heard=answer.number, number=1, orders=(yard.order(Sleep(1, 60.0)),))
    pid = pid_in(Path("begun-1"))
    for number in range(2, 8):
        heard = ask(heard=heard, number=number)
        time.sleep(0.3)
    assert alive(pid), "as long as it hears, it goes on"
    began = time.monotonic()
    while alive(pid):
        agent.exchange(encode(Request(agent=name, heard=heard - 1, number=99)))
        time.sleep(0.05)  # it is spoken to all the while, but never hears that its answers are
    assert time.monotonic() - began < 5

    def is_closed() -> bool:
        answer = decode_answer(agent.exchange(encode(Request(agent=name, listen=0.01))))
        return answer.closed or answer.unknown

    wait_for("it is at rest, and has told so", is_closed)


def test_why_an_agent_has_ended_is_told_whenever_it_is_asked(yard: Yard) -> None:
    name = new_agent()
    (yard.root / "lacking.py").write_text("import none_of_this_name\n")
    request = opened(yard, name, 3.0)
    opening = request.opening
    assert opening is not None
    request = replace(request, opening=replace(opening, preload=("lacking",)))
    answer = decode_answer(agent.exchange(encode(request)))
    while not answer.closed:
        assert not answer.unknown
        time.sleep(0.05)
        answer = decode_answer(agent.exchange(encode(Request(agent=name, heard=answer.number, listen=0.2))))
        assert not answer.free
    assert "lacking cannot be imported: ModuleNotFoundError" in answer.failed


def test_orders_that_come_after_the_lease_are_not_begun(yard: Yard) -> None:
    name = new_agent()
    heard = decode_answer(agent.exchange(encode(opened(yard, name, 0.5)))).number
    time.sleep(0.6)
    late = Request(agent=name, heard=heard, number=1, orders=(yard.order(Sleep(1, 0.0)),))
    answer = decode_answer(agent.exchange(encode(late)))
    assert answer.closed or answer.unknown
    time.sleep(0.3)
    assert not Path("begun-1").exists()


def test_nothing_is_begun_for_a_runner_that_has_heard_nothing_yet(yard: Yard) -> None:
    name = new_agent()
    agent.exchange(encode(opened(yard, name, 1.0)))
    agent.exchange(encode(Request(agent=name, number=1, orders=(yard.order(Sleep(1, 0.0)),))))
    time.sleep(0.5)
    assert not Path("begun-1").exists()
    wait_for("its lease is over", lambda: name not in agent._agents)


# -------------------------------------------------------------------------------------- who keeps it if nobody else can


def test_workers_end_with_the_lease_whoever_stands_still(yard: Yard) -> None:
    """The process that forks them sees to it: here nobody does anything else."""
    executor = LocalExecutor(1, yard.settings(), ["tests.workers.tasks"], until=steady() + 30.0)
    try:
        wait_for("all is imported", lambda: executor.wait(0.02) or executor.free())
        executor.start([yard.order(Sleep(1, 60.0))])
        pid = pid_in(Path("begun-1"))
        executor.extend(steady() + 1.0)  # a shorter term than before changes nothing
        time.sleep(1.3)
        assert alive(pid)
    finally:
        executor.close()
    server = ForkServer(str(yard.root), (), until=steady() + 0.5)
    server.extend(steady() + 1.0)
    began = time.monotonic()
    server._process.wait(10)
    assert 0.8 < time.monotonic() - began < 5
    server.close()


def test_an_executor_whose_lease_is_over_works_no_more(yard: Yard) -> None:
    executor = LocalExecutor(1, yard.settings(), ["tests.workers.tasks"], until=steady() + 4.0)
    try:
        wait_for("all is imported", lambda: executor.wait(0.02) or executor.free())
        executor.start([yard.order(Noop(1))])
        assert all(isinstance(outcome, Reply) for outcome in outcomes(executor, 1))
        executor.start([yard.order(Sleep(1, 60.0))])
        pid = pid_in(Path("begun-1"))
        (lost,) = losses(outcomes(executor, 1))
        assert lost.outcome == "interrupted"
        wait_for("it is gone", lambda: not alive(pid))
        executor.start([yard.order(Noop(2))])
        with pytest.raises(StateError, match="no worker can be started"):
            outcomes(executor, 1)
    finally:
        executor.close()


# ----------------------------------------------------------------------------------------------------- names in files


def test_names_tell_for_whom_a_process_writes_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tmp_name("x")
    try:
        write_for("00000001")
        name = tmp_name("x")
        mine = writer_of(name)
        assert mine == (os.getpid(), process_start(os.getpid()), ground(), "00000001")
        assert mine.near
        assert not writer_is_gone(name)
        monkeypatch.setattr("runner.store.files.ground", lambda: AFAR)
        assert not mine.near
        assert writer_is_gone(name), "on another ground one cannot see it, and whoever asks has waited for it"
    finally:
        write_for("")
    assert writer_of(before) == (os.getpid(), process_start(os.getpid()), "", "")
    assert writer_of("nobody.x") is None


def test_lock_files_of_other_grounds_are_swept_and_of_other_agents_left(locks: str) -> None:
    for name in ("worker-77-1@0123abcd00000001.lock", f"worker-78-1@{ground()}00000002.lock"):
        Path(locks, name).touch()
    clear_orphans(locks, "00000003")
    assert len(os.listdir(locks)) == 2
    clear_orphans(locks)
    assert os.listdir(locks) == []


def test_an_agent_clears_up_after_the_dead_and_spares_the_living(locks: str) -> None:
    leader = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        start = process_start(leader.pid)
        Path(locks, f"worker-{leader.pid}-{start}@{ground()}00000001.lock").write_text(f"{leader.pid}\n")
        Path(locks, "worker-77-1@0123abcd00000001.lock").touch()
        clear_dead(locks)
        assert leader.poll() is None
        assert len(os.listdir(locks)) == 2
    finally:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait()
    clear_dead(locks)
    assert os.listdir(locks) == ["worker-77-1@0123abcd00000001.lock"], "of those elsewhere nothing can be told"
