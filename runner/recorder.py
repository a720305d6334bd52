"""The journal's ears: every move of a job becomes a line in runs/RUN.jsonl. Advisory; nothing decides by it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from runner.core.commands import Move
from runner.core.engine import Engine
from runner.store import codec
from runner.store.runs import Journal
from runner.workers.port import Reply

FLUSH_EVERY = 0.2
"""Seconds between two writes; look verbs see the journal that late."""


class Line(Struct, frozen=True, omit_defaults=True):
    """One transition."""

    at: str
    id: str
    source: str
    target: str
    step: str
    why: str = ""


class Recorder:
    """A Watcher that writes the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._flushed = 0.0

    def moved(self, moves: Sequence[Move], now: float) -> None:
        at = codec.stamp(now)
        self._journal.add([Line(at, move.id, move.source, move.target, move.step, move.why) for move in moves])

    def replied(self, reply: Reply) -> None:
        pass

    def leaving(self, reason: str, busy: int) -> None:
        pass

    def tick(self, engine: Engine, now: float) -> None:
        if not 0 <= now - self._flushed < FLUSH_EVERY:
            self._flushed = now
            self._journal.flush()

    def close(self) -> None:
        """Write what is left."""
        self._journal.flush()
