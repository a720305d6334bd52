"""A site on loopback from night to night, scraped by the real runner: what is asked for, and what the report says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import runner
from jobs.scrape import nightly, report
from jobs.scrape.urls import file_name
from tests.jobs.server import FaultServer, Reply, answer

PLUMBING = ("/robots.txt", "/sitemap.xml", "/sitemap_index.xml", "/more.xml")


def page(text: str, markup: str = "") -> bytes:
    words = " ".join(f"{text}{chr(97 + number)}" for number in range(26))
    return f"<html><head><meta name=x content='{markup}'></head><main><p>{words}</p></main></html>".encode()


def own(path: str) -> str:
    """What the words of a page begin with. No digits: the corpus takes them for one another."""
    return "".join(chr(97 + byte % 26) for byte in path.encode())


@dataclass
class Nights:
    """`pages`: path -> lastmod in the sitemap. What a path answers is the server's affair."""

    folder: Path
    server: FaultServer
    audit: float = 0.0  # of its table in sites.toml: the pages that are drawn depend on the server's port
    more: str = ""  # lines of that table
    pages: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for number in range(10):
            self.add(f"/{number}", f"2026-10-{number + 1:02}")

    def add(self, path: str, lastmod: str, text: str | None = None) -> None:
        self.pages[path] = lastmod
        self.server.routes[path] = answer(page(text or own(path)))

    def settings(self) -> None:
        site = f'name = "s"\nstart = ["{self.server.url()}"]\nallow_private = true\naudit = {self.audit}\n{self.more}\n'
        (self.folder / "sites.toml").write_text(f'contact = "x@y.z"\n[[site]]\n{site}')

    def sitemap(self) -> Reply:
        entries = (
            f"<url><loc>{self.server.url(path)}</loc><lastmod>{lastmod}</lastmod></url>"
            for path, lastmod in self.pages.items()
        )
        return answer(f"<urlset>{''.join(entries)}</urlset>".encode())

    def night(self, **flags: Any) -> Any:
        """The next night: all that is done is a day older. Returns the run's summary."""
        self.falls()
        return self.again(**flags)

    def again(self, **flags: Any) -> Any:
        """A run in the same night."""
        self.settings()
        self.server.routes["/sitemap.xml"] = self.sitemap()
        self.server.asked.clear()
        self.server.headers.clear()
        return runner.run(nightly(sites="sites.toml"), durability="process", workers=1, threads=2, **flags)

    def falls(self, hours: float = 24) -> None:
        def age(job: dict[str, Any]) -> None:
            checked = datetime.fromisoformat(job["result"]["checked_at"]) - timedelta(hours=hours)
            job["result"]["checked_at"] = checked.isoformat()

        for path in self.folder.glob("state/done/*.json"):
            rewrite(path, age)

    @property
    def asked(self) -> list[str]:
        """The pages that were asked for in this run."""
        return sorted(path for path in self.server.asked if path not in PLUMBING)

    def report(self) -> dict[str, Any]:
        """What the report says of the site; kinds that nothing is of are left out."""
        state = self.folder / "state"
        run = report.newest(state, "")
        told = json.loads(report.as_json(run, report.nights(state, run)))["sites"]["s"]
        assert told["counts"] == {
            **{kind: len(told[kind]) for kind in report.KINDS},
            "unchanged": told["counts"]["unchanged"],
        }
        urls = {
            kind: [url.removeprefix(self.server.url("")) for url in told[kind]] for kind in report.KINDS if told[kind]
        }
        return {**urls, "unchanged": told["counts"]["unchanged"]}

    def says(self) -> str:
        state = self.folder / "state"
        run = report.newest(state, "")
        return "\n".join(report.as_text(run, report.nights(state, run)))

    def raw(self, path: str) -> Path:
        return self.folder / f"data/s/raw/{file_name(self.server.url(path))}.html"

    def text(self, path: str) -> Path:
        return self.folder / f"data/s/text/{file_name(self.server.url(path))}.txt"

    def corpus(self) -> str:
        return (self.folder / "data/corpus.jsonl").read_text()


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    job = json.loads(path.read_bytes())
    change(job)
    path.write_text(json.dumps(job))
