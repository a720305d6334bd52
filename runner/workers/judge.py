"""Whether a done job is up to date: the facts are collected here, and compared by `core/trace.py`.

All of it is judged as of the start of one run. Looks at the files that a job reads and makes, and asks the user's
`due()`; changes nothing, and looks into no state folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from runner.batch import ClassGone
from runner.core.events import Judged
from runner.core.model import Json
from runner.core.trace import Difference, Made, Trace, differences
from runner.errors import RunnerError
from runner.store import codec
from runner.store.codec import Brief, Digest, Record
from runner.task import TaskType, decode, paths_in, wiring, with_defaults
from runner.workers.record import last_of
from runner.workers.staging import digest, is_file

_NO_RECORD = "it has no record of a success"


class Classes(Protocol):
    """Who knows the task classes: Catalog, Bench."""

    @property
    def root(self) -> Path: ...
    def kind(self, name: str) -> TaskType: ...


class How(Struct, frozen=True, kw_only=True):
    """What a run was told about done jobs. `force_tasks`: classes, as "Fetch" or "jobs.scrape:Fetch"."""

    verify: bool = False  # outputs are hashed, not only measured
    force: bool = False  # all that it reaches is due
    force_tasks: tuple[str, ...] = ()  # the jobs of these classes are


class Judge:
    """What one run goes by. `started`: its start, in seconds since the epoch."""

    def __init__(self, classes: Classes, how: How, *, run: str, started: float) -> None:
        self._classes = classes
        self._root = classes.root
        self._base = str(classes.root)
        self._run = run
        self._now = datetime.fromtimestamp(started, UTC)
        self._verify = how.verify
        self._force = how.force
        self._force_tasks = frozenset(how.force_tasks)

    def judge(self, job: Brief) -> Judged:
        """Whether a done job is up to date."""
        record = job.result
        if record is None:
            return Judged(id=job.id, reason=_NO_RECORD)
        try:
            kind = self._classes.kind(job.task)
            found = None if self._is_as_it_was(kind, job) else next(self.differences(job), None)
        except ClassGone:
            return Judged(id=job.id, reason=None)  # nobody can run it: its files stay as they are
        except (RunnerError, TypeError) as error:
            return Judged(id=job.id, reason=str(error))
        if found is not None:
            return Judged(id=job.id, reason=found.says)
        if record.run == self._run:
            change, dropped = record.told or record.change or "", record.dropped_in(self._run)
            return Judged(id=job.id, reason=None, found=record.found, dropped=dropped, change=change)
        if record.change == "absent":
            return Judged(id=job.id, reason=None, found=record.found)
        return Judged(id=job.id, reason=None, asks=kind.asks or bool(record.found))

    def differences(self, job: Brief) -> Iterator[Difference]:
        """Every reason why a done job is due, the first of them first. Raises ClassGone."""
        return self.compare(job)

    def compare(self, job: Brief, assumed: Collection[str] = ()) -> Iterator[Difference]:
        """The same. `assumed`: inputs that are taken to be as they were recorded, there or not."""
        record = job.result
        if record is None:
            yield Difference(part="record", says=_NO_RECORD)
            return
        if record.invalidated:
            at = codec.stamp(record.invalidated.timestamp())
            yield Difference(part="invalidate", new=at, says="it was invalidated")
        try:
            kind = self._classes.kind(job.task)
            if not self._is_plainly_the_same(kind, job, record):
                params = with_defaults(kind, job.params, self._root)
                yield from differences(self._recorded(kind, record), self._observed(kind, params, record, assumed))
        except ClassGone:
            raise
        except (RunnerError, TypeError) as error:
            yield Difference(part="task", says=str(error))
            return
        if record.run != self._run:
            yield from self._wanted(kind, job, record)

    def _is_as_it_was(self, kind: TaskType, job: Brief) -> bool:
        """Whether a glance tells that nothing makes the job due, as with most jobs, most nights."""
        record = job.result
        if record is None or record.invalidated or self._force or self._force_tasks:
            return False
        asked = kind.has_due or kind.max_age is not None
        return (not asked or record.run == self._run) and self._is_plainly_the_same(kind, job, record)

    def _is_plainly_the_same(self, kind: TaskType, job: Brief, record: Record) -> bool:
        """What most jobs are, most nights: no file to read, and everything as recorded, to the letter."""
        params = job.params
        if (
            kind.untraced
            or self._verify
            or len(params) != len(kind.fields)
            or record.version != kind.version
            or not codec.same(record.params, params)
        ):
            return False
        makes = 0
        for field in kind.outputs:
            makes += len(paths_in(params.get(field.name)))
        if len(record.outputs) != makes:
            return False
        return all(map(self._has_size, record.outputs, record.outputs.values()))

    def _wanted(self, kind: TaskType, job: Brief, record: Record) -> Iterator[Difference]:
        """Why it is due whatever it was made from; not asked of what succeeded in this run."""
        says = self._due(kind, job, record) if kind.has_due or kind.max_age is not None else None
        if says is not None:
            yield Difference(part="due", says=says)
        if self._force or not self._force_tasks.isdisjoint((kind.cls.__name__, kind.name)):
            yield Difference(part="force", says="forced")

    def _due(self, kind: TaskType, job: Brief, record: Record) -> str | None:
        try:
            task = decode(kind.cls, job.params, self._root)
        except TypeError as error:
            return str(error)
        try:
            reason = task.due(last_of(record), self._now)
        except Exception as error:
            return f"due() raised {type(error).__name__}: {error}"
        return reason if reason is None or isinstance(reason, str) else f"due() gave {reason!r}, not a reason or None"

    def _recorded(self, kind: TaskType, record: Record) -> Trace:
        outputs = {
            path: None if made is None else Made(made.bytes, made.sha256 if self._verify else None)
            for path, made in record.outputs.items()
        }
        return Trace(
            version=record.version,
            params=self._traced(kind, with_defaults(kind, record.params, self._root)),
            inputs={path: made or "" for path, made in record.inputs.items()},
            outputs=outputs,
            wiring=record.wiring,
        )

    def _observed(self, kind: TaskType, params: Mapping[str, Json], record: Record, assumed: Collection[str]) -> Trace:
        inputs = {}
        for path in (path for field in kind.inputs for path in paths_in(params.get(field.name))):
            if path in assumed:
                if path in record.inputs:
                    inputs[path] = record.inputs[path] or ""
                continue
            full = os.path.join(self._base, path)
            try:
                if is_file(full):
                    inputs[path] = digest(full).sha256
            except OSError:
                continue
        makes = (path for field in kind.outputs for path in paths_in(params.get(field.name)))
        return Trace(
            version=kind.version,
            params=self._traced(kind, params),
            inputs=inputs,
            outputs={path: self._made(path) for path in dict.fromkeys((*record.outputs, *makes))},
            wiring=wiring(kind, params, inputs) if kind.wired else None,
        )

    @staticmethod
    def _traced(kind: TaskType, params: Mapping[str, Json]) -> dict[str, Json]:
        """Parameters as a trace compares them: Hints and Inputs left out."""
        return {name: value for name, value in params.items() if name not in kind.untraced}

    def _made(self, path: str) -> Made | None:
        if self._verify:
            try:
                found = digest(os.path.join(self._base, path))
            except OSError:
                return None
            return Made(found.bytes, found.sha256)
        size = self._size(path)
        return None if size is None else Made(size)

    def _has_size(self, path: str, made: Digest | None) -> bool:
        return made is not None and self._size(path) == made.bytes

    def _size(self, path: str) -> int | None:
        try:
            return os.stat(path if path[:1] == "/" else f"{self._base}/{path}").st_size
        except (OSError, ValueError):  # ValueError: a record of another's making may hold a NUL
            return None
