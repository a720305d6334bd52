"""The vocabulary of the rule book: statuses, the one table of transitions, and jobs as the rule book sees them.

Nothing here does anything. `Status` values are folder names; all else is frozen. Times are seconds since the epoch, as
floats. What happens outside is in `events.py`, what is to be done about it in `commands.py`. A job file's own form is
`store/codec.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
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


# The members by themselves, here and of other enums: up to Python 3.11 `Status.DONE` costs ten times as much as a
# global name, and the rule book asks for some forty of them for every job.
PENDING, RUNNING, DONE, FAILED, BLOCKED, CANCELLED, QUARANTINE = Status


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
    delay: float | None = None  # seconds that it still has to wait
    finished: bool = False  # lacked only its last rename
    spent: bool = False  # it is not tried again, and lacked only its last rename
    named: bool = False  # it is a root of the run that goes on, which would propose it just so
    problem: Attempt | None = None  # it can never run: its class is gone, its module is broken
