"""One attempt at one job, inside a worker: load it, look at its inputs, run it, take its outputs, write its record.

Nothing here changes the state folder but for new files in tmp/; the scheduler commits them. A class that finds children
has its own outputs put into place first, as the children may be read from them.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterable
from contextvars import copy_context
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from runner.batch import ClassGone, load_class, propose
from runner.core import policy
from runner.core.model import Asked, Failed, Finished, Json, Lacked, Proposal, Status
from runner.errors import RunnerError
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import tmp_name
from runner.task import (
    CURRENT,
    Absent,
    Context,
    FieldInfo,
    Last,
    RetryLater,
    Task,
    TaskType,
    Unchanged,
    decode,
    describe,
    input_paths,
    only_hints,
    output_paths,
    replace_paths,
    with_inputs,
    without_hints,
)
from runner.workers.capture import CURRENT_LOG, Log
from runner.workers.port import Order, Reply, Settings
from runner.workers.staging import Digest, digest, is_file, remove, same, staging_path

MAX_VALUE = 1 << 20
_MAX_MESSAGE = 10_000
_MAX_TRACEBACK = 50_000


class Unusable(Exception):
    """What the task did or left cannot be used; the message says why. It is a failure like any other."""


class Hopeless(Exception):
    """The job can never run as it is: no retry."""


class _Lacking(Exception):
    """Plain inputs that are not there."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(paths)
        self.paths = paths


class Bench:
    """What all attempts in one worker process share."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.root = Path(settings.root)
        self.now = datetime.fromtimestamp(settings.started, UTC)
        self.checked_at = codec.stamp(settings.started)
        self._kinds: dict[str, TaskType] = {}
        self._tmp = os.open(os.path.join(settings.state, "tmp"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def write(self, job: JobFile) -> str:
        """Put a whole job file into tmp/ and return its name there."""
        name = tmp_name(job.id + ".json")
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=self._tmp)
        try:
            data = codec.encode(job)
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        return name

    def kind(self, name: str) -> TaskType:
        """A task class by name. Raises TargetError or TypeError."""
        kind = self._kinds.get(name)
        if kind is None:
            kind = self._kinds[name] = describe(load_class(name, self.settings.modules))
        return kind

    def state(self, status: Status, id: str) -> str:
        return os.path.join(self.settings.state, status.value, id + ".json")


def perform(order: Order, bench: Bench) -> Reply:
    """Carry out an order, whatever happens. Runs in a context of its own."""
    return copy_context().run(_Attempt(order, bench).perform)


class _Attempt:
    def __init__(self, order: Order, bench: Bench) -> None:
        self.order = order
        self.bench = bench
        self.job = codec.decode(bytes(order.job) + b"\n", order.id)  # the end of a file is lost within a message
        self.began = time.time()
        self.clock = time.perf_counter()
        self.published = False

    # ------------------------------------------------------------------------------------------------------- the frame

    def perform(self) -> Reply:
        header = f"--- run {self.bench.settings.run}, attempt {len(self.job.attempts) + 1}\n"
        log = Log(os.path.join(self.bench.settings.state, "logs"), self.job.id, header)
        CURRENT_LOG.set(log)
        staged: dict[str, str] = {}
        try:
            return self._ask() if self.order.ask else self._run(staged)
        except _Lacking as lacking:
            return Reply(event=Lacked(self.job.id, lacking.paths))
        except BaseException as error:
            remove(staged.values())
            return self._failure(error)
        finally:
            log.close()

    def _load(self) -> tuple[TaskType, Task]:
        try:
            kind = self.bench.kind(self.job.task)
            return kind, decode(kind.cls, self.job.params, self.bench.root)
        except ClassGone as error:
            raise Hopeless(str(error)) from error
        except TypeError as error:
            raise Hopeless(f"its parameters no longer fit {self.job.task}: {error}") from error

    def _run(self, staged: dict[str, str]) -> Reply:
        kind, task = self._load()
        finals = output_paths(task, self.bench.root)
        digests = self._inputs(kind, task)
        if digests is None:
            return self._finish(kind, task, Absent(), {}, {}, {})
        task = with_inputs(task, set(digests), self.bench.root)
        for final in finals:
            staged[final] = staging_path(final, self.job.id)
            os.makedirs(os.path.dirname(final) or ".", exist_ok=True)
        CURRENT.set(Context(previous=self._previous))
        self.clock = time.perf_counter()
        returned = replace_paths(task, {final: Path(path) for final, path in staged.items()}, self.bench.root).run()
        self._check_value(returned, staged.values())
        return self._finish(kind, task, returned, digests, *self._outputs(returned, staged))

    # ------------------------------------------------------------------------------------------------------- inputs

    def _inputs(self, kind: TaskType, task: Task) -> dict[str, str] | None:
        """The digests of the inputs that are there; None when a plain one is absent, and so is this job."""
        found: dict[str, str] = {}
        gone: list[tuple[FieldInfo, str]] = []
        for field, path in input_paths(task, self.bench.root):
            if is_file(path):
                found[path] = digest(path).sha256
            elif not field.optional:
                gone.append((field, path))
        recorded = self._recorded_absent() if gone else set()
        lacking = [path for field, path in gone if path not in recorded and not (field.many and kind.all_done)]
        absent = any(path in recorded and not field.many for field, path in gone)
        if lacking:
            raise _Lacking(tuple(lacking))
        return None if absent else found

    def _recorded_absent(self) -> set[str]:
        """The outputs that do not exist now, by the records of the done jobs that this one comes after."""
        absent: set[str] = set()
        for id in self.job.after:
            try:
                with open(self.bench.state(Status.DONE, id), "rb") as file:
                    result = codec.decode(file.read()).result
            except (OSError, RunnerError):
                continue
            if result is not None:
                absent.update(path for path, made in result["outputs"].items() if made is None)
        return absent

    # ------------------------------------------------------------------------------------------------------ outputs

    def _check_value(self, returned: Any, staged: Iterable[str]) -> None:
        value = returned.value if isinstance(returned, Unchanged | Absent) else returned
        try:
            data = msgspec.json.encode(value)
            if msgspec.json.decode(data) != value:
                raise TypeError("it would not come back as it is")
        except (TypeError, ValueError, RecursionError) as error:
            raise Unusable(f"run() returned what is no JSON value: {error}") from None
        if len(data) > MAX_VALUE:
            raise Unusable(f"run() returned {len(data):,} bytes of JSON (at most {MAX_VALUE:,}): write it to an Output")
        for path in staged:
            if msgspec.json.encode(os.path.basename(path))[1:-1] in data:
                raise Unusable(f"run() returned the name of a staging file ({path}), which is gone after it")

    def _outputs(self, returned: Any, staged: dict[str, str]) -> tuple[dict[str, Digest | None], dict[str, str]]:
        """What each output is to be recorded as, and the staged files (by final path) that have to be delivered."""
        written = [final for final, path in staged.items() if os.path.lexists(path)]
        if isinstance(returned, Absent):
            remove(staged.values())
            return dict.fromkeys(staged), {}
        if isinstance(returned, Unchanged):
            if written:
                raise Unusable(f"run() returned Unchanged, and has written {written[0]}")
            last = self._previous_outputs()
            if last is None or set(last) != set(staged):
                raise Unusable("run() returned Unchanged, and last time's outputs are not there whole")
            return dict(last), {}
        outputs: dict[str, Digest | None] = {}
        deliver: dict[str, str] = {}
        for final, path in staged.items():
            if not is_file(path) or os.path.islink(path):
                raise Unusable(f"run() has not written its output {final}")
            made = digest(path)
            outputs[final] = made
            if same(final, made):
                remove([path])
            else:
                deliver[final] = path
                if self.bench.settings.durable and os.stat(path).st_dev not in self.bench.settings.devices:
                    _sync(path)
        return outputs, deliver

    def _previous_outputs(self) -> dict[str, Digest] | None:
        """The outputs of the last success, if it named any and every one is still there whole."""
        recorded = self.job.result["outputs"] if self.job.result is not None else {}
        known = {path: Digest(d["bytes"], d["sha256"]) for path, d in recorded.items() if d is not None}
        if not known or len(known) < len(recorded):
            return None
        return known if all(same(path, d) for path, d in known.items()) else None

    def _previous(self) -> Last | None:
        return last_of(self.job) if self._previous_outputs() is not None else None

    # ----------------------------------------------------------------------------------------------------- the record

    def _finish(
        self,
        kind: TaskType,
        task: Task,
        returned: Any,
        digests: dict[str, str],
        outputs: dict[str, Digest | None],
        deliver: dict[str, str],
    ) -> Reply:
        seconds = time.perf_counter() - self.clock
        absent = isinstance(returned, Absent)
        value = returned.value if isinstance(returned, Unchanged | Absent) else returned
        if absent:
            outputs = dict.fromkeys(output_paths(task, self.bench.root))
        pairs = tuple((path, final) for final, path in deliver.items())
        children = None
        if kind.asks and not absent:
            self._publish(pairs)
            pairs = ()
            children = self._children(decode(kind.cls, self.job.params, self.bench.root), value)
        result: dict[str, Json] = {
            "run": self.bench.settings.run,
            "version": kind.version,
            "checked_at": self.bench.checked_at,
            "change": self._change(absent, outputs, value),
            "params": self._own_params(kind),
            "hints": only_hints(kind, self.job.params),
            "inputs": digests,
            "outputs": outputs,
            "found": [child.id for child in children or ()] if not absent else (self.job.result or {}).get("found", []),
            "value": value,
        }
        attempt = self._note(seconds, "done")
        job = replace(codec.with_attempt(self.job, attempt), result=msgspec.to_builtins(result))
        event = Finished(
            id=self.job.id,
            record=self.bench.write(job),
            deliver=pairs,
            trash=tuple(path for path in outputs if os.path.lexists(path)) if absent else (),
            children=children,
        )
        return Reply(event=event, seconds=seconds, change=result["change"])

    def _own_params(self, kind: TaskType) -> dict[str, Json]:
        inputs = {field.name for field in kind.inputs}
        return {name: v for name, v in without_hints(kind, self.job.params).items() if name not in inputs}

    def _change(self, absent: bool, outputs: dict[str, Digest | None], value: Json) -> str:
        """Against the last success of an earlier run."""
        if absent:
            return "absent"
        last = self.job.result
        if last is None or last["change"] == "absent":
            return "new"
        before = {path: d and Digest(d["bytes"], d["sha256"]) for path, d in last["outputs"].items()}
        same_again = before == outputs if outputs else last["value"] == value
        if last["run"] == self.bench.settings.run:
            return str(last["change"]) if same_again or last["change"] == "new" else "changed"
        return "unchanged" if same_again else "changed"

    def _publish(self, pairs: tuple[tuple[str, str], ...]) -> None:
        for path, final in pairs:
            if self.bench.settings.durable:
                _sync(path)
            os.rename(path, final)
        if self.bench.settings.durable:
            for folder in {os.path.dirname(final) or "." for _, final in pairs}:
                _sync(folder)
        self.published = bool(pairs)

    def _children(self, task: Task, value: Json) -> list[Proposal]:
        object.__setattr__(task, "value", value)
        batch = propose(task.downstream_tasks(), root=self.bench.root, finder=self.job.id, depth=self.job.depth + 1)
        return [self._stage(child) for child in batch]

    def _stage(self, child: Proposal) -> Proposal:
        """Write the job file of a child that is surely new and complete: one thing less for the scheduler."""
        if child.inputs or any(os.path.lexists(self.bench.state(s, child.id)) for s in (Status.DONE, Status.PENDING)):
            return child
        return replace(child, staged=self.bench.write(codec.new_file(child, child.after)))

    def _ask(self) -> Reply:
        kind, task = self._load()
        value = (self.job.result or {}).get("value")
        children = self._children(task, value) if kind.asks else []
        return Reply(event=Asked(id=self.job.id, children=children), seconds=time.perf_counter() - self.clock)

    # ------------------------------------------------------------------------------------------------------- failure

    def _note(self, seconds: float, outcome: str) -> dict[str, Json]:
        return {
            "run": self.bench.settings.run,
            "started": codec.stamp(self.began),
            "seconds": round(seconds, 6),
            "outcome": outcome,
        }

    def _failure(self, error: BaseException) -> Reply:
        seconds = time.perf_counter() - self.clock
        said = _cut(str(error), _MAX_MESSAGE)
        line = f"{type(error).__name__}: {said}" if said else type(error).__name__
        if self.order.ask:
            return Reply(event=Asked(id=self.job.id, children=[], error=line), seconds=seconds, error=line)
        later = isinstance(error, RetryLater)
        note = self._note(seconds, "later" if later else "published" if self.published else "failed")
        note["error"] = {"type": type(error).__name__, "message": said}
        if not isinstance(error, RetryLater | Unusable | Hopeless | RunnerError):
            note["error"]["traceback"] = _cut("".join(traceback.format_exception(error)), _MAX_TRACEBACK)
        retry_at = self._retry_at(error)
        job = codec.with_attempt(self.job, note, not_before=retry_at)
        event = Failed(id=self.job.id, record=self.bench.write(job), retry_at=retry_at)
        return Reply(event=event, seconds=seconds, error=line)

    def _retry_at(self, error: BaseException) -> float | None:
        if isinstance(error, Hopeless):
            return None
        now = time.time()
        counted = self.job.attempts[self.job.retries_from :]
        if isinstance(error, RetryLater):
            earlier = [a for a in counted if a["outcome"] == "later"]
            first = codec.parse_stamp(earlier[0]["started"]) if earlier else self.began
            until = policy.put_off_until(len(earlier) + 1, first, error.seconds, now)
            if until is not None:
                return until
        try:
            kind = self.bench.kind(self.job.task)
        except (RunnerError, TypeError):  # the module is broken: there is nothing to try again
            return None
        failures = 1 + sum(a["outcome"] in policy.CHARGED for a in counted)
        return policy.retry_at(self.job.id, failures, kind.retries, kind.backoff, now)


def last_of(job: JobFile) -> Last | None:
    """The record of a job's last success, as tasks see it."""
    result = job.result
    if result is None:
        return None
    return Last(
        params=result["params"],
        hints=result["hints"],
        value=result["value"],
        outputs=result["outputs"],
        version=result["version"],
        checked_at=datetime.fromtimestamp(codec.parse_stamp(result["checked_at"]), UTC),
    )


def _sync(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _cut(text: str, limit: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else f"{text[: limit // 2]}\n[...]\n{text[-limit // 2 :]}"
