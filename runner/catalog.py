"""What job files mean, by their classes: a job file in, and out comes what the engine wants to know of it.

The one place where the scheduler's process meets the user's classes after the start. A class is looked up once; its
`limits()`, which is asked for here, is to be pure and quick. It reads no state folder.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from runner.batch import limits_of, load_class
from runner.core.model import Attempt, Limit, Need, Proposal, Status, Stored
from runner.core.policy import CHARGED
from runner.errors import RunnerError
from runner.store import codec
from runner.store.codec import Brief, Glance, JobFile
from runner.task import TaskType, decode, describe, fingerprint, paths_in


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

    def may_have_several_outputs(self, name: str) -> bool:
        """Whether a job of the class "module:Class" may make files that its name does not tell."""
        try:
            outputs = self.kind(name).outputs
        except (RunnerError, TypeError):
            return True
        return len(outputs) > 1 or any(field.many for field in outputs)

    def reads(self, job: Brief) -> list[str]:
        """Its Inputs."""
        return [path for field in self.kind(job.task).inputs for path in paths_in(job.params.get(field.name))]

    def is_spent(self, job: Glance) -> bool:
        """Whether a pending job is not to be tried again."""
        charged = [attempt for attempt in job.attempts[job.retries_from :] if attempt.outcome in CHARGED]
        return len(charged) > self.kind(job.task).retries or any(attempt.final for attempt in charged)

    def stored(self, job: JobFile, status: Status, finished: bool, *, named: bool = False) -> Stored:
        """An unfinished job, for the engine. A job that can never run has its `problem` in it."""
        base = Stored(
            id=job.id,
            status=status,
            after=job.after,
            submitted=job.submitted,
            depth=job.depth,
            delay=codec.delay(job, time.time()),
            finished=finished,
            named=named,
        )
        if finished:
            return base
        try:
            kind = self.kind(job.task)
            limits, outputs = self._details(kind, job)
            inputs = self._needs(kind, job)
        except (RunnerError, TypeError) as error:
            problem = Attempt(outcome="failed", type=type(error).__name__, message=str(error))
            return replace(base, problem=problem)
        charged = [a for a in job.attempts[job.retries_from :] if a["outcome"] in CHARGED]
        return replace(
            base,
            spent=len(charged) > kind.retries or any(attempt.get("final") for attempt in charged),
            outputs=outputs,
            limits=limits,
            priority=kind.priority,
            all_done=kind.all_done,
            finds=kind.asks,
            fingerprint=fingerprint(kind, job.params),
            inputs=inputs,
        )

    def proposal(self, job: JobFile, status: Status) -> Proposal:
        """A known job, proposed as it stands in its file. Raises TargetError or TypeError when its class is gone, or
        takes other parameters by now.
        """
        kind = self.kind(job.task)
        decode(kind.cls, job.params, self.root)
        limits, outputs = self._details(kind, job)
        return Proposal(
            id=job.id,
            task=job.task,
            params=job.params,
            fingerprint=fingerprint(kind, job.params),
            after=job.after,
            # A failed job was not bound to those that turned up to make what it reads: they may come after it.
            inputs=self._needs(kind, job) if status is not Status.FAILED else (),
            outputs=outputs,
            limits=limits,
            priority=kind.priority,
            all_done=kind.all_done,
            finds=kind.asks,
            found_by=job.found_by,
            submitted=job.submitted,
            depth=job.depth,
        )

    def _needs(self, kind: TaskType, job: JobFile) -> tuple[Need, ...]:
        """All of its Inputs: the rule book knows who makes them."""
        paths = {path: field for field in kind.inputs for path in paths_in(job.params.get(field.name))}
        return tuple(
            Need(path, os.path.exists(os.path.join(self.root, path)), field.optional and not field.many)
            for path, field in paths.items()
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
            record = codec.record_of(job)
            return () if record is None else tuple(record.outputs)
