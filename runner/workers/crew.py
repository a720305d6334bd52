"""The worker processes that there are: forked as they are of use, and replaced where they died. Decides nothing about
orders.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Sequence
from math import inf

import msgspec

from runner.errors import StateError
from runner.workers.forkserver import ForkServer
from runner.workers.port import Settings
from runner.workers.worker import Worker

LEAD = 0.010
"""Seconds that the first worker is alone. By then it is known what the tasks are like: where they take next to no time,
the others are not needed."""

TRIES = 3
"""How many fork servers may end in a row without having made a worker."""


class Crew:
    """Up to `most` of them. Their streams, and the fork server's, are watched by the selector.

    `server`: one that was started already, in the same root; it is closed with the crew. `until`: none lives longer, by
    the clock of `steady`, unless `extend` says so.
    """

    def __init__(
        self,
        most: int,
        settings: Settings,
        preload: Sequence[str],
        selector: selectors.BaseSelector,
        server: ForkServer | None,
        until: float = inf,
    ) -> None:
        self.workers: list[Worker] = []
        self._most = most
        self._threads = settings.threads
        self._settings = msgspec.json.encode(settings).decode()
        self._preload = (settings.root, tuple(preload))
        self._selector = selector
        self._until = until
        self._lead = 0.0  # until when the first one is alone, on the monotonic clock
        self._failures = 0  # fork servers that have ended since the last worker was made
        self.server = self._start_server() if server is None else self._take(server)

    @property
    def missing(self) -> int:
        """How many more there may be."""
        return self._most - len(self.workers)

    def ready(self) -> bool:
        """Whether a worker can be forked now. Not while the user's modules are imported: that may take for ever, and
        nobody is to wait for it."""
        if not self.server.ready:
            self.server.hear()
        return self.server.ready

    def able(self) -> bool:
        """Whether more may be called now. With a lease, nobody may wait for an import: who would extend it?"""
        return self.missing > 0 and (self._until == inf or self.ready() or self.server.gone)

    def to_come(self, *, known: bool) -> int:
        """How many more can be had at once. `known`: it is known what the tasks are like."""
        if not self.missing or (self.lead() > 0 and not known):
            return 0
        if not self.ready() and not self.server.gone:
            return 0
        return self.missing if self.workers else 1

    def lead(self) -> float:
        """Seconds for which the first worker is still to be alone."""
        return self._lead - time.monotonic() if self.workers and self.missing else 0.0

    def call(self, count: int | None = None) -> None:
        """Fork workers until there are so many, or all that are possible now. Raises StateError where none can be."""
        if not self.workers:
            self._lead = time.monotonic() + LEAD
        while len(self.workers) < (self._most if count is None else count):
            try:
                worker = Worker(self.server, self._settings, self._threads)
            except ConnectionError:  # it was killed, and its workers with it; or it cannot even start
                self.renew_server()
                if self.able():
                    continue
                return
            self._failures = 0
            self.workers.append(worker)
            self._selector.register(worker.socket, selectors.EVENT_READ, worker)

    def dismiss(self, worker: Worker) -> None:
        """It is dead, or as good as that."""
        self._selector.unregister(worker.socket)
        self.workers.remove(worker)

    def renew_server(self) -> None:
        """The fork server is gone, and all its workers with it. Raises StateError where one after the other goes."""
        self._failures += 1
        if self._failures > TRIES:
            raise StateError("no worker can be started: the process that forks the workers has ended")
        self._selector.unregister(self.server)
        self.server.close()
        self.server = self._start_server()

    def extend(self, until: float) -> None:
        """They may live until then."""
        self._until = until
        self.server.extend(until)

    def _start_server(self) -> ForkServer:
        return self._watch(ForkServer(*self._preload, until=self._until))

    def _take(self, server: ForkServer) -> ForkServer:
        server.load(self._preload[1])
        return self._watch(server)

    def _watch(self, server: ForkServer) -> ForkServer:
        self._selector.register(server, selectors.EVENT_READ, server)
        return server
