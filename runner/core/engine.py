"""The scheduler's rules: an event in, one change of the board, commands out.

The commands of one event are carried out in the order given, before those of the next: children are created before
their parent is moved, a move is on disk before its job is launched. What happens to a job once all it waits for is
settled is told in `board.py`; what happens to a proposal in `admission.py`; to what was done before in `review.py`.

A large batch is checked and enters the board in parts, so that workers need not wait for its end: the rest follows as
the shell says `Continued`. Jobs begin, end and are judged meanwhile; what proposes others or adds an edge has to wait.

It must not read a clock, a disk or chance: `now` is passed in. Only `Submitted` may raise (Refused, nothing changed).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

from runner.core.board import Board
from runner.core.census import Census
from runner.core.commands import Change, Command, Count, Create, Deliver, Discard, Launch
from runner.core.departures import Departures
from runner.core.events import (
    Asked,
    Began,
    Cancelled,
    Continued,
    Counted,
    Event,
    Failed,
    Finished,
    Invalidated,
    Judged,
    Lacked,
    Recovered,
    Retried,
    Returned,
    Slots,
    Submitted,
    TakenOver,
    Ticked,
    Traced,
    Verified,
    Withdrawn,
    WorkerLost,
    Wound,
)
from runner.core.graph import prepared
from runner.core.intake import Intake
from runner.core.ledger import ASKING, BUSY, DELAYED, HELD, PARKED, SETTLED, WAITING, Node, Phase
from runner.core.model import DONE, FAILED, UNFINISHED, Attempt, Need, Step
from runner.core.queue import Override
from runner.core.review import Review
from runner.core.takeover import fail_cycle, take_over, take_over_more
from runner.errors import CycleFound, Refused

_IDLE = (WAITING, HELD, PARKED, SETTLED)


PART = 64
"""How many jobs of a large batch enter in one go: some milliseconds."""

CHECKED = 4096
"""How many steps of its check are taken in one go, of which there are four for each of its jobs: likewise."""


class Engine:
    """One run over one state. `handle` is the only way in. `part`: how many jobs of a large batch enter in one go,
    `checked`: how many steps of what its finder's are checked by are taken in one go.
    `last_start`: when, by its clock, an earlier run may have begun a job with a rate last.
    """

    def __init__(
        self,
        *,
        resuming: bool = False,
        overrides: Sequence[Override] = (),
        part: int = PART,
        checked: int = CHECKED,
        last_start: float = -inf,
    ) -> None:
        self.part = part
        self._board = Board(overrides, last_start)
        self._intake = Intake(self._board, resuming=resuming, part=part, checked=checked)
        self._departures = Departures(self._board)
        self._review = Review(self._board, self._intake, self._departures)
        self._deferred: deque[Event] = deque()
        self._rooted = True  # its roots are not still to come
        self._naming = False  # some of its roots are
        self._leaving = False  # some of what the last runner left is known by name only
        self.census = Census(self._board, self._departures)
        self.ledger = self._board.ledger
        self.forest = self._board.forest

    def handle(self, event: Event, now: float) -> list[Command]:
        """What is to be done about `event`, in order. `now` in seconds, by a clock that nobody sets."""
        self._board.now = now
        self._board.out = []
        kind = type(event)
        if kind in _ADDING and (self.entering or self._deferred) and _adds_edges(event):
            self._deferred.append(event)
        else:
            _HANDLERS[kind](self, event)
        if self._leaving and not self.left:
            self._leaving = False
            self._board.finders -= 1
        if self._board.unsure and not self._board.finders:
            self._board.be_sure()
        return self._board.out

    # ------------------------------------------------------------------------------------------ what the shell asks

    @property
    def finished(self) -> bool:
        """Whether every job this run deals with is settled."""
        phases = self._board.phases
        return sum(phases) == phases[SETTLED] and not self.entering and not self.left

    @property
    def left(self) -> int:
        """How many pending jobs that the last runner left are known by name only: `TakenOver` tells of them."""
        return self.ledger.left

    @property
    def entering(self) -> int:
        """How many jobs of a batch that is being admitted are still to enter. `Submitted` and `Withdrawn` must wait."""
        return self._intake.remaining

    @property
    def checking(self) -> bool:
        """Whether that batch is still being checked: nothing of it has entered, and `Continued` counts steps."""
        return self._intake.checking

    @property
    def deferred(self) -> int:
        """How many events wait for a batch to have entered: `Continued` brings them on, once it has."""
        return len(self._deferred)

    def upcoming(self, start: int, stop: int) -> list[Create]:
        """What `Continued` is going to create, so that it can be written ahead: of the jobs of that batch that are
        still to enter, those from the `start`-th to before the `stop`-th.
        """
        return self._intake.upcoming(start, stop)

    def done_before(self, start: int, stop: int) -> list[str]:
        """The jobs among these that were done before."""
        return self._intake.done_before(start, stop)

    @property
    def busy(self) -> int:
        """How many jobs are with a worker."""
        return self._board.phases[BUSY]

    @property
    def claimable(self) -> int:
        """How many jobs are ready to be handed to a worker, limits apart."""
        return len(self._board.ready) + len(self._board.asks)

    def with_workers(self) -> tuple[str, ...]:
        """The jobs that are with a worker."""
        return tuple(node.id for node in self.ledger.nodes() if node.phase is BUSY)

    def next_time(self) -> float | None:
        """When the next retry or rate comes due, by the clock of `handle`."""
        return self._board.next_time()

    @property
    def gone(self) -> list[str]:
        """The jobs that somebody named last time, and nobody does now."""
        return self._departures.gone

    # --------------------------------------------------------------------------------------------------- beginnings

    def _recovered(self, event: Recovered) -> None:
        if self._rooted:
            self._rooted = False
            self._board.finders += 1  # the run itself
        take_over(self._board, event)
        if self.left:
            self._leaving = True
            self._board.finders += 1  # each of them may be one

    def _taken_over(self, event: TakenOver) -> None:
        for node in take_over_more(self._board, event):
            self._departures.greet(node)

    def _submitted(self, event: Submitted) -> None:
        assert not self.entering, "one batch at a time"
        self._intake.admit(event.batch, by_name=event.by_name)
        self._departures.drop(event.dropped)
        if event.by_name:
            return
        self._naming = event.more
        if not (event.more or self._rooted):
            self._rooted = True
            self._board.finders -= 1

    def _withdrawn(self, event: Withdrawn) -> None:
        assert not self.entering, "what was checked may not change"
        for id in event.ids:
            self._board.forget(id)

    def _continued(self, event: Continued) -> None:
        if self.entering:
            self._intake.go_on(event.count)
            return  # and the shell sees that a batch has entered, before the next one does
        while self._deferred and not self.entering:
            deferred = self._deferred.popleft()
            _HANDLERS[type(deferred)](self, deferred)

    def _slots(self, event: Slots) -> None:
        board, free = self._board, event.free
        board.wake()
        while free > 0 and board.asks:
            node = self.ledger[board.asks.popleft()]
            if node.phase is not ASKING:
                continue
            board.phase(node, BUSY)
            board.out.append(Launch(node.id, alone=node.suspect, ask=True))
            free -= 1
        while free > 0:
            claimed = board.ready.pop(board.now)
            if claimed is None:
                break
            self._claim(self.ledger[claimed])
            free -= 1
        if free > 0 and not (board.out or self.entering or self.left or self._naming):
            self._last_call(free)

    def _claim(self, node: Node) -> None:
        node.rejudge = node.unwanted = False
        self._board.phase(node, BUSY)
        self._board.move(node, Step.CLAIM)
        self._board.out.append(Launch(node.id, alone=node.suspect, paced=self._board.ready.has_rate(node.id)))

    def _last_call(self, free: int) -> None:
        """Nothing else can run: held jobs are given to workers, who fail them or go on without the input.

        First those that can go on without: what they find may be what the others lack.
        """
        board, phases = self._board, self._board.phases
        if any(phases[phase] for phase in Phase if phase not in _IDLE):
            return
        if board.unsure:
            board.be_sure()
        elif phases[PARKED]:
            self._departures.dismiss()
        elif phases[HELD]:
            self._give_up_waiting()
        elif not (phases[WAITING] and self._find_cycle()):
            return
        self._slots(Slots(free))

    def _give_up_waiting(self) -> None:
        board = self._board
        held = [(node, needs) for id, needs in board.missing.items() if (node := self.ledger[id]).phase is HELD]
        content = [node for node, needs in held if all(need.optional for need in needs.values())]
        for node in content or [node for node, _ in held]:
            node.last_call = True
            board.again(node)

    def _find_cycle(self) -> bool:
        """Who waits now waits for himself. The runner admits no cycle; but files may have been edited by hand, and of
        what was taken over in parts nobody saw all edges at once.
        """
        try:
            prepared(self._board.waits(node for node in self.ledger.nodes() if node.phase is WAITING))
        except CycleFound as error:
            fail_cycle(self._board, error)
            return True
        return False

    def _ticked(self, event: Ticked) -> None:
        self._board.wake()

    # ----------------------------------------------------------------------------------------------------- outcomes

    def _began(self, event: Began) -> None:
        self._board.ready.begun(event.id, min(event.at, self._board.now))

    def _returned(self, event: Returned) -> None:
        ready = self._board.ready
        if event.begun and ready.has_rate(event.id):  # and nobody said when
            ready.begun(event.id, self._board.now)
        ready.release(event.id)

    def _finished(self, event: Finished) -> None:
        board, node = self._board, self.ledger[event.id]
        if event.deliver or event.trash:
            board.out.append(Deliver(event.id, event.deliver, event.trash))
        if event.children:
            self._intake.admit(
                event.children, lambda: self._finish(node, event), lambda error: self._refused(node, event, error)
            )
        else:
            self._finish(node, event)

    def _refused(self, node: Node, event: Finished, error: Refused) -> None:
        """Its children cannot be admitted."""
        staged = tuple(child.staged for child in event.children or () if child.staged)
        self._board.out.append(Discard((event.record, *staged)))
        self._fail(node, Attempt(outcome="published", type=type(error).__name__, message=str(error)))

    def _finish(self, node: Node, event: Finished) -> None:
        """Its children are there."""
        board = self._board
        board.move(node, Step.FINISH, record=event.record)
        node.change, node.heard = event.change, True
        self._departures.drop(event.dropped)
        node.rejudge |= self._review.heed(node)
        if event.found and not node.rejudge:
            self._review.walk(node, event.found)
        else:
            self._review.up_to_date(node)
        board.renew(node.id)

    def _failed(self, event: Failed) -> None:
        node = self.ledger[event.id]
        node.suspect = False
        if event.retry_in is None:
            self._board.move(node, Step.FAIL, record=event.record)
            self._lost(node)
        else:
            self._requeue(node, retry_in=event.retry_in, record=event.record)

    def _lacked(self, event: Lacked) -> None:
        board, ledger, node, first = self._board, self.ledger, self.ledger[event.id], event.paths[0]
        try:
            self._intake.wait_for_makers(node, event.paths)
        except CycleFound as error:
            self._fail(node, Attempt(outcome="failed", type="CycleFound", message=str(error)))
            return
        lacking = [path for path in event.paths if not ledger.is_open(ledger.maker(path) or "")]
        if (hopeless := ledger.hopeless(node)) is not None:
            board.move(node, Step.BLOCK, why=f"{hopeless} is {ledger.status(hopeless)}, {first} is not there")
            self._lost(node)
        elif lacking and node.last_call:
            made_by = ledger.maker(lacking[0])
            reason = f"{made_by} did not make it" if made_by else "nobody makes it, and it is not there"
            message = f"input {lacking[0]}: {reason}"
            self._fail(node, Attempt(outcome="failed", type="MissingInput", message=message))
        else:
            needs = [Need(path) for path in lacking]
            board.read(node.id, needs)
            board.lack(node.id, needs)
            node.last_call = False
            self._requeue(node, why=f"{first} is not there yet")

    def _worker_lost(self, event: WorkerLost) -> None:
        charged = set(event.guilty)
        blameless = event.outcome in ("interrupted", "hindered")
        if not charged and not blameless and len(event.begun) == 1:
            charged = set(event.begun)
        for id in (*event.begun, *event.waiting):
            node = self.ledger[id]
            asked = node.status is DONE
            begun = id in event.begun
            if id in charged and asked and node.suspect:
                self._review.expire(node, f"{event.message} when it was asked for its children")
            elif id in charged and not asked:
                attempt = Attempt(outcome=event.outcome, type="WorkerLost", message=event.message)
                self._board.out.append(Count(id, attempt))
            else:
                node.suspect |= begun and (asked or not charged) and not blameless
                if asked:
                    self._review.ask(node)
                else:
                    note = None  # a plain rename, which a full disk does not hinder
                    if begun and event.outcome != "hindered":
                        note = Attempt(outcome="interrupted", type="Interrupted", message=event.message)
                    self._requeue(node, note=note)

    def _counted(self, event: Counted) -> None:
        node = self.ledger[event.id]
        if event.retry_in is None:
            self._fail(node, event.attempt)
        else:
            self._requeue(node, retry_in=event.retry_in, note=event.attempt)

    def _requeue(
        self,
        node: Node,
        *,
        retry_in: float | None = None,
        record: str | None = None,
        note: Attempt | None = None,
        why: str = "",
    ) -> None:
        node.not_before = None if retry_in is None else self._board.now + retry_in
        change = Change(attempt=note, retry_in=retry_in) if note is not None else None
        self._board.move(node, Step.REQUEUE, record=record, change=change, why=note.message if note else why)
        self._review.heed(node)
        if node.unwanted:
            self._intake.cancel(node.id)
        else:
            self._board.again(node)

    def _fail(self, node: Node, attempt: Attempt) -> None:
        self._board.move(node, Step.FAIL, change=Change(attempt=attempt), why=attempt.message)
        self._lost(node)

    def _lost(self, node: Node) -> None:
        """It failed, or is blocked."""
        self._review.heed(node)
        if node.unwanted:
            self._intake.cancel(node.id)
        else:
            self._board.settle(node)

    # ------------------------------------------------------------------------------------------------ a person's wish

    def _retried(self, event: Retried) -> None:
        board = self._board
        for id in event.ids:
            node = self.ledger.node(id)
            if node is not None and node.phase is DELAYED:
                node.not_before = None
                board.enqueue(node)

    def _cancelled(self, event: Cancelled) -> None:
        for id in event.ids:
            if self.ledger.status(id) not in UNFINISHED | {FAILED}:
                continue
            node = self.ledger.node(id)
            if node is not None and node.phase is BUSY:
                node.unwanted = True  # its worker is not stopped: what succeeds is done, else it is not tried again
            else:
                self._intake.cancel(id)


def _adds_edges(event: Event) -> bool:
    """Whether it may bring new jobs, or let one wait for another."""
    kind = type(event)
    return kind is Lacked or (kind in _FINDERS and bool(event.children))  # type: ignore[union-attr]


_FINDERS = frozenset({Finished, Asked})
_ADDING = _FINDERS | {Lacked}


_HANDLERS: dict[type, Callable[[Engine, Any], None]] = {
    Recovered: Engine._recovered,
    TakenOver: Engine._taken_over,
    Submitted: Engine._submitted,
    Withdrawn: Engine._withdrawn,
    Continued: Engine._continued,
    Slots: Engine._slots,
    Began: Engine._began,
    Returned: Engine._returned,
    Finished: Engine._finished,
    Failed: Engine._failed,
    Lacked: Engine._lacked,
    WorkerLost: Engine._worker_lost,
    Judged: lambda engine, event: engine._review.judged(event),
    Verified: lambda engine, event: engine._review.verified(event),
    Asked: lambda engine, event: engine._review.asked(event),
    Traced: lambda engine, event: engine._departures.traced(event),
    Wound: lambda engine, event: engine._departures.wind_up(),
    Invalidated: lambda engine, event: engine._review.invalidated(event),
    Retried: Engine._retried,
    Cancelled: Engine._cancelled,
    Ticked: Engine._ticked,
    Counted: Engine._counted,
}
