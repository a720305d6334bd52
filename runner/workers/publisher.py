"""Puts outputs in place for jobs that run elsewhere: only the runner gives files their final names, so that whoever has
been given up, and does not know it yet, can change none. In a thread: the scheduler does not wait for the disk.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import NamedTuple

from runner.errors import RunnerError, plainly
from runner.workers.bench import Bench
from runner.workers.hindrance import Hindered
from runner.workers.mailbox import Mailbox
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
        self._wanted: SimpleQueue[Staged | None] = SimpleQueue()
        self._done: Mailbox[Published] = Mailbox()
        self.fd = self._done.fd
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)
        self._thread.start()

    def put(self, staged: Staged) -> None:
        self._wanted.put(staged)

    def take(self) -> list[Published]:
        return self._done.take()

    def close(self) -> None:
        """End the thread, after what it is at."""
        self._wanted.put(None)
        self._thread.join()
        self._done.close()
        self._bench.close()

    def _work(self) -> None:
        while (staged := self._wanted.get()) is not None:
            self._done.put(self._publish(staged))

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
