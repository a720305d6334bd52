"""When a run leaves although work is left: a time, a number of jobs, a failure, a wait that is too long.

A Watcher. It stops the loop as Ctrl-C does: nothing more is claimed, and what runs is finished. It must not decide
about jobs, nor how the run ended: that is told by what is left.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from runner.core.commands import Move
from runner.core.engine import Engine
from runner.core.model import Status, Step
from runner.errors import UsageError
from runner.settings import parse_age
from runner.words import span
from runner.workers.port import Reply

_TIME_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})")


class Bounds(Struct, frozen=True, kw_only=True):
    """What ends a run early. None: nothing of that kind does."""

    fail_fast: bool = False  # a job that is out of retries does
    stop_at: float | None = None  # seconds since the epoch
    max_wait: float | None = None  # seconds that all that is left would have to wait for its next try
    max_jobs: int | None = None  # how many jobs are started


NONE = Bounds()
"""The run goes on until nothing is left to do."""


class Warden:
    """Watches over the bounds of one run. `stop` is called once, with what was reached."""

    def __init__(self, bounds: Bounds, stop: Callable[[str], None], clock: Callable[[], float] = time.time) -> None:
        self._bounds = bounds
        self._stop = stop
        self._clock = clock
        self._started = 0  # jobs that were claimed, and not given back unbegun
        self._stopped = False
        self._looks = bounds.fail_fast or bounds.max_jobs is not None  # at each move: there are many

    def room(self, free: int) -> int:
        """How many of so many free places may be filled."""
        most = self._bounds.max_jobs
        return free if most is None else min(free, most - self._started)

    def left(self) -> None:
        """Somebody could be started, or will have to be, and nobody is at work."""
        most = self._bounds.max_jobs
        if most is not None and self._started >= most:
            self._reached(f"{self._started:,} jobs were started (--max-jobs)")

    def waits(self, seconds: float) -> None:
        """Nothing can be done before so many seconds are over."""
        most = self._bounds.max_wait
        if most is not None and seconds > most:
            self._reached(f"the next retry is {span(seconds)} away, more than --max-wait")

    def moved(self, moves: Sequence[Move], now: float) -> None:
        for move in moves if self._looks else ():
            if move.step is Step.CLAIM:
                self._started += 1
            elif move.step is Step.REQUEUE and move.record is None and move.change is None:
                self._started -= 1
            elif move.target is Status.FAILED and self._bounds.fail_fast and (move.record or move.change):
                # Else it had failed in an earlier run, which did not live to move it.
                self._reached(f"{move.id} failed (--fail-fast)")

    def replied(self, reply: Reply) -> None:
        pass

    def leaving(self, reason: str, busy: int) -> None:
        pass

    def tick(self, engine: Engine, now: float) -> None:
        bounds = self._bounds
        if bounds.stop_at is not None and self._clock() >= bounds.stop_at:
            self._reached("its time is over (--stop-after)")

    def _reached(self, what: str) -> None:
        if not self._stopped:
            self._stopped = True
            self._stop(what)


def parse_stop(text: str, now: float) -> float:
    """When "05:30" (the next one, in local time) or "3h" from `now` is, in seconds since 1970. Raises UsageError."""
    match = _TIME_OF_DAY.fullmatch(text.strip())
    if match is None:
        try:
            return now + parse_age(text)
        except UsageError:
            raise UsageError(f"{text!r}: expected a time of the day, such as 05:30, or how long, such as 3h") from None
    hour, minute = int(match[1]), int(match[2])
    if hour > 23 or minute > 59:
        raise UsageError(f"{text!r} is no time of the day")
    today = datetime.fromtimestamp(now).replace(hour=hour, minute=minute, second=0, microsecond=0)
    days = [today + timedelta(days=day) for day in range(3)]
    found = {day.replace(fold=fold).timestamp() for day in days for fold in (0, 1)}
    # Where clocks are put back it comes twice; where they are put forward it does not, and means an hour later.
    there = {at for at in found if (when := datetime.fromtimestamp(at)).hour == hour and when.minute == minute}
    return min(at for at in there | {day.timestamp() for day in days} if at > now)
