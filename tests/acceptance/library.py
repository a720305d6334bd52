"""Real sites of different make, each as unlike the others as sites are: the pages, and how its server answers.

Sphinx, DocBook, Javadoc, AsciiDoc, MediaWiki and pages written by hand, from Debian's packages (see docs_site.py); in
UTF-8 as they come, and in the encodings that pages had before it. Which pages are taken depends on their names only.
What changes from night to night is told in second_night.py.
"""

from __future__ import annotations

import codecs
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from fnmatch import fnmatch
from os import utime
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote

from tests.acceptance.docs_site import unpack, write_maps
from tests.acceptance.nginx import Host, Nginx

MOST_LETTERS = 100_000  # of a page, its markup included
FEWEST_LETTERS = 800  # of what is no markup

TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
XML_DECLARATION = re.compile(r"\A\s*<\?xml\b[^>]*\?>\s*")
META_CHARSET = re.compile(r"<meta\b[^>]*\bcharset\b[^>]*>", re.IGNORECASE)
BOMS = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}


@dataclass(frozen=True)
class Page:
    """A page as its server has it. `source`: its markup, as it was before anything was encoded."""

    source: str
    body: bytes
    mtime: int


@dataclass(frozen=True)
class Served:
    """A site in a night. `listed`: what its sitemaps say, path -> lastmod; `status`: where it is not 200 or 404."""

    pages: Mapping[str, Page]
    listed: Mapping[str, str]
    status: Mapping[str, int] = field(default_factory=dict)
    cut: bool = False  # the first of its sitemaps cannot be had

    def readable(self, parts: int) -> dict[str, str]:
        """What the sitemaps say, as far as they can be had; write_maps puts them into so many parts."""
        return {
            path: lastmod
            for number, (path, lastmod) in enumerate(self.listed.items())
            if not self.cut or number % parts or number % 10 == 0
        }


@dataclass(frozen=True)
class Shelf:
    """A site: whose pages it has, and what it is like.

    lastmods: each page its own; none; the same for all, which tells nothing. parts: gzipped sitemaps below an index,
    named by robots.txt; 0: one sitemap.xml. codecs: of the pages, in turns. declared: where they tell it; elsewhere,
    the page goes on to say utf-8, and what it says must not count.
    """

    name: str
    package: str
    only: str  # of its files
    most: int = 36  # pages
    lastmods: Literal["own", "none", "same"] = "own"
    parts: int = 0
    validators: Literal["both", "etag", "modified", "none"] = "both"
    gzip: bool = False
    codecs: tuple[str, ...] = ("utf-8",)
    declared: Literal["page", "meta", "xml", "header", "bom"] = "page"
    label: str = ""
    audit: float = 0.0
    hard_max_age: int = 720  # h
    slow: int = 0  # kB/s at which it answers, but for the first so many kB; 0: as fast as it can
    quiet: bool = False  # no text changes in the second night

    @property
    def directives(self) -> str:
        """What nginx is told."""
        lines = []
        if self.validators in ("modified", "none"):
            lines.append("etag off;")
        if self.validators in ("etag", "none"):
            lines.append('add_header Last-Modified "";')
        if self.validators == "none":
            lines.append("if_modified_since off;")
        if self.gzip:
            lines.append("gzip on; gzip_min_length 100;")
        if self.slow:
            lines.append(f"limit_rate {self.slow}k;")
        if self.declared in ("header", "bom"):
            lines.append(f"charset {self.label};")
        return "\n        ".join(lines)

    def table(self, url: str, **others: object) -> dict[str, object]:
        """Its [[site]] table in sites.toml."""
        return {
            "name": self.name,
            "start": [f"{url}/"],
            "allow_private": True,
            "audit": self.audit,
            "hard_max_age": f"{self.hard_max_age}h",
            **others,
        }

    def codec(self, number: int) -> str:
        """Of the page with this number."""
        return self.codecs[number % len(self.codecs)]

    def page(self, source: str, number: int, mtime: int) -> Page:
        """What the server has for a page with this markup. What its encoding cannot say, it says by references."""
        codec, text = self.codec(number), source
        if self.declared == "meta":
            meta = f'<meta http-equiv="Content-Type" content="text/html; charset={self.label}" />'
            text = META_CHARSET.sub(meta, XML_DECLARATION.sub("", source), count=1)
            assert meta in text[:900], f"{self.name}: a page that has no place for its encoding"
        elif self.declared == "xml":
            declaration = f'<?xml version="1.0" encoding="{self.label}"?>\n'
            text = declaration + META_CHARSET.sub("", XML_DECLARATION.sub("", source), count=1)
        body = BOMS.get(codec, b"") + text.encode(codec, "xmlcharrefreplace")
        return Page(source, body, mtime)

    def validator(self, page: Page) -> tuple[str, str]:
        """If-None-Match and If-Modified-Since, as a client sends them that has the page; "-": not sent."""
        if self.validators == "none":
            return "-", "-"
        if self.validators == "modified":
            return "-", formatdate(page.mtime, usegmt=True)
        return f'{"W/" if self.gzip else ""}"{page.mtime:x}-{len(page.body):x}"', "-"


HANDBOOK = "usr/share/doc/debian-handbook/html"
SHELVES = (
    Shelf("sphinx", "python-werkzeug-doc", "usr/share/doc/python-werkzeug-doc/html/*.html", parts=3),
    Shelf("javadoc", "libcommons-lang3-java-doc", "*/api/org/*.html", lastmods="none", validators="none"),
    Shelf("docbook", "debian-handbook", f"{HANDBOOK}/en-US/*.html", lastmods="same", validators="etag", parts=2),
    Shelf("mediawiki", "cppreference-doc-en-html", "*/en/cpp/string/*.html", lastmods="none", validators="modified"),
    Shelf("zipped", "debian-policy", "usr/share/doc/debian-policy/*.html", most=30, lastmods="none", gzip=True),
    Shelf("aged", "git-doc", "usr/share/doc/git-doc/*.html", parts=2, hard_max_age=40),
    Shelf("audited", "python-celery-doc", "*/html/[d-z]*.html", most=60, audit=0.25),
    Shelf("japanese", "debian-handbook", f"{HANDBOOK}/ja-JP/*.html",
          codecs=("cp932",), declared="meta", label="Shift_JIS"),
    Shelf("russian", "debian-handbook", f"{HANDBOOK}/ru-RU/*.html",
          codecs=("cp1251",), declared="header", label="windows-1251"),
    Shelf("chinese", "debian-handbook", f"{HANDBOOK}/zh-CN/*.html",
          codecs=("gb18030",), declared="xml", label="gb2312", lastmods="none"),
    Shelf("korean", "debian-faq-ko", "*/FAQ/ko/*.html", most=16,
          codecs=("cp949",), declared="meta", label="euc-kr", quiet=True),
    Shelf("persian", "debian-handbook", f"{HANDBOOK}/fa-IR/*.html",
          codecs=("utf-16-le", "utf-16-be"), declared="bom", label="utf-8"),
)  # fmt: skip


def sources(shelf: Shelf) -> dict[str, str]:
    """Path on the site -> markup, two more than `most`. Raises NoPages."""
    root = unpack(shelf.package, shelf.only)
    files = sorted(
        file
        for file in root.rglob("*.html")
        if file.is_file() and not file.is_symlink() and fnmatch(str(file.relative_to(root)), shelf.only)
    )
    wanted = shelf.most + 2
    found: dict[str, str] = {}
    for file in spread(files, 2 * wanted):
        text = file.read_bytes().decode("utf-8", "replace")
        if len(text) <= MOST_LETTERS and "\ufffd" not in text and len(TAG.sub("", text)) >= FEWEST_LETTERS:
            found[quote("/" + file.relative_to(root).as_posix().removeprefix("usr/share/"))] = text
    assert len(found) >= 0.9 * wanted or len(files) < wanted, f"{shelf.name}: {len(found)} pages of {len(files)}"
    return dict(list(found.items())[:wanted])


def spread(files: list[Path], most: int) -> Iterable[Path]:
    """So many of them, from all over the list."""
    return files[:: max(1, len(files) // most)]


def write(served: Served, shelf: Shelf, folder: Path, url: str) -> None:
    """The site as files below `folder`."""
    for path, page in served.pages.items():
        file = folder / unquote(path).lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(page.body)
        utime(file, (page.mtime, page.mtime))
    for path, status in served.status.items():
        file = folder / f"{unquote(path).lstrip('/')}.{status}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    write_maps(folder, url, served.listed, shelf.parts)
    if served.cut:
        (folder / "maps" / "part-0.xml.gz").unlink()


class Library:
    """The sites behind one nginx, night by night: all nights lie ready, and one is served."""

    def __init__(self, folder: Path, shelves: Iterable[Shelf]) -> None:
        self.folder = folder
        self.shelves = {shelf.name: shelf for shelf in shelves}
        self.server = Nginx(folder, [Host(shelf.name, shelf.directives) for shelf in self.shelves.values()])
        self.nights: dict[str, dict[str, Served]] = {}

    def url(self, name: str) -> str:
        return self.server.url_of(name)

    def add(self, night: str, sites: dict[str, Served]) -> None:
        """Lay a night's files down; a site that is not in it has none."""
        shutil.rmtree(self.folder / night, ignore_errors=True)
        for name, served in sites.items():
            (self.folder / night / name).mkdir(parents=True)
            write(served, self.shelves[name], self.folder / night / name, self.url(name))
        self.nights[night] = sites

    def serve(self, night: str) -> dict[str, Served]:
        """From now on it is this night on all sites."""
        new = self.folder / "www.new"
        new.symlink_to(self.folder / night)
        new.rename(self.server.www)
        return self.nights[night]


@contextmanager
def opened(folder: Path, shelves: Iterable[Shelf]) -> Iterator[Library]:
    """The library, its nginx running; nothing is served yet."""
    library = Library(folder, shelves)
    (folder / "empty").mkdir()
    library.server.www.symlink_to(folder / "empty")
    with library.server:
        yield library
