"""A scraping project in a folder of its own: the `jobs` package copied in, the sites to scrape, the settings.

Used by the demo, the acceptance tests and the benchmarks. It must not import the engine, nor `jobs`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.templates import TEMPLATES, files_of

TARGET = TEMPLATES["scrape"].target

Site = Mapping[str, object]
"""One `[[site]]` table of sites.toml: strings, numbers, booleans, lists of strings."""


def sites_toml(sites: Sequence[Site], contact: str = "nobody@example.invalid") -> str:
    """The text of a sites.toml. JSON's strings, numbers, booleans and lists of strings are TOML too."""
    lines = [f"contact = {json.dumps(contact)}"]
    for site in sites:
        lines += ["", "[[site]]", *(f"{key} = {json.dumps(value)}" for key, value in site.items())]
    return "\n".join(lines) + "\n"


def make_scraping_project(folder: Path, sites: Sequence[Site]) -> Path:
    """Make `folder` a project that scrapes `sites`, over whatever is there; returns it."""
    files = files_of("scrape") | {"jobs/sites.toml": sites_toml(sites).encode()}
    for name in (name for name in files if not name.startswith((".", "state/"))):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
    return folder
