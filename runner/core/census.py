"""How many jobs stand where in this run, for those who show it. Counts all of them each time. Must decide nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar

from runner.core.board import Board
from runner.core.departures import Departures
from runner.core.ledger import DELAYED
from runner.core.model import BLOCKED, DONE, FAILED, PENDING, Status

K = TypeVar("K")
_KINDS = {FAILED: "failed", BLOCKED: "blocked"}


class Census:
    """Counts over one run's board."""

    def __init__(self, board: Board, departures: Departures) -> None:
        self._board = board
        self._departures = departures

    def tally(self) -> Counter[Status]:
        """How many of the jobs that this run reached stand in which status."""
        found = Counter(node.status for node in self._board.ledger.nodes() if node.reached)
        if left := self._board.ledger.left:
            found[PENDING] += left
        return found

    def by_task(self) -> dict[str, Counter[Status]]:
        """The same by class name, but for those that are known by name only."""
        numbers = Counter((node.id[:-17], node.status) for node in self._board.ledger.nodes() if node.reached)
        return _nested(numbers)

    def changes(self) -> dict[str, Counter[str]]:
        """Class name -> what became of the jobs that this run reached, and of those that are gone, in numbers."""
        gone = frozenset(self._departures.gone)  # some of them ran before that was known: each counts once
        numbers = Counter(
            (node.id[:-17], (node.change or "unchanged") if node.status is DONE else _KINDS.get(node.status, ""))
            for node in self._board.ledger.nodes()
            if node.reached and node.id not in gone
        )
        numbers.update((id[:-17], "gone") for id in gone)
        return _nested({(task, kind): number for (task, kind), number in numbers.items() if kind})

    def held(self) -> dict[str, int]:
        """Limit key -> how many jobs are ready and have to wait for it."""
        return self._board.ready.held()

    @property
    def delayed(self) -> int:
        """How many wait for their next try."""
        return self._board.phases[DELAYED]


def _nested(numbers: Mapping[tuple[str, K], int]) -> dict[str, Counter[K]]:
    found: dict[str, Counter[K]] = {}
    for (task, kind), number in numbers.items():
        found.setdefault(task, Counter())[kind] = number
    return found
