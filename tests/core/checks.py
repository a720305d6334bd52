"""What must hold in a world of jobs: after every step, and when nothing is left to do."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from runner.core.ledger import Phase
from runner.core.model import UNFINISHED, Limit, Status
from runner.store.codec import JobFile

if TYPE_CHECKING:
    from tests.core.world import World

TERMINAL = (Status.DONE, Status.FAILED, Status.BLOCKED, Status.CANCELLED)


def check(world: World) -> None:
    """What holds after every step."""
    scan = world.store.scan()
    ledger = world.engine.ledger
    assert len(scan) == sum(len(folder) for folder in world.store.folders.values()), "each job in one folder"
    for id, status in scan.items():
        expected = (status, None) if status is Status.QUARANTINE else (status,)
        assert ledger.status(id) in expected, f"{id} is {status}, not {ledger.status(id)}\n{world.told()}"
    handed = {item.id for batch in world.inbox for item in batch if isinstance(item, JobFile)}
    assert world.created <= scan.keys() | handed, f"{world.created - scan.keys()} are lost\n{world.told()}"
    nodes = list(ledger.nodes())
    board = world.engine._board
    settled = all(node.phase is Phase.SETTLED for node in nodes)
    assert world.engine.finished == (settled and not (world.engine.entering or world.engine.left)), world.told()
    assert world.engine.left == sum(s is Status.PENDING and ledger.node(id) is None for id, s in scan.items())
    assert world.engine.busy == sum(node.phase is Phase.BUSY for node in nodes), world.told()
    uncommitted = {event.id for event in world.group}  # type: ignore[union-attr]
    unsettled = set(world.engine.with_workers()) - world.working.keys() - uncommitted
    assert not unsettled or world.engine.entering or world.engine.deferred, (
        world.told()
    )  # those whose children are still to enter
    assert set(world.engine.with_workers()) >= world.working.keys() | uncommitted, world.told()
    for node in nodes:
        assert scan.get(node.id) is node.status, world.told()
        if node.status in (Status.PENDING, Status.BLOCKED):
            stored = world.store.read(node.id, node.status)
            assert set(stored.after) == set(node.after), f"{node.id}: {stored.after}, {node.after}\n{world.told()}"
        assert (node.id in board.missing) <= node.open, world.told()
        assert (node.id in board.unsure) <= (node.phase is Phase.HELD), world.told()
    finders = sum(node.finds and node.open for node in nodes)
    in_parts = world.engine.entering > 0 and not world.engine.checking
    more = in_parts + (not world.engine._rooted) + (world.engine.left > 0)
    assert board.finders == finders + more, world.told()
    assert board.finders or not board.unsure, world.told()
    for job in world.store.folders[Status.DONE].values():
        assert set((job.result or {}).get("found", ())) <= scan.keys() | handed, f"{job.id}\n{world.told()}"
    assert not set(world.engine.gone) & {node.id for node in nodes if node.proposed}, world.told()
    _check_limits(world)


def _check_limits(world: World) -> None:
    taken: Counter[str] = Counter()
    bounds: dict[str, Limit] = {}
    for id, (launch, _) in world.working.items():
        if not launch.ask:
            taken.update(world.kinds[id].limits.keys())
            bounds |= world.kinds[id].limits
    for key, limit in bounds.items():
        assert limit.at_once is None or taken[key] <= limit.at_once, f"{key}\n{world.told()}"
    for key, gate in world.engine._board.ready._gates.items():
        assert gate.running == taken[key], f"{key}: {gate.running} taken, {taken[key]} at work\n{world.told()}"


def check_end(world: World) -> None:
    """What holds when nothing is left to do."""
    check(world)
    assert world.engine.finished
    ledger = world.engine.ledger
    scan = world.store.scan()
    assert {node.phase for node in ledger.nodes()} <= {Phase.SETTLED}
    named = set(world.roots)
    for node in ledger.nodes():
        job = world.store.folders[node.status].get(node.id)
        if node.proposed and job is not None:
            found = (job.result or {}).get("found", ()) if node.status is Status.DONE else ()
            named |= {node.id, *found}
            for child in found if node.id not in hopeless_finders(world) else ():
                known = ledger.node(child)
                out = scan.get(child) in (None, Status.QUARANTINE, Status.CANCELLED)
                assert out or (known is not None and known.proposed), f"{child} is not reached\n{world.told()}"
    gone = set(world.engine.gone)
    assert not gone & named, f"{gone & named} are named, and gone\n{world.told()}"
    for id, status in scan.items():
        job, kind = world.store.folders[status][id], world.kinds[id]
        assert not (id in gone and status in UNFINISHED), f"{id} is gone, and {status}\n{world.told()}"
        if status is Status.QUARANTINE:
            continue
        assert status in TERMINAL, f"{id} is {status}\n{world.told()}"
        hopeless = [upstream for upstream in job.after if scan.get(upstream) is not Status.DONE]
        if status is Status.BLOCKED and not kind.all_done:
            assert hopeless, f"{id} is blocked for no reason\n{world.told()}"
        node = ledger.node(id)
        if status is Status.DONE and node is not None and node.proposed and not hopeless:
            _check_fresh(world, job)
        result = job.result or {}
        if status is Status.DONE and id in world.said and result.get("run") != world.store.run:
            assert list(result["found"]) == world.said[id], f"{id} has named others\n{world.told()}"


def hopeless_finders(world: World) -> set[str]:
    """Done jobs that were not looked at, as one they come after failed tonight: their children are left alone."""
    scan = world.store.scan()
    done = world.store.folders[Status.DONE].values()
    return {
        job.id
        for job in done
        if not world.kinds[job.id].all_done and any(scan.get(id) is not Status.DONE for id in job.after)
    }


def _check_fresh(world: World, job: JobFile) -> None:
    """A job that this run dealt with is made from what is there now."""
    reason = world.reason(job, tonight=False)
    made_upstream = {path for upstream in job.after for path in world.kinds[upstream].outputs}
    if reason is not None and (world.whole or set(job.params["inputs"]) <= made_upstream):
        raise AssertionError(f"{job.id} is done, but {reason}\n{world.told()}")
