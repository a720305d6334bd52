"""The port between the scheduler and whatever runs tasks. The one way in for tasks is JSON: never a pickle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from msgspec import Raw, Struct

from runner.core.events import Asked, Began, Failed, Finished, Judged, Lacked, WorkerLost
from runner.store.codec import Brief
from runner.workers.judge import How


class Staged(Struct, frozen=True, kw_only=True, tag=True):
    """A job ran, and a Fleet is to put its outputs in place before it is asked for its children."""

    id: str
    draft: str  # name in tmp/ of its record without the children
    deliver: tuple[tuple[str, str], ...]  # (staging path, final path)
    spoke: bool = False  # there is something in its log


class Order(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job for a worker. `job` is the whole job file."""

    id: str
    job: Raw
    ask: bool = False  # only ask it for its children
    alone: bool = False  # no other job in that worker meanwhile
    paced: bool = False  # it has a rate: it is not to lie behind others, and Began is to tell when it begins
    timeout: float | None = None  # seconds
    staged: Staged | None = None  # it ran, its outputs are in place, and it is to be asked for its children
    refused: str = ""  # and they are not all in place: why not
    published: bool = False  # but some are


class Reply(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of an order. The scheduler does not see a Staged one: a Fleet goes on with it."""

    event: Finished | Failed | Lacked | Asked | Staged
    seconds: float = 0.0  # in run(), or in downstream_tasks() when only asked
    error: str = ""  # the last line of its error, when it failed
    begun: bool = True  # run() was called
    elsewhere: str = ""  # an output that no sync of the runner's covers: it lies on a file system of its own


class Sight(Struct, frozen=True, omit_defaults=True):
    """A done job that was looked at ahead of time. `judged` None: to judge it takes methods of the user's."""

    job: Brief
    judged: Judged | None = None


class Looked(Struct, frozen=True, tag=True):
    """The answer to `Executor.look`: perhaps not of all that was asked for."""

    sights: list[Sight]


class Settings(Struct, frozen=True, kw_only=True):
    """What every worker of a run has to know."""

    root: str  # the project: working directory and first on the import path
    state: str
    run: str
    started: float  # the run's start, in seconds since the epoch
    durable: bool  # what a worker publishes itself is synced first
    devices: tuple[int, ...]  # the file systems that the runner syncs; outputs elsewhere are synced by the worker
    modules: tuple[str, ...]  # only Tasks of these may be named by a job file
    threads: int = 1
    adopt: bool = False  # outputs that are there without a record of ours are taken over
    how: How = How()  # done jobs are judged
    level: str = "INFO"  # for what tasks log
    agent: str = ""  # whom the worker works for, where that is not the runner itself; outputs are put in place by that
    afar: bool = False  # on another ground than the runner: what it writes it syncs itself, and it has another clock


Outcome: TypeAlias = Reply | WorkerLost | Looked | Began


class Executor(Protocol):
    """Runs orders somewhere. Every order started is answered by one Reply, or named in one WorkerLost; what is only to
    be looked at may stay without an answer. Of a `paced` one Began comes first, as its run() is about to be called;
    more than one, if that took a little longer.

    Where the machine hinders (the disk is full, say), the WorkerLost says "hindered". Raises StateError where no worker
    can be had.
    """

    @property
    def busy(self) -> int:
        """How many orders have no answer yet."""

    def start(self, orders: Sequence[Order], litter: Sequence[str] = ()) -> None:
        """Hand over orders; returns at once. `litter`: names in tmp/ that somebody is to unlink, sooner or later."""

    def look(self, ids: Sequence[str]) -> bool:
        """Have these done jobs looked at by a worker that has nothing else to do. False: there is none just now."""

    def free(self) -> int:
        """How many more orders would keep the workers busy without queueing up behind long ones."""

    def wait(self, timeout: float | None) -> list[Outcome]:
        """Outcomes, as soon as there is one; none after `timeout` seconds, or when a watched descriptor is readable."""

    def watch(self, fd: int) -> None:
        """Let `wait` return when `fd` is readable, too."""

    def unbegun(self) -> tuple[str, ...]:
        """Take back the orders that no worker has begun; those are not answered any more."""

    def close(self) -> Sequence[str]:
        """End the workers at once, whatever they are at, and wait until they are gone. May be called twice. Gives what
        it was told to unlink, as far as it may be there yet.
        """


class Nobody:
    """An Executor without workers, for when the state is put in order and nothing is to be started."""

    busy = 0

    def start(self, orders: Sequence[Order], litter: Sequence[str] = ()) -> None:
        raise AssertionError("there is nobody to run anything")

    def look(self, ids: Sequence[str]) -> bool:
        return False

    def free(self) -> int:
        return 0

    def wait(self, timeout: float | None) -> list[Outcome]:
        return []

    def watch(self, fd: int) -> None:
        pass

    def unbegun(self) -> tuple[str, ...]:
        return ()

    def close(self) -> Sequence[str]:
        return ()
