"""Twelve real sites over three nights, in which pages change, vanish and come: the right requests, report and files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.acceptance.docs_site import NoPages
from tests.acceptance.forecast import Forecast, SiteNight, tonight
from tests.acceptance.invariants import check_state
from tests.acceptance.judged import check_corpora, check_files, check_report, check_requests
from tests.acceptance.library import SHELVES
from tests.acceptance.project import Project
from tests.acceptance.scraped import Night, bump_parser, configure, fall, raw, scraping_project, spend, tables, text
from tests.acceptance.second_night import Plan, planned, text_of

pytestmark = [pytest.mark.nginx, pytest.mark.timeout(300)]

NAMES = [shelf.name for shelf in SHELVES]
DAY = 24  # h
SELECTED = "japanese"  # the site whose config is changed


@dataclass(repr=False)
class Story:
    """Night by night, each once and in order, as far as a test needs them; with what was to be expected."""

    plan: Plan
    project: Project
    forecasts: dict[str, Forecast]
    nights: dict[str, Night] = field(default_factory=dict)
    expected: dict[str, dict[str, SiteNight]] = field(default_factory=dict)
    begun: str = ""

    def until(self, step: str) -> tuple[Night, dict[str, SiteNight]]:
        for earlier, begin in STEPS.items():
            if earlier not in self.nights:
                assert not self.begun, f"the story ended with {self.begun}: see the first test that failed"
                self.begun = earlier
                served, hour = begin(self)
                self.plan.library.serve(served)
                night = spend(self.project, self.plan.library)
                self.expected[earlier] = tonight(self.plan.library, self.forecasts, night.start, hour, served)
                self.nights[earlier], self.begun = night, ""
            if earlier == step:
                break
        return self.nights[step], self.expected[step]


def another_night(served: str, hour: int) -> Callable[[Story], tuple[str, int]]:
    def begin(story: Story) -> tuple[str, int]:
        if hour:
            fall(story.project, DAY)
        return served, hour

    return begin


def another_select(story: Story) -> tuple[str, int]:
    sites = tables(story.plan.library)
    next(site for site in sites if site["name"] == SELECTED)["select"] = ["h1", "h2", "h3", "p"]
    configure(story.project, sites)
    return "second", 2 * DAY


def another_parser(story: Story) -> tuple[str, int]:
    bump_parser(story.project)
    return "second", 2 * DAY


STEPS: dict[str, Callable[[Story], tuple[str, int]]] = {
    "the first night": another_night("first", 0),
    "the first night, again": lambda _: ("first", 0),
    "the second night": another_night("second", DAY),
    "the second night, again": lambda _: ("second", DAY),
    "the third night": another_night("second", 2 * DAY),
    "with another select": another_select,
    "with another parser": another_parser,
}
NIGHTS = ["the first night", "the second night", "the third night"]
STILL = [step for step in STEPS if step not in NIGHTS]
SAME_RULES = [step for step in STEPS if not step.startswith("with")]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    try:
        with planned(tmp_path_factory.mktemp("library"), int(os.environ["RUNNER_TEST_SEED"])) as plan:
            project = scraping_project(tmp_path_factory.mktemp("story"), plan.library)
            yield Story(plan, project, {shelf.name: Forecast(shelf) for shelf in SHELVES})
            project.close()
    except NoPages as reason:
        pytest.skip(str(reason))


# ------------------------------------------------------------------------------------------------------- each night


@pytest.mark.parametrize("step", STEPS)
def test_it_ends_well(story: Story, step: str) -> None:
    night, _ = story.until(step)
    assert night.outcome.code == 0, night.outcome.err[-2000:]


@pytest.mark.parametrize("step", NIGHTS)
def test_the_requests_are_those_that_must_be(story: Story, step: str) -> None:
    """None too many, none missing, and each with the validators that the server gave."""
    night, expected = story.until(step)
    check_requests(night, expected)
    for name in NAMES:
        assert night.plumbing(name)["/robots.txt"] == 1, name
        assert set(night.plumbing(name).values()) == {1}, f"{name}: {night.plumbing(name)}"


@pytest.mark.parametrize("step", STILL)
def test_nothing_is_asked_for_twice_in_a_night(story: Story, step: str) -> None:
    """Not even robots.txt; nor for another select, nor for another parser."""
    assert story.until(step)[0].requests == []


@pytest.mark.parametrize("step", [*SAME_RULES, "with another parser"])
def test_the_report_is_right_to_the_page(story: Story, step: str) -> None:
    night, expected = story.until(step)
    check_report(story.plan.library, night, expected)


@pytest.mark.parametrize("step", SAME_RULES)
def test_the_files_are_right_to_the_byte(story: Story, step: str) -> None:
    night, expected = story.until(step)
    check_files(story.plan.library, night, expected)


@pytest.mark.parametrize("step", STEPS)
def test_the_corpus_is_of_the_pages_that_are_there(story: Story, step: str) -> None:
    night, expected = story.until(step)
    check_corpora(story.plan.library, night, expected)


@pytest.mark.parametrize("step", STEPS)
def test_what_has_not_changed_is_not_written_again(story: Story, step: str) -> None:
    """The same file, with the same mtime; and none of a page that has not changed is another."""
    night, expected = story.until(step)
    both = night.before.keys() & night.after.keys()
    rewritten = [
        path
        for path in both
        if night.before[path].data == night.after[path].data and night.before[path] != night.after[path]
    ]
    assert not rewritten, f"the same bytes in another file, or with another mtime: {rewritten[:10]}"
    if step not in SAME_RULES:
        return
    other = {path for path in both if night.before[path] != night.after[path]}
    for name, site in expected.items():
        places = (raw, text)
        may = {place(story.plan.library, name, path) for path in site.parsed for place in places}
        did = {path.rpartition(".")[0] for path in other if path.startswith((f"{name}/raw/", f"{name}/text/"))}
        assert did <= may, f"{name}: of a page that has not changed: {sorted(did - may)}"
        for path in site.report["markup_only"]:
            assert f"{text(story.plan.library, name, path)}.txt" not in other, path


@pytest.mark.parametrize("step", NIGHTS)
def test_what_is_gone_is_kept_aside(story: Story, step: str) -> None:
    """In the state's trash, under its name and with its bytes."""
    night, expected = story.until(step)
    trash = story.project.state / "trash" / night.run / "data"
    found = {str(file.relative_to(trash)): file.read_bytes() for file in trash.rglob("*") if file.is_file()}
    gone = {path: file.data for path, file in night.before.items() if path not in night.after}
    assert found == gone
    absent = {
        f"{text(story.plan.library, name, path)}.txt"
        for name, site in expected.items()
        for path in site.report["absent"]
    }
    assert {path for path in gone if path.endswith(".txt")} == absent & night.before.keys()


@pytest.mark.parametrize("step", STEPS)
def test_no_more_is_done_than_must_be(story: Story, step: str) -> None:
    """Fetches: as asked. Parses: of pages that have other bytes. Corpora: of sites that have other texts."""
    night, expected = story.until(step)
    for name, site in expected.items():
        everything = step == "with another parser" or (step, name) == ("with another select", SELECTED)
        parses = sum(known.page is not None for known in site.known.values()) if everything else len(site.parsed)
        assert night.attempts["ParsePage", name] == parses, name
        assert night.attempts["FetchPage", name] == len(site.asked), name
        assert night.attempts["SiteCorpus", name] == (night.texts(name, "before") != night.texts(name, "after")), name


# ------------------------------------------------------------------------------------------------- and all together


def test_the_corpus_has_what_is_new(story: Story) -> None:
    """Of each page that changed, a line that it had not before; in its own script."""
    night, expected = story.until("the second night")
    library, checked = story.plan.library, 0
    for name, events in story.plan.events.items():
        rows: dict[str, set[str]] = {}
        for row in map(json.loads, night.after[f"{name}/corpus.jsonl"].data.splitlines()):
            rows.setdefault(row["url"], set()).add(row["text"])
        for path in {*events.modified, *events.silent} & {*expected[name].report["changed"]}:
            before, after = (text_of(library.nights[served][name].pages[path].source) for served in ("first", "second"))
            new = {*after.split("\n")} - {*before.split("\n")}
            assert new & rows[library.url(name) + path], f"{name}{path}: {new}"
            checked += 1
    assert checked >= 20


PHRASES = {
    "japanese": "パッケージ",
    "russian": "пакет",
    "chinese": "软件包",
    "korean": "데비안",
    "persian": "بسته",
}


@pytest.mark.parametrize("name", PHRASES)
def test_texts_are_in_their_own_script(story: Story, name: str) -> None:
    """By a word that is on most pages of the site: for this no extractor and no decoder of ours is asked."""
    night, _ = story.until("the second night")
    texts = [file.data.decode() for file in night.texts(name, "after").values()]
    assert sum(PHRASES[name] in text for text in texts) > 0.4 * len(texts)
    assert not any("\ufffd" in text for text in texts)


def test_all_kinds_of_things_happened(story: Story) -> None:
    """Else these tests would show less than they say."""
    _, second = story.until("the second night")
    _, third = story.until("the third night")
    assert sum(len(site.known) for site in second.values()) > 400
    for kind in ("new", "changed", "markup_only", "absent", "unlisted", "missing"):
        assert sum(bool(site.report[kind]) for site in second.values()) >= 10, kind
    assert sum(bool(site.report["absent"]) for site in third.values()) >= 10, "not found for the second time"
    for name in ("docbook", "mediawiki", "zipped", "chinese"):
        assert sum(asked.status == 304 for asked in second[name].asked) > 10, name
    assert {asked.status for asked in second["javadoc"].asked} == {200, 404, 410}, "it has no validators"
    assert len(second["sphinx"].asked) < 0.5 * len(second["sphinx"].known), "by lastmod"
    assert len(third["aged"].asked) > 0.5 * len(third["aged"].known), "by hard_max_age"
    lost_trust = [name for name in NAMES if second[name].trusted and not third[name].trusted]
    assert lost_trust == ["audited"], "the audit found a page that had changed without a word"
    assert not second["korean"].report["changed"], "a site without another text keeps its corpus"


def test_the_state_is_sound(story: Story) -> None:
    story.until(list(STEPS)[-1])
    checked = story.project.runner("check", "--verify")
    assert checked.code == 0, checked.err + checked.out
    check_state(story.project.root)
    assert story.project.counts().keys() == {"done"}
