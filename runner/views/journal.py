"""Journals, read in pieces: they grow to gigabytes, and a look must not take all of one into memory.

A journal is advisory: it may lack its end, or lines. So what is read here is for people's eyes, and decides nothing.
Relies on the form of its lines, compact JSON, where a text such as `"step":"finish"` can only be a key and its value.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import msgspec
from msgspec import Struct

from runner.core.model import Step
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.shelf import RUNS
from runner.views.reading import opened

_CHUNK = 256 << 10
_TAIL = 256 << 10
_WINDOW = 60.0  # seconds that a rate is taken over
_SUFFIX = ".jsonl"
_FINISH = b'"step":"finish"'
_SETTLING = frozenset({Step.FINISH, Step.FAIL})
_BUDGET = 256 << 20  # bytes that a search goes through at the most, about a quarter of a second


class Entry(Struct, frozen=True, kw_only=True):
    """One transition of a job. `at`: a stamp."""

    run: str = ""
    at: str = ""
    source: str = ""
    target: str = ""
    step: str = ""
    why: str = ""


class Story(Struct, frozen=True, kw_only=True):
    """A job's transitions, oldest first; `unread`: how many journals were left out, as they are too large together."""

    entries: list[Entry]
    unread: int


class _Line(Struct):
    at: str
    id: str
    step: str


_line = msgspec.json.Decoder(_Line)
_entry = msgspec.json.Decoder(Entry)


def count_finished(store: FolderStore, run: str) -> int:
    """How many jobs finished in a run."""
    found, kept = 0, b""
    for chunk in _chunks(store, run):
        found += (kept + chunk).count(_FINISH)
        kept = (kept[-len(_FINISH) :] + chunk[-len(_FINISH) :])[1 - len(_FINISH) :]
    return found


def rate(store: FolderStore, run: str, now: float) -> float | None:
    """Jobs that finished or failed per second, over the last minute; None: nothing to tell it by."""
    with opened(store, RUNS, run + _SUFFIX) as descriptor:
        if descriptor is None:
            return None
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, _TAIL, max(0, size - _TAIL))
    since, settled = now, 0
    stamp, at = "", 0.0
    for line in reversed(data.split(b"\n")):
        try:
            entry = _line.decode(line)
            if entry.at != stamp:  # a turn of the runner gives all its lines one
                stamp, at = entry.at, codec.parse_stamp(entry.at)
        except (ValueError, RecursionError, BadJobFile):
            continue  # half a line: the tail begins anywhere, and a killed runner leaves one
        since = max(at, now - _WINDOW)
        if at < since:
            break
        settled += entry.step in _SETTLING
    return settled / (now - since) if settled and now > since else None


def story(store: FolderStore, id: str, sure: frozenset[str]) -> Story:
    """All transitions of a job. The runs in `sure` are searched in any case, others while the budget lasts."""
    entries: list[Entry] = []
    budget, unread = _BUDGET, 0
    needle = b'"id":"' + id.encode() + b'"'
    for run in reversed(_runs(store)):
        if budget <= 0 and run not in sure:
            unread += 1
            continue
        found: list[Entry] = []
        for chunk in _whole_lines(store, run):
            budget -= len(chunk)
            found += _matches(chunk, needle, run)
        entries[:0] = found
    return Story(entries=entries, unread=unread)


def _matches(chunk: bytes, needle: bytes, run: str) -> Iterator[Entry]:
    at = chunk.find(needle)
    while at >= 0:
        begin, end = chunk.rfind(b"\n", 0, at) + 1, chunk.find(b"\n", at)
        end = len(chunk) if end < 0 else end
        with suppress(ValueError, RecursionError):  # half a line, or no line of ours
            yield msgspec.structs.replace(_entry.decode(chunk[begin:end]), run=run)
        at = chunk.find(needle, end)


def _runs(store: FolderStore) -> list[str]:
    if RUNS not in store.shelf.fds:
        return []
    found = store.shelf.files.names(store.shelf.fds[RUNS])
    return sorted(name[: -len(_SUFFIX)] for name in found if name.endswith(_SUFFIX) and not name.startswith("."))


def _whole_lines(store: FolderStore, run: str) -> Iterator[bytes]:
    kept = b""
    for chunk in _chunks(store, run):
        whole, newline, rest = chunk.rpartition(b"\n")
        if newline:
            yield kept + whole
            kept = rest
        else:
            kept += rest
    if kept:
        yield kept


def _chunks(store: FolderStore, run: str) -> Iterator[bytes]:
    with opened(store, RUNS, run + _SUFFIX) as descriptor:
        while descriptor is not None and (chunk := os.read(descriptor, _CHUNK)):
            yield chunk
