"""How long orders are expected to take, by their class: so that nothing short is sent behind something long."""

from __future__ import annotations

from runner.core.events import Asked
from runner.workers.port import Order, Reply

LONG = 0.050
"""Seconds. What is expected to take longer, or already has, is long: nothing is to lie behind it."""

UNKNOWN = 1.0
"""Seconds that a class takes of which nothing is known: so nothing is to lie behind the first ones."""

RISE, FALL, DRIFT = 0.5, 0.2, 0.1
"""How much of the difference one order makes: one that took longer than expected, one that did not; and to `next`. The
first of its class, and the first of all for `next`, are believed at once: what so came to lie behind something long is
taken back, and to find out by small steps takes a short run as long as its first hundred tasks."""


class Expected:
    """`next`: seconds that whatever comes next is expected to take, by what was started lately."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self.next = 2 * LONG

    @property
    def anything(self) -> bool:
        """Whether it is known how long anything took."""
        return bool(self._seconds)

    def of(self, order: Order) -> float:
        return self._seconds.get(_class(order.id, order.ask), UNKNOWN)

    def start(self, order: Order) -> float:
        """It is about to be started; seconds that it is expected to take."""
        seconds = self.of(order)
        self.next += (min(seconds, 2 * LONG) - self.next) * DRIFT  # how long a long one is says nothing of the others
        return seconds

    def learn(self, reply: Reply) -> None:
        if reply.begun:
            name = _class(reply.event.id, isinstance(reply.event, Asked))
            if not self.anything:
                self.next = min(reply.seconds, 2 * LONG)
            before = self._seconds.get(name, reply.seconds)
            change = reply.seconds - before
            self._seconds[name] = before + change * (RISE if change > 0 else FALL)


def _class(id: str, ask: bool) -> str:
    """To ask a job for its children may take longer than to run it, or be nothing beside it."""
    return id[:-17] + "?" if ask else id[:-17]
