"""Jobs one by one, each with what matters most about it in its status. Must not change anything, nor wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from runner.core.model import FLOW_ORDER, HOPELESS, Json, Status
from runner.errors import BadJobFile
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.views.gist import gist
from runner.views.reading import load_job, quarantined, read_job, reason
from runner.words import moment, shorten

_ORDER = {status: number for number, status in enumerate(FLOW_ORDER)}
_BRIEF = 100  # characters
_OPEN = (Status.PENDING, Status.RUNNING)  # a job that came to life again is not gone
_MISSING = object()
_PYTHON = {"True": "true", "False": "false", "None": "null"}


class Row(Struct, frozen=True, kw_only=True):
    """One job. `why`: what matters about it now, as one line. Files in quarantine/ have their name as `id`."""

    id: str
    status: str
    task: str | None = None
    params: dict[str, Json] | None = None
    found_by: str | None = None
    submitted: bool = False
    not_before: str | None = None
    attempts: int = 0
    change: str | None = None  # of its last success: new, changed, unchanged, absent
    checked_at: str | None = None
    why: str = ""

    @property
    def brief(self) -> str:
        """Its parameters, on one line that is not too long."""
        return shorten(" ".join(f"{key}={_told(value)}" for key, value in (self.params or {}).items()), _BRIEF)


def _told(value: Json) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def rows(
    store: FolderStore,
    *,
    statuses: Collection[str] = (),
    task: str | None = None,
    where: Mapping[str, str] | None = None,
    gone: Callable[[str], str | None] | None = None,
) -> Iterator[Row]:
    """The jobs, in the order of the flow and by id; read one at a time, so a caller may stop at any.

    `statuses`: only these. `task`: a class name, or "module:Class". `where`: parameters by name (`a.b` inside another)
    and their values, as text or as JSON. `gone`: only jobs of which it says why they are (`Reach.why`). Raises
    NewerSchema.
    """
    known = store.scan()
    wanted = [
        (_ORDER[status], id, status)
        for id, status in known.items()
        if status is not Status.QUARANTINE and (not statuses or status in statuses) and _is_of(id, task)
        if gone is None or gone(id) is not None
    ]
    for _, id, status in sorted(wanted):
        row = _row(store, id, status, known, task, where)
        if row is None or (statuses and row.status not in statuses):  # it may have moved on
            continue
        if gone is None:
            yield row
        elif row.status not in _OPEN and (why := gone(id)) is not None:
            yield replace(row, why=why)
    if where or gone or (statuses and Status.QUARANTINE not in statuses):
        return
    for name in quarantined(store):
        if _is_of(name.removesuffix(".json"), task):
            why = _first_line(reason(store, name)) or "nobody said why"
            yield Row(id=name.removesuffix(".json"), status=Status.QUARANTINE.value, why=why)


class Page(Struct, frozen=True, kw_only=True):
    """Some of the jobs that were asked for. `total`: of them all; `unread`: files that were not searched for lack of
    time, behind those that were."""

    total: int
    rows: list[Row]
    unread: int = 0


SEARCHED = 1.0
"""Seconds that a page may take to look for a text in job files."""

READERS_SEARCHED = 0.3
"""Seconds that the page of a job may take to look for those that wait for it."""


def page_of(
    store: FolderStore, *, status: str = "", task: str = "", text: str = "", start: int = 0, most: int = 50
) -> Page:
    """`most` jobs from the `start`-th on, in the order of `rows`. By names alone but for those it shows; where no id
    has `text` in it, job files are searched for that as long as `SEARCHED` allows. Raises NewerSchema.
    """
    known = store.scan()
    wanted = sorted(
        (_ORDER[its], id)
        for id, its in known.items()
        if its is not Status.QUARANTINE and (not status or its == status) and _is_of(id, task or None)
    )
    found = [id for _, id in wanted if text in id]
    unread = 0
    if text and not found:
        found, unread = _search(store, [id for _, id in wanted], known, text.encode(), SEARCHED)
    rows = [_row(store, id, known[id], known, None, None) for id in found[start : start + most]]
    return Page(total=len(found), rows=[row for row in rows if row is not None], unread=unread)


class Readers(Struct, frozen=True, kw_only=True):
    """The jobs that wait, or have waited, for another one. `unread`: as in Page."""

    ids: list[str]
    unread: int


def readers(store: FolderStore, id: str) -> Readers:
    """Those that come after a job; nothing but their own files says so, and `READERS_SEARCHED` bounds the search."""
    known = store.scan()
    found, unread = _search(store, sorted(known), known, f'"{id}"'.encode(), READERS_SEARCHED)
    return Readers(ids=[each for each in found if id in gist(store, each, known[each]).after], unread=unread)


def _search(
    store: FolderStore, ids: list[str], known: Mapping[str, Status], text: bytes, seconds: float
) -> tuple[list[str], int]:
    found, until = [], time.monotonic() + seconds
    for number, id in enumerate(ids):
        with suppress(OSError, BadJobFile):
            loaded = load_job(store, id, known[id])
            if loaded is not None and text in loaded[0]:
                found.append(id)
        if time.monotonic() > until:
            return found, len(ids) - number - 1
    return found, 0


def _is_of(id: str, task: str | None) -> bool:
    """Whether a job can be of the class: its id begins with the class's own name."""
    return task is None or id.rpartition("-")[0] == task.rpartition(":")[2].rpartition(".")[2]


def _row(
    store: FolderStore,
    id: str,
    status: Status,
    known: Mapping[str, Status],
    task: str | None,
    where: Mapping[str, str] | None,
) -> Row | None:
    try:
        found = read_job(store, id, status)
    except (BadJobFile, OSError) as error:
        if where:
            return None
        return Row(id=id, status=status.value, why=f"it cannot be read, see `check`: {_first_line(str(error))}")
    if found is None:
        return None
    job, status = found
    if task is not None and ":" in task and job.task != task:
        return None
    if where and not all(matches(job.params, key, text) for key, text in where.items()):
        return None
    result = job.result or {}
    return Row(
        id=id,
        status=status.value,
        task=job.task,
        params=job.params,
        found_by=job.found_by,
        submitted=job.submitted,
        not_before=job.not_before,
        attempts=len(job.attempts),
        change=result.get("change"),
        checked_at=result.get("checked_at"),
        why=_why(job, status, known),
    )


def matches(params: Mapping[str, Json], key: str, text: str) -> bool:
    """Whether the parameter `key` is `text`: the very text, or what that is as JSON."""
    value: Json = params.get(key, _MISSING)
    if value is _MISSING and "." in key:
        value = params
        for part in key.split("."):
            value = value.get(part, _MISSING) if isinstance(value, dict) else _MISSING
    if value is _MISSING:
        return False
    if isinstance(value, str):
        return value == text
    try:
        wanted = msgspec.json.decode(_PYTHON.get(text, text).encode())
    except ValueError:
        return False
    return bool(wanted == value) and isinstance(wanted, bool) == isinstance(value, bool)


def _why(job: JobFile, status: Status, known: Mapping[str, Status]) -> str:
    match status:
        case Status.DONE:
            result = job.result or {}
            when = result.get("checked_at")
            return " ".join(str(part) for part in (result.get("change"), when and moment(str(when))) if part)
        case Status.FAILED | Status.CANCELLED:
            return last_error(job) or "no attempt says why"
        case Status.BLOCKED:
            return _first(job, known, HOPELESS) or "no upstream job is in its way any more: the next run sees to it"
        case Status.PENDING:
            again = f"not before {job.not_before}" if job.not_before else ""
            waits = "" if again else _first(job, known, frozenset(Status) - {Status.DONE})
            tried = len(job.attempts) > job.retries_from and last_error(job)
            return "; ".join(part for part in (again, waits and f"waits: {waits}", tried) if part)
        case _:
            return ""


def _first(job: JobFile, known: Mapping[str, Status], statuses: frozenset[Status]) -> str:
    for id in job.after:
        status = known.get(id)
        if status is None or status in statuses:
            return f"{id} is {status or 'nowhere'}"
    return ""


def last_error(job: JobFile) -> str:
    """How the last attempt failed, on one line; "" if it did not."""
    if not job.attempts:
        return ""
    last = job.attempts[-1]
    error = last.get("error")
    if not error:
        return "" if last["outcome"] == "done" else str(last["outcome"])
    kind, message = error.get("type") or last["outcome"], _first_line(error.get("message") or "")
    return f"{kind}: {message}" if message else str(kind)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()
