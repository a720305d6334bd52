"""What lies in inbox/, as a run would take it up: looked at, and left there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from runner.batch import propose
from runner.catalog import Catalog
from runner.core.model import Cancelled, Event, Invalidated, Submitted
from runner.errors import Refused
from runner.store.folders import FolderStore
from runner.store.inbox import Inbox
from runner.task import Task, decode


class Foreseen:
    """The loop's Intake. What a run would put aside is left out. `ids`: the jobs that were handed in."""

    unsettled = False
    stop_wanted = False

    def __init__(self, store: FolderStore, catalog: Catalog, root: Path) -> None:
        self._store = store
        self._catalog = catalog
        self._root = root
        self._looked = False
        self.ids: set[str] = set()

    def collect(self) -> Iterator[Event]:
        if self._looked:
            return
        self._looked = True
        tasks: list[Task] = []
        for entry in Inbox(self._store).scan(time.time()):
            ids = entry.command.get("ids")
            known = tuple(id for id in ids if isinstance(id, str)) if isinstance(ids, list) else ()
            if entry.job is not None:
                try:
                    tasks.append(decode(self._catalog.kind(entry.job.task).cls, entry.job.params, self._root))
                except Exception:  # it goes to quarantine/
                    continue
            elif entry.command.get("verb") == "cancel":
                yield Cancelled(known)
            elif entry.command.get("verb") == "invalidate":
                yield Invalidated(known)
        try:
            batch = propose(tasks, root=self._root, submitted=True)
        except Exception:  # which of them are put aside is found out by the run
            return
        if batch:
            self.ids.update(proposal.id for proposal in batch)
            yield Submitted(batch, by_name=True)

    def settled(self, event: Event, refused: Refused | None) -> None:
        pass
