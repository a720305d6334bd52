"""What a job's file tells of its last success, and what an attempt adds to the file. Nothing here runs a task.

A file may be old, or of another's making: what its record leaves out has its default here.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

import msgspec

from runner.core import policy
from runner.core.model import Json
from runner.store import codec
from runner.store.codec import Digest, JobFile, Record
from runner.task import Last, NoRetry, RetryLater, TaskType

_MAX_MESSAGE = 10_000
_MAX_TRACEBACK = 50_000


def last_of(record: Record) -> Last:
    """A job's last success, as tasks see it."""
    return Last(
        params=record.params,
        hints=record.hints,
        value=record.value,
        outputs={path: None if made is None else msgspec.structs.asdict(made) for path, made in record.outputs.items()},
        version=record.version,
        checked_at=record.checked_at or datetime.fromtimestamp(0, UTC),
    )


def change(last: Record | None, run: str, outputs: Mapping[str, Digest | None], value: Json) -> str:
    """new, changed or unchanged, against the last success of an earlier run."""
    if last is None or last.change == "absent":
        return "new"
    same_again = last.outputs == outputs if outputs else last.value == value
    if last.run == run:
        return str(last.change) if same_again or last.change == "new" else "changed"
    return "unchanged" if same_again else "changed"


def unchanged_outputs(job: JobFile, run: str, outputs: Mapping[str, Digest | None]) -> dict[str, Json]:
    """What an attempt notes of outputs that are as an earlier run left them, where others are not."""
    last = codec.record_of(job)
    if last is None:
        return {}
    same = [path for path, made in outputs.items() if made is not None and last.outputs.get(path) == made]
    if last.run == run:  # then the record is of an earlier success in this run, whose attempt compared it
        earlier = next((a for a in reversed(job.attempts) if a.get("run") == run and a.get("outcome") == "done"), {})
        if earlier.get("change") != "unchanged":
            same = [path for path in same if path in earlier.get("same", ())]
    return {"same": same} if 0 < len(same) < len(outputs) else {}


def dropped(last: Record | None, run: str, found: Collection[str]) -> tuple[str, ...]:
    """Whom a job found before this run, and does not now."""
    if last is None:
        return ()
    now = frozenset(found)
    return tuple(id for id in dict.fromkeys((*last.found, *last.dropped_in(run))) if id not in now)


def note(run: str, began: float, seconds: float, outcome: str) -> dict[str, Json]:
    """An entry of `attempts`, made by the worker itself. `began` in seconds since the epoch."""
    return {
        "run": run,
        "started": codec.stamp(began),
        "seconds": round(seconds, 6),
        "outcome": outcome,
        "worker": os.getpid(),
    }


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


def is_bare(error: BaseException) -> bool:
    """Whether the message of a NoRetry is all there is to tell: the user's own class, or a cause, has a traceback."""
    hidden = error.__suppress_context__ or error.__context__ is None
    return type(error) is NoRetry and error.__cause__ is None and hidden


def put_off(job: JobFile, error: RetryLater) -> float | None:
    """How long a job that raised RetryLater waits; None: it did so too often, or for too long."""
    earlier = [a for a in job.attempts[job.retries_from :] if a["outcome"] == "later"]
    spent = sum(a.get("retry_in") or 0.0 for a in earlier)
    return policy.put_off(len(earlier) + 1, spent, error.seconds)


def retry_in(job: JobFile, kind: TaskType) -> float | None:
    """How long a job that has just failed waits; None: its retries are used up."""
    failures = 1 + sum(a["outcome"] in policy.CHARGED for a in job.attempts[job.retries_from :])
    return policy.retry_in(job.id, failures, kind.retries, kind.backoff)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return "(its message cannot be had: its own __str__ fails)"


def _cut(text: str, limit: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[: limit // 2]}\n[...]\n{text[-limit // 2 :]}"
