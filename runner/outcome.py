"""What `run()` may return, raise and ask about last time. For `task.py`, which exports it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta

from runner.core.model import Json


@dataclass(frozen=True)
class Unchanged:
    """Returned by `run()`: last time's outputs still hold. `value`: a small JSON value, kept."""

    value: Json = None


@dataclass(frozen=True)
class Absent:
    """Returned by `run()`: there is no output now. `value`: a small JSON value, kept."""

    value: Json = None


class RetryLater(Exception):
    """Raised by `run()`: try again no sooner than in `seconds`. It uses up no retry."""

    def __init__(self, seconds: float | timedelta, reason: str = "") -> None:
        self.seconds = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        self.reason = reason
        super().__init__(self.seconds, reason)

    def __str__(self) -> str:
        return self.reason or f"again in {self.seconds:g} s"


class NoRetry(Exception):
    """Raised by a task: trying again cannot help. The job has failed, whatever `retries` says.

    A task's own errors may derive from it, beside another base or alone.
    """


@dataclass(frozen=True, kw_only=True)
class Last:
    """The record of a job's last success."""

    params: Mapping[str, Json]
    hints: Mapping[str, Json]
    value: Json
    outputs: Mapping[str, Mapping[str, Json] | None]  # path -> {"bytes", "sha256"}; None: it was absent
    version: int
    checked_at: datetime  # aware: the start of the run that made or confirmed it


@dataclass(frozen=True)
class Context:
    """What a worker tells the task that it runs."""

    previous: Callable[[], Last | None]


CURRENT: ContextVar[Context | None] = ContextVar("CURRENT", default=None)


def previous() -> Last | None:
    """Inside `run()`: the last record of this job, if every output it names is still there whole. Else None."""
    context = CURRENT.get()
    return context.previous() if context is not None else None
