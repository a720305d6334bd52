"""The shell around the engine: outcomes, time, signals and inbox in; the engine's commands carried out, in order.

Theory of operation. One turn: judge a few done jobs, wait for outcomes, commit those that are durable, let a part of a
new batch enter, hand ready jobs to free workers; what the engine orders for all of that is carried out in one go.
An outcome first gives its worker and its limits back, so that the next job can be claimed at once; its result is
committed in a group with all that came meanwhile (`groupcommit.py`). A large batch enters part by part, one in each
turn, so that workers have something to do meanwhile. What the engine orders is on disk before its launches go out.

Nothing here decides about a job: that is the engine's, and its commands are carried out as they come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import get_args

import msgspec
from msgspec import Raw, Struct

from runner.backlog import Backlog
from runner.bounds import NONE, Bounds, Warden
from runner.catalog import Catalog
from runner.core.commands import Command, Count, Judge, Launch, Move, StoreCommand, Trace, Walk
from runner.core.engine import CHECKED, Engine
from runner.core.events import Began, Continued, Counted, Event, Returned, Slots, Submitted, WorkerLost, Wound
from runner.core.model import Proposal, Status
from runner.errors import GO_ON, Refused, RunnerError, StateError, plainly
from runner.groupcommit import GROUP, GroupCommit
from runner.listeners import Intake, Store, Watcher
from runner.rounds import Rounds
from runner.store.pace import steady
from runner.workers import record, staging
from runner.workers.port import Executor, Order, Outcome, Reply, Staged

JUDGED_AT_ONCE = 0.02
"""Seconds that a turn may spend on judging, while workers wait."""

SLICE = 4096
"""How many commands the store plans at a time: memory for a large batch, against one sync for each."""

ENOUGH = 4096
"""How many ready jobs are enough, while all workers are busy: what else an earlier runner left costs a name each."""

POLL = 0.25
"""Seconds between two looks into the inbox."""

GRACE = 10.0
"""Seconds that running jobs get after a SIGTERM."""


class Loop:
    """One run, from the first claim to the last commit."""

    def __init__(
        self,
        engine: Engine,
        store: Store,
        executor: Executor,
        catalog: Catalog,
        rounds: Rounds,
        intake: Intake,
        watchers: Sequence[Watcher],
        *,
        backlog: Backlog | None = None,
        bounds: Bounds = NONE,
        clock: Callable[[], float] = steady,
    ) -> None:
        self._engine = engine
        self._store = store
        self._executor = executor
        self._catalog = catalog
        self._rounds = rounds
        self._intake = intake
        self._warden = Warden(bounds, self.stop)
        self._watchers = (self._warden, *watchers)
        self._backlog = backlog
        self._clock = clock
        self._ahead = rounds.ahead
        self._commits = GroupCommit(store, executor, engine.part)
        self._entered: Callable[[], None] | None = None
        self._next_poll = 0.0
        self._full = False
        self._sated = False  # the workers took all that they could, and not all that was ready
        self._changed = True  # since free workers were last given what is ready
        self._deadline: float | None = None
        self._wound_up = False
        self._hindrance = ""
        self._refused: Refused | None = None
        self._reason = ""
        self._told = False
        self.stopping = False
        self.killing = False

    # -------------------------------------------------------------------------------------------------- from outside

    def stop(self, reason: str, grace: float | None = None) -> None:
        """Claim nothing more; finish what runs, within `grace` seconds if given. Safe in a signal handler: watchers are
        told the reason in the next turn."""
        self._reason = self._reason or reason
        self.stopping = True
        if grace is not None and self._deadline is None:
            self._deadline = time.monotonic() + grace

    def kill(self) -> None:
        """Leave at once; what runs goes back to pending/. Safe in a signal handler."""
        self.stopping = self.killing = True

    def submit(
        self, batch: list[Proposal], entered: Callable[[], None] | None = None, dropped: Iterable[str] = ()
    ) -> None:
        """Propose the run's roots; `entered` once all of them are durable. Raises Refused, with nothing changed.

        `dropped`: roots of the last such run that are none of this one's.
        """
        self.do(Submitted(batch, dropped=tuple(dropped)))
        self._entered = entered
        self._note_entered()

    def do(self, event: Event) -> None:
        """Tell the engine, and carry out what it says."""
        self._changed = True
        commands = self._engine.handle(event, self._clock())
        if commands:
            self._carry_out(commands)

    # ------------------------------------------------------------------------------------------------------- the turn

    def run(self) -> bool:
        """Work until nothing is left, or until asked to stop. Returns whether nothing is left.

        Raises StateError or OSError where the machine hinders (the disk is full, say), Refused where a root of a run
        that goes on contradicts what was found since; once what ran has ended.
        """
        try:
            try:
                self._work()
            finally:
                self._commits.close()
        except (OSError, StateError) as error:
            self._outlast(plainly(error))
            raise
        if self._hindrance:
            raise StateError(f"{self._hindrance}; {GO_ON}")
        if self._refused is not None:
            raise self._refused
        return self._engine.finished and self._wound_up

    def _work(self) -> None:
        self._carry_out(self._take_over_some())  # before what lies in inbox/: that came later
        while not self._over():
            if self._is_time():
                self._give_up()
                break
            if self.stopping and not self._told:
                self._tell()
                self._take_back(self._executor.unbegun())
            if not self.stopping:
                self._look_into_inbox()
                self._judge_some()
            self._turn(self._executor.wait(self._patience()))
            for watcher in self._watchers:
                watcher.tick(self._engine, time.time())
        if self.stopping and not self.killing:
            self._tell()
        self._store.sync()

    def _tell(self) -> None:
        """Why it stops, once."""
        if not self._told:
            self._told = True
            for watcher in self._watchers:
                watcher.leaving(self._reason, self._executor.busy)

    def _is_time(self) -> bool:
        """To leave, whatever still runs."""
        return self.killing or (self._deadline is not None and time.monotonic() > self._deadline)

    def _turn(self, found: list[Outcome]) -> None:
        outcomes = self._ahead.take(found)
        commands = self._receive(outcomes)
        durable = self._commits.take()
        if durable:  # the disk need not wait until these are in their places
            self._commits.start_sync(self._engine, hurry=self.stopping)
        commands += self._commit(durable)
        commands += self._enter_some(leisure=not outcomes)
        commands += self._take_over_some()
        if not self.stopping:
            commands += self._fill(idle=not commands)
        self._carry_out(commands)
        self._note_entered()
        self._commits.write_ahead(self._engine)
        if not self.stopping:
            self._ahead.send(self._engine, self._executor)
        self._commits.start_sync(self._engine, hurry=self.stopping)

    def _over(self) -> bool:
        if self._engine.busy or self._engine.entering or self._commits:
            return False
        if self._hindrance:
            return True
        if self._backlog or self._rounds or not self._engine.finished or self._intake.unsettled:
            return self.stopping
        self._next_poll = 0.0  # one last look: what was accepted before the end is done
        if self._look_into_inbox() or self._intake.unsettled:
            return False
        self.do(Wound())
        self._wound_up = not self._rounds  # else there is more to look into, for whom nobody named
        return self._wound_up

    def _patience(self) -> float:
        """Seconds to wait for an outcome at the most."""
        more = self._changed or self._rounds or self._wants_more() or self._may_name()
        if not self.stopping and (more or (self._engine.finished and not self._intake.unsettled)):
            return 0.0
        commits = self._commits.patience(self._engine)
        if commits is not None:
            return commits
        due = self._engine.next_time()
        if self.stopping or self._full:
            return POLL
        if due is None:
            # Nobody is at work, and who is left waits for what nobody makes: that is found in a turn where nothing is.
            return POLL if self._engine.busy or self._engine.finished else 0.0
        return min(POLL, max(0.0, due - self._clock()))

    def _fill(self, *, idle: bool) -> list[Command]:
        """Give ready jobs to workers that have room. `idle`: nothing else happens in this turn."""
        engine = self._engine
        self._full = self._sated = self._changed = False
        due = engine.next_time()
        idle &= not (engine.busy or self._rounds or self._commits or engine.entering or self._backlog)
        if not (engine.claimable or idle or (due is not None and due <= self._clock())):
            return []
        free = self._warden.room(self._executor.free())
        if free <= 0 and not engine.busy and (engine.claimable or (idle and not engine.finished)):
            self._warden.left()
        self._full = free <= 0  # however much is due: an outcome comes first
        commands = engine.handle(Slots(free), self._clock()) if free > 0 else []
        self._sated = free <= sum(type(command) is Launch for command in commands)
        if idle and not (commands or self._full or engine.finished):
            due = engine.next_time()
            if due is None:
                raise StateError("jobs are left that nothing can start (is a limit 0?): see `list --status pending`")
            if not engine.claimable:
                self._warden.waits(due - self._clock())
        return commands

    def _receive(self, outcomes: list[Reply | WorkerLost | Began]) -> list[Command]:
        """Free the places of what came back. Results wait for their commit; deaths are dealt with now."""
        commands: list[Command] = []
        now = self._clock()
        for outcome in outcomes:
            if isinstance(outcome, Reply):
                self._commits.gather(outcome)
                commands += self._engine.handle(Returned(outcome.event.id, outcome.begun), now)
            elif isinstance(outcome, Began):
                commands += self._engine.handle(outcome, now)
            else:
                if outcome.outcome == "hindered":
                    self._hinder(outcome.message)
                self._sweep(outcome)
                for id in (*outcome.begun, *outcome.waiting):
                    commands += self._engine.handle(Returned(id, id in outcome.begun), now)
                commands += self._engine.handle(outcome, now)
        return commands

    def _hinder(self, reason: str) -> None:
        """The machine is at fault: no other job would do better, so nothing more is started."""
        if not self._hindrance:
            self._hindrance = reason
            self.stop(reason)

    def _outlast(self, reason: str) -> None:
        """The state cannot be written any more. What runs is let end; it will be done again."""
        with suppress(OSError, StateError):
            self._executor.unbegun()
            self._hinder(reason)
            self._tell()
            while self._executor.busy and not self._is_time():
                self._executor.wait(POLL)

    def _sweep(self, lost: WorkerLost) -> None:
        """Remove what attempts that were cut short have staged, before their jobs move on."""
        left: dict[str, tuple[str, ...]] = {}
        for id in lost.begun:
            if self._engine.ledger.status(id) is Status.RUNNING:  # one that was only asked has staged nothing
                left[id] = self._catalog.outputs(self._store.read(id, Status.RUNNING))
        staging.sweep(self._store.files, left, self._store.root)

    def _commit(self, replies: list[Reply]) -> list[Command]:
        """These results count: their files are synced."""
        commands: list[Command] = []
        now = self._clock()
        for reply in replies:
            assert not isinstance(reply.event, Staged)  # whose executor goes on with it, instead of telling us
            commands += self._engine.handle(reply.event, now)
            for watcher in self._watchers:
                watcher.replied(reply)
        return commands

    def _enter_some(self, *, leisure: bool) -> list[Command]:
        """A part of the batch that is being admitted enters: what workers can take at once, and more at leisure.

        All of it, when too many results wait for that: until they are committed, a crash makes them run again.
        """
        engine = self._engine
        if not engine.entering:
            return engine.handle(Continued(0), self._clock()) if engine.deferred else []
        if engine.checking:
            return engine.handle(Continued(CHECKED), self._clock())
        if engine.deferred > GROUP:
            count = min(SLICE, engine.entering)
        else:
            count = min(self._commits.enterable(), engine.entering)
            if not leisure:
                count = min(count, self._executor.free() - engine.claimable)
        if count <= 0:
            return []
        self._have_entered(count)
        return engine.handle(Continued(count), self._clock())

    def _take_over_some(self) -> list[Command]:
        """A part of what an earlier runner left, and of the roots to be named again, if it is time for that."""
        backlog, engine = self._backlog, self._engine
        if backlog is None or self.stopping:
            return []
        commands: list[Command] = []
        if self._wants_more():
            commands += engine.handle(backlog.take(engine.part, engine.ledger), self._clock())
        if self._may_name():
            commands += self._name_again(backlog.name(engine.part, self._rounds.known))
        return commands

    def _name_again(self, roots: Submitted) -> list[Command]:
        """Roots of a run that goes on. Of a large one some come late: what was found before may stand against them, as
        it would not if it had come after them. The others go on, and then the run says why it cannot end.
        """
        handle, now = self._engine.handle, self._clock()
        try:
            return handle(roots, now)
        except Refused as error:
            self._refused = error
        commands: list[Command] = []
        for proposal in roots.batch:
            with suppress(Refused):
                commands += handle(Submitted([proposal], more=True), now)
        return commands + handle(Submitted([], more=roots.more, dropped=roots.dropped), now)

    def _wants_more(self) -> bool:
        """Whether more jobs are to be taken over, so that workers have enough to do."""
        return bool(self._backlog and self._backlog.left) and (self._engine.claimable < ENOUGH or not self._sated)

    def _may_name(self) -> bool:
        """Whether more roots can be named again: what was named before has been looked at."""
        if self._backlog is None or not self._backlog.unnamed:
            return False
        return not (self._rounds or self._engine.entering or self._engine.deferred)

    def _enter_all(self) -> None:
        """What is being admitted, to its end."""
        while count := min(self._engine.entering, SLICE):
            if not self._engine.checking:
                self._have_entered(count)
            self.do(Continued(count))
        self._note_entered()

    def _have_entered(self, count: int) -> None:
        self._commits.entered(count)
        self._ahead.entered(count)

    def _note_entered(self) -> None:
        if self._entered is not None and not self._engine.entering:
            self._store.sync()
            entered, self._entered = self._entered, None
            entered()

    # ------------------------------------------------------------------------------------------------ carrying it out

    def _carry_out(self, commands: list[Command]) -> None:
        """Everything that is for the disk first, in one go, then the rest: a move is on disk before its launch."""
        if not commands:
            return
        for_disk: list[StoreCommand] = [each for each in commands if type(each) in _FOR_DISK]  # type: ignore[misc]
        for start in range(0, len(for_disk), SLICE):
            part = for_disk[start : start + SLICE]
            self._store.carry_out(part)
            moves = [done for done in part if type(done) is Move]
            now = time.time()
            for watcher in self._watchers if moves else ():
                watcher.moved(moves, now)
        if len(for_disk) == len(commands):
            return
        others = [each for each in commands if type(each) not in _FOR_DISK]
        orders = [self._order(command) for command in others if type(command) is Launch]
        if orders:
            self._executor.start(orders, self._store.take_leftovers())
        for command in others if len(orders) < len(others) else ():
            if isinstance(command, Judge | Walk | Trace):
                self._rounds.add(command)
            elif isinstance(command, Count):
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
            paced=launch.paced,
            timeout=self._catalog.timeout(task),
        )

    def _count(self, command: Count) -> None:
        job = self._store.read(command.id, Status.RUNNING)
        retry_in = None
        with suppress(RunnerError, TypeError):  # its class is gone meanwhile
            retry_in = record.retry_in(job, self._catalog.kind(job.task))
        self.do(Counted(command.id, command.attempt, retry_in))

    def _judge_some(self) -> None:
        """Judge done jobs for a while, and propose again what was found last time."""
        for event in self._rounds.answers(JUDGED_AT_ONCE):
            self.do(event)

    # ----------------------------------------------------------------------------------------- inbox, and the end

    def take_in(self) -> None:
        """Carry out what lies in the inbox, and nothing else; with files that may not be whole yet, wait for them."""
        try:
            while self._look_into_inbox() or self._intake.unsettled:
                time.sleep(POLL)
            self._store.sync()
        finally:
            self._commits.close()

    def _look_into_inbox(self) -> bool:
        now = time.monotonic()
        if now < self._next_poll or self._engine.entering:
            return False
        self._next_poll = now + POLL
        found = False
        for event in self._intake.collect():
            refused = None
            try:
                self.do(event)
                self._enter_all()
            except Refused as error:  # and nothing was changed; any other error is for the whole run
                refused = error
            self._intake.settled(event, refused)
            found = True
        if self._intake.stop_wanted:
            self.stop("`stop` was handed in")
        return found

    def _take_back(self, ids: tuple[str, ...]) -> None:
        if ids:
            lost = WorkerLost(begun=(), waiting=ids, outcome="interrupted", message="the runner stops")
            self._carry_out(self._receive([lost]))

    def _give_up(self) -> None:
        """End the workers now; what they had goes back to pending/, and no attempt is used up."""
        self._executor.close()
        self._carry_out(self._commit(self._commits.take_all()))
        self._enter_all()
        while self._engine.deferred:
            self.do(Continued(0))
            self._enter_all()
        begun = self._engine.with_workers()
        message = "the runner was told to leave"
        lost = WorkerLost(begun=begun, waiting=(), outcome="interrupted", message=message)
        self._carry_out(self._receive([lost]))


_FOR_DISK = frozenset(get_args(StoreCommand))


class _Head(Struct):
    """As much of a job file as a launch needs."""

    task: str


_head = msgspec.json.Decoder(_Head).decode
