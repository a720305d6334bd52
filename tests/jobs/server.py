"""A server that says exactly what a test wants it to say, byte by byte, well-formed or not; on loopback, in threads."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Reply = bytes | Callable[[socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@dataclass
class FaultServer:
    """`routes`: path -> the bytes of the whole answer, or a function that gets the socket and may do what it likes.

    A path that has no route is answered by 404. A connection is kept for further requests after an answer in bytes,
    and closed after a function has returned. `greeting` speaks before any request, as soon as somebody connects.
    """

    routes: dict[str, Reply] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0
    greeting: Reply | None = None
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._ended = False
        self._noting = threading.Lock()
        self.place = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, path: str = "/") -> str:
        return f"http{'s' if self.tls else ''}://{self.place}{path}"

    def close(self) -> None:
        self._ended = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
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
        with contextlib.suppress(OSError), self._secured(connection) as connection:
            if self.greeting is not None:
                self._say(self.greeting, connection)
                return
            for head in heads(connection):
                lines = head.decode("latin-1").split("\r\n")
                path = lines[0].split(" ")[1]
                sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                with self._noting:  # or what one connection is asked for stands beside another's headers
                    self.asked.append(path)
                    self.headers.append(sent)
                reply = self.routes.get(path, answer(b"no such page", "404 Not Found"))
                self._say(reply, connection)
                if not isinstance(reply, bytes):
                    return

    def _secured(self, connection: socket.socket) -> socket.socket:
        """TLS, if that is how the client begins: without it, the same port speaks plainly."""
        if self.tls is None or connection.recv(1, socket.MSG_PEEK) != b"\x16":
            return connection
        return self.tls.wrap_socket(connection, server_side=True)

    def _say(self, reply: Reply, connection: socket.socket) -> None:
        if isinstance(reply, bytes):
            connection.sendall(reply)
        else:
            reply(connection)


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


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A body in chunks."""
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def self_signed(folder: Path) -> Path:
    """A file with a key and a certificate for localhost that nobody has signed. Needs the program openssl."""
    assert shutil.which("openssl"), "needs the program openssl"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    whole = folder / "both.pem"
    whole.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return whole


def context_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context
