"""What a person sees while a run goes on: a table that is kept up to date on a terminal, a line now and then elsewhere.

Goes to stderr; data goes to stdout and not through here. It only listens to the loop.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

from msgspec import Struct

from runner import words
from runner.core.commands import Move
from runner.core.engine import Engine
from runner.core.events import Failed, Finished
from runner.core.model import Status, Step
from runner.live import Row, Screen
from runner.store.mounts import LOST
from runner.workers.port import Reply

TERMINAL_EVERY = 0.25
"""Seconds between two drawings on a terminal."""

LINE_EVERY = 10.0
"""Seconds between two lines elsewhere."""

WINDOW = 30.0
"""Seconds that rates are taken over."""

FAILURES = 100
"""How many failures are told one by one. The others are counted: `list` has them all."""

CTRL_C = "Ctrl-C"
"""Why a run leaves when somebody sits there, who is to know that it was heard."""

ALWAYS = -9
"""For who wants to hear nothing, too."""

KEPT = 20
"""How many failures the summary names."""

_HELD = 3  # limits that are told


class Failure(Struct, frozen=True, kw_only=True):
    """A job that is out of retries. `error`: the first line of what went wrong."""

    id: str
    error: str


class Progress:
    """A Watcher that draws. `verbosity`: at -1 only failures that are final, below nothing, above 0 every failure."""

    def __init__(self, run: str, *, verbosity: int = 0, stream: TextIO | None = None) -> None:
        self._run = run
        self._stream = stream or sys.stderr
        self._verbosity = verbosity
        self._live = verbosity >= 0 and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._screen: Screen | None = None
        self._lines: list[str] = []  # for the screen, with its next drawing
        self._began = time.monotonic()
        self._next = self._began + (TERMINAL_EVERY if self._live else LINE_EVERY / 10)
        self._past: deque[tuple[float, Counter[str]]] = deque([(self._began, Counter())])  # settled by task, at a time
        self._settled: Counter[str] = Counter()
        self._told = 0  # failures
        self.failures: list[Failure] = []  # the first of those that are final
        self.finished: Counter[str] = Counter()  # task name -> jobs that ran and succeeded
        self.changes: Counter[str] = Counter()
        self._warned = False
        self._leaving = False  # what is left is not for this command
        self._gone = False  # nobody sees it any more

    # --------------------------------------------------------------------------------------------- what it hears

    def moved(self, moves: Sequence[Move], now: float) -> None:
        for move in moves:
            if move.step is Step.FINISH:
                self.finished[move.id[:-17]] += 1
                self._settled[move.id[:-17]] += 1
            elif move.target is Status.FAILED:
                self._settled[move.id[:-17]] += 1
                if move.record is None:
                    self._fail(move.id, move.why)
            elif move.step is Step.REQUEUE and move.change is not None and move.change.retry_in is not None:
                self._fail(move.id, move.why, move.change.retry_in)

    def replied(self, reply: Reply) -> None:
        event = reply.event
        if isinstance(event, Finished):
            self.changes[event.change] += 1
            if reply.elsewhere and not self._warned:
                self._warned = True
                self.say(f"warning: {reply.elsewhere} lies on another file system than state and project: {LOST}")
        elif isinstance(event, Failed):
            self._fail(event.id, reply.error.splitlines()[0] if reply.error else "", event.retry_in)

    def leaving(self, reason: str, busy: int) -> None:
        self._leaving = True
        rest = ", and what runs is finished first (Ctrl-C: at once)" if busy else ""
        self.say(f"{reason}: nothing more is started{rest}; `resume` goes on", ALWAYS if reason == CTRL_C else 0)

    def tick(self, engine: Engine, now: float) -> None:
        clock = time.monotonic()
        if clock < self._next or self._verbosity < 0 or self._gone:
            return
        self._draw(engine, clock)
        cost = time.monotonic() - clock  # counting a million jobs takes its time: at most a twentieth of it all
        self._next = clock + max(TERMINAL_EVERY if self._live else LINE_EVERY, 20 * cost)

    def close(self) -> None:
        """The last word; the terminal is as it was."""
        if self._told > FAILURES and self._verbosity < 1:
            self.say(f"and {self._told - FAILURES:,} more failures", -1)
        if self._screen is not None:
            screen, self._screen, self._live = self._screen, None, False
            self._written(lambda: screen.close(self._lines))

    # ------------------------------------------------------------------------------------------------ what it says

    def _fail(self, id: str, error: str, retry_in: float | None = None) -> None:
        self._told += 1
        if retry_in is None and len(self.failures) < KEPT:
            self.failures.append(Failure(id=id, error=error))
        if self._told <= FAILURES or self._verbosity > 0:
            what = "failed" if retry_in is None else f"again in {words.wait(retry_in)}"
            self.say(f"{what}: {id}{': ' + error if error else ''}", -1 if retry_in is None else 0)

    def say(self, line: str, least: int = 0) -> None:
        """A line that stays, for who wants to hear at least so much."""
        if self._verbosity < least or self._gone:
            return
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)  # a task's error may hold escape codes
        if self._screen is not None:
            self._lines.append(line)
        else:
            self._written(lambda: self._stream.write(f"{line}\n"))

    def _draw(self, engine: Engine, clock: float) -> None:
        self._past.append((clock, self._settled.copy()))
        while len(self._past) > 2 and self._past[1][0] <= clock - WINDOW:
            self._past.popleft()
        if not self._live:
            self.say(self._line(engine, clock))
            return
        lines, self._lines = self._lines, []
        below = [self._line(engine, clock), *self._held(engine)]
        self._written(lambda: self._show(self._rows(engine, clock), below, lines))

    def _show(self, rows: list[Row], below: list[str], lines: list[str]) -> None:
        if self._screen is None:
            self._screen = Screen(self._stream)
        self._screen.show(rows, below, lines)

    def _written(self, write: Callable[[], object]) -> None:
        """Nobody may be there to see it (a closed pipe, a lost terminal): the work goes on."""
        try:
            write()
            self._stream.flush()
        except (OSError, ValueError):
            self._gone = True

    def _rows(self, engine: Engine, clock: float) -> list[Row]:
        """The classes of tasks, those that are not through first."""
        since, before = self._past[0]
        seconds = max(clock - since, 0.001)
        rows = [
            Row(task, dict(counts), (self._settled[task] - before[task]) / seconds)
            for task, counts in engine.census.by_task().items()
        ]
        return sorted(rows, key=lambda row: (row.settled == row.total, row.task))

    def _line(self, engine: Engine, clock: float) -> str:
        counts = engine.census.tally()
        total = counts.total()
        parts = [f"{counts[Status.DONE]:,} of {total:,} done"]
        parts += [f"{counts[status]:,} {status}" for status in Status if status is not Status.DONE and counts[status]]
        seconds = clock - self._began
        since, before = self._past[0]
        settled = self._settled.total() - before.total()
        if settled and clock - since > 0.5:
            speed = settled / (clock - since)
            parts.append(words.rate(speed))
            left = counts[Status.PENDING] + counts[Status.RUNNING]
            if left and not self._leaving:
                parts.append(f"about {words.span(left / speed)} left")
        return f"[{words.span(seconds)}] " + ", ".join(parts)

    def _held(self, engine: Engine) -> Iterator[str]:
        """What keeps jobs that are ready from starting."""
        held = Counter(engine.census.held())
        if held:
            keys = [f"{count:,} by {key}" for key, count in held.most_common(_HELD)]
            more = f", and more by {len(held) - _HELD:,} other limits" if len(held) > _HELD else ""
            yield f"held back: {', '.join(keys)}{more}"
        if engine.census.delayed:
            yield f"{engine.census.delayed:,} wait for their next try"
