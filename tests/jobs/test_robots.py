"""The rules that are obeyed. What a server may say in their place, the table in tests/jobs/faults/ says."""

from __future__ import annotations

import pytest
from protego import Protego

from jobs.scrape.robots import ROBOTS_BYTES, Robots, for_us
from jobs.scrape.sites import ROBOT, Policy
from tests.jobs.server import FaultServer, Reply, answer


def robots(server: FaultServer, policy: Policy, reply: Reply | str, max_delay: float = 10.0) -> Robots:
    server.routes["/robots.txt"] = answer(reply.encode()) if isinstance(reply, str) else reply
    return Robots(policy, max_delay, [server.url()])


def test_rules_for_us(server: FaultServer, policy: Policy) -> None:
    rules = (
        "User-agent: *\nDisallow: /\n\nUSER-AGENT: Runner-Scrape\nDisallow: /no\nallow: /no/yes\nDisallow: /*.pdf$\n"
    )
    asked = robots(server, policy, rules)
    paths = ("/", "/no", "/no/yes", "/a.pdf", "/a.pdf?b")
    assert [asked.allow(server.url(path)) for path in paths] == [True, False, True, False, True]
    assert server.asked == ["/robots.txt"], "once, whatever is asked"


def test_crawl_delay_has_a_cap(server: FaultServer, policy: Policy) -> None:
    rules = "User-agent: *\nCrawl-delay: {}\n"
    for said, delay in (("2.5", 2.5), ("3600", 10.0), ("0", 0.0), ("0.0001", 0.0)):
        asked = robots(server, policy, rules.format(said))
        assert asked.delay(server.url("/a")) == delay
        assert asked.delays() == ({f"host:{server.place}": delay} if delay else {})


def test_sitemaps_in_any_case(server: FaultServer, policy: Policy) -> None:
    asked = robots(
        server, policy, "\ufeffSITEMAP: http://a/1\nsitemap:http://a/2\nUser-agent: x\nSiteMap : /3 # three\n"
    )
    assert asked.sitemaps(server.url()) == ["http://a/1", "http://a/2", "/3"]


def test_a_long_file_is_read_to_its_limit(server: FaultServer, policy: Policy) -> None:
    start = b"User-agent: *\nDisallow: /no\n"
    data = start + b"Disallow: /a/very/long/path\n" * (ROBOTS_BYTES // 28 + 1)
    asked = robots(server, policy, answer(data))
    assert not asked.allow(server.url("/no"))
    assert asked.allow(server.url("/a/very/short"))


@pytest.mark.parametrize("data", [b"", b"\n" * 1000])
def test_no_rules(data: bytes, server: FaultServer, policy: Policy) -> None:
    assert robots(server, policy, answer(data)).allow(server.url("/a"))


@pytest.mark.parametrize(
    "names",
    [
        *(
            ("*",),
            ("a", "*"),
            ("Runner-Scrape",),
            ("runner-scrape*",),
            ("Runner",),
            ("run",),
            ("a", "runner-scrape", "b"),
        ),
        *(("Runner-Scrape # us",), ("a",), ("scrape",), ("runner-scrapes",), ("*bot*",), ("", " "), ("",), ("**x",)),
    ],
)
@pytest.mark.parametrize("field", ["User-agent:", "USERAGENT :", "user agent:", "User-agent", " User agent "])
def test_one_name_for_all_others_changes_no_rule(field: str, names: tuple[str, ...]) -> None:
    text = "".join(f"{field} {name}\n" for name in names) + "Disallow: /no\n\nUser-agent: else\nDisallow: /yes\n"
    for path in ("http://a/no", "http://a/yes", "http://a/"):
        assert Protego.parse(for_us(text)).can_fetch(path, ROBOT) == Protego.parse(text).can_fetch(path, ROBOT)
