"""Microseconds a job, beside the floor (create + 2 renames) measured just before in the same folder tree.

python -m bench.throughput [--smoke] [--dir DIR] [--jobs 10000] [--pairs 5] [--shape NAME ...]

`us/job` is the whole run less what a run of one job takes (start of Python, imports, workers, end); `with start` is
the whole run. Both are medians of pairs of a floor and a run, and so is their ratio.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import bars
from bench.floor import floor
from bench.ground import arguments, count, ground, shapes_project, timed

SHAPES = {"fan-out": "fan_out", "chains of 10": "chains", "found at run time": "found", "one small output": "outputs"}
OUTPUTS = "one small output"
DURABILITIES = ("process", "power")
BARS = {"process": (3.0, 2.3), "power": (4.5, 3.5)}  # times the floor, for jobs that make no file; what is striven for
WITH_OUTPUT = {"process": (4.0, 3.0), "power": (6.0, 4.5)}  # for those that make one


@dataclass(frozen=True)
class Pair:
    floor: float  # us
    whole: float  # us a job
    net: float  # us a job, start-up taken off


@dataclass(frozen=True)
class Row:
    shape: str
    durability: str
    pairs: list[Pair]

    @property
    def ratio(self) -> float:
        return statistics.median(pair.net / pair.floor for pair in self.pairs)

    def __str__(self) -> str:
        middle = statistics.median
        net, whole = middle(pair.net for pair in self.pairs), middle(pair.whole for pair in self.pairs)
        ground_floor = middle(pair.floor for pair in self.pairs)
        with_start = middle(pair.whole / pair.floor for pair in self.pairs)
        ratios = " ".join(f"{pair.net / pair.floor:.2f}" for pair in self.pairs)
        return (
            f"{self.shape:18} {self.durability:10} {net:7.0f} {ground_floor:6.0f} {self.ratio:6.2f} "
            f"{whole:10.0f} {with_start:6.1f}   {ratios}"
        )


HEADING = (
    f"{'shape':18} {'durability':10} {'us/job':>7} {'floor':>6} {'ratio':>6} {'with start':>10} {'ratio':>6}   ratios"
)


def run_once(folder: Path, flow: str, jobs: int, durability: str) -> tuple[float, int]:
    """Seconds of one run of a new project, and how many jobs were done in it."""
    project = shapes_project(folder / "project")
    os.sync()  # what was written before must not be paid for here
    seconds = timed(project, "run", f"shapes:{flow}", f"count={jobs}", "--workers", "2", "--durability", durability)
    done = count(project, "done")
    shutil.rmtree(project)
    return seconds, done


def measure(folder: Path, flow: str, jobs: int, durability: str, start: float) -> Pair:
    os.sync()
    ground_floor = floor(folder, jobs)
    seconds, done = run_once(folder, flow, jobs, durability)
    if done < jobs:
        sys.exit(f"only {done} of {jobs} jobs are done")
    return Pair(ground_floor, seconds / done * 1e6, max(0.0, seconds - start) / done * 1e6)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=5, help="of a floor and a run, for each line")
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    parser.add_argument("--durability", choices=DURABILITIES, nargs="*", default=list(DURABILITIES))
    options = parser.parse_args()
    jobs, pairs = (200, 1) if options.smoke else (options.jobs, options.pairs)
    good = []
    with ground(options.dir) as folder:
        starts = {
            durability: statistics.median(run_once(folder, "fan_out", 1, durability)[0] for _ in range(pairs))
            for durability in options.durability
        }
        told = ", ".join(f"{seconds:.2f} s ({durability})" for durability, seconds in starts.items())
        print(f"{jobs} jobs that do nothing, 2 workers; a run of one job takes {told}\n\n{HEADING}")
        for shape in options.shape:
            for durability in options.durability:
                measured = [measure(folder, SHAPES[shape], jobs, durability, starts[durability]) for _ in range(pairs)]
                row = Row(shape, durability, measured)
                print(row, flush=True)
                if not options.smoke:
                    bar, striven = (WITH_OUTPUT if shape == OUTPUTS else BARS)[durability]
                    good.append(bars.met(f"{shape}, {durability}", row.ratio, bar, striven, unit=" x floor"))
    if options.smoke:
        print("\nso few jobs show that it works; the figures mean nothing")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
