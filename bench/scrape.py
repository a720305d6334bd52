"""jobs/scrape over a site of 3,000 real documentation pages: the first night beside Scrapy, the nights after, latency.

python -m bench.scrape [--smoke] [--dir DIR] [--pages 3000] [--rounds 3] [--part NAME ...] [--workers 2] [--threads 1]

first-night  pages a second of the whole command, start and end included, in turns with Scrapy's (bench/peer.py), which
             makes the same files; and the memory of all processes together, in runs of their own
nights       the nights after it (bench/nights.py)
latency      four hosts that answer after 200 ms, eight requests at once to each: how near to what these limits allow

The site is served by nginx, on loopback. All figures are medians over the rounds, and so are the ratios of each round.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from compileall import compile_dir
from contextlib import contextmanager
from dataclasses import dataclass, field
from filecmp import cmpfiles
from pathlib import Path
from typing import Any

from bench.cost import Cost, cost
from bench.ground import HERE, arguments, command, ground
from bench.nights import Bar, Scene, nights
from bench.peer import scrapy, scrapy_version, spider
from bench.sites import move_pages, old_lastmods, write_pages
from runner.demo.project import TARGET, make_scraping_project
from tests.acceptance.docs_site import PARTS, write_maps
from tests.acceptance.nginx import Nginx

TIMES = 2.0  # Scrapy's pages a second
MEMORY = 300.0  # MB, of all processes together
SHARE = 0.9  # of what the limits allow
HOSTS = 4
AT_ONCE = 8  # requests to each
LATENCY = 0.2  # seconds
LIMIT = HOSTS * AT_ONCE / LATENCY  # pages a second
MOST_ROUNDS = 9
SOME_TEXT = 0.99  # of the pages have some, at least
PARTS_OF_THIS = ("first-night", "nights", "latency")


# -------------------------------------------------------------------------------------------------------- first night


@dataclass
class Contest:
    """Several ways to scrape the same site, each from nothing."""

    scene: Scene
    python: Path
    costs: dict[str, list[Cost]] = field(default_factory=dict)

    OURS = ("power", "process")
    THEIRS = ("Scrapy", "Scrapy, JOBDIR")

    def enter(self, name: str, *, watch: bool = False) -> Cost:
        """One of them, once. Exits if it has not made a text of each page."""
        scene = self.scene
        out = scene.project.parent / "scrapy"
        shutil.rmtree(out if name in self.THEIRS else scene.project, ignore_errors=True)
        if name in self.THEIRS:
            jobdir = [f"JOBDIR={out}/jobdir"] if name != "Scrapy" else []
            spent = cost(spider(self.python, [f"{scene.server.url}/"], out, *jobdir), scene.project.parent, watch=watch)
            made = len(os.listdir(out / "text"))
        else:
            make_scraping_project(scene.project, [scene.table])
            compile_dir(scene.project / "jobs", quiet=1)  # as they are on the other side, since their first use
            spent = scene.run("--durability", name, watch=watch).cost
            made = sum(1 for _ in scene.project.glob("data/*/text/*.txt"))
        if made < len(scene.paths) * SOME_TEXT:
            sys.exit(f"{name}: {made} texts of {len(scene.paths)} pages")
        memory = f", {spent.memory:.0f} MB" if watch else ""
        each = spent.cpu / len(scene.paths) * 1000
        rate = len(scene.paths) / spent.seconds
        print(
            f"  {name:15} {rate:5.0f} pages/s {spent.seconds:6.2f} s {each:6.2f} ms of CPU a page{memory}", flush=True
        )
        return spent

    def compare(self) -> None:
        """Exits if the two have not made the same files."""
        theirs, ours = self.scene.project.parent / "scrapy", self.scene.project / "data" / "bench"
        for kind in ("raw/*.html", "text/*.txt", "corpus.jsonl"):
            names = {str(file.relative_to(root)) for root in (theirs, ours) for file in root.glob(kind)}
            _, different, missing = cmpfiles(theirs, ours, names, shallow=False)
            if different or missing:
                sys.exit(
                    f"Scrapy's side and ours differ in {len(different)} files and {len(missing)} are on one side only"
                )

    def rates(self, name: str) -> list[float]:
        return [len(self.scene.paths) / spent.seconds for spent in self.costs[name]]


def first_night(scene: Scene) -> list[Bar]:
    contest = Contest(scene, scrapy())
    print(f"\nthe first night, beside {scrapy_version(contest.python)}; memory first, which also warms all up:")
    memory = {name: contest.enter(name, watch=True).memory for name in ("Scrapy", "power")}
    print("then speed:")
    for _ in range(scene.rounds):
        for name in (*contest.THEIRS, *reversed(contest.OURS)):  # the last one's files are what the next nights need
            contest.costs.setdefault(name, []).append(contest.enter(name))
    contest.compare()
    print("in the middle, with all files of the two the same byte for byte:")
    for name, costs in contest.costs.items():
        each = statistics.median(spent.cpu for spent in costs) / len(scene.paths) * 1000
        print(f"  {name:15} {statistics.median(contest.rates(name)):5.0f} pages/s {each:17.2f} ms of CPU a page")
    fastest = max(contest.THEIRS, key=lambda name: statistics.median(contest.rates(name)))
    ratios = {
        name: statistics.median(a / b for a, b in zip(contest.rates(name), contest.rates(fastest), strict=True))
        for name in contest.OURS
    }
    print(f"with --durability process: {ratios['process']:.2f} x {fastest}")
    return [
        Bar(
            f"first night: at least {TIMES} x the pages/s of {fastest}",
            f"{ratios['power']:.2f}",
            ratios["power"] >= TIMES,
        ),
        Bar(
            f"first night: at most {MEMORY:.0f} MB in all (Scrapy: {memory['Scrapy']:.0f} MB)",
            f"{memory['power']:.0f} MB",
            memory["power"] <= MEMORY,
        ),
    ]


# ------------------------------------------------------------------------------------------------------------ latency


@contextmanager
def slow_server(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Its port, and what it was asked for, which is known once it has ended."""
    words = [sys.executable, "-m", "bench.slow_server", str(folder), "--hosts", str(HOSTS), "--latency", str(LATENCY)]
    seen: dict[str, Any] = {}
    with subprocess.Popen(words, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline()), seen
        except BaseException:
            server.kill()
            raise
        seen |= json.loads(server.communicate()[0])


def latency(folder: Path, pages: int, rounds: int) -> list[Bar]:
    limits = f"{HOSTS} hosts that answer after {LATENCY * 1000:.0f} ms, {AT_ONCE} requests at once to each"
    print(f"\n{limits}: {LIMIT:.0f} pages/s at most")
    addresses = [f"127.0.0.{number + 1}" for number in range(HOSTS)]
    www = folder / "slow"
    every = write_pages(www, pages)
    paths = [every[number::HOSTS] for number in range(HOSTS)]
    for address, some in zip(addresses, paths, strict=True):
        move_pages(www, some, www / address)
    python = scrapy()
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for name in ("Scrapy", "ours"):
            with slow_server(www) as (port, seen):
                starts = [f"http://{address}:{port}/" for address in addresses]
                for address, start, some in zip(addresses, starts, paths, strict=True):
                    write_maps(www / address, start.rstrip("/"), old_lastmods(some), PARTS)
                spent = slow_run(folder, name, starts, python)
            made = sum(1 for _ in (folder / "out").glob("**/text/*.txt"))
            if seen["pages"] != pages or made < pages * SOME_TEXT:
                sys.exit(f"{name}: {seen['pages']} requests for {pages} pages, {made} texts")
            found.setdefault(name, []).append((pages / seen["seconds"], pages / spent.seconds))
            fetching, whole = found[name][-1]
            most = max(seen["most"].values())
            print(
                f"  {name:7} {fetching:5.1f} pages/s from the first request for a page to the last answer, "
                f"{whole:5.1f} over the whole command; {spent.cpu / pages * 1000:.2f} ms of CPU a page; "
                f"at most {most} at once to a host",
                flush=True,
            )
    fetching, whole = (statistics.median(pair[n] for pair in found["ours"]) for n in (0, 1))
    return [
        Bar(
            f"latency: at least {SHARE:.0%} of the {LIMIT:.0f} pages/s that the limits allow",
            f"{fetching / LIMIT:.1%} ({whole / LIMIT:.1%} over the whole command)",
            fetching >= SHARE * LIMIT,
        )
    ]


def slow_run(folder: Path, name: str, starts: list[str], python: Path) -> Cost:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    if name == "Scrapy":
        limits = (f"CONCURRENT_REQUESTS={HOSTS * AT_ONCE}", f"CONCURRENT_REQUESTS_PER_DOMAIN={AT_ONCE}")
        return cost(spider(python, starts, out, *limits), folder)
    tables = [
        {"name": f"host{number}", "start": [start], "concurrency": AT_ONCE, "allow_private": True}
        for number, start in enumerate(starts)
    ]
    project = make_scraping_project(out, tables)
    return cost(command(project, "run", TARGET, "-q", "--workers", "2", "--threads", "16"), project)


# --------------------------------------------------------------------------------------------------------- all of them


def on_one_site(folder: Path, options: Any) -> Iterator[Bar]:
    """The first night, and those after it."""
    (folder / "nginx").mkdir()
    with Nginx(folder / "nginx") as server:
        paths = write_pages(server.www, options.pages)
        scene = Scene(
            server=server,
            project=folder / "project",
            paths=paths,
            table={"name": "bench", "start": [f"{server.url}/"], "concurrency": 16, "allow_private": True},
            options=["--workers", str(options.workers), "--threads", str(options.threads)],
            rounds=options.rounds,
        )
        scene.publish(old_lastmods(paths))
        if "first-night" in options.part:
            yield from first_night(scene)
        else:
            make_scraping_project(scene.project, [scene.table])
            scene.run()
        if "nights" in options.part:
            yield from nights(scene)
        shutil.rmtree(scene.project)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--pages", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--part", choices=PARTS_OF_THIS, nargs="*", default=list(PARTS_OF_THIS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.rounds > MOST_ROUNDS:
        parser.error(f"--rounds: at most {MOST_ROUNDS}: pages that are 30 days old are asked for in any case")
    if not Nginx.available():
        print("needs nginx: on Debian, apt-get install nginx-light", file=sys.stderr)
        return 2
    if options.smoke:
        options.pages, options.rounds = 80, 1
    bars: list[Bar] = []
    with ground(options.dir) as folder:
        if {"first-night", "nights"} & set(options.part):
            bars += on_one_site(folder, options)
        if "latency" in options.part:
            bars += latency(folder, options.pages, options.rounds)
    if options.smoke:
        print("\nso few pages show that it works; the figures mean nothing")
        return 0
    print("", *bars, sep="\n")
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
