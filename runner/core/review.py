"""Jobs that were done before: judged, asked for their children again, walked, or not relied on any more.

Whether a done job is due, the shell finds out; what follows from that is told here. Whoever turns out to be due waits
and runs like any other job; whoever is up to date is through once those that it found are reached.
"""

from __future__ import annotations

from runner.core.board import Board
from runner.core.commands import Change, Discard, Distrust, Relist, Walk
from runner.core.departures import Departures
from runner.core.events import Asked, Invalidated, Judged, Verified
from runner.core.intake import Intake
from runner.core.ledger import ASKING, BUSY, JUDGING, SETTLED, Node
from runner.core.model import DONE, QUARANTINE, RUNNING, Status, Step
from runner.errors import Refused


class Review:
    """For one run."""

    def __init__(self, board: Board, intake: Intake, departures: Departures) -> None:
        self._board = board
        self._ledger = board.ledger
        self._intake = intake
        self._departures = departures

    def judged(self, event: Judged) -> None:
        node = self._ledger[event.id]
        if node.phase is not JUDGING:  # cancelled or superseded meanwhile
            return
        node.change, node.heard = event.change, event.reason is None and not event.asks
        if event.dropped:
            self._departures.drop(event.dropped)
        if event.reason is not None:
            self.expire(node, event.reason)
        elif event.asks:
            self.ask(node)
        elif event.found:
            self.walk(node, event.found)
        else:
            self._board.settle(node)

    def verified(self, event: Verified) -> None:
        nodes = [node for node in map(self._ledger.__getitem__, event.ids) if node.phase is JUDGING]
        for node in nodes:
            node.heard = True
        self._board.settle(*nodes)

    def ask(self, node: Node) -> None:
        self._board.phase(node, ASKING)
        self._board.asks.append(node.id)

    def walk(self, node: Node, found: tuple[str, ...]) -> None:
        """Those that it found last time stay reached."""
        self._board.phase(node, ASKING)
        self._board.out.append(Walk(found, node.id))

    def asked(self, event: Asked) -> None:
        node = self._ledger[event.id]
        if node.status is not DONE or node.phase not in (ASKING, BUSY):  # superseded meanwhile
            return
        if event.error is not None:
            self.expire(node, event.error)
            return
        self._intake.admit(
            event.children, lambda: self._answered(node, event), lambda error: self._refused(node, event, error)
        )

    def _refused(self, node: Node, event: Asked, error: Refused) -> None:
        """Its children cannot be admitted."""
        self._board.out.append(Discard(tuple(child.staged for child in event.children if child.staged)))
        self.expire(node, str(error))

    def _answered(self, node: Node, event: Asked) -> None:
        """Its children are there."""
        if event.found is not None:
            self._board.out.append(Relist(node.id, event.found, event.dropped))
        self._departures.drop(event.dropped)
        node.heard = True
        self.up_to_date(node)

    def up_to_date(self, node: Node) -> None:
        """It is done, and its children are there; unless something came up meanwhile, that is all."""
        node.suspect = False
        if node.rejudge:
            node.rejudge = False
            self._board.again(node)
        else:
            self._board.settle(node)

    def expire(self, node: Node, reason: str) -> None:
        node.not_before = None
        self._board.move(node, Step.EXPIRE, change=Change(reset_retries=True), why=reason)
        self._board.again(node)

    def invalidated(self, event: Invalidated) -> None:
        for id in event.ids:
            node, status = self._ledger.node(id), self._ledger.status(id)
            if status in (None, QUARANTINE):
                continue
            if node is not None and node.status is RUNNING:
                node.distrusted = True  # what its worker is making now is not to be relied on either
                continue
            self._distrust(id, status)
            if node is None or node.status is not DONE or not node.proposed:
                continue
            if node.phase is SETTLED:
                self._board.again(node)
                self._board.look_again(self._ledger.readers(id))
            elif node.phase in (ASKING, BUSY):
                node.rejudge = True

    def heed(self, node: Node) -> bool:
        """A worker is through with it: whether a person invalidated it meanwhile. Then its record is marked."""
        distrusted, node.distrusted = node.distrusted, False
        if distrusted:
            self._distrust(node.id, node.status)
        return distrusted

    def _distrust(self, id: str, status: Status) -> None:
        self._board.out.append(Distrust(id, status))
