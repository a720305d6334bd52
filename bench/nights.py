"""Nights over a site that was scraped before: how many requests each makes, and what it costs.

A night that has passed is a record that was made a day older. All of them run on one project, so in this order: the
same night again; nothing has changed; 2 % have; no lastmod can be relied on, so that every page is asked for.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.cost import Cost, cost
from bench.ground import HERE, command
from bench.sites import PLUMBING, change, let_a_day_pass, set_sites
from runner.demo.project import TARGET
from tests.acceptance.docs_site import PARTS, is_plumbing, write_maps
from tests.acceptance.nginx import Nginx, Request

NOOP_SECONDS = 3.0
REVALIDATION = 3.0  # ms of CPU a page
CHANGED = 0.02  # of the pages
SURPLUS = 1.2  # times the requests that are needed


@dataclass(frozen=True)
class Bar:
    """What is asked for, what was found."""

    text: str
    found: str
    met: bool

    def __str__(self) -> str:
        return f"bar: {self.text}: {self.found}: {'met' if self.met else 'MISSED'}"


@dataclass(frozen=True)
class Night:
    """One run, and what it asked the site for."""

    cost: Cost
    requests: list[Request]

    @property
    def pages(self) -> list[Request]:
        return [request for request in self.requests if not is_plumbing(request.path)]

    def __str__(self) -> str:
        kinds = Counter(request.status for request in self.pages)
        pages = ", ".join(f"{count} x {status}" for status, count in sorted(kinds.items())) or "none"
        plumbing = len(self.requests) - len(self.pages)
        return f"{self.cost.seconds:.2f} s, {self.cost.cpu:.2f} s of CPU; pages asked for: {pages}; others: {plumbing}"


@dataclass
class Scene:
    """A site, a project that has scraped it, and how it is run."""

    server: Nginx
    project: Path
    paths: list[str]
    table: dict[str, object]  # of sites.toml
    options: list[str]
    rounds: int
    lastmods: dict[str, str] = field(default_factory=dict)

    def run(self, *options: str, watch: bool = False) -> Night:
        since = self.server.log_size()
        spent = cost(command(self.project, "run", TARGET, "-q", *self.options, *options), self.project, watch=watch)
        return Night(spent, self.server.requests(since))

    def publish(self, lastmods: dict[str, str]) -> None:
        self.lastmods = lastmods
        write_maps(self.server.www, self.server.url, lastmods, PARTS)

    def audit(self, share: float | None) -> None:
        """None: what it is by default."""
        set_sites(self.project, [self.table | ({} if share is None else {"audit": share})])


def middle(nights: list[Night], of: Callable[[Night], float]) -> float:
    return statistics.median(map(of, nights))


def nights(scene: Scene) -> list[Bar]:
    """All of them. `scene.project` has just scraped the site, as `scene.lastmods` tells it."""
    return [*no_op(scene), changed(scene), revalidated(scene)]


def no_op(scene: Scene) -> list[Bar]:
    print(f"\nthe same night again, {scene.rounds} times; then nights in which nothing has changed")
    print(f"  to read and decode the files of the done jobs takes {reading(scene.project):.2f} s")
    told = []
    for name, passes in (("a second run in the same night", False), ("a night in which nothing has changed", True)):
        if passes:
            scene.audit(0.0)
        found = [_next_night(scene, passes=passes) for _ in range(scene.rounds)]
        seconds, pages = middle(found, lambda night: night.cost.seconds), max(len(night.pages) for night in found)
        met = seconds < NOOP_SECONDS and pages == 0
        text = f"{name}, {len(scene.paths)} pages: less than {NOOP_SECONDS:.0f} s and no request for a page"
        told.append(Bar(text, f"{seconds:.2f} s, {pages} requests", met))
    scene.audit(None)
    print("  with the audit that sites.toml has by default:")
    _next_night(scene)
    return told


def changed(scene: Scene) -> Bar:
    count = max(1, round(len(scene.paths) * CHANGED))
    print(f"\nnights in which {count} pages have changed, with the default audit")
    ratios = []
    for number in range(scene.rounds):
        which = random.Random(number).sample(scene.paths, count)
        change(scene.server.www, which, f"changed in night {number}")
        # As many days ago as nights will follow: these make what was fetched tonight older, but no lastmod.
        then = datetime.now(UTC) - timedelta(days=2 * scene.rounds - number, hours=12)
        scene.publish(scene.lastmods | dict.fromkeys(which, f"{then:%Y-%m-%dT%H:%M:%SZ}"))
        night = _next_night(scene)
        fetched = {request.path for request in night.pages if request.status == 200}
        if missed := set(which) - fetched:
            sys.exit(f"{len(missed)} of {count} changed pages were not fetched, such as {min(missed)}")
        ratios.append(len(night.requests) / (count + PLUMBING))
    text = (
        f"{count} of {len(scene.paths)} pages have changed: at most {SURPLUS} x the {count + PLUMBING} requests needed"
    )
    ratio = statistics.median(ratios)
    return Bar(text, f"{ratio:.2f}", ratio <= SURPLUS)


def revalidated(scene: Scene) -> Bar:
    print("\nnights without any lastmod: every page is asked for, and none has changed")
    scene.publish(dict.fromkeys(scene.paths, ""))
    found = []
    for _ in range(scene.rounds):
        bare = conditional_gets(scene)
        print(f"  {len(scene.paths)} conditional GETs and nothing else: {bare:.2f} ms of CPU a page")
        found.append(_next_night(scene))
        if wrong := [request for request in found[-1].pages if request.status != 304]:
            sys.exit(f"{len(wrong)} pages were answered with other than 304, such as {wrong[0]}")
        if len(found[-1].pages) != len(scene.paths):
            sys.exit(f"{len(found[-1].pages)} requests for {len(scene.paths)} pages")
    each = middle(found, lambda night: night.cost.cpu) / len(scene.paths) * 1000
    text = f"all {len(scene.paths)} pages asked for, all 304: at most {REVALIDATION:.0f} ms of CPU a page"
    return Bar(text, f"{each:.2f} ms", each <= REVALIDATION)


def _next_night(scene: Scene, *, passes: bool = True) -> Night:
    if passes:
        let_a_day_pass(scene.project)
    night = scene.run()
    print(f"  {night}", flush=True)
    return night


def reading(project: Path) -> float:
    """Seconds; the floor of every night."""
    words = [sys.executable, "-m", "bench.reading", "--state", str(project / "state")]
    done = subprocess.run(words, cwd=HERE.parent, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[1])


def conditional_gets(scene: Scene) -> float:
    """ms of CPU a page: the floor of a revalidation."""
    asked = [
        (made["params"]["url"], made["value"]["etag"])
        for made in (
            json.loads(file.read_bytes())["result"] for file in (scene.project / "state/done").glob("FetchPage-*")
        )
    ]
    file = scene.project.parent / "asked.json"
    file.write_text(json.dumps(asked))
    spent = cost([sys.executable, str(HERE / "conditional_gets.py"), str(file)], scene.project)
    os.unlink(file)
    return spent.cpu / len(asked) * 1000
