"""A mistake in sites.toml, by the real command line: one line that leads to it, and nothing is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.demo.project import make_scraping_project
from tests.acceptance.project import QUICK, Project
from tests.acceptance.samples import GOOD, run

pytestmark = pytest.mark.acceptance

SITE = {"name": "demo", "start": ["http://127.0.0.1:8765/"], "allow_private": True}


@pytest.fixture
def scraping(tmp_path: Path) -> Project:
    project = Project(make_scraping_project(tmp_path / "scraping", [SITE]))
    project.module("good", GOOD)
    run(project, 0, "jobs.good:good")
    return project


@pytest.mark.parametrize(
    ("added", "says"),
    [
        ("\nextractor = 'x'\n", ":8: extractor: expected auto, soup or trafilatura, found 'x'"),
        ("rate = fast\n", ":7: not valid TOML: Invalid value"),
        ("[[site]]\nname = 'b'\n", ":7: start: missing: addresses of the site (ending in /) or of its sitemaps"),
    ],
)
def test_a_mistake_is_one_line(added: str, says: str, scraping: Project) -> None:
    sites = scraping.root / "jobs" / "sites.toml"
    sites.write_text(sites.read_text(encoding="utf-8") + added, encoding="utf-8")
    before = scraping.snapshot()
    for words in (("run", *QUICK), ("plan",)):
        outcome = scraping.runner(*words)
        assert outcome.code == 2
        told = [line for line in outcome.err.splitlines() if not line.startswith("warning: ")]
        assert told == [f"runner: jobs/sites.toml{says}"]
        assert outcome.out == ""
    assert scraping.snapshot() == before, "nothing was to be moved"


def test_no_file(scraping: Project) -> None:
    before = scraping.snapshot()
    outcome = scraping.runner("run", "jobs.scrape:nightly", "sites=none.toml", *QUICK)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("runner: none.toml: there is no such file: write it, or name")
    assert "Traceback" not in outcome.err
    assert scraping.snapshot() == before
