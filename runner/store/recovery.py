"""What a start finds on disk after whatever happened, and what it puts in order by itself.

Theory of operation. First everything that has to be read is read, and nothing is touched: a file written by a newer
version must find its folder as it was. Only then what dead writers left in tmp/ is swept, and what is no valid job
goes to quarantine/. Both can be cut short anywhere, and done again. No job is moved between statuses here: the rule
book decides that. Only with the runner lock held.

Every unfinished file is read before anything starts, but a pending job may then be left alone, if a glance at it tells
that its name says enough for now: a million of them need not be understood before the first one runs.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

from runner.core.model import BLOCKED, PENDING, RUNNING, Status
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import Glance, JobFile
from runner.store.files import writer_is_gone
from runner.store.names import job_ids
from runner.store.quarantine import put_aside
from runner.store.shelf import STATUS_FOLDERS, TMP, Shelf, same_job

Visit: TypeAlias = Callable[[JobFile, Status, bool], None]
Leave: TypeAlias = Callable[[Glance, bytes], bool]
_Fault: TypeAlias = tuple[Status, str, str]  # folder, file name, reason


def recover(shelf: Shelf, visit: Visit, leave: Leave | None = None) -> dict[str, Status]:
    """Every id with its status; `visit(job, status, finished)` for each unfinished job as it is read, but for pending
    ones that `leave` wants left alone.

    `finished`: it lies in running/, and lacks only its last rename. Raises NewerSchema, and then nothing was moved.
    """
    faults: list[_Fault] = []
    statuses, twice = _list(shelf, faults)
    for id, places in twice.items():
        _settle_double(shelf, id, places, statuses, faults)
    with _no_gc():
        for id, status in [
            (id, its) for id, its in statuses.items() if its is PENDING or its is RUNNING or its is BLOCKED
        ]:
            try:
                data = shelf.load(id, status) if status is BLOCKED else shelf.load_name(status, f"{id}.json")
                if leave is not None and status is PENDING:
                    seen = codec.glance(data, id)
                    if seen is not None and leave(seen, data):
                        continue
                job = shelf.parse(data, id, status)
            except BadJobFile as error:
                statuses[id] = Status.QUARANTINE
                faults.append((status, f"{id}.json", str(error)))
                continue
            visit(job, status, status is RUNNING and is_finished(shelf, job))
    _sweep(shelf)
    for folder, name, reason in faults:
        put_aside(shelf, folder, name, reason)
    if shelf.generation() & 1:  # the last runner died while it moved jobs backward; readers need not wait for it
        shelf.end_backward()
    return statuses


def is_finished(shelf: Shelf, job: JobFile) -> bool:
    """Whether a job in running/ has the result of its last attempt, with its outputs in place."""
    if len(job.attempts) <= job.retries_from or job.result is None:
        return False
    last = job.attempts[-1]
    if last.get("outcome") != "done" or last.get("run") != job.result.get("run"):
        return False
    for path, digest in job.result.get("outputs", {}).items():
        if digest is None:
            continue
        try:
            size = shelf.files.stat(shelf.root_fd, path, follow=True).st_size
        except (OSError, ValueError):
            return False
        if size != digest["bytes"]:
            return False
    return True


def _list(shelf: Shelf, faults: list[_Fault]) -> tuple[dict[str, Status], dict[str, list[Status]]]:
    """All ids by name, and those that are in several folders, in the order of the flow."""
    statuses: dict[str, Status] = {}
    listed: list[tuple[Status, list[str]]] = []
    for status in STATUS_FOLDERS:
        ids, others = job_ids(shelf.files.names(shelf.fds[status]))
        faults += [(status, name, "its name is no job id: TaskName-<16 hex digits>.json") for name in others]
        listed.append((status, ids))
        for id in ids:
            statuses[id] = status
    twice = _in_several(listed) if len(statuses) < sum(len(ids) for _, ids in listed) else {}
    for id in job_ids(shelf.files.names(shelf.fds[Status.QUARANTINE]))[0]:
        statuses.setdefault(id, Status.QUARANTINE)
    return statuses, twice


def _in_several(listed: list[tuple[Status, list[str]]]) -> dict[str, list[Status]]:
    seen: set[str] = set()
    twice: dict[str, list[Status]] = {}
    for _, ids in listed:
        twice.update((id, []) for id in ids if id in seen)
        seen.update(ids)
    for status, ids in listed:
        for id in ids:
            if id in twice:
                twice[id].append(status)
    return twice


def _settle_double(
    shelf: Shelf, id: str, places: list[Status], statuses: dict[str, Status], faults: list[_Fault]
) -> None:
    """A job in two folders is a copy by hand or an old backup: no crash of ours does that. The most advanced stays."""
    readable: list[tuple[Status, JobFile]] = []
    for status in places:
        try:
            readable.append((status, shelf.parse(shelf.load(id, status), id, status)))
        except BadJobFile as error:
            faults.append((status, f"{id}.json", str(error)))
    if not readable:
        statuses[id] = Status.QUARANTINE
        return
    best, job = readable[-1]
    agree = all(same_job(job, other) for _, other in readable)
    if agree:
        statuses[id] = best
        readable.pop()
    else:
        statuses[id] = Status.QUARANTINE
    everywhere = " and ".join(f"{status}/" for status in places)
    for status, _ in reversed(readable):
        why = f"{best}/ has a later copy" if agree else "with different parameters: put the right one into inbox/"
        faults.append((status, f"{id}.json", f"the job is in {everywhere}: {why}"))


def _sweep(shelf: Shelf) -> None:
    """Delete what dead processes left in tmp/. What a live one writes there (a `submit`, say) is its own."""
    gone: dict[str, bool] = {}
    for name in shelf.files.names(shelf.fds[TMP]):
        writer = name.partition(".")[0] + "."
        if writer not in gone:
            gone[writer] = writer_is_gone(writer)
        if gone[writer]:
            with suppress(FileNotFoundError, IsADirectoryError):
                shelf.files.unlink(shelf.fds[TMP], name)


@contextmanager
def _no_gc() -> Iterator[None]:
    # A million decoded files make no garbage, and the collector looks at all of them again and again: 47 s, not 15.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
