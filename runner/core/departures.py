"""Jobs that nobody names any more: *gone*. Unfinished ones are set aside, and cancelled if nobody comes for them.

Whoever found a job last time and does not now drops it. That alone says little, as another may name it later in the
same run. So a dropped job that has not begun is parked, and only when nothing is left to do the shell looks into the
files of those that nobody named: what was handed in stays reached, the others are gone, and so are those that only they
have found. What is done stays where it is. Must not delete anything.
"""

from __future__ import annotations

from collections.abc import Iterable

from runner.core.board import Board
from runner.core.commands import Change, Trace
from runner.core.events import Traced
from runner.core.ledger import BUSY, DELAYED, HELD, PARKED, READY, WAITING, Node
from runner.core.model import CANCELLED, PENDING, UNFINISHED, Attempt, Step

_GONE = Attempt(outcome="gone", type="Gone", message="nobody names it any more")
_PARKABLE = (WAITING, HELD, DELAYED, READY)


class Departures:
    """Who was dropped in one run, and who of them is gone."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._dropped: dict[str, None] = {}  # whose files were not looked into
        self._gone: dict[str, None] = {}

    @property
    def gone(self) -> list[str]:
        """The jobs that are gone, by all that is known so far."""
        return [id for id in self._gone if not self._is_named(id)]

    def drop(self, ids: Iterable[str]) -> None:
        """Somebody named these last time, and does not now."""
        for id in ids:
            node = self._board.ledger.node(id)
            if id in self._gone or (node is not None and node.proposed):
                continue
            self._dropped[id] = None
            waits = node is not None and node.status is PENDING and node.phase in _PARKABLE
            if node is not None and waits and not node.submitted:
                self._board.phase(node, PARKED)
                self._board.unsure.pop(node.id, None)  # or it runs once that is certain, which nobody wants

    def greet(self, node: Node) -> None:
        """A job that was left by an earlier runner is taken over: it may have been dropped before."""
        if node.id in self._dropped:
            self.drop((node.id,))

    def dismiss(self) -> None:
        """Nothing else can run: nobody came for those that were parked."""
        for node in list(self._board.ledger.nodes()):
            if node.phase is PARKED:
                self._gone[node.id] = None
                self._cancel(node)

    def wind_up(self) -> None:
        """Nothing is left to do: have the files looked into of those that are still dropped."""
        ids = tuple(id for id in self._dropped if not self._is_named(id))
        self._dropped.clear()
        if ids:
            unheard = (
                node.id for node in self._board.ledger.nodes() if node.finds and node.proposed and not node.heard
            )
            self._board.out.append(Trace(ids, tuple(unheard)))

    def traced(self, event: Traced) -> None:
        for id, submitted, found in event.jobs:
            if submitted or id in event.spared or self._is_named(id):
                continue
            status = self._board.ledger.status(id)
            if status is not CANCELLED:  # else it was superseded, or a person did not want it
                self._gone[id] = None
            if status in UNFINISHED:
                self._cancel(self._board.node_of(id))
            self.drop(found)

    def _is_named(self, id: str) -> bool:
        node = self._board.ledger.node(id)
        return node is not None and (node.proposed or node.phase is BUSY)

    def _cancel(self, node: Node) -> None:
        self._board.move(node, Step.CANCEL, change=Change(attempt=_GONE), why=_GONE.message)
        self._board.ledger.revivable.add(node.id)
        node.reached = False
        self._board.settle(node)
