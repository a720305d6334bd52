"""A link to agents in any pool of processes that is a PEP 3148 executor: loky's, MPI's, Ray's, Parsl's.

Such a pool runs a function in one of its processes, nobody knows which, and gives its result at its end. So each
process is given one call that lasts as long as the run, a pilot: it connects to the runner, and what it is asked from
then on goes over that connection. Both sides prove that they know a secret which the pool has carried (HMAC, as the
connections of multiprocessing do); nothing is pickled but the call itself, whose arguments are strings and numbers.

Not encrypted: over a network that others listen to, use Dask with TLS.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from queue import SimpleQueue
from typing import TypeAlias

from runner.workers import agent
from runner.workers.fleet import Broke, Came, Joined, Left, Over, Word

WAYS = 2
"""Connections of a pilot: over one it is brought what is to be done, over the other it is listened to."""

AGAIN = 1.0
"""Seconds after which a pilot that could not stay is sent out again."""

_Request: TypeAlias = tuple[str, int, bytes, float]


@dataclass(frozen=True)
class Pool:
    """Any PEP 3148 executor as the one that runs the tasks of `runner.run` and `runner.resume`.

    `size`: how many of its processes are to work, each at as many tasks at once as the run has threads. `host`: the
    address of this machine by which these processes can reach it; by itself this machine only.
    """

    executor: Executor
    size: int
    host: str = "127.0.0.1"


class PilotLink:
    """A Link. The executor is not shut down with it."""

    address = ""

    def __init__(self, pool: Pool) -> None:
        self.lacking = f"a process of the pool that can reach {pool.host}"
        self._pool = pool
        self._key = secrets.token_bytes(32)
        self._listener = Listener((pool.host, 0), backlog=WAYS * pool.size, authkey=self._key)
        self.fd, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._words: deque[Word] = deque()
        self._lock = threading.Lock()
        self._queues: dict[str, list[SimpleQueue[_Request | None]]] = {}  # lane -> by connection
        self._calls: set[Future[None]] = set()
        self._closing = False
        threading.Thread(target=self._accept, name="pilots", daemon=True).start()
        for number in range(pool.size):
            self._send_out(f"pilot-{number}")

    def ask(self, lane: str, agent: str, way: int, data: bytes, seconds: float) -> None:
        with self._lock:
            queues = self._queues.get(lane, [])
            if len(queues) == WAYS:
                queues[way].put((agent, way, data, seconds))
                return
        self._say(Broke(lane, agent, way))

    def take(self) -> list[Word]:
        with suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass
        taken = []
        while self._words:
            taken.append(self._words.popleft())
        return taken

    def close(self) -> None:
        with self._lock:
            self._closing = True
            queues = [queue for lane in self._queues.values() for queue in lane]
        for queue in queues:
            queue.put(None)
        for call in list(self._calls):
            call.cancel()
        with suppress(OSError):  # so that nobody waits for another pilot
            Client(self._listener.address, authkey=self._key).close()

    # -------------------------------------------------------------------------------------------------------- pilots

    def _send_out(self, lane: str) -> None:
        """Have the pool start a pilot; when it ends before its time, another."""
        try:
            host, port = self._listener.address
            call = self._pool.executor.submit(fly, str(host), int(port), self._key.hex(), lane)
        except Exception as error:  # each pool has its own for being broken, or shut down
            self._say(Over(f"the pool takes no more calls ({type(error).__name__}: {error})"))
            return
        self._calls.add(call)
        call.add_done_callback(lambda ended: self._landed(lane, ended))

    def _landed(self, lane: str, call: Future[None]) -> None:
        self._calls.discard(call)
        if self._closing:
            return
        self._say(Left(lane))
        error = None if call.cancelled() else call.exception()
        if error is not None:
            self._say(Over(f"the pool has failed ({type(error).__name__}: {error})"))
            return
        again = threading.Timer(AGAIN, self._send_out, (lane,))
        again.daemon = True
        again.start()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection = self._listener.accept()
                lane = connection.recv_bytes(256).decode()
            except (OSError, EOFError, ValueError, AuthenticationError):  # who does not know the key, or has left
                continue
            threading.Thread(target=self._converse, args=(lane, connection), name=lane, daemon=True).start()
        self._listener.close()

    def _converse(self, lane: str, connection: Connection) -> None:
        """Ask over one connection, one thing after the other."""
        queue: SimpleQueue[_Request | None] = SimpleQueue()
        with self._lock:
            queues = self._queues.setdefault(lane, [])
            if len(queues) == WAYS:  # of the pilot before
                queues.clear()
            queues.append(queue)
            complete = len(queues) == WAYS
        if complete:
            self._say(Joined(lane, 1))
        with connection:
            while (request := queue.get()) is not None:
                name, way, data, seconds = request
                try:
                    connection.send_bytes(data)
                    if not connection.poll(seconds):
                        raise TimeoutError
                    self._say(Came(lane, name, way, connection.recv_bytes()))
                except (OSError, EOFError):
                    self._say(Broke(lane, name, way))
                    break
        with self._lock:
            if queue in self._queues.get(lane, ()):
                del self._queues[lane]

    def _say(self, word: Word) -> None:
        self._words.append(word)
        with suppress(OSError):
            os.write(self._waker, b".")


# --------------------------------------------------------------------------------------------- in a process of the pool


def fly(host: str, port: int, key: str, lane: str) -> None:
    """The pilot: answers until the runner leaves, or cannot be reached."""
    threads = [
        threading.Thread(target=_answer, args=(host, port, bytes.fromhex(key), lane), daemon=True) for _ in range(WAYS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _answer(host: str, port: int, key: bytes, lane: str) -> None:
    with suppress(OSError, EOFError), Client((host, port), authkey=key) as connection:
        connection.send_bytes(lane.encode())
        while True:
            connection.send_bytes(agent.exchange(connection.recv_bytes()))
