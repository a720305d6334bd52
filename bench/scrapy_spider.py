"""The peer: a spider of Scrapy's that makes of a site the same files as jobs/scrape does. Run by bench/scrape.py.

    python bench/scrapy_spider.py REPOSITORY ROBOTS_TXT[,ROBOTS_TXT ...] OUT [SETTING=VALUE ...]

In an environment that has Scrapy, and what our modules import. Decoding, extraction and the corpora are the very
functions of jobs/text and jobs/scrape, so that only the framework differs (without the process that jobs/text has for
huge pages). Each file is written whole and renamed, and none is synced.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from scrapy.crawler import AsyncCrawlerProcess
from scrapy.http import Response
from scrapy.settings import Settings
from scrapy.spiders import SitemapSpider

CHARSET = re.compile(r"""\bcharset\s*=\s*["']?\s*([^\s"';,]+)""", re.IGNORECASE)

# Scrapy's advice on speed, and off with what the task has no use for (a twentieth). What was tried besides differs by
# less than two runs do: 8, 16, 32 and 64 requests at once; Twisted's client, aiohttp's and httpx's; uvloop.
SETTINGS: dict[str, Any] = {
    "USER_AGENT": "scrapy-bench (+nobody@example.invalid)",
    "ROBOTSTXT_OBEY": True,
    "DOWNLOAD_DELAY": 0,
    "CONCURRENT_REQUESTS": 16,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
    "LOG_LEVEL": "ERROR",
    "LOGSTATS_INTERVAL": 0,
    "DOWNLOADER_STATS": False,
    "COOKIES_ENABLED": False,
    "HTTPPROXY_ENABLED": False,
    "METAREFRESH_ENABLED": False,
    "REFERER_ENABLED": False,
    "MEMUSAGE_ENABLED": False,
    "TELNETCONSOLE_ENABLED": False,
    "REMOTE_CONTROL_ENABLED": False,
}


def package(name: str, folder: Path) -> None:
    """Let modules of a package be imported without its __init__, which needs requests and more."""
    module = ModuleType(name)
    module.__path__ = [str(folder)]
    sys.modules[name] = module


class Pages(SitemapSpider):
    """Every page that the sitemaps name: its bytes and its text, and what is known of each."""

    name = "pages"

    def __init__(self, robots: str, out: str, **options: Any) -> None:
        super().__init__(**options)
        self.sitemap_urls = robots.split(",")
        self.out = out
        self.texts: list[Path] = []

    def parse(self, response: Response, **_: Any) -> None:
        name = file_name(response.url)
        write(f"{self.out}/raw/{name}.html", response.body)
        content_type = (response.headers.get("Content-Type") or b"").decode("latin-1")
        found = CHARSET.search(content_type)
        charset = found[1].lower() if found else None
        fetched = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"url": response.url, "content_type": content_type, "charset": charset, "fetched": fetched}
        write_json(f"{self.out}/raw/{name}.json", about)
        decoded = decode(response.body, charset)
        page = extract_here(decoded.utf8, RULES, content_type.startswith("text/plain"))
        if not page.utf8:
            return
        write(f"{self.out}/text/{name}.txt", page.utf8)
        sidecar = {
            "url": response.url,
            "title": page.title,
            "lang": page.lang,
            "fetched": fetched,
            "encoding": decoded.encoding,
            "bad_bytes": decoded.bad,
            "words": page.words,
            "raw_sha256": hashlib.sha256(response.body).hexdigest(),
            "text_sha256": hashlib.sha256(page.utf8).hexdigest(),
        }
        write_json(f"{self.out}/text/{name}.json", sidecar)
        self.texts.append(Path(f"{self.out}/text/{name}.txt"))

    def closed(self, reason: str) -> None:
        site = Path(self.out, "corpus.jsonl")
        SiteCorpus(texts=self.texts, output_filepath=site).run()
        MergeCorpus(corpora=[site], output_filepath=Path(self.out, "merged.jsonl")).run()


def write_json(path: str, value: dict[str, Any]) -> None:
    write(path, json.dumps(value, ensure_ascii=False).encode())


def write(path: str, data: bytes) -> None:
    """Whole, or not at all."""
    with open(f"{path}.part", "wb") as file:
        file.write(data)
    os.rename(f"{path}.part", path)


def main(repository: str, robots: str, out: str, *pairs: str) -> None:
    for folder in ("raw", "text"):
        os.makedirs(f"{out}/{folder}", exist_ok=True)
    settings = Settings(SETTINGS)
    for pair in pairs:
        name, _, value = pair.partition("=")
        settings.set(name, value)
    process = AsyncCrawlerProcess(settings)
    process.crawl(Pages, robots=robots, out=out)
    process.start()


if __name__ == "__main__":
    root = Path(sys.argv[1])
    sys.path.insert(0, str(root))
    package("jobs.scrape", root / "jobs" / "scrape")
    from jobs.scrape.corpus import MergeCorpus, SiteCorpus
    from jobs.scrape.urls import file_name
    from jobs.text import Rules, extract_here
    from jobs.text.decode import decode

    RULES = Rules()
    main(*sys.argv[1:])
