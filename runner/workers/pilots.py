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
import socket
import struct
import threading
from concurrent.futures import Executor, Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from queue import SimpleQueue
from typing import NamedTuple, TypeAlias

from runner.errors import StateError, plainly
from runner.workers import agent
from runner.workers.link import Broke, Came, Joined, Left, Over, Word
from runner.workers.mailbox import Mailbox

WAYS = 2
"""Connections of a pilot: over one it is brought what is to be done, over the other it is listened to."""

AGAIN = 1.0
"""Seconds after which a pilot that could not stay is sent out again."""

CONNECT = 10.0
"""Seconds for a pilot to reach the runner."""

STUCK = 10
"""Seconds after which a connection that takes or gives no more of a message is given up."""

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
    """A Link. The executor is not shut down with it. Raises StateError where nobody can listen at `pool.host`."""

    address = ""

    def __init__(self, pool: Pool) -> None:
        self.lacking = f"a process of the pool that can reach {pool.host}"
        self._pool = pool
        self._key = secrets.token_bytes(32)
        try:
            self._server = socket.create_server((pool.host, 0), backlog=WAYS * pool.size)
        except OSError as error:
            raise StateError(f"host={pool.host!r} is no address of this machine: {plainly(error)}") from None
        self._words: Mailbox[Word] = Mailbox()
        self.fd = self._words.fd
        self._lock = threading.Lock()
        self._lanes: dict[str, list[_Line]] = {}
        self._calls: set[Future[None]] = set()
        self._closing = False
        threading.Thread(target=self._accept, name="pilots", daemon=True).start()
        for number in range(pool.size):
            self._send_out(f"pilot-{number}")

    def ask(self, lane: str, agent: str, way: int, data: bytes, seconds: float) -> None:
        with self._lock:
            lines = self._lanes.get(lane, [])
            if len(lines) == WAYS:
                lines[way].queue.put((agent, way, data, seconds))
                return
        self._words.put(Broke(lane, agent, way))

    def take(self) -> list[Word]:
        return self._words.take()

    def close(self) -> None:
        with self._lock:
            self._closing = True
            lines = [line for lane in self._lanes.values() for line in lane]
        self._words.close()
        for line in lines:
            line.queue.put(None)
        for call in list(self._calls):
            call.cancel()
        _shut(self._server)  # which wakes up who waits for another pilot

    # -------------------------------------------------------------------------------------------------------- pilots

    def _send_out(self, lane: str) -> None:
        """Have the pool start a pilot; when it ends before its time, another."""
        try:
            host, port = self._server.getsockname()[:2]
            call = self._pool.executor.submit(fly, str(host), int(port), self._key.hex(), lane)
        except Exception as error:  # each pool has its own for being broken, or shut down
            self._words.put(Over(f"the pool takes no more calls ({type(error).__name__}: {error})"))
            return
        self._calls.add(call)
        call.add_done_callback(lambda ended: self._landed(lane, ended))

    def _landed(self, lane: str, call: Future[None]) -> None:
        self._calls.discard(call)
        if self._closing:
            return
        self._drop(lane)
        self._words.put(Left(lane))
        error = None if call.cancelled() else call.exception()
        if error is not None:
            self._words.put(Over(f"the pool has failed ({type(error).__name__}: {error})"))
            return
        again = threading.Timer(AGAIN, self._send_out, (lane,))
        again.daemon = True
        again.start()

    def _accept(self) -> None:
        with self._server, suppress(OSError):
            while True:
                connected, _ = self._server.accept()
                threading.Thread(target=self._converse, args=(connected,), name="pilot", daemon=True).start()

    def _converse(self, connected: socket.socket) -> None:
        """Ask over one connection, one thing after the other. When it ends, so does its pilot's other one."""
        _bound(connected)
        with connected, Connection(os.dup(connected.fileno())) as connection:
            try:
                deliver_challenge(connection, self._key)
                answer_challenge(connection, self._key)
                lane = connection.recv_bytes(256).decode()
            except (OSError, EOFError, ValueError, AuthenticationError):  # who does not know the key, or has left
                return
            line = _Line(SimpleQueue(), connected)
            self._join(lane, line)
            while (request := line.queue.get()) is not None:
                name, way, data, seconds = request
                try:
                    connection.send_bytes(data)
                    if not connection.poll(seconds):
                        raise TimeoutError
                    self._words.put(Came(lane, name, way, connection.recv_bytes()))
                except (OSError, EOFError):
                    self._words.put(Broke(lane, name, way))
                    break
            self._part(lane, line)

    def _join(self, lane: str, line: _Line) -> None:
        if len(self._lanes.get(lane, ())) == WAYS:  # of the pilot before
            self._drop(lane)
        with self._lock:
            lines = self._lanes.setdefault(lane, [])
            lines.append(line)
            if self._closing:
                line.queue.put(None)
            complete = len(lines) == WAYS
        if complete:
            self._words.put(Joined(lane, 1))

    def _part(self, lane: str, line: _Line) -> None:
        if line in self._lanes.get(lane, ()):
            self._drop(lane)
            self._words.put(Left(lane))

    def _drop(self, lane: str) -> None:
        """End the connections of a pilot."""
        with self._lock:
            lines = self._lanes.pop(lane, [])
        for line in lines:
            line.queue.put(None)
            _shut(line.socket)


class _Line(NamedTuple):
    """One of a pilot's connections, and what is to be asked over it."""

    queue: SimpleQueue[_Request | None]
    socket: socket.socket


def _bound(connected: socket.socket) -> None:
    """No read or write of a part of a message takes for ever: for the answers there is a time of their own."""
    seconds = struct.pack("ll", STUCK, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connected.setsockopt(socket.SOL_SOCKET, option, seconds)


def _shut(connected: socket.socket) -> None:
    """End it, also for whoever reads from it in another thread."""
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


# --------------------------------------------------------------------------------------------- in a process of the pool


def fly(host: str, port: int, key: str, lane: str) -> None:
    """The pilot: answers until the runner leaves, or cannot be reached over one of the connections."""
    with ExitStack() as stack:
        try:
            lines = [stack.enter_context(socket.create_connection((host, port), CONNECT)) for _ in range(WAYS)]
        except OSError:
            return
        threads = [threading.Thread(target=_answer, args=(line, lines, bytes.fromhex(key), lane)) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _answer(line: socket.socket, lines: list[socket.socket], key: bytes, lane: str) -> None:
    line.settimeout(None)
    try:
        with Connection(os.dup(line.fileno())) as connection:
            answer_challenge(connection, key)
            deliver_challenge(connection, key)
            connection.send_bytes(lane.encode())
            while True:
                connection.send_bytes(agent.exchange(connection.recv_bytes()))
    except (OSError, EOFError, AuthenticationError, agent.StandsStill):
        pass
    finally:
        for each in lines:
            _shut(each)
