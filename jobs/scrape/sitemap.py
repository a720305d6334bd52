"""The addresses of a site: from its sitemaps, and from sitemaps that these name.

What a file is, its content decides: an index, a list of pages, RSS, Atom or plain text; gzipped or not. Read as a
stream, in bounded memory. An address that cannot be used is skipped and counted; a sitemap that cannot be read is
told of, and the others are read. Trouble that may pass (Transient, RetryLater) ends the reading: half of a site's
addresses must not look like all of them.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any
from urllib.parse import urljoin

from lxml import etree

from jobs.scrape.fetch import get
from jobs.scrape.robots import Robots
from jobs.scrape.sites import Policy
from jobs.scrape.urls import host_of, normalise
from jobs.scrape.wire import Permanent, bounded, inflate

SITEMAP_BYTES = 50_000_000  # of one file, on the wire and inflated; the protocol's own limits
SITEMAP_URLS = 50_000
SITEMAP_SECONDS = 300.0
SITE_URLS = 500_000
SITE_SITEMAPS = 2_000
DEPTH = 5  # of indexes within indexes
MEMORY = 2_000_000  # bytes of a file beyond which it goes to disk

ROOTS = {"urlset": "url", "sitemapindex": "sitemap", "rss": "item", "RDF": "item", "feed": "entry"}
OTHERS = 100_000  # elements in a row that are no entry: they stay in memory
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
GUESSES = ("sitemap.xml", "sitemap_index.xml")
XML_STARTS = (b"<", b"\xff\xfe", b"\xfe\xff")


class NoSitemap(ValueError):
    """The file is none."""


@dataclass
class Found:
    """Addresses in the order they were met, each with its lastmod or ""; and what became of the rest."""

    pages: dict[str, str] = field(default_factory=dict)
    sitemaps: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Map:
    url: str
    depth: int
    guess: bool = False  # nobody named it: that it is not there is no problem


def collect(start: Iterable[str], policy: Policy, robots: Robots) -> Found:
    """All pages that the sitemaps of `start` name: addresses of sites (they end in /) or of sitemaps."""
    found, met = Found(), set[str]()
    waiting = deque(first for url in start for first in _first(url, policy, robots, found))
    while waiting:
        one = waiting.popleft()
        if one.url in met:
            continue
        if len(met) >= SITE_SITEMAPS:
            found.problems.append(f"more than {SITE_SITEMAPS} sitemaps: the rest was not read")
            break
        gap = max(robots.delay(one.url), 1 / policy.rate if policy.rate else 0.0)
        if met:  # between two sitemaps as between two pages; here, because the runner counts all of them as one job
            time.sleep(gap)
        met.add(one.url)
        try:
            for child in _read(one, policy, robots, found, met):
                if one.depth >= DEPTH:
                    found.skipped["too deep"] += 1
                else:
                    waiting.append(_Map(child, one.depth + 1))
        except (Permanent, NoSitemap) as error:
            if not one.guess:
                found.problems.append(str(error))
        else:
            found.sitemaps += 1
    return found


def _first(start: str, policy: Policy, robots: Robots, found: Found) -> Iterator[_Map]:
    if not start.endswith("/"):
        yield _Map(start, 1)
        return
    for named in robots.sitemaps(start):
        url = _usable(urljoin(start, named), policy, found)
        if url:
            yield _Map(url, 1)
        else:
            found.problems.append(f"{named}: robots.txt names this sitemap, but we may not go there (allow_hosts?)")
    for name in GUESSES:
        yield _Map(urljoin(start, name), 1, guess=True)


def _read(one: _Map, policy: Policy, robots: Robots, found: Found, met: set[str]) -> Iterator[str]:
    """Adds the pages of one sitemap to `found`; yields the sitemaps that it names."""
    with tempfile.SpooledTemporaryFile(max_size=MEMORY) as file:
        with get(one.url, policy, limit=SITEMAP_BYTES, seconds=SITEMAP_SECONDS) as answer:
            if answer.url != one.url and answer.url in met:
                return
            met.add(answer.url)
            for piece in unzipped(answer.body, one.url):
                file.write(piece)
        file.seek(0)
        for number, (is_map, loc, lastmod) in enumerate(entries(file, one.url)):
            if number >= SITEMAP_URLS:
                found.problems.append(f"{one.url}: more than {SITEMAP_URLS} addresses: the rest was not read")
                return
            url = _usable(loc, policy, found)
            if url is None:
                continue
            if is_map:
                yield url
            else:
                _add_page(url, lastmod, robots, found)


def _add_page(url: str, lastmod: str, robots: Robots, found: Found) -> None:
    if url in found.pages:
        found.skipped["duplicate"] += 1
        found.pages[url] = found.pages[url] or lastmod
    elif not robots.allow(url):
        found.skipped["disallowed by robots.txt"] += 1
    elif len(found.pages) >= SITE_URLS:
        found.skipped["over the limit of a site"] += 1
    else:
        found.pages[url] = lastmod


def _usable(loc: str, policy: Policy, found: Found) -> str | None:
    """The normalised address; None, and counted, for one that cannot be used."""
    url = normalise(loc)
    if url and host_of(url) in policy.hosts:
        return url
    if not loc.strip():
        why = "empty"
    elif not SCHEME.match(loc.strip()):
        why = "relative"
    elif url:
        why = "off-site"
    else:
        why = "no http address" if not loc.strip().lower().startswith(("http:", "https:")) else "malformed"
    found.skipped[why] += 1
    return None


# ------------------------------------------------------------------------------------------------------ one file


def unzipped(pieces: Iterator[bytes], url: str) -> Iterator[bytes]:
    """The same, inflated if its first bytes say gzip, whatever name and headers say."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) > 1:
            break
    whole = chain((head,), pieces)
    return bounded(inflate(whole, url), SITEMAP_BYTES, url) if head.startswith(b"\x1f\x8b") else whole


def entries(file: IO[bytes], url: str) -> Iterator[tuple[bool, str, str]]:
    """(is a sitemap, location, lastmod) of each entry, as written. Raises NoSitemap, also when the XML breaks off."""
    head = file.read(1000)
    start = len(head) - len(head.lstrip(b"\xef\xbb\xbf \t\r\n"))  # XML allows nothing before its declaration
    file.seek(start)
    if not head[start:].strip():
        raise NoSitemap(f"{url}: an empty file")
    return _xml_entries(file, url) if head[start:].startswith(XML_STARTS) else _text_entries(file, url)


def _text_entries(file: IO[bytes], url: str) -> Iterator[tuple[bool, str, str]]:
    """One address a line. A file whose first line is none is something else."""
    for number, line in enumerate(file):
        text = line[:4096].decode("utf-8", "replace").strip()
        if number == 0 and not text.lower().startswith(("http://", "https://")):
            raise NoSitemap(f"{url}: neither XML nor a list of addresses")
        if text:
            yield False, text, ""


def _xml_entries(file: IO[bytes], url: str) -> Iterator[tuple[bool, str, str]]:
    begin, others = file.tell(), 0
    try:
        root = _name(next(_parser(file, "start"))[1])
        if root not in ROOTS:
            hint = " (the address of a site ends in /)" if root.lower() == "html" else ""
            raise NoSitemap(f"{url}: <{root}> begins no sitemap{hint}")
        file.seek(begin)
        for _, element in _parser(file, "end"):
            others += 1
            if _name(element) == ROOTS[root]:
                yield root == "sitemapindex", *_entry(element)
                _forget(element)
                others = 0
            elif others > OTHERS:
                raise NoSitemap(f"{url}: {others} elements that are no entry")
    except etree.XMLSyntaxError as error:
        raise NoSitemap(f"{url}: not well-formed: {error}") from error


def _parser(file: IO[bytes], event: str) -> Iterator[tuple[str, Any]]:
    safe = {"resolve_entities": False, "load_dtd": False, "no_network": True, "huge_tree": False}
    return iter(etree.iterparse(file, events=(event,), remove_comments=True, remove_pis=True, **safe))


def _name(element: Any) -> str:
    name: str = element.tag.rpartition("}")[2]
    return name


def _entry(element: Any) -> tuple[str, str]:
    """Location and lastmod. Only children of the entry's own namespace count: an image's loc is no page."""
    namespace = element.tag.rpartition("}")[0]
    loc = lastmod = ""
    for child in element:
        if not isinstance(child.tag, str) or child.tag.rpartition("}")[0] != namespace:
            continue
        name = _name(child)
        # With entities left unresolved, what has children is not a plain text: a part of it would be another address.
        text = " ".join((child.text or "").split()) if len(child) == 0 else ""
        if name == "loc" or (name == "link" and text and not loc):
            loc = text
        elif name == "link" and child.get("rel", "alternate") == "alternate" and not loc:
            loc = child.get("href", "").strip()
        elif name in ("lastmod", "updated", "pubDate"):
            lastmod = text[:64]
    return loc, lastmod


def _forget(element: Any) -> None:
    """An entry that was read must not stay in memory: neither it nor, in its parent, its place."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]
