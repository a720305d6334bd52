from __future__ import annotations

import contextlib
import gzip
import io
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace

import pytest

from jobs.scrape import sitemap
from jobs.scrape.robots import Robots
from jobs.scrape.sitemap import Found, NoSitemap, collect, entries
from jobs.scrape.sites import Policy
from jobs.scrape.wire import Transient
from tests.jobs.server import FaultServer, answer, redirect

NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*locs: str, more: str = "") -> bytes:
    return f"<urlset {NS}>{''.join(f'<url><loc>{loc}</loc>{more}</url>' for loc in locs)}</urlset>".encode()


def index(*locs: str) -> bytes:
    return (
        f"<sitemapindex {NS}>{''.join(f'<sitemap><loc>{loc}</loc></sitemap>' for loc in locs)}</sitemapindex>".encode()
    )


def found(server: FaultServer, policy: Policy, *start: str) -> Found:
    starts = [server.url(path) for path in start or ("/",)]
    return collect(starts, policy, Robots(policy, 10.0))


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
    assert got.sitemaps == 5
    assert got.skipped == {"off-site": 1, "disallowed by robots.txt": 1, "duplicate": 1}
    assert got.problems == ["http://b.example/: robots.txt names this sitemap, but we may not go there (allow_hosts?)"]


def test_a_guess_that_fails_is_no_problem(server: FaultServer, policy: Policy) -> None:
    server.routes |= {
        "/sitemap.xml": answer(urlset(server.url("/1"))),
        "/sitemap_index.xml": answer(b"<html>Welcome!</html>"),
    }
    got = found(server, policy)
    assert (paths(server, got.pages), got.problems, got.sitemaps) == (["/1"], [], 1)


def test_start_may_be_a_folder_or_a_sitemap(server: FaultServer, policy: Policy) -> None:
    server.routes |= {
        "/docs/sitemap.xml": answer(urlset(server.url("/1"))),
        "/map?page=1": answer(urlset(server.url("/2"))),
    }
    got = found(server, policy, "/docs/", "/map?page=1")
    assert paths(server, got.pages) == ["/1", "/2"]
    assert server.asked == ["/robots.txt", "/docs/sitemap.xml", "/docs/sitemap_index.xml", "/map?page=1"]


def test_one_bad_sitemap_does_not_hide_the_others(server: FaultServer, policy: Policy) -> None:
    maps = {
        "/gone": answer(b"", "404 Not Found"),
        "/page": answer(b"<!DOCTYPE html><html><body><p>Hi</body></html>"),
        "/other": answer(b"<other><url><loc>http://x/</loc></url></other>"),
        "/empty": answer(b""),
        "/words": answer(b"no address\n"),
        "/cut": answer(urlset(server.url("/before"))[:-9]),
        "/good": answer(urlset(server.url("/1"))),
    }
    server.routes |= maps | {"/sitemap.xml": answer(index(*map(server.url, maps)))}
    got = found(server, policy)
    assert paths(server, got.pages) == ["/before", "/1"]
    said = ["status 404", "the address of a site ends in /", "<other> begins no sitemap", "an empty file"]
    said += ["neither XML nor a list", "not well-formed"]
    assert len(got.problems) == len(said)
    for problem, part in zip(got.problems, said, strict=True):
        assert part in problem


def test_passing_trouble_ends_it(server: FaultServer, policy: Policy) -> None:
    server.routes |= {
        "/sitemap.xml": answer(index(server.url("/1"), server.url("/2"))),
        "/1": answer(urlset(server.url("/a"))),
        "/2": answer(b"", "502 Bad Gateway"),
    }
    with pytest.raises(Transient):
        found(server, policy)


def test_circles_and_depth(server: FaultServer, policy: Policy) -> None:
    for level in range(1, 8):
        server.routes[f"/{level}"] = answer(
            index(server.url("/1"), server.url(f"/{level}"), server.url(f"/{level + 1}"))
        )
    server.routes["/5"] = answer(index(server.url("/6")))
    server.routes["/sitemap.xml"] = redirect("/1")
    server.routes["/sitemap_index.xml"] = redirect("/1")
    got = found(server, policy, "/1")
    assert server.asked == ["/robots.txt", "/1", "/2", "/3", "/4", "/5"]
    assert got.skipped == {"too deep": 1}
    server.asked.clear()
    found(server, policy)
    assert server.asked.count("/1") == 2, "the second redirect leads to what was read: it is not read again"
    assert server.asked.count("/2") == 1


def test_limits(server: FaultServer, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemap, "SITEMAP_URLS", 3)
    monkeypatch.setattr(sitemap, "SITE_URLS", 5)
    monkeypatch.setattr(sitemap, "SITE_SITEMAPS", 4)
    for number in range(9):
        server.routes[f"/{number}"] = answer(urlset(*(server.url(f"/{number}/{page}") for page in range(4))))
    server.routes["/sitemap.xml"] = answer(index(*(server.url(f"/{number}") for number in range(3))))
    server.routes["/sitemap_index.xml"] = answer(index(*(server.url(f"/{number}") for number in range(3, 6))))
    got = found(server, policy)
    assert paths(server, got.pages) == ["/0/0", "/0/1", "/0/2", "/1/0", "/1/1"]
    assert got.skipped == {"over the limit of a site": 1}
    assert [problem.partition("more than")[2] for problem in got.problems] == [
        *[" 3 addresses: the rest was not read"] * 2,
        " 4 sitemaps: the rest was not read",
    ]


def test_a_bomb(server: FaultServer, policy: Policy) -> None:
    server.routes["/sitemap.xml"] = answer(gzip.compress(urlset(server.url("/1")) + b" " * 60_000_000))
    tracemalloc.start()
    got = found(server, policy)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not got.pages
    assert peak < 20_000_000


def test_politeness_between_sitemaps(server: FaultServer, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("jobs.scrape.sitemap.time.sleep", pauses.append)
    server.routes["/robots.txt"] = answer(b"User-agent: *\nCrawl-delay: 3\n")
    found(server, policy)
    found(server, replace(policy, rate=0.1))
    assert pauses == [3.0, 10.0]


# ----------------------------------------------------------------------------------------------------- what they hold


def test_what_is_skipped_is_counted(server: FaultServer, policy: Policy) -> None:
    locs = [
        "",
        " ",
        "/relative",
        "relative.html",
        "//127.0.0.1/a",
        "javascript:alert(1)",
        "mailto:x@y",
        "file:///etc/passwd",
    ]
    locs += [
        "http://b.example/",
        "http://[",
        "https://127.0.0.1:x/",
        server.url("/1"),
        server.url("/1#part"),
        f" {server.url('/2')}\n",
    ]
    body = urlset(*locs, more="<lastmod> 2026-11-01 </lastmod>").replace(b"</urlset>", b"<url/></urlset>")
    server.routes["/map"] = answer(body)
    got = found(server, policy, "/map")
    assert got.pages == {server.url("/1"): "2026-11-01", server.url("/2"): "2026-11-01"}
    assert got.skipped == {
        "empty": 3,
        "relative": 3,
        "no http address": 3,
        "off-site": 1,
        "malformed": 2,
        "duplicate": 1,
    }
    assert got.problems == []


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
        (b"<!DOCTYPE urlset [<!ENTITY e 'x'>]><urlset><url><loc>a&e;b</loc></url></urlset>", [(False, "", "")]),
    ],
)
def test_forms(data: bytes, wanted: list[tuple[bool, str, str]]) -> None:
    assert entry_list(data) == wanted


def test_hostile_xml() -> None:
    outside = b"<!DOCTYPE u [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><urlset><url><loc>&e;</loc></url></urlset>"
    assert entry_list(outside) == [(False, "", "")]
    laughs = b"".join(b"<!ENTITY e%d '%s'>" % (n + 1, b"&e%d;" % n * 10) for n in range(9))
    bomb = b"<!DOCTYPE u [<!ENTITY e0 'ha'>" + laughs + b"]><urlset><url><loc>&e9;</loc></url></urlset>"
    with contextlib.suppress(NoSitemap):  # the parser may as well refuse it
        assert entry_list(bomb) == [(False, "", "")]
    with pytest.raises(NoSitemap, match="no entry"):
        entry_list(b"<urlset>" + b"<x/>" * 200_000 + b"</urlset>")
    with pytest.raises(NoSitemap, match="not well-formed"):
        entry_list(b"<urlset>" + b"<url>" * 5_000)


def test_memory_does_not_grow_with_the_entries() -> None:
    code = """
import io, resource, sys
from jobs.scrape.sitemap import entries
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
