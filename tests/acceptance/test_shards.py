"""A crawl over several state folders with a runner each, of which one is killed: docs/scaling.md tells of the design.

The sites are one server on loopback, which the tasks go to as their proxy: so the addresses are those of real hosts.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import processes, shards
from tests.acceptance.project import QUICK, Project
from tests.acceptance.scraped import fall
from tests.acceptance.shards import Handover, host_of, page, shard_of

START = "http://host-00.test/"
FIRST = ("run", "jobs.shards:start", f"url={START}")
THREADS = 2
FLAGS = ("--workers", "1", "--threads", str(THREADS), "--limit", "host:*=1", *QUICK)
STILL = 5  # pages that a shard is given before the kill
BUSY = 75

Web = dict[str, list[str]]  # address -> addresses that it links to


def web(chance: random.Random, hosts: int, pages: int) -> Web:
    """The pages of a host are a tree below its home page. The start page links to the first host of each other shard,
    and these to all other hosts, none of which is in their own shard. Besides, links here and there, also in circles.
    """
    places = [[f"http://host-{host:02}.test/{number or ''}" for number in range(pages)] for host in range(hosts)]
    links: Web = {url: [] for urls in places for url in urls}
    for urls in places:
        for number in range(1, pages):
            links[urls[(number - 1) // 2]].append(urls[number])
    first: dict[int, list[str]] = {}
    for urls in places:
        if first.setdefault(shard_of(urls[0]), urls) is not urls:
            near = [url for shard, urls_there in first.items() if shard != shard_of(urls[0]) for url in urls_there]
            links[chance.choice(near)].append(urls[0])
        elif urls[0] != START:
            links[START].append(urls[0])
    for url in links:
        if chance.random() < 0.5:
            links[url].append(chance.choice(list(links)))
    return links


def handovers(links: Web) -> Counter[int]:
    """How many of these tasks each shard has."""
    found: Counter[int] = Counter()
    for url, there in links.items():
        found[shard_of(url)] += len({shard_of(link) for link in there} - {shard_of(url)})
    return found


# ------------------------------------------------------------------------------------------------------------ the sites


class Sites(ThreadingHTTPServer):
    """All hosts. A shard gets as many answers as it may; then its requests are held until it may have more."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.links: Web = {}
        self.seconds = 0.0  # that an answer takes
        self.asked: Counter[str] = Counter()  # url -> requests
        self.answered: Counter[int] = Counter()  # shard -> requests that were let through
        self.at_work: Counter[str] = Counter()  # url -> requests at this moment
        self.most_at_host = 0
        self.strangers: list[str] = []
        self.most: dict[int, int] = {}  # shard -> answers that it may have
        self.changed = threading.Condition()

    def hold(self, most: int, those: set[int]) -> None:
        self.most = dict.fromkeys(those, most)

    def let_go(self) -> None:
        with self.changed:
            self.most = {}
            self.changed.notify_all()

    def at_work_for(self, shard: int) -> set[str]:
        with self.changed:
            return {url for url in self.at_work if shard_of(url) == shard}

    def asked_by(self, shard: int) -> set[str]:
        with self.changed:
            return {url for url in self.asked if shard_of(url) == shard}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asked was killed."""


class Answer(BaseHTTPRequestHandler):
    server: Sites

    def do_GET(self) -> None:
        sites, url = self.server, self.path  # a proxy is asked for the whole address
        shard = shard_of(url)
        with sites.changed:
            sites.asked[url] += 1
            sites.at_work[url] += 1
            at_host = sum(number for other, number in sites.at_work.items() if host_of(other) == host_of(url))
            sites.most_at_host = max(sites.most_at_host, at_host)
            sites.changed.wait_for(lambda: shard not in sites.most or sites.answered[shard] < sites.most[shard])
            sites.answered[shard] += 1
        time.sleep(sites.seconds)
        with sites.changed:  # before it is answered: who has the answer may ask the host again at once
            sites.at_work -= Counter([url])
        self.answer(url)

    def answer(self, url: str) -> None:
        if url not in self.server.links:
            self.server.strangers.append(url)
            self.send_error(404)
            return
        body = "".join(f'<p><a href="{link}">a page</a>\n' for link in self.server.links[url]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def sites() -> Iterator[Sites]:
    with Sites() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.let_go()
        server.shutdown()
        thread.join()


# ----------------------------------------------------------------------------------------------------------- the shards


@dataclass
class Shard(Project):
    """One of several state folders of a project, and the command line on it."""

    number: int = 0

    @property
    def state(self) -> Path:
        return self.root / f"state-{self.number}"

    @property
    def ear(self) -> Path:
        return self.root / f"stderr-{self.number}.txt"

    def command(self, *words: str) -> list[str]:
        return super().command("--state", self.state.name, *words)

    def status(self) -> dict[str, Any]:
        outcome = self.runner("status", "--json")
        assert outcome.code == 0, f"{self.state.name}: {outcome.err}"
        found: dict[str, Any] = json.loads(outcome.out)
        return found

    def pages(self, status: str) -> set[str]:
        """The addresses of its pages that have this status."""
        return {job["params"]["url"] for job in self.jobs(status, "Page-")}


@dataclass
class Crawl:
    """What somebody does who has a runner for each shard: start it again when there is something in its inbox/."""

    shards: list[Shard]
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    away: set[int] = field(default_factory=set)  # whose machine has died, and nobody has taken them over
    starts: int = 0

    def start(self, number: int, *words: str) -> None:
        self.running[number] = self.shards[number].start(*words, *FLAGS)
        self.starts += 1

    def alive(self) -> set[int]:
        return {number for number, process in self.running.items() if process.poll() is None}

    def step(self) -> bool:
        """Start those again that are to go on. True if nobody works, and there is nothing to be done.

        Who is alive is asked first: if that is nobody, then nobody can hand in anything behind the looks that follow.
        """
        alive = self.alive()
        ended = [shard for shard in self.shards if shard.number not in alive | self.away]
        wanted = [shard.number for shard in ended if self.is_left(shard) or shard.names("inbox")]
        for number in wanted:
            self.start(number, "resume")
        return not (alive or wanted or self.away)

    def is_left(self, shard: Shard) -> bool:
        """Whether its runner left work behind: it was killed, or met workers of one that was."""
        code = self.running[shard.number].returncode if shard.number in self.running else 0
        assert code in (0, BUSY, -signal.SIGKILL), f"{shard.state.name}: exit code {code}: {shard.said()[-2000:]}"
        return code != 0

    def kill(self, number: int) -> set[str]:
        """SIGKILL to the runner. Returns the pages that were running, of which some were asked for."""
        process = self.running[number]
        process.send_signal(signal.SIGKILL)  # not reaped yet, so the pid is still its own
        if process.wait() != -signal.SIGKILL:
            return set()  # it had ended by itself a moment before
        self.shards[number].all_gone(process)
        return self.shards[number].pages("running")

    def until(self, what: str, condition: Callable[[], object], seconds: float = 60) -> None:
        """Go on until something has come true."""
        processes.wait_until(what, lambda: (self.step(), condition())[1], seconds, step=0.02)

    def to_the_end(self, seconds: float = 90) -> None:
        """Until all shards rest, as can be told without knowing who started what, and where."""
        self.until("nobody works", self.step, seconds)
        looked = self.look()
        while (again := self.look()) is None or again != looked:
            looked = again
            self.until("nobody works", self.step, seconds)

    def look(self) -> list[str] | None:
        """The newest run of each shard, if all rest. If two looks in a row say the same, then all rested at the moment
        between them, and all inboxes were empty: a letter that came later than the first look at its shard lies there
        in the second, or has led to a new run.
        """
        found = every(self.shards, Shard.status)
        runs = [each["run"] or {"id": "", "how": "done"} for each in found]  # none: nothing was for it yet
        if any(each["runner"] or each["inbox"] for each in found) or any(run["how"] != "done" for run in runs):
            return None
        return [run["id"] for run in runs]


def every(those: list[Shard], do: Callable[[Shard], Any]) -> list[Any]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(do, those))


@pytest.fixture
def new_crawl(tmp_path: Path, sites: Sites, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Crawl]]:
    """Makes a project with so many shards; the last one made counts."""
    made: list[Shard] = []
    proxy = {"http_proxy": f"http://127.0.0.1:{sites.server_port}", "no_proxy": "", "NO_PROXY": ""}

    def make(count: int) -> Crawl:
        those = [Shard(tmp_path / "project", variables=proxy, number=number) for number in range(count)]
        made.extend(those)
        text = Path(shards.__file__).read_text(encoding="utf-8")
        assert "\nSHARDS = 8\n" in text
        those[0].module("shards", text.replace("\nSHARDS = 8\n", f"\nSHARDS = {count}\n"))
        monkeypatch.setattr(shards, "SHARDS", count)
        for shard in those:
            (shard.state / "inbox").mkdir(parents=True, exist_ok=True)
        return Crawl(those)

    yield make
    for shard in made:
        shard.close()


def check_end(crawl: Crawl, sites: Sites) -> None:
    """Each shard has the pages of its hosts, and no others; each page is there as the server has it."""
    for shard, checked in zip(crawl.shards, every(crawl.shards, lambda shard: shard.runner("check")), strict=True):
        assert checked.code == 0, f"{shard.state.name}: {checked.out} {checked.err}"
        assert set(shard.counts()) <= {"done"}
        assert shard.pages("done") == {url for url in sites.links if shard_of(url) == shard.number}
        assert not os.listdir(shard.state / "inbox"), "also no file that somebody was writing"
        assert not shard.names("quarantine")
    for url, links in sites.links.items():
        assert (crawl.shards[0].root / page(url).html).read_text().count("<a ") == len(links)


def jobs_there(crawl: Crawl) -> int:
    return sum(shard.count("done") for shard in crawl.shards)


def jobs_of(links: Web) -> int:
    return len(links) + handovers(links).total()


# ------------------------------------------------------------------------------------------------------------ the tests


def test_a_shard_dies_and_is_taken_over(
    new_crawl: Callable[[int], Crawl],
    sites: Sites,
    seed: int,
    struck: Counter[str],
    record_property: Callable[[str, object], None],
) -> None:
    """Eight runners at once; one of them is killed with pages in hand, while the others go on."""
    crawl, everybody = new_crawl(8), set(range(8))
    sites.links = web(random.Random(seed), hosts=40, pages=10)
    first = shard_of(START)
    victim = max(everybody - {first}, key=lambda shard: len([url for url in sites.links if shard_of(url) == shard]))
    others = everybody - {victim}
    sites.hold(STILL, everybody)
    began = time.monotonic()
    crawl.start(first, *FIRST)

    def is_stuck(number: int) -> bool:
        """Whether it has nothing in hand but what the server does not give it."""
        held = sites.at_work_for(number)
        return bool(held) and sites.answered[number] == STILL and sites.asked_by(number) - held == done(number)

    def done(number: int) -> set[str]:
        return crawl.shards[number].pages("done")

    crawl.until("each shard waits for a page", lambda: all(map(is_stuck, everybody)), 50)
    assert crawl.alive() == everybody, "eight runners at once"
    in_hand = sites.at_work_for(victim)
    running = crawl.kill(victim)
    crawl.away.add(victim)
    assert in_hand
    assert in_hand <= running, "the kill struck, and they are still in running/"
    struck["kill"] += 1

    answered = sum(sites.answered[number] for number in others)
    sites.let_go()
    crawl.until("the others go on", lambda: sum(sites.answered[number] for number in others) >= answered + 20)
    crawl.until("nobody asks for the dead one any more", lambda: not sites.at_work_for(victim))
    before, died = done(victim), time.monotonic()
    crawl.away.clear()
    crawl.until("it is taken over", lambda: done(victim) > before)
    taken = time.monotonic() - died
    crawl.to_the_end()
    seconds = time.monotonic() - began

    check_end(crawl, sites)
    assert jobs_there(crawl) == jobs_of(sites.links)
    twice = sites.asked - Counter(dict.fromkeys(sites.links, 1))
    assert sites.asked.keys() == sites.links.keys()
    assert in_hand <= twice.keys() <= running, "each page was asked for once, but for what was in hand"
    assert twice.total() == len(twice) <= THREADS
    assert not sites.strangers
    assert sites.most_at_host == 1, "the limit of a host holds, as one shard alone asks it"
    record_property(
        "struck",
        f"killed with {len(in_hand)} pages in hand, taken over in {taken:.1f} s; {len(sites.links)} pages, "
        f"{jobs_of(sites.links)} jobs and {crawl.starts} starts of 8 shards in {seconds:.1f} s",
    )


def test_shards_are_killed_at_any_moment(
    new_crawl: Callable[[int], Crawl], sites: Sites, seed: int, struck: Counter[str]
) -> None:
    crawl, chance = new_crawl(3), random.Random(seed)
    sites.links = web(chance, hosts=9, pages=6)
    sites.seconds = 0.03
    running: Counter[str] = Counter()  # page -> deaths while it was in running/
    crawl.start(shard_of(START), *FIRST)
    while struck["kill"] < 5 and not crawl.step():
        goal = jobs_there(crawl) + chance.randint(1, 8)
        crawl.until("some more are done", lambda goal=goal: jobs_there(crawl) >= goal or crawl.step())
        time.sleep(chance.uniform(0, 0.02))
        if alive := crawl.alive():
            victim = chance.choice(sorted(alive))
            running += Counter(crawl.kill(victim))
            struck["kill"] += crawl.running[victim].returncode == -signal.SIGKILL
    crawl.to_the_end()
    assert struck["kill"] >= 3
    check_end(crawl, sites)
    assert jobs_there(crawl) == jobs_of(sites.links)
    assert sites.asked.keys() == sites.links.keys()
    assert sites.asked - Counter(dict.fromkeys(sites.links, 1)) <= running, "only what was in hand, once for each kill"


def test_another_night(new_crawl: Callable[[int], Crawl], sites: Sites, seed: int) -> None:
    """What is up to date is not asked for, whoever hands it in; the next night goes through all shards again."""
    crawl = new_crawl(2)
    sites.links = web(random.Random(seed), hosts=4, pages=4)
    crawl.start(shard_of(START), *FIRST)
    crawl.to_the_end()
    check_end(crawl, sites)
    assert sites.asked == Counter(dict.fromkeys(sites.links, 1))

    runs = crawl.look()
    for url in sites.links:  # all that was ever handed in, and more
        shards.hand_in(crawl.shards[shard_of(url)].state / "inbox", page(url), "somebody else")
    crawl.to_the_end()
    assert all(new > old for new, old in zip(crawl.look() or [], runs or [], strict=True)), "each was started again"
    assert jobs_there(crawl) == jobs_of(sites.links)
    assert sites.asked == Counter(dict.fromkeys(sites.links, 1)), "and has done nothing"

    for shard in crawl.shards:
        fall(shard)
    new = f"{START}new"
    sites.links[new] = []
    away = next(url for url in sites.links if shard_of(url) != shard_of(START))
    sites.links[away].append(new)
    crawl.start(shard_of(START), *FIRST)
    crawl.to_the_end()
    check_end(crawl, sites)
    assert sites.asked == Counter(dict.fromkeys(sites.links, 2)) - Counter([new]), "each once more, and a new one"


@pytest.mark.parametrize("way", ["renamed", "adopted"])
def test_more_shards(new_crawl: Callable[[int], Crawl], sites: Sites, seed: int, way: str) -> None:
    """Twice as many, at rest: job files of hosts that move are renamed, and keep their history; or new states begin
    with all pages that are there. Either way no page is asked for again.
    """
    crawl = new_crawl(2)
    sites.links = web(random.Random(seed), hosts=6, pages=4)
    crawl.start(shard_of(START), *FIRST)
    crawl.to_the_end()
    before = crawl.shards
    if way == "renamed":
        crawl = new_crawl(4)
        for shard in before:
            for file in sorted((shard.state / "done").iterdir()):
                if file.name.startswith("Handover-"):  # else a shard to which the same links go as before hears of none
                    file.unlink()
                    continue
                there = crawl.shards[shard_of(json.loads(file.read_bytes())["params"]["url"])].state / "done"
                there.mkdir(exist_ok=True)
                file.rename(there / file.name)
            for file in sorted((shard.state / "runs").iterdir()):  # they name jobs that are elsewhere now
                file.unlink()
        crawl.start(shard_of(START), *FIRST)
    else:
        for shard in before:
            shard.state.rename(shard.root / f"before-{shard.number}")
        crawl = new_crawl(4)
        for url in sites.links:
            shards.hand_in(crawl.shards[shard_of(url)].state / "inbox", page(url), "all of them")
        for shard in crawl.shards:
            crawl.start(shard.number, "run", "--adopt")
    crawl.to_the_end()
    check_end(crawl, sites)
    assert len([shard for shard in crawl.shards if shard.count("done")]) > 2
    assert sites.asked == Counter(dict.fromkeys(sites.links, 1))


@pytest.mark.parametrize("renamed", [0, 1])
def test_a_handover_that_is_cut_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: int) -> None:
    """Nothing half is seen, and the next attempt leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    urls = ["http://host-01.test/", "http://host-01.test/1"]
    task = Handover(START, shard_of(urls[0]), urls, Path("receipt"))
    inbox = shards.inbox_of(task.shard)
    inbox.mkdir(parents=True)
    rename = Path.rename
    left = [None] * renamed

    def cut(self: Path, target: Path) -> Path:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        return rename(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", cut)
        with pytest.raises(KeyboardInterrupt):
            task.run()
    assert len(list(inbox.glob("[!.]*"))) == renamed
    assert len(list(inbox.glob(".*"))) == 1
    assert not task.receipt.exists()
    task.run()
    found = [json.loads(file.read_bytes())["params"]["url"] for file in inbox.iterdir()]
    assert sorted(found) == urls
    assert task.receipt.exists()
