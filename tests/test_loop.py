"""The shell around the rule book: what is on disk before what is said, who waits for whom, and how it ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from runner.batch import propose
from runner.core.events import Invalidated, WorkerLost
from runner.core.model import Limit, Proposal, Status
from runner.errors import StateError
from runner.workers.port import Order
from runner.workers.staging import staging_path
from tests.rig import Rig, files, id_of
from tests.store.support import DurableFiles
from tests.workers import tasks
from tests.workers.tasks import Act, Copied, Finder, Hasty, Noop, Once, Rated, Write

pytestmark = pytest.mark.usefixtures("project")

NEXT = "20261123T020000Z"


def lost(begun: tuple[str, ...], waiting: tuple[str, ...] = (), outcome: str = "died") -> WorkerLost:
    return WorkerLost(begun=begun, waiting=waiting, outcome=outcome, message="its worker was killed by SIGKILL")


# -------------------------------------------------------------------------------------------------- the protocol


def test_a_graph_is_worked_off_in_its_order(project: Path) -> None:
    rig = Rig()
    first, second, third = Write("a.txt"), Copied("a.txt", "b.txt"), Copied("b.txt", "c.txt")
    assert rig.work([third, first, second])
    assert [id for id, status in rig.moves if status == "done"] == [id_of(first), id_of(second), id_of(third)]
    assert Path("c.txt").read_text() == "text\n"
    assert rig.counts() == {"done": 3}


def test_a_launch_goes_out_when_its_move_is_on_disk(project: Path) -> None:
    rig = Rig()
    seen: list[str] = []

    def check(order: Order) -> None:
        seen.append(order.id)
        assert Path("state", "running", f"{order.id}.json").exists()
        assert not Path("state", "pending", f"{order.id}.json").exists()

    rig.executor.before_start = check
    assert rig.work([Noop(number) for number in range(10)])
    assert len(seen) == 10


def test_children_are_on_disk_before_their_finder_is_done(project: Path) -> None:
    rig = Rig()
    children = [Noop(1), Noop(2)]
    tasks.CHILDREN["nothing"] = lambda task: children
    finder = id_of(Finder("nothing"))
    there: list[bool] = []

    def look(fd: int, name: str, to_fd: int, to_name: str) -> None:
        if to_name == f"{finder}.json" and to_fd == rig.store.shelf.fds["done"]:
            there.append(all(rig.store.find(id_of(child)) is not None for child in children))
        rename(fd, name, to_fd, to_name)

    rename = rig.store.shelf.files.rename
    rig.store.shelf.files.rename = look  # type: ignore[method-assign]
    assert rig.work([Finder("nothing")])
    assert there == [True]
    assert rig.counts() == {"done": 3}


def test_with_power_durability_nothing_is_committed_before_its_group_is_synced(project: Path) -> None:
    before = threading.enumerate()  # of other tests, which have crashed on purpose
    files = DurableFiles()  # complains about a rename out of tmp/ of what no sync has seen
    rig = Rig(durability="power", files=files)
    assert rig.work([Noop(number) for number in range(50)])
    assert rig.counts() == {"done": 50}
    assert files.renamed >= 100
    assert 2 <= files.syncs <= 60
    assert not any(thread.name == "sync" for thread in threading.enumerate() if thread not in before)


def test_where_a_file_system_cannot_be_synced_as_a_whole_the_staged_outputs_are_synced_each(project: Path) -> None:
    synced: list[str] = []

    class Each(DurableFiles):
        def sync_file(self, folder: int, name: str) -> None:
            synced.append(name)
            super().sync_file(folder, name)

    rig = Rig(durability="power", files=Each(syncfs=False))
    assert rig.work([Write(f"data/{number}.txt") for number in range(3)])
    assert sum(os.path.dirname(name) == "data" and os.path.basename(name).startswith(".") for name in synced) == 3


# ------------------------------------------------------------------------------------------------- a large batch

MANY = 300  # jobs: a few parts


@pytest.mark.parametrize("durability", ["process", "power"])
def test_workers_begin_while_the_rest_of_a_large_batch_is_still_to_enter(project: Path, durability: str) -> None:
    files = DurableFiles()
    rig = Rig(durability=durability, files=files if durability == "power" else None)
    to_come: list[int] = []
    rig.executor.before_start = lambda order: to_come.append(rig.engine.entering)
    assert rig.work([Noop(number) for number in range(MANY)])
    assert to_come[0] > MANY / 2
    assert rig.counts() == {"done": MANY}
    assert files.syncs < MANY


def test_the_roots_are_told_to_be_there_when_all_of_them_are_durable(project: Path) -> None:
    files = DurableFiles()
    rig = Rig(durability="power", files=files)
    told: list[dict[str, int]] = []

    def entered() -> None:
        assert not files.fragile
        told.append(rig.counts())

    rig.recover()
    rig.loop.submit(propose([Noop(number) for number in range(MANY)], root=project), entered)
    assert told == []
    assert rig.loop.run()
    assert [sum(counts.values()) for counts in told] == [MANY]
    assert told[0].get("done", 0) < MANY


@pytest.mark.parametrize("kill", [False, True], ids=["stop", "kill"])
def test_a_batch_enters_whole_also_when_the_runner_is_to_leave(project: Path, kill: bool) -> None:
    tasks.CHILDREN["nothing"] = lambda task: [Noop(number) for number in range(MANY)]
    rig = Rig()

    def leave() -> None:
        if rig.engine.entering:
            rig.loop.kill() if kill else rig.loop.stop("test")

    rig.executor.while_waiting = leave
    assert not rig.work([Finder("nothing")])
    assert rig.engine.entering == 0
    assert not any(rig.executor.waits[2:]), "once the finder is done there is nobody to wait for"
    counts = rig.counts()
    assert sum(counts.values()) == MANY + 1
    assert rig.job(id_of(Finder("nothing")))[0] == "done"
    assert "running" not in counts


def test_a_batch_has_entered_long_before_its_first_jobs_end(project: Path) -> None:
    rig = Rig(durability="power", places=2)
    rig.executor.held = {"Noop"}
    told: list[float] = []

    def stop() -> None:
        if told or time.monotonic() > began + 5:
            rig.loop.kill()

    rig.executor.while_waiting = stop
    rig.recover()
    began = time.monotonic()
    rig.loop.submit(
        propose([Noop(number) for number in range(MANY)], root=project), lambda: told.append(time.monotonic() - began)
    )
    assert not rig.loop.run()
    assert told[0] < 2, "also the last of its files was synced, though nobody answered"


def test_not_too_many_results_wait_for_a_batch_to_have_entered(project: Path) -> None:
    rig = Rig()
    numbers = iter(range(10**6))
    tasks.CHILDREN["nothing"] = lambda task: [Noop(next(numbers))]
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, rig.engine.deferred)

    rig.executor.while_waiting = look
    tasks.ACTIONS.update({f"nothing{number}": tasks.ACTIONS["nothing"] for number in range(2000)})
    tasks.CHILDREN.update({f"nothing{number}": tasks.CHILDREN["nothing"] for number in range(2000)})
    assert rig.work([Finder(f"nothing{number}") for number in range(2000)])
    assert 0 < most < 200
    assert rig.counts() == {"done": 4000}


def test_what_is_handed_in_waits_until_a_batch_has_entered(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.loop.POLL", 0.0)
    rig = Rig()
    entering: list[int] = []

    def hand_in() -> None:
        if not entering:
            Path("state/inbox/one.json").write_text(
                '{"task": "tests.workers.tasks:Noop", "params": {"number": 1000000}}'
            )
        entering.append(rig.engine.entering)
        assert Path("state/inbox/one.json").exists() or not rig.engine.entering

    rig.executor.while_waiting = hand_in
    assert rig.work([Noop(number) for number in range(MANY)])
    assert entering[0] > 0
    assert rig.counts() == {"done": MANY + 1}


# ----------------------------------------------------------------------------------------------- retries, and waiting


def test_a_failure_is_tried_again_at_its_time_until_its_retries_are_used_up(project: Path) -> None:
    rig = Rig()
    (id,) = rig.submit([Hasty("fail")])
    started = time.monotonic()
    assert rig.loop.run()
    assert 0.4 < time.monotonic() - started < 5
    assert rig.outcomes(id) == ["failed"] * 3
    assert rig.counts() == {"failed": 1}


@pytest.mark.parametrize("kind", [Hasty, Rated], ids=["a retry", "a rate"])
def test_what_comes_due_while_all_workers_are_busy_does_not_keep_the_loop_spinning(
    project: Path, kind: type[Act]
) -> None:
    attempts: list[float] = []

    def action(task: Act) -> None:
        attempts.append(time.monotonic())
        if kind is Hasty and len(attempts) == 1:
            raise RuntimeError

    tasks.ACTIONS["one"] = tasks.ACTIONS["two"] = action
    rig = Rig(places=1)
    rig.submit([kind("one"), kind("two")] if kind is Rated else [kind("one")])

    def occupy() -> bool:
        """From the first attempt on, the one worker has something else to do."""
        if attempts and time.monotonic() > attempts[0] + 0.8:
            rig.executor.held = {"Nothing"}
        elif attempts and not rig.executor.held:
            rig.executor.held = {"Noop"}
            rig.submit([Noop(1)])
            return True
        return False

    rig.executor.while_waiting = occupy
    rig.loop.run()
    assert len(attempts) >= 2
    assert attempts[1] - attempts[0] > 0.7, "the worker was busy"
    assert len(rig.executor.waits) < 40, "a wait has to take its time where only an outcome can help"


def test_jobs_that_nothing_can_start_are_an_error_and_no_endless_wait(project: Path) -> None:
    rig = Rig(overrides=[("key", Limit(at_once=0))])
    rig.submit([Rated("nothing")])
    with pytest.raises(StateError, match="nothing can start"):
        rig.loop.run()


# ------------------------------------------------------------------------------------------------------------ deaths


def test_a_death_with_company_costs_nobody_an_attempt_and_the_one_that_dies_alone_is_charged(project: Path) -> None:
    rig = Rig()
    rig.executor.held = {"Noop", "Hasty"}
    innocent, guilty = rig.submit([Noop(1), Hasty("nothing")])

    def strike() -> None:
        orders = rig.executor.orders
        if not rig.moves or (innocent, "pending") not in rig.moves:
            if len(orders) == 2:
                rig.executor.lost.append(lost((innocent, guilty)))
            return
        rig.executor.held = {"Hasty"}
        assert all(order.alone for order in orders.values())
        if guilty in orders:
            rig.executor.lost.append(lost((guilty,)))

    rig.executor.while_waiting = strike
    assert rig.loop.run()
    assert rig.outcomes(innocent) == ["interrupted", "done"]
    assert rig.outcomes(guilty) == ["interrupted", "died", "died", "died"]
    assert rig.job(guilty)[1].attempts[-1]["error"]["message"] == "its worker was killed by SIGKILL"
    assert rig.counts() == {"done": 1, "failed": 1}


def test_what_a_killed_attempt_has_staged_is_removed_and_nothing_else(project: Path) -> None:
    rig = Rig()
    rig.executor.held = {"Write"}
    ids = rig.submit([Write("data/a.txt"), Write("data/b.txt")])
    Path("data").mkdir()
    leftover = [staging_path("data/a.txt", ids[0]), staging_path("data/b.txt", ids[1])]
    for path in leftover:
        Path(path).write_text("half of it")

    def strike() -> None:
        if rig.executor.orders:
            rig.executor.while_waiting = rig.executor.held.clear
            rig.executor.lost.append(lost((ids[0],), (ids[1],), "interrupted"))

    rig.executor.while_waiting = strike
    assert rig.loop.run()
    assert files("data") == [leftover[1], "data/a.txt", "data/b.txt"]


def test_recovery_removes_what_interrupted_attempts_have_staged(project: Path) -> None:
    rig = Rig()
    rig.executor.held = {"Write"}
    ids = rig.submit([Write(f"data/{number}.txt") for number in range(3)])
    Path("data").mkdir()
    others = staging_path("data/9.txt", "Write-0123456789abcdef")
    Path(others).touch()
    for number, id in enumerate(ids):
        Path(staging_path(f"data/{number}.txt", id)).touch()

    def crash() -> None:
        if rig.executor.orders:
            raise KeyboardInterrupt

    rig.executor.while_waiting = crash
    with pytest.raises(KeyboardInterrupt):
        rig.loop.run()
    assert rig.counts() == {"running": 3}
    rig.store.close()
    again = Rig(run="20261122T030000Z")
    again.recover()
    assert files("data") == [others]
    assert again.counts() == {"pending": 3}
    assert again.loop.run()
    assert [again.outcomes(id) for id in ids] == [["interrupted", "done"]] * 3


# --------------------------------------------------------------------------------------------------- stop, and kill


def test_stop_finishes_what_runs_and_takes_back_what_was_not_begun(project: Path) -> None:
    rig = Rig(places=4)
    rig.executor.held = {"Write", "Noop"}
    ids = rig.submit([Write("a.txt"), *[Noop(number) for number in range(8)]])

    def stop() -> None:
        if len(rig.executor.orders) == 4:
            rig.executor.begun.append(ids[0])
            rig.loop.stop("test")
        elif rig.loop.stopping:
            rig.executor.held = set()

    rig.executor.while_waiting = stop
    assert not rig.loop.run()
    assert rig.counts() == {"pending": 8, "done": 1}
    assert rig.outcomes(ids[0]) == ["done"]
    assert [rig.outcomes(id) for id in ids[1:]] == [[]] * 8, "they were not begun"


def test_kill_leaves_at_once_and_charges_nobody(project: Path) -> None:
    rig = Rig()
    rig.executor.held = {"Write"}
    ids = rig.submit([Write("data/a.txt"), Noop(1)])
    Path("data").mkdir()

    def kill() -> None:
        if not rig.loop.killing and ids[0] in rig.executor.orders:
            Path(staging_path("data/a.txt", ids[0])).touch()
            rig.loop.kill()

    rig.executor.while_waiting = kill
    started = time.monotonic()
    assert not rig.loop.run()
    assert time.monotonic() - started < 2
    assert rig.executor.closed
    assert rig.counts() == {"pending": 1, "done": 1}, "a result that had come is kept"
    assert rig.outcomes(ids[0]) == ["interrupted"]
    assert files("data") == []


def test_a_stop_with_grace_becomes_a_kill_when_its_time_is_over_however_often_it_is_asked_for(project: Path) -> None:
    rig = Rig()
    rig.executor.held = {"Noop"}
    (id,) = rig.submit([Noop(1)])

    def stop() -> None:
        if rig.executor.orders:
            rig.executor.begun.append(id)
            rig.loop.stop("test", 0.5)

    rig.executor.while_waiting = stop
    started = time.monotonic()
    assert not rig.loop.run()
    assert 0.4 < time.monotonic() - started < 2
    assert rig.outcomes(id) == ["interrupted"]


def test_a_done_job_that_was_only_asked_for_its_children_stays_done_when_the_runner_is_killed(project: Path) -> None:
    tasks.CHILDREN["nothing"] = lambda task: [Noop(1)]
    first = Rig()
    (id,) = first.submit([Finder("nothing")])
    assert first.loop.run()
    first.store.close()
    second = Rig(run="20261123T020000Z")
    second.recover()
    second.submit([Finder("nothing")])
    second.executor.held = {"Finder"}
    second.executor.while_waiting = lambda: second.loop.kill() if second.executor.orders else None
    assert not second.loop.run()
    assert second.job(id)[0] == "done"
    assert second.outcomes(id) == ["done"]


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_a_job_file_that_was_damaged_meanwhile_is_named(project: Path) -> None:
    rig = Rig()
    (id,) = rig.submit([Noop(1)])
    rig.store.shelf.forget_all()
    Path("state", "pending", f"{id}.json").write_text('{"task": ')
    with pytest.raises(StateError, match=rf"running/{id}.json was damaged"):
        rig.loop.run()
    again = Rig(run="20261122T030000Z")
    again.recover()
    assert again.counts() == {"quarantine": 1}


def test_a_disk_that_fails_is_no_fault_of_what_was_handed_in(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    Path("state/inbox/one.json").write_text('{"task": "tests.workers.tasks:Noop", "params": {"number": 1}}')

    def full(*_: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(rig.store, "carry_out", full)
    with pytest.raises(StateError, match="the disk is full"):
        rig.loop.run()
    assert os.listdir("state/inbox") == ["one.json"]
    assert os.listdir("state/quarantine") == []


def test_a_batch_of_the_inbox_that_is_refused_goes_to_quarantine_and_the_run_goes_on(project: Path) -> None:
    rig = Rig()
    for name, reads, writes in (("one", "b.txt", "a.txt"), ("two", "a.txt", "b.txt")):
        Path(f"state/inbox/{name}.json").write_text(
            f'{{"task": "tests.workers.tasks:Copied", "params": {{"plain": "{reads}", "output": "{writes}"}}}}'
        )
    Path("state/inbox/good.json").write_text('{"task": "tests.workers.tasks:Noop", "params": {"number": 1}}')
    assert rig.work()
    assert rig.counts() == {"done": 1}
    assert sorted(name for name in os.listdir("state/quarantine") if name.count(".") == 1) == ["one.json", "two.json"]
    assert rig.handed.quarantined == 2


def test_known_jobs_are_proposed_again_as_they_stand_and_those_that_cannot_be_are_left_out(project: Path) -> None:
    rig = Rig()
    ids = rig.submit([Noop(1), Noop(2), Write("a.txt")])
    assert rig.loop.run()
    Path("state", "done", f"{ids[1]}.json").unlink()
    found = rig.rounds.known([*ids, "Noop-0123456789abcdef"])
    assert [proposal.id for proposal in found] == [ids[0], ids[2]]
    assert all(isinstance(proposal, Proposal) for proposal in found)
    assert rig.engine.ledger.status(ids[0]) is Status.DONE


def test_a_run_that_was_stopped_before_it_was_wound_up_has_not_ended(project: Path) -> None:
    """Whom nobody names any more is still to be found out."""
    finder, last = Finder("write", output="found"), Act("stop", output="last", hint="1")
    tasks.CHILDREN["write"] = lambda task: [Noop(number) for number in range(3)]
    tasks.ACTIONS["stop"] = tasks.ACTIONS["write"]
    rig = Rig()
    assert rig.work([finder, last])
    rig.store.close()
    tasks.CHILDREN["write"] = lambda task: [Noop(number) for number in range(2)]
    for path in ("found", "last"):
        Path(path).unlink()
    rig = Rig(run=NEXT, places=1)

    def write_and_stop(task: Act) -> None:
        tasks.ACTIONS["write"](task)
        rig.loop.stop("test")

    tasks.ACTIONS["stop"] = write_and_stop
    rig.recover()
    rig.submit([finder, last])
    assert not rig.loop.run()
    assert rig.engine.finished
    assert rig.engine.gone == []
    rig.store.close()
    tasks.ACTIONS["stop"] = tasks.ACTIONS["write"]
    rig = Rig(run=NEXT, resuming=True)
    assert rig.work([finder, last])
    assert rig.engine.gone == [id_of(Noop(2))]


def test_what_used_up_its_retries_and_lacked_only_its_last_rename_counts_for_its_run(project: Path) -> None:
    once, id = Once("fail"), id_of(Once("fail"))
    rig = Rig()
    assert rig.work([once])
    assert rig.outcomes(id) == ["failed"]
    rig.store.close()
    Path("state/failed", f"{id}.json").rename(Path("state/running", f"{id}.json"))
    for named in ([once], []):
        rig = Rig(resuming=True)
        assert rig.work(named)
        assert rig.outcomes(id) == ["failed"], "it failed in this run: `resume` leaves it alone"
        assert rig.engine.census.tally() == {Status.FAILED: 1}, "and it counts, also where nobody names it again"
        rig.store.close()
        Path("state/failed", f"{id}.json").rename(Path("state/running", f"{id}.json"))
    rig = Rig(run=NEXT)
    assert rig.work([once])
    assert rig.outcomes(id) == ["failed", "failed"], "another run tries it again"


def test_not_to_rely_on_a_damaged_job_harms_nobody(project: Path) -> None:
    rig = Rig()
    (id, other) = rig.submit([Write("a.txt"), Write("b.txt")])
    assert rig.loop.run()
    rig.store.close()
    Path("state/done", f"{id}.json").write_text('{"schema": 1}')
    rig = Rig(run=NEXT)
    rig.recover()
    rig.loop.do(Invalidated((id, other)))
    rig.submit([Write("a.txt"), Write("b.txt")])
    assert rig.loop.run()
    assert {reply.event.id for reply in rig.replies} == {id, other}
    assert rig.counts() == {"done": 2}
