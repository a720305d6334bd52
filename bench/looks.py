"""What it costs to look: `status` and the live page's list over done jobs, and `--help`, beside what no look can do
without.

python -m bench.looks [--smoke] [--dir DIR] [--jobs 100000] [--rounds 9]

The floor of `--help` is the start of a bare interpreter (`python -c pass`), that of `status` is the same and a bare
listing of all the state's folders. Each round measures both floors and both looks; all are medians of the rounds, and
so are the ratios. The modules' bytecode is kept, as where a user looks.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from bench import bars
from bench.ground import arguments, command, count, ground
from bench.noop import up_to_date

BAR_STATUS, STRETCH_STATUS = 3.0, 2.0  # times the floor, at the bar's number of jobs
BAR_HELP, STRETCH_HELP = 6.0, 4.0
BAR_PAGE = 12.0  # of our own: nobody waits for a page
BAR_JOBS = 100_000


@dataclass(frozen=True)
class Round:
    """Seconds."""

    bare: float
    scan: float
    status: float
    help: float
    page: float


@dataclass(frozen=True)
class Row:
    verb: str
    jobs: int
    look: Callable[[Round], float]
    floor: Callable[[Round], float]
    rounds: list[Round]

    @property
    def ratio(self) -> float:
        return statistics.median(self.look(each) / self.floor(each) for each in self.rounds)

    def __str__(self) -> str:
        look = statistics.median(map(self.look, self.rounds)) * 1e3
        floor = statistics.median(map(self.floor, self.rounds)) * 1e3
        ratios = " ".join(f"{self.look(each) / self.floor(each):.2f}" for each in self.rounds)
        return f"{self.verb:8} {self.jobs:7} {look:7.1f} {floor:7.1f} {self.ratio:6.2f}   {ratios}"


HEADING = f"{'look':8} {'jobs':>7} {'ms':>7} {'floor':>7} {'ratio':>6}   ratios"


def seconds(words: list[str]) -> float:
    """Of one command, from its start to its end. Exits, with what it said, if it failed."""
    begin = time.perf_counter()
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    took = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"exit code {done.returncode} of {' '.join(words)}:\n{done.stderr[-2000:]}")
    return took


def scan(state: Path) -> float:
    """Seconds for the names of all the state's folders."""
    folders = [entry.path for entry in os.scandir(state) if entry.is_dir()]
    begin = time.perf_counter()
    for folder in folders:
        os.listdir(folder)
    return time.perf_counter() - begin


@contextmanager
def live_page(project: Path) -> Iterator[str]:
    """The address of the live page."""
    words = command(project, "ui", "--port", "0")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().partition("/?")[0]
        finally:
            process.terminate()


def asked(address: str, jobs: int) -> float:
    """Seconds for the middle of the list of all jobs."""
    begin = time.perf_counter()
    answer = requests.get(f"{address}/jobs?page={max(1, jobs // 100)}", timeout=60)
    took = time.perf_counter() - begin
    if f"{jobs:,} job" not in answer.text:
        sys.exit(f"the list does not have {jobs:,} jobs:\n{answer.text[:2000]}")
    return took


def measure(project: Path, address: str, jobs: int) -> Round:
    return Round(
        bare=seconds([sys.executable, "-c", "pass"]),
        scan=scan(project / "state"),
        status=seconds(command(project, "status")),
        help=seconds(command(project, "--help")),
        page=asked(address, jobs),
    )


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=BAR_JOBS)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    jobs, rounds = (400, 1) if options.smoke else (options.jobs, options.rounds)
    with ground(options.dir) as folder:
        project = up_to_date(folder, "outputs", jobs)
        jobs = count(project, "done")
        with live_page(project) as address:
            measure(project, address, jobs)  # so that the first round finds names and modules in memory, too
            measured = [measure(project, address, jobs) for _ in range(rounds)]
    status = Row("status", jobs, lambda each: each.status, lambda each: each.bare + each.scan, measured)
    help = Row("--help", jobs, lambda each: each.help, lambda each: each.bare, measured)
    page = Row("a page", jobs, lambda each: each.page, lambda each: each.scan, measured)
    print(HEADING, status, help, page, sep="\n")
    if options.smoke:
        print("\nso few jobs show that it works; the figures mean nothing")
        return 0
    good = bars.met(f"status over {jobs:,} jobs", status.ratio, BAR_STATUS, STRETCH_STATUS)
    good &= bars.met("--help", help.ratio, BAR_HELP, STRETCH_HELP)
    good &= bars.met(f"a page of the list of {jobs:,} jobs", page.ratio, BAR_PAGE)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
