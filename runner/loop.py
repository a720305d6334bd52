"""The shell around the engine: outcomes, time, signals and inbox in; the engine's commands carried out, in order.

Theory of operation. One turn: judge a few done jobs, hand ready ones to free workers, wait for outcomes, commit them.
An outcome first gives its worker and its limits back, so that the next job can be claimed at once; its result is
committed in a group with all that came meanwhile. With `--durability power` a group's staged files are synced first, in
a thread, while the next group collects; a group is as large as one sync is long, and never waits for a timer. What the
engine orders is on disk before its launches go out.

Nothing here decides about a job: that is the engine's, and its commands are carried out as they come.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec
from msgspec import Raw, Struct

from runner.catalog import Catalog
from runner.core.engine import Engine
from runner.core.model import (
    Asked,
    Bind,
    Command,
    Count,
    Counted,
    Create,
    Deliver,
    Discard,
    Event,
    Finished,
    Judge,
    Judged,
    Launch,
    Move,
    Proposal,
    Returned,
    Rewish,
    Slots,
    Status,
    Submitted,
    Walk,
    WorkerLost,
)
from runner.errors import BadJobFile, Refused, RunnerError, StateError
from runner.listeners import Intake, Watcher
from runner.store.folders import FolderStore
from runner.store.steps import StoreCommand
from runner.syncer import Syncer
from runner.workers import record, staging
from runner.workers.port import Executor, Order, Outcome, Reply

JUDGED_AT_ONCE = 0.02
"""Seconds that a turn may spend on judging, while workers wait."""

SLICE = 4096
"""How many commands the store plans at a time: memory for a large batch, against one sync for each."""

GROUP = 100
"""How many results make a group worth a sync of its own, while workers have other work."""

GROUP_AGE = 0.01
"""Seconds that the first result of such a group waits at the most."""

POLL = 0.25
"""Seconds between two looks into the inbox."""

GRACE = 10.0
"""Seconds that running jobs get after a SIGTERM."""


class Loop:
    """One run, from the first claim to the last commit."""

    def __init__(
        self,
        engine: Engine,
        store: FolderStore,
        executor: Executor,
        catalog: Catalog,
        intake: Intake,
        watchers: Sequence[Watcher],
        *,
        run: str,
        started: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._store = store
        self._executor = executor
        self._catalog = catalog
        self._intake = intake
        self._watchers = watchers
        self._run = run
        self._started = started
        self._clock = clock
        self._group: list[Reply] = []
        self._group_since = 0.0
        self._syncing: list[Reply] = []
        self._syncer = Syncer(lambda: store.sync(self._staged())) if store.shelf.durable else None
        if self._syncer is not None:
            executor.watch(self._syncer.fd)
        self._judging: deque[str] = deque()
        self._walks: deque[Walk] = deque()
        self._next_poll = 0.0
        self._full = False
        self._deadline: float | None = None
        self.stopping = False
        self.killing = False

    # -------------------------------------------------------------------------------------------------- from outside

    def stop(self, grace: float | None = None) -> None:
        """Claim nothing more; finish what runs, within `grace` seconds if given. Safe in a signal handler."""
        self.stopping = True
        if grace is not None and self._deadline is None:
            self._deadline = time.monotonic() + grace

    def kill(self) -> None:
        """Leave at once; what runs goes back to pending/. Safe in a signal handler."""
        self.stopping = self.killing = True

    def submit(self, batch: list[Proposal], *, by_name: bool = False) -> None:
        """Propose jobs. Raises Refused, with nothing changed."""
        self.do(Submitted(batch, by_name))

    def do(self, event: Event) -> None:
        """Tell the engine, and carry out what it says."""
        self._carry_out(self._engine.handle(event, self._clock()))

    # ------------------------------------------------------------------------------------------------------- the turn

    def run(self) -> bool:
        """Work until nothing is left, or until asked to stop. Returns whether nothing is left."""
        halted = False
        try:
            while not self._over():
                if self.killing or (self._deadline is not None and time.monotonic() > self._deadline):
                    self._give_up()
                    break
                if self.stopping and not halted:
                    halted = True
                    self._take_back(self._executor.unbegun())
                if not self.stopping:
                    self._look_into_inbox()
                    self._judge_some()
                    self._fill()
                self._receive(self._executor.wait(self._patience()))
                self._commit()
                for watcher in self._watchers:
                    watcher.tick(self._engine, self._clock())
            self._store.sync()
        finally:
            if self._syncer is not None:
                self._syncer.close()
        return self._engine.finished

    def _over(self) -> bool:
        if self._engine.busy or self._group or self._syncing:
            return False
        if self.stopping:
            return True
        if self._judging or self._walks or not self._engine.finished:
            return False
        if self._intake.unsettled:  # a file that may not be whole yet
            return False
        self._next_poll = 0.0  # one last look: what was accepted before the end is done
        return not self._look_into_inbox() and not self._intake.unsettled

    def _patience(self) -> float:
        """Seconds to wait for an outcome at the most."""
        if self._judging or self._walks or (self._engine.finished and not self._intake.unsettled):
            return POLL if self.stopping else 0.0
        if self._group and self._syncer is not None and not self._syncer.busy:
            return GROUP_AGE
        due = self._engine.next_time()
        if due is None or self.stopping or self._full:
            return POLL
        return min(POLL, max(0.0, due - self._clock()))

    def _fill(self) -> None:
        engine = self._engine
        self._full = False
        due = engine.next_time()
        idle = not (engine.busy or self._judging or self._walks or self._group or self._syncing)
        if engine.claimable or idle or (due is not None and due <= self._clock()):
            free = self._executor.free()
            self._full = free <= 0  # however much is due: an outcome comes first
            commands = self._engine.handle(Slots(free), self._clock()) if free > 0 else []
            if idle and not commands and not engine.finished and engine.next_time() is None:
                raise StateError("jobs are left that nothing can start (is a limit 0?): see `list --status pending`")
            self._carry_out(commands)

    def _receive(self, outcomes: list[Outcome]) -> None:
        """Free the places of what came back. Results wait for their commit; deaths are dealt with now."""
        commands: list[Command] = []
        now = self._clock()
        for outcome in outcomes:
            if isinstance(outcome, Reply):
                if not self._group:
                    self._group_since = time.monotonic()
                self._group.append(outcome)
                commands += self._engine.handle(Returned(outcome.event.id), now)
            else:
                self._sweep(outcome)
                for id in (*outcome.begun, *outcome.waiting):
                    commands += self._engine.handle(Returned(id), now)
                commands += self._engine.handle(outcome, now)
        if commands:
            self._carry_out(commands)

    def _sweep(self, lost: WorkerLost) -> None:
        """Remove what attempts that were cut short have staged, before their jobs move on."""
        left: dict[str, tuple[str, ...]] = {}
        for id in lost.begun:
            if self._engine.ledger.status(id) is Status.RUNNING:  # one that was only asked has staged nothing
                left[id] = self._catalog.outputs(self._store.read(id, Status.RUNNING))
        staging.sweep(left, self._store.root)

    def _staged(self) -> Iterator[str]:
        """The files to be delivered with the group that is being synced."""
        for reply in self._syncing:
            if isinstance(reply.event, Finished):
                for path, _ in reply.event.deliver:
                    yield path

    def _commit(self) -> None:
        if self._syncer is None:
            self._syncing, self._group = self._group, []
        elif self._syncer.busy and not self._syncer.finish():
            return
        self._apply()
        if self._syncer is not None and self._group and self._is_due():
            self._syncing, self._group = self._group, []
            self._syncer.start()

    def _is_due(self) -> bool:
        """Whether to sync the group now. A sync costs the same for one result and for many, so it pays to gather them,
        but never while somebody may wait for what they release.
        """
        if len(self._group) >= GROUP or not self._engine.claimable or self._engine.busy <= len(self._group):
            return True
        return self.stopping or time.monotonic() - self._group_since >= GROUP_AGE

    def _apply(self) -> None:
        """Commit the results whose files are synced."""
        if not self._syncing:
            return
        commands: list[Command] = []
        now = self._clock()
        for reply in self._syncing:
            commands += self._engine.handle(reply.event, now)
            for watcher in self._watchers:
                watcher.replied(reply)
        self._syncing = []
        self._carry_out(commands)

    # ------------------------------------------------------------------------------------------------ carrying it out

    def _carry_out(self, commands: list[Command]) -> None:
        """Everything that is for the disk first, in one go, then the rest: a move is on disk before its launch."""
        for_disk: list[StoreCommand] = []
        others: list[Launch | Judge | Walk | Count] = []
        for command in commands:
            if type(command) in _FOR_DISK:
                for_disk.append(command)  # type: ignore[arg-type]
            else:
                others.append(command)  # type: ignore[arg-type]
        for start in range(0, len(for_disk), SLICE):
            part = for_disk[start : start + SLICE]
            self._store.carry_out(part)
            now = self._clock()
            for done in part:
                if isinstance(done, Move):
                    for watcher in self._watchers:
                        watcher.moved(done, now)
        orders = [self._order(command) for command in others if isinstance(command, Launch)]
        if orders:
            self._executor.start(orders, self._store.take_leftovers())
        for command in others:
            match command:
                case Judge(id):
                    self._judging.append(id)
                case Walk():
                    self._walks.append(command)
                case Count():
                    self._count(command)

    def _order(self, launch: Launch) -> Order:
        status = Status.DONE if launch.ask else Status.RUNNING
        data = self._store.read_bytes(launch.id, status)
        try:
            task = _head(data).task
        except ValueError as error:  # msgspec's errors are that
            what = f"{status}/{launch.id}.json was damaged since it was read ({error})"
            raise StateError(f"{what}: start again, and it goes to quarantine/, with the reason") from error
        return Order(
            id=launch.id,
            job=Raw(data),
            ask=launch.ask,
            alone=launch.alone,
            timeout=self._catalog.timeout(task),
        )

    def _count(self, command: Count) -> None:
        job = self._store.read(command.id, Status.RUNNING)
        retry_at = None
        with suppress(RunnerError, TypeError):  # its class is gone meanwhile
            retry_at = record.retry_at(job, self._catalog.kind(job.task), self._clock())
        self.do(Counted(command.id, command.attempt, retry_at))

    def _judge_some(self) -> None:
        """Judge done jobs for a while, and propose again what was found last time."""
        until = time.monotonic() + JUDGED_AT_ONCE
        while self._judging and time.monotonic() < until:
            id = self._judging.popleft()
            try:
                job = self._store.read(id, Status.DONE)
            except (FileNotFoundError, BadJobFile):  # taken away or damaged by hand: `check` tells of it
                self.do(Judged(id=id, reason=None))
            else:
                self.do(self._catalog.judge(job, self._run, self._started))
        while self._walks and time.monotonic() < until:
            walk = self._walks.popleft()
            self.do(Asked(id=walk.finder, children=self.known(walk.ids)))

    def known(self, ids: Iterable[str]) -> list[Proposal]:
        """These jobs, as they stand in their files; without those whose file or class is gone."""
        proposals = []
        for id in ids:
            status = self._engine.ledger.status(id)
            if status in (None, Status.QUARANTINE, Status.CANCELLED):
                continue
            assert status is not None
            try:
                proposals.append(self._catalog.proposal(self._store.read(id, status)))
            except (FileNotFoundError, RunnerError, TypeError):
                continue
        return proposals

    # ----------------------------------------------------------------------------------------- inbox, and the end

    def take_in(self) -> None:
        """Carry out what lies in the inbox, and nothing else; with files that may not be whole yet, wait for them."""
        try:
            while self._look_into_inbox() or self._intake.unsettled:
                time.sleep(POLL)
            self._store.sync()
        finally:
            if self._syncer is not None:
                self._syncer.close()

    def _look_into_inbox(self) -> bool:
        now = time.monotonic()
        if now < self._next_poll:
            return False
        self._next_poll = now + POLL
        found = False
        for event in self._intake.collect():
            refused = None
            try:
                self.do(event)
            except Refused as error:  # and nothing was changed; any other error is for the whole run
                refused = error
            self._intake.settled(event, refused)
            found = True
        if self._intake.stop_wanted:
            self.stop()
        return found

    def _take_back(self, ids: tuple[str, ...]) -> None:
        if ids:
            self._receive([WorkerLost(begun=(), waiting=ids, outcome="interrupted", message="the runner stops")])

    def _give_up(self) -> None:
        """End the workers now; what they had goes back to pending/, and no attempt is used up."""
        self._executor.close()
        self._store.sync()
        self._syncing += self._group
        self._group = []
        self._apply()
        lost = self._engine.with_workers()
        message = "the runner was told to leave"
        self._receive([WorkerLost(begun=lost, waiting=(), outcome="interrupted", message=message)])


_FOR_DISK = frozenset({Create, Rewish, Move, Bind, Deliver, Discard})


class _Head(Struct):
    """As much of a job file as a launch needs."""

    task: str


_head = msgspec.json.Decoder(_Head).decode
