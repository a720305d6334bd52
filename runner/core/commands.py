"""What the shell is to do, in the imperative: the only way out of the rule book. All are frozen."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from runner.core.model import Attempt, Proposal, Status, Step


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
    retry_in: float | None = None  # seconds from now; what was said of it before is always replaced
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
    """Hand a job to a worker: to run it, or (`ask`) only to ask it for its children. `alone`: with no company.

    `paced`: it has a rate: it is to begin at once, and Began is to tell when it has.
    """

    id: str
    alone: bool = False
    ask: bool = False
    paced: bool = False


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
