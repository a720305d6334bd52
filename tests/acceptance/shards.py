"""A crawl that is spread over many state folders: each host belongs to one, and links to others go into their inbox/.

Copied into a project as jobs/shards.py. The states lie beside each other, state-0 to state-7, with a runner for each.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests

from runner import Absent, Output, RetryLater, Task

SHARDS = 8
A_NIGHT = timedelta(hours=12)  # all shards together take less, and the next night begins later
LINK = re.compile(r'href="([^"#]+)"')


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def host_of(url: str) -> str:
    return urlsplit(url).hostname or ""


def shard_of(url: str) -> int:
    """By the host alone: one runner asks a host, and can keep its limits. (hash() is another one in each process.)"""
    return int(digest(host_of(url)), 16) % SHARDS


def inbox_of(shard: int) -> Path:
    return Path(f"state-{shard}") / "inbox"


def page(url: str) -> "Page":
    return Page(url, Path("data") / host_of(url) / f"{digest(url)}.html")


@dataclass
class Page(Task):
    url: str
    html: Output
    max_age = A_NIGHT

    def limits(self) -> list[str]:
        return [f"host:{host_of(self.url)}"]

    def run(self) -> Absent | None:
        answer = requests.get(self.url, timeout=60)
        if answer.status_code in (404, 410):
            return Absent()
        answer.raise_for_status()
        self.html.write_bytes(answer.content)
        return None

    def downstream_tasks(self) -> Iterator[Task]:
        """Pages of this shard, and for each other shard one task that hands over the links to it."""
        text = self.html.read_text(encoding="utf-8", errors="replace")
        away: dict[int, list[str]] = {}
        for url in sorted({urljoin(self.url, link) for link in LINK.findall(text)}):
            shard = shard_of(url)
            if shard == shard_of(self.url):
                yield page(url)
            else:
                away.setdefault(shard, []).append(url)
        for shard, urls in away.items():
            yield Handover(self.url, shard, urls, self.html.with_suffix(f".to-{shard}"))


@dataclass
class Handover(Task):
    """Puts a file for each link into another shard's inbox/.

    All of it can be done twice, by whoever comes after a kill: names and contents are the same again, and a page that
    is known there is only judged. It is due each night, as a page that was handed in is reached by that run alone.
    """

    source: str  # the page with the links
    shard: int
    urls: list[str]
    receipt: Output
    max_age = A_NIGHT
    priority = 1  # before pages: others have work sooner

    def run(self) -> None:
        inbox = inbox_of(self.shard)
        if not inbox.is_dir():  # not made here: it may be a disk that is not mounted
            raise RetryLater(60, f"there is no {inbox}")
        for url in self.urls:
            hand_in(inbox, page(url), self.source)
        sync(inbox)  # before the receipt counts
        self.receipt.write_text("".join(f"{url}\n" for url in self.urls), encoding="utf-8")


def hand_in(inbox: Path, task: Page, source: str) -> None:
    """By a rename within inbox/, where dot names are left alone. The name to come is by the link, so that it lies there
    once, whoever has it; the dot name is by the page with the link, too, so that no two write one file at a time.
    """
    job = {"task": "jobs.shards:Page", "params": {"url": task.url, "html": str(task.html)}}
    name = f"page.{digest(task.url)}.json"
    unfinished = inbox / f".{digest(source)}.{name}"
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(job, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(inbox / name)


def sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def start(url: str) -> list[Task]:
    """Where one shard begins. The others begin with what they find in their inbox/."""
    return [page(url)]
