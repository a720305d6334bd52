"""One attempt at one job, inside a worker: load it, look at its inputs, run it, take its outputs, write its record.

Nothing here changes the state folder but for new files in tmp/; the scheduler commits them. A class that finds children
has its own outputs put into place first, as the children may be read from them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from runner.batch import ClassGone, propose
from runner.core.events import Asked, Failed, Finished, Lacked
from runner.core.ledger import output_hash
from runner.core.model import Json, Proposal, Status
from runner.errors import BadJobFile, Refused, RunnerError
from runner.store import codec
from runner.store.codec import Digest, JobFile
from runner.task import (
    CURRENT,
    Absent,
    Context,
    FieldInfo,
    Last,
    NoRetry,
    RetryLater,
    Task,
    TaskType,
    Unchanged,
    decode,
    input_paths,
    only_hints,
    output_paths,
    replace_paths,
    wiring,
    with_inputs,
    without_hints,
)
from runner.workers import record
from runner.workers.bench import Bench
from runner.workers.capture import Capturing, Log
from runner.workers.port import Order, Reply, Staged
from runner.workers.staging import NoFile, digest, is_file, same, staging_path, stands, taken

MAX_VALUE = 1 << 20

T = TypeVar("T")


class Unusable(Exception):
    """What the task did or left cannot be used; the message says why. It is a failure like any other."""


class Hopeless(Exception):
    """The job can never run as it is: no retry."""


class _Lacking(Exception):
    """Plain inputs that are not there."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(paths)
        self.paths = paths


class _Inputs(msgspec.Struct):
    """What a job's inputs were found to be."""

    digests: dict[str, str]  # of those that are there
    absent: bool = False  # a plain one is absent, and so is this job
    stale: list[str] = []  # there, though the job that makes them did not succeed


def perform(order: Order, bench: Bench) -> Reply:
    """Carry out an order, whatever the task does. Runs in a context of its own.

    Raises Hindered where the machine is at fault, Exhausted where this process is, BadJobFile for an order that holds
    no valid job file. Nothing was attempted then, so far as the job's file will tell.
    """
    try:
        attempt = _Attempt(order, bench)
    except BadJobFile as error:
        if not order.ask:
            raise
        # A done job, which was judged by less than the whole of its file: it is to run again, from what can be told.
        return Reply(event=Asked(id=order.id, children=[], error=f"its file is damaged: {error}"))
    return copy_context().run(attempt.perform)


class _Attempt:
    def __init__(self, order: Order, bench: Bench) -> None:
        self.order = order
        self.bench = bench
        self.job = codec.decode(bytes(order.job) + b"\n", order.id)  # the end of a file is lost within a message
        self.last = codec.record_of(self.job)
        self.began = time.time()
        self.start = time.monotonic()
        self.clock = time.perf_counter()
        self.staged: dict[str, str] = {}  # final path -> staging path
        self.begun = False  # run() was called
        self.published = False
        self.elsewhere = ""

    # ------------------------------------------------------------------------------------------------------- the frame

    def perform(self) -> Reply:
        settings, staged = self.bench.settings, self.order.staged
        header = f"--- run {settings.run}, attempt {len(self.job.attempts) + 1}\n"
        self.log = Log(self.bench.logs, self.job.id, "" if staged is not None and staged.spoke else header)
        with Capturing(self.log, alone=settings.threads == 1):
            try:
                if staged is not None:
                    return self._go_on(staged)
                return self._ask() if self.order.ask else self._run()
            except _Lacking as lacking:
                return Reply(event=Lacked(self.job.id, lacking.paths), begun=False)
            except BaseException as error:
                # Asked before what was staged is removed: it may be what has filled the disk.
                probes = (staging_path(final, self.job.id) for final in self.staged)
                hindrance = self.bench.hindrance(error, probes, self.start)
                self.bench.discard(self.staged.values())
                if hindrance is not None:
                    raise hindrance from error
                return self._failure(error)

    def _users(self, code: Callable[[], T]) -> T:
        """Call code of the user's."""
        try:
            return code()
        finally:
            self.bench.recover()

    def _load(self) -> tuple[TaskType, Task]:
        try:
            kind = self.bench.kind(self.job.task)
            return kind, decode(kind.cls, self.job.params, self.bench.root)
        except ClassGone as error:
            raise Hopeless(str(error)) from error
        except TypeError as error:
            raise Hopeless(f"its parameters no longer fit {self.job.task}: {error}") from error

    def _run(self) -> Reply:
        kind, task = self._load()
        inputs = _Inputs({})
        if kind.inputs:
            inputs = self._inputs(kind, task)
            if inputs.absent:
                return self._finish(kind, Absent(), inputs, dict.fromkeys(output_paths(task, self.bench.root)), {})
            task = with_inputs(task, inputs.digests.keys(), self.bench.root)
        if self.bench.settings.adopt and self.last is None and kind.outputs:
            adopted = self._adopted(task)
            if adopted is not None:
                return self._finish(kind, None, inputs, adopted, {})
        if kind.outputs:
            task = replace_paths(task, self._staging, self.bench.root)
        CURRENT.set(Context(previous=self._previous))
        if self.order.paced:
            self.bench.begin(self.job.id)
        self.begun = True
        self.clock = time.perf_counter()
        returned = self._users(task.run)
        value = returned.value if isinstance(returned, Unchanged | Absent) else returned
        if value is not None:
            self._check_value(value)
        return self._finish(kind, returned, inputs, *self._outputs(returned))

    # ------------------------------------------------------------------------------------------------------- inputs

    def _inputs(self, kind: TaskType, task: Task) -> _Inputs:
        found = _Inputs({})
        gone: list[tuple[FieldInfo, str]] = []
        for field, path in input_paths(task, self.bench.root):
            if is_file(path):
                found.digests[path] = digest(path).sha256
            elif field.many or not field.optional:
                gone.append((field, path))
        recorded = self._recorded_absent() if gone else set()
        lacking = [path for field, path in gone if path not in recorded and kind.needs(field)]
        if lacking:
            raise _Lacking(tuple(lacking))
        found.absent = any(not field.many for field, _ in gone)
        if kind.all_done:
            found.stale = self._stale(found.digests)
        return found

    def _recorded_absent(self) -> set[str]:
        """The outputs that do not exist now, by the records of the done jobs that this one comes after."""
        absent: set[str] = set()
        for id in self.job.after:
            made = self._record_in(Status.DONE, id)
            if made is not None:
                absent.update(path for path, digest in made.outputs.items() if digest is None)
        return absent

    def _stale(self, paths: Iterable[str]) -> list[str]:
        """Those that a job makes which has not succeeded this time: what is there is of an earlier night."""
        late: set[str] = set()
        for id in self.job.after:
            if os.path.lexists(self.bench.state(Status.DONE, id)):
                continue
            late.update(path for path in paths if output_hash(path) == id[-16:])
            for status in (Status.FAILED, Status.BLOCKED, Status.CANCELLED):
                made = self._record_in(status, id)
                late.update(made.outputs if made is not None else ())
        return [path for path in paths if path in late]

    def _record_in(self, status: Status, id: str) -> codec.Record | None:
        try:
            with open(self.bench.state(status, id), "rb") as file:
                return codec.record_of(codec.decode(file.read()))
        except (OSError, RunnerError):
            return None

    # ------------------------------------------------------------------------------------------------------ outputs

    def _staging(self, final: str) -> str:
        """Where to write an output."""
        if final not in self.staged:
            self.bench.make_folder(final.rpartition("/")[0])
            self.staged[final] = staging_path(final, self.job.id)
        return self.staged[final]

    def _check_value(self, value: Any) -> None:
        try:
            data = msgspec.json.encode(value)
            if msgspec.json.decode(data) != value:
                raise TypeError("it would not come back as it is")
        except (TypeError, ValueError, RecursionError) as error:
            raise Unusable(f"run() returned what is no JSON value: {error}") from None
        if len(data) > MAX_VALUE:
            raise Unusable(f"run() returned {len(data):,} bytes of JSON (at most {MAX_VALUE:,}): write it to an Output")
        for path in self.staged.values():
            if msgspec.json.encode(os.path.basename(path))[1:-1] in data:
                raise Unusable(f"run() returned the name of a staging file ({path}), which is gone after it")

    def _outputs(self, returned: Any) -> tuple[dict[str, Digest | None], dict[str, str]]:
        """What each output is to be recorded as, and the staged files (by final path) that have to be delivered."""
        if isinstance(returned, Absent):
            self.bench.discard(self.staged.values())
            return dict.fromkeys(self.staged), {}
        if isinstance(returned, Unchanged):
            written = [final for final, path in self.staged.items() if os.path.lexists(path)]
            if written:
                raise Unusable(f"run() returned Unchanged, and has written {written[0]}")
            whole = self._whole_outputs()
            if whole is None or whole.keys() != self.staged.keys():
                raise Unusable("run() returned Unchanged, and last time's outputs are not there whole")
            return dict(whole), {}
        outputs: dict[str, Digest | None] = {}
        deliver: dict[str, str] = {}
        settings = self.bench.settings
        for final, path in self.staged.items():
            try:
                made, device = taken(path)
                stays = stands(final, made)
            except NoFile as error:
                raise Unusable(f"run() has {error} output {final}") from None
            except IsADirectoryError:
                raise Unusable(f"its output {final} is a folder: move that away, or name another file") from None
            outputs[final] = made
            if stays:
                self.bench.discard([path])
                continue
            deliver[final] = path
            if settings.durable and (settings.afar or device not in settings.devices):
                self.bench.sync(path)
                self.elsewhere = "" if settings.afar else final
        return outputs, deliver

    def _adopted(self, task: Task) -> dict[str, Digest | None] | None:
        """Its outputs, if all of them are there already, whoever made them."""
        finals = output_paths(task, self.bench.root)
        return {final: digest(final) for final in finals} if all(map(is_file, finals)) else None

    def _whole_outputs(self) -> dict[str, Digest] | None:
        """The outputs of the last success, if there was one to rely on, and every output is still there whole."""
        if self.last is None or self.last.invalidated:
            return None
        known = {path: made for path, made in self.last.outputs.items() if made is not None}
        whole = len(known) == len(self.last.outputs) and all(same(path, made) for path, made in known.items())
        return known if whole else None

    def _previous(self) -> Last | None:
        return record.last_of(self.last) if self.last is not None and self._whole_outputs() else None

    # ----------------------------------------------------------------------------------------------------- the record

    def _finish(
        self,
        kind: TaskType,
        returned: Any,
        inputs: _Inputs,
        outputs: dict[str, Digest | None],
        deliver: dict[str, str],
    ) -> Reply:
        seconds = time.perf_counter() - self.clock
        bench, last = self.bench, self.last
        absent = isinstance(returned, Absent)
        value = returned.value if isinstance(returned, Unchanged | Absent) else returned
        pairs = tuple((path, final) for final, path in deliver.items())
        change = "absent" if absent else record.change(last, bench.settings.run, outputs, value)
        still = absent and last is not None and last.change == "absent" and last.run != bench.settings.run
        told = "unchanged" if still else change
        result: dict[str, Json] = {
            "run": bench.settings.run,
            "version": kind.version,
            "checked_at": bench.checked_at,
            "change": change,
            "params": self._own_params(kind),
            "hints": only_hints(kind, self.job.params) if kind.hints else {},
            "inputs": inputs.digests,
            "outputs": outputs,
            "found": last.found if absent and last else (),
            "value": value,
        }
        if told != change:
            result["told"] = told
        if kind.wired:
            result["wiring"] = wiring(kind, self.job.params, inputs.digests)
        note = {**record.note(bench.settings.run, self.began, seconds, "done"), "change": told}
        if inputs.stale:
            note["stale"] = inputs.stale
        if len(outputs) > 1 and change == "changed":
            note |= record.unchanged_outputs(self.job, bench.settings.run, outputs)
        made = replace(codec.with_attempt(self.job, note), result=result)
        if not kind.asks or absent:
            trash = tuple(path for path in outputs if os.path.lexists(path)) if absent else ()
            return self._success(made, seconds, None, deliver=pairs, trash=trash)
        if pairs and bench.settings.agent:
            staged = Staged(id=self.job.id, draft=bench.write(made), deliver=pairs, spoke=self.log.spoke)
            return Reply(event=staged, seconds=seconds, begun=self.begun)
        for _ in bench.publish(pairs):
            self.published = True
        return self._success(made, seconds, self._children(decode(kind.cls, self.job.params, bench.root), value))

    def _go_on(self, staged: Staged) -> Reply:
        """Its outputs are in place: what are its children?"""
        self.begun = True
        self.published = self.order.published or not self.order.refused
        if self.order.refused:
            raise Unusable(self.order.refused)
        _, task = self._load()
        made = self.bench.draft(staged.draft)
        children = self._children(task, (made.result or {}).get("value"))
        return self._success(made, time.perf_counter() - self.clock, children)

    def _success(
        self,
        made: JobFile,
        seconds: float,
        children: list[Proposal] | None,
        deliver: tuple[tuple[str, str], ...] = (),
        trash: tuple[str, ...] = (),
    ) -> Reply:
        """`made`: the job with this attempt, and what was made, but for the children."""
        run, result = self.bench.settings.run, dict(made.result or {})
        absent = result["change"] == "absent"
        found = result["found"] if absent else tuple(child.id for child in children or ())
        dropped = record.dropped(self.last, run, found)
        result["found"] = found
        if dropped:
            result["dropped"] = {"run": run, "ids": dropped}
        event = Finished(
            id=self.job.id,
            record=self.bench.write(replace(made, result=result)),
            deliver=deliver,
            trash=trash,
            children=children,
            found=found if absent else (),
            dropped=dropped,
            change=made.attempts[-1]["change"],
        )
        return Reply(event=event, seconds=seconds, begun=self.begun, elsewhere=self.elsewhere)

    def _own_params(self, kind: TaskType) -> dict[str, Json]:
        if not kind.hints and not kind.inputs:
            return self.job.params
        inputs = {field.name for field in kind.inputs}
        return {name: v for name, v in without_hints(kind, self.job.params).items() if name not in inputs}

    def _children(self, task: Task, value: Json) -> list[Proposal]:
        object.__setattr__(task, "value", value)
        root, id, depth = self.bench.root, self.job.id, self.job.depth + 1
        batch = self._users(lambda: propose(task.downstream_tasks(), root=root, finder=id, depth=depth))
        return [self._stage(child) for child in batch]

    def _stage(self, child: Proposal) -> Proposal:
        """Write the job file of a child that is complete and most likely new: one thing less for the scheduler.

        Whether it is pending is not looked at: to look a name up in a folder that the scheduler is filling makes that
        wait, and costs more than a file written in vain.
        """
        if child.inputs or self.bench.is_done(child.id):
            return child
        return replace(child, staged=self.bench.write(codec.new_file(child, child.after)))

    def _ask(self) -> Reply:
        kind, task = self._load()
        last, run = self.last, self.bench.settings.run
        children = self._children(task, last.value if last else None) if kind.asks else []
        found = tuple(child.id for child in children)
        event = Asked(
            id=self.job.id,
            children=children,
            found=None if last and last.found == found else found,
            dropped=record.dropped(last, run, found),
        )
        return Reply(event=event, seconds=time.perf_counter() - self.clock)

    # ------------------------------------------------------------------------------------------------------- failure

    def _failure(self, error: BaseException) -> Reply:
        seconds = time.perf_counter() - self.clock
        plainly = isinstance(error, RetryLater | Unusable | Hopeless | RunnerError) or record.is_bare(error)
        told = record.told(error, plainly=plainly, hidden=__file__)
        line = f"{told['type']}: {told['message']}" if told["message"] else told["type"]
        if self.order.ask:
            return Reply(event=Asked(id=self.job.id, children=[], error=line), seconds=seconds, error=line)
        final = isinstance(error, NoRetry | Hopeless | Refused)
        again = record.put_off(self.job, error) if isinstance(error, RetryLater) and not final else None
        outcome = "later" if again is not None else "published" if self.published else "failed"
        if again is None and not final:
            again = self._retry_in()
        note = {**record.note(self.bench.settings.run, self.began, seconds, outcome), "error": told}
        if final:  # or a start that finds it in running/, where it lacks only its last rename, would try it again
            note["final"] = True
        written = self.bench.write(codec.with_attempt(self.job, note, now=time.time(), retry_in=again))
        failed = Failed(id=self.job.id, record=written, retry_in=again)
        return Reply(event=failed, seconds=seconds, begun=self.begun, error=line)

    def _retry_in(self) -> float | None:
        try:
            return record.retry_in(self.job, self.bench.kind(self.job.task))
        except (RunnerError, TypeError):  # the module is broken: there is nothing to try again
            return None
