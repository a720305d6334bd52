"""Connections that cannot be held open for ever nor lead where they may not, and bytes that cannot grow for ever.

One session for each worker thread. A connection's address is checked where it is made, by the address that is
connected to: a name that resolves to something else the second time gains nothing. Environment proxies are not used,
as nobody could check behind them.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # of silence
CHUNK = 65_536  # bytes


class FetchError(Exception):
    """No page came. The message begins with the address; `status` is None if no server said so."""

    def __init__(self, url: str, problem: str, status: int | None = None) -> None:
        super().__init__(url, problem, status)
        self.status = status

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class Transient(FetchError):
    """It may work next time."""


class Permanent(FetchError):
    """It will not work next time either."""


class Gone(Permanent):
    """There is no such page: 404, 410."""


# ---------------------------------------------------------------------------------------------------------- bytes


def bounded(pieces: Iterable[bytes], limit: int, url: str) -> Iterator[bytes]:
    """The same pieces. Raises Permanent once they are more than `limit` bytes."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise Permanent(url, f"more than {limit} bytes")
        yield piece


def inflate(pieces: Iterable[bytes], url: str) -> Iterator[bytes]:
    """gzip (one member or several), zlib or raw deflate, told apart by the first byte; never more than CHUNK at once.

    Raises Transient for what is damaged or cut. What follows the last member is ignored, as gzip does.
    """
    engine: Any = None
    try:
        for packed in pieces:
            rest = packed
            while rest:
                if engine is None:
                    engine = zlib.decompressobj(47 if rest[0] == 0x1F or rest[0] & 0x0F == 8 else -15)
                elif engine.eof and rest[0] != 0x1F:
                    return
                elif engine.eof:
                    engine = zlib.decompressobj(47)
                if piece := engine.decompress(rest, CHUNK):
                    yield piece
                rest = engine.unused_data if engine.eof else engine.unconsumed_tail
        if engine is not None:
            yield engine.flush()
    except zlib.error as error:
        raise Transient(url, f"damaged compressed data: {error}") from error
    if engine is not None and not engine.eof:
        raise Transient(url, "compressed data ends in the middle")


# --------------------------------------------------------------------------------------- time, sessions and sockets

_now = threading.local()  # of this thread: its sessions, and deadline and allow_private of the request it makes


def begin(seconds: float, allow_private: bool) -> requests.Session:
    """This thread's session, for requests that must all be over in so many seconds.

    There are two, one for sites that may be private: a connection that was allowed to one must not serve another.
    """
    _now.deadline = time.monotonic() + seconds
    _now.allow_private = allow_private
    sessions: dict[bool, requests.Session] = _now.__dict__.setdefault("sessions", {})
    if allow_private not in sessions:
        sessions[allow_private] = _new_session()
    return sessions[allow_private]


def seconds_left() -> float:
    """Until the deadline of this thread's request; negative after it."""
    left: float = _now.deadline - time.monotonic()
    return left


def _new_session() -> requests.Session:
    session = _Session()
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(pool_connections=8, pool_maxsize=1))
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: redirects are followed by hand. Else requests would read the redirect's body, however long it is."""


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        context = create_urllib3_context()
        context.sslsocket_class = _ClockedTLSSocket
        super().init_poolmanager(connections, maxsize, block, ssl_context=context, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


class _ClockedSocket(socket.socket):
    """A read ends at the thread's deadline. A time-out by silence alone never ends with a byte every few seconds,
    be it in the body, in the headers or in the length of a chunk."""

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_patience(READ_SECONDS))
        return super().recv_into(*args)


class _ClockedTLSSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any) -> int:
        self.settimeout(_patience(READ_SECONDS))
        return super().recv_into(*args)


def _patience(most: float) -> float:
    left = seconds_left()
    if left <= 0:
        raise TimeoutError("the total deadline is over")
    return min(most, left)


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _TLSConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


def _connected(connection: HTTPConnection) -> socket.socket:
    """A socket, connected to the first address of the host that answers. All of its addresses must be allowed."""
    host, port = connection.host, connection.port
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NewConnectionError(connection, f"{host} cannot be resolved: {error}") from error
    for *_, address in found:
        if not _now.allow_private and not is_public(str(address[0])):
            raise Permanent(f"{host}:{port}", f"{address[0]} is a private address, and allow_private is not set")
    problem: OSError | None = None
    for family, kind, protocol, _, address in found:
        sock = _ClockedSocket(family, kind, protocol)
        try:
            sock.settimeout(_patience(CONNECT_SECONDS))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise NewConnectionError(connection, f"cannot connect: {problem}") from problem


def is_public(address: str) -> bool:
    """Whether anybody on the internet could reach it."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)  # ::ffff:127.0.0.1
    parsed = mapped or parsed
    return parsed.is_global and not parsed.is_multicast
