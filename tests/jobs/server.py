"""A server that says exactly what a test wants it to say, byte by byte, well-formed or not; on loopback, in threads."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

Reply = bytes | Callable[[socket.socket], None]


@dataclass
class FaultServer:
    """`routes`: path -> the bytes of the whole answer, or a function that gets the socket and may do what it likes.

    A path that has no route is answered by 404. A connection is kept for further requests after an answer in bytes,
    and closed after a function has returned.
    """

    routes: dict[str, Reply] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._ended = False
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/") -> str:
        return f"http://{self.place}{path}"

    def close(self) -> None:
        self._ended = True
        self._socket.close()

    def _accept(self) -> None:
        while not self._ended:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for head in heads(connection):
                lines = head.decode("latin-1").split("\r\n")
                path = lines[0].split(" ")[1]
                self.asked.append(path)
                self.headers.append(
                    {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                )
                reply = self.routes.get(path, answer(b"no such page", "404 Not Found"))
                if not isinstance(reply, bytes):
                    reply(connection)
                    return
                connection.sendall(reply)


def heads(connection: socket.socket) -> Iterator[bytes]:
    """The heads of the requests that come over a connection."""
    data = b""
    while more := connection.recv(65_536):
        data += more
        while b"\r\n\r\n" in data:
            head, _, data = data.partition(b"\r\n\r\n")
            yield head


def answer(body: bytes = b"", status: str = "200 OK", *headers: str, content_type: str = "text/html") -> bytes:
    """A well-formed answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def redirect(target: str, status: str = "302 Found") -> bytes:
    return answer(b"moved", status, f"Location: {target}")


def drip(*parts: bytes, every: float = 0.05) -> Reply:
    """The first part at once, then the others byte by byte, the last one for ever."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(parts[0])
        for part in parts[1:-1]:
            for byte in part:
                connection.sendall(bytes([byte]))
                time.sleep(every)
        while True:
            connection.sendall(parts[-1])
            time.sleep(every)

    return reply


def endless(head: bytes, piece: bytes) -> Reply:
    """A body that never ends, as fast as it can be taken."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return reply


def then_close(data: bytes) -> Reply:
    """These bytes, and the connection is closed."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(data)

    return reply


def reset(data: bytes = b"") -> Reply:
    """These bytes, and the connection is reset."""

    def reply(connection: socket.socket) -> None:
        connection.sendall(data)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    return reply


def silent(seconds: float = 5.0) -> Reply:
    def reply(connection: socket.socket) -> None:
        time.sleep(seconds)

    return reply
