"""What a person sees while a run goes on: a line that is kept up to date on a terminal, a line now and then elsewhere.

Goes to stderr; data goes to stdout and not through here. It only listens to the loop.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TextIO

from runner.core.commands import Move
from runner.core.engine import Engine
from runner.core.events import Failed, Finished
from runner.core.model import Status, Step
from runner.store.mounts import LOST
from runner.workers.port import Reply

TERMINAL_EVERY = 0.1
"""Seconds between two drawings on a terminal."""

LINE_EVERY = 10.0
"""Seconds between two lines elsewhere."""


class Progress:
    """A Watcher that draws. `verbosity`: below 0 nothing, above 0 every failure and every line more often."""

    def __init__(self, run: str, *, verbosity: int = 0, stream: TextIO | None = None) -> None:
        self._run = run
        self._stream = stream or sys.stderr
        self._verbosity = verbosity
        self._live = self._stream.isatty()
        self._began = time.monotonic()
        self._next = self._began + (TERMINAL_EVERY if self._live else LINE_EVERY / 10)
        self._width = 0
        self.finished: Counter[str] = Counter()  # task name -> jobs that ran and succeeded
        self.changes: Counter[str] = Counter()
        self.up_to_date = 0
        self._warned = False

    def moved(self, moves: Sequence[Move], now: float) -> None:
        for move in moves:
            if move.step is Step.FINISH:
                self.finished[move.id.rpartition("-")[0]] += 1
            elif move.target is Status.FAILED and move.record is None and self._verbosity >= 0:
                self.say(f"failed: {move.id}{': ' + move.why if move.why else ''}")

    def replied(self, reply: Reply) -> None:
        event = reply.event
        if isinstance(event, Finished):
            self.changes[event.change] += 1
            if reply.elsewhere and not self._warned and self._verbosity >= 0:
                self._warned = True
                self.say(f"warning: {reply.elsewhere} lies on another file system than state and project: {LOST}")
        elif isinstance(event, Failed) and self._verbosity >= 0:
            first = reply.error.splitlines()[0] if reply.error else ""
            if event.retry_in is not None:
                self.say(f"again in {event.retry_in:.1f} s: {event.id}: {first}")
            else:
                self.say(f"failed: {event.id}: {first}")

    def tick(self, engine: Engine, now: float) -> None:
        clock = time.monotonic()
        if clock < self._next or self._verbosity < 0:
            return
        self._draw(self._line(engine, clock))
        cost = time.monotonic() - clock  # counting a million jobs takes its time: at most a twentieth of it all
        self._next = clock + max(TERMINAL_EVERY if self._live else LINE_EVERY, 20 * cost)

    def hindered(self, reason: str, busy: int) -> None:
        if busy and self._verbosity >= 0:
            self.say(f"{reason}; nothing more is started, and what runs is finished first (Ctrl-C: at once)")

    def _line(self, engine: Engine, clock: float) -> str:
        counts = engine.tally()
        total = counts.total()
        done = counts[Status.DONE]
        parts = [f"{done:,} of {total:,} done"]
        parts += [f"{counts[status]:,} {status}" for status in Status if status is not Status.DONE and counts[status]]
        ran = self.finished.total()
        seconds = clock - self._began
        if ran and seconds > 0.5:
            parts.append(f"{ran / seconds:,.1f} jobs/s")
        return f"[{seconds:5.1f} s] " + ", ".join(parts)

    def _draw(self, line: str) -> None:
        if self._live:
            self._write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._write(line + "\n")

    def say(self, line: str) -> None:
        """A line that stays."""
        line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)  # a task's error may hold escape codes
        before = "\r" + " " * self._width + "\r" if self._live and self._width else ""
        self._width = 0
        self._write(f"{before}{line}\n")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # nobody is there to see it (a closed pipe, a lost terminal): the work goes on
            self._verbosity = -1

    def close(self, engine: Engine) -> None:
        """The last word about the counts."""
        if self._verbosity < 0:
            return
        line = self._line(engine, time.monotonic())
        changes = ", ".join(f"{n:,} {change}" for change, n in sorted(self.changes.items()) if change)
        self.say(line + (f" ({changes})" if changes else ""))
