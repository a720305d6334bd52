"""The site to be scraped: real documentation pages, their sitemaps, what changes on it; and a project that scrapes it.

The pages are of Debian's packages, fetched once (tests/acceptance/docs_site.py). Where these cannot be had, or are too
few, generated pages take their places, and the benchmark says so.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, unquote

from runner.demo.project import Site, sites_toml
from tests.acceptance.docs_site import PARTS, NoPages, unpack

PACKAGES = ("git-doc", "libcommons-lang3-java-doc", "python3.11-doc", "debian-handbook")
PLUMBING = 2 + PARTS  # requests without which nobody knows the pages: robots.txt, the index, the files that it names

BYTES = 20_000  # of a generated page
PHRASE = "a job runner moves files between folders and its state can be read with plain tools at any moment"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Page {number}</title>
<link rel="stylesheet" href="/style.css"></head>
<body><header><nav><ul>{links}</ul></nav></header>
<main><h1>Page {number}</h1>
{paragraphs}
</main><footer><p>About this site</p></footer></body></html>
"""
CHECKED_AT = re.compile(r'(?<="checked_at": ")[^"]+')
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


# --------------------------------------------------------------------------------------------------------- the pages


def write_pages(www: Path, count: int) -> list[str]:
    """Put `count` pages into the folder; returns their paths on the site. Says what they are."""
    paths: list[str] = []
    told = []
    for package in PACKAGES:
        wanted = count - len(paths)
        if not wanted:
            break
        try:
            root = unpack(package) / "usr" / "share" / "doc"
        except NoPages as error:
            print(f"WARNING: {error}")
            continue
        files = sorted(file for file in root.rglob("*.html") if file.is_file() and not file.is_symlink())
        taken = files if len(files) <= wanted else [files[n * len(files) // wanted] for n in range(wanted)]
        for file in taken:
            paths.append(quote(f"/{file.relative_to(root).as_posix()}"))
            shutil.copyfile(file, _made(www, paths[-1]))
        told.append(f"{len(taken)} of {package}")
    if wanted := count - len(paths):
        told.append(f"{wanted} generated")
    for number in range(wanted):
        paths.append(f"/pages/{number}.html")
        _made(www, paths[-1]).write_text(page(number), encoding="utf-8")
    size = sum(_file(www, path).stat().st_size for path in paths)
    print(f"{count} pages of {size / count / 1000:.0f} kB: {', '.join(told)}")
    return paths


def page(number: int) -> str:
    """A page of about BYTES bytes, unlike every other."""
    words = random.Random(number)
    links = "".join(f'<li><a href="/pages/{words.randrange(3000)}.html">page</a></li>' for _ in range(40))
    paragraphs: list[str] = []
    size = len(PAGE) + len(links)
    while size < BYTES:
        text = " ".join(words.choices(PHRASE.split(), k=60))
        paragraphs.append(f'<h2>Part {len(paragraphs)}</h2><p class="text">{text} <em>{number}</em>.</p>')
        size += len(paragraphs[-1]) + 1
    return PAGE.format(number=number, links=links, paragraphs="\n".join(paragraphs))


def change(www: Path, paths: Iterable[str], note: str) -> None:
    """Give each page one more paragraph."""
    for path in paths:
        with _file(www, path).open("a", encoding="utf-8") as file:
            file.write(f"\n<p>{note}</p>\n")


def move_pages(www: Path, paths: Iterable[str], to: Path) -> None:
    """Make them pages of another site."""
    for path in paths:
        _file(www, path).rename(_made(to, path))


def _file(www: Path, path: str) -> Path:
    return www / unquote(path).lstrip("/")


def _made(www: Path, path: str) -> Path:
    file = _file(www, path)
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def old_lastmods(paths: Sequence[str]) -> dict[str, str]:
    """A day of last year for each page, as a site that has grown would tell."""
    today = datetime.now(UTC)
    return {path: f"{today - timedelta(days=60 + n % 300):%Y-%m-%d}" for n, path in enumerate(paths)}


# -------------------------------------------------------------------------------------------------------- the project


def set_sites(project: Path, sites: Sequence[Site]) -> None:
    (project / "jobs" / "sites.toml").write_text(sites_toml(sites), encoding="utf-8")


def let_a_day_pass(project: Path) -> None:
    """Make the records of what is done a day older: tonight is then last night."""
    for file in (project / "state" / "done").iterdir():
        text = file.read_text(encoding="utf-8")
        older = CHECKED_AT.sub(lambda found: _a_day_before(found[0]), text)
        written = file.with_name(f".{file.name}")
        written.write_text(older, encoding="utf-8")
        written.rename(file)


def _a_day_before(time: str) -> str:
    return (datetime.strptime(time, TIME) - timedelta(days=1)).strftime(TIME)
