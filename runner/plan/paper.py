"""A state folder on paper: what a run would change is kept in memory, all else is read from the disk.

Does what MemoryStore does (a test proves that equal to FolderStore), with the disk's files below it. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runner.core.commands import Bind, Create, Distrust, Move, Relist, Rewish, StoreCommand
from runner.core.model import Proposal, Status
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.store.memory import MemoryStore
from runner.views.reading import load_job


class Paper(MemoryStore):
    """What the loop has of a store, over `disk`."""

    durable = False

    def __init__(self, disk: FolderStore, run: str) -> None:
        super().__init__()
        self._disk = disk
        self.path = disk.path
        self.root = disk.root
        self.files = disk.files
        self.run = run

    def carry_out(self, commands: Sequence[StoreCommand]) -> None:
        for command in commands:
            match command:
                case Rewish(proposal, after, status) if status is not Status.QUARANTINE:
                    self._wished(proposal, after, status)
                case Bind(id, status):
                    self._take(id, status)
                case Move(id, status) | Distrust(id, status):
                    try:
                        self._take(id, status)
                    except BadJobFile:  # as FolderStore has it
                        continue
                case Relist(id):
                    self._take(id, Status.DONE)
                case _:
                    pass
            if not isinstance(command, Rewish):
                self.do(command)

    def _wished(self, proposal: Proposal, after: tuple[str, ...], status: Status) -> None:
        try:
            job = self._get(proposal.id, status)
        except BadJobFile:  # a run puts it aside, and makes the job anew
            self.folders[status][proposal.id] = codec.new_file(proposal, after)
            return
        wished = codec.with_wish(job, proposal, after)
        if wished is not job:
            self.folders[status][proposal.id] = wished

    def _take(self, id: str, status: Status) -> None:
        """From the disk onto the paper."""
        self.folders[status][id] = self._get(id, status)

    def _get(self, id: str, status: Status) -> JobFile:
        known = self.folders[status].get(id)
        if known is not None:
            return known
        found = load_job(self._disk, id, status)  # beside a live runner it may be elsewhere by now
        if found is None:
            raise FileNotFoundError(f"{status}/{id}.json")
        data, status = found
        try:
            return self._disk.shelf.parse(data, id, status)
        except BadJobFile:
            job = codec.salvaged(data, id)
            if job is None:
                raise
            return job

    def find(self, id: str) -> Status | None:
        for status, jobs in self.folders.items():
            if id in jobs:
                return status
        return self._disk.find(id)

    def write_ahead(self, commands: Iterable[Create]) -> bool:
        """There is nothing to write."""
        return False
