"""Connections that cannot be held open for ever nor lead where they may not, and bytes that cannot grow for ever.

Each worker thread has connections of its own. An address is checked where the connection is made, by what is connected
to: a name that resolves to something else the second time gains nothing. Environment proxies are not used, as nobody
could check behind them.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from runner import NoRetry

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0  # of silence
PATIENCE = Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
CHUNK = 65_536  # bytes
HEADS = 1_000_000  # bytes that all heads, and what frames a chunked body, may take beside the body
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all of IPv6 that was ever given to anybody
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class FetchError(Exception):
    """No page came. The message begins with the address; `status` is None if no server said so."""

    def __init__(self, url: str, problem: str, status: int | None = None) -> None:
        super().__init__(url, problem, status)
        self.status = status

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.args[1]}"


class Transient(FetchError):
    """It may work next time."""


class Damaged(Transient):
    """What was compressed does not come out whole."""


class Permanent(FetchError, NoRetry):
    """It will not work next time either: the runner need not try."""


class Gone(Permanent):
    """There is no such page: 404, 410 (for good)."""


# ---------------------------------------------------------------------------------------------------------- bytes


def bounded(pieces: Iterable[bytes], limit: int, url: str, *, cut: bool = False) -> Iterator[bytes]:
    """The same pieces. Raises Permanent once they are more than `limit` bytes; with `cut` it is the last one then."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit and not cut:
            raise Permanent(url, f"more than {limit} bytes")
        yield piece
        if total > limit:
            return


def inflate(pieces: Iterable[bytes], url: str) -> Iterator[bytes]:
    """gzip (one member or several), zlib or raw deflate, told apart by the first byte; never more than CHUNK at once.

    Raises Damaged, also for what is cut. What follows the last member is ignored, as gzip does.
    """
    engine: Any = None
    try:
        for packed in pieces:
            rest = packed
            while rest:
                if engine is None:
                    engine = _engine(rest[0])
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
        raise Damaged(url, f"damaged compressed data: {error}") from error
    if engine is not None and not engine.eof:
        raise Damaged(url, "compressed data ends in the middle")


def _engine(first: int) -> Any:
    if first == 0x1F or first & 0x0F == 8:
        return zlib.decompressobj(47)  # gzip or zlib
    return zlib.decompressobj(-15)


# ------------------------------------------------------------------------------------ time, connections and sockets

_now = threading.local()  # of this thread: its connections, and what its request may do (see `begin`)


class Connections(HTTPAdapter):
    """Those of one thread, kept open for the next request, as requests keeps them and checks their certificates. Its
    sessions would follow redirects and keep cookies; its objects for requests and answers take half as long again."""

    verify: bool | str = True  # or a file with the certificates to trust

    def __init__(self) -> None:
        super().__init__(pool_connections=16, pool_maxsize=1)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        context = create_urllib3_context()
        context.sslsocket_class = _ClockedTLSSocket
        super().init_poolmanager(connections, maxsize, block, ssl_context=context, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def get(self, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
        """The head of an answer; its body is still to be read. Raises HTTPError (of urllib3), OSError."""
        parts = urlsplit(url)
        pool = self.poolmanager.connection_from_url(url)
        self.cert_verify(pool, url, self.verify, None)  # type: ignore[no-untyped-call]
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        how = {
            "timeout": PATIENCE,
            "retries": False,
            "redirect": False,
            "preload_content": False,
            "decode_content": False,
        }
        answer: BaseHTTPResponse = pool.urlopen("GET", target, headers=headers, **how)
        return answer


def begin(url: str, seconds: float, limit: int, allow_private: bool) -> Connections:
    """This thread's connections, for requests that must all be over in so many seconds and `limit` bytes of body.

    There are two sets, one for sites that may be private: a connection that was allowed to one must not serve another.
    """
    _now.url = url
    _now.deadline = time.monotonic() + seconds
    _now.bytes = _now.most = limit + HEADS
    _now.allow_private = allow_private
    open_to: dict[bool, Connections] = _now.__dict__.setdefault("open_to", {})
    if allow_private not in open_to:
        open_to[allow_private] = Connections()
    return open_to[allow_private]


def seconds_left() -> float:
    """Until the deadline of this thread's request; negative after it."""
    left: float = _now.deadline - time.monotonic()
    return left


class _ClockedSocket(socket.socket):
    """A read ends at the thread's deadline. A time-out by silence alone never ends with a byte every few seconds,
    be it in the body, in the headers or in the length of a chunk. Nor does a limit of the body alone, in these."""

    def recv_into(self, *args: Any) -> int:
        self.settimeout(_patience(READ_SECONDS))
        return _counted(super().recv_into(*args))


class _ClockedTLSSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any) -> int:
        self.settimeout(_patience(READ_SECONDS))
        return _counted(super().recv_into(*args))


def _counted(received: int) -> int:
    _now.bytes -= received
    if _now.bytes < 0:
        raise Permanent(_now.url, f"more than {_now.most} bytes on the wire")
    return received


def _patience(most: float) -> float:
    left = seconds_left()
    if left <= 0:
        raise TimeoutError("the total deadline is over")
    return min(most, left)


class _Response(HTTPResponse):
    """http.client takes any 1xx but 100 (103 Early Hints, say) for the answer itself."""

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, 100 if 101 < status < 200 else status, reason


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connected(self)


class _TLSConnection(HTTPSConnection):
    response_class = _Response

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
            told = f"leads to {host}:{port}, and {address[0]} is a private address (allow_private?)"
            raise Permanent(_now.url, told)
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
    """Whether anybody on the internet could reach it. An IPv6 address that stands for one of IPv4 is as that one."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        inner = parsed.ipv4_mapped or parsed.sixtofour
        if parsed in NAT64:
            inner = ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(str(inner))
        if parsed not in GLOBAL_UNICAST:
            return False
    return parsed.is_global and not parsed.is_multicast
