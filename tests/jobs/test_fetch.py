"""What is no fault. How answers that are end, the table in tests/jobs/faults/ says."""

from __future__ import annotations

import socket
import threading
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from jobs.scrape.fetch import get, retry_seconds
from jobs.scrape.sites import Policy
from jobs.scrape.wire import FetchError, Gone, Permanent
from tests.jobs.server import OK, FaultServer, answer, redirect, then_close

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


def date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("0", 1, 1), (90, 60, 90), (-50, 1, 1), (1e6, 3600, 3600), ("", 60, 60), ("1.5", 60, 60)],
)
def test_retry_after(header: str | float, least: float, most: float) -> None:
    """A number stands for the date that is so many seconds away."""
    text = header if isinstance(header, str) else date(header)
    assert least <= retry_seconds(text) <= most


@pytest.mark.parametrize("status", [404, 403, 500])
def test_who_fails_knows_what_the_server_said(status: int, server: FaultServer, policy: Policy) -> None:
    server.routes |= {"/": answer(b"", f"{status} No"), "/none": then_close(b"")}
    for path, said in (("/", status), ("/none", None)):
        with pytest.raises(FetchError, match=server.url(path)) as caught:
            body_of(server.url(path), policy)
        assert caught.value.status == said


def test_203_is_an_answer(server: FaultServer, policy: Policy) -> None:
    server.routes["/"] = answer(PAGE, "203 Non-Authoritative")
    assert body_of(server.url(), policy) == PAGE


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


@pytest.mark.parametrize(("data", "coding"), [(zlib.compress(PAGE), "deflate"), (PAGE, "Identity"), (PAGE, "")])
def test_whole_bodies(data: bytes, coding: str, server: FaultServer, policy: Policy) -> None:
    server.routes["/"] = answer(data, "200 OK", f"Content-Encoding: {coding}")
    assert body_of(server.url(), policy) == PAGE


def test_a_smaller_limit(server: FaultServer, policy: Policy) -> None:
    server.routes["/"] = answer(PAGE)
    with pytest.raises(Permanent):
        body_of(server.url(), policy, limit=len(PAGE) - 1)
    assert body_of(server.url(), policy, limit=len(PAGE)) == PAGE


def test_a_body_may_be_cut_at_the_limit(server: FaultServer, policy: Policy) -> None:
    server.routes |= {
        "/": answer(PAGE),
        "/long": then_close(OK + b"Content-Length: 9999999999\r\n\r\n" + bytes(200_000)),
    }
    assert body_of(server.url(), policy, limit=len(PAGE), cut=True) == PAGE
    assert 100_000 < len(body_of(server.url("/long"), policy, limit=100_000, cut=True)) < 200_000
