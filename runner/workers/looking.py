"""Looking at done jobs ahead of time, in a worker that has nothing else to do: see `readahead.py`.

No method of the user's is called: it may hang or end the process, and nobody waits for the answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from runner.errors import RunnerError
from runner.store import codec
from runner.store.shelf import MAX_KEPT_BYTES
from runner.workers.bench import Bench
from runner.workers.judge import Judge
from runner.workers.port import Looked, Settings, Sight

LONG = 0.05
"""Seconds after which the rest is left to others: an order may be waiting."""

_encode = msgspec.json.Encoder().encode


class Looker:
    """What one worker judges by."""

    def __init__(self, bench: Bench) -> None:
        settings: Settings = bench.settings
        self._bench = bench
        self._judge = Judge(bench, settings.how, run=settings.run, started=settings.started)

    def look(self, ids: Iterable[str]) -> Looked:
        """What is to be seen of these, as far as it does not take long. Raises nothing."""
        until = time.monotonic() + LONG
        sights = []
        for id in ids:
            sight = self._sight(id)
            if sight is not None:
                sights.append(sight)
            if time.monotonic() > until:
                break
        return Looked(sights)

    def _sight(self, id: str) -> Sight | None:
        try:
            data = self._bench.done(id)
            job = codec.skim(data, id) if len(data) <= MAX_KEPT_BYTES else None
            if job is None:
                return None
            kind = self._bench.kind(job.task)
            asked = kind.has_due or kind.max_age is not None
            sight = Sight(job, None if asked else self._judge.judge(job))
            _encode(sight)
        except (OSError, RunnerError, TypeError, ValueError, RecursionError):
            return None  # whatever is the matter, the scheduler will see, and say it
        return sight
