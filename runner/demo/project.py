"""A scraping project in a folder of its own: the `jobs` package copied in, the sites to scrape, the settings.

Used by the demo, the acceptance tests and the benchmarks. It must not import the engine, nor `jobs`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

TARGET = "jobs.scrape:nightly"

Site = Mapping[str, object]
"""One `[[site]]` table of sites.toml: strings, numbers, booleans, lists of strings."""

SETTINGS = f"""\
[tool.runner]
target = "{TARGET}"
modules = ["jobs"]
"""


def sites_toml(sites: Sequence[Site], contact: str = "nobody@example.invalid") -> str:
    """The text of a sites.toml. JSON's strings, numbers, booleans and lists of strings are TOML too."""
    lines = [f"contact = {json.dumps(contact)}"]
    for site in sites:
        lines += ["", "[[site]]", *(f"{key} = {json.dumps(value)}" for key, value in site.items())]
    return "\n".join(lines) + "\n"


def jobs_folder() -> Path:
    """Where the `jobs` package lies. Raises FileNotFoundError if it is not installed beside the runner."""
    spec = find_spec("jobs")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the package `jobs` is not installed: start this from the repository")
    return Path(next(iter(spec.submodule_search_locations)))


def make_scraping_project(folder: Path, sites: Sequence[Site]) -> Path:
    """Make `folder` (which must not exist, or be empty) a project that scrapes `sites`; returns it."""
    shutil.copytree(
        jobs_folder(), folder / "jobs", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "sites.toml")
    )
    (folder / "jobs" / "sites.toml").write_text(sites_toml(sites), encoding="utf-8")
    (folder / "pyproject.toml").write_text(SETTINGS, encoding="utf-8")
    return folder
