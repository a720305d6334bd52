"""`check` over done jobs: its time beside that of reading and decoding their files once, and its memory.

python -m bench.check [--smoke] [--dir DIR] [--jobs 100000] [--pairs 5] [--shape NAME ...]

The floor is that of `bench.noop`, measured just before each check. `s` is the whole verb, from the start of Python to
its end, and `ratio` is that to the floor; `check` also looks at each output, at who owns it and at who found whom.
All are medians of pairs of a floor and a check.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.ground import arguments, command, count, ground
from bench.noop import SHAPES, floor, up_to_date

BAR = 3.0  # times the floor
SECONDS = 10.0  # at the bar's number of jobs
MEMORY = 250  # MB, at the same
BAR_JOBS = 100_000


@dataclass(frozen=True)
class Pair:
    """Seconds, and the peak of the memory in MB."""

    floor: float
    check: float
    memory: float

    @property
    def ratio(self) -> float:
        return self.check / self.floor


@dataclass(frozen=True)
class Row:
    shape: str
    jobs: int
    pairs: list[Pair]

    @property
    def seconds(self) -> float:
        return statistics.median(pair.check for pair in self.pairs)

    @property
    def ratio(self) -> float:
        return statistics.median(pair.ratio for pair in self.pairs)

    @property
    def memory(self) -> float:
        return statistics.median(pair.memory for pair in self.pairs)

    def __str__(self) -> str:
        ratios = " ".join(f"{pair.ratio:.2f}" for pair in self.pairs)
        lowest = statistics.median(pair.floor for pair in self.pairs)
        return (
            f"{self.shape:18} {self.jobs:7} {self.seconds:7.2f} {lowest:7.2f} {self.ratio:6.2f} "
            f"{self.memory:7.1f}   {ratios}"
        )


HEADING = f"{'shape':18} {'jobs':>7} {'s':>7} {'floor':>7} {'ratio':>6} {'MB':>7}   ratios"


def checked(project: Path, jobs: int) -> tuple[float, float]:
    """Seconds and MB of one check. Exits, with what it said, if it found a fault, or did not look at all jobs."""
    words = command(project, "check", "--json")
    said = project / "check.json"
    actions = [(os.POSIX_SPAWN_OPEN, 1, str(said), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)]
    begin = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    if status or json.loads(said.read_bytes())["jobs"] != jobs:
        sys.exit(f"a check of {jobs} jobs failed:\n{said.read_text()[-2000:]}")
    return seconds, used.ru_maxrss / 1024


def measure(project: Path) -> Pair:
    jobs = count(project, "done")
    lowest = floor(project)[0] * jobs / 1e6
    seconds, memory = checked(project, jobs)
    return Pair(lowest, seconds, memory)


def row(folder: Path, shape: str, jobs: int, pairs: int) -> Row:
    flow, each = SHAPES[shape]
    project = up_to_date(folder, flow, max(1, jobs // each))
    floor(project)  # so that the first pair finds the files in memory, too
    measured = Row(shape, count(project, "done"), [measure(project) for _ in range(pairs)])
    shutil.rmtree(project)
    return measured


def verdict(found: Row) -> bool:
    """Say of each bar whether it is met; whether all are."""
    bars = (
        (f"{BAR:.0f} x floor", f"{found.ratio:.2f}", found.ratio <= BAR),
        (f"{SECONDS:.0f} s", f"{found.seconds:.1f} s", found.seconds <= SECONDS),
        (f"{MEMORY} MB", f"{found.memory:.0f} MB", found.memory <= MEMORY),
    )
    for name, value, met in bars:
        print(f"bar: at most {name}: {value}: {'met' if met else 'MISSED'}")
    return all(met for _, _, met in bars)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=BAR_JOBS)
    parser.add_argument("--pairs", type=int, default=5, help="of a floor and a check, for each line")
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    jobs, pairs = (400, 1) if options.smoke else (options.jobs, options.pairs)
    met = True
    with ground(options.dir) as folder:
        print(f"\n{HEADING}")
        for shape in options.shape:
            found = row(folder, shape, jobs, pairs)
            print(found, flush=True)
            if not options.smoke:
                met &= verdict(found)
    if options.smoke:
        print("\nso few jobs show that it works; the figures mean nothing")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
