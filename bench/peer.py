"""Peers, each in an environment of its own beside the cache of the tests; made at the first use, from the registry."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from bench.ground import HERE
from tests.acceptance.docs_site import cache

SPIDER = HERE / "scrapy_spider.py"
SHARED = ("lxml", "numpy", "msgspec")


def environment(distribution: str, *, shared: Sequence[str] = (), otherwise: str) -> Path:
    """The Python that has this peer. Exits, with what pip said and what to do otherwise, if it cannot be had.

    `shared`: what our side has too, in the same versions, so that only the peer differs.
    """
    home = cache() / f"{distribution}-python{sys.version_info.major}.{sys.version_info.minor}"
    ready = home / "-".join([".ready", *(["with", *shared] if shared else [])])
    if not ready.exists():
        print(f"making {home}, once", flush=True)
        venv.create(home, with_pip=True, clear=True)
        pinned = [f"{name}=={version(name)}" for name in shared]
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", distribution, *pinned]
        done = subprocess.run([home / "bin" / "python", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"the peer {distribution} cannot be had ({otherwise}):\n{done.stderr[-2000:]}")
        ready.touch()
    return home / "bin" / "python"


def peer_version(python: Path, distribution: str) -> str:
    code = f"from importlib.metadata import version; print(version({distribution!r}))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def scrapy() -> Path:
    return environment("scrapy", shared=SHARED, otherwise="--part leaves it out")


def scrapy_version(python: Path) -> str:
    code = "import scrapy, sys; print(f'Scrapy {scrapy.__version__}, Python {sys.version.split()[0]}')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def spider(python: Path, starts: list[str], out: Path, *settings: str) -> list[str]:
    """The command that scrapes the sites of `starts` (they end in /) into the folder `out`."""
    robots = ",".join(f"{start}robots.txt" for start in starts)
    return [str(python), str(SPIDER), str(HERE.parent), robots, str(out), *settings]
