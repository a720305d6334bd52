"""Reads sites.toml: which sites there are, how they may be asked, and what of their pages is text.

A mistake is told in one line that names the file, the line and the key; nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs.scrape.toml import BadFile, Document
from jobs.scrape.urls import host_of, normalise
from jobs.scrape.values import Fault, Table, installed, shown
from jobs.text import EXTRACTORS, Rules, check_selector
from jobs.text.decode import codec_of
from runner import UsageError

ROBOT = "runner-scrape"  # the name that robots.txt can call us by
NOBODY = "you@example.org"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TAKEN = ("corpus.jsonl", "corpus.parquet")  # files beside the sites' folders


@dataclass(frozen=True)
class Policy:
    """How a site may be asked. Small, as each fetch carries it."""

    user_agent: str
    hosts: tuple[str, ...]  # that an address, or a redirect, may lead to
    allow_private: bool = False
    concurrency: int = 4
    rate: float | None = None  # requests per second; None: as fast as they come back
    hard_max_age: timedelta = timedelta(days=30)  # from which on a page is asked for, whatever its lastmod says
    audit: float = 0.002  # the share of pages that are asked for though their lastmod says unchanged

    def slowed(self, delay: float) -> Policy:
        """The same, with `delay` seconds (0: none asked for) between two requests."""
        return replace(self, rate=min(self.rate or 1 / delay, 1 / delay)) if delay else self


@dataclass(frozen=True)
class Site:
    """One [[site]] of the file, with defaults filled in."""

    name: str
    start: tuple[str, ...]
    policy: Policy
    rules: Rules = field(default_factory=Rules)
    max_crawl_delay: float = 10.0  # s
    max_shrink: float = 0.2  # the share of its pages that a site may lose in a night, and be believed


@dataclass(frozen=True)
class Sites:
    """What the file says."""

    sites: tuple[Site, ...]
    parquet: bool = False  # the corpus in that form too

    def __iter__(self) -> Iterator[Site]:
        return iter(self.sites)


def load(path: Path) -> Sites:
    """What a sites.toml says. Raises UsageError: one line with file, line, key and problem."""
    try:
        document = Document(path)
    except FileNotFoundError:
        told = "there is no such file: write it, or name another with SCRAPE_SITES=path in the environment"
        raise UsageError(f"{path}: {told}") from None
    except BadFile as error:
        raise UsageError(str(error)) from None
    try:
        return _sites(document)
    except Fault as fault:
        raise UsageError(f"{path}:{document.line(fault.key)}: {fault}") from None


def _sites(document: Document) -> Sites:
    table = Table(document.table, ("contact", "parquet", "site"))
    contact = table.text("contact", needed="a mail address or a page where a site's owner can reach you")
    agent = f"{ROBOT}/1.0 (+{contact})"
    if not agent.isascii() or not agent.isprintable():
        raise Fault("contact: only printable ASCII can stand in a User-Agent", "contact")
    parquet = table.flag("parquet")
    if parquet:
        installed("pyarrow", "parquet")
    sites: dict[str, Site] = {}
    for number, entry in enumerate(table.tables("site")):
        try:
            site = _site(entry, agent)
            if site.name in sites:
                other = document.line(("site", list(sites).index(site.name), "name"))
                raise Fault(f"name: {site.name!r} is there already, in line {other}", "name")
        except Fault as fault:
            raise Fault(str(fault), "site", number, *fault.key) from None
        sites[site.name] = site
    if not sites:
        raise Fault("site: there is no [[site]] table, so there is nothing to scrape", "site")
    if contact == NOBODY and not all(site.policy.allow_private for site in sites.values()):
        raise Fault(f"contact: {NOBODY} is only the example's: write an address where you can be reached", "contact")
    return Sites(tuple(sites.values()), parquet)


def _site(found: Any, agent: str) -> Site:
    if not isinstance(found, dict):
        raise Fault(f"site: expected a [[site]] table, found {shown(found)}")
    rule_keys = tuple(part.name for part in fields(Rules))
    policy_keys = tuple(part.name for part in fields(Policy) if part.name not in ("user_agent", "hosts"))
    entry = Table(found, ("name", "start", "allow_hosts", "max_crawl_delay", "max_shrink", *policy_keys, *rule_keys))
    name = entry.text("name", needed="a folder's name")
    if not NAME.fullmatch(name) or name in TAKEN:
        taken = f", but not {' or '.join(TAKEN)}" if name in TAKEN else ""
        says = "expected a folder's name of letters, digits, dot, dash and underscore"
        raise Fault(f"name: {says}{taken}, found {shown(name)}", "name")
    start = entry.texts("start", _address, needed="addresses of the site (ending in /) or of its sitemaps")
    hosts = dict.fromkeys([*map(host_of, start), *entry.texts("allow_hosts", _host)])
    policy = Policy(
        user_agent=agent,
        hosts=tuple(hosts),
        allow_private=entry.flag("allow_private"),
        concurrency=int(entry.number("concurrency", 4, lambda n: n >= 1 and n == int(n), "a whole number from 1")),
        rate=entry.number("rate", None, lambda n: n > 0, "a number above 0 (requests per second)"),
        hard_max_age=entry.span("hard_max_age", Policy.hard_max_age),
        audit=entry.share("audit", Policy.audit),
    )
    delay = entry.number("max_crawl_delay", Site.max_crawl_delay, lambda n: n >= 0, "a number of seconds")
    return Site(name, start, policy, _rules(entry), float(delay), entry.share("max_shrink", Site.max_shrink))


def _rules(entry: Table) -> Rules:
    encoding = entry.text("encoding") or None
    if encoding and codec_of(encoding) is None:
        raise Fault(f"encoding: {shown(encoding)} is no encoding of the web", "encoding")
    extractor = entry.text("extractor") or "auto"
    if extractor not in EXTRACTORS:
        *first, last = EXTRACTORS
        raise Fault(f"extractor: expected {', '.join(first)} or {last}, found {shown(extractor)}", "extractor")
    if extractor == "trafilatura":
        installed(extractor, "extractor")

    def selector(text: str) -> str:
        check_selector(text, extractor)
        return text

    return Rules(entry.texts("select", selector), entry.texts("drop", selector), encoding, extractor)


def _address(text: str) -> str:
    url = normalise(text)
    if url is None:
        raise ValueError(f"{shown(text)} is no http or https address")
    return url


def _host(text: str) -> str:
    url = normalise(f"http://{text}/")
    if url is None or "/" in text or host_of(url) != text.lower().rstrip("."):
        raise ValueError(f"{shown(text)} is no host name (without http:// and port)")
    return host_of(url)
