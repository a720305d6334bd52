"""Sites to text, night by night: sitemaps, then pages, then their text, then a corpus.

    python -m runner run jobs.scrape:nightly
    python -m jobs.scrape.report

    CollectUrls     robots.txt and sitemaps of one site -> data/SITE/urls.tsv
    FetchPage       one page -> data/SITE/raw/NAME.html, as it came, and NAME.json (where from, which encoding)
    ParsePage       these two -> data/SITE/text/NAME.txt and NAME.json (title, language, digests)
    SiteCorpus      all texts of a site -> data/SITE/corpus.jsonl; MergeCorpus: all sites -> data/corpus.jsonl

The sites are in jobs/sites.toml. Nothing here knows how jobs are stored, retried, limited or resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from jobs.scrape.corpus import MERGED_COLUMNS, MergeCorpus, SiteCorpus, WriteParquet
from jobs.scrape.fetch import Known, get
from jobs.scrape.freshness import NIGHTLY, SUSPICION, conclusive, usable, why_distrusted, why_due
from jobs.scrape.listing import Listing, Standing, merged, why_doubted
from jobs.scrape.robots import Robots
from jobs.scrape.sitemap import collect
from jobs.scrape.sites import Policy, load
from jobs.scrape.urls import file_name, host_of, limit_key
from jobs.scrape.wire import Gone, Permanent
from jobs.text import Rules, extract
from jobs.text.decode import decode
from runner import Absent, Hint, Input, NoRetry, Output, Task, Unchanged, previous

__all__ = ["Alarm", "CollectUrls", "FetchPage", "ParsePage", "Policy", "Rules", "nightly"]

SITES = "jobs/sites.toml"
URLS = "urls.tsv"
PAGE_TYPES = ("text/html", "text/plain", "text/xml", "application/xhtml", "application/xml")
UNSAID_TYPES = ("", "application/octet-stream")  # of servers that were told nothing about an extension
COMPARED = {"raw_sha256", "text_sha256", "extractor", "lastmod", "fetched", "unannounced"}  # of sidecars
NO_PAGE = (
    b"\x89PNG",
    b"GIF8",
    b"\xff\xd8\xff",
    b"%PDF-",
    b"PK\3\4",
    b"\x1f\x8b",
    b"RIFF",
    b"\x7fELF",
)  # whatever the type says


def nightly(sites: str = "", data: str = "data") -> Mapping[Task, list[Task]]:
    """A CollectUrls for each site of `sites` (default: $SCRAPE_SITES, else jobs/sites.toml), and what merges them all.

    Files go to the folder `data`.
    """
    wanted = load(Path(sites or os.environ.get("SCRAPE_SITES") or SITES))
    collects: list[Task] = [
        CollectUrls(
            site=site.name,
            start=site.start,
            output_filepath=Path(data, site.name, URLS),
            policy=site.policy,
            max_crawl_delay=site.max_crawl_delay,
            max_shrink=site.max_shrink,
            rules=site.rules,
            parquet=wanted.parquet,
        )
        for site in wanted
    ]
    corpus = Path(data, "corpus.jsonl")
    merge = MergeCorpus(corpora=[Path(data, site.name, "corpus.jsonl") for site in wanted], output_filepath=corpus)
    graph: dict[Task, list[Task]] = {merge: collects}
    if wanted.parquet:
        graph[WriteParquet(corpus, corpus.with_suffix(".parquet"), MERGED_COLUMNS)] = []
    return graph


@dataclass(frozen=True)
class CollectUrls(Task):
    """The pages of a site, a line each. Finds a fetch and a parse for each of them, and the site's corpus."""

    retries = 3
    backoff = 2.0
    max_age = NIGHTLY
    timeout = 8 * 3600.0  # reading the sitemaps has its own bound; this is for a resolver that hangs

    site: str
    start: tuple[str, ...]
    output_filepath: Output
    policy: Policy
    max_crawl_delay: float = 10.0
    max_shrink: Hint[float] = 0.2  # the share of pages that may be missing before the sitemaps are doubted
    rules: Hint[Rules] = field(default_factory=Rules)  # new selectors are no reason to ask the site for anything
    parquet: Hint[bool] = False

    def limits(self) -> dict[str, Any]:
        return _limits(self.start[0], self.policy)

    def due(self, last: Any, now: datetime) -> str | None:
        if last.hints.get("max_shrink", self.max_shrink) != self.max_shrink:
            return "max_shrink is another"
        return super().due(last, now)

    def run(self) -> dict[str, Any]:
        now = datetime.now(UTC)
        before = Listing.read(self.output_filepath.with_name(URLS))  # what lies there, and not where this run writes
        robots = Robots(self.policy, self.max_crawl_delay, self.start)
        found = collect(self.start, self.policy, robots)
        hosts = self.policy.hosts

        def silent(url: str) -> bool:
            return host_of(url) in hosts and robots.is_silent(url)

        lost = {*found.silent, *(entry.url for entry in before if entry.url not in found.pages and silent(entry.url))}
        if len(lost) > self.max_shrink * (len(lost) + len(found.pages)):
            raise next(iter(robots.silent.values()))  # that is no small part of the site: all of it has to wait
        told = "; ".join([*found.problems[:3], *(f"{n} {why}" for why, n in found.skipped.items())])
        if not found.pages and not before.listed:
            raise ValueError(f"{self.site}: no page in any sitemap of {', '.join(self.start)} ({told or 'none found'})")
        unknown = lost.intersection(before.entries)
        doubt = why_doubted(len(found.pages), found.unread, unknown, told, before, self.max_shrink)
        listing = merged(
            {url: lastmod if usable(lastmod, now) else "" for url, lastmod in found.pages.items()},
            found.sitemaps,
            before,
            believed=doubt is None,
            allowed=lambda url: host_of(url) in hosts and robots.allow(url),
            silent=silent,
            there=lambda url: self._raw(url).exists(),
        )
        listing.write(self.output_filepath)
        unannounced = sum(self._unannounced(entry.url, now) for entry in before)
        lastmods = {entry.url: entry.lastmod or "" for entry in listing if entry.standing == "listed"}
        return {
            "pages": len(found.pages),
            "kept": len(listing.entries) - len(found.pages),
            "sitemaps": len(found.sitemaps),
            "skipped": dict(found.skipped),
            "problems": found.problems[:20],
            "crawl_delay": robots.delays(),
            "distrusted": why_distrusted(lastmods, unannounced),
            "doubt": doubt,
        }

    def downstream_tasks(self) -> Iterator[Task]:
        policies: dict[str, Policy] = {}
        texts: list[Path] = []
        doubt, trusted = self.value["doubt"], not self.value["distrusted"]
        for entry in Listing.read(self.output_filepath):
            key = limit_key(entry.url)
            if key not in policies:
                policies[key] = self.policy.slowed(self.value["crawl_delay"].get(key, 0.0))
            page, text = self._raw(entry.url), self._text(entry.url)
            about = page.with_suffix(".json")
            yield FetchPage(
                url=entry.url,
                output_filepath=page,
                about_filepath=about,
                policy=policies[key],
                lastmod=entry.lastmod if trusted else None,
                standing=entry.standing,
                tombstones=not doubt,
            )
            yield ParsePage(entry.url, page, about, text, text.with_suffix(".json"), self.rules, entry.lastmod)
            texts.append(text)
        corpus = self.output_filepath.with_name("corpus.jsonl")
        yield SiteCorpus(texts=texts, output_filepath=corpus)
        if self.parquet:
            yield WriteParquet(corpus, corpus.with_suffix(".parquet"))
        yield Alarm(self.site, doubt)

    def _raw(self, url: str) -> Path:
        return self.output_filepath.parent / "raw" / f"{file_name(url)}.html"

    def _text(self, url: str) -> Path:
        return self.output_filepath.parent / "text" / f"{file_name(url)}.txt"

    def _unannounced(self, url: str, now: datetime) -> bool:
        """Whether the page was caught, not long ago, with another text under the same lastmod."""
        try:
            sidecar = self._text(url).with_suffix(".json").read_bytes()
        except OSError:
            return False
        if b'"unannounced": true' not in sidecar:  # as nearly all: not worth the parsing
            return False
        return now - datetime.fromisoformat(json.loads(sidecar)["fetched"]) < SUSPICION


@dataclass(frozen=True)
class Alarm(Task):
    """Fails, loudly, if tonight's sitemaps are doubted. What they leave out is treated as if they listed it still."""

    site: str
    problem: Hint[str | None]

    def due(self, last: Any, now: datetime) -> str | None:
        return self.problem

    def run(self) -> None:
        if self.problem:
            raise NoRetry(f"{self.site}: {self.problem}. No page is given up tonight")


@dataclass(frozen=True)
class FetchPage(Task):
    """One page, byte for byte. A page that is gone, or is no page (an image, say), is absent."""

    timeout = 300.0  # the fetch has its own deadline; this is for a resolver that hangs
    backoff = 2.0

    url: str
    output_filepath: Output
    about_filepath: Output  # what the server said, and when these bytes came first: it changes with them only
    policy: Hint[Policy]
    lastmod: Hint[str | None] = None  # None: there is none, or none that is relied on
    standing: Hint[Standing] = "listed"
    tombstones: Hint[bool] = True  # False: what the server says is gone is kept tonight

    def limits(self) -> dict[str, Any]:
        return _limits(self.url, self.policy)

    def due(self, last: Any, now: datetime) -> str | None:
        return why_due(self.url, self.lastmod, self.standing, self.policy, last, now)

    def run(self) -> Any:
        if self.standing == "held":
            raise Permanent(self.url, "robots.txt forbids it tonight")
        last = previous()
        known = Known(last.value["url"], last.value["etag"], last.value["last_modified"]) if last else None
        try:
            with get(self.url, self.policy, known=known) as answer:
                if last and answer.status == 304:
                    return Unchanged(self._noted(last.value))
                first = next(answer.body, b"") if may_be_page(answer.content_type) and answer.status != 204 else b""
                if answer.status == 204 or not is_page(answer.content_type, first):
                    return self._absent(f"no page: status {answer.status}, content type {answer.content_type!r}", last)
                with self.output_filepath.open("wb") as file:
                    file.writelines(chain((first,), answer.body))
        except Gone as error:
            return self._absent(str(error), last, second_night=error.status == 404 and self.standing == "listed")
        about = {
            "url": answer.url,
            "content_type": answer.content_type,
            "charset": answer.charset,
            "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if last and (next(iter(last.outputs.values())) or {}).get("sha256") == _sha256(self.output_filepath):
            about["fetched"] = last.value["fetched"]
        self.about_filepath.write_text(json.dumps(about) + "\n", encoding="utf-8")
        value = about | {"etag": answer.etag, "last_modified": answer.last_modified}
        return self._noted(value, last.value if last else None)

    def _absent(self, reason: str, last: Any, *, second_night: bool = False) -> Absent | Unchanged:
        """There is no page. But one that was there is kept if it is given a second night, or nothing is given up."""
        if last is not None:
            missed = last.value.get("missing", 0) > 0 and datetime.now(UTC) - last.checked_at >= NIGHTLY / 2
            if (second_night and not missed) or not self.tombstones:
                return Unchanged({**last.value, "missing": 1})
        return Absent({"reason": reason})

    def _noted(self, value: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
        """What is kept, with how often a page was found that no sitemap lists any more."""
        kept = {key: value[key] for key in value if key not in ("missing", "unlisted")}
        if self.standing == "unlisted":
            kept["unlisted"] = 1 + (value if before is None else before).get("unlisted", 0)
        return kept


@dataclass(frozen=True)
class ParsePage(Task):
    """The text of one page: UTF-8, NFC, a line for each block. A page without any is absent."""

    version = 1  # bump it when `auto` finds other text: every page is then parsed again, from disk
    priority = 1  # a page that is here is finished before the next one is asked for

    url: str
    input_filepath: Input
    about_filepath: Input
    output_filepath: Output
    sidecar_filepath: Output
    rules: Rules = field(default_factory=Rules)
    lastmod: Hint[str | None] = None

    def run(self) -> Absent | None:
        data = self.input_filepath.read_bytes()
        about = json.loads(self.about_filepath.read_bytes())
        decoded = decode(data, about["charset"], self.rules.encoding)
        try:
            page = extract(decoded.utf8, self.rules, plain=about["content_type"] == "text/plain")
        except ValueError as error:
            raise NoRetry(f"{self.url}: {error}") from error  # the same bytes have the same text
        if not page.utf8:
            return Absent("no-content")
        sidecar = {
            "url": self.url,
            "final_url": about["url"],
            "title": page.title,
            "lang": page.lang,
            "fetched": about["fetched"],
            "lastmod": self.lastmod,
            "encoding": decoded.encoding,
            "bad_bytes": decoded.bad,
            "words": page.words,
            "raw_sha256": hashlib.sha256(data).hexdigest(),
            "text_sha256": hashlib.sha256(page.utf8).hexdigest(),
            "extractor": f"{self.rules.extractor}/{self.version}",
        }
        before = self._sidecar_before()
        sidecar["unannounced"] = before is not None and _is_unannounced(before, sidecar)
        self.output_filepath.write_bytes(page.utf8)
        self.sidecar_filepath.write_text(json.dumps(sidecar, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return None

    def _sidecar_before(self) -> dict[str, Any] | None:
        """What is beside the text that is about to be replaced. `previous()` would not know it in a run that was killed
        just when the new one had come into its place: it is compared with itself then, and stays as it is."""
        path = self.sidecar_filepath.with_name(self.about_filepath.name)  # where it lies, and not where we write
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) and found.keys() >= COMPARED else None


def may_be_page(content_type: str) -> bool:
    """Whether it is worth looking at an answer."""
    return content_type in UNSAID_TYPES or content_type.startswith(PAGE_TYPES)


def is_page(content_type: str, first: bytes) -> bool:
    """Whether an answer is a page. `first`: its first bytes, for servers that know no type for it, or a wrong one."""
    if first.startswith(NO_PAGE) or not may_be_page(content_type):
        return False
    return b"<" in first if content_type in UNSAID_TYPES else True


def _is_unannounced(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether a text has come in the place of another one under the same lastmod, which was not the truth then."""
    if before["raw_sha256"] == now["raw_sha256"]:  # only parsed anew
        return bool(before["unannounced"])
    if before["lastmod"] is None or any(before[key] != now[key] for key in ("lastmod", "extractor")):
        return False
    told = conclusive(before["lastmod"], datetime.fromisoformat(before["fetched"]))
    return told and before["text_sha256"] != now["text_sha256"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _limits(url: str, policy: Policy) -> dict[str, Any]:
    return {limit_key(url): (policy.concurrency, policy.rate) if policy.rate else policy.concurrency}
