"""A real documentation site behind a real nginx, scraped under fire: files and requests as if nothing had happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.demo.project import TARGET, make_scraping_project
from tests.acceptance.conftest import ROUNDS
from tests.acceptance.docs_site import Site, is_plumbing
from tests.acceptance.invariants import check_state
from tests.acceptance.killer import Killer
from tests.acceptance.project import Project

pytestmark = [pytest.mark.nginx, pytest.mark.timeout(300)]

KILLS = 24  # the promise is tested with 20 at least
RATE = 150.0  # pages a second: so many kills need time to strike in
RUN = ("run", TARGET, "--workers", "2", "--threads", "4")


def scraping_project(folder: Path, site: Site) -> Project:
    tables = [{"name": "docs", "start": [site.url], "concurrency": 8, "rate": RATE, "allow_private": True}]
    return Project(make_scraping_project(folder, tables))


def outputs(project: Project) -> dict[str, bytes]:
    """Every file below data/, leftovers and dot files too."""
    files = (file for file in (project.root / "data").rglob("*") if file.is_file())
    return {str(file.relative_to(project.root)): file.read_bytes() for file in files}


def recorded_outputs(project: Project) -> set[str]:
    """Paths that the job files call outputs."""
    return {
        path for job in project.jobs("done") for path, record in job["result"]["outputs"].items() if record is not None
    }


def page_requests(site: Site, since: int) -> Counter[str]:
    """How often each page was asked for; anything else must be robots.txt or a sitemap."""
    asked = Counter(request.path for request in site.server.requests(since) if not is_plumbing(request.path))
    assert asked.keys() <= site.asked_for, f"asked for, and in no sitemap: {asked.keys() - site.asked_for}"
    return asked


@pytest.fixture(scope="module")
def undisturbed(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The site, scraped in peace: what every other run is compared with."""
    project = scraping_project(tmp_path_factory.mktemp("undisturbed"), site)
    since = site.server.log_size()
    outcome = project.runner(*RUN, seconds=120)
    assert outcome.code == 0, outcome.err
    asked = page_requests(site, since)
    assert asked == dict.fromkeys(site.asked_for, 1), "each page is asked for once"
    yield project
    project.close()


def test_undisturbed(site: Site, undisturbed: Project) -> None:
    found = outputs(undisturbed)
    assert found.keys() == recorded_outputs(undisturbed)
    raw = [data for name, data in found.items() if "/raw/" in name and not name.endswith(".json")]
    served = [(site.server.www / path.lstrip("/")).read_bytes() for path in site.pages]
    assert sorted(raw) == sorted(served), "every page lies there, byte by byte"
    texts = [data.decode() for name, data in found.items() if name.endswith(".txt") and "/text/" in name]
    assert len(texts) > 0.9 * len(site.pages)
    assert sum(len(text.split()) > 20 for text in texts) > 0.9 * len(texts)
    assert any("This command updates the index using the current content found in the working tree" in t for t in texts)
    assert not any("<html" in text[:1000].lower() for text in texts)
    check_state(undisturbed.root)


def test_a_second_run_asks_for_no_page(site: Site, undisturbed: Project) -> None:
    before, since = outputs(undisturbed), site.server.log_size()
    assert undisturbed.runner(*RUN, seconds=120).code == 0
    assert not page_requests(site, since)
    assert outputs(undisturbed) == before


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_under_fire(
    turn: int,
    site: Site,
    undisturbed: Project,
    new_project: Callable[..., Project],
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    project = new_project("fire")
    scraping_project(project.root, site)
    begin = site.server.log_size()
    done_at_death: list[tuple[set[str], int]] = []

    def note_death() -> None:
        urls = {job["params"]["url"] for job in project.jobs("done", "FetchPage-")}
        done_at_death.append(({url.removeprefix(site.url) for url in urls}, site.server.log_size()))

    killer = Killer(project, RUN, seed, step=len(site.pages) // KILLS, while_dead=note_death)
    told = killer.run(KILLS)
    assert killer.struck.total() >= 20
    assert all(killer.struck[kind] for kind in killer.kinds), told

    wanted, found = outputs(undisturbed), outputs(project)
    assert found.keys() == wanted.keys()
    different = [name for name in wanted if found[name] != wanted[name]]
    assert not different, f"not as in the undisturbed run: {different[:5]}"
    assert found.keys() == recorded_outputs(project)
    assert project.counts() == undisturbed.counts()
    check_state(project.root)
    checked = project.runner("check")
    assert checked.code == 0, checked.err + checked.out

    asked = page_requests(site, begin)
    assert asked.keys() == site.asked_for, "each page was asked for"
    for done, since in done_at_death:
        again = page_requests(site, since).keys() & done
        assert not again, f"fetched and done, then asked for again: {again}"
    record_property("struck", f"{told}; {asked.total() - len(asked)} of {len(asked)} pages asked for again")
