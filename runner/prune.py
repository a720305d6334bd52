"""`prune`: delete what is old and nobody needs: job files that are gone, run records, journals, logs and trash.

Under the runner lock, so no runner works meanwhile. It can be cut short anywhere, and done again: at every moment each
job that a file names is there, as `check` wants it. Gone jobs name each other, often in a circle: a page has found its
text, and the text comes after the page. So three things are done, in this order:

1. What a job names that stays (it is reached, or not old enough, or cannot be read) stays too, however old.
2. The records of done jobs that are to be deleted stop naming others which are: done jobs have their children. Found
   again before they are deleted, they are asked for these anew.
3. Files are deleted, readers before what they come after.

Kept for runs to come are the newest record (ids must go on increasing), those whose roots reachability goes by, and
those that have not ended. Outputs, inbox/ and quarantine/ are never touched.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from runner.core.model import Status
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import SCHEMA, JobFile
from runner.store.files import tmp_name
from runner.store.folders import FolderStore
from runner.store.shelf import LOGS, RUNS, TMP, TRASH
from runner.views.log import parts
from runner.views.reach import Reach
from runner.views.reading import names, open_state, places

_RUN = re.compile(r"\d{8}T\d{6}Z")
_FORMAT = "%Y%m%dT%H%M%SZ"
_SETTLED = (Status.DONE, Status.FAILED, Status.BLOCKED, Status.CANCELLED)
_MAX_LOG = 1 << 27  # bytes; a log beyond that stays as it is until it is old as a whole
_AT_ONCE = 1000  # records that are synced in one go


class Tally(Struct, kw_only=True):
    """How many, and their bytes."""

    count: int = 0
    bytes: int = 0


class Pruned(Struct, frozen=True, kw_only=True):
    """What was deleted, or with `dry_run` would be: what is older than `before`, a stamp. `ids`: the jobs."""

    schema: int = SCHEMA
    state: str
    dry_run: bool
    before: str
    jobs: Tally
    runs: Tally
    journals: Tally
    logs: Tally
    trash: Tally  # files
    ids: list[str]


def prune_state(state: Path, root: Path, *, before: float, dry_run: bool = False) -> Pruned:
    """Delete what is older than `before`, in seconds since the epoch. `dry_run`: only look, which needs no lock.

    Raises Busy, NewerSchema, StateError (also for a run record that is damaged: its roots may be needed).
    """
    with open_state(state, root) as store:  # to tidy a state is not to make one
        if dry_run:
            return Prune(store, before, dry_run=True).carry_out()
    with FolderStore(state, root=root) as store, store.lock({"verb": "prune"}):
        pruned = Prune(store, before).carry_out()
        store.sync()
    return pruned


class Prune:
    """One tidying of one state."""

    def __init__(self, store: FolderStore, before: float, *, dry_run: bool = False) -> None:
        self._store = store
        self._files = store.shelf.files
        self._fds = store.shelf.fds
        self._before = before
        self._dry_run = dry_run

    def carry_out(self) -> Pruned:
        reach = Reach(self._store)
        jobs, ids = self._jobs(reach)
        journals = self._journals(reach)  # before the records: that a run has ended is told there
        runs, logs, trash = self._runs(reach), self._logs(), self._trash(reach)
        self._cut(logs, reach)  # the last, as it takes room before it makes any
        return Pruned(
            state=self._store.path,
            dry_run=self._dry_run,
            before=codec.stamp(self._before),
            jobs=jobs,
            journals=journals,
            runs=runs,
            logs=logs,
            trash=trash,
            ids=ids,
        )

    # ------------------------------------------------------------------------------------------------------ the jobs

    def _jobs(self, reach: Reach) -> tuple[Tally, list[str]]:
        doomed = self._doomed(reach)
        if not self._dry_run:
            self._disown(doomed)
        tally, deleted, spared = Tally(), [], set[str]()
        for id in _readers_first({id: job.after for id, job in doomed.items()}):
            job = doomed[id]
            if id not in spared and self._delete(tally, job.status, f"{id}.json", job.bytes):
                deleted.append(id)
            else:  # a person has just moved it back into inbox/
                spared.update(job.after)
        return tally, sorted(deleted)

    def _doomed(self, reach: Reach) -> dict[str, _Doomed]:
        """The jobs to delete: none of them is named by a job that stays."""
        doomed: dict[str, _Doomed] = {}
        stay: list[str] = []
        for id, status in reach.gone():
            job = self._old(id, status)
            if job is None:
                stay.append(id)
            else:
                doomed[id] = job
        reach.keep(stay)
        return {id: job for id, job in doomed.items() if reach.why(id) is not None}

    def _old(self, id: str, status: Status) -> _Doomed | None:
        """A job that was not touched since; None: it stays."""
        if status not in _SETTLED or places(self._store, id) != [status]:  # there twice: `check --repair` knows
            return None
        try:
            job = self._store.read(id, status)
            found = self._files.stat(self._fds[status], f"{id}.json")
        except (BadJobFile, OSError):
            return None
        if (_last_touched(job) or found.st_mtime) > self._before:
            return None
        children = tuple((job.result or {}).get("found", ())) if status is Status.DONE else ()
        return _Doomed(status, job.after, children, found.st_size)

    def _disown(self, doomed: Mapping[str, _Doomed]) -> None:
        """Have done jobs name none of their children that are to be deleted."""
        finders = [id for id, job in doomed.items() if not doomed.keys().isdisjoint(job.children)]
        for start in range(0, len(finders), _AT_ONCE):
            written = []
            for id in finders[start : start + _AT_ONCE]:
                with suppress(FileNotFoundError):
                    job = self._store.read(id, Status.DONE)
                    children = [child for child in doomed[id].children if child not in doomed]
                    job = replace(job, result={**(job.result or {}), "found": children})
                    written.append((id, self._store.stage(id, codec.encode(job))))
            self._store.sync()  # contents before names: a power cut leaves the old record or this one
            for id, name in written:
                self._files.rename(self._fds[TMP], name, self._fds[Status.DONE], f"{id}.json")

    # ---------------------------------------------------------------------------------------------- runs and the rest

    def _journals(self, reach: Reach) -> Tally:
        tally, newest = Tally(), max(reach.runs, default="")
        for name in names(self._store, RUNS):
            run = name.removesuffix(".jsonl")
            if run != name and run != newest and self._is_old(run, reach):
                self._delete(tally, RUNS, name)
        return tally

    def _runs(self, reach: Reach) -> Tally:
        tally, needed = Tally(), {*reach.named, max(reach.runs, default="")}
        for run in sorted(reach.runs):
            if run not in needed and self._is_old(run, reach):
                self._delete(tally, RUNS, f"{run}.json")
        return tally

    def _logs(self) -> Tally:
        tally = Tally()
        for name, found in self._all_logs():
            if found.st_mtime <= self._before:
                self._delete(tally, LOGS, name)
        return tally

    def _all_logs(self) -> Iterator[tuple[str, os.stat_result]]:
        for name in names(self._store, LOGS):
            if name.endswith(".log") and codec.is_id(name[:-4]):
                with suppress(FileNotFoundError):
                    yield name, self._files.stat(self._fds[LOGS], name)

    def _cut(self, tally: Tally, reach: Reach) -> None:
        """What attempts of old runs wrote into logs that are not old: a nightly job's log grows every night."""
        written: list[tuple[str, str]] = []
        for name, found in self._all_logs():
            if found.st_mtime <= self._before:
                continue
            try:
                data = self._files.read(self._fds[LOGS], name, _MAX_LOG)
            except (FileNotFoundError, BadJobFile):
                continue
            start = next((start for start, run in parts(data) if not self._is_old(run, reach)), 0)
            if not start:
                continue
            if not self._dry_run:
                tmp = self._shortened(name, data[start:], found)
                if tmp is None:
                    break
                written.append((name, tmp))
            tally.count += 1
            tally.bytes += start
            if len(written) >= _AT_ONCE:
                self._put(written)
        self._put(written)

    def _shortened(self, name: str, data: bytes, found: os.stat_result) -> str | None:
        """A file in tmp/ for it, as old as it is itself; None where there is no room: then it has to stay."""
        tmp = tmp_name(name[:-4])
        try:
            self._files.write(self._fds[TMP], tmp, data)
        except OSError as error:
            with suppress(OSError):
                self._files.unlink(self._fds[TMP], tmp)
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return None
            raise
        os.utime(tmp, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=self._fds[TMP])
        return tmp

    def _put(self, written: list[tuple[str, str]]) -> None:
        if written:
            self._store.sync()  # contents before names
        for name, tmp in written:
            self._files.rename(self._fds[TMP], tmp, self._fds[LOGS], name)
        written.clear()

    def _trash(self, reach: Reach) -> Tally:
        tally = Tally()
        for run in names(self._store, TRASH):
            if self._is_old(run, reach):
                self._clear(tally, self._fds[TRASH], run)
        return tally

    def _is_old(self, run: str, reach: Reach) -> bool:
        """Whether a run ended before; without a record, whether it began before."""
        head = reach.runs.get(run)
        if head is not None:
            return head.ended is not None and codec.parse_stamp(head.ended) <= self._before
        return self._began_before(run)

    def _began_before(self, run: str) -> bool:
        try:
            began = datetime.strptime(run, _FORMAT) if _RUN.fullmatch(run) else None
        except ValueError:
            return False
        return began is not None and began.replace(tzinfo=UTC).timestamp() <= self._before

    # ------------------------------------------------------------------------------------------------------- deleting

    def _delete(self, tally: Tally, folder: str, name: str, size: int | None = None) -> bool:
        """False: it is not there, or a folder, which is none of the runner's. `size`: what it had, if it is known."""
        return self._unlink(tally, self._fds[folder], name, size)

    def _unlink(self, tally: Tally, folder: int, name: str, size: int | None = None) -> bool:
        try:
            found = self._files.stat(folder, name)
            if stat.S_ISDIR(found.st_mode):
                return False
            if not self._dry_run:
                self._files.unlink(folder, name)
        except FileNotFoundError:
            return False
        tally.count += 1
        tally.bytes += found.st_size if size is None else size
        return True

    def _clear(self, tally: Tally, parent: int, name: str) -> None:
        """Delete a folder with all that is in it; a symlink is only a name."""
        with suppress(FileNotFoundError):
            if not stat.S_ISDIR(self._files.stat(parent, name).st_mode):
                self._unlink(tally, parent, name)
                return
            folder = self._files.open_folder(name, parent)
            try:
                for each in self._files.names(folder):
                    self._clear(tally, folder, each)
            finally:
                self._files.close(folder)
            if not self._dry_run:
                self._files.rmdir(parent, name)


class _Doomed(Struct, frozen=True, gc=False):
    """A job that is to be deleted, and what it names. `children`: those that must be there as long as it is done."""

    status: Status
    after: tuple[str, ...]
    children: tuple[str, ...]
    bytes: int


def _last_touched(job: JobFile) -> float | None:
    """When it last ended an attempt or succeeded, in seconds since the epoch. None: nothing says so."""
    times = [
        codec.parse_stamp(attempt["started"]) + (attempt.get("seconds") or 0.0)
        for attempt in job.attempts
        if attempt.get("started")
    ]
    if job.result is not None and job.result.get("checked_at"):
        times.append(codec.parse_stamp(job.result["checked_at"]))
    return max(times, default=None)


def _readers_first(after: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The ids in such an order that each comes before all it comes after; those in a circle at the end."""
    readers = Counter(id for upstream in after.values() for id in upstream if id in after)
    ready = [id for id in after if not readers[id]]
    for id in ready:  # which grows meanwhile
        yield id
        for upstream in after[id]:
            if upstream in after:
                readers[upstream] -= 1
                if not readers[upstream]:
                    ready.append(upstream)
    yield from (id for id in after if readers[id] > 0)
