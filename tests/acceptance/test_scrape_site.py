"""Twelve real sites over two nights, with kill -9 at random moments: files, report and requests as if undisturbed.

The same sites undisturbed, and every rule by itself: test_scrape_nights.py.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest

from tests.acceptance.conftest import ROUNDS
from tests.acceptance.docs_site import NoPages
from tests.acceptance.forecast import Asked, Forecast, SiteNight, tonight
from tests.acceptance.invariants import check_state
from tests.acceptance.judged import check_corpora, check_files, check_report, check_requests
from tests.acceptance.killer import Killer
from tests.acceptance.library import SHELVES, Library
from tests.acceptance.project import Outcome, Project
from tests.acceptance.scraped import RUN, Night, fall, files, newest_run, scraping_project, seen, spend
from tests.acceptance.second_night import planned

pytestmark = [pytest.mark.nginx, pytest.mark.timeout(300)]

NIGHTS = {"first": 0, "second": 24}  # h
KILLS = 12  # a night; the promise is tested with 20 in two
IN_FLIGHT = 8  # requests at once: 2 workers of 4 threads
RATE = 14.0  # pages a second of each site: so many kills need time to strike in
SLOW = {"javadoc": 16}  # kB/s: its larger pages take a second each, and so many kills strike in the middle of one


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    try:
        shelves = [replace(shelf, slow=SLOW.get(shelf.name, 0)) for shelf in SHELVES]
        with planned(tmp_path_factory.mktemp("library"), int(os.environ["RUNNER_TEST_SEED"]), shelves) as plan:
            yield plan.library
    except NoPages as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def undisturbed(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Night]]:
    """The same nights, in peace."""
    project = scraping_project(tmp_path_factory.mktemp("undisturbed"), library)
    nights = {}
    for served, hour in NIGHTS.items():
        if hour:
            fall(project, hour)
        library.serve(served)
        nights[served] = spend(project, library)
        assert nights[served].outcome.code == 0, nights[served].outcome.err[-2000:]
    yield nights
    project.close()


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_killed_in_either_night(
    turn: int,
    library: Library,
    undisturbed: dict[str, Night],
    new_project: Callable[..., Project],
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    project = new_project("fire")
    scraping_project(project.root, library, rate=RATE)
    forecasts = {name: Forecast(shelf) for name, shelf in library.shelves.items()}
    struck = []
    for served, hour in NIGHTS.items():
        if hour:
            fall(project, hour)
        library.serve(served)
        peaceful = undisturbed[served]
        asked = sum(peaceful.asked(name).total() for name in library.shelves)
        night, told = under_fire(project, library, seed + hour, step=asked // KILLS)
        expected = tonight(library, forecasts, night.start, hour, served)
        check_report(library, night, expected)
        check_files(library, night, expected)
        check_corpora(library, night, expected)
        if night.start.date() == peaceful.start.date():  # else it struck midnight, and other pages are audited
            wanted, found = peaceful.contents(), night.contents()
            different = [path for path in wanted if found[path] != wanted[path]]
            assert not different, f"not as in an undisturbed {served} night: {different[:5]}"
        again = check_asked(night, expected)
        struck.append(f"{served} night: {told}; {again} pages asked for again")
    check_third_night(project, library, forecasts)
    checked = project.runner("check", "--verify")
    assert checked.code == 0, checked.err + checked.out
    check_state(project.root)
    record_property("struck", "; ".join(struck))


def check_third_night(project: Project, library: Library, forecasts: Mapping[str, Forecast]) -> None:
    """In peace: some of what a kill may have spoiled shows only now, as what was known of a page is weighed again."""
    fall(project)
    night = spend(project, library)
    expected = tonight(library, forecasts, night.start, 48, "second")
    assert night.outcome.code == 0, night.outcome.err[-2000:]
    check_requests(night, expected)
    check_report(library, night, expected)
    check_files(library, night, expected)
    check_corpora(library, night, expected)


def under_fire(project: Project, library: Library, seed: int, step: int) -> tuple[Night, str]:
    """One night, with so many kills. What was done before one of them is not asked for again after it."""
    before, since = files(project), library.server.log_size()
    last_run = newest_run(project)
    deaths: list[tuple[set[str], int]] = []

    def note_death() -> None:
        run = newest_run(project)
        done = {
            job["params"]["url"]
            for job in project.jobs("done", "FetchPage-")
            if any(attempt["run"] == run for attempt in job["attempts"])
        }
        deaths.append((done if run != last_run else set(), library.server.log_size()))

    def asked_for() -> int:
        return library.server.count(".html", since)

    killer = Killer(project, RUN, seed, step=step, while_dead=note_death, progress=asked_for)
    told = killer.run(KILLS)
    assert killer.struck.total() >= KILLS, told
    assert all(killer.struck[kind] for kind in killer.kinds), told
    for done, at in deaths:
        asked = {library.url(request.site) + request.path for request in library.server.requests(at)}
        assert not asked & done, f"fetched and done, then asked for again: {asked & done}"
    return seen(project, library, Outcome(0, "", project.said()), before, since), told


def check_asked(night: Night, wanted: Mapping[str, SiteNight]) -> int:
    """Each page as it is to be asked for, and some again: as many as may have been in flight. Returns how many."""
    again = 0
    for name, site in wanted.items():
        asked, expected = night.asked(name), Counter(site.asked)
        missing, more = expected - asked, asked - expected
        assert not missing, f"{name}: not asked for: {missing}"
        # Killed with a page's new bytes in place, and no record of them yet: what is there is then not to be trusted.
        afresh = {Asked(one.path, 200) for one in expected if one.status == 200}
        strange = more.keys() - expected.keys() - afresh
        assert not strange, f"{name}: not to be asked for, or not so: {strange}"
        again += more.total()
    assert again <= IN_FLIGHT * KILLS, f"{again} requests more than needed, for {KILLS} kills"
    return again
