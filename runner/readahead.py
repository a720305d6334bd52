"""Done jobs that are about to be asked for, read and judged by workers that have nothing else to do.

Theory of operation. While a large batch enters, it is known which jobs come next. The ids of those that were done
before go to idle workers, some hundred jobs ahead; a worker reads the job file, judges the job as the scheduler would,
and sends what it saw. When the job enters, and its wish is what its file says, nobody needs to read that file again.

It is a cache, and nobody waits for it: what comes late, or not at all, or may be out of date by now is read and judged
by the scheduler itself. A sight holds as long as the store has not forgotten the job's file, and none of those the job
comes after has run since.
"""

from __future__ import annotations

from collections.abc import Sequence

from runner.core.engine import Engine
from runner.core.events import Began, Judged, WorkerLost
from runner.core.ledger import Ledger
from runner.core.model import DONE
from runner.listeners import Store
from runner.store.codec import Brief
from runner.workers.port import Executor, Looked, Outcome, Reply, Sight


class ReadAhead:
    """For one run."""

    chunk = 128
    """How many jobs one worker is asked to look at in one go."""

    lead = 512
    """So many of the next to enter are left out: the answer would come too late."""

    ahead = 1536
    """How many of the jobs to come are looked at ahead of time."""

    least = 2048
    """How many must be to come, or starting workers for it costs more than it saves."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._large = False
        self._asked = 0  # how many of the jobs to come, from the next on, somebody was asked to look at
        self._judged: dict[str, tuple[Brief, Judged]] = {}

    def send(self, engine: Engine, executor: Executor) -> None:
        """Have more of the jobs to come looked at, if somebody has nothing else to do."""
        entering = 0 if engine.checking else engine.entering
        self._large = entering > (self.lead if self._large else self.least)
        while self._large and (start := max(self._asked, self.lead)) < min(entering, self.ahead):
            ids = engine.done_before(start, start + self.chunk)
            if ids and not executor.look(ids):
                return
            self._asked = start + self.chunk

    def entered(self, count: int) -> None:
        """So many jobs of the batch have entered."""
        self._asked = max(0, self._asked - count)

    def take(self, outcomes: Sequence[Outcome]) -> list[Reply | WorkerLost | Began]:
        """Keep what was looked at; the other outcomes come back."""
        others: list[Reply | WorkerLost | Began] = []
        for outcome in outcomes:
            if isinstance(outcome, Looked):
                self._keep(outcome.sights)
            else:
                others.append(outcome)
        return others

    def _keep(self, sights: Sequence[Sight]) -> None:
        if len(self._judged) > self.ahead:  # of jobs that have to wait, most likely for some that will run
            self._judged.clear()
        for sight in sights:
            job = sight.job
            if self._ledger.node(job.id) is None:  # else it has entered, or its file may have been changed meanwhile
                self._store.keep(job)
                if sight.judged is not None:
                    self._judged[job.id] = job, sight.judged

    def judged(self, job: Brief) -> Judged | None:
        """What a worker said of it; None: nothing, or it need not hold any more."""
        sight = self._judged.pop(job.id, None)
        if sight is None or sight[0] is not job:
            return None
        node = self._ledger.node(job.id)
        for id in node.after if node is not None else ():
            upstream = self._ledger.node(id)
            if upstream is not None and (upstream.change or upstream.status is not DONE):
                return None  # it ran, or it may have left something before it failed
        return sight[1]
