"""Sites to text, night by night: sitemaps, then pages, then their text.

    python -m runner run jobs.scrape:nightly

    CollectUrls     robots.txt and sitemaps of one site -> data/SITE/urls.tsv
    FetchPage       one page -> data/SITE/raw/NAME.html, as it came, and NAME.json (where from, which encoding)
    ParsePage       these two -> data/SITE/text/NAME.txt and NAME.json (title, language, digests)

The sites are in jobs/sites.toml. Nothing here knows how jobs are stored, retried, limited or resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs.scrape.decode import decode
from jobs.scrape.fetch import get
from jobs.scrape.robots import Robots
from jobs.scrape.sitemap import collect
from jobs.scrape.sites import Policy, load
from jobs.scrape.text import Rules, extract
from jobs.scrape.urls import file_name, limit_key
from jobs.scrape.wire import Gone
from runner import Absent, Hint, Input, Output, Task

__all__ = ["CollectUrls", "FetchPage", "ParsePage", "Policy", "Rules", "nightly"]

SITES = "jobs/sites.toml"
NIGHTLY = timedelta(hours=20)  # less than a day: a nightly start must never be a few seconds too early
PAGE_TYPES = ("text/html", "text/plain", "text/xml", "application/xhtml", "application/xml")
UNSAID_TYPES = ("", "application/octet-stream")  # of servers that were told nothing about an extension


def nightly(sites: str = "", data: str = "data") -> list[CollectUrls]:
    """One CollectUrls for each site of `sites` (default: $SCRAPE_SITES, else jobs/sites.toml); files go to `data`."""
    return [
        CollectUrls(
            site=site.name,
            start=site.start,
            output_filepath=Path(data, site.name, "urls.tsv"),
            policy=site.policy,
            max_crawl_delay=site.max_crawl_delay,
            rules=site.rules,
        )
        for site in load(Path(sites or os.environ.get("SCRAPE_SITES") or SITES))
    ]


@dataclass(frozen=True)
class CollectUrls(Task):
    """The addresses of a site's pages, a line each: URL, tab, lastmod. Finds a fetch and a parse for each."""

    retries = 3
    backoff = 2.0
    max_age = NIGHTLY

    site: str
    start: tuple[str, ...]
    output_filepath: Output
    policy: Policy
    max_crawl_delay: float = 10.0
    rules: Hint[Rules] = field(default_factory=Rules)  # new selectors are no reason to ask the site for anything

    def limits(self) -> dict[str, Any]:
        return _limits(self.start[0], self.policy)

    def run(self) -> dict[str, Any]:
        robots = Robots(self.policy, self.max_crawl_delay)
        found = collect(self.start, self.policy, robots)
        if not found.pages:
            told = "; ".join([*found.problems[:3], *(f"{n} {why}" for why, n in found.skipped.items())])
            raise ValueError(f"{self.site}: no page in any sitemap of {', '.join(self.start)} ({told or 'none found'})")
        with self.output_filepath.open("w", encoding="utf-8") as file:
            file.writelines(f"{url}\t{lastmod}\n" for url, lastmod in found.pages.items())
        return {
            "pages": len(found.pages),
            "sitemaps": found.sitemaps,
            "skipped": dict(found.skipped),
            "problems": found.problems[:20],
            "crawl_delay": robots.delays(),
        }

    def downstream_tasks(self) -> Iterator[Task]:
        folder = self.output_filepath.parent
        delays = self.value["crawl_delay"]
        policies: dict[str, Policy] = {}
        with self.output_filepath.open(encoding="utf-8") as file:
            for line in file:
                url, _, lastmod = line.rstrip("\n").partition("\t")
                key = limit_key(url)
                if key not in policies:
                    policies[key] = self.policy.slowed(delays.get(key, 0.0))
                name = file_name(url)
                page = folder / "raw" / f"{name}.html"
                about = folder / "raw" / f"{name}.json"
                yield FetchPage(url, page, about, policies[key], lastmod or None)
                text = folder / "text" / f"{name}.txt"
                yield ParsePage(url, page, about, text, text.with_suffix(".json"), self.rules, lastmod or None)


@dataclass(frozen=True)
class FetchPage(Task):
    """One page, byte for byte. A page that is not there, or is no page (an image, say), is absent."""

    max_age = NIGHTLY
    timeout = 300.0  # the fetch has its own deadline; this is for a resolver that hangs

    url: str
    output_filepath: Output
    about_filepath: Output  # what the server said that the parser must know; nothing that changes by itself
    policy: Hint[Policy]
    lastmod: Hint[str | None] = None

    def limits(self) -> dict[str, Any]:
        return _limits(self.url, self.policy)

    def run(self) -> Any:
        try:
            with get(self.url, self.policy) as answer:
                first = next(answer.body, b"")
                if answer.status == 204 or not is_page(answer.content_type, first):
                    return Absent({"reason": f"status {answer.status}, content type {answer.content_type!r}: no page"})
                with self.output_filepath.open("wb") as file:
                    file.write(first)
                    file.writelines(answer.body)
        except Gone as error:
            return Absent({"reason": str(error)})
        about = {"url": answer.url, "content_type": answer.content_type, "charset": answer.charset}
        self.about_filepath.write_text(json.dumps(about) + "\n", encoding="utf-8")
        return about | {"etag": answer.etag, "last_modified": answer.last_modified}


@dataclass(frozen=True)
class ParsePage(Task):
    """The text of one page: UTF-8, NFC, a line for each block. A page without any is absent."""

    version = 1  # bump it when `auto` finds other text: every page is then parsed again, from disk

    url: str
    input_filepath: Input
    about_filepath: Input
    output_filepath: Output
    sidecar_filepath: Output
    rules: Rules = field(default_factory=Rules)
    lastmod: Hint[str | None] = None

    def run(self) -> Any:
        data = self.input_filepath.read_bytes()
        about = json.loads(self.about_filepath.read_bytes())
        decoded = decode(data, about["charset"], self.rules.encoding)
        page = extract(decoded.text, self.rules, plain=about["content_type"] == "text/plain")
        if not page.text:
            return Absent("no-content")
        text = page.text.encode()
        sidecar = {
            "url": self.url,
            "final_url": about["url"],
            "title": page.title,
            "lang": page.lang,
            "lastmod": self.lastmod,
            "encoding": decoded.encoding,
            "bad_bytes": decoded.bad,
            "words": len(page.text.split()),
            "raw_sha256": hashlib.sha256(data).hexdigest(),
            "text_sha256": hashlib.sha256(text).hexdigest(),
            "extractor": f"{self.rules.extractor}/{self.version}",
        }
        self.output_filepath.write_bytes(text)
        self.sidecar_filepath.write_text(json.dumps(sidecar, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return None


def is_page(content_type: str, first: bytes) -> bool:
    """Whether an answer can be a page. `first`: its first bytes, for servers that know no type for it."""
    return content_type.startswith(PAGE_TYPES) or (content_type in UNSAID_TYPES and b"<" in first)


def _limits(url: str, policy: Policy) -> dict[str, Any]:
    return {limit_key(url): (policy.concurrency, policy.rate) if policy.rate else policy.concurrency}
