"""Worker processes on this machine, one stream each. Knows who has what; decides nothing about jobs.

An order is begun by a worker as soon as fewer than `threads` of those sent before it are unanswered: streams keep their
order, so that can be told from here. Short tasks are sent ahead, so that a worker need not wait for the scheduler; long
ones are not, so that nothing waits behind them. What has a rate is never sent ahead: it gets the next thread that has
nothing to do, and nothing else is sent until it has. A worker that dies, by whatever hand, is named with its orders in
one WorkerLost, what it started is killed, and another takes its place. Its death is told by the end of its stream or by
the fork server, whichever comes first: what a task has started may hold the stream open. When the fork server dies, all
its workers do, and none of their jobs is to blame.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec

from runner.core.events import Began, WorkerLost
from runner.errors import StateError
from runner.workers.child import Done, Halt, Hindrance, Look, Message, Unbegun, Unfit, Work
from runner.workers.forkserver import ForkServer
from runner.workers.frames import Frames, frame
from runner.workers.port import Looked, Order, Outcome, Settings

AHEAD_TIME = 0.010
"""Seconds of work that a worker should have lying ready."""

AHEAD_MOST = 128
"""How many orders may lie ready in a worker, for each of its threads."""

TRIES = 3
"""How many fork servers may end in a row without having made a worker."""

PATIENCE = 2.0
"""Seconds to wait for word of a worker's death."""

STOPPED = 1.0
"""Seconds that a wait takes too long, before one takes this process for having been stopped (SIGSTOP, Ctrl-Z)."""

_decode = msgspec.json.Decoder(Began | Done | Unbegun | Hindrance | Unfit | Looked).decode
_encode = msgspec.json.Encoder().encode


class _Worker:
    """One worker process, seen from the scheduler."""

    def __init__(self, server: ForkServer, settings: str, threads: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.pid = server.fork(theirs.fileno(), settings)
        ours.setblocking(False)
        self.server = server
        self.socket = ours
        self.threads = threads
        self.frames = Frames(ours.fileno())
        self.orders: dict[str, Order] = {}  # unanswered, in the order sent
        self.begun: dict[str, float] = {}  # id -> when, on the monotonic clock
        self.alone = False
        self.halted = False
        self.looking = False
        self.cause: tuple[str, str] | None = None  # (a job, why we killed the worker for it)
        self.last_word: Unfit | None = None
        self.garbled = False  # it has said what is no message
        self._unsent = bytearray()

    def send(self, message: Work | Look | Halt) -> bool:
        """True: all is written; else `flush` has to be called when the socket takes more."""
        self._unsent += frame(_encode(message))
        return self.flush()

    def flush(self) -> bool:
        try:
            while self._unsent:
                del self._unsent[: self.socket.send(self._unsent)]
        except BlockingIOError:
            return False
        except OSError:  # it died: the reading side will see
            self._unsent.clear()
        return True

    def heard(self) -> Iterator[Message]:
        """What it has said since. A task may have written on its stream: nothing behind that can be understood."""
        try:
            for payload in self.frames.read():
                yield _decode(payload)
        except ValueError:
            self.garbled = True

    def advance(self, now: float) -> None:
        """Note which orders it must have begun by now: none, while it looks at done jobs."""
        if not self.looking and len(self.begun) < self.threads and len(self.orders) > len(self.begun):
            for id in self.orders:
                if id not in self.begun:
                    self.begun[id] = now
                    if len(self.begun) >= self.threads:
                        break

    def answered(self, id: str) -> bool:
        """False: it had no such order."""
        known = self.orders.pop(id, None) is not None
        self.begun.pop(id, None)
        if not self.orders:
            self.alone = False
        return known

    def overdue(self, now: float) -> tuple[str, float] | None:
        for id, since in self.begun.items():
            timeout = self.orders[id].timeout
            if timeout is not None and now - since > timeout:
                return id, timeout
        return None

    def kill(self) -> None:
        for kill in (os.killpg, os.kill):  # the group may be gone, or not be made yet
            try:
                kill(self.pid, signal.SIGKILL)
            except OSError:
                continue


class LocalExecutor:
    """`workers` processes with `settings.threads` threads each; an Executor. `server`: one that was started already, in
    the same root; it is closed with the executor.
    """

    def __init__(
        self, workers: int, settings: Settings, preload: Sequence[str] = (), server: ForkServer | None = None
    ) -> None:
        self._settings = _encode(settings).decode()
        self._preload = (settings.root, tuple(preload))
        self._threads = settings.threads
        self._selector = selectors.DefaultSelector()
        self._server = self._start_server() if server is None else self._take(server)
        self._workers: list[_Worker] = []
        self._wanted = workers
        self._waiting: deque[Order] = deque()  # those that must be alone, until a worker is empty
        self._paced: deque[Order] = deque()  # those that have a rate, until a thread has nothing to do
        self._litter: list[str] = []  # names in tmp/, to be unlinked by the next worker that is sent anything
        self._seconds = 1.0  # how long a task takes, lately; until that is known, nothing is to wait behind another
        self._halted = False

    # ------------------------------------------------------------------------------------------------------- the port

    def start(self, orders: Sequence[Order], litter: Sequence[str] = ()) -> None:
        self._replenish()
        self._litter += litter
        self._waiting.extend(order for order in orders if order.alone)
        self._paced.extend(order for order in orders if order.paced and not order.alone)
        self._start_paced()
        batches: dict[int, list[Order]] = {}
        loads = [len(w.orders) + w.looking + (1_000_000 if w.alone or w.halted else 0) for w in self._workers]
        for order in orders:
            if order.alone or order.paced:
                continue
            index = loads.index(min(loads))
            loads[index] += 1
            self._workers[index].orders[order.id] = order
            batches.setdefault(index, []).append(order)
        for index, batch in batches.items():
            self._post(self._workers[index], batch)
        self._start_alone()

    def look(self, ids: Sequence[str]) -> bool:
        if not self._workers:
            self._server.hear()
            if not self._server.ready:
                return False
            with suppress(StateError):  # whoever needs a worker will find out
                self._replenish()
        for worker in self._workers:
            if not (worker.orders or worker.alone or worker.halted or worker.looking):
                worker.looking = True
                self._send(worker, Look(tuple(ids)))
                return True
        return False

    def free(self) -> int:
        if self._paced:
            return 0
        room = self._threads + self._ahead()
        more = max(0, self._wanted - len(self._workers))
        if more and not self._server.ready:
            self._server.hear()
            if not (self._server.ready or self._server.gone):
                more = 0  # it imports the user's modules: that may take for ever, and nobody is to wait for it
        return room * more + sum(max(0, room - len(w.orders)) for w in self._workers if not w.alone and not w.halted)

    def wait(self, timeout: float | None) -> list[Outcome]:
        outcomes: list[Outcome] = []
        deadline = 0.0 if self._dead() is not None else self._next_deadline()
        if deadline is not None:
            timeout = deadline if timeout is None else min(timeout, deadline)
        count = len(self._workers)
        for key, events in self._select(timeout):
            source = key.data
            if source is None:
                continue
            if isinstance(source, ForkServer):
                source.hear()
                continue
            if events & selectors.EVENT_WRITE and source.flush():
                self._selector.modify(source.socket, selectors.EVENT_READ, source)
            if events & selectors.EVENT_READ:
                self._read(source, outcomes)
        while (dead := self._dead()) is not None:
            self._lose(dead, outcomes)
        self._enforce_timeouts()
        if len(self._workers) < count and not self._halted:
            self._replenish()
        self._start_alone()
        self._start_paced()
        return outcomes

    @property
    def busy(self) -> int:
        return len(self._waiting) + len(self._paced) + sum(len(worker.orders) for worker in self._workers)

    def watch(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ, None)

    def unbegun(self) -> tuple[str, ...]:
        self._halted = True
        taken = tuple(order.id for order in (*self._waiting, *self._paced))
        self._waiting.clear()
        self._paced.clear()
        for worker in self._workers:
            if not worker.halted:
                worker.halted = True
                self._send(worker, Halt())
        return taken

    def close(self) -> None:
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.server.status(worker.pid, timeout=PATIENCE)  # so that nobody writes any more when this returns
            worker.socket.close()
        self._workers.clear()
        self._server.close()
        self._selector.close()

    @property
    def pids(self) -> list[int]:
        return [worker.pid for worker in self._workers]

    # --------------------------------------------------------------------------------------------------------- inside

    def _ahead(self) -> int:
        return min(AHEAD_MOST, int(AHEAD_TIME / max(self._seconds, 1e-6) + 0.5)) * self._threads

    def _start_server(self) -> ForkServer:
        return self._watch(ForkServer(*self._preload))

    def _take(self, server: ForkServer) -> ForkServer:
        server.load(self._preload[1])
        return self._watch(server)

    def _watch(self, server: ForkServer) -> ForkServer:
        self._selector.register(server, selectors.EVENT_READ, server)
        return server

    def _renew_server(self) -> None:
        self._selector.unregister(self._server)
        self._server.close()
        self._server = self._start_server()

    def _replenish(self) -> None:
        tries = 0
        while len(self._workers) < self._wanted:
            try:
                worker = _Worker(self._server, self._settings, self._threads)
            except ConnectionError as error:  # it was killed, and its workers with it; or it cannot even start
                tries += 1
                if tries > TRIES:
                    raise StateError(f"no worker can be started: {error}") from error
                self._renew_server()
                continue
            self._workers.append(worker)
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def _post(self, worker: _Worker, orders: list[Order]) -> None:
        worker.advance(time.monotonic())
        self._send(worker, Work(orders, tuple(self._litter)))
        self._litter.clear()

    def _send(self, worker: _Worker, message: Work | Look | Halt) -> None:
        if not worker.send(message):
            self._selector.modify(worker.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, worker)

    def _start_alone(self) -> None:
        while self._waiting:
            empty = next((w for w in self._workers if not w.orders and not w.halted), None)
            if empty is None:
                if all(w.orders for w in self._workers) or not self._workers:
                    self._reserve()
                return
            order = self._waiting.popleft()
            empty.alone = True
            empty.orders[order.id] = order
            self._post(empty, [order])

    def _start_paced(self) -> None:
        while self._paced:
            idle = [w for w in self._workers if len(w.orders) < self._threads and not (w.alone or w.halted)]
            if not idle:
                return
            worker = min(idle, key=lambda worker: (worker.looking, len(worker.orders)))
            order = self._paced.popleft()
            worker.orders[order.id] = order
            self._post(worker, [order])

    def _reserve(self) -> None:
        """Keep one worker from getting more, so that it will be empty."""
        if self._workers and not any(worker.alone for worker in self._workers):
            min(self._workers, key=lambda worker: len(worker.orders)).alone = True

    def _read(self, worker: _Worker, outcomes: list[Outcome]) -> None:
        for message in worker.heard():
            if isinstance(message, Unbegun):
                for id in message.ids:
                    worker.answered(id)
                if message.ids:
                    outcomes.append(
                        WorkerLost(begun=(), waiting=message.ids, outcome="interrupted", message="the runner stops")
                    )
                continue
            if isinstance(message, Hindrance):
                worker.answered(message.id)
                outcomes.append(_hindered(message.reason, begun=(message.id,)))
                continue
            if isinstance(message, Unfit):
                worker.last_word = message
                continue
            if isinstance(message, Began):
                outcomes.append(message)
                continue
            if isinstance(message, Looked):
                worker.looking = False
                outcomes.append(message)
                continue
            if worker.answered(message.reply.event.id):
                self._seconds += (message.reply.seconds - self._seconds) * 0.2
                outcomes.append(message.reply)
        worker.advance(time.monotonic())
        if worker.frames.eof or worker.garbled:
            self._bury(worker, outcomes)

    def _dead(self) -> _Worker | None:
        """A worker that is known to have died, and whose stream has not told so."""
        return next((w for w in self._workers if w.server.gone or w.pid in w.server.died), None)

    def _lose(self, worker: _Worker, outcomes: list[Outcome]) -> None:
        worker.kill()
        worker.frames.dry = False
        while worker in self._workers and not worker.frames.dry:  # what it said before is still to be read
            self._read(worker, outcomes)
        if worker in self._workers:
            self._bury(worker, outcomes)
        if worker.server.gone and worker.server is self._server:
            self._renew_server()

    def _bury(self, worker: _Worker, outcomes: list[Outcome]) -> None:
        self._selector.unregister(worker.socket)
        worker.socket.close()
        self._workers.remove(worker)
        worker.kill()  # its stream may end before it does; and what its tasks started must not go on writing
        status = worker.server.status(worker.pid, timeout=PATIENCE)
        word = worker.last_word
        if word is not None and word.hindered:
            outcomes.append(_hindered(word.reason, waiting=tuple(worker.orders)))
            return
        if not worker.orders:
            return
        guilty: tuple[str, ...] = ()
        outcome, message = "died", word.reason if word is not None else _how(status)
        if worker.cause is not None:
            outcome, message, guilty = "timeout", worker.cause[1], (worker.cause[0],)
        elif worker.garbled:
            message = "its worker was ended: what came over its stream to the runner was no message"
        elif status is None and worker.server.gone:
            outcome, message = "interrupted", "the process that forks the workers was killed"
        waiting = tuple(id for id in worker.orders if id not in worker.begun)
        outcomes.append(
            WorkerLost(begun=tuple(worker.begun), waiting=waiting, outcome=outcome, message=message, guilty=guilty)
        )

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
        """Seconds until the first of the running jobs with a time-out is overdue."""
        now = time.monotonic()
        left = [
            since + timeout - now
            for worker in self._workers
            for id, since in worker.begun.items()
            if (timeout := worker.orders[id].timeout) is not None
        ]
        return max(0.0, min(left) + 0.001) if left else None

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


def _how(status: int | None) -> str:
    if status is None:
        return "its worker died"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"its worker was killed by {name}"
    return f"its worker exited with code {os.WEXITSTATUS(status)}"
