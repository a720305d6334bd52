"""The addresses of a site: from its sitemaps, and from sitemaps that these name.

An address that cannot be used is skipped and counted; a sitemap that cannot be read is told of, and the others are
read. Trouble that may pass (Transient, RetryLater) ends the reading: half of a site's addresses must not look like
all of them. Only a sitemap that nobody has named may be in trouble for good, if there are others.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from urllib.parse import urljoin

from jobs.scrape.entries import IsPage, NoSitemap, entries
from jobs.scrape.fetch import get
from jobs.scrape.robots import Robots
from jobs.scrape.sites import Policy
from jobs.scrape.urls import host_of, normalise
from jobs.scrape.wire import Damaged, Permanent, Transient, bounded, inflate

SITEMAP_BYTES = 50_000_000  # of one file, on the wire and inflated; the protocol's own limits
SITEMAP_URLS = 50_000
SITEMAP_SECONDS = 300.0
SITE_URLS = 400_000  # each brings two jobs, and the runner takes a million of one finder
SITE_LETTERS = 50_000_000  # of all these addresses
SITE_SITEMAPS = 2_000
SITE_SECONDS = 6 * 3600.0  # for all of them
DEPTH = 5  # of indexes within indexes
MEMORY = 2_000_000  # bytes of a file beyond which it goes to disk

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
GUESSES = ("sitemap.xml", "sitemap_index.xml")


@dataclass
class Found:
    """Addresses in the order they were met, each with its lastmod or ""; and what became of the rest."""

    pages: dict[str, str] = field(default_factory=dict)
    sitemaps: list[str] = field(default_factory=list)  # that were read to their end
    unread: list[str] = field(default_factory=list)  # that were not
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)  # where nobody answers, also not who would tell what is allowed
    letters: int = 0  # of all these addresses


@dataclass(frozen=True)
class _Map:
    url: str
    depth: int
    guess: bool = False  # nobody named it: that it is not there is no problem, unless nothing is


def collect(start: Iterable[str], policy: Policy, robots: Robots) -> Found:
    """All pages that the sitemaps of `start` name: addresses of sites (they end in /) or of sitemaps."""
    found, met, named = Found(), set[str](), set[str]()
    not_there: list[str] = []
    trouble: Transient | None = None
    waiting = deque[_Map]()
    until = time.monotonic() + SITE_SECONDS
    over = f"more than {SITE_SITEMAPS} sitemaps: the rest was not read"

    def add(one: _Map) -> bool:
        if one.url not in named and len(named) >= SITE_SITEMAPS:
            found.problems += [] if over in found.problems else [over]
            return False
        if one.url not in named:
            named.add(one.url)
            waiting.append(one)
        return True

    all(add(one) for url in start for one in _first(url, policy, robots, found))
    while waiting:
        one = waiting.popleft()
        if one.url in met:  # a redirect has led there
            continue
        try:
            _check_time(one.url, until)
            _pause(one.url, policy, robots)
            if robots.is_silent(one.url):
                raise NoSitemap(f"{one.url}: not read, for lack of its robots.txt")
            met.add(one.url)
            for child in _read(one, policy, robots, found, met, until):
                if one.depth >= DEPTH:
                    found.skipped["too deep"] += 1
                elif not add(_Map(child, one.depth + 1)):
                    break
        except Transient as error:
            if not one.guess or error.status is None:
                raise
            trouble = error
            found.unread.append(one.url)
            found.problems.append(str(error))
        except (Permanent, NoSitemap) as error:
            found.unread.append(one.url)
            guessed = one.guess and (isinstance(error, IsPage) or getattr(error, "status", None) is not None)
            (not_there if guessed else found.problems).append(str(error))
        else:
            found.sitemaps.append(one.url)
    if trouble and not found.pages:
        raise trouble
    if not found.sitemaps:
        found.problems += not_there
    found.problems += map(str, robots.silent.values())
    for url in met:
        _pause(url, policy, robots)  # before the first page
        break
    return found


def _check_time(url: str, until: float) -> None:
    if time.monotonic() > until:
        raise NoSitemap(f"{url}: not read to its end: all sitemaps of a site may take {SITE_SECONDS:g} s")


def _pause(url: str, policy: Policy, robots: Robots) -> None:
    """Between two sitemaps as between two pages: the runner, which sees to that, counts all of them as one job."""
    gap = max(robots.delay(url), 1 / policy.rate if policy.rate else 0.0)
    if gap:
        time.sleep(gap)


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


def _read(one: _Map, policy: Policy, robots: Robots, found: Found, met: set[str], until: float) -> Iterator[str]:
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
            _check_time(one.url, until)
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
    elif not (silent := robots.is_silent(url)) and not robots.allow(url):
        found.skipped["disallowed by robots.txt"] += 1
    elif len(found.pages) + len(found.silent) >= SITE_URLS or found.letters + len(url) > SITE_LETTERS:
        found.skipped["over the limit of a site"] += 1
    elif silent:
        found.skipped["without a robots.txt"] += 1
        found.silent.append(url)
        found.letters += len(url)
    else:
        found.pages[url] = lastmod
        found.letters += len(url)


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


def unzipped(pieces: Iterator[bytes], url: str) -> Iterator[bytes]:
    """The same, inflated if its first bytes say gzip, whatever name and headers say. Raises NoSitemap if damaged."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head) > 1:
            break
    whole = chain((head,), pieces)
    if not head.startswith(b"\x1f\x8b"):
        yield from whole
        return
    try:
        yield from bounded(inflate(whole, url), SITEMAP_BYTES, url)
    except Damaged as error:  # so it lies on the server: it is no better the next time
        raise NoSitemap(str(error)) from error
