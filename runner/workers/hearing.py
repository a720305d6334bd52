"""What the processes of a task print: a pipe that they write to, and a thread that reads it as it comes.

They could write to the log's file themselves, but nothing would keep one of them from filling the disk. The numbers of
the pipe's ends are no task's business, yet one may close whatever it finds: before a number is used, it is made sure
that it still is ours, or somebody else's pipe would be read, or their file closed.
"""

from __future__ import annotations

import fcntl
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

MOST = 100
"""How many pipes a worker has at once. What is started beyond that is not heard: it must not use up the descriptors."""

_AT_ONCE = 1 << 16  # bytes: all that a pipe holds
_FIRST = 3  # no number below: a task may have closed its stdin, and will restore it


class TooMany(Exception):
    """There are as many pipes as there may be."""


class Hearing:
    """A pipe, until `close` and the end of the last process that has it. `take` gets what is written to it, in order;
    `ended` is called after the last of that. Both on a thread of its own, `take` also in `catch_up`.

    Raises TooMany, and OSError or RuntimeError where there are no descriptors or threads left.
    """

    _open: ClassVar[set[tuple[int, int]]] = set()  # the pipes that are

    def __init__(self, take: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        if len(self._open) >= MOST:
            raise TooMany
        self._take = take
        self._ended = ended
        self._pid = os.getpid()
        self._reading = threading.RLock()  # a signal's handler may print while its thread reads
        self._over = False
        end, start = os.pipe2(os.O_CLOEXEC)
        self._end, self._start = _high(end), _high(start)
        os.set_blocking(self._end, False)
        self._pipe = _identity(self._end)
        self._open.add(self._pipe)
        try:
            threading.Thread(target=self._listen, name="hearing", daemon=True).start()
        except RuntimeError:  # there are too many
            self._open.discard(self._pipe)
            self._close(self._end)
            self._close(self._start)
            raise

    def descriptor(self) -> int:
        """A number of one's own, to be closed when the process has it. Raises OSError."""
        number = fcntl.fcntl(self._start, fcntl.F_DUPFD_CLOEXEC, _FIRST)
        if not self._is_ours(number):
            os.close(number)
            raise OSError("a task has closed it")
        return number

    def catch_up(self) -> None:
        """Take what is written by now: who has waited for a process and then speaks comes after it."""
        if os.getpid() == self._pid:  # else: a fork, where nobody may hold that lock any more
            self._read()

    def close(self) -> None:
        """No further process gets it."""
        self._close(self._start)
        self.catch_up()

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        try:
            while not self._over:
                poll.poll()
                self._read()
        finally:
            self._over = True
            self._close(self._end)
            self._open.discard(self._pipe)
            self._ended()

    def _read(self) -> None:
        """At most a pipe full: one that never stops must keep nobody."""
        with self._reading, suppress(BlockingIOError):
            if not self._over:
                data = os.read(self._end, _AT_ONCE) if self._is_ours(self._end) else b""
                self._over = not data
                if data:
                    self._take(data)

    def _is_ours(self, number: int) -> bool:
        with suppress(OSError):
            return _identity(number) == self._pipe
        return False

    def _close(self, number: int) -> None:
        if self._is_ours(number):
            os.close(number)


def _identity(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_dev, found.st_ino


def _high(number: int) -> int:
    """The same by a number that is not one of the standard ones."""
    if number >= _FIRST:
        return number
    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST)
    finally:
        os.close(number)
