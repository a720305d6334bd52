"""Worker processes on this machine, one stream each. Knows who has what; decides nothing about jobs.

Short tasks are sent ahead, so that a worker need not wait for the scheduler; long ones are not, so that nothing waits
behind them. How long they are is expected by their class (`expected.py`). Where one takes longer, what lies behind it
is taken back (`tickets.py`), and whoever has room gets it; until somebody has, it waits here, and nothing more is asked
for. What has a rate is never sent ahead: it gets the next thread that has nothing to do, and nothing else is sent until
it has. A worker that dies, by whatever hand, is named with its orders in one WorkerLost, what it started is killed, and
another takes its place. Its death is told by the end of its stream or by the fork server, whichever comes first: what a
task has started may hold the stream open. When the fork server dies, all its workers do, and none of their jobs is to
blame.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from math import inf

from runner.core.events import Began, WorkerLost
from runner.errors import StateError
from runner.workers.child import Discovered, Done, Hindrance, Look, Unfit, Work
from runner.workers.crew import Crew
from runner.workers.expected import LONG, Expected
from runner.workers.forkserver import ForkServer, how_it_ended
from runner.workers.port import Looked, Order, Outcome, Settings
from runner.workers.worker import SOON, Worker

BLIND = 64
"""How many orders are asked for in one go, beyond what threads have nothing to do: they may be others than expected."""

FAR = 256
"""How many orders may lie here, at the most, for whoever is far away."""

REST, TURN = 0.005, 0.0001
"""Seconds for which answers may gather, while all workers have enough to do; and what one order takes of a turn."""

START = 0.005
"""Seconds that it takes until a worker that is forked now begins with something."""

PATIENCE = 2.0
"""Seconds to wait for word of a worker's death."""

STOPPED = 1.0
"""Seconds that a wait takes too long, before one takes this process for having been stopped (SIGSTOP, Ctrl-Z)."""


class LocalExecutor:
    """`workers` processes with `settings.threads` threads each; an Executor. `server`: one that was started already, in
    the same root; it is closed with the executor. `until`: no worker lives longer, by the clock of `steady`, unless
    `extend` says so.
    """

    def __init__(
        self,
        workers: int,
        settings: Settings,
        preload: Sequence[str] = (),
        server: ForkServer | None = None,
        until: float = inf,
    ) -> None:
        self._threads = settings.threads
        self._selector = selectors.DefaultSelector()
        self._crew = Crew(workers, settings, preload, self._selector, server, until)
        self.extend = self._crew.extend
        self._workers = self._crew.workers
        self._waiting: deque[Order] = deque()  # those that must be alone, until a worker is empty
        self._paced: deque[Order] = deque()  # those that have a rate, until a thread has nothing to do
        self._ready: deque[Order] = deque()  # the others, until a worker has room
        self._litter: list[str] = []  # names in tmp/, to be unlinked by the next worker that is sent anything
        self._expected = Expected()
        self._halted = False

    # ------------------------------------------------------------------------------------------------------- the port

    def start(self, orders: Sequence[Order], litter: Sequence[str] = ()) -> None:
        self._litter += litter
        for order in orders:
            self._line(order).append(order)
        self._start_paced()
        self._hand_out()
        self._start_alone()

    def look(self, ids: Sequence[str]) -> bool:
        if self._halted:
            return False
        idle = self._idle()
        if idle is None and self._crew.missing and self._crew.ready():
            with suppress(StateError):  # whoever needs a worker will find out
                self._crew.call()
            idle = self._idle()
        if idle is not None:
            self._send(idle, Look(tuple(ids)))
        return idle is not None

    def _idle(self) -> Worker | None:
        return next((each for each in self._workers if not (each.orders or each.alone or each.looking)), None)

    def free(self) -> int:
        if self._halted or self._paced or self._ready:
            return 0
        now, seconds = time.monotonic(), self._expected.next
        if (worker := self._soon_through(now)) is not None:
            return min(BLIND, worker.room(seconds, now))
        ahead = sum(worker.room(seconds, now) for worker in self._workers)
        return self.vacant() + min(BLIND, ahead)

    def free_for(self, seconds: float) -> int:
        """The same for whoever can send more only after so many seconds: what lies here meanwhile is reckoned in."""
        now, each = time.monotonic(), self._expected.next
        lying = len(self._paced) + len(self._ready)
        more = int(seconds * sum(worker.quick(now) for worker in self._workers) / each) if each < LONG else 0
        return max(0, self.free() + min(more, FAR) - lying)

    def vacant(self) -> int:
        """How many threads have nothing to do, those of workers that can be had at once among them."""
        at_once = sum(max(0, self._threads - len(worker.orders)) for worker in self._workers if not worker.alone)
        return self._threads * self._crew.to_come(known=self._expected.anything) + at_once

    def wait(self, timeout: float | None) -> list[Outcome]:
        outcomes: list[Outcome] = []
        deadline = 0.0 if self._dead() is not None else self._next_deadline()
        if deadline is not None:
            timeout = deadline if timeout is None else min(timeout, deadline)
        count = len(self._workers)
        self._rest(timeout)
        for key, events in self._select(timeout):
            source = key.data
            if source is None:
                continue
            if isinstance(source, ForkServer):
                source.hear()
                if source.gone and source is self._crew.server and not self._workers:
                    self._crew.renew_server()
                continue
            if events & selectors.EVENT_WRITE and source.flush():
                self._selector.modify(source.socket, selectors.EVENT_READ, source)
            if events & selectors.EVENT_READ:
                self._read(source, outcomes)
        while (dead := self._dead()) is not None:
            self._lose(dead, outcomes)
        self._enforce_timeouts()
        if len(self._workers) < count and not self._halted and self._crew.ready():
            self._crew.call()
        self._take_back()
        self._start_alone()
        self._start_paced()
        self._hand_out()
        return outcomes

    @property
    def busy(self) -> int:
        here = len(self._waiting) + len(self._paced) + len(self._ready)
        return here + sum(len(worker.orders) for worker in self._workers)

    @property
    def broken(self) -> str:
        """A module of those to be imported that could not be, and why; "" as long as none is known."""
        return self._crew.server.broken

    def watch(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ, None)

    def unbegun(self) -> tuple[str, ...]:
        self._halted = True
        taken = [*self._waiting, *self.surplus()]
        self._waiting.clear()
        for worker in self._workers:
            taken += worker.take_back()
        return tuple(order.id for order in taken)

    @property
    def lying(self) -> Iterator[Order]:
        """What lies here, as no worker has room for it."""
        return chain(self._paced, self._ready)

    def surplus(self) -> list[Order]:
        """Take it back. What must be alone is not of it: a worker makes room for that."""
        taken = list(self.lying)
        self._paced.clear()
        self._ready.clear()
        return taken

    def close(self) -> Sequence[str]:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.server.status(worker.pid, timeout=PATIENCE)  # so that nobody writes any more when this returns
            worker.close()
            self._litter += worker.litter()
        self._workers.clear()
        self._crew.server.close()
        self._selector.close()
        return self._litter

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    # --------------------------------------------------------------------------------------------------------- inside

    def _line(self, order: Order) -> deque[Order]:
        """Where it waits until a worker gets it."""
        return self._waiting if order.alone else self._paced if order.paced else self._ready

    def _give(self, worker: Worker, orders: list[Order]) -> None:
        now = time.monotonic()
        for order in orders:
            worker.put(order, self._expected.start(order), now)
        self._post(worker, orders)

    def _post(self, worker: Worker, orders: list[Order]) -> None:
        self._send(worker, Work(orders, tuple(self._litter)))
        self._litter.clear()

    def _send(self, worker: Worker, message: Work | Look) -> None:
        if not worker.send(message):
            self._selector.modify(worker.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, worker)

    def _hand_out(self) -> None:
        """Send what is ready to whoever should begin it soonest; wake up nobody for what another will soon begin."""
        if not self._ready or self._paced:
            return
        if not self._workers and self._crew.able():
            self._crew.call(1)
        if not self._workers:
            return
        now = time.monotonic()
        waits = [worker.wait(now) for worker in self._workers]
        batches: dict[Worker, list[Order]] = {}
        while self._ready:
            worker = self._soon_through(now)
            index = self._workers.index(worker) if worker is not None else waits.index(min(waits))
            if worker is None and waits[index] >= 0 and self._crew.able() and self._is_worth_a_start(now):
                self._crew.call()
                waits = [worker.wait(now) for worker in self._workers]
                continue
            if waits[index] == inf:
                break
            order, worker = self._ready.popleft(), self._workers[index]
            worker.put(order, self._expected.start(order), now)
            waits[index] = worker.wait(now)
            batches.setdefault(worker, []).append(order)
        for worker, batch in batches.items():
            self._post(worker, batch)

    def _is_worth_a_start(self, now: float) -> bool:
        """Whether to fork workers for the next order: it takes some time, or would have to wait for some."""
        long = self._expected.of(self._ready[0]) >= SOON
        return long or min(worker.left(now) for worker in self._workers) >= START

    def _soon_through(self, now: float) -> Worker | None:
        return next((worker for worker in self._workers if worker.soon_through(now)), None)

    def _take_back(self) -> None:
        """What lies behind tasks that take longer than expected is for others."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.late() <= now:
                for order in reversed(worker.take_back()):
                    self._line(order).appendleft(order)

    def _start_alone(self) -> None:
        while self._waiting:
            empty = next((w for w in self._workers if not w.orders), None)
            if empty is None and self._crew.able():
                self._crew.call()
                continue
            if empty is None:
                self._reserve()
                return
            order = self._waiting.popleft()
            empty.alone = True
            self._give(empty, [order])

    def _start_paced(self) -> None:
        while self._paced:
            idle = [w for w in self._workers if len(w.orders) < self._threads and not w.alone]
            if not idle and self._crew.able():
                self._crew.call()
                continue
            if not idle:
                return
            worker = min(idle, key=lambda worker: (worker.looking, len(worker.orders)))
            self._give(worker, [self._paced.popleft()])

    def _reserve(self) -> None:
        """Keep one worker from getting more, so that it will be empty."""
        if self._workers and not any(worker.alone for worker in self._workers):
            min(self._workers, key=lambda worker: len(worker.orders)).alone = True

    def _read(self, worker: Worker, outcomes: list[Outcome]) -> None:
        for message in worker.heard():
            match message:
                case Done(reply):
                    order = worker.orders.get(reply.event.id)
                    if order is not None and worker.answered(order.id):
                        if order.staged is None:
                            self._expected.learn(reply)
                        outcomes.append(worker.whole(reply))
                case Discovered():
                    worker.discover(message)
                case Hindrance(id, reason):
                    worker.answered(id)
                    outcomes.append(_hindered(reason, begun=(id,)))
                case Unfit():
                    worker.last_word = message
                case Looked():
                    worker.looking = False
                    outcomes.append(message)
                case Began():
                    outcomes.append(message)
        worker.advance(time.monotonic())
        if worker.frames.eof or worker.garbled:
            self._bury(worker, outcomes)

    def _dead(self) -> Worker | None:
        """A worker that is known to have died, and whose stream has not told so."""
        return next((w for w in self._workers if w.server.gone or w.pid in w.server.died), None)

    def _lose(self, worker: Worker, outcomes: list[Outcome]) -> None:
        worker.kill()
        worker.frames.dry = False
        while worker in self._workers and not worker.frames.dry:  # what it said before is still to be read
            self._read(worker, outcomes)
        if worker in self._workers:
            self._bury(worker, outcomes)
        if worker.server.gone and worker.server is self._crew.server:
            self._crew.renew_server()

    def _bury(self, worker: Worker, outcomes: list[Outcome]) -> None:
        self._crew.dismiss(worker)
        worker.kill()  # its stream may end before it does; and what its tasks started must not go on writing
        status = worker.server.status(worker.pid, timeout=PATIENCE)
        self._litter += worker.litter()
        orders, begun = tuple(worker.orders), worker.all_begun()
        worker.close()
        word = worker.last_word
        if word is not None and word.hindered:
            outcomes.append(_hindered(word.reason, waiting=orders))
            return
        if not orders:
            return
        guilty: tuple[str, ...] = ()
        outcome, message = "died", word.reason if word is not None else how_it_ended(status)
        if worker.cause is not None:
            outcome, message, guilty = "timeout", worker.cause[1], (worker.cause[0],)
        elif worker.garbled:
            message = "its worker was ended: what came over its stream to the runner was no message"
        elif status is None and worker.server.gone:
            outcome, message = "interrupted", "the process that forks the workers was killed"
        waiting = tuple(id for id in orders if id not in begun)
        outcomes.append(WorkerLost(begun=begun, waiting=waiting, outcome=outcome, message=message, guilty=guilty))

    def _rest(self, timeout: float | None) -> None:
        """While all workers have enough to do, let their answers gather: one at a time, each costs a turn of its own,
        and takes the processor away from a worker. Not for so long that a worker may run dry in the turn that follows.
        """
        if self._crew.missing or self._halted or self._paced or self._waiting:
            return
        turn = TURN * sum(len(worker.ahead) for worker in self._workers)
        seconds = min((min(worker.reserve() for worker in self._workers) - turn) / 2, REST)
        seconds = min(seconds, REST if timeout is None else timeout)
        if seconds > REST / 5:
            time.sleep(seconds)

    def _select(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready. If this process was stopped meanwhile, so may the workers have been: that is no job's time."""
        before = time.monotonic()
        ready = self._selector.select(timeout)
        late = time.monotonic() - before - (timeout or 0.0)
        if timeout is not None and late > STOPPED:
            for worker in self._workers:
                worker.begun = {id: since + late for id, since in worker.begun.items()}
        return ready

    def _next_deadline(self) -> float | None:
        """Seconds until the first of the running jobs with a time-out is overdue, or something is to be taken back."""
        due = min((worker.late() for worker in self._workers), default=inf)
        if (lead := self._crew.lead()) > 0:
            due = min(due, time.monotonic() + lead)  # then others may be called
        for worker in self._workers:
            for id, since in worker.begun.items():
                if (timeout := worker.orders[id].timeout) is not None:
                    due = min(due, since + timeout)
        return max(0.0, due - time.monotonic() + 0.001) if due < inf else None

    def _enforce_timeouts(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            overdue = worker.overdue(now) if worker.cause is None else None
            if overdue is not None:
                id, timeout = overdue
                worker.cause = (id, f"took longer than its timeout of {timeout:g} s")
                worker.kill()


def _hindered(reason: str, *, begun: tuple[str, ...] = (), waiting: tuple[str, ...] = ()) -> WorkerLost:
    return WorkerLost(begun=begun, waiting=waiting, outcome="hindered", message=reason)
