"""Puts outputs in place for jobs that run elsewhere: only the runner gives files their final names, so that whoever has
been given up, and does not know it yet, can change none. In a thread: the scheduler does not wait for the disk.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import NamedTuple

from runner.errors import RunnerError, plainly
from runner.workers.bench import Bench
from runner.workers.hindrance import Hindered
from runner.workers.port import Settings, Staged


class Published(NamedTuple):
    """How it went. `refused`: why not all could be put in place; `some` are; `hindered`: the machine is at fault."""

    staged: Staged
    refused: str = ""
    some: bool = False
    hindered: bool = False


class Publisher:
    """`fd` is readable when there is something to take."""

    def __init__(self, settings: Settings) -> None:
        self._bench = Bench(settings)
        self.fd, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._wanted: SimpleQueue[Staged | None] = SimpleQueue()
        self._done: deque[Published] = deque()
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._thread.start()

    def put(self, staged: Staged) -> None:
        self._wanted.put(staged)

    def take(self) -> list[Published]:
        with suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass
        taken = []
        while self._done:
            taken.append(self._done.popleft())
        return taken

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._wanted.put(None)
        self._thread.join()
        os.close(self.fd)
        os.close(self._waker)
        self._bench.close()

    def _work(self) -> None:
        while (staged := self._wanted.get()) is not None:
            self._done.append(self._publish(staged))
            with suppress(BlockingIOError):
                os.write(self._waker, b".")

    def _publish(self, staged: Staged) -> Published:
        some = False
        try:
            for _ in self._bench.publish(staged.deliver):
                some = True
        except Hindered as error:
            return Published(staged, str(error), some, hindered=True)
        except (OSError, RunnerError) as error:
            return Published(staged, plainly(error), some)
        return Published(staged)
