"""What others hand in while a run goes on, or handed in before: files of inbox/ made into events for the engine.

All job files of one scan are one batch. A file that cannot be admitted goes to quarantine/ with the reason, and the
others are proposed again without it. A file leaves inbox/ only once what it asks for has been carried out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from runner.batch import propose
from runner.catalog import Catalog
from runner.core.engine import Engine
from runner.core.events import Cancelled, Event, Invalidated, Retried, Submitted, Withdrawn
from runner.core.model import Proposal, Status
from runner.errors import CycleFound, Refused, RunnerError
from runner.store.folders import FolderStore
from runner.store.inbox import Entry, Inbox
from runner.store.shelf import INBOX, RETURNABLE
from runner.task import Task, decode, job_id


class Handed:
    """The loop's Intake. `quarantined` counts the files that were put aside."""

    def __init__(self, store: FolderStore, catalog: Catalog, engine: Engine) -> None:
        self._store = store
        self._catalog = catalog
        self._engine = engine
        self._inbox = Inbox(store)
        self._tasks: dict[str, tuple[list[Entry], Task]] = {}  # what the event under way is made of
        self._kept: list[tuple[Entry, tuple[str, ...]]] = []  # commands, and who is to come back from a worker first
        self.quarantined = 0
        self.stop_wanted = False

    @staticmethod
    def waiting(store: FolderStore) -> bool:
        """Whether anything lies in inbox/."""
        names = store.shelf.files.names(store.shelf.fds[INBOX])
        return any(not name.startswith(".") for name in names)

    @property
    def unsettled(self) -> bool:
        """Whether a file lies there that may not be whole yet."""
        return self._inbox.waiting > 0

    def collect(self) -> Iterator[Event]:
        """What was handed in since the last time. After each event `settled` must be called."""
        self.release()
        jobs: dict[str, tuple[list[Entry], Task]] = {}
        entries = self._inbox.scan(time.monotonic())
        withdrawn = tuple(filter(self._is_withdrawn, dict.fromkeys(entry.job.id for entry in entries if entry.job)))
        if withdrawn:
            self._inbox.came_back()
            yield Withdrawn(withdrawn)
        for entry in entries:
            if entry.kind == "bad":
                self._put_aside(entry, entry.reason)
            elif entry.kind == "command":
                yield from self._command(entry)
            else:
                self._load(entry, jobs)
        while jobs:
            self._tasks = dict(jobs)
            try:
                batch = self._propose(jobs)
            except Exception as error:  # Refused, TypeError, or what upstream_tasks() and limits() of the user's raise
                self._refuse(error)
            else:
                yield self._submitted(batch)
            jobs = self._tasks  # what is left to be proposed again, if the batch was refused

    def release(self) -> None:
        """Remove the commands that have been carried out since they were heard."""
        kept, self._kept = self._kept, []
        for entry, ids in kept:
            if self._running(ids):
                self._kept.append((entry, ids))
            else:
                self._inbox.remove(entry)

    def settled(self, event: Event, refused: Refused | None) -> None:
        """The event was carried out, or the engine refused it."""
        if not isinstance(event, Submitted):
            return
        if refused is not None:
            self._refuse(refused)
            return
        for entries, _ in self._tasks.values():
            for entry in entries:
                self._inbox.remove(entry)
        self._tasks = {}

    # --------------------------------------------------------------------------------------------------------- inside

    def _is_withdrawn(self, id: str) -> bool:
        """Whether its file came here from its status folder, by a person's hand."""
        return self._engine.ledger.status(id) in RETURNABLE and self._store.find(id) is None

    def _load(self, entry: Entry, jobs: dict[str, tuple[list[Entry], Task]]) -> None:
        job = entry.job
        assert job is not None
        try:
            task = decode(self._catalog.kind(job.task).cls, job.params, self._catalog.root)
            id = job_id(task, self._catalog.root)
            if job.id and job.id != id:
                raise TypeError(f"its id is {job.id}, but its task and params make {id}")
        except (RunnerError, TypeError) as error:
            self._put_aside(entry, str(error))
            return
        entries = jobs[id][0] if id in jobs else []  # the later wish wins, as with Hints; all are answered by it
        jobs[id] = ([*entries, entry], task)

    def _propose(self, jobs: Mapping[str, tuple[list[Entry], Task]]) -> list[Proposal]:
        return propose([task for _, task in jobs.values()], root=self._catalog.root, submitted=True)

    def _submitted(self, proposals: list[Proposal]) -> Submitted:
        batch: list[Proposal] = []
        for proposal in proposals:
            known = self._tasks.get(proposal.id)
            batch.append(proposal if known is None else self._with_history(known[0], proposal))
        return Submitted(batch, by_name=True)

    def _with_history(self, entries: Sequence[Entry], proposal: Proposal) -> Proposal:
        """A job that comes back keeps who found it, and what it was told to come after."""
        jobs = [entry.job for entry in entries if entry.job is not None]
        old = [job for job in jobs if job.attempts or job.result]
        job = (old or jobs)[-1]
        after = tuple(dict.fromkeys((*proposal.after, *(id for each in jobs for id in each.after))))
        if old:
            found_by, depth, submitted = job.found_by, job.depth, job.submitted or len(jobs) > len(old)
        else:
            found_by, depth, submitted = None, proposal.depth, True
        proposal = replace(proposal, after=after, found_by=found_by, depth=depth, submitted=submitted)
        entry = next(entry for entry in entries if entry.job is job)
        return replace(proposal, staged=self._inbox.stage(entry, proposal))

    def _refuse(self, error: Exception) -> None:
        """Put aside the files that are to blame, and keep the others to be proposed again."""
        named = set(error.cycle) if isinstance(error, CycleFound) else {id for id in self._tasks if id in str(error)}
        guilty = named & set(self._tasks)
        if not guilty and len(self._tasks) > 1:
            guilty = {id for id in self._tasks if not self._admissible(id)}
        for id in guilty or set(self._tasks):
            for entry in self._tasks.pop(id)[0]:
                self._put_aside(entry, f"{type(error).__name__}: {error}")

    def _admissible(self, id: str) -> bool:
        """Whether it can be proposed by itself: if not, it is to blame."""
        try:
            self._propose({id: self._tasks[id]})
        except Exception:
            return False
        return True

    def _command(self, entry: Entry) -> Iterator[Event]:
        fields = entry.command
        ids = fields.get("ids", [])
        known = isinstance(ids, list) and all(isinstance(id, str) for id in ids)
        match fields["verb"]:
            case "stop":
                holder = self._store.holder()
                if holder is not None and fields.get("pid") == holder.pid and fields.get("start") == holder.start:
                    self.stop_wanted = True
            case "retry" if known:
                yield Retried(tuple(ids))
            case "cancel" if known:
                yield Cancelled(tuple(ids))
            case "invalidate" if known:
                yield Invalidated(tuple(ids))
            case verb:
                self._put_aside(entry, f"no command this runner knows: {verb!r} with {fields}")
                return
        if fields["verb"] in ("cancel", "invalidate") and (running := self._running(ids)):
            self._kept.append((self._inbox.keep(entry, running), running))
        else:
            self._inbox.remove(entry)

    def _running(self, ids: Sequence[str]) -> tuple[str, ...]:
        return tuple(id for id in ids if self._engine.ledger.status(id) is Status.RUNNING)

    def _put_aside(self, entry: Entry, reason: str) -> None:
        self._store.quarantine(INBOX, entry.name, reason)
        self.quarantined += 1
