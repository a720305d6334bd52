"""Scrapy, in an environment of its own beside the cache of the tests; made at the first use, from the registry."""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

from bench.ground import HERE
from tests.acceptance.docs_site import cache

SPIDER = HERE / "scrapy_spider.py"
SHARED = ("lxml", "numpy", "msgspec")


def scrapy() -> Path:
    """The Python that has it. Exits, with what pip said, if it cannot be had."""
    home = cache() / f"scrapy-python{sys.version_info.major}.{sys.version_info.minor}"
    ready = home / f".ready-with-{'-'.join(SHARED)}"
    if not ready.exists():
        print(f"making {home}, once")
        venv.create(home, with_pip=True, clear=True)
        # What our side has too: only the framework is to differ.
        shared = [f"{name}=={version(name)}" for name in SHARED]
        words = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "scrapy", *shared]
        done = subprocess.run([home / "bin" / "python", *words], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"Scrapy, the peer, cannot be had (--part leaves it out):\n{done.stderr[-2000:]}")
        ready.touch()
    return home / "bin" / "python"


def scrapy_version(python: Path) -> str:
    code = "import scrapy, sys; print(f'Scrapy {scrapy.__version__}, Python {sys.version.split()[0]}')"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def spider(python: Path, starts: list[str], out: Path, *settings: str) -> list[str]:
    """The command that scrapes the sites of `starts` (they end in /) into the folder `out`."""
    robots = ",".join(f"{start}robots.txt" for start in starts)
    return [str(python), str(SPIDER), str(HERE.parent), robots, str(out), *settings]
