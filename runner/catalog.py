"""What job files mean, by their classes: a job file in, and out comes what the engine wants to know of it.

The one place where the scheduler's process meets the user's classes after the start. A class is looked up once; its
methods that are asked for here (`limits`, `due`) are to be pure and quick. It reads no state folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from runner.batch import ClassGone, limits_of, load_class
from runner.core.model import Attempt, Json, Judged, Limit, Proposal, Status, Stored
from runner.core.policy import CHARGED
from runner.core.trace import Trace, reason_to_run
from runner.errors import RunnerError
from runner.store import codec
from runner.store.codec import JobFile
from runner.task import (
    Task,
    TaskType,
    decode,
    describe,
    fingerprint,
    input_paths,
    paths_in,
    with_defaults,
    without_hints,
)
from runner.workers.record import Record, last_of, record_of
from runner.workers.staging import digest, is_file


class Catalog:
    """The task classes of the allowed modules, for one run."""

    def __init__(self, modules: Sequence[str], root: Path) -> None:
        self.modules = tuple(modules)
        self.root = root
        self._known: dict[str, TaskType | RunnerError | TypeError] = {}

    def kind(self, name: str) -> TaskType:
        """The class "module:Class". Raises TargetError (ClassGone, ModuleBroken), or TypeError for an unfit class."""
        known = self._known.get(name)
        if known is None:
            try:
                known = describe(load_class(name, self.modules))
            except (RunnerError, TypeError) as error:
                known = error
            self._known[name] = known
        if isinstance(known, TaskType):
            return known
        raise known

    def stored(self, job: JobFile, status: Status, finished: bool) -> Stored:
        """An unfinished job, for the engine. A job that can never run has its `problem` in it."""
        not_before = None if job.not_before is None else codec.parse_stamp(job.not_before)
        base = Stored(
            id=job.id, status=status, after=job.after, depth=job.depth, not_before=not_before, finished=finished
        )
        if finished:
            return base
        try:
            kind = self.kind(job.task)
            limits, outputs = self._details(kind, job)
        except (RunnerError, TypeError) as error:
            problem = Attempt(outcome="failed", type=type(error).__name__, message=str(error))
            return replace(base, problem=problem)
        charged = [a for a in job.attempts[job.retries_from :] if a["outcome"] in CHARGED]
        return replace(
            base,
            spent=len(charged) > kind.retries,
            outputs=outputs,
            limits=limits,
            priority=kind.priority,
            all_done=kind.all_done,
            fingerprint=fingerprint(kind, job.params),
        )

    def proposal(self, job: JobFile) -> Proposal:
        """A known job, proposed as it stands in its file. Raises TargetError or TypeError when its class is gone."""
        kind = self.kind(job.task)
        limits, outputs = self._details(kind, job)
        return Proposal(
            id=job.id,
            task=job.task,
            params=job.params,
            fingerprint=fingerprint(kind, job.params),
            after=job.after,
            outputs=outputs,
            limits=limits,
            priority=kind.priority,
            all_done=kind.all_done,
            found_by=job.found_by,
            submitted=job.submitted,
            depth=job.depth,
        )

    def _details(self, kind: TaskType, job: JobFile) -> tuple[dict[str, Limit], tuple[str, ...]]:
        outputs = tuple(path for field in kind.outputs for path in paths_in(job.params.get(field.name)))
        if not kind.limited:
            return {}, outputs
        task = decode(kind.cls, job.params, self.root)
        try:
            return limits_of(task), outputs
        except Exception as error:  # the user's own code
            raise TypeError(f"limits() of {job.task} raised {type(error).__name__}: {error}") from error

    def timeout(self, name: str) -> float | None:
        """Seconds a job of this class may take."""
        try:
            return self.kind(name).timeout
        except (RunnerError, TypeError):
            return None

    def outputs(self, job: JobFile) -> tuple[str, ...]:
        """The paths that a job writes: by its class, or, where that is gone, by its record."""
        try:
            kind = self.kind(job.task)
            return tuple(path for field in kind.outputs for path in paths_in(job.params.get(field.name)))
        except (RunnerError, TypeError):
            record = record_of(job)
            return () if record is None else tuple(record.outputs)

    def judge(self, job: JobFile, run: str, started: float) -> Judged:
        """Whether a done job is up to date, as of the start of `run`."""
        record = record_of(job)
        if record is None:
            return Judged(id=job.id, reason="it has no record of a success")
        same_run = record.run == run
        try:
            kind = self.kind(job.task)
            task = decode(kind.cls, job.params, self.root)
            recorded = self._recorded(kind, record)
            observed = self._observed(kind, task, job, record)
            due = None if same_run else self._due(task, job, started)
        except ClassGone:
            return Judged(id=job.id, reason=None)  # nobody can run it: its files stay as they are
        except (RunnerError, TypeError) as error:
            return Judged(id=job.id, reason=str(error))
        reason = reason_to_run(recorded, observed, due)
        if reason is not None:
            return Judged(id=job.id, reason=reason)
        asks = kind.asks and record.change != "absent" and not same_run
        return Judged(id=job.id, reason=None, asks=asks, found=() if asks else record.found)

    def _due(self, task: Task, job: JobFile, started: float) -> str | None:
        last = last_of(job)
        assert last is not None
        try:
            reason = task.due(last, datetime.fromtimestamp(started, UTC))
        except Exception as error:
            return f"due() raised {type(error).__name__}: {error}"
        return reason if reason is None or isinstance(reason, str) else f"due() gave {reason!r}, not a reason or None"

    def _recorded(self, kind: TaskType, record: Record) -> Trace:
        return Trace(
            version=record.version,
            params=self._own(kind, record.params),
            inputs={path: made or "" for path, made in record.inputs.items()},
            outputs={path: None if made is None else made.bytes for path, made in record.outputs.items()},
        )

    def _observed(self, kind: TaskType, task: Task, job: JobFile, record: Record) -> Trace:
        inputs = {}
        for _, path in input_paths(task, self.root) if kind.inputs else ():
            full = os.path.join(self.root, path)
            try:
                if is_file(full):
                    inputs[path] = digest(full).sha256
            except OSError:
                continue
        outputs = {path: self._size(path) for path in record.outputs}
        return Trace(version=kind.version, params=self._own(kind, job.params), inputs=inputs, outputs=outputs)

    def _own(self, kind: TaskType, params: Mapping[str, Json]) -> dict[str, Json]:
        """Parameters as a trace compares them: defaults filled in, Hints and Inputs left out."""
        inputs = {field.name for field in kind.inputs}
        complete = with_defaults(kind, without_hints(kind, params), self.root)
        return {name: value for name, value in without_hints(kind, complete).items() if name not in inputs}

    def _size(self, path: str) -> int | None:
        try:
            return os.stat(os.path.join(self.root, path)).st_size
        except OSError:
            return None
