"""What a job costs in a run of a hundred times more of them, beside how the floor itself grows.

python -m bench.growth [--smoke] [--dir DIR] [--jobs 10000 100000 1000000] [--pairs 5]

Of each size so many pairs of a floor (create + 2 renames) and a run of jobs that do nothing, `--durability process`, in
turns with those of the other sizes. `growth` is what a job costs over what it costs among the fewest, divided by the
same of the floor; `MB` is the peak of the runner. All are medians. A pair of a million takes four minutes.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import bars
from bench.floor import floor
from bench.ground import arguments, command, count, ground, shapes_project

SIZES = (10_000, 100_000, 1_000_000)
GROWTH, STRIVEN = 1.2, 1.05


@dataclass(frozen=True)
class Pair:
    """Microseconds a job, and MB."""

    floor: float
    job: float
    memory: float


def run(folder: Path, jobs: int) -> tuple[float, float]:
    """Seconds of one run of a new project, and the runner's peak in MB."""
    project = shapes_project(folder / "project")
    os.sync()
    words = command(
        project, "run", "shapes:fan_out", f"count={jobs}", "-q", "--workers", "2", "--durability", "process"
    )
    begin = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ)
    _, status, used = os.wait4(pid, 0)
    seconds = time.perf_counter() - begin
    if status or count(project, "done") != jobs:
        sys.exit(f"a run of {jobs} jobs failed, or left some")
    shutil.rmtree(project)
    return seconds, used.ru_maxrss / 1024


def measure(folder: Path, jobs: int, start: float) -> Pair:
    os.sync()
    lowest = floor(folder, jobs)
    seconds, memory = run(folder, jobs)
    return Pair(lowest, max(0.0, seconds - start) / jobs * 1e6, memory)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=list(SIZES), help="the fewest first")
    parser.add_argument("--pairs", type=int, default=5, help="of a floor and a run, of each size")
    options = parser.parse_args()
    sizes, pairs = ([2000, 4000], 1) if options.smoke else (options.jobs, options.pairs)
    few = sizes[0]
    with ground(options.dir, gigabytes=6 + max(sizes) * 12 // 1_000_000) as folder:
        start = statistics.median(run(folder, 1)[0] for _ in range(3))
        measured: dict[int, list[Pair]] = {size: [] for size in sizes}
        for _ in range(pairs):
            for size in sizes:
                measured[size].append(measure(folder, size, start))
    print(f"\n{'jobs':>8} {'us/job':>7} {'floor':>6} {'ratio':>6} {'growth':>7} {'MB':>6}   pairs")
    base = middle(measured[few])
    good = []
    for size in sizes:
        found = middle(measured[size])
        growth = found.job / base.job / (found.floor / base.floor)
        print(
            f"{size:8} {found.job:7.1f} {found.floor:6.1f} {found.job / found.floor:6.2f} {growth:7.2f} "
            f"{found.memory:6.0f}   {len(measured[size])}"
        )
        if size != few and not options.smoke:
            good.append(bars.met(f"a job among {size:,} over one among {few:,}", growth, GROWTH, STRIVEN))
    if options.smoke:
        print("\nso few jobs show that it works; the figures mean nothing")
    return 0 if all(good) else 1


def middle(pairs: list[Pair]) -> Pair:
    """The medians."""
    return Pair(
        *(statistics.median(values) for values in zip(*((p.floor, p.job, p.memory) for p in pairs), strict=True))
    )


if __name__ == "__main__":
    sys.exit(main())
