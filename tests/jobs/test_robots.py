from __future__ import annotations

import pytest

from jobs.scrape.robots import ROBOTS_BYTES, Robots
from jobs.scrape.sites import Policy
from jobs.scrape.wire import Permanent, Transient
from runner import RetryLater
from tests.jobs.server import FaultServer, Reply, answer, redirect, reset


def robots(server: FaultServer, policy: Policy, reply: Reply | str, max_delay: float = 10.0) -> Robots:
    server.routes["/robots.txt"] = answer(reply.encode()) if isinstance(reply, str) else reply
    return Robots(policy, max_delay)


def test_rules_for_us(server: FaultServer, policy: Policy) -> None:
    rules = (
        "User-agent: *\nDisallow: /\n\nUSER-AGENT: Runner-Scrape\nDisallow: /no\nallow: /no/yes\nDisallow: /*.pdf$\n"
    )
    asked = robots(server, policy, rules)
    paths = ("/", "/no", "/no/yes", "/a.pdf", "/a.pdf?b")
    assert [asked.allow(server.url(path)) for path in paths] == [True, False, True, False, True]
    assert server.asked == ["/robots.txt"], "once, whatever is asked"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418])
def test_no_rules_allow_everything(status: int, server: FaultServer, policy: Policy) -> None:
    asked = robots(server, policy, answer(b"User-agent: *\nDisallow: /", f"{status} No"))
    assert asked.allow(server.url("/a"))
    assert asked.sitemaps(server.url()) == []


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_server_in_trouble_allows_nothing(status: int, server: FaultServer, policy: Policy) -> None:
    with pytest.raises(Transient):
        robots(server, policy, answer(b"", f"{status} No")).allow(server.url("/a"))


def test_no_answer_allows_nothing(server: FaultServer, policy: Policy) -> None:
    with pytest.raises(Transient):
        robots(server, policy, reset()).allow(server.url("/a"))


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_names_a_time(status: int, server: FaultServer, policy: Policy) -> None:
    with pytest.raises(RetryLater) as caught:
        robots(server, policy, answer(b"", f"{status} Busy", "Retry-After: 8")).allow(server.url("/a"))
    assert caught.value.seconds == 8


def test_redirects(server: FaultServer, policy: Policy) -> None:
    server.routes["/rules"] = answer(b"User-agent: *\nDisallow: /no")
    assert not robots(server, policy, redirect("/rules")).allow(server.url("/no"))
    with pytest.raises(Permanent, match="allow_hosts"):
        robots(server, policy, redirect("http://elsewhere.example/robots.txt")).allow(server.url("/no"))


def test_crawl_delay_has_a_cap(server: FaultServer, policy: Policy) -> None:
    rules = "User-agent: *\nCrawl-delay: {}\n"
    for said, delay in (("2.5", 2.5), ("3600", 10.0), ("soon", 0.0), ("0", 0.0)):
        asked = robots(server, policy, rules.format(said))
        assert asked.delay(server.url("/a")) == delay
        assert asked.delays() == ({f"host:{server.place}": delay} if delay else {})


def test_sitemaps_in_any_case(server: FaultServer, policy: Policy) -> None:
    asked = robots(
        server, policy, "\ufeffSITEMAP: http://a/1\nsitemap:http://a/2\nUser-agent: x\nSiteMap : /3 # three\n"
    )
    assert asked.sitemaps(server.url()) == ["http://a/1", "http://a/2", "/3"]


@pytest.mark.parametrize("data", [b"\xff\xfe\0\1", b"<html><p>User-agent: *", b"Disallow: /", b"", b"\n" * 1000])
def test_what_is_no_rules(data: bytes, server: FaultServer, policy: Policy) -> None:
    assert robots(server, policy, answer(data)).allow(server.url("/a"))


def test_a_long_file_is_read_to_its_limit(server: FaultServer, policy: Policy) -> None:
    start = b"User-agent: *\nDisallow: /no\n"
    data = start + b"Disallow: /a/very/long/path\n" * (ROBOTS_BYTES // 28 + 1)
    asked = robots(server, policy, answer(data))
    assert not asked.allow(server.url("/no"))
    assert asked.allow(server.url("/a/very/short"))
