"""Who stands around the loop: those that it tells what happens, and the one that tells it what was handed in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from runner.core.engine import Engine
from runner.core.model import Event, Move
from runner.errors import Refused
from runner.workers.port import Reply


class Watcher(Protocol):
    """Who is told what happens: the journal, the progress display."""

    def moved(self, moves: Sequence[Move], now: float) -> None:
        """Jobs changed their status, in this order."""

    def replied(self, reply: Reply) -> None:
        """A worker answered."""

    def tick(self, engine: Engine, now: float) -> None:
        """A turn is over."""


class Intake(Protocol):
    """The inbox, as the loop sees it."""

    def collect(self) -> Iterable[Event]:
        """What was handed in since, as events; the loop calls `settled` after each was carried out."""

    def settled(self, event: Event, refused: Refused | None) -> None:
        """The event was carried out, or refused: its files may go."""

    @property
    def unsettled(self) -> bool:
        """Whether a file lies there that may not be whole yet."""

    @property
    def stop_wanted(self) -> bool:
        """Whether somebody asked this runner to stop."""
