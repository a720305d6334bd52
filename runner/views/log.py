"""What a job printed and logged: its log file, by attempts, and as it grows. Must not change anything.

A log has one part for each attempt that printed something, each with a line that says so. It is read in pieces: one
attempt may have written ten megabytes, and a job has one for every night.
"""

from __future__ import annotations

import codecs
import os
import re
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest

from msgspec import Struct

from runner.core.model import Status
from runner.errors import UsageError
from runner.store.codec import SCHEMA
from runner.store.folders import FolderStore
from runner.store.shelf import LOGS
from runner.views.reading import opened

LOG_LINES = 20
"""How many lines at the end of a log are shown beside other things."""

LOOK_EVERY = 0.2
"""Seconds between two looks at a log that may grow."""

_TAIL = 64 << 10
_CHUNK = 256 << 10
_HEADER = re.compile(rb"^--- run (\d{8}T\d{6}Z), attempt (\d{1,9})$", re.M)
_OPEN = (Status.PENDING, Status.RUNNING)


class LogTail(Struct, frozen=True, kw_only=True):
    """The last lines of what the job printed and logged. `bytes`: of the whole file."""

    path: str
    bytes: int
    lines: list[str]


class Part(Struct, frozen=True, kw_only=True):
    """What one attempt printed. `run` and `attempt` None: somebody cut the file, and the beginning is gone."""

    run: str | None
    attempt: int | None
    text: str


class JobLog(Struct, frozen=True, kw_only=True):
    """A job's log. `bytes` 0 and no parts: it has printed nothing."""

    schema: int = SCHEMA
    id: str
    status: str
    path: str
    bytes: int
    parts: list[Part]


def path_of(store: FolderStore, id: str) -> str:
    """Where a job's log is, if it has one."""
    return os.path.join(store.path, LOGS, f"{id}.log")


def log_tail(store: FolderStore, id: str, lines: int = LOG_LINES) -> LogTail | None:
    """The end of a job's log; None if it has none."""
    with opened(store, LOGS, f"{id}.log") as descriptor:
        if descriptor is None:
            return None
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
    found = data.decode("utf-8", "replace").splitlines()
    if size > _TAIL and len(found) > 1:
        del found[0]  # it begins anywhere
    return LogTail(path=path_of(store, id), bytes=size, lines=found[-lines:])


def read_log(store: FolderStore, id: str, status: str, attempt: int | None = None) -> JobLog:
    """The whole log, or of the attempts with this number (each time that retries count anew there is one).

    Raises UsageError where there is no such attempt in it.
    """
    data = b""
    with opened(store, LOGS, f"{id}.log") as descriptor:
        while descriptor is not None and (chunk := os.read(descriptor, _CHUNK)):
            data += chunk
    parts = list(_parts(data))
    if attempt is not None:
        known = ", ".join(dict.fromkeys(str(part.attempt) for part in parts if part.attempt)) or "none"
        parts = [part for part in parts if part.attempt == attempt]
        if not parts:
            raise UsageError(f"attempt {attempt} of {id} has printed nothing; of these there is something: {known}")
    return JobLog(id=id, status=status, path=path_of(store, id), bytes=len(data), parts=parts)


def parts(data: bytes) -> Iterator[tuple[int, str]]:
    """Where in a log the parts of attempts begin, and of which runs they are."""
    for header in _HEADER.finditer(data):
        yield header.start(), header[1].decode("utf-8", "replace")


def _parts(data: bytes) -> Iterator[Part]:
    headers = list(_HEADER.finditer(data))
    before = data[: headers[0].start()] if headers else data
    if before:
        yield Part(run=None, attempt=None, text=before.decode("utf-8", "replace"))
    for header, end in zip_longest(headers, (header.start() for header in headers[1:])):
        text = data[header.end() + 1 : end].decode("utf-8", "replace")
        yield Part(run=header[1].decode("utf-8", "replace"), attempt=int(header[2]), text=text)


def text_of(
    store: FolderStore,
    id: str,
    *,
    lines: int | None = None,
    follow: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[str]:
    """The log in pieces, or its last `lines`. `follow`: and what is added to it, as it comes, until the job is settled;
    "" in between."""
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    start, seen = 0 if lines is None else _last(store, id, lines), None
    while True:
        settled = not follow or store.find(id) not in _OPEN  # asked before the last look, which then is late enough
        with opened(store, LOGS, f"{id}.log") as descriptor:
            if descriptor is not None:
                found = os.fstat(descriptor)
                file = found.st_dev, found.st_ino
                if seen is not None and (seen != file or found.st_size < start):
                    start = 0  # somebody put another file there, or cut this one
                seen = file
                while data := os.pread(descriptor, _CHUNK, start):
                    start += len(data)
                    yield decode(data)
        if settled:
            if rest := decode(b"", True):
                yield rest
            return
        yield ""
        sleep(LOOK_EVERY)


def _last(store: FolderStore, id: str, lines: int) -> int:
    """Where the last so many lines of a log begin. What follows its last line break is a line, too."""
    with opened(store, LOGS, f"{id}.log") as descriptor:
        end = 0 if descriptor is None else os.fstat(descriptor).st_size
        if descriptor is None or not end or lines <= 0:
            return end
        left = lines + (os.pread(descriptor, 1, end - 1) == b"\n")
        while end > 0:
            begin = max(0, end - _CHUNK)
            data = os.pread(descriptor, end - begin, begin)
            stop = len(data)
            while (stop := data.rfind(b"\n", 0, stop)) >= 0:
                left -= 1
                if not left:
                    return begin + stop + 1
            end = begin
        return 0
