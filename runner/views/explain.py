"""Why a job runs, waits, was skipped or is blocked, and what changed since it succeeded last, part by part.

Looks at the job, at those it comes after, and at the files that it reads and makes; asks its class for `due()` and
`limits()`, as a run does. Must not change anything, nor wait for a runner.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

from msgspec import Struct

from runner.batch import ClassGone, limits_of
from runner.catalog import Catalog
from runner.core.ledger import output_hash
from runner.core.model import HOPELESS, Limit, Status
from runner.core.queue import Override, effective
from runner.core.trace import Difference
from runner.errors import BadJobFile, RunnerError
from runner.judge import Judge
from runner.store import codec
from runner.store.codec import SCHEMA, JobFile
from runner.store.folders import FolderStore
from runner.task import decode, input_paths
from runner.views.journal import story
from runner.views.listing import last_error
from runner.views.reading import read_job, resolve
from runner.views.show import runs_of, show
from runner.views.status import live_runner

_SHOWN = 5
_DEEPEST = 1000


class Upstream(Struct, frozen=True, kw_only=True):
    """A job that is waited for, or in the way. `status` "nowhere": there is no such job. `error`: how it failed."""

    id: str
    status: str
    error: str = ""


class Held(Struct, frozen=True, kw_only=True):
    """A limit. `running`: jobs that are with a worker and have its key."""

    key: str
    at_once: int | None
    per_second: float | None
    running: list[str]

    @property
    def full(self) -> bool:
        return self.at_once is not None and len(self.running) >= self.at_once


class Explained(Struct, frozen=True, kw_only=True):
    """`verdict`: the answer in a line. `because`: more of it. `differences`: what is not as the record of the last
    success has it; `same`: what is. `chain`: from this job to the one that blocks it. Times are stamps.
    """

    schema: int = SCHEMA
    id: str
    status: str
    verdict: str
    because: list[str] = []
    differences: list[Difference] = []
    same: list[str] = []
    waits_for: list[Upstream] = []
    chain: list[Upstream] = []
    limits: list[Held] = []
    not_before: str | None = None
    last_reason: str = ""  # why it was to run when it was last, by the journals


class Explainer:
    """What an explanation takes besides the state: the classes, the limits that are set, and the run that goes on."""

    def __init__(self, store: FolderStore, catalog: Catalog, judge: Judge, overrides: list[Override]) -> None:
        self._store = store
        self._catalog = catalog
        self._judge = judge
        self._overrides = overrides

    def explain(self, text: str) -> Explained:
        """The job whose id is `text` or begins with it. Raises UsageError for none or several, NewerSchema."""
        id, status = resolve(self._store, text)
        if status is None:
            return Explained(id=id, status="inbox", verdict="was handed in: " + self._next())
        if status is Status.QUARANTINE:
            why = show(self._store, id).problem or "nobody said why"
            return Explained(id=id, status=status, verdict=f"is no valid job: {why}")
        try:
            found = read_job(self._store, id, status)
        except BadJobFile as error:
            return Explained(id=id, status=status, verdict=f"its file is damaged: {error}")
        if found is None:
            return Explained(id=id, status=status, verdict="was moved while it was looked at: ask again")
        job, status = found
        match status:
            case Status.DONE:
                return self._done(job)
            case Status.PENDING:
                return self._pending(job)
            case Status.RUNNING:
                return self._said(job, status, f"is with a worker: attempt {len(job.attempts) + 1}")
            case Status.BLOCKED:
                return self._blocked(job)
            case Status.FAILED:
                tries = sum(a["outcome"] != "later" for a in job.attempts[job.retries_from :])
                verdict = f"failed after {tries} attempt{'s' if tries != 1 else ''}: {_last_line(job)}"
                return self._said(job, status, verdict, "a new run that reaches it tries it again; so does `retry`")
            case _:
                again = "`retry` brings it back" if _outcome(job) == "cancelled" else "it comes back when it is found"
                return self._said(job, status, f"was cancelled: {last_error(job) or 'nobody said why'}", again)

    # --------------------------------------------------------------------------------------------------------- done

    def _done(self, job: JobFile) -> Explained:
        record = codec.record_of(job)
        try:
            differences = list(self._judge.differences(codec.brief(job)))
        except ClassGone as error:
            return self._said(job, Status.DONE, f"is left as it is: {error}")
        hopeless = [each for each in self._upstream(job) if each.status in HOPELESS or each.status == "nowhere"]
        if not differences:
            return self._said(job, Status.DONE, "is up to date", same=self._same(job))
        verdict = f"is due: {differences[0].says}"
        because = ["it runs when a run reaches it"]
        if hopeless and not self._is_all_done(job):
            because = [f"it stays as it is as long as {hopeless[0].id} is {hopeless[0].status}"]
        return self._said(
            job,
            Status.DONE,
            verdict,
            *because,
            differences=differences,
            same=self._same(job) if record is not None else [],
        )

    def _same(self, job: JobFile) -> list[str]:
        """What the record of the last success says, in a few words each."""
        record = codec.record_of(job)
        if record is None:
            return []
        said = [f"version {record.version}"]
        said += [f"{_count(len(record.params), 'parameter')}"] if record.params else []
        made = {path: made for path, made in record.outputs.items() if made is not None}
        said += [f"output {path}: {made[path].bytes:,} bytes" for path in list(made)[:_SHOWN]]
        said += [f"output {path}: absent" for path in record.outputs if path not in made]
        inputs = list(record.inputs)
        said += [f"input {path}" for path in inputs[:_SHOWN]]
        said += [f"and {len(inputs) - _SHOWN:,} more inputs"] if len(inputs) > _SHOWN else []
        checked = codec.stamp(record.checked_at.timestamp()) if record.checked_at is not None else "once"
        said.append(f"checked as of {checked}, in run {record.run}")
        return said

    # ------------------------------------------------------------------------------------------------------ pending

    def _pending(self, job: JobFile) -> Explained:
        waits = [each for each in self._upstream(job) if each.status != Status.DONE]
        limits = list(self._limits(job)) if not waits else []
        full = [limit for limit in limits if limit.full]
        lacking = [] if waits else self._lacking(job)
        again = job.not_before if job.not_before and codec.parse_stamp(job.not_before) > time.time() else None
        if waits:
            more = f" and {len(waits) - 1:,} more" if len(waits) > 1 else ""
            verdict = f"waits for {waits[0].id}, which is {waits[0].status}{more}"
        elif lacking:
            verdict = f"waits for {lacking[0]}: nobody makes it yet, and it is not there"
        elif again:
            verdict = f"will be tried again at {again}: {_last_line(job)}"
        elif full:
            verdict = f"is held by limit {full[0].key}: {len(full[0].running)} of {full[0].at_once} run"
        else:
            verdict = "is ready: it waits for a worker"
        because = [] if live_runner(self._store) is not None else [self._next()]
        return self._said(
            job,
            Status.PENDING,
            verdict,
            *because,
            differences=self._differences(job),
            waits_for=waits[:_SHOWN],
            limits=limits,
            not_before=again,
        )

    def _lacking(self, job: JobFile) -> list[str]:
        """Its plain inputs that are not there."""
        with suppress(RunnerError, TypeError):
            kind, root = self._catalog.kind(job.task), self._catalog.root
            task = decode(kind.cls, job.params, root)
            paths = [path for field, path in input_paths(task, root) if field.many or not field.optional]
            makers = {id[-16:] for id in job.after}
            return [p for p in paths if not os.path.exists(os.path.join(root, p)) and output_hash(p) not in makers]
        return []

    def _limits(self, job: JobFile) -> Iterator[Held]:
        """The limits of the job, and who is running under them."""
        mine = self._limits_of(job)
        running: dict[str, list[str]] = {}
        ids = [id for id, status in self._store.scan().items() if status is Status.RUNNING] if mine else []
        for id in ids:
            with suppress(OSError, BadJobFile):
                found = read_job(self._store, id, Status.RUNNING)
                for key in self._limits_of(found[0]) if found is not None and found[1] is Status.RUNNING else ():
                    running.setdefault(key, []).append(id)
        for key, limit in mine.items():
            set_ = effective(self._overrides, key, limit)
            yield Held(key=key, at_once=set_.at_once, per_second=set_.per_second, running=running.get(key, []))

    def _limits_of(self, job: JobFile) -> dict[str, Limit]:
        try:
            kind = self._catalog.kind(job.task)
            return limits_of(decode(kind.cls, job.params, self._catalog.root)) if kind.limited else {}
        except Exception:  # the user's own code
            return {}

    # ------------------------------------------------------------------------------------------------------ blocked

    def _blocked(self, job: JobFile) -> Explained:
        chain: list[Upstream] = []
        seen = {job.id}
        step: JobFile | None = job
        while step is not None and len(chain) < _DEEPEST:
            worst = [each for each in self._upstream(step) if each.status in HOPELESS or each.status == "nowhere"]
            worst.sort(key=lambda each: each.status == Status.BLOCKED)  # who failed himself, if there is one
            if not worst or worst[0].id in seen:
                break
            chain.append(worst[0])
            seen.add(worst[0].id)
            step = self._job(worst[0].id) if worst[0].status == Status.BLOCKED else None
        if not chain:
            return self._said(job, Status.BLOCKED, "is blocked by nobody any more: the next run sees to it")
        last = chain[-1]
        verdict = f"is blocked by {last.id}, which is {last.status}" + (f": {last.error}" if last.error else "")
        return self._said(job, Status.BLOCKED, verdict, chain=chain, differences=self._differences(job))

    # ------------------------------------------------------------------------------------------------------- pieces

    def _said(self, job: JobFile, status: Status, verdict: str, *because: str, **more: object) -> Explained:
        entries = story(self._store, job.id, runs_of(job)).entries
        reasons = [entry.why for entry in entries if entry.why and entry.step in ("expire", "retry", "requeue")]
        return Explained(
            id=job.id,
            status=status,
            verdict=verdict,
            because=list(because),
            last_reason=reasons[-1] if reasons else "",
            **more,  # type: ignore[arg-type]
        )

    def _differences(self, job: JobFile) -> list[Difference]:
        try:
            return list(self._judge.differences(codec.brief(job))) if job.result is not None else []
        except ClassGone:
            return []

    def _is_all_done(self, job: JobFile) -> bool:
        try:
            return self._catalog.kind(job.task).all_done
        except (RunnerError, TypeError):
            return False

    def _upstream(self, job: JobFile) -> list[Upstream]:
        found = []
        for id in job.after:
            status = self._store.find(id)
            error = ""
            if status in (Status.FAILED, Status.CANCELLED) and (other := self._job(id)) is not None:
                error = _last_line(other)
            found.append(Upstream(id=id, status=status.value if status is not None else "nowhere", error=error))
        return found

    def _job(self, id: str) -> JobFile | None:
        status = self._store.find(id)
        if status is None:
            return None
        try:
            found = read_job(self._store, id, status)
        except (BadJobFile, OSError):
            return None
        return found[0] if found is not None else None

    def _next(self) -> str:
        if live_runner(self._store) is not None:
            return "the live runner takes it up"
        return "no runner is alive: `resume` or `run` goes on"


def _outcome(job: JobFile) -> str:
    return str(job.attempts[-1]["outcome"]) if job.attempts else ""


def _last_line(job: JobFile) -> str:
    """The last line of the last attempt's error, with its type."""
    error = (job.attempts[-1].get("error") or {}) if job.attempts else {}
    message = (error.get("message") or "").strip().splitlines()
    kind = error.get("type") or _outcome(job)
    return f"{kind}: {message[-1]}" if message else str(kind)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
