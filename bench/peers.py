"""Other job runners beside ours: N tasks that do nothing, two worker processes, and a record of what is done.

python -m bench.peers [--smoke] [--full] [--dir DIR] [--peer NAME ...] [--rounds FEW MANY]

`us/task` is a whole command, from its start until all tasks are done, less what the same command took for one task in
the same round (`start`, in seconds); `ours` is the same for `run shapes:fan_out`, which is run before each of the
peers', the median of the round. All are medians over the rounds, and so is `ratio`, that of the peer's to ours: above
1, ours is faster. Each run is checked: as many tasks must be on record as were asked for.

Each peer is set up as somebody would who knows it and wants speed, and keeps its record, where it has one, as surely as
ours does with --durability process: through any kill, not through a power cut. Two cannot be had like that. jug syncs
each result, so it stands beside --durability power, too; with os.fsync() patched away, which is no setting of it, it
would take a fifth. doit writes its database once, at the end. Dask has no record, and Luigi's is a file for each task.
The rows without a bar say what a setting is worth, and what doit takes without workers, where a task that dies takes
doit with it. Dask alone is held to its bar as it comes, and not where it is quickest, which is without its queuing: a
tenth of that would be less than the floor.

What was tried besides, and was not faster: doit's dbm and SQLite, and other reporters; huey with all tasks handed in
before the consumer starts, and other delays; Dask's submit() in place of map(), batches, wait(), uvloop, and no
stealing, profiling and memory manager; Luigi's cache of what is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.ground import HERE, arguments, ground
from bench.peer import environment, peer_version
from bench.throughput import run_once

TASKS = HERE / "peers_tasks"
FEW, MANY = 1_000, 10_000
SAID = "said.txt"


# --------------------------------------------------------------------------------------------------- what is on record


def doit_done(work: Path) -> int:
    return sum(name.startswith("noop:") for name in json.loads((work / "done.json").read_bytes()))


def jug_done(work: Path) -> int:
    return sum(1 for _ in (work / "jugfile.jugdata").glob("??/*"))


def luigi_done(work: Path) -> int:
    return len(os.listdir(work / "done"))


def huey_done(work: Path) -> int:
    connection = sqlite3.connect(work / "huey.db")
    try:
        return int(connection.execute("select count(*) from kv").fetchone()[0])
    finally:
        connection.close()


def dask_done(work: Path) -> int:
    """Dask has no record: the results that came."""
    found = re.search(r"^(\d+) results$", (work / SAID).read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


# ------------------------------------------------------------------------------------------------------- who and how

DISTRIBUTIONS = {"doit": "doit", "jug": "jug", "Luigi": "luigi", "huey": "huey", "Dask": "distributed"}


@dataclass(frozen=True, eq=False)
class Way:
    """A peer, set up in one way."""

    peer: str
    settings: str
    command: str
    done: Callable[[Path], int]
    processes: int = 1  # of that command, at once
    environ: Mapping[str, str] = field(default_factory=dict)
    beside: tuple[str, ...] = ("process",)  # which durability of ours
    bar: float | None = None  # the ratio, beside the first of them
    stretch: float = 1
    most: int = MANY  # tasks, without --full

    @property
    def name(self) -> str:
        return f"{self.peer}, {self.settings}"

    def words(self, python: Path, count: int) -> list[str]:
        return [word.format(bin=python.parent, count=count) for word in self.command.split()]

    def tasks(self, many: int, full: bool) -> int:
        """How many to do where others do `many`. 0: none, as it has done its most with few already."""
        if full or many <= self.most:
            return many
        return self.most if self.most > FEW else 0


DOIT = "{bin}/doit run --reporter zero --verbosity 2 --backend json --db-file done.json"
LUIGI = "{bin}/python -m luigi --module luigi_tasks FanOut --local-scheduler --no-lock --log-level ERROR"
HUEY = "{bin}/python huey_fan_out.py {count}"
DASK = "{bin}/python dask_fan_out.py {count}"
NO_QUEUING = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "inf"}

WAYS = (
    Way("doit", "-n 2", f"{DOIT} -n 2 count={{count}}", doit_done, bar=2, stretch=3),
    Way("doit", "no workers", f"{DOIT} count={{count}}", doit_done),
    Way(
        "jug",
        "2 x execute",
        "{bin}/jug execute --will-cite jugfile.py {count}",
        jug_done,
        processes=2,
        beside=("process", "power"),
        bar=8,
        stretch=15,
    ),
    Way("Luigi", "--workers 2", f"{LUIGI} --workers 2 --count {{count}}", luigi_done, bar=40, stretch=80, most=2_000),
    Way("huey", "SQLite, no sync", HUEY, huey_done, environ={"HUEY_FSYNC": "0"}, bar=1 / 1.5, stretch=1),
    Way("huey", "SQLite, synced", HUEY, huey_done, beside=("power",), most=FEW),
    Way("Dask", "as it comes", DASK, dask_done, bar=10, stretch=15),
    Way("Dask", "no queuing", DASK, dask_done, environ=NO_QUEUING),
)


# ---------------------------------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Side:
    """One of the two in one round."""

    start: float  # seconds for one task
    whole: float  # seconds for all
    count: int

    @property
    def net(self) -> float:
        """Microseconds a task, start-up taken off."""
        return max(1e-6, self.whole - self.start) / self.count * 1e6


@dataclass(frozen=True)
class Pair:
    ours: Side
    theirs: Side

    @property
    def ratio(self) -> float:
        return self.theirs.net / self.ours.net


@dataclass(frozen=True)
class Row:
    way: Way
    version: str
    durability: str
    pairs: list[Pair]

    @property
    def count(self) -> int:
        return self.pairs[0].ours.count

    @property
    def sides(self) -> tuple[list[Side], list[Side]]:
        return [pair.theirs for pair in self.pairs], [pair.ours for pair in self.pairs]

    @property
    def ratio(self) -> float:
        return statistics.median(pair.ratio for pair in self.pairs)

    def __str__(self) -> str:
        middle = statistics.median
        net, ours = (middle(side.net for side in sides) for sides in self.sides)
        start, our_start = (middle(side.start for side in sides) for sides in self.sides)
        ratios = " ".join(f"{pair.ratio:.2f}" for pair in self.pairs)
        return (
            f"{self.way.name:21} {self.version:9} {self.count:6} {net:8.0f} {start:6.2f} {ours:6.0f} {our_start:6.2f} "
            f"{self.durability:10} {self.ratio:6.2f}   {ratios}"
        )


HEADING = (
    f"{'peer':21} {'version':9} {'tasks':>6} {'us/task':>8} {'start':>6} {'ours':>6} {'start':>6} {'durability':10} "
    f"{'ratio':>6}   ratios"
)


@dataclass
class Contest:
    folder: Path
    ways: list[Way]
    pythons: dict[str, Path]

    def ours(self, count: int, durability: str) -> float:
        """Seconds of one run. Exits if it has not done all."""
        seconds, done = run_once(self.folder, "fan_out", count, durability)
        if done != count:
            sys.exit(f"ours: {done} of {count} tasks are done")
        return seconds

    def theirs(self, way: Way, count: int) -> float:
        """Seconds of one run. Exits, with what was said, if it failed or not all is on record."""
        work = self.folder / "peer"
        shutil.copytree(TASKS, work, ignore=shutil.ignore_patterns("__pycache__"))
        os.sync()  # what was written before must not be paid for here
        seconds, codes = timed_together(way, self.pythons[way.peer], work, count)
        told = (work / SAID).read_text()[-2000:]
        if any(codes):
            sys.exit(f"{way.name}: exit codes {codes}:\n{told}")
        if (done := way.done(work)) != count:
            sys.exit(f"{way.name}: {done} of {count} tasks are done:\n{told}")
        shutil.rmtree(work)
        return seconds

    def round(self, many: int, full: bool) -> Iterator[tuple[Way, str, Pair]]:
        """Each way once, and ours before each; of ours, which is the same each time, the median of the round."""
        ours: dict[tuple[int, str], list[float]] = {}
        theirs: dict[Way, Side] = {}
        for way in self.ways:
            if not (count := way.tasks(many, full)):
                continue
            for durability in way.beside:
                for tasks in (1, count):
                    ours.setdefault((tasks, durability), []).append(self.ours(tasks, durability))
            theirs[way] = Side(self.theirs(way, 1), self.theirs(way, count), count)
        for way, side in theirs.items():
            for durability in way.beside:
                start, whole = (statistics.median(ours[tasks, durability]) for tasks in (1, side.count))
                yield way, durability, Pair(Side(start, whole, side.count), side)

    def rounds(self, rounds: int, many: int, full: bool) -> dict[tuple[Way, str], list[Pair]]:
        pairs: dict[tuple[Way, str], list[Pair]] = {}
        for _ in range(rounds):
            for way, durability, pair in self.round(many, full):
                pairs.setdefault((way, durability), []).append(pair)
        return pairs


def timed_together(way: Way, python: Path, work: Path, count: int) -> tuple[float, list[int]]:
    """Seconds until all processes of a way have ended, and their exit codes. What they leave behind is killed."""
    words, environ = way.words(python, count), {**os.environ, **way.environ}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with (work / SAID).open("w") as said:
            begin = time.perf_counter()
            processes.extend(
                subprocess.Popen(
                    words, cwd=work, env=environ, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
                )
                for _ in range(way.processes)
            )
            codes = [process.wait() for process in processes]
            return time.perf_counter() - begin, codes
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def verdict(way: Way, rows: list[Row]) -> bool:
    """Say of a way's bar, and of the stretch beyond it, whether each is met; whether the bar is."""
    if way.bar is None:
        return True
    judged = [row for row in rows if row.way is way and row.durability == way.beside[0]]
    found = ", ".join(f"{row.ratio:.2f} ({row.count:,} tasks)" for row in judged)
    lowest = min(row.ratio for row in judged)
    for kind, least in (("bar", way.bar), ("stretch", way.stretch)):
        told = (
            f"faster than {way.name} by {least:g}" if least > 1 else f"at most {1 / least:g} x the time of {way.name}"
        )
        print(f"{kind}: {told}: {found}: {'met' if lowest >= least else 'MISSED'}")
    return lowest >= way.bar


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--full", action="store_true", help=f"{MANY:,} tasks for all, also where that takes minutes")
    parser.add_argument("--peer", choices=DISTRIBUTIONS, nargs="+", default=list(DISTRIBUTIONS))
    parser.add_argument(
        "--rounds", type=int, nargs=2, default=(15, 5), metavar=("FEW", "MANY"), help="with few tasks, and with many"
    )
    options = parser.parse_args()
    ways = [way for way in WAYS if way.peer in options.peer]
    pythons = {
        peer: environment(DISTRIBUTIONS[peer], otherwise="--peer NAME ... names others") for peer in options.peer
    }
    versions = {peer: peer_version(python, DISTRIBUTIONS[peer]) for peer, python in pythons.items()}
    few, many = options.rounds
    sizes = {50: 1} if options.smoke else {count: rounds for count, rounds in ((FEW, few), (MANY, many)) if rounds}
    rows: list[Row] = []
    with ground(options.dir) as folder:
        contest = Contest(folder, ways, pythons)
        print(f"tasks that do nothing, 2 workers; Python {sys.version.split()[0]} for all")
        for way in ways:
            contest.theirs(way, 1)  # so that the first round finds all in memory, too
        for count, rounds in sizes.items():
            print(f"\n{HEADING}", flush=True)
            for (way, durability), pairs in contest.rounds(rounds, count, options.full).items():
                rows.append(Row(way, versions[way.peer], durability, pairs))
                print(rows[-1], flush=True)
    if options.smoke:
        print("\nso few tasks show that it works; the figures mean nothing")
        return 0
    if not options.full and (slow := [f"{way.name}: {way.most:,}" for way in ways if way.most < MANY]):
        print(f"\nno more tasks than this, as they take long (--full does all): {'; '.join(slow)}")
    print()
    met = [verdict(way, rows) for way in ways]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
