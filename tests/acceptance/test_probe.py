"""The measured probe: 20 x (fetch -> parse) -> merge, two nights, of which the second brings next to nothing.

Night two: all pages are fetched, one of them has changed, its text has not: 20 fetches, 1 parse, 0 merges. Once more in
the same night: nothing at all. Killed meanwhile: the same, and no more is done in vain than what the kills cut short.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.acceptance import processes
from tests.acceptance.conftest import ROUNDS
from tests.acceptance.invariants import check_state
from tests.acceptance.killer import KINDS, Killer, Kind
from tests.acceptance.project import Project
from tests.acceptance.site import Site

PAGES = 20
LAST = f"{PAGES - 1:02}"
KILLS = 4
STEP = 2  # jobs between two kills: night two has 21 in all
FLOWS = ("rooted", "found")
FETCH = {"rooted": "Fetch", "found": "FindingFetch"}


def first_night(flow: str) -> list[str]:
    names = [f"{number:02}" for number in range(PAGES)]
    return sorted([f"{FETCH[flow]}-{name}" for name in names] + [f"Parse-{name}" for name in names] + ["Merge"])


def second_night(flow: str) -> list[str]:
    return sorted([f"{FETCH[flow]}-{number:02}" for number in range(PAGES)] + [f"Parse-{LAST}"])


def change_a_page(site: Site) -> None:
    """A page changes, its text does not."""
    site.page(LAST, f"text {LAST}\nstamp 2\n")


def check_first_night(site: Site) -> None:
    names = [f"{number:02}" for number in range(PAGES)]
    pages, texts = [f"raw/{name}.html" for name in names], [f"text/{name}.txt" for name in names]
    assert site.changed() == {"new": ["all.txt", *pages, *texts]}


def check_second_night(site: Site) -> None:
    assert site.changed() == {"changed": [f"raw/{LAST}.html"]}
    unchanged = {task: kinds["unchanged"] for task, kinds in site.changes()["tasks"].items()}
    assert unchanged == {FETCH[site.flow]: PAGES - 1, "Parse": PAGES, "Merge": 1}
    changed = [
        (job["id"], attempt["change"])
        for job in site.project.jobs("done")
        for attempt in job["attempts"]
        if attempt["run"] == site.run and attempt["outcome"] == "done" and attempt["change"] != "unchanged"
    ]
    assert changed == [(job["id"], job["change"]) for job in site.changes()["jobs"]]


def check_end(site: Site) -> None:
    assert site.project.counts() == {"done": 2 * PAGES + 1}
    check_state(site.project.root)
    checked = site.project.runner("check", "--verify")
    assert checked.code == 0, checked.out + checked.err


@pytest.fixture(params=FLOWS)
def site(request: pytest.FixtureRequest, project: Project) -> Site:
    return Site(project, request.param, PAGES)


def test_twenty_one_none(site: Site) -> None:
    site.tonight()
    assert site.ran() == site.started == first_night(site.flow)
    check_first_night(site)
    merged = site.read("all.txt")
    before = site.traces()
    site.again()
    assert (site.started, site.changed(), site.traces()) == ([], {}, before)

    change_a_page(site)
    said = site.tonight().said
    assert site.ran() == site.started == second_night(site.flow)
    assert site.lines("previous") == second_night(site.flow), "those that ran again knew of last time"
    check_second_night(site)
    assert site.read("all.txt") == merged
    assert "41 done" in said
    now = site.traces()
    assert {path for path in now if path.endswith((".html", ".txt")) and now[path] != before[path]} == {
        f"raw/{LAST}.html"
    }, "equal bytes keep the file"

    said = site.again().said
    assert (site.ran(), site.started) == ([], [])
    assert site.changed() == {}
    assert site.traces() == now
    assert "41 done" in said
    check_end(site)


@dataclass
class Cost:
    """What kills may cost: as many starts more as there were jobs in flight when they struck."""

    site: Site
    in_flight: Counter[str] = field(default_factory=Counter)  # by id: in running/ when a scheduler died

    def note_death(self) -> None:
        self.in_flight.update(self.site.project.ids("running"))

    def check(self, killer: Killer, expected: list[str]) -> None:
        site = self.site
        assert not site.lines("twice"), "a task ran twice at the same time"
        assert sorted(site.attempts("done").elements()) == expected, "as undisturbed"
        starts, attempts = Counter(site.started), site.attempts()
        assert not starts - attempts, "a start that no attempt tells of"
        assert starts.keys() == set(expected), "what was not due was not even begun"
        allowed = self.in_flight.total() + killer.struck["worker"]
        assert starts.total() - len(expected) <= allowed, f"{starts} with {allowed} in flight"


def disturbed(site: Site, expected: list[str], seed: int, kinds: tuple[Kind, ...]) -> str:
    """One night with kills; site's own night must have fallen. Returns what struck."""
    cost = Cost(site)
    first = (*site.target, "--workers", "2")
    killer = Killer(
        site.project,
        first,
        seed,
        kinds,
        STEP,
        while_dead=cost.note_death,
        progress=lambda: len(site.lines("end")),
    )
    struck = killer.run(KILLS)
    cost.check(killer, expected)
    return struck


@pytest.mark.timeout(120)
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("durability", ["process", "power"])
@pytest.mark.parametrize("flow", FLOWS)
def test_killed_in_either_night(
    turn: int,
    flow: str,
    durability: str,
    new_project: Callable[..., Project],
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """A twin, whom nobody disturbs, has the same changes."""
    site = Site(new_project("disturbed"), flow, PAGES, extra=("--durability", durability))
    twin = Site(new_project("twin"), flow, PAGES)
    # Deaths of the runner use up no retry. A task may be alone with its worker when that is killed: then it is charged.
    site.project.variables.update(WORK_RETRIES="1000", WORK_SECONDS="0.03")
    struck = []
    for night, expected in enumerate((first_night(flow), second_night(flow))):
        if night:
            change_a_page(site)
            change_a_page(twin)
        twin.tonight()
        site.falls()
        struck.append(disturbed(site, expected, seed + night, KINDS))
        mine, its = site.changes(), twin.changes()
        assert (mine["jobs"], mine["tasks"]) == (its["jobs"], its["tasks"])
    check_second_night(site)
    for path in ("raw", "text"):
        for file in (site.project.root / path).iterdir():
            assert file.read_bytes() == (twin.project.root / path / file.name).read_bytes()
    check_end(site)
    before = site.traces()
    site.again()
    assert site.started == []
    assert site.traces() == before
    record_property("struck", "; ".join(struck))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("turn", range(ROUNDS))
@pytest.mark.parametrize("flow", FLOWS)
def test_killed_in_a_night_of_many_changes(
    turn: int,
    flow: str,
    new_project: Callable[..., Project],
    seed: int,
    record_property: Callable[[str, object], None],
) -> None:
    """A page is absent, one is not named any more (nor is one that was found), one is new, one is back, one has another
    text: as undisturbed.
    """
    site, twin = (Site(new_project(name), flow, PAGES) for name in ("disturbed", "twin"))
    for each in (site, twin):
        each.page("00", "text 00\nlinks 30\n")
        each.page("30", "text found\n")
        each.tonight()
        each.page("01", None)
        each.tonight()
        each.page("00", "text 00\n")
        each.page("01", "text 01\n")
        each.page("05", None)
        each.page("09", "text other\n")
        each.page("20", "text new\n")
        each.name(*(f"{number:02}" for number in range(PAGES + 1) if number != 14))
    twin.tonight()
    site.project.variables.update(WORK_RETRIES="1000", WORK_SECONDS="0.03")
    site.falls()
    record_property("struck", disturbed(site, twin.ran(), seed, KINDS))
    mine, its = site.changes(), twin.changes()
    assert (mine["jobs"], mine["tasks"]) == (its["jobs"], its["tasks"])
    gone = 4 if flow == "found" else 2
    assert Counter(job["change"] for job in mine["jobs"]) == {"new": 4, "changed": 4, "absent": 2, "gone": gone}
    assert set(site.record()["gone"]) == set(twin.record()["gone"])
    assert site.read("all.txt") == twin.read("all.txt")
    assert site.project.runner("check", "--verify").code == 0
    before = site.traces()
    site.again()
    assert (site.started, site.changed(), site.traces()) == ([], {}, before)


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_killed_with_nothing_to_do(site: Site, seed: int, record_property: Callable[[str, object], None]) -> None:
    """The second run of a night, killed at random moments and resumed: nothing is begun, and nothing rewritten."""
    site.tonight()
    before = site.traces()
    chance = random.Random(seed)
    project, site.noted = site.project, len(site.log)
    deaths = runs = 0
    while deaths < 3 * ROUNDS:
        earlier = project.names("runs")
        process = project.start(*site.target)
        if chance.random() < 0.75:  # else it may well strike the start-up
            while project.names("runs") == earlier and process.poll() is None:
                time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.2))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            processes.clear(project.mark(process))
        deaths += process.wait() == -signal.SIGKILL
        check_state(project.root)
        assert site.traces() == before
        begun = project.names("runs") - earlier
        runs += bool(begun)
        outcome = project.runner("resume")
        assert outcome.code == 0, outcome.err
        assert site.traces() == before
    assert site.started == []
    assert site.changed() == {}
    check_end(site)
    record_property("struck", f"{deaths} of {runs} runs, seed {seed}")
