"""Group commit: what is to count once it is durable is gathered, and synced in one go, while the next group gathers.

In a group are workers' answers (their records, outputs and children lie written), and new job files that the scheduler
writes ahead of their turn, so that a large batch that is being admitted costs no sync of its own. With durability
"process" nothing has to be waited for. Must not decide what follows from an answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from runner.core.engine import Engine
from runner.core.events import Finished
from runner.listeners import Store
from runner.syncer import Syncer
from runner.workers.port import Executor, Reply

GROUP = 100
"""How many answers make a group worth a sync of its own, while workers have other work."""

GROUP_AGE = 0.01
"""Seconds that the first answer of such a group waits at the most."""

AHEAD = 1024
"""How many new job files may be written ahead of their turn."""


class GroupCommit:
    """What waits for the disk. `part`: how many jobs of a large batch enter in one go."""

    def __init__(self, store: Store, executor: Executor, part: int) -> None:
        self._store = store
        self._part = part
        self._syncer = Syncer(lambda: store.sync(self._outputs())) if store.durable else None
        if self._syncer is not None:
            executor.watch(self._syncer.fd)
        self._gathered: list[Reply] = []
        self._since = 0.0  # when the first of them came, or the first new file that is not durable
        self._syncing: list[Reply] = []
        # Jobs of the batch that is being admitted, counted from the next to enter: whose files are written, of these
        # the ones that the sync under way covers, and of these the durable ones.
        self._written = self._covered = self._durable = 0

    def close(self) -> None:
        """End the thread, after the sync it is at."""
        if self._syncer is not None:
            self._syncer.close()

    # ----------------------------------------------------------------------------------------------------- answers

    def __len__(self) -> int:
        """How many answers have not been taken."""
        return len(self._gathered) + len(self._syncing)

    def gather(self, reply: Reply) -> None:
        """Here is an answer. `take` gives it once it is durable."""
        if not self._gathered and self._written <= self._durable:
            self._since = time.monotonic()
        self._gathered.append(reply)

    def take(self) -> list[Reply]:
        """The answers that are durable now, in the order they came. Raises what a sync raised."""
        if self._syncer is None:
            taken, self._gathered = self._gathered, []
            return taken
        if not self._syncer.busy or not self._syncer.finish():
            return []
        self._durable = max(self._durable, self._covered)
        taken, self._syncing = self._syncing, []
        return taken

    def take_all(self) -> list[Reply]:
        """All answers, after one last sync."""
        self._store.sync()
        taken, self._syncing, self._gathered = self._syncing + self._gathered, [], []
        return taken

    def start_sync(self, engine: Engine, *, hurry: bool) -> None:
        """Sync what has been gathered and written, if that is due."""
        if self._syncer is not None and not self._syncer.busy and self._is_due(engine, hurry):
            self._syncing, self._gathered = self._gathered, []
            self._covered = self._written
            self._syncer.start()

    def _is_due(self, engine: Engine, hurry: bool) -> bool:
        """A sync costs the same for one and for many, so it pays to gather them, but never while somebody may wait for
        what they release.
        """
        answers, files = len(self._gathered), self._written - self._durable
        if not answers and not files:
            return False
        if hurry or answers >= GROUP or files >= AHEAD // 4 or engine.busy <= answers:
            return True
        if not engine.claimable and not self.enterable():
            return True
        return time.monotonic() - self._since >= GROUP_AGE

    def _outputs(self) -> Iterator[str]:
        """The files to be delivered with the answers that are being synced."""
        for reply in self._syncing:
            if isinstance(reply.event, Finished):
                for path, _ in reply.event.deliver:
                    yield path

    # -------------------------------------------------------------------------------- the batch that is being admitted

    def enterable(self) -> int:
        """How many of the jobs to come may enter now."""
        return self._part if self._syncer is None else min(self._part, self._durable)

    def entered(self, count: int) -> None:
        """So many have entered."""
        if self._syncer is not None:
            self._written, self._covered, self._durable = (
                max(0, n - count) for n in (self._written, self._covered, self._durable)
            )

    def write_ahead(self, engine: Engine) -> None:
        """Write some of the job files that are to come, unless enough of them are written."""
        stop = min(self._written + self._part, engine.entering, AHEAD)
        if self._syncer is None or self._written >= stop or engine.checking:
            return
        anything = self._store.write_ahead(engine.upcoming(self._written, stop))
        if not anything and self._written == self._durable:  # workers have written all of it, or it is known
            self._durable = stop
        if not self._gathered and self._written <= self._durable < stop:
            self._since = time.monotonic()
        self._written = stop

    def patience(self, engine: Engine) -> float | None:
        """Seconds until there is more to do here, if no answer comes and no sync ends."""
        if engine.checking or (engine.deferred and not engine.entering):
            return 0.0
        if engine.entering and (self.enterable() or self._written < min(AHEAD, engine.entering)):
            return 0.0
        if (self._gathered or self._written > self._durable) and self._syncer is not None and not self._syncer.busy:
            return max(0.0, self._since + GROUP_AGE - time.monotonic())
        return None
