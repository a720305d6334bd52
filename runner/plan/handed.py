"""What lies in inbox/, as a run would take it up: by the run's own rules, looked at once, and left there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runner.catalog import Catalog
from runner.core.engine import Engine
from runner.core.events import Event, Submitted
from runner.core.model import Proposal
from runner.errors import Refused
from runner.handed import Handed
from runner.plan.paper import Paper
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.inbox import Entry, Inbox


class Foreseen(Handed):
    """The loop's Intake. `ids`: the jobs that were handed in; what a run would put aside is not among them."""

    def __init__(self, store: FolderStore, catalog: Catalog, engine: Engine, paper: Paper) -> None:
        super().__init__(store, catalog, engine)
        self._inbox = _OnPaper(store, paper)
        self.ids: set[str] = set()

    def settled(self, event: Event, refused: Refused | None) -> None:
        super().settled(event, refused)
        if isinstance(event, Submitted) and refused is None:
            self.ids.update(proposal.id for proposal in event.batch)

    def _command(self, entry: Entry) -> Iterator[Event]:
        """A `stop` is for a runner that is alive, and not for the run that is foretold."""
        return iter(()) if entry.command["verb"] == "stop" else super()._command(entry)

    def _put_aside(self, entry: Entry, reason: str) -> None:
        self.quarantined += 1


class _OnPaper(Inbox):
    """Read once. A file that is not whole yet is left out."""

    def __init__(self, store: FolderStore, paper: Paper) -> None:
        super().__init__(store)
        self._paper = paper
        self._looked = False

    def scan(self, now: float) -> list[Entry]:
        entries = [] if self._looked else super().scan(now)
        self._looked, self.waiting = True, 0
        return entries

    def stage(self, entry: Entry, proposal: Proposal) -> str | None:
        job = self.with_history(entry, proposal)
        return None if job is None else self._paper.stage(proposal.id, codec.encode(job))

    def came_back(self) -> None:
        """Nothing moves."""

    def keep(self, entry: Entry, ids: Sequence[str]) -> Entry:
        """Nobody runs."""
        return entry

    def remove(self, entry: Entry) -> None:
        """It stays."""
