"""Documentation from Debian's packages, and sitemaps over it: of these library.py and the benchmarks make their sites.

The packages are fetched once, by `apt-get download`, into a cache outside the repository (RUNNER_TEST_CACHE, by default
~/.cache/runner-tests).
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.sax.saxutils import escape

PARTS = 3
SCHEMA = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


class NoPages(Exception):
    """The packages cannot be had on this machine."""


def cache() -> Path:
    default = Path.home() / ".cache" / "runner-tests"
    return Path(os.environ.get("RUNNER_TEST_CACHE") or default).absolute()


def unpack(package: str, only: str = "") -> Path:
    """The folder with a package's files; downloads it the first time. Raises NoPages.

    `only`: at least those that match this pattern of `tar`, for packages that are mostly something else.
    """
    target = cache() / (f"{package}_{re.sub(r'[^A-Za-z0-9]+', '-', only).strip('-')}" if only else package)
    for there in (target, cache() / package):
        if there.is_dir():
            return there
    archive = download(package)
    with tempfile.TemporaryDirectory(dir=cache(), prefix=f".{package}-") as temporary:
        unpacked = Path(temporary) / "files"
        unpacked.mkdir()
        patterns = ["--wildcards", f"./{only}"] if only else []
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archive)], stdout=subprocess.PIPE) as tar:
            subprocess.run(["tar", "-x", "-C", str(unpacked), *patterns], stdin=tar.stdout, check=True)
        try:
            unpacked.rename(target)
        except OSError:
            if not target.is_dir():  # else another test process was first
                raise
    return target


def download(package: str) -> Path:
    """The package's archive. Raises NoPages."""
    target = cache() / f"{package}.deb"
    if target.exists():
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
        archives[0].replace(target)
    return target


def write_maps(folder: Path, url: str, lastmods: Mapping[str, str], parts: int) -> None:
    """The sitemaps of the site whose pages are in `folder`: path -> lastmod ("": none).

    robots.txt names an index, the index names so many gzipped parts; every tenth page stands in all of them. `parts` 0:
    one plain sitemap.xml, which nobody names.
    """
    if not parts:
        (folder / "sitemap.xml").write_text(urlset(url, lastmods), encoding="utf-8")
        (folder / "robots.txt").write_text("User-agent: *\nDisallow: /private/\n")
        return
    names = []
    for number in range(parts):
        entries = {
            path: lastmod for n, (path, lastmod) in enumerate(lastmods.items()) if n % parts == number or n % 10 == 0
        }
        names.append(f"/maps/part-{number}.xml.gz")
        target = folder / names[-1].lstrip("/")
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(gzip.compress(urlset(url, entries).encode(), mtime=0))
    maps = "".join(f"<sitemap><loc>{escape(url + name)}</loc></sitemap>\n" for name in names)
    index = f'<?xml version="1.0" encoding="UTF-8"?>\n<sitemapindex {SCHEMA}>\n{maps}</sitemapindex>\n'
    (folder / "maps" / "all.xml").write_text(index)
    (folder / "robots.txt").write_text(f"User-agent: *\nDisallow: /private/\nsitemap: {url}/maps/all.xml\n")


def urlset(url: str, lastmods: Mapping[str, str]) -> str:
    """A sitemap."""
    entries = "".join(
        f"<url><loc>{escape(url + path)}</loc>{f'<lastmod>{lastmod}</lastmod>' if lastmod else ''}</url>\n"
        for path, lastmod in lastmods.items()
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {SCHEMA}>\n{entries}</urlset>\n'


def is_plumbing(path: str) -> bool:
    """robots.txt, sitemaps and the usual guesses at them: no pages."""
    return path == "/robots.txt" or path.startswith("/maps/") or "sitemap" in path
