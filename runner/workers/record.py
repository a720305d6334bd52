"""What a job's file tells of its last success, and what an attempt adds to the file. Nothing here runs a task.

A file may be old, or of another's making: what its record leaves out has its default here.
"""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from runner.core import policy
from runner.core.model import Json
from runner.store import codec
from runner.store.codec import JobFile
from runner.task import Last, RetryLater, TaskType
from runner.workers.staging import Digest

_MAX_MESSAGE = 10_000
_MAX_TRACEBACK = 50_000


class Dropped(Struct, frozen=True):
    """Jobs that were found in earlier runs, and in this one no more."""

    run: str
    ids: tuple[str, ...]


class Record(Struct, frozen=True, kw_only=True):
    """A job's last success."""

    run: str | None = None
    version: Json = None
    checked_at: str | None = None
    change: str | None = None
    params: dict[str, Json] = {}
    hints: dict[str, Json] = {}
    inputs: dict[str, str | None] = {}
    outputs: dict[str, Digest | None] = {}  # None: it was absent
    wiring: str | None = None  # which field had which of the inputs
    found: tuple[str, ...] = ()
    dropped: Dropped | None = None
    invalidated: str | None = None  # a person does not trust it, since then
    value: Json = None

    def dropped_in(self, run: str | None) -> tuple[str, ...]:
        """The jobs that it found before this run, and in it no more."""
        return self.dropped.ids if self.dropped is not None and self.dropped.run == run else ()


def record_of(job: JobFile) -> Record | None:
    """A job's last success; None: it had none."""
    return None if job.result is None else msgspec.convert(job.result, Record)


def last_of(job: JobFile) -> Last | None:
    """The same, as tasks see it."""
    record = record_of(job)
    if record is None:
        return None
    checked = 0.0 if record.checked_at is None else codec.parse_stamp(record.checked_at)
    return Last(
        params=record.params,
        hints=record.hints,
        value=record.value,
        outputs=(job.result or {}).get("outputs", {}),
        version=record.version,
        checked_at=datetime.fromtimestamp(checked, UTC),
    )


def change(last: Record | None, run: str, outputs: Mapping[str, Digest | None], value: Json) -> str:
    """new, changed or unchanged, against the last success of an earlier run."""
    if last is None or last.change == "absent":
        return "new"
    same_again = last.outputs == outputs if outputs else last.value == value
    if last.run == run:
        return str(last.change) if same_again or last.change == "new" else "changed"
    return "unchanged" if same_again else "changed"


def dropped(last: Record | None, run: str, found: Collection[str]) -> tuple[str, ...]:
    """Whom a job found before this run, and does not now."""
    if last is None:
        return ()
    now = frozenset(found)
    return tuple(id for id in dict.fromkeys((*last.found, *last.dropped_in(run))) if id not in now)


def note(run: str, began: float, seconds: float, outcome: str) -> dict[str, Json]:
    """An entry of `attempts`. `began` in seconds since the epoch."""
    return {"run": run, "started": codec.stamp(began), "seconds": round(seconds, 6), "outcome": outcome}


def told(error: BaseException, *, plainly: bool, hidden: str) -> dict[str, str]:
    """An error as `attempts` have it. `plainly`: without a traceback; else without the frames of the file `hidden`
    that come before the user's own."""
    said = _cut(_text(error), _MAX_MESSAGE)
    entry = {"type": type(error).__name__, "message": said}
    if not plainly:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == hidden:
            trace = trace.tb_next
        if trace is not None:  # else it is a defect of ours, and its frames are all there is
            error = error.with_traceback(trace)
        entry["traceback"] = _cut("".join(traceback.format_exception(error)), _MAX_TRACEBACK)
    return entry


def put_off(job: JobFile, error: RetryLater, began: float, now: float) -> float | None:
    """When a job that raised RetryLater may start again; None: it did so too often, or for too long."""
    earlier = [a for a in job.attempts[job.retries_from :] if a["outcome"] == "later"]
    started = earlier[0].get("started") if earlier else None
    first = began if started is None else codec.parse_stamp(started)
    return policy.put_off_until(len(earlier) + 1, first, error.seconds, now)


def retry_at(job: JobFile, kind: TaskType, now: float) -> float | None:
    """When a job that has just failed may start again; None: its retries are used up."""
    failures = 1 + sum(a["outcome"] in policy.CHARGED for a in job.attempts[job.retries_from :])
    return policy.retry_at(job.id, failures, kind.retries, kind.backoff, now)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be had: its own __str__ fails)"


def _cut(text: str, limit: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[: limit // 2]}\n[...]\n{text[-limit // 2 :]}"
