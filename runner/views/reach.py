"""Which jobs are gone: nothing leads to them from what was asked for last, and nobody handed them in.

Theory of operation. Kept are the roots of the newest admitted run of every target (its name with its arguments), those
of every run without a target's name (nobody said that it replaces another), what was handed in, and what is pending or
running; and from all these, whatever became of them: what a job's record names as found, and what it comes after. That
a job says who found it keeps nobody: its finder's record does. Three things are not in any record yet, or any more:

- Children are on disk before their finder is recorded, so a job is kept as long as its finder is pending or running.
- A run names its roots once all are in, so what the run that `resume` goes on with has worked on is kept.
- What cannot be read, or lies in quarantine/, may have found anything: what says it was found by that is kept.

Jobs move meanwhile, and what one finder named a moment ago another may name now. So there are two looks, the second at
what has changed since the first, and what either of them leads to is kept. For a million jobs ids are numbered, and the
links between them are three arrays: from a number to its last link, from a link to the one before it, and to where it
leads. Must not change anything; reads every job file, so it is for rare commands.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice

import msgspec
from msgspec import Struct

from runner.core.model import FLOW_ORDER, Status
from runner.errors import BadJobFile
from runner.store.codec import SCHEMA
from runner.store.folders import FolderStore
from runner.store.runs import RunHead, Runs, that_name
from runner.store.shelf import INBOX, RUNS
from runner.views.reading import load_job, names

_NOWHERE = 255
_NUMBER = {status: number for number, status in enumerate(FLOW_ORDER)}
_TICK = 0.1  # seconds by which the kernel's stamps may be behind the clock; what is looked at twice does no harm


class _Attempt(Struct, gc=False):
    run: str | None = None


class _Result(Struct, gc=False):
    run: str | None = None
    found: list[str] = []


class _Job(Struct):
    """As much of a job file as tells where it leads. One in inbox/ may lack its id."""

    schema: int = SCHEMA
    id: str = ""
    after: list[str] = []
    found_by: str | None = None
    submitted: bool = False
    attempts: list[_Attempt] = []
    result: _Result | None = None


_decode = msgspec.json.Decoder(_Job).decode


class Reach:
    """What leads where, now. `runs`: all run records by id; `named`: those runs whose roots count.

    Raises NewerSchema, and StateError for a run record that is damaged: nobody knows its roots.
    """

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        self._numbers: dict[str, int] = {}
        self._ids: list[str] = []
        self._status = bytearray()
        self._kept = bytearray()
        self._open = bytearray()  # what says it was found by this one is kept
        self._named = bytearray()  # its finder is gone too, and still names it
        self._finder = array("i")
        self._last = array("i")
        self._before = array("i")
        self._to = array("i")
        self._current: set[str] = set()  # the run that `resume` goes on with, at each look
        self.runs: dict[str, RunHead] = {}
        self.named: set[str] = set()
        self._began = time.time() - _TICK
        known = store.scan()
        for id in known:
            self._number(id)
        self._count = len(known)  # who comes later is not looked for, and only shows the way
        self._read_runs()
        for id, status in known.items():
            self._read(id, status)
        self._read_inbox()
        del known
        self._look_again()
        self._spread()

    # --------------------------------------------------------------------------------------------------- answers

    def gone(self) -> Iterator[tuple[str, Status]]:
        """The jobs that are gone, with the status each had when it was read."""
        for number in range(self._count):
            if self._is_gone(number):
                yield self._ids[number], FLOW_ORDER[self._status[number]]

    def why(self, id: str) -> str | None:
        """Why the job is gone, in words; None: it is not."""
        number = self._numbers.get(id)
        if number is None or number >= self._count or not self._is_gone(number):
            return None
        if (finder := self._finder[number]) < 0:
            return "gone: no run's target names it"
        name = self._ids[finder]
        return f"gone: so is {name}, which found it" if self._named[number] else f"gone: {name} no longer names it"

    def keep(self, ids: Iterable[str]) -> None:
        """These are not gone, and so is nothing they lead to."""
        for id in ids:
            self._kept[self._number(id)] = 1
        self._spread()

    def _is_gone(self, number: int) -> bool:
        return not self._kept[number] and self._status[number] != _NOWHERE

    # --------------------------------------------------------------------------------------------------- the links

    def _number(self, id: str) -> int:
        number = self._numbers.setdefault(id, len(self._ids))
        if number == len(self._ids):
            self._ids.append(id)
            self._status.append(_NOWHERE)
            self._kept.append(0)
            self._open.append(0)
            self._named.append(0)
            self._finder.append(-1)
            self._last.append(-1)
        return number

    def _link(self, source: int, ids: Iterable[str]) -> None:
        for id in ids:
            self._before.append(self._last[source])
            self._last[source] = len(self._to)
            self._to.append(self._number(id))

    def _links(self, source: int) -> Iterator[int]:
        link = self._last[source]
        while link >= 0:
            yield self._to[link]
            link = self._before[link]

    def _spread(self) -> None:
        """From what is kept to all that it leads to; what is left is gone."""
        kept = self._kept
        for number, finder in enumerate(self._finder):
            if finder >= 0 and self._open[finder]:
                kept[number] = 1
        stack = array("i", (number for number, is_kept in enumerate(kept) if is_kept))
        while stack:
            for number in self._links(stack.pop()):
                if not kept[number]:
                    kept[number] = 1
                    stack.append(number)
        for finder in filter(self._is_gone, range(self._count)):
            for number in self._links(finder):
                if self._finder[number] == finder:
                    self._named[number] = 1

    # ------------------------------------------------------------------------------------------------------ reading

    def _read_runs(self) -> None:
        runs = Runs(self._store)
        changed = {id for id in runs.ids() if id not in self.runs or self._has_changed(RUNS, id)}
        for id in changed:
            with suppress(FileNotFoundError):  # pruned meanwhile
                self.runs[id] = runs.head(id)
        heads = [self.runs[id] for id in sorted(self.runs, reverse=True)]
        self._current |= set(islice((head.id for head in heads if head.ended is None), 1))
        for head in that_name(heads):
            if head.id in changed or head.id not in self.named:
                self._read_roots(runs, head)

    def _read_roots(self, runs: Runs, head: RunHead) -> None:
        with suppress(FileNotFoundError):
            roots = runs.read(head.id).roots
            if roots or head.target is not None:
                self.named.add(head.id)
            for root in roots:
                self._kept[self._number(root)] = 1

    def _read(self, id: str, status: Status) -> None:
        number = self._number(id)
        if status is Status.QUARANTINE:
            self._open[number] = 1
            return
        try:
            found = load_job(self._store, id, status)
            if found is None:
                return  # taken away by hand
            data, status = found
            job = self._parse(data, id, status)
        except (BadJobFile, OSError):
            self._kept[number] = self._open[number] = 1
            return
        self._status[number] = _NUMBER[status]
        self._take(number, job)
        if status in (Status.PENDING, Status.RUNNING):
            self._kept[number] = self._open[number] = 1
        elif job.submitted or not self._current.isdisjoint(_runs_of(job)):
            self._kept[number] = 1

    def _take(self, number: int, job: _Job) -> None:
        self._link(number, job.after)
        if job.result is not None:
            self._link(number, job.result.found)
        self._finder[number] = -1 if job.found_by is None else self._number(job.found_by)

    def _parse(self, data: bytes, id: str, status: Status) -> _Job:
        try:
            job = _decode(data)
            if job.schema == SCHEMA and job.id == id:
                return job
        except (ValueError, RecursionError):
            pass
        self._store.shelf.parse(data, id, status)  # strictly, for what is wrong with it
        raise BadJobFile(f"{status}/{id}.json cannot be read")

    def _read_inbox(self) -> None:
        """What lies there is handed in, or comes back: it is about to be pending."""
        for name in names(self._store, INBOX):
            try:
                job = _decode(self._store.shelf.load_name(INBOX, name))
            except (OSError, ValueError, RecursionError, BadJobFile):
                continue  # the runner will say what is wrong with it
            number = self._number(job.id or f"{INBOX}/{name}")
            self._kept[number] = self._open[number] = 1
            self._take(number, job)

    def _look_again(self) -> None:
        """At what has changed since the first look began: runs, what was moved or written, what lies in inbox/."""
        self._read_runs()
        for id, status in self._store.scan().items():
            seen = self._status[self._number(id)] != _NOWHERE
            if not seen or status is Status.QUARANTINE or self._has_changed(status, id):
                self._read(id, status)
        self._read_inbox()

    def _has_changed(self, folder: str, id: str) -> bool:
        """Whether the file was written, or renamed to this place, since the first look began."""
        files, fds = self._store.shelf.files, self._store.shelf.fds
        try:
            return files.stat(fds[folder], f"{id}.json").st_ctime >= self._began
        except FileNotFoundError:
            return True  # it has just moved on


def _runs_of(job: _Job) -> set[str | None]:
    """The runs of its last attempt and of its last success."""
    found = {job.attempts[-1].run} if job.attempts else set()
    return found if job.result is None else {*found, job.result.run}
