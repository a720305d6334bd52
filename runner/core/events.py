"""What happens outside the rule book, in the past tense: the only way in. All are frozen; times as in `model.py`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec import Struct

from runner.core.model import Attempt, Proposal, Status, Stored


class Recovered(Struct, frozen=True):
    """The state as the last runner left it: every id with its status, and what is unfinished, in detail; but for
    pending jobs of which that is told later, by `TakenOver`.
    """

    statuses: Mapping[str, Status]
    unfinished: Iterable[Stored]
    owners: Mapping[str, str] = {}  # output path -> id, for outputs that are not the first of their job
    revivable: frozenset[str] = frozenset()  # cancelled as superseded or gone: until found again
    failed: frozenset[str] = frozenset()  # of the failed jobs those that this very run tried
    waiting: Mapping[str, tuple[str, ...]] = {}  # what those come after of whom more is told later


class TakenOver(Struct, frozen=True):
    """More of what the last runner left: pending jobs, in detail. `damaged`: in quarantine/ now; `lost`: not there."""

    pending: list[Stored]
    damaged: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


class Submitted(Struct, frozen=True):
    """Jobs were proposed as one batch: a run's roots, or what was handed in."""

    batch: list[Proposal]
    by_name: bool = False  # a person named these: what was cancelled comes back, what failed is tried again
    dropped: tuple[str, ...] = ()  # roots of the last run of the same target that are none of this one's
    more: bool = False  # a run that goes on names its roots again, part by part, and this is not the last of them


class Withdrawn(Struct, frozen=True):
    """The files of these jobs were moved out of their status folder, back into inbox/."""

    ids: tuple[str, ...]


class Continued(Struct, frozen=True):
    """So many more jobs of the batch that is being admitted may be entered."""

    count: int


class Slots(Struct, frozen=True, gc=False):
    """The workers can take so many more jobs."""

    free: int


class Began(Struct, frozen=True, tag=True):
    """A job that has a rate has begun. `at`: by the clock of `handle`. Said again: it was a little later."""

    id: str
    at: float


class Returned(Struct, frozen=True, gc=False):
    """A worker is through with a job. Its result is not committed yet, but its limits are free again.

    `begun`: its `run()` may have been called, just now if nobody said when.
    """

    id: str
    begun: bool = True


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
    """A job did not succeed. It is tried again in `retry_in` seconds; None: out of retries."""

    id: str
    record: str  # name in tmp/ of the whole job file, this attempt in it
    retry_in: float | None = None


class Lacked(Struct, frozen=True, tag=True):
    """A worker was to start a job, and a plain Input was not there. Nothing was attempted."""

    id: str
    paths: tuple[str, ...]


class WorkerLost(Struct, frozen=True, kw_only=True, tag=True):
    """A worker ended. `begun` had been started in it, `waiting` lay in its queue.

    "hindered": the machine kept it from doing these (the disk is full, say); it may be alive.
    """

    begun: tuple[str, ...]
    waiting: tuple[str, ...]
    outcome: str  # died, timeout, interrupted, hindered
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
    """The answer to Count: `attempt` is to be charged; the job is tried again in `retry_in` seconds, or (None) lost."""

    id: str
    attempt: Attempt
    retry_in: float | None


Event: TypeAlias = (
    Recovered
    | TakenOver
    | Submitted
    | Withdrawn
    | Continued
    | Slots
    | Began
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
