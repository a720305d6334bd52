"""Which sitemaps are read, and what they hold. What goes wrong, the table in tests/jobs/faults/ says."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace

import pytest

from jobs.scrape.entries import NoSitemap, entries
from jobs.scrape.robots import Robots
from jobs.scrape.sitemap import Found, collect
from jobs.scrape.sites import Policy
from tests.jobs.server import FaultServer, answer

NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*locs: str, more: str = "") -> bytes:
    return f"<urlset {NS}>{''.join(f'<url><loc>{loc}</loc>{more}</url>' for loc in locs)}</urlset>".encode()


def index(*locs: str) -> bytes:
    return (
        f"<sitemapindex {NS}>{''.join(f'<sitemap><loc>{loc}</loc></sitemap>' for loc in locs)}</sitemapindex>".encode()
    )


def found(server: FaultServer, policy: Policy, *start: str) -> Found:
    starts = [server.url(path) for path in start or ("/",)]
    return collect(starts, policy, Robots(policy, 10.0, starts))


def paths(server: FaultServer, pages: Iterable[str]) -> list[str]:
    return [page.removeprefix(server.url("")) for page in pages]


# ----------------------------------------------------------------------------------------------------- which files


def test_robots_and_the_usual_places(server: FaultServer, policy: Policy) -> None:
    robots = f"User-agent: *\nDisallow: /no\nsitemap: /maps/1\nSITEMAP: {server.url('/maps/2')}\nSitemap: http://b.example/\n"
    server.routes |= {
        "/robots.txt": answer(robots.encode()),
        "/maps/1": answer(urlset(server.url("/1"), server.url("/no/1"))),
        "/maps/2": answer(urlset(server.url("/2"), server.url("/1"))),
        "/sitemap.xml": answer(urlset(server.url("/3"))),
        "/sitemap_index.xml": answer(index(server.url("/maps/3"))),
        "/maps/3": answer(urlset(server.url("/4"))),
    }
    got = found(server, policy)
    assert paths(server, got.pages) == ["/1", "/2", "/3", "/4"]
    assert len(got.sitemaps) == 5
    assert got.skipped == {"off-site": 1, "disallowed by robots.txt": 1, "duplicate": 1}
    assert got.problems == ["http://b.example/: robots.txt names this sitemap, but we may not go there (allow_hosts?)"]


def test_start_may_be_a_folder_or_a_sitemap(server: FaultServer, policy: Policy) -> None:
    server.routes |= {
        "/docs/sitemap.xml": answer(urlset(server.url("/1"))),
        "/map?page=1": answer(urlset(server.url("/2"))),
    }
    got = found(server, policy, "/docs/", "/map?page=1")
    assert paths(server, got.pages) == ["/1", "/2"]
    assert server.asked == ["/robots.txt", "/docs/sitemap.xml", "/docs/sitemap_index.xml", "/map?page=1"]


def test_politeness_between_sitemaps(server: FaultServer, policy: Policy, slept: list[float]) -> None:
    server.routes["/robots.txt"] = answer(b"User-agent: *\nCrawl-delay: 3\n")
    found(server, policy)
    found(server, replace(policy, rate=0.1))
    assert slept == [3.0] * 3 + [10.0] * 3, "behind robots.txt, between the two guesses, before the first page"


# ----------------------------------------------------------------------------------------------------- what they hold


def test_hosts_that_are_allowed(server: FaultServer, policy: Policy) -> None:
    other = server.url("/1").replace("127.0.0.1", "localhost")
    server.routes |= {"/map": answer(urlset(other)), "/robots.txt": answer(b"User-agent: *\nDisallow: /2")}
    wider = replace(policy, hosts=("127.0.0.1", "localhost"))
    assert list(found(server, wider, "/map").pages) == [other]
    assert server.asked == ["/robots.txt", "/map", "/robots.txt"], "the page's host has rules of its own"


def entry_list(data: bytes) -> list[tuple[bool, str, str]]:
    return list(entries(io.BytesIO(data), "u"))


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (urlset("a", more="<lastmod>x</lastmod>"), [(False, "a", "x")]),
        (b"<urlset><url><loc>a</loc></url></urlset>", [(False, "a", "")]),
        (b"<s:urlset xmlns:s='q'><s:url><s:loc>a</s:loc></s:url></s:urlset>", [(False, "a", "")]),
        (index("a", "b"), [(True, "a", ""), (True, "b", "")]),
        (b"\xef\xbb\xbf \n<?xml version='1.0'?><urlset><url><loc>a&amp;b</loc></url></urlset>", [(False, "a&b", "")]),
        (b"<urlset><url><loc><![CDATA[a&b]]></loc></url></urlset>", [(False, "a&b", "")]),
        (b"<urlset><!-- x --><url><!-- y --><loc>a<!-- z -->b</loc></url></urlset>", [(False, "ab", "")]),
        (
            '<?xml version="1.0" encoding="UTF-16"?><urlset><url><loc>é</loc></url></urlset>'.encode("utf-16"),
            [(False, "é", "")],
        ),
        (
            b"<urlset xmlns='m' xmlns:i='i' xmlns:x='x'><url><i:image><i:loc>no</i:loc></i:image><i:loc>no</i:loc>"
            b"<loc>a</loc><x:link rel='alternate' hreflang='de' href='no'/></url></urlset>",
            [(False, "a", "")],
        ),
        (
            b"<rss><channel><link>no</link><item><title>t</title><link>a</link><pubDate>d</pubDate></item></channel></rss>",
            [(False, "a", "d")],
        ),
        (
            b"<feed xmlns='http://www.w3.org/2005/Atom'><link href='no'/><entry><link rel='edit' href='no'/>"
            b"<link href='a'/><updated>d</updated></entry><entry><link rel='alternate' href='b'/></entry></feed>",
            [(False, "a", "d"), (False, "b", "")],
        ),
        (
            b"<r:RDF xmlns:r='r' xmlns='s'><channel><link>no</link></channel><item><link>a</link></item></r:RDF>",
            [(False, "a", "")],
        ),
        (b"http://a/1\r\n\r\nhttp://a/2\n", [(False, "http://a/1", ""), (False, "http://a/2", "")]),
        (b"\xef\xbb\xbfhttp://a/\xc3\xa9", [(False, "http://a/é", "")]),
        (b"<urlset/>", []),
        (b"<!DOCTYPE urlset SYSTEM 'x'><urlset><url><loc>a&e;b</loc></url></urlset>", [(False, "", "")]),
        (b"<urlset><url><loc>a<b>c</b></loc><lastmod>x</lastmod></url></urlset>", [(False, "", "x")]),
        (b"<urlset><url><loc>a</loc><url><loc>b</loc></url></url></urlset>", [(False, "a", "")]),
    ],
)
def test_forms(data: bytes, wanted: list[tuple[bool, str, str]]) -> None:
    assert entry_list(data) == wanted


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            b"<!DOCTYPE u [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><urlset><url><loc>&e;</loc></url></urlset>",
            "declares",
        ),
        (b"<!DOCTYPE u [<!ENTITY % e SYSTEM 'http://127.0.0.1/'>%e;]><urlset/>", "declares"),
        (b"<urlset><url a='" + b"x" * 700_000 + b"'/></urlset>", "a tag of more than"),
        (b"<urlset>" + b"".join(b"<n%d/>" % n for n in range(11_000)) + b"</urlset>", "names of tags"),
        (b"<urlset>" + b"<url>" * 200, "within one another"),
        (b"<urlset>" + b"<url>" * 20, "not well-formed"),
    ],
)
def test_hostile_xml(data: bytes, says: str) -> None:
    with pytest.raises(NoSitemap, match=says):
        entry_list(data)


def test_memory_does_not_grow_with_the_entries() -> None:
    code = """
import io, resource, sys
from jobs.scrape.entries import entries
locs = "".join(f"<url><loc>http://a.example/{n}</loc><priority>1</priority></url>" for n in range(int(sys.argv[1])))
data = f"<urlset>{locs}</urlset>".encode()
del locs
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = sum(1 for _ in entries(io.BytesIO(data), "u"))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code, "300000"], capture_output=True, text=True, check=True)
    count, kilobytes = map(int, done.stdout.split())
    assert count == 300_000
    assert kilobytes < 10_000, "the tree of them all would take some 200 MB; 1 kB blocks of ru_maxrss"
