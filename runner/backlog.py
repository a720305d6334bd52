"""What an earlier runner left, and what this run does not have to know in detail before the first job starts.

Theory of operation. A start reads every unfinished job, as nothing may be moved before it is known that nothing was
written by a newer version. But what a pending job is does not matter before its turn comes: its name tells who makes
what, a glance at its file what it comes after, and the rule book takes it for open. So a million of them cost a name
each, and are taken over in parts, as workers need more to do; higher priorities first. A run that goes on names its
roots again in parts as well: those that it takes over so are named by that.

More is to be known at once of a job that makes several files, which its name does not tell, that reads what nobody
makes so far, that has to wait for a time or has used up its retries, or whose class is not to be had. Must not decide
anything about a job.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from runner.catalog import Catalog
from runner.core.events import Submitted, TakenOver
from runner.core.ledger import Ledger, output_hash
from runner.core.model import PENDING, Proposal, Stored
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import Glance
from runner.store.folders import FolderStore


class Backlog:
    """For one run. Empty, it has nothing to say. `damaged`: files that it has put into quarantine/."""

    first = 1024
    """So many roots are named in one go at the start."""

    def __init__(self, store: FolderStore, catalog: Catalog) -> None:
        self._store = store
        self._catalog = catalog
        self._left: dict[int, deque[str]] = {}  # by priority
        self._queues: dict[str, deque[str] | None] = {}  # task -> where its jobs go; None: these have to be known
        self._roots: frozenset[str] = frozenset()
        self._unnamed: deque[str] | None = None  # None: there is nothing to be named again
        self._dropped: Callable[[], Iterable[str]] = tuple
        self._first = self.first
        self.waiting: dict[str, tuple[str, ...]] = {}
        self.damaged = 0

    def leave(self, job: Glance, data: bytes) -> bool:
        """Whether a pending job can wait until it is taken over. If so, it is in here now. `data`: its file."""
        task = job.task
        if task not in self._queues:
            several = self._catalog.may_have_several_outputs(task)
            queue = None if several else self._left.setdefault(self._catalog.kind(task).priority, deque())
            self._queues[task] = queue
        queue = self._queues[task]
        if queue is None or job.not_before is not None or (job.attempts and self._catalog.is_spent(job)):
            return False
        if self._catalog.kind(task).inputs and not self._is_bound(job, data):
            return False
        queue.append(job.id)
        if job.after:
            self.waiting[job.id] = job.after
        return True

    def _is_bound(self, job: Glance, data: bytes) -> bool:
        """Whether it comes after the makers of all that it reads."""
        brief = codec.skim(data, job.id)
        if brief is None:
            return False
        made = {id[-16:] for id in job.after}
        try:
            return all(output_hash(path) in made for path in self._catalog.reads(brief))
        except TypeError:  # its parameters are no paths: it is put aside, or fails
            return False

    def name_again(self, roots: Iterable[str], dropped: Callable[[], Iterable[str]]) -> None:
        """The roots of the run that goes on; `dropped`, asked at the end: those that are roots no more."""
        left = frozenset[str]().union(*self._left.values())
        self._roots = frozenset(roots) if left else left
        self._unnamed = deque(id for id in roots if id not in left) if left else deque(roots)
        self._dropped = dropped

    @property
    def left(self) -> bool:
        """Whether jobs are still to be taken over."""
        return any(self._left.values())

    @property
    def unnamed(self) -> bool:
        """Whether roots are still to be named."""
        return self._unnamed is not None

    def __bool__(self) -> bool:
        return self.left or self.unnamed

    def take(self, count: int, ledger: Ledger) -> TakenOver:
        """The next so many jobs, as their files have them now; without those that were proposed or cancelled since."""
        found: list[Stored] = []
        damaged: list[str] = []
        lost: list[str] = []
        for id in self._next(count):
            if ledger.status(id) is not PENDING or ledger.node(id) is not None:
                continue
            try:
                job = self._store.read(id, PENDING, remember=True)
            except FileNotFoundError:  # taken away by hand: `check` tells of it
                lost.append(id)
            except BadJobFile as error:
                self._store.quarantine(PENDING, f"{id}.json", str(error))
                self.damaged += 1
                damaged.append(id)
            else:
                found.append(self._catalog.stored(job, PENDING, False, named=id in self._roots))
        return TakenOver(found, tuple(damaged), tuple(lost))

    def _next(self, count: int) -> list[str]:
        queues = (self._left[priority] for priority in sorted(self._left, reverse=True))
        first = next(filter(None, queues), deque[str]())
        return [first.popleft() for _ in range(min(count, len(first)))]

    def name(self, count: int, known: Callable[[Iterable[str]], list[Proposal]]) -> Submitted:
        """The next so many roots; `known` gives jobs as they stand in their files. The first ones are not so few: most
        runs have no more, and these are named before anything starts.
        """
        assert self._unnamed is not None
        count, self._first = max(count, self._first), 0
        ids = [self._unnamed.popleft() for _ in range(min(count, len(self._unnamed)))]
        if self._unnamed:
            return Submitted(known(ids), more=True)
        self._unnamed = None
        return Submitted(known(ids), dropped=tuple(self._dropped()))
