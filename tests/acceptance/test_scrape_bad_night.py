"""A night in which sitemaps lie and a page fails, and the next one, in which all is well: nothing is given up."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.acceptance.docs_site import NoPages
from tests.acceptance.forecast import Forecast, SiteNight, tonight
from tests.acceptance.judged import check_corpora, check_files, check_report, check_requests
from tests.acceptance.library import SHELVES, Library, Served, Shelf, opened
from tests.acceptance.project import Project
from tests.acceptance.scraped import Night, fall, scraping_project, spend
from tests.acceptance.second_night import PRIVATE, Change, first_night, take, text_of

pytestmark = [pytest.mark.nginx, pytest.mark.timeout(300)]

NIGHTS = {"the night before": 0, "the bad night": 24, "the bad night, again": 24, "the night after": 48}  # h
SHRUNK = "sphinx", "javadoc"  # half of the pages are listed; with lastmods, and without
CUT = "aged"  # a sitemap that was there is not
WELL = "mediawiki"
DOUBTED = (*SHRUNK, CUT)


@dataclass(repr=False)
class Story:
    library: Library
    project: Project
    nights: dict[str, Night]
    expected: dict[str, dict[str, SiteNight]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    seed = int(os.environ["RUNNER_TEST_SEED"])
    shelves = [replace(shelf, most=24) for shelf in SHELVES if shelf.name in (*DOUBTED, WELL)]
    with opened(tmp_path_factory.mktemp("library"), shelves) as library:
        try:
            before = {shelf.name: first_night(shelf, seed)[0] for shelf in shelves}
        except NoPages as reason:
            pytest.skip(str(reason))
        bad = {shelf.name: bad_night(shelf, before[shelf.name], seed) for shelf in shelves}
        library.add("the night before", before)
        library.add("the bad night", bad)
        library.add("the night after", {name: night_after(before[name], bad[name]) for name in bad})
        project = scraping_project(tmp_path_factory.mktemp("bad"), library)
        yield told(project, library)
        project.close()


def bad_night(shelf: Shelf, before: Served, seed: int) -> Served:
    chance = random.Random(f"{seed} {shelf.name} bad night")
    free = sorted(before.pages.keys() - {PRIVATE})
    if shelf.name in SHRUNK:  # of the half that is not listed, one page is not found, and one is gone: it says
        dropped = chance.sample(free, len(before.listed) // 2)
        listed = {path: lastmod for path, lastmod in before.listed.items() if path not in dropped}
        pages = {path: page for path, page in before.pages.items() if path not in dropped[:2]}
        return Served(pages, listed, {dropped[0]: 410})
    change = Change(shelf, before)
    free = [path for path in before.readable(2) if path in free] if shelf.name != CUT else in_second_part(before)
    chance.shuffle(free)
    for path in take(free, 2, change.can_be_modified):
        change.modify(path, chance)
    failing, _ = change.events.modified
    served, _ = change.result()
    return replace(served, status={failing: 500}, cut=shelf.name == CUT)


def in_second_part(served: Served) -> list[str]:
    """Pages that are listed where the other sitemap cannot be had."""
    return [path for path in replace(served, cut=True).readable(2) if path in served.pages and path != PRIVATE]


def night_after(before: Served, bad: Served) -> Served:
    """What was lost is back; what has changed stays so."""
    listed = {**before.listed, **bad.listed}
    return Served({**before.pages, **bad.pages}, {path: listed[path] for path in before.listed})


def told(project: Project, library: Library) -> Story:
    forecasts = {name: Forecast(shelf) for name, shelf in library.shelves.items()}
    story = Story(library, project, {}, {})
    for step, hour in NIGHTS.items():
        again, served = step.endswith("again"), step.removesuffix(", again")
        if hour and not again:
            fall(project)
        library.serve(served)
        night = story.nights[step] = spend(project, library)
        doubted = DOUBTED if served == "the bad night" else ()
        story.expected[step] = tonight(library, forecasts, night.start, hour, served, doubted)
    return story


def test_the_exit_code_tells(story: Story) -> None:
    assert {name: night.outcome.code for name, night in story.nights.items()} == {
        "the night before": 0,
        "the bad night": 1,
        "the bad night, again": 1,
        "the night after": 0,
    }


def test_it_is_said_loudly(story: Story) -> None:
    """On stderr, a line for each site, that says what to do."""
    for night in ("the bad night", "the bad night, again"):
        said = story.nights[night].outcome.err
        for name in DOUBTED:
            lines = [line for line in said.splitlines() if name in line and "Alarm" in line]
            assert lines, f"nothing is said of {name}: {said}"
        assert "max_shrink" in said
    for night in ("the night before", "the night after"):
        assert "Alarm" not in story.nights[night].outcome.err


@pytest.mark.parametrize("step", NIGHTS)
def test_requests_report_files_and_corpora_are_right(story: Story, step: str) -> None:
    night, expected = story.nights[step], story.expected[step]
    check_requests(night, expected)
    check_report(story.library, night, expected)
    check_files(story.library, night, expected)
    check_corpora(story.library, night, expected)


def test_nothing_is_given_up(story: Story) -> None:
    """In a night that is doubted, not even what is 410. All of it is there in the next night, and was never written."""
    _, bad, again, after = story.nights.values()
    assert bad.after == again.after
    for name in SHRUNK:
        assert not bad.report[name]["absent"], name
        assert not after.report[name]["absent"], name
        assert bad.texts(name, "after") == bad.texts(name, "before") == after.texts(name, "after"), name
    assert len(bad.report["javadoc"]["missing"]) == 2, "without a lastmod, they were asked for"
    assert not bad.report["sphinx"]["missing"], "and with one they were not"
    assert not list((story.project.state / "trash").rglob("*.*")), "nothing was put aside"


def test_a_page_that_fails_keeps_its_text_and_the_others_get_theirs(story: Story) -> None:
    _, bad, _, after = story.nights.values()
    for name in (WELL, CUT):
        (failed,), (changed,) = bad.report[name]["failed"], bad.report[name]["changed"]
        assert failed in after.report[name]["changed"], "asked for in the next night, whatever its lastmod was"
        path = changed.removeprefix(story.library.url(name))
        before, new = (
            {*text_of(story.library.nights[night][name].pages[path].source).split("\n")} for night in list(NIGHTS)[:2]
        )
        rows = {(row["url"], row["text"]) for row in bad.rows(name)}
        assert rows & {(changed, line) for line in new - before}
        assert failed in {url for url, _ in rows}, "its rows of last night"


def test_the_alarms_are_over(story: Story) -> None:
    """The failed jobs of the bad night do not stay failed for ever."""
    checked = story.project.runner("check", "--verify")
    assert checked.code == 0, checked.err + checked.out
    assert story.project.counts().keys() <= {"done", "cancelled"}, story.project.counts()
