"""A documentation site of some hundred real pages, from Debian's packages, with a sitemap index and gzipped parts.

The packages are fetched once, by `apt-get download`, into a cache outside the repository (RUNNER_TEST_CACHE, by default
~/.cache/runner-tests); which pages are taken depends on nothing but their names.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.acceptance.nginx import Nginx

PACKAGES = {"git-doc": 150, "sqlite3-doc": 120, "debian-policy": 40}  # how many pages of each, at most
PARTS = 3
MISSING = "/manual/no-longer-here.html"  # the sitemap names it, the server has no such page


class NoPages(Exception):
    """The packages cannot be had on this machine."""


@dataclass(frozen=True)
class Site:
    url: str
    server: Nginx
    pages: frozenset[str]  # paths that the sitemap names and the server has
    missing: frozenset[str]  # paths that the sitemap names and the server has not

    @property
    def asked_for(self) -> frozenset[str]:
        return self.pages | self.missing


def cache() -> Path:
    default = Path.home() / ".cache" / "runner-tests"
    return Path(os.environ.get("RUNNER_TEST_CACHE") or default).absolute()


def unpack(package: str) -> Path:
    """The folder with a package's files; downloads it the first time. Raises NoPages."""
    target = cache() / package
    if target.is_dir():
        return target
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NoPages(f"needs apt-get and dpkg-deb to fetch {package} (.ci/run runs on Debian)")
    cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache(), prefix=f".{package}-") as temporary:
        os.chmod(temporary, 0o755)  # so that apt's own user may write there, where it can
        fetched = subprocess.run(
            ["apt-get", "download", package], cwd=temporary, capture_output=True, text=True, check=False
        )
        archives = list(Path(temporary).glob("*.deb"))
        if fetched.returncode or not archives:
            raise NoPages(f"apt-get download {package}: {fetched.stderr.strip() or 'no file'} (apt-get update first?)")
        unpacked = Path(temporary) / "files"
        subprocess.run(["dpkg-deb", "-x", str(archives[0]), str(unpacked)], check=True)
        try:
            unpacked.rename(target)
        except OSError:
            if not target.is_dir():  # else another test process was first
                raise
    return target


def cached_pages() -> dict[str, Path]:
    """Path on the site -> file, of all packages, the same ones every time. Raises NoPages."""
    pages: dict[str, Path] = {}
    for package, most in PACKAGES.items():
        root = unpack(package) / "usr" / "share" / "doc"
        files = sorted(file for file in root.rglob("*.html") if file.is_file() and not file.is_symlink())
        step = max(1, len(files) // most)
        for file in files[::step][:most]:
            pages[f"/{file.relative_to(root).as_posix()}"] = file
    return pages


def build(server: Nginx, pages: dict[str, Path]) -> Site:
    """Put the pages into the server's folder, and a sitemap over them."""
    paths = []
    for path, file in pages.items():
        target = server.www / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        paths.append(quote(path))
    write_sitemap(server, [*paths, MISSING])
    return Site(server.url, server, frozenset(paths), frozenset([MISSING]))


def write_sitemap(server: Nginx, paths: list[str], parts: int = PARTS) -> None:
    """robots.txt names an index, the index names gzipped parts; every tenth page stands in all of them."""
    schema = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    names = []
    for number in range(parts):
        entries = "".join(
            f"<url><loc>{escape(server.url + path)}</loc><lastmod>2026-11-{1 + n % 20:02d}</lastmod></url>\n"
            for n, path in enumerate(paths)
            if n % parts == number or n % 10 == 0
        )
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {schema}>\n{entries}</urlset>\n'
        names.append(f"/maps/part-{number}.xml.gz")
        target = server.www / names[-1].lstrip("/")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.compress(text.encode(), mtime=0))
    maps = "".join(f"<sitemap><loc>{escape(server.url + name)}</loc></sitemap>\n" for name in names)
    index = f'<?xml version="1.0" encoding="UTF-8"?>\n<sitemapindex {schema}>\n{maps}</sitemapindex>\n'
    (server.www / "maps" / "all.xml").write_text(index)
    (server.www / "robots.txt").write_text(f"User-agent: *\nDisallow: /private/\nsitemap: {server.url}/maps/all.xml\n")


def is_plumbing(path: str) -> bool:
    """robots.txt, sitemaps and the usual guesses at them: no pages."""
    return path == "/robots.txt" or path.startswith("/maps/") or "sitemap" in path
