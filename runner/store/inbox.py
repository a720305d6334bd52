"""What others hand in: jobs, retries by rename, and commands to the runner.

Anybody of this user may put files into inbox/, at any time and with any tool, so nothing about them is taken for
granted. What is put there by the functions here is durable when they return. A file leaves inbox/ only after what it
asked for is done: a crash in between makes the next runner do it again, and all of it can be done twice.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Literal, TypeAlias

import msgspec
from msgspec import Struct

from runner.core.model import Json, Proposal, Status
from runner.errors import BadJobFile, NewerSchema
from runner.store import codec
from runner.store.codec import SCHEMA, JobFile, Object
from runner.store.folders import FolderStore
from runner.store.shelf import INBOX, MAX_JOB_BYTES, RETURNABLE, TMP

MAX_BYTES = 16 << 20
GRACE = 2.0  # seconds for a file that does not parse: people use `cp`
_COMMAND = ".do.json"
_KEPT = ".kept."  # begins the name of a command that somebody has heard, and not carried out
_SYNC_EACH = 16  # up to so many files, an fsync each is quicker than one of the whole disk
_serial = count(1)

State: TypeAlias = FolderStore | str | os.PathLike[str]


class Entry(Struct, frozen=True, kw_only=True):
    """One file in inbox/: a `job` (its id is "" if the file has none), a `command` (verb and fields), or a bad one."""

    name: str
    kind: Literal["job", "command", "bad"]
    job: JobFile | None = None
    command: Object = {}
    reason: str = ""
    mark: tuple[int, int, int] = (0, 0, 0)  # what tells this file from a later one of its name


class Inbox:
    """inbox/, as the runner that holds the lock sees it."""

    def __init__(self, store: FolderStore) -> None:
        self._shelf = store.shelf
        self._first_seen: dict[str, tuple[int, int, float]] = {}  # of what does not parse: size, mtime, until when
        self._kept: set[str] = set()  # commands that this runner has heard
        self.waiting = 0
        """How many files the last scan left for later, as they do not parse and may not be whole yet."""

    def scan(self, now: float) -> list[Entry]:
        """All that is there, in the order it was written: one batch. `now`: seconds, by a clock that nobody sets."""
        self.waiting = 0
        if INBOX not in self._shelf.fds:
            return []
        there = self._shelf.files.names(self._shelf.fds[INBOX])
        names = [name for name in there if name[0] != "." or (name.startswith(_KEPT) and name not in self._kept)]
        if not names:
            self._first_seen.clear()
            return []
        found: list[tuple[int, str, Entry]] = []
        for name in names:
            with suppress(FileNotFoundError):  # taken away again: it was never handed in
                status = self._shelf.files.stat(self._shelf.fds[INBOX], name)
                entry = self._look(name, status, now)
                if entry is not None:
                    found.append((status.st_mtime_ns, name, entry))
        self._first_seen = {name: seen for name, seen in self._first_seen.items() if name in names}
        return [entry for _, _, entry in sorted(found, key=lambda each: each[:2])]

    def _look(self, name: str, status: os.stat_result, now: float) -> Entry | None:
        try:
            if name.endswith(_COMMAND):
                return Entry(name=name, kind="command", command=self._command(name), mark=_mark(status))
            return Entry(name=name, kind="job", job=self._job(name), mark=_mark(status))
        except (BadJobFile, PermissionError) as error:
            mark = (status.st_size, status.st_mtime_ns)
            seen = self._first_seen.get(name)
            if seen is None or seen[:2] != mark:
                age = time.time() - status.st_mtime if stat.S_ISREG(status.st_mode) else 0.0
                seen = self._first_seen[name] = (*mark, now + GRACE - max(0.0, age))
            if now >= seen[2]:
                return Entry(name=name, kind="bad", reason=str(error))
            self.waiting += 1
            return None

    def _job(self, name: str) -> JobFile:
        id = name.removesuffix(".json")
        comes_back = codec.is_id(id)
        data = self._shelf.files.read(self._shelf.fds[INBOX], name, MAX_JOB_BYTES if comes_back else MAX_BYTES)
        if len(data) > MAX_BYTES:
            return codec.decode(data, id)  # whole, under its own name: so it was in a status folder, and may be large
        return codec.decode_handed_in(data)

    def _command(self, name: str) -> Object:
        found = codec.document(self._shelf.files.read(self._shelf.fds[INBOX], name, MAX_BYTES))
        try:
            codec.check_schema(found)
        except NewerSchema as error:
            raise BadJobFile(str(error)) from None
        if not isinstance(found.get("verb"), str):
            raise BadJobFile("`$.verb` is missing: a command has one")
        return found

    def stage(self, entry: Entry, proposal: Proposal) -> str | None:
        """Write the job with its history to tmp/, for `Create` (as `staged` of the proposal); None: it has none."""
        job = self.with_history(entry, proposal)
        return None if job is None else self._shelf.write_job(job)

    @staticmethod
    def with_history(entry: Entry, proposal: Proposal) -> JobFile | None:
        """What was tried before does not count as a retry any more."""
        job = entry.job
        if job is None or job.id != proposal.id or not (job.attempts or job.result or job.extra):
            return None
        wished = codec.with_wish(job, proposal, proposal.after)
        return codec.with_attempt(wished, None, reset_retries=True)

    def came_back(self) -> None:
        """Jobs were moved here from their status folders, and go to pending/ next: who scans meanwhile scans again."""
        self._shelf.begin_backward()
        self._shelf.end_backward()

    def keep(self, entry: Entry, ids: Sequence[str]) -> Entry:
        """A command that was heard, and is carried out for these jobs only when a worker is through with them. If this
        runner dies before that, the next one hears of it again. Gives the entry that is left.
        """
        files, tmp, inbox = self._shelf.files, self._shelf.fds[TMP], self._shelf.fds[INBOX]
        name, command = _KEPT + entry.name.removeprefix(_KEPT), {**entry.command, "ids": list(ids)}
        staged = self._shelf.write_tmp("kept", msgspec.json.encode(command))
        files.sync_file(tmp, staged)
        left = msgspec.structs.replace(entry, name=name, command=command, mark=_mark(files.stat(tmp, staged)))
        files.rename(tmp, staged, inbox, left.name)
        if entry.name != left.name:
            self.remove(entry)
        files.sync_folder(inbox)
        self._kept.add(left.name)
        return left

    def remove(self, entry: Entry) -> None:
        """Unlink the file: what it asked for has been done. One that has come in its place meanwhile stays."""
        self._kept.discard(entry.name)
        files, inbox, name = self._shelf.files, self._shelf.fds[INBOX], entry.name
        with suppress(FileNotFoundError):  # a retry: the job went back to its folder by a rename
            if not name.startswith(_KEPT):  # first to where nobody puts another in its place between a look and unlink
                name = _KEPT + _unique() + (_COMMAND if entry.name.endswith(_COMMAND) else ".json")
                files.rename(inbox, entry.name, inbox, name)
            is_another = _mark(files.stat(inbox, name)) != entry.mark
            if is_another and not files.link(inbox, name, inbox, entry.name) and not files.exists(inbox, entry.name):
                return  # no links here: the next scan finds it where it is
            files.unlink(inbox, name)


# ------------------------------------------------------------------------------------- for everybody, lock or no lock


def hand_in(state: State, records: Sequence[JobFile | bytes | Mapping[str, Json]]) -> list[str]:
    """Put jobs into inbox/, all checked before the first is; gives their names there. Durable on return.

    `task` and `params` suffice. Raises BadJobFile, naming the record by its number, and then none was handed in.
    """
    jobs: list[tuple[str, bytes]] = []
    for number, record in enumerate(records, 1):
        try:
            data = _as_bytes(record)
            jobs.append((codec.decode_handed_in(data).id or "job", data))
        except BadJobFile as error:
            raise BadJobFile(f"record {number}: {error}") from None
    return _put(state, [(f"{_unique()}.{id}.json", data) for id, data in jobs])


def command(state: State, verb: str, **fields: Json) -> str:
    """Put a command to the runner into inbox/; gives its name there. Durable on return."""
    data = msgspec.json.encode({"schema": SCHEMA, "verb": verb, **fields})
    return _put(state, [(f"{verb}-{_unique()}{_COMMAND}", msgspec.json.format(data, indent=2) + b"\n")])[0]


def retry(state: State, id: str) -> Status | None:
    """Move a failed, blocked or cancelled job back into inbox/; gives where it was, None if in none of these folders.

    Durable on return: `mv`, and a sync.
    """
    with _opened(state, create=False) as store:
        files, fds = store.shelf.files, store.shelf.fds
        name = f"{id}.json"
        if not codec.is_id(id) or INBOX not in fds:
            return None
        for status in RETURNABLE:
            if status not in fds or not files.exists(fds[status], name):
                continue
            if not files.exists(fds[INBOX], name):  # else it has been asked for already, and that file says how
                try:
                    files.rename(fds[status], name, fds[INBOX], name)
                except FileNotFoundError:
                    continue  # the runner was quicker
            files.sync_folder(fds[INBOX])
            files.sync_folder(fds[status])
            return status
    return None


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _as_bytes(record: JobFile | bytes | Mapping[str, Json]) -> bytes:
    if isinstance(record, JobFile):
        data = codec.encode(record)
    elif isinstance(record, bytes):
        data = record
    else:
        data = msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    if len(data) > MAX_BYTES:
        raise BadJobFile(f"has {len(data)} bytes, and {MAX_BYTES} are allowed")
    return data


def _unique() -> str:
    # In the order of time, as far as a second or two files of one process need it; a reboot brings back pids.
    return f"{time.time_ns()}-{os.getpid()}-{next(_serial):06d}"


def _put(state: State, files: list[tuple[str, bytes]]) -> list[str]:
    with _opened(state) as store:
        shelf = store.shelf
        tmp, inbox = shelf.fds[TMP], shelf.fds[INBOX]
        staged = [(shelf.write_tmp("handed-in", data), name) for name, data in files]
        # Contents first: inbox/ is read by a runner that trusts what has its final name to be whole.
        if len(staged) <= _SYNC_EACH or not shelf.files.sync_filesystem(tmp):
            for temporary, _ in staged:
                shelf.files.sync_file(tmp, temporary)
        for temporary, name in staged:
            shelf.files.rename(tmp, temporary, inbox, name)
        shelf.files.sync_folder(inbox)
    return [name for name, _ in files]


@contextmanager
def _opened(state: State, *, create: bool = True) -> Iterator[FolderStore]:
    if isinstance(state, FolderStore):
        yield state
        return
    with FolderStore(state, create=create) as store:
        yield store
