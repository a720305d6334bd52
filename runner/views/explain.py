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
from runner.store import codec
from runner.store.codec import SCHEMA, JobFile
from runner.store.folders import FolderStore
from runner.store.inbox import Inbox
from runner.store.runs import Runs, that_name
from runner.task import decode, input_paths
from runner.views.journal import story
from runner.views.listing import last_error
from runner.views.reading import read_job, resolve
from runner.views.show import runs_of, show
from runner.views.status import live_runner
from runner.workers.judge import Judge
from runner.workers.staging import is_file

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
            because = [
                "the next run puts it into quarantine/, and so does `check --repair`; found again, it is made anew"
            ]
            return Explained(id=id, status=status, verdict=f"its file is damaged: {error}", because=because)
        if found is None:
            return Explained(id=id, status=status, verdict="was moved while it was looked at: ask again")
        job, status = found
        match status:
            case Status.DONE:
                return self._done(job)
            case Status.PENDING:
                return self._pending(job)
            case Status.RUNNING:
                return self._running(job)
            case Status.BLOCKED:
                return self._blocked(job)
            case Status.FAILED:
                tries = sum(a["outcome"] != "later" for a in job.attempts[job.retries_from :])
                verdict = f"failed after {tries} attempt{'s' if tries != 1 else ''}: {_error_line(job)}"
                because = ["its error says that trying again cannot help"] if _is_final(job) else []
                because.append(f"a new run that reaches it tries it again, and so does `retry {job.id}`")
                because.append(f"`show {job.id}` has its traceback and the end of its log")
                return self._said(job, status, verdict, *because)
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
            gone = self._gone(job)
            return self._said(job, Status.DONE, "is up to date", *([gone] if gone else []), same=self._same(job))
        verdict = f"is due: {differences[0].says}"
        because = [self._gone(job) or "it runs when a run reaches it"]
        if hopeless and not self._is_all_done(job):
            because = [f"it is left as it is, because of {hopeless[0].id}, which {_what(hopeless[0])}"]
        return self._said(
            job,
            Status.DONE,
            verdict,
            *because,
            differences=differences,
            same=self._same(job) if record is not None else [],
        )

    def _gone(self, job: JobFile) -> str | None:
        """Whether a run most likely does not come to it any more: `list --gone` reads every job file to be certain."""
        roots = self._roots()
        step, seen = job, {job.id}
        while not step.submitted and step.id not in roots:
            finder = self._job(step.found_by) if step.found_by is not None else None
            made = codec.record_of(finder) if finder is not None else None
            if finder is not None and (made is None or finder.id in seen):
                return None  # it may name it yet
            if finder is None or made is None or step.id not in made.found:
                why = f"{step.found_by} no longer names" if step.found_by is not None else "no run's target names"
                whom = "it" if step is job else f"{step.id}, through which it was found"
                return f"it seems to be gone: {why} {whom}, so no run comes to it (`list --gone` makes certain)"
            step = finder
            seen.add(step.id)
        return None

    def _roots(self) -> set[str]:
        """Those of the newest run of each target, and of every run without one."""
        runs, roots = Runs(self._store), set[str]()
        for head in that_name(runs.heads()):
            with suppress(FileNotFoundError):  # pruned meanwhile
                roots.update(runs.read(head.id).roots)
        return roots

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
        when = _moment(codec.stamp(record.checked_at.timestamp())) if record.checked_at else "an unknown time"
        said.append(f"as of {when}, in run {record.run}")
        return said

    # ------------------------------------------------------------------------------------------- pending and running

    def _running(self, job: JobFile) -> Explained:
        attempt = f"attempt {len(job.attempts) + 1}"
        if live_runner(self._store) is None:
            verdict = f"was with a worker ({attempt}) when its runner ended"
            return self._said(job, Status.RUNNING, verdict, f"that uses up no retry; {self._next()}")
        claims = [e for e in story(self._store, job.id, runs_of(job)).entries if e.step == "claim"]
        since = f", since {_moment(claims[-1].at)}" if claims else ""
        return self._said(job, Status.RUNNING, f"is with a worker{since} ({attempt})")

    def _pending(self, job: JobFile) -> Explained:
        try:
            kind = self._catalog.kind(job.task)
        except (RunnerError, TypeError) as error:
            return self._said(job, Status.PENDING, f"will fail: {error}", self._next())
        over = {Status.DONE, Status.FAILED, Status.BLOCKED, Status.CANCELLED} if kind.all_done else {Status.DONE}
        waits = [each for each in self._upstream(job) if each.status not in over]
        limits = list(self._limits(job)) if not waits else []
        full = [limit for limit in limits if limit.full]
        lacking = [] if waits else self._lacking(job)
        left = codec.delay(job, time.time())
        because = []
        if waits:
            more = f", and for {len(waits) - 1:,} more" if len(waits) > 1 else ""
            verdict = f"waits for {waits[0].id}, which {_what(waits[0])}{more}"
            if waits[0].status == "nowhere":
                because = ["there is no such job: this one is blocked until somebody finds it"]
        elif lacking:
            verdict = f"waits for its input {lacking[0]}: no job makes it so far, and there is no such file"
            because = ["once nothing else can run it fails, unless a job that makes it was found"]
        elif left:
            last = f": {_error_line(job)}" if job.attempts else ""
            verdict = f"will be tried again in {_span(left)}, at {_moment(codec.stamp(time.time() + left))}{last}"
        elif full:
            verdict = f"is held by limit {full[0].key}: {len(full[0].running)} of {full[0].at_once} run already"
        else:
            verdict = "is ready: it waits for a worker"
        because += [] if live_runner(self._store) is not None else [self._next()]
        return self._said(
            job,
            Status.PENDING,
            verdict,
            *because,
            differences=self._differences(job),
            waits_for=waits[:_SHOWN],
            limits=limits,
            not_before=job.not_before if left else None,
        )

    def _lacking(self, job: JobFile) -> list[str]:
        """Its plain inputs that are not there."""
        with suppress(RunnerError, TypeError):
            kind, root = self._catalog.kind(job.task), self._catalog.root
            task = decode(kind.cls, job.params, root)
            paths = [path for field, path in input_paths(task, root) if kind.needs(field)]
            makers = {id[-16:] for id in job.after}
            return [p for p in paths if not is_file(os.path.join(root, p)) and output_hash(p) not in makers]
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
        verdict = f"is blocked by {last.id}, which {_what(last)}" + (f": {last.error}" if last.error else "")
        return self._said(job, Status.BLOCKED, verdict, chain=chain, differences=self._differences(job))

    # ------------------------------------------------------------------------------------------------------- pieces

    def _said(self, job: JobFile, status: Status, verdict: str, *because: str, **more: object) -> Explained:
        entries = story(self._store, job.id, runs_of(job)).entries
        reasons = [entry.why for entry in entries if entry.why and entry.step in ("expire", "retry", "requeue")]
        return Explained(
            id=job.id,
            status=status,
            verdict=verdict,
            because=[*self._wishes(job.id), *because],
            last_reason=reasons[-1] if reasons else "",
            **more,  # type: ignore[arg-type]
        )

    def _wishes(self, id: str) -> list[str]:
        """What a person wants of the job that no runner has taken in so far."""
        entries = Inbox(self._store).scan(time.time())
        commands = (entry.command for entry in entries if isinstance(entry.command.get("ids"), list))
        verbs = [str(command["verb"]) for command in commands if id in command["ids"]]
        return [f"`{verb}` was handed in, and is not carried out yet: {self._next()}" for verb in dict.fromkeys(verbs)]

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
                error = _error_line(other)
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


def _is_final(job: JobFile) -> bool:
    return bool(job.attempts and job.attempts[-1].get("final"))


def _error_line(job: JobFile) -> str:
    """The first line of the last attempt's error, with its type."""
    error = (job.attempts[-1].get("error") or {}) if job.attempts else {}
    message = (error.get("message") or "").strip().splitlines()
    kind = error.get("type") or _outcome(job)
    return f"{kind}: {message[0]}" if message else str(kind)


def _what(upstream: Upstream) -> str:
    """As in: which ..."""
    said = {"failed": "failed", "cancelled": "was cancelled", "nowhere": "is nowhere"}
    return said.get(upstream.status, f"is {upstream.status}")


def _moment(stamp: str) -> str:
    return f"{stamp[:19].replace('T', ' ')} UTC"


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole // 60 % 60:02} min"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
