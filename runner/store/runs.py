"""Run records and journals: runs/RUN.json (durable, what resume goes by) and runs/RUN.jsonl (advisory).

A record is on disk before the first job of its run is admitted, and replaced whole whenever it changes. The journal is
told of every move after it was made; it may lack its end, or lines, and nothing that decides anything may read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from runner.core.model import Json
from runner.errors import BadJobFile, NewerSchema, RunnerError, StateError
from runner.store import codec
from runner.store.codec import SCHEMA, Object, Stamp
from runner.store.folders import FolderStore
from runner.store.shelf import MAX_JOB_BYTES, RUNS, TMP

_ID = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_FORMAT = "%Y%m%dT%H%M%SZ"
_FLUSH_BYTES = 64 << 10


class RunFile(Struct, kw_only=True, frozen=True):
    """One run. `start`, `admitted` (all roots are in), `ended`: stamps. `exit`: the code it left with, ended or not."""

    schema: int = SCHEMA
    id: str
    start: Stamp
    target: str | None = None
    arguments: Object = {}
    options: Object = {}
    roots: list[str] = []
    admitted: Stamp | None = None
    ended: Stamp | None = None
    exit: int | None = None
    changes: dict[str, dict[str, int]] = {}  # class name -> what became of its jobs -> how many; when it has ended
    gone: list[str] = []  # the jobs that somebody named last time, and nobody did in this run
    extra: Object | UnsetType = field(default=UNSET, name="")  # unknown top-level keys, kept

    @property
    def of(self) -> tuple[str | None, Object]:
        """What the run was asked for."""
        return self.target, self.arguments


_FIELDS = tuple(name for name in RunFile.__struct_fields__ if name != "extra")
_whole = msgspec.json.Decoder(RunFile).decode


def new_run_id(existing: Iterable[str], now: float) -> str:
    """The id of a run that starts now, e.g. "20261122T020000Z": its start in UTC, and later than every existing one."""
    start = datetime.fromtimestamp(int(now), UTC)
    last = max((id for id in existing if _ID.fullmatch(id)), default="")
    if last and start.strftime(_FORMAT) <= last:  # two runs within a second, or the clock was put back
        try:
            start = datetime.strptime(last, _FORMAT) + timedelta(seconds=1)
        except (ValueError, OverflowError):
            raise StateError(f"{RUNS}/{last}.json: nothing can be later than that: move it away") from None
    return start.strftime(_FORMAT)


class Runs:
    """The run records of one state."""

    def __init__(self, store: FolderStore) -> None:
        self._shelf = store.shelf

    def ids(self) -> list[str]:
        """All run ids, oldest first."""
        if RUNS not in self._shelf.fds:
            return []
        names = self._shelf.files.names(self._shelf.fds[RUNS])
        return sorted(name[:-5] for name in names if name.endswith(".json") and _ID.fullmatch(name[:-5]))

    def read(self, id: str) -> RunFile:
        """Raises FileNotFoundError, NewerSchema, and StateError for a record that is damaged."""
        if not _ID.fullmatch(id):
            raise StateError(f"{id!r} is no run id, such as 20261122T020000Z")
        try:
            return _decode(self._shelf.load_name(RUNS, f"{id}.json"), id)
        except NewerSchema as error:
            raise NewerSchema(f"{RUNS}/{id}.json: {error}") from None
        except BadJobFile as error:
            where = f"{self._shelf.path}/{RUNS}/{id}.json"
            raise StateError(f"{where}: {error}: move it away, and the run is forgotten; no job is lost") from None

    def write(self, run: RunFile) -> None:
        """Write or replace the record; when this returns it is durable, whatever the store's durability."""
        files, fds = self._shelf.files, self._shelf.fds
        name = self._shelf.write_tmp(run.id, _encode(run))
        # Content before name, name before anything that relies on it: a cut leaves the old record or this one.
        files.sync_file(fds[TMP], name)
        files.rename(fds[TMP], name, fds[RUNS], f"{run.id}.json")
        files.sync_folder(fds[RUNS])

    def before(self, run: RunFile) -> RunFile | None:
        """The last run before this one that was of the same target, with the same arguments, and admitted its roots."""
        for id in reversed(self.ids()):
            if id < run.id:
                with suppress(FileNotFoundError):  # pruned meanwhile
                    head = self.head(id)
                    if head.admitted is not None and head.of == (run.target, run.arguments):
                        return self.read(id)
        return None

    def dropped(self, run: RunFile) -> list[str]:
        """The roots that the last run of the same target had, and this one has not."""
        before = self.before(run) if run.target is not None else None
        if before is None:
            return []
        roots = frozenset(run.roots)
        return [id for id in before.roots if id not in roots]

    def newest(self) -> RunFile | None:
        """The latest run, ended or not."""
        return next(self._backwards(), None)

    def unfinished(self) -> list[RunFile]:
        """All runs that have not ended, newest first. Raises as `read` does, whichever run is at fault."""
        left = []
        for id in reversed(self.ids()):
            if not self._has_ended(id):
                with suppress(FileNotFoundError):  # pruned meanwhile
                    left.append(self.read(id))
        return [run for run in left if run.ended is None]

    def _has_ended(self, id: str) -> bool:
        with suppress(FileNotFoundError, RunnerError):  # `read` will say what is wrong
            return self.head(id).ended is not None
        return False

    def head(self, id: str) -> RunHead:
        """As much of a record as tells whether it matters. Raises as `read` does."""
        with suppress(ValueError, RecursionError, BadJobFile):
            head = _head(self._shelf.load_name(RUNS, f"{id}.json"))
            if head.schema == SCHEMA and head.id == id:
                return head
        run = self.read(id)  # strictly, for what is wrong with it
        return RunHead(**{name: getattr(run, name) for name in RunHead.__struct_fields__})

    def heads(self) -> Iterator[RunHead]:
        """Those of all runs, newest first. Raises as `read` does, but for what is pruned meanwhile."""
        for id in reversed(self.ids()):
            with suppress(FileNotFoundError):
                yield self.head(id)

    def _backwards(self) -> Iterator[RunFile]:
        for id in reversed(self.ids()):
            try:
                yield self.read(id)
            except FileNotFoundError:
                continue  # pruned meanwhile


class RunHead(Struct, frozen=True, kw_only=True):
    """A run record without its roots, which may be a million ids: those of a thousand nights are not worth decoding."""

    schema: int = SCHEMA
    id: str
    start: str
    target: str | None = None
    arguments: Object = {}
    admitted: str | None = None
    ended: str | None = None

    @property
    def of(self) -> tuple[str | None, Object]:
        """What the run was asked for."""
        return self.target, self.arguments


AnyRun = TypeVar("AnyRun", RunFile, RunHead)
_head = msgspec.json.Decoder(RunHead).decode


def that_name(heads: Iterable[AnyRun]) -> Iterator[AnyRun]:
    """The runs whose roots are named: the newest that was admitted of each target, and every one without a target.

    `heads`: newest first.
    """
    newest_of: set[bytes] = set()
    for head in heads:
        target = msgspec.json.encode(head.of, order="sorted")
        if head.admitted is not None and target not in newest_of:
            newest_of |= {target} if head.target is not None else set()
            yield head


def _encode(run: RunFile) -> bytes:
    document = {name: getattr(run, name) for name in _FIELDS}
    if run.extra is not UNSET:
        document.update((key, value) for key, value in run.extra.items() if key not in document)
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _decode(data: bytes, id: str) -> RunFile:
    """Strictly. What this program wrote is what it would write again, which is quickly told of a million roots."""
    try:
        run = _whole(data)
        ours = run.schema == SCHEMA and _encode(run) == data
    except (ValueError, RecursionError):
        ours = False
    if not ours:
        run = _decode_slowly(data)
    if run.id != id:
        raise BadJobFile(f"`$.id` is {run.id!r}, but the file is named {id!r}")
    for moment in (run.start, run.admitted, run.ended):
        if moment is not None:
            codec.parse_stamp(moment)
    return run


def _decode_slowly(data: bytes) -> RunFile:
    found = codec.document(data)
    codec.check_schema(found)
    try:
        run = msgspec.convert({name: found[name] for name in _FIELDS if name in found}, RunFile)
    except msgspec.ValidationError as error:
        raise BadJobFile(str(error)) from None
    extra = {key: value for key, value in found.items() if key not in _FIELDS}
    return msgspec.structs.replace(run, extra=extra) if extra else run


class Journal:
    """Lines for runs/RUN.jsonl, gathered in memory. What cannot be written is lost, with one warning."""

    def __init__(self, store: FolderStore, run: str) -> None:
        self._shelf = store.shelf
        self._name = f"{run}.jsonl"
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._begun = False
        self._warned = False

    def add(self, entries: Sequence[Mapping[str, Json] | Struct]) -> None:
        """A line for each; they reach the file with the next flush, at the latest after 64 KiB."""
        self._buffer += self._encoder.encode_lines(entries)
        if len(self._buffer) >= _FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered."""
        if not self._buffer:
            return
        files, runs = self._shelf.files, self._shelf.fds[RUNS]
        try:
            if not self._begun and files.exists(runs, self._name):
                self._buffer[:0] = b"\n"  # a killed process may have left half a line at the end
            files.append(runs, self._name, bytes(self._buffer))
            self._begun = True
        except OSError as error:
            if not self._warned:
                import logging

                log = logging.getLogger("runner.store")
                log.warning("the journal %s/%s/%s cannot be written: %s", self._shelf.path, RUNS, self._name, error)
            self._warned = True
        self._buffer.clear()


def read_journal(store: FolderStore, run: str) -> Iterator[Object]:
    """The journal's entries, oldest first; broken lines are left out. None for a run that has no journal."""
    shelf = store.shelf
    try:
        data = shelf.files.read(shelf.fds[RUNS], f"{run}.jsonl", MAX_JOB_BYTES)
    except (FileNotFoundError, KeyError, BadJobFile):
        return
    for line in data.splitlines():
        try:
            entry = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry
