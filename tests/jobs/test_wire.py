from __future__ import annotations

import gzip
import threading
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scrape import wire
from jobs.scrape.fetch import get
from jobs.scrape.sites import Policy
from jobs.scrape.wire import CHUNK, Permanent, Transient, begin, bounded, inflate, is_public
from tests.jobs.server import OK, FaultServer, context_of, drip, endless, self_signed


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(st.binary(max_size=300), st.integers(1, 7), st.sampled_from([gzip.compress, zlib.compress, raw_deflate]))
def test_inflate_in_any_form_and_pieces(data: bytes, size: int, form: object) -> None:
    packed = form(data * 50)  # type: ignore[operator]
    assert b"".join(inflate(split(packed, size), "u")) == data * 50


def test_inflate_members_and_garbage() -> None:
    two = gzip.compress(b"one ") + gzip.compress(b"two")
    assert b"".join(inflate([two], "u")) == b"one two"
    assert b"".join(inflate(split(two, 1), "u")) == b"one two"
    assert b"".join(inflate([gzip.compress(b"one") + b"\0\0\0"], "u")) == b"one"
    assert b"".join(inflate([], "u")) == b""


@pytest.mark.parametrize(
    "data", [gzip.compress(b"text" * 99, mtime=0)[:-9], b"\x1f\x8b\x08damaged at once", b"<html>no gzip"]
)
def test_inflate_what_is_damaged(data: bytes) -> None:
    with pytest.raises(Transient, match="compressed"):
        list(inflate([data], "u"))


def test_a_bomb_comes_in_small_pieces() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    sizes = []
    with pytest.raises(Permanent, match="more than 20000000 bytes"):
        sizes += [len(piece) for piece in bounded(inflate([bomb], "u"), 20_000_000, "u")]
    assert max(map(len, inflate([bomb], "u"))) <= CHUNK


def test_bounded() -> None:
    assert list(bounded([b"ab", b"c"], 3, "u")) == [b"ab", b"c"]
    with pytest.raises(Permanent):
        list(bounded([b"ab", b"cd"], 3, "u"))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *(("93.184.216.34", True), ("2606:2800:220:1::1", True), ("127.0.0.1", False), ("10.1.2.3", False)),
        *(("192.168.0.1", False), ("172.16.0.1", False), ("169.254.169.254", False), ("0.0.0.0", False)),
        *(("100.64.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False), ("::1", False), ("::", False)),
        *(("fe80::1%lo", False), ("fc00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:93.184.216.34", True)),
        *(("2002:7f00:1::", False), ("2002:5db8:d822::", True), ("64:ff9b::7f00:1", False), ("fec0::1", False)),
        *(("64:ff9b::5db8:d822", True), ("::7f00:1", False), ("::ffff:0:7f00:1", False), ("ff0e::1", False)),
    ],
)
def test_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_connections_for_each_thread_and_kind() -> None:
    found = [begin("u", 1, 1, True), begin("u", 1, 1, False)]
    threads = [threading.Thread(target=lambda: found.append(begin("u", 1, 1, True))) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert len({id(connections) for connections in found}) == 4
    assert begin("u", 1, 1, True) is found[0]


def test_tls_has_the_same_deadline_and_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(user_agent="test", hosts=("127.0.0.1",), allow_private=True)
    monkeypatch.setattr(wire, "_now", threading.local())  # connections of its own
    certificate = self_signed(tmp_path)
    server = FaultServer(tls=context_of(certificate))
    server.routes |= {
        "/slow": drip(OK + b"Content-Length: 100\r\n\r\n", b"x", every=0.1),
        "/long": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n" * 999),
    }
    begin("u", 1, 1, True).verify = str(certificate)
    started = time.monotonic()
    with pytest.raises(Transient, match="total deadline"), get(server.url("/slow"), policy, seconds=0.5) as answer:
        list(answer.body)
    assert time.monotonic() - started < 2
    with (
        pytest.raises(Permanent, match="more than 1005000 bytes on"),
        get(server.url("/long"), policy, limit=5000) as answer,
    ):
        list(answer.body)
    server.close()
