"""Done jobs, looked at one after the other while workers are busy: the answers to Judge, Walk and Trace.

Reads job files, and (through `judge.py`) what those jobs read and made. Decides nothing, and changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeAlias

from runner.catalog import Catalog
from runner.core import commands
from runner.core.commands import Trace, Walk
from runner.core.events import Asked, Event, Judged, Traced, Verified
from runner.core.ledger import Ledger
from runner.core.model import CANCELLED, DONE, QUARANTINE, Proposal
from runner.errors import BadJobFile, RunnerError
from runner.listeners import Store
from runner.readahead import ReadAhead
from runner.store.codec import Brief
from runner.workers.judge import Judge

Look: TypeAlias = commands.Judge | Walk | Trace


class Rounds:
    """What is still to be looked at, in one run. Judgements come before the rest: they let workers start."""

    def __init__(self, store: Store, catalog: Catalog, ledger: Ledger, judge: Judge) -> None:
        self._store = store
        self._catalog = catalog
        self._ledger = ledger
        self._judge = judge
        self.ahead = ReadAhead(store, ledger)
        self._judging: deque[str] = deque()
        self._others: deque[Walk | Trace] = deque()

    def __len__(self) -> int:
        return len(self._judging) + len(self._others)

    def add(self, look: Look) -> None:
        if isinstance(look, commands.Judge):
            self._judging.append(look.id)
        else:
            self._others.append(look)

    def answers(self, seconds: float) -> Iterator[Event]:
        """Events for the engine, for so long; each is to be carried out before the next is asked for."""
        until = time.monotonic() + seconds
        verified: list[str] = []
        while self._judging and time.monotonic() < until:
            judged = self._judged(self._judging.popleft())
            if judged.reason is None and not (judged.asks or judged.found or judged.dropped or judged.change):
                verified.append(judged.id)
            else:
                yield judged
        if verified:
            yield Verified(tuple(verified))
        while self._others and time.monotonic() < until:
            look = self._others.popleft()
            if isinstance(look, Walk):
                yield Asked(id=look.finder, children=self.known(look.ids))
            else:
                yield self._traced(look)

    def known(self, ids: Iterable[str]) -> list[Proposal]:
        """These jobs, as they stand in their files; without those whose file or class is gone."""
        proposals = []
        for id in ids:
            status = self._ledger.status(id)
            if status in (None, QUARANTINE, CANCELLED):
                continue
            assert status is not None
            with suppress(FileNotFoundError, RunnerError, TypeError):
                proposals.append(self._catalog.proposal(self._store.read(id, status), status))
        return proposals

    def _judged(self, id: str) -> Judged:
        try:
            job = self._store.brief(id, DONE)
            return self.ahead.judged(job) or self._judge.judge(job)
        except (FileNotFoundError, BadJobFile):  # taken away or damaged by hand: `check` tells of it
            return Judged(id=id, reason=None)

    def _traced(self, trace: Trace) -> Traced:
        spared = (id for job in self._briefs(trace.unheard) if job.result is not None for id in job.result.found)
        jobs = ((job.id, job.submitted, job.result.found if job.result else ()) for job in self._briefs(trace.ids))
        return Traced(tuple(jobs), frozenset(spared))

    def _briefs(self, ids: Iterable[str]) -> Iterator[Brief]:
        """Of those whose file can be read."""
        for id in ids:
            status = self._ledger.status(id)
            if status is None or status is QUARANTINE:
                continue
            with suppress(FileNotFoundError, BadJobFile):
                yield self._store.brief(id, status)
