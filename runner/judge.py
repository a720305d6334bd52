"""Whether a done job is up to date: the facts are collected here, and compared by `core/trace.py`.

All of it is judged as of the start of one run. Looks at the files that a job reads and makes, and asks the user's
`due()`; changes nothing, and looks into no state folder.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime

from runner.batch import ClassGone
from runner.catalog import Catalog
from runner.core.model import Json, Judged
from runner.core.trace import Difference, Made, Trace, differences
from runner.errors import BadJobFile, RunnerError
from runner.store.codec import JobFile
from runner.task import Task, TaskType, decode, input_paths, wiring, with_defaults, without_hints
from runner.workers.record import Record, last_of, record_of
from runner.workers.staging import digest, is_file


class Judge:
    """What one run goes by. `started`: its start, in seconds since the epoch. `verify`: hash outputs, too.

    `force`: all that it reaches is due; `force_tasks`: the jobs of these classes ("Fetch", or "jobs.scrape:Fetch").
    """

    def __init__(
        self,
        catalog: Catalog,
        *,
        run: str,
        started: float,
        verify: bool = False,
        force: bool = False,
        force_tasks: Collection[str] = (),
    ) -> None:
        self._catalog = catalog
        self._root = catalog.root
        self._run = run
        self._now = datetime.fromtimestamp(started, UTC)
        self._verify = verify
        self._force = force
        self._force_tasks = frozenset(force_tasks)

    def judge(self, job: JobFile) -> Judged:
        """Whether a done job is up to date."""
        try:
            found = next(self.differences(job), None)
        except ClassGone:
            return Judged(id=job.id, reason=None)  # nobody can run it: its files stay as they are
        record = record_of(job)
        if found is not None or record is None:
            return Judged(id=job.id, reason=found.says if found else "it has no record of a success")
        kind = self._catalog.kind(job.task)
        if record.run == self._run:
            told = job.attempts[-1].get("change") if job.attempts else None
            return Judged(
                id=job.id,
                reason=None,
                found=record.found,
                dropped=record.dropped_in(self._run),
                change=told or record.change or "",
            )
        if record.change == "absent":
            return Judged(id=job.id, reason=None, found=record.found)
        return Judged(id=job.id, reason=None, asks=kind.asks or bool(record.found))

    def differences(self, job: JobFile) -> Iterator[Difference]:
        """Every reason why a done job is due, the first of them first. Raises ClassGone."""
        return self.compare(job)

    def compare(self, job: JobFile, assumed: Collection[str] = ()) -> Iterator[Difference]:
        """The same. `assumed`: inputs that are taken to be as they were recorded, there or not."""
        record = record_of(job)
        if record is None:
            yield Difference(part="record", says="it has no record of a success")
            return
        if record.invalidated:
            yield Difference(part="invalidate", new=record.invalidated, says="it was invalidated")
        try:
            kind = self._catalog.kind(job.task)
            task = decode(kind.cls, job.params, self._root)
            recorded, observed = self._recorded(kind, record), self._observed(kind, task, job, record, assumed)
        except ClassGone:
            raise
        except (RunnerError, TypeError) as error:
            yield Difference(part="task", says=str(error))
            return
        yield from differences(recorded, observed)
        if record.run != self._run:
            yield from self._wanted(kind, task, job)

    def _wanted(self, kind: TaskType, task: Task, job: JobFile) -> Iterator[Difference]:
        """Why it is due whatever it was made from; not asked of what succeeded in this run."""
        says = self._due(task, job)
        if says is not None:
            yield Difference(part="due", says=says)
        if self._force or not self._force_tasks.isdisjoint((kind.cls.__name__, kind.name)):
            yield Difference(part="force", says="forced")

    def _due(self, task: Task, job: JobFile) -> str | None:
        try:
            last = last_of(job)
        except BadJobFile as error:
            return str(error)
        assert last is not None
        try:
            reason = task.due(last, self._now)
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
            params=self._own(kind, record.params),
            inputs={path: made or "" for path, made in record.inputs.items()},
            outputs=outputs,
            wiring=record.wiring,
        )

    def _observed(self, kind: TaskType, task: Task, job: JobFile, record: Record, assumed: Collection[str]) -> Trace:
        inputs = {}
        for _, path in input_paths(task, self._root) if kind.inputs else ():
            if path in assumed:
                if path in record.inputs:
                    inputs[path] = record.inputs[path] or ""
                continue
            full = os.path.join(self._root, path)
            try:
                if is_file(full):
                    inputs[path] = digest(full).sha256
            except OSError:
                continue
        return Trace(
            version=kind.version,
            params=self._own(kind, job.params),
            inputs=inputs,
            outputs={path: self._made(path) for path in record.outputs},
            wiring=wiring(kind, job.params, inputs) if kind.wired else None,
        )

    def _own(self, kind: TaskType, params: Mapping[str, Json]) -> dict[str, Json]:
        """Parameters as a trace compares them: defaults filled in, Hints and Inputs left out."""
        inputs = {field.name for field in kind.inputs}
        complete = with_defaults(kind, without_hints(kind, params), self._root)
        return {name: value for name, value in without_hints(kind, complete).items() if name not in inputs}

    def _made(self, path: str) -> Made | None:
        full = os.path.join(self._root, path)
        try:
            if not self._verify:
                return Made(os.stat(full).st_size)
            found = digest(full)
            return Made(found.bytes, found.sha256)
        except OSError:
            return None
