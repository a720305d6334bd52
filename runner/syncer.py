"""One sync at a time, in a thread, so that the loop goes on meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue


class Syncer:
    """`start` a sync; `fd` gets readable when it is over; `finish` tells how it went."""

    def __init__(self, sync: Callable[[], None]) -> None:
        self._sync = sync
        self.fd, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._requests: SimpleQueue[bool] = SimpleQueue()
        self._error: BaseException | None = None
        self.busy = False
        self._thread = threading.Thread(target=self._work, name="sync", daemon=True)
        self._thread.start()

    def start(self) -> None:
        """Begin a sync; what was written before is durable once it is over."""
        self.busy = True
        self._requests.put(True)

    def finish(self) -> bool:
        """Whether a sync has ended since. Raises what it raised: then nothing is known to be durable any more."""
        try:
            ended = bool(os.read(self.fd, 16))
        except BlockingIOError:
            return False
        self.busy = False
        if self._error is not None:
            raise self._error
        return ended

    def close(self) -> None:
        """End the thread, after the sync it is at."""
        self._requests.put(False)
        self._thread.join()
        os.close(self.fd)
        os.close(self._write)

    def _work(self) -> None:
        while self._requests.get():
            try:
                self._sync()
            except BaseException as error:
                self._error = error
            os.write(self._write, b".")
