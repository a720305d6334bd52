"""What the processes of a task print: a pipe that they write to, and a thread that reads it as it comes.

They could write to the log's file themselves, but nothing would keep one of them from filling the disk.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

_AT_ONCE = 1 << 16  # bytes: all that a pipe holds


class Hearing:
    """A pipe, until `close` and the end of the last process that has it. `take` gets what is written to it, in order;
    `ended` is called after the last of that. Both on a thread of its own, `take` also in `catch_up`.

    Raises OSError or RuntimeError where there are too many descriptors or threads.
    """

    def __init__(self, take: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        self._take = take
        self._ended = ended
        self._pid = os.getpid()
        self._reading = threading.Lock()
        self._over = False
        self._end, self.descriptor = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._end, False)
        try:
            threading.Thread(target=self._listen, name="hearing", daemon=True).start()
        except RuntimeError:  # there are too many
            os.close(self._end)
            os.close(self.descriptor)
            raise

    def catch_up(self) -> None:
        """Take what is written by now: who has waited for a process and then speaks comes after it."""
        if os.getpid() == self._pid:  # else: a fork, where nobody may hold that lock any more
            self._read()

    def close(self) -> None:
        """No further process gets it."""
        os.close(self.descriptor)
        self.catch_up()

    def _listen(self) -> None:
        poll = select.poll()
        poll.register(self._end, select.POLLIN)
        while not self._over:
            poll.poll()
            self._read()
        os.close(self._end)
        self._ended()

    def _read(self) -> None:
        """At most a pipe full: one that never stops must keep nobody."""
        with self._reading, suppress(BlockingIOError):
            if not self._over:
                data = os.read(self._end, _AT_ONCE)
                self._over = not data
                if data:
                    self._take(data)
