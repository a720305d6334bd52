"""The vocabulary of the rule book: statuses, the one table of transitions, events and commands.

Nothing here does anything. `Status` values are folder names. Events are in the past tense (what happened outside),
commands in the imperative (what the shell is to do); all are frozen. Times are seconds since the epoch, as floats.
A job file's own form is `store/codec.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeAlias

from msgspec import Struct

from runner.errors import IllegalTransition

Json: TypeAlias = Any
"""What a JSON document may hold."""


class Status(StrEnum):
    """Where a job is. The value is the name of its folder."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    QUARANTINE = "quarantine"


# The order in which a scan reads the folders: a job that moves forward meanwhile is seen once or twice, never missed.
FLOW_ORDER = (
    Status.PENDING,
    Status.RUNNING,
    Status.DONE,
    Status.FAILED,
    Status.BLOCKED,
    Status.CANCELLED,
    Status.QUARANTINE,
)
UNFINISHED = frozenset({Status.PENDING, Status.RUNNING, Status.BLOCKED})
HOPELESS = frozenset({Status.FAILED, Status.BLOCKED, Status.CANCELLED, Status.QUARANTINE})


class Step(StrEnum):
    """Why a job changes its status."""

    CLAIM = "claim"  # handed to a worker
    FINISH = "finish"  # its outputs are complete and recorded
    FAIL = "fail"  # out of retries, or it can never run
    REQUEUE = "requeue"  # back to wait: a retry, an interruption, a missing input
    BLOCK = "block"  # an upstream job is hopeless
    UNBLOCK = "unblock"  # it no longer is
    RETRY = "retry"  # a person, or a new run, wants it tried again
    EXPIRE = "expire"  # it was done, and is due again
    CANCEL = "cancel"  # by a person, superseded, or gone


TRANSITIONS: Mapping[tuple[Status, Step], Status] = {
    (Status.PENDING, Step.CLAIM): Status.RUNNING,
    (Status.PENDING, Step.BLOCK): Status.BLOCKED,
    (Status.PENDING, Step.FAIL): Status.FAILED,
    (Status.PENDING, Step.CANCEL): Status.CANCELLED,
    (Status.RUNNING, Step.FINISH): Status.DONE,
    (Status.RUNNING, Step.FAIL): Status.FAILED,
    (Status.RUNNING, Step.REQUEUE): Status.PENDING,
    (Status.RUNNING, Step.BLOCK): Status.BLOCKED,
    (Status.RUNNING, Step.CANCEL): Status.CANCELLED,
    (Status.DONE, Step.EXPIRE): Status.PENDING,
    (Status.DONE, Step.CANCEL): Status.CANCELLED,
    (Status.FAILED, Step.RETRY): Status.PENDING,
    (Status.FAILED, Step.CANCEL): Status.CANCELLED,
    (Status.BLOCKED, Step.UNBLOCK): Status.PENDING,
    (Status.BLOCKED, Step.RETRY): Status.PENDING,
    (Status.BLOCKED, Step.CANCEL): Status.CANCELLED,
    (Status.CANCELLED, Step.RETRY): Status.PENDING,
}


def transition(job: str, status: Status, step: Step) -> Status:
    """The status that `step` leads to. Raises IllegalTransition, naming the job, where the table has none."""
    try:
        return TRANSITIONS[status, step]
    except KeyError:
        raise IllegalTransition(f"{job}: a {status} job cannot {step}") from None


class Limit(Struct, frozen=True, array_like=True):
    """What one limit key allows: jobs at once, and starts per second. None: no bound."""

    at_once: int | None = None
    per_second: float | None = None


class Need(Struct, frozen=True, array_like=True):
    """An Input path that no task of its own batch makes."""

    path: str
    exists: bool = False
    optional: bool = False


class Proposal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A task on its way to become a job, or a job proposed again. `params` is the wish, as JSON."""

    id: str
    task: str
    params: dict[str, Json]
    fingerprint: str  # of the parameters, Hints left out
    after: tuple[str, ...] = ()  # makers of its Inputs within the batch, upstream_tasks(), graph edges
    inputs: tuple[Need, ...] = ()  # Inputs nobody in the batch makes: the engine binds them
    outputs: tuple[str, ...] = ()
    limits: dict[str, Limit] = {}
    priority: int = 0
    all_done: bool = False
    finds: bool = False  # its class may find others
    found_by: str | None = None
    submitted: bool = False
    depth: int = 0
    staged: str | None = None  # name in tmp/ of a whole job file that holds exactly this, `after` included


class Attempt(Struct, frozen=True, kw_only=True):
    """One entry of a job's history, as the engine asks for it; the store adds the run and the time."""

    outcome: str  # failed, published, died, timeout, interrupted, cancelled, superseded, gone
    type: str
    message: str
    seconds: float | None = None


class Stored(Struct, frozen=True, kw_only=True):
    """An unfinished job as recovery found it on disk."""

    id: str
    status: Status
    after: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    limits: dict[str, Limit] = {}
    priority: int = 0
    all_done: bool = False
    finds: bool = False  # as a Proposal has it
    submitted: bool = False
    fingerprint: str = ""
    inputs: tuple[Need, ...] = ()  # all of them, whoever makes them
    depth: int = 0
    not_before: float | None = None
    finished: bool = False  # lacked only its last rename
    spent: bool = False  # its retries are used up; it lacked only its last rename
    problem: Attempt | None = None  # it can never run: its class is gone, its module is broken


# ---------------------------------------------------------------------------------------------------------- events


class Recovered(Struct, frozen=True):
    """The state as the last runner left it: every id with its status, and what is unfinished, in detail."""

    statuses: Mapping[str, Status]
    unfinished: Iterable[Stored]
    owners: Mapping[str, str] = {}  # output path -> id, for outputs that are not the first of their job
    revivable: frozenset[str] = frozenset()  # cancelled as superseded or gone: until found again
    failed: frozenset[str] = frozenset()  # of the failed jobs those that this very run tried


class Submitted(Struct, frozen=True):
    """Jobs were proposed as one batch: a run's roots, or what was handed in."""

    batch: list[Proposal]
    by_name: bool = False  # a person named these: what was cancelled comes back, what failed is tried again
    dropped: tuple[str, ...] = ()  # roots of the last run of the same target that are none of this one's


class Withdrawn(Struct, frozen=True):
    """The files of these jobs were moved out of their status folder, back into inbox/."""

    ids: tuple[str, ...]


class Continued(Struct, frozen=True):
    """So many more jobs of the batch that is being admitted may be entered."""

    count: int


class Slots(Struct, frozen=True, gc=False):
    """The workers can take so many more jobs."""

    free: int


class Returned(Struct, frozen=True, gc=False):
    """A worker is through with a job. Its result is not committed yet, but its limits are free again."""

    id: str


class Finished(Struct, frozen=True, kw_only=True, tag=True):
    """A job succeeded; its record, outputs and children lie staged, and are synced as far as the durability asks."""

    id: str
    record: str  # name in tmp/ of the whole finished job file
    deliver: tuple[tuple[str, str], ...] = ()  # (staging path, final path)
    trash: tuple[str, ...] = ()  # outputs that became absent
    children: list[Proposal] | None = None  # None: its class finds none, or it is absent
    found: tuple[str, ...] = ()  # it is absent: those that it found last time stay reached
    dropped: tuple[str, ...] = ()  # it found them last time, and no more
    change: str = ""  # new, changed, unchanged or absent


class Failed(Struct, frozen=True, kw_only=True, tag=True):
    """A job did not succeed. `retry_at` None: out of retries."""

    id: str
    record: str  # name in tmp/ of the whole job file, this attempt in it
    retry_at: float | None = None


class Lacked(Struct, frozen=True, tag=True):
    """A worker was to start a job, and a plain Input was not there. Nothing was attempted."""

    id: str
    paths: tuple[str, ...]


class WorkerLost(Struct, frozen=True, kw_only=True):
    """A worker ended. `begun` had been started in it, `waiting` lay in its queue."""

    begun: tuple[str, ...]
    waiting: tuple[str, ...]
    outcome: str  # died, timeout, interrupted
    message: str
    guilty: tuple[str, ...] = ()  # known to be the cause (a time-out)


class Judged(Struct, frozen=True, kw_only=True):
    """A done job was compared with its record. `reason` None: it is up to date."""

    id: str
    reason: str | None
    asks: bool = False  # it must be asked again for its children
    found: tuple[str, ...] = ()  # else: those that stay reached, as its record names them
    dropped: tuple[str, ...] = ()  # those that it dropped earlier in this run
    change: str = ""  # it ran earlier in this run, and that came of it


class Verified(Struct, frozen=True):
    """These done jobs are up to date, and that is all: most jobs, most nights."""

    ids: tuple[str, ...]


class Asked(Struct, frozen=True, kw_only=True, tag=True):
    """An up-to-date job was asked for its children again. `error`: it could not tell."""

    id: str
    children: list[Proposal]
    error: str | None = None
    found: tuple[str, ...] | None = None  # other children than its record names: these
    dropped: tuple[str, ...] = ()  # its record names them, or did when this run began, and it does no more


class Traced(Struct, frozen=True):
    """The answer to Trace: of each job whether it was handed in, and whom its record names as found.

    `spared`: whom the records of the unheard name.
    """

    jobs: tuple[tuple[str, bool, tuple[str, ...]], ...]
    spared: frozenset[str] = frozenset()


class Wound(Struct, frozen=True):
    """Nothing is left to do: whatever is not reached by now will not be."""


class Invalidated(Struct, frozen=True):
    """A person does not trust what these made: they are due, and start from nothing."""

    ids: tuple[str, ...]


class Retried(Struct, frozen=True):
    """A person wants these tried again."""

    ids: tuple[str, ...]


class Cancelled(Struct, frozen=True):
    """A person wants these never to run."""

    ids: tuple[str, ...]


class Ticked(Struct, frozen=True):
    """Time went by."""


class Counted(Struct, frozen=True):
    """The answer to Count: `attempt` is to be charged; the job may be tried again at `retry_at`, or (None) is lost."""

    id: str
    attempt: Attempt
    retry_at: float | None


Event: TypeAlias = (
    Recovered
    | Submitted
    | Withdrawn
    | Continued
    | Slots
    | Returned
    | Finished
    | Failed
    | Lacked
    | WorkerLost
    | Judged
    | Verified
    | Asked
    | Traced
    | Wound
    | Invalidated
    | Retried
    | Cancelled
    | Ticked
    | Counted
)

# -------------------------------------------------------------------------------------------------------- commands


class Create(Struct, frozen=True):
    """Put a new job file into pending/. `after` is complete; if it equals the proposal's, a staged file will do."""

    proposal: Proposal
    after: tuple[str, ...]


class Rewish(Struct, frozen=True):
    """A known job was proposed again: store its new wish where it lies, if it differs from what is there."""

    proposal: Proposal
    after: tuple[str, ...]
    status: Status


class Change(Struct, frozen=True, kw_only=True):
    """What is to be replaced in a job file before it moves."""

    attempt: Attempt | None = None  # appended
    not_before: float | None = None  # always replaced
    reset_retries: bool = False  # retries count anew from here


class Move(Struct, frozen=True, gc=False):
    """Rename a job file from one status folder to another: with `record` (a name in tmp/) or `change` put in first."""

    id: str
    source: Status
    target: Status
    step: Step
    record: str | None = None
    change: Change | None = None
    why: str = ""


class Bind(Struct, frozen=True):
    """A waiting job got another upstream job: store its `after`."""

    id: str
    status: Status
    after: tuple[str, ...]


class Relist(Struct, frozen=True):
    """A done job names other children than its record does: store which, and which it dropped in this run."""

    id: str
    found: tuple[str, ...]
    dropped: tuple[str, ...]


class Distrust(Struct, frozen=True):
    """Mark the record of a job as not to be relied on."""

    id: str
    status: Status


class Deliver(Struct, frozen=True):
    """Rename a finished job's outputs to their final names; move what became absent to trash/."""

    id: str
    pairs: tuple[tuple[str, str], ...]
    trash: tuple[str, ...] = ()


class Discard(Struct, frozen=True):
    """Unlink files in tmp/ that are not needed after all."""

    names: tuple[str, ...]


class Launch(Struct, frozen=True, gc=False):
    """Hand a job to a worker: to run it, or (`ask`) only to ask it for its children. `alone`: with no company."""

    id: str
    alone: bool = False
    ask: bool = False


class Judge(Struct, frozen=True, gc=False):
    """Compare a done job with its record, and answer with Judged."""

    id: str


class Walk(Struct, frozen=True):
    """Read the job files that `finder` found last time, and propose them again: answer with Asked."""

    ids: tuple[str, ...]
    finder: str


class Trace(Struct, frozen=True):
    """Look into the files of these jobs, whom nobody named any more, and answer with Traced.

    `unheard`: finders that nobody could ask tonight; whom their records name is left alone.
    """

    ids: tuple[str, ...]
    unheard: tuple[str, ...] = ()


class Count(Struct, frozen=True):
    """A job's worker died under it: append the attempt, see whether retries are left, answer with Counted."""

    id: str
    attempt: Attempt


StoreCommand: TypeAlias = Create | Rewish | Move | Bind | Relist | Distrust | Deliver | Discard
"""What is for the disk."""

Command: TypeAlias = StoreCommand | Launch | Judge | Walk | Trace | Count
"""Carried out strictly in the order given."""
