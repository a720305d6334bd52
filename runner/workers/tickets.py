"""Tickets: the right to begin what lies ready in a worker.

What is sent to a worker ahead of time goes over its stream. For each item there is a ticket besides, on a socket whose
far end is read by the worker and by the scheduler: who reads a ticket has what it is for. A thread of the worker that
has nothing to do takes the next one, and begins that item. The scheduler takes those that are left, when it wants the
items back. The kernel gives a ticket to one reader only: so nothing is begun twice, and the worker is not asked, which
may be deep in a task, hold the interpreter, or be stopped.

A ticket is the number of its item, in the order sent. Items with a lower number than a ticket that a worker has just
taken, and not begun before, were taken back. All have the same size, and what goes into the socket at once is so little
that it goes in whole or not at all: so a ticket is read whole, too.
"""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress

_TICKET = struct.Struct(">Q")
_AT_ONCE = 128  # 1 KiB: less than half of the smallest buffer that a socket can have


class Tickets:
    """The scheduler's side. `fileno` is what the worker is to have."""

    def __init__(self) -> None:
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._near.setblocking(False)
        self._far.setblocking(True)  # for the worker, who waits
        self._given = self._booked = 0

    def fileno(self) -> int:
        return self._far.fileno()

    def book(self) -> int:
        """The number of one item more; `give` has to follow."""
        self._booked += 1
        return self._booked - 1

    def give(self) -> None:
        """Give tickets for all that is booked, as far as there is room; the rest as the worker has taken some."""
        with suppress(BlockingIOError):
            while self._given < self._booked:
                numbers = range(self._given, min(self._given + _AT_ONCE, self._booked))
                self._near.send(b"".join(map(_TICKET.pack, numbers)))
                self._given = numbers.stop

    def take_back(self) -> set[int]:
        """Which items the worker has not begun, and never will. It may take some in between while this goes on."""
        taken = set(range(self._given, self._booked))
        self._given = self._booked
        with suppress(BlockingIOError):
            while tickets := self._far.recv(_AT_ONCE * _TICKET.size, socket.MSG_DONTWAIT):
                whole = len(tickets) // _TICKET.size * _TICKET.size  # unless a task has read from it
                taken.update(number for (number,) in _TICKET.iter_unpack(tickets[:whole]))
        return taken

    def close(self) -> None:
        self._near.close()
        self._far.close()


def take(fd: int) -> int | None:
    """The worker's side: the number of the next item, as soon as there is one. None: the scheduler is gone."""
    try:
        ticket = os.read(fd, _TICKET.size)
    except OSError:  # a task has closed it: without a word this worker can begin nothing more
        return None
    return _TICKET.unpack(ticket)[0] if len(ticket) == _TICKET.size else None
