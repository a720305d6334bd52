"""What stands around the loop: its store, those that it tells what happens, and the one that tells it what came in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from runner.core.commands import Create, Move, StoreCommand
from runner.core.engine import Engine
from runner.core.events import Event
from runner.core.model import Status
from runner.errors import Refused
from runner.store.codec import Brief, JobFile
from runner.store.files import Files
from runner.workers.port import Reply


class Store(Protocol):
    """What a run needs of the state folder; see FolderStore."""

    root: str
    durable: bool
    files: Files

    def carry_out(self, commands: Sequence[StoreCommand]) -> None: ...
    def write_ahead(self, commands: Iterable[Create]) -> bool: ...
    def sync(self, staged: Iterable[str] = ()) -> None: ...
    def take_leftovers(self) -> list[str]: ...
    def read(self, id: str, status: Status) -> JobFile: ...
    def brief(self, id: str, status: Status) -> Brief: ...
    def keep(self, job: Brief) -> None: ...
    def read_bytes(self, id: str, status: Status) -> bytes: ...


class Watcher(Protocol):
    """Who is told what happens: the journal, the progress display."""

    def moved(self, moves: Sequence[Move], now: float) -> None:
        """Jobs changed their status, in this order."""

    def replied(self, reply: Reply) -> None:
        """A worker answered."""

    def tick(self, engine: Engine, now: float) -> None:
        """A turn is over."""

    def leaving(self, reason: str, busy: int) -> None:
        """The run stops with work left, for this reason; so many orders are with workers, and are let end."""


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
