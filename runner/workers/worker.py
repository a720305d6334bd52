"""One worker process, as the scheduler sees it: what it has, what of that it has begun, and how soon it begins more.

An order is begun by a worker as soon as fewer than `threads` of those sent before it are unanswered: both keep to the
order sent, so that can be told from here. What it has not begun can be taken back from it (`tickets.py`).
"""

from __future__ import annotations

import os
import signal
import socket
from collections import deque
from collections.abc import Iterator
from math import inf

import msgspec
from msgspec.structs import replace

from runner.core.events import Asked, Began, Finished
from runner.core.model import Proposal
from runner.workers.child import Discovered, Done, Hindrance, Look, Message, Unfit, Work
from runner.workers.expected import LONG
from runner.workers.forkserver import ForkServer
from runner.workers.frames import Frames, frame
from runner.workers.port import Looked, Order, Reply
from runner.workers.tickets import Tickets

AHEAD_TIME = 0.020
"""Seconds of work that should lie ready in a worker, for each of its threads that is not at something long: one order
at the least."""

AHEAD_MOST = 128
"""How many orders may lie ready in a worker, for each of these threads."""

SOON, LATE = 0.0005, 0.010
"""Seconds. Who should be through with everything as soon as that, and is not late, is given more: to wake up another
gains nothing, and those who work at the same time get in each other's way, as they write into the same folders."""

_decode = msgspec.json.Decoder(Began | Discovered | Done | Hindrance | Unfit | Looked).decode
_encode = msgspec.json.Encoder().encode


class Worker:
    """Made with a process. Raises ConnectionError where the fork server can make none."""

    def __init__(self, server: ForkServer, settings: str, threads: int) -> None:
        ours, theirs = socket.socketpair()
        self._tickets = Tickets()
        with theirs:
            self.pid = server.fork((theirs.fileno(), self._tickets.fileno()), settings)
        ours.setblocking(False)
        self.server = server
        self.socket = ours
        self.threads = threads
        self.frames = Frames(ours.fileno())
        self.orders: dict[str, Order] = {}  # unanswered, in the order sent
        self.ahead: dict[str, float] = {}  # those of them that it has not begun -> how many seconds they should take
        self._lying = 0.0  # the sum of these
        self.begun: dict[str, float] = {}  # the others -> when, on the monotonic clock
        self._due: dict[str, float] = {}  # the same -> when they should be done, on that clock
        self._stuck = False  # it has begun nothing of what was taken back from it, and has not answered since
        self._discovered: dict[str, list[Proposal]] = {}  # by a job that has not answered yet
        self._long: dict[str, float] = {}  # the same -> from when on it is at something long
        self._numbers: dict[str, int] = {}  # of their tickets
        self._look = -1  # of that of the last look
        self._litter: deque[tuple[int, tuple[str, ...]]] = deque()  # and the ticket it came with
        self.alone = False
        self.looking = False
        self.cause: tuple[str, str] | None = None  # (a job, why we killed the worker for it)
        self.last_word: Unfit | None = None
        self.garbled = False  # it has said what is no message
        self._unsent = bytearray()

    def put(self, order: Order, seconds: float, now: float) -> None:
        """It gets this one, which should take so long; `send` has to follow."""
        self.orders[order.id] = order
        self._numbers[order.id] = self._tickets.book()
        self.ahead[order.id] = seconds
        self._lying += seconds
        self.advance(now)

    def send(self, message: Work | Look) -> bool:
        """True: all is written; else `flush` has to be called when the socket takes more."""
        if isinstance(message, Look):
            self._look = self._tickets.book()
            self.looking = True
        elif message.litter:
            self._litter.append((self._numbers[message.orders[0].id], message.litter))
        self._unsent += frame(_encode(message))
        done = self.flush()
        self._tickets.give()
        return done

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
        self._tickets.give()

    def discover(self, message: Discovered) -> None:
        """Some children of a job that is about to answer."""
        self._discovered.setdefault(message.id, []).extend(message.children)

    def whole(self, reply: Reply) -> Reply:
        """An answer, with the children that came before it."""
        children = self._discovered.pop(reply.event.id, None)
        if children is None or not isinstance(reply.event, Finished | Asked):
            return reply
        return replace(reply, event=replace(reply.event, children=children))

    def advance(self, now: float) -> None:
        """Note which orders it must have begun by now: none, while it looks at done jobs."""
        while len(self.begun) < self.threads and self.ahead and not self.looking:
            id = next(iter(self.ahead))
            seconds = self._take_from_ahead(id)
            self.begun[id] = now
            self._due[id] = now + seconds
            self._long[id] = now if seconds >= LONG else now + LONG

    def answered(self, id: str) -> bool:
        """False: it had no such order."""
        number = self._numbers.get(id, -1)
        while self._litter and self._litter[0][0] <= number:  # it unlinks them as it reads, before it begins anything
            self._litter.popleft()
        self._stuck = False
        return self._forget(id)

    def _forget(self, id: str) -> bool:
        known = self.orders.pop(id, None) is not None
        if self.begun.pop(id, None) is not None:
            del self._long[id], self._due[id]
        elif id in self.ahead:
            self._take_from_ahead(id)
        self._numbers.pop(id, None)
        if not self.orders:
            self.alone = False
        return known

    def _take_from_ahead(self, id: str) -> float:
        seconds = self.ahead.pop(id)
        self._lying = self._lying - seconds if self.ahead else 0.0
        return seconds

    def take_back(self) -> list[Order]:
        """What it has not begun, and now never will."""
        taken = self._tickets.take_back()
        if self._look in taken:
            self.looking = False
        orders = [order for id, order in self.orders.items() if self._numbers[id] in taken]
        for order in orders:
            self._forget(order.id)
        self._stuck = True
        return orders

    def all_begun(self) -> tuple[str, ...]:
        """Of one that is dead: what it must have begun, and what it has begun behind an answer that did not come."""
        orders, reckoned = tuple(self.orders), frozenset(self.begun)
        unbegun = {order.id for order in self.take_back()}
        return tuple(id for id in orders if id in reckoned or id not in unbegun)

    def litter(self) -> list[str]:
        """What was sent for it to unlink, and may be there yet, if it does nothing more."""
        return [name for _, names in self._litter for name in names]

    def wait(self, now: float) -> float:
        """Seconds until it should begin one more, less than none if it has threads with nothing to do. inf: no room."""
        if self.alone:
            return inf
        if len(self.orders) < self.threads:
            return 0.0 if self.looking else len(self.orders) - self.threads
        quick, lying = self.quick(now), len(self.ahead)
        wait = self._lying / quick if quick else inf
        return wait if lying < quick or (wait < AHEAD_TIME and lying < AHEAD_MOST * quick) else inf

    def left(self, now: float) -> float:
        """Seconds until it should be through with all it has. inf: nothing can be said of that."""
        rest = max(self._due.values(), default=now) - now
        if self.alone or self._stuck or rest <= -LATE or not self.quick(now):
            return inf
        return max(0.0, rest) + self._lying / self.threads

    def soon_through(self, now: float) -> bool:
        """Whether it has something to do, and so little that others need not be woken up."""
        return bool(self.orders) and self.left(now) < SOON

    def reserve(self) -> float:
        """Seconds for which what lies ready in it will do."""
        return self._lying / self.threads

    def room(self, seconds: float, now: float) -> int:
        """How many orders more, of so many seconds each, should lie ready in it beyond what it can begin at once."""
        if self.alone or seconds >= LONG:
            return 0
        quick, lying = self.quick(now), len(self.ahead)
        lacking = AHEAD_TIME * quick - self._lying
        return max(0, quick - lying, min(AHEAD_MOST * quick - lying, int(lacking / max(seconds, 1e-6) + 0.5)))

    def late(self) -> float:
        """When all its threads are at something long, and others should have what lies ready. inf: nothing does."""
        return max(self._long.values()) if self.ahead and len(self._long) >= self.threads else inf

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

    def close(self) -> None:
        self.socket.close()
        self._tickets.close()

    def quick(self, now: float) -> int:
        """How many threads are not at something long."""
        return self.threads - sum(since <= now for since in self._long.values())
