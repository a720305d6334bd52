from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from jobs.scrape import fetch, wire
from jobs.scrape.fetch import get, retry_seconds
from jobs.scrape.sites import Policy
from jobs.scrape.wire import Gone, Permanent, Transient
from runner import RetryLater
from tests.jobs.server import FaultServer, Reply, answer, drip, endless, redirect, reset, silent, then_close

OK = b"HTTP/1.1 200 OK\r\n"
PAGE = b"<p>text</p>" * 100


def body_of(url: str, policy: Policy, **options: Any) -> bytes:
    with get(url, policy, **options) as got:
        return b"".join(got.body)


def test_a_page(server: FaultServer, policy: Policy) -> None:
    headers = ('ETag: "e"', "Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT")
    server.routes["/a?b=c"] = answer(PAGE, "200 OK", *headers, content_type='Text/HTML; Charset="Shift_JIS"')
    with get(server.url("/a?b=c"), policy) as got:
        assert b"".join(got.body) == PAGE
    assert (got.url, got.status) == (server.url("/a?b=c"), 200)
    assert (got.content_type, got.charset) == ("text/html", "shift_jis")
    assert (got.etag, got.last_modified) == ('"e"', "Sun, 01 Nov 2026 00:00:00 GMT")
    assert server.headers[0]["user-agent"] == "runner-scrape/1.0 (+test)"
    assert server.headers[0]["accept-encoding"] == "gzip, deflate"
    assert "cookie" not in server.headers[0]


def test_one_connection_for_many_requests(server: FaultServer, policy: Policy) -> None:
    server.routes |= {
        "/a": answer(PAGE, "200 OK", "Set-Cookie: a=b"),
        "/r": redirect("/a"),
        "/t": answer(b"", "410 Gone"),
    }
    for _ in range(5):
        assert body_of(server.url("/a"), policy) == PAGE
        assert body_of(server.url("/r"), policy) == PAGE
        with pytest.raises(Gone):
            body_of(server.url("/t"), policy)
    assert server.connections == 1
    assert "cookie" not in server.headers[-1]


def test_a_connection_for_each_thread(server: FaultServer, policy: Policy) -> None:
    server.routes["/a"] = answer(PAGE)

    def fetch_some() -> None:
        for _ in range(10):
            body_of(server.url("/a"), policy)

    threads = [threading.Thread(target=fetch_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(server.asked), server.connections) == (40, 4)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        *((404, Gone), (410, Gone)),
        *((400, Permanent), (401, Permanent), (403, Permanent), (405, Permanent), (418, Permanent), (451, Permanent)),
        *((201, Permanent), (206, Permanent), (300, Permanent), (304, Permanent), (301, Permanent), (999, Transient)),
        *((500, Transient), (502, Transient), (503, Transient), (504, Transient), (408, Transient), (425, Transient)),
    ],
)
def test_classes_of_status(status: int, wanted: type[Exception], server: FaultServer, policy: Policy) -> None:
    server.routes["/"] = answer(b"" if status == 304 else b"a body", f"{status} Some Reason")
    with pytest.raises(wanted, match=f"{status}") as caught:
        body_of(server.url(), policy)
    assert type(caught.value) is wanted
    assert getattr(caught.value, "status", None) == status


@pytest.mark.parametrize("status", [200, 203, 204])
def test_good_status(status: int, server: FaultServer, policy: Policy) -> None:
    server.routes["/"] = b"HTTP/1.1 204 None\r\n\r\n" if status == 204 else answer(PAGE, f"{status} Good")
    with get(server.url(), policy) as got:
        assert got.status == status
        assert b"".join(got.body) == (b"" if status == 204 else PAGE)


def date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        *(("7", 7, 7), ("0", 1, 1), (90, 60, 90), (-50, 1, 1), ("99999999", 3600, 3600)),
        *((1e6, 3600, 3600), ("soon", 60, 60), ("", 60, 60), ("-5", 60, 60), ("1.5", 60, 60)),
        *(("9" * 400, 3600, 3600), ("Sun, 99 Nov 2026 99:00:00 GMT", 60, 60), ("Sun Nov  1 00:00:00 1994", 1, 1)),
    ],
)
def test_retry_after(header: str | float, least: float, most: float) -> None:
    """A number stands for the date that is so many seconds away."""
    text = header if isinstance(header, str) else date(header)
    assert least <= retry_seconds(text) <= most


@pytest.mark.parametrize(
    ("status", "headers", "seconds"), [(429, ("Retry-After: 9",), 9), (503, ("Retry-After: 9",), 9), (429, (), 60)]
)
def test_the_server_names_a_time(
    status: int, headers: tuple[str, ...], seconds: float, server: FaultServer, policy: Policy
) -> None:
    server.routes["/"] = answer(b"", f"{status} Busy", *headers)
    with pytest.raises(RetryLater) as caught:
        body_of(server.url(), policy)
    assert caught.value.seconds == seconds
    assert server.url() in caught.value.reason


# ------------------------------------------------------------------------------------------------------ redirects


def test_redirects_are_followed(server: FaultServer, policy: Policy) -> None:
    for number, (status, target) in enumerate(
        [
            ("301 M", "1"),
            ("302 F", "/2"),
            ("303 S", server.url("/3#part")),
            ("307 T", "./4"),
            ("308 P", "//127.0.0.1:%d/5"),
        ]
    ):
        target = target.replace("%d", server.place.rpartition(":")[2])
        server.routes[f"/{number}"] = redirect(target, status)
    server.routes["/5"] = answer(PAGE)
    with get(server.url("/0"), policy) as got:
        assert b"".join(got.body) == PAGE
    assert got.url == server.url("/5")
    server.routes |= {"/first": redirect("/0"), "/circle": redirect("/circle")}
    for path in ("/first", "/circle"):
        with pytest.raises(Permanent, match="more than 5 redirects"):
            body_of(server.url(path), policy)


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "javascript:alert(1)",
        "ftp://127.0.0.1/",
        "http://",
        "http://[::1",
        "http://user:pw@127.0.0.1/",
        "",
    ],
)
def test_redirects_to_nowhere(target: str, server: FaultServer, policy: Policy) -> None:
    server.routes["/r"] = redirect(target)
    with pytest.raises(Permanent, match="redirect"):
        body_of(server.url("/r"), policy)
    assert len(server.asked) <= 6


def test_other_hosts_only_if_allowed(server: FaultServer, policy: Policy) -> None:
    elsewhere = server.url("/a").replace("127.0.0.1", "localhost")
    server.routes |= {"/r": redirect(elsewhere), "/a": answer(PAGE)}
    with pytest.raises(Permanent, match=r"localhost.* not in allow_hosts"):
        body_of(server.url("/r"), policy)
    assert server.asked == ["/r"]
    assert body_of(server.url("/r"), replace(policy, hosts=("127.0.0.1", "localhost"))) == PAGE


def test_private_addresses_only_if_allowed(
    server: FaultServer, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.routes["/a"] = answer(PAGE)
    assert body_of(server.url("/a"), policy) == PAGE  # its connection stays open, and must not be used below
    public = replace(policy, allow_private=False, hosts=("127.0.0.1", "public.example"))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(server.place.rpartition(":")[2])))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    for url in (server.url("/a"), server.url("/a").replace("127.0.0.1", "public.example")):
        with pytest.raises(Permanent, match=r"127\.0\.0\.1 is a private address"):
            body_of(url, public)
    assert server.asked == ["/a"]


def test_all_addresses_of_a_name_are_checked(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 80)) for ip in ("93.184.216.34", "169.254.169.254")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(Permanent, match=r"169\.254\.169\.254"):
        body_of("http://two.example/", replace(policy, hosts=("two.example",), allow_private=False))


def test_the_next_address_is_tried(server: FaultServer, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    server.routes["/a"] = answer(PAGE)
    port = int(server.place.rpartition(":")[2])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert body_of(f"http://two.example:{port}/a", replace(policy, hosts=("two.example",))) == PAGE


def test_no_address(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Transient, match="cannot be resolved"):
        body_of("http://none.example/", replace(policy, hosts=("none.example",)))


# --------------------------------------------------------------------------------------------------------- bodies


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize(
    "reply",
    [
        answer(gzip.compress(PAGE), "200 OK", "Content-Encoding: gzip"),
        answer(gzip.compress(PAGE), "200 OK", "Content-Encoding: X-GZIP"),
        answer(zlib.compress(PAGE), "200 OK", "Content-Encoding: deflate"),
        answer(raw_deflate(PAGE), "200 OK", "Content-Encoding: deflate"),
        answer(PAGE, "200 OK", "Content-Encoding: identity"),
        OK + b"Transfer-Encoding: chunked\r\n\r\n44c\r\n" + PAGE + b"\r\n0\r\n\r\n",
        then_close(OK + b"\r\n" + PAGE),
        then_close(b"HTTP/1.0 200 OK\r\n\r\n" + PAGE),
    ],
)
def test_whole_bodies(reply: Reply, server: FaultServer, policy: Policy) -> None:
    server.routes["/"] = reply
    assert body_of(server.url(), policy) == PAGE


BOMB = gzip.compress(bytes(30_000_000))


@pytest.mark.parametrize(
    ("reply", "wanted", "says"),
    [
        (answer(BOMB, "200 OK", "Content-Encoding: gzip"), Permanent, "more than 20000000 bytes"),
        (endless(OK + b"\r\n", bytes(65_536)), Permanent, "more than 20000000 bytes"),
        (
            endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65_536) + b"\r\n"),
            Permanent,
            "more than",
        ),
        (then_close(OK + b"Content-Length: 20000001\r\n\r\n"), Permanent, "20000001 bytes announced"),
        (answer(PAGE, "200 OK", "Content-Encoding: br"), Permanent, "content-encoding 'br'"),
        (answer(gzip.compress(PAGE)[:-5], "200 OK", "Content-Encoding: gzip"), Transient, "ends in the middle"),
        (answer(PAGE, "200 OK", "Content-Encoding: gzip"), Transient, "damaged"),
        (then_close(OK + b"Content-Length: 2000\r\n\r\n" + PAGE), Transient, "IncompleteRead"),
        (then_close(OK + b"Transfer-Encoding: chunked\r\n\r\n44c\r\n" + PAGE[:100]), Transient, "IncompleteRead"),
        (
            then_close(OK + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n"),
            Transient,
            "InvalidChunkLength|IncompleteRead",
        ),
        (then_close(OK + b"Content-Length: 2000"), Transient, "Connection|Incomplete|Error"),
        (then_close(b""), Transient, "RemoteDisconnected"),
        (then_close(b"no HTTP at all\r\n\r\n"), Transient, "BadStatusLine"),
        (then_close(OK + b"X: y\r\n" * 200 + b"\r\n"), Transient, "headers"),
        (endless(OK, b"X: " + b"y" * 1000), Transient, "LineTooLong|header line"),
        (reset(), Transient, "[Rr]eset"),
        (reset(OK + b"Content-Length: 2000\r\n\r\n" + PAGE), Transient, "[Rr]eset|Incomplete"),
    ],
)
def test_bad_bodies(reply: Reply, wanted: type[Exception], says: str, server: FaultServer, policy: Policy) -> None:
    server.routes |= {"/": reply, "/next": answer(PAGE)}
    with pytest.raises(wanted, match=says) as caught:
        body_of(server.url(), policy)
    assert type(caught.value) is wanted
    assert str(caught.value).startswith(server.url())
    assert body_of(server.url("/next"), policy) == PAGE


@pytest.mark.parametrize(
    "reply",
    [
        drip(OK + b"Content-Length: 100000\r\n\r\n", b"x"),
        drip(OK + b"X: ", b"y"),
        drip(b"HTTP/1.1 2", b"0"),
        drip(OK + b"Transfer-Encoding: chunked\r\n\r\n1", b"0"),
        silent(),
        drip(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 60000\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 404 Not Found\r\nContent-Length: 60000\r\n\r\n", b"x"),
    ],
    ids=["body", "header", "status", "chunk", "silent", "redirect", "404"],
)
def test_the_total_deadline(reply: Reply, server: FaultServer, policy: Policy) -> None:
    server.routes |= {"/": reply, "/next": answer(PAGE)}
    started = time.monotonic()
    with pytest.raises((Transient, Gone), match=r"total deadline|404"):
        body_of(server.url(), policy, seconds=0.4)
    assert 0.3 < time.monotonic() - started < 2
    assert body_of(server.url("/next"), policy) == PAGE


def test_silence_ends_before_the_deadline(server: FaultServer, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "READ_SECONDS", 0.2)
    monkeypatch.setattr(fetch, "READ_SECONDS", 0.2)
    server.routes["/"] = silent()
    started = time.monotonic()
    with pytest.raises(Transient, match="ReadTimeout"):
        body_of(server.url(), policy)
    assert time.monotonic() - started < 2


def test_nobody_listens(policy: Policy) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Transient, match="refused"):
        body_of(f"http://127.0.0.1:{port}/", policy)


def test_the_body_of_a_redirect_is_not_read(server: FaultServer, policy: Policy) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: /a\r\n"
    server.routes |= {"/r": endless(head + b"\r\n", bytes(65_536)), "/a": answer(PAGE)}
    assert body_of(server.url("/r"), policy) == PAGE


def test_a_smaller_limit(server: FaultServer, policy: Policy) -> None:
    server.routes["/"] = answer(PAGE)
    with pytest.raises(Permanent):
        body_of(server.url(), policy, limit=len(PAGE) - 1)
    assert body_of(server.url(), policy, limit=len(PAGE)) == PAGE
