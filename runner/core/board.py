"""Where every job stands in this run, and the few ways in which that changes.

Theory of operation. Every job that a run deals with is a node, open until it is settled: done (and, if it was done
before, found up to date), failed, blocked or cancelled. The forest releases a node when all it comes after are settled,
with or without success, and `release` then looks at the facts: still something open (an edge gained later, a job that
is tried again)? wait for that. Something hopeless? blocked, which settles it and releases the next. Done before? it is
judged now. Otherwise it is ready, once its inputs have a maker and its time has come. So failure and success travel by
one mechanism, and whatever changed behind the forest's back is caught at the release.

A job that comes after one which this run has not reached cannot know whether that is going to be made anew, as long as
somebody is open who may find it. It is held until then (`unsure`), or until nothing else can run.

A settled job may be opened again: it is tried again, or was only now found to be due. Who comes after it and has not
begun waits anew (`look_again`); who is done is judged again when it has run (`renew`).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from math import inf

from runner.core.commands import Change, Command, Judge, Move
from runner.core.graph import Forest
from runner.core.ledger import (
    ASKING,
    BUSY,
    DELAYED,
    HELD,
    JUDGING,
    READY,
    SETTLED,
    WAITING,
    Ledger,
    Node,
    Phase,
    Several,
)
from runner.core.model import BLOCKED, DONE, Need, Proposal, Step, Stored, transition
from runner.core.queue import Override, ReadyQueue


class Board:
    """The ledger, the forest and the queues, kept in step. Commands pile up in `out`."""

    def __init__(self, overrides: Sequence[Override] = (), last_start: float = -inf) -> None:
        self.now = 0.0
        self.out: list[Command] = []
        self.ledger = Ledger()
        self.forest = Forest()
        self.ready = ReadyQueue(overrides, last_start)
        self.asks: deque[str] = deque()
        self.phases = [0] * len(Phase)  # how many nodes stand in each
        self.unmade = Several()  # path -> jobs that read it, as long as no job makes it
        self.missing: dict[str, dict[str, Need]] = {}  # job -> its Inputs that no job makes and that are not there
        self.finders = 0  # how many are open who may name jobs that this run has not reached
        self.unsure: dict[str, int] = {}  # held job -> how many it comes after that this run has not reached
        self._delayed: list[tuple[float, str]] = []
        self._settled: deque[str] = deque()
        self._settling = False

    def move(
        self, node: Node, step: Step, *, record: str | None = None, change: Change | None = None, why: str = ""
    ) -> None:
        """The one place where a job changes its status."""
        target = transition(node.id, node.status, step)
        self.out.append(Move(node.id, node.status, target, step, record, change, why))
        node.status = target

    def phase(self, node: Node, phase: Phase) -> None:
        """The one place where a node changes its phase."""
        if node.phase is READY:
            self.ready.withdraw(node.id)
        if node.finds:
            self.finders += (phase is not SETTLED) - node.open
        self.phases[node.phase] -= 1
        self.phases[phase] += 1
        node.phase = phase

    def track(self, node: Node) -> None:
        """Put a node in the ledger, in place of what stood there."""
        old = self.ledger.node(node.id)
        if old is not None:
            self._drop(old)
        self.phases[node.phase] += 1
        self.finders += node.finds and node.open
        self.ledger.add(node)

    def forget(self, id: str) -> None:
        """Its file has left the status folders; who waits for it goes on when it is settled anew."""
        node = self.ledger.node(id)
        if node is not None:
            if node.open:
                self.settle(node)
            self._drop(node)
        self.ledger.forget(id)

    def _drop(self, node: Node) -> None:
        if node.phase is READY:
            self.ready.withdraw(node.id)
        self.missing.pop(node.id, None)
        self.unsure.pop(node.id, None)
        self.phases[node.phase] -= 1
        self.finders -= node.finds and node.open

    def node_of(self, id: str, item: Proposal | None = None) -> Node:
        """The node of a job; a settled one, if this run has not dealt with it so far."""
        node = self.ledger.node(id)
        if node is None:
            status = self.ledger.status(id)
            assert status is not None
            node = Node(item or Stored(id=id, status=status), status, ())
            node.phase = SETTLED
            if item is None:
                node.fingerprint = None
            self.track(node)
        return node

    def settle(self, *nodes: Node) -> None:
        """Through for this run. Iterative: a chain of a thousand blocked jobs must not recurse a thousand deep."""
        for node in nodes:
            self.phase(node, SETTLED)
            self.missing.pop(node.id, None)
            self.unsure.pop(node.id, None)
            self._settled.append(node.id)
        if self._settling:
            return
        self._settling = True
        try:
            while self._settled:
                id = self._settled.popleft()
                released, too_early = self.forest.settle(id)
                for each in released:
                    waiting = self.ledger.node(each)
                    if waiting is not None:
                        self.release(waiting)
                for reader in self.ledger.readers(id) if too_early else ():
                    self.release(reader)
        finally:
            self._settling = False

    def waits(self, nodes: Iterable[Node]) -> dict[str, list[str]]:
        """A batch as the forest takes it: what is settled needs no waiting for."""
        batch = list(nodes)
        inside = {node.id for node in batch}
        is_open = self.ledger.is_open
        return {n.id: [id for id in n.after if id in inside or is_open(id)] if n.after else [] for n in batch}

    def plant(self, nodes: Iterable[Node]) -> None:
        """Put nodes into the forest; what waits for nothing is released. Raises CycleFound, with nothing changed."""
        for id in self.forest.plant(self.waits(nodes)):
            self.release(self.ledger[id])

    def release(self, node: Node, *, sure: bool = False) -> None:
        """All it came after may be settled: look at the facts. `sure`: nobody will be found that it comes after."""
        if node.phase is not WAITING:
            return
        if node.after and any(self.ledger.is_open(id) for id in node.after):
            self.plant([node])
            return
        hopeless = None if node.all_done or not node.after else self.ledger.hopeless(node)
        others = self.finders > (node.finds and node.open)
        if hopeless is None and others and not sure and (unreached := self._unreached(node)):
            self.unsure[node.id] = unreached
            self.phase(node, HELD)
        elif node.status is DONE:
            if hopeless is not None:  # done jobs stay done when an upstream job fails tonight
                self.settle(node)
            else:
                self.phase(node, JUDGING)
                self.out.append(Judge(node.id))
        elif hopeless is not None:
            if node.status is not BLOCKED:
                self.move(node, Step.BLOCK, why=f"{hopeless} is {self.ledger.status(hopeless) or 'not there'}")
            self.settle(node)
        else:
            if node.status is BLOCKED:
                self.unblock(node)
                self.look_again(self.ledger.readers(node.id))
            self.enqueue(node)

    def _unreached(self, node: Node) -> int:
        """How many it comes after were done before this run, which has not come to them."""
        ledger, count = self.ledger, 0
        for id in node.after:
            upstream = ledger.node(id)
            count += ledger.status(id) is DONE and (upstream is None or not upstream.reached)
        return count

    def reach(self, node: Node) -> None:
        """The run has come to a job: those that were held for it know of one more."""
        if node.reached:
            return
        node.reached = True
        for reader in self.ledger.readers(node.id) if self.unsure and node.status is DONE else ():
            if reader.id in self.unsure:
                self.unsure[reader.id] -= 1
                if self.unsure[reader.id] <= 0:
                    del self.unsure[reader.id]
                    self.again(reader)

    def be_sure(self) -> None:
        """Nobody is left who may find those that held jobs come after."""
        held, self.unsure = self.unsure, {}
        for id in held:
            node = self.ledger[id]
            self.phase(node, WAITING)
            self.release(node, sure=True)

    def again(self, node: Node) -> None:
        """It has to run, or to be judged, once more."""
        self.phase(node, WAITING)
        self.release(node)

    def enqueue(self, node: Node) -> None:
        """It may start: once its inputs are there, at its time and in its turn."""
        if node.id in self.missing and not node.last_call:
            self.phase(node, HELD)
        elif node.not_before is not None and node.not_before > self.now:
            self.phase(node, DELAYED)
            heapq.heappush(self._delayed, (node.not_before, node.id))
        else:
            self.phase(node, READY)
            self.ready.push(node.id, node.priority, node.limits)

    def unblock(self, node: Node) -> None:
        """Nothing that it comes after is hopeless any more."""
        self.move(node, Step.UNBLOCK, why="what blocked it is tried again")
        node.reached = True

    def look_again(self, nodes: Iterable[Node]) -> None:
        """What these come after has changed: they wait anew, if they have not begun, or are blocked for no reason."""
        waiting = []
        queue = deque(nodes)
        while queue:
            node = queue.popleft()
            if node.status is BLOCKED:
                if not node.all_done and self.ledger.hopeless(node) is not None:
                    continue
                self.unblock(node)
                queue.extend(self.ledger.readers(node.id))
                if node.open:
                    continue
            elif node.phase is HELD:
                if node.id in self.missing or node.id in self.unsure:
                    continue
            elif node.phase not in (DELAYED, READY):
                continue
            self.phase(node, WAITING)
            waiting.append(node)
        if waiting:
            self.plant(waiting)

    def renew(self, id: str) -> None:
        """The job has run: who has read what it made before is judged again, if this run has asked for it at all.

        Else a job taken over from an older flow, in which the order was another, might go round with this one for ever.
        """
        for node in self.ledger.readers(id):
            if node.phase in (BUSY, ASKING):
                node.rejudge = True
            elif node.proposed and node.status is DONE and node.phase is SETTLED:
                self.again(node)
                self.look_again(self.ledger.readers(node.id))

    def wake(self) -> None:
        """Queue the delayed jobs whose time has come."""
        while self._delayed and self._delayed[0][0] <= self.now:
            not_before, id = heapq.heappop(self._delayed)
            node = self.ledger.node(id)
            if node is not None and node.phase is DELAYED and node.not_before == not_before:
                self.enqueue(node)

    def next_time(self) -> float | None:
        """When the next retry or rate comes due."""
        times = [self._delayed[0][0]] if self._delayed else []
        rate = self.ready.next_start()
        return min([*times, rate] if rate is not None else times, default=None)

    def read(self, id: str, needs: Iterable[Need]) -> None:
        """The job has Inputs that no job makes, so far."""
        for need in needs:
            self.unmade.add(need.path, id)

    def lack(self, id: str, needs: Iterable[Need]) -> None:
        """And these are not there."""
        missing = {need.path: need for need in needs}
        if missing:
            self.missing[id] = missing

    def made(self, paths: Iterable[str]) -> list[Node]:
        """Somebody turned up who makes these. Returns the jobs that lack nothing any more."""
        complete = []
        for path in paths:
            for id in self.unmade.pop(path):
                lacking = self.missing.get(id)
                if lacking is not None and lacking.pop(path, None) is not None and not lacking:
                    del self.missing[id]
                    complete.append(self.ledger[id])
        return complete
