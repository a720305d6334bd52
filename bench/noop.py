"""A run with nothing to do, over done jobs: its time beside that of reading and decoding their files once, its memory.

python -m bench.noop [--smoke] [--dir DIR] [--jobs 100000] [--pairs 5] [--shape NAME ...]

The floor (`bench.reading`) is measured in a process of its own, just before each run. `us/job` is the whole run less
what a run over an empty state takes (start of Python, imports, end); `gross` is the whole run. `cpu` is what a run's
process, and those it has started, took of the processors: it says more than the others on a machine where others work.
All are medians of pairs of a floor and a run, and so are their ratios.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.ground import HERE, arguments, command, count, ground, shapes_project, timed

OUTPUTS, READ, FOUND = "one small output", "read by another", "found by a root"
SHAPES = {OUTPUTS: ("outputs", 1), READ: ("copied", 2), FOUND: ("listed", 2)}  # a flow; jobs for each of its count
BAR = 2.0  # times the floor
MEMORY = 150  # MB, at the bar's number of jobs
FEW = 4  # for the growth: with so many times fewer jobs
GROWTH = 1.5  # times the cost of a job with so many fewer; were it quadratic, it would be FEW
BAR_JOBS = 100_000


@dataclass(frozen=True)
class Run:
    """What one process cost. The memory is its peak, in MB."""

    seconds: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Pair:
    """Microseconds for each job."""

    floor: float
    floor_cpu: float
    net: float
    gross: float
    cpu: float
    memory: float


@dataclass(frozen=True)
class Row:
    shape: str
    jobs: int
    pairs: list[Pair]

    def middle(self, of: Callable[[Pair], float]) -> float:
        return statistics.median(of(pair) for pair in self.pairs)

    @property
    def ratio(self) -> float:
        return self.middle(lambda pair: pair.net / pair.floor)

    @property
    def memory(self) -> float:
        return self.middle(lambda pair: pair.memory)

    def __str__(self) -> str:
        ratios = " ".join(f"{pair.net / pair.floor:.2f}" for pair in self.pairs)
        net, floor = self.middle(lambda pair: pair.net), self.middle(lambda pair: pair.floor)
        gross, over = self.middle(lambda pair: pair.gross), self.middle(lambda pair: pair.gross / pair.floor)
        cpu, share = self.middle(lambda pair: pair.cpu), self.middle(lambda pair: pair.cpu / pair.floor_cpu)
        return (
            f"{self.shape:18} {self.jobs:7} {net:7.1f} {floor:6.1f} {self.ratio:6.2f} {gross:7.1f} {over:6.2f} "
            f"{cpu:7.1f} {share:6.2f} {self.memory:7.1f}   {ratios}"
        )


HEADING = (
    f"{'shape':18} {'jobs':>7} {'us/job':>7} {'floor':>6} {'ratio':>6} {'gross':>7} {'ratio':>6} {'cpu':>7} "
    f"{'ratio':>6} {'MB':>7}   ratios"
)


def up_to_date(folder: Path, flow: str, jobs: int) -> Path:
    """A project whose jobs were all done by a run of `flow`, as that left them."""
    project = shapes_project(folder / f"{flow}-{jobs}")
    timed(project, "run", f"shapes:{flow}", f"count={jobs}", "--durability", "process", "-q")
    os.sync()
    return project


def run_again(project: Path, flow: str, jobs: int) -> Run:
    """A run of the same flow. Exits, with what it said, if it failed, or if it had anything to do."""
    before = newest_change(project)
    with (project / "stderr.txt").open("w+") as said:
        begin = time.perf_counter()
        words = command(project, "run", f"shapes:{flow}", f"count={jobs}", "-q")
        pid = os.posix_spawn(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), 2)])
        _, status, used = os.wait4(pid, 0)
        seconds = time.perf_counter() - begin
        said.seek(0)
        if status:
            sys.exit(f"a run of {flow} over done jobs failed:\n{said.read()[-2000:]}")
    if newest_change(project) != before:
        sys.exit(f"a run of {flow} over done jobs moved some of them")
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def newest_change(project: Path) -> int:
    """When a name was last put into done/, or taken from it."""
    return (project / "state" / "done").stat().st_mtime_ns


def floor(project: Path) -> tuple[float, float]:
    """Microseconds for each done job: on the wall, and of the CPU."""
    words = [sys.executable, "-m", "bench.reading", "--state", str(project / "state")]
    told = subprocess.run(words, cwd=HERE.parent, check=True, capture_output=True, text=True).stdout.split()
    files, seconds, cpu = int(told[0]), float(told[1]), float(told[2])
    return seconds / files * 1e6, cpu / files * 1e6


def measure(project: Path, flow: str, jobs: int, start: Run) -> Pair:
    wall, cpu = floor(project)
    run = run_again(project, flow, jobs)
    each = 1e6 / count(project, "done")
    return Pair(
        floor=wall,
        floor_cpu=cpu,
        net=max(0.0, run.seconds - start.seconds) * each,
        gross=run.seconds * each,
        cpu=max(0.0, run.cpu - start.cpu) * each,
        memory=run.memory,
    )


def start_up(folder: Path, times: int) -> Run:
    """What a run over an empty state costs."""
    project = up_to_date(folder, "outputs", 0)
    runs = [run_again(project, "outputs", 0) for _ in range(times)]
    shutil.rmtree(project)
    middle = statistics.median
    return Run(middle(r.seconds for r in runs), middle(r.cpu for r in runs), middle(r.memory for r in runs))


def grown(folder: Path, shape: str, jobs: int, pairs: int, start: Run) -> tuple[Row, Row]:
    """The rows of a shape with few jobs and with many, their runs in turns."""
    flow, each = SHAPES[shape]
    sizes = [max(1, size // each) for size in (jobs // FEW, jobs)]
    projects = [up_to_date(folder, flow, size) for size in sizes]
    for project in projects:  # so that the first pair finds the files in memory, too
        floor(project)
    measured: list[list[Pair]] = [[], []]
    for _ in range(pairs):
        for project, size, into in zip(projects, sizes, measured, strict=True):
            into.append(measure(project, flow, size, start))
    few, many = (Row(shape, count(p, "done"), into) for p, into in zip(projects, measured, strict=True))
    for project in projects:
        shutil.rmtree(project)
    return few, many


def verdict(few: Row, many: Row) -> bool:
    """Say of each bar whether it is met; whether all are."""
    # By the processors' time: of so few jobs the time on the wall is little more than that of the start.
    growth = many.middle(lambda pair: pair.cpu) / few.middle(lambda pair: pair.cpu)
    bars = (
        (f"{BAR:.0f} x floor", f"{many.ratio:.2f}", many.ratio <= BAR),
        (f"{MEMORY} MB", f"{many.memory:.0f} MB", many.memory <= MEMORY),
        (f"{GROWTH} x the cost of a job with {FEW} times fewer (it grows linearly)", f"{growth:.2f}", growth <= GROWTH),
    )
    for name, found, met in bars:
        print(f"bar: at most {name}: {found}: {'met' if met else 'MISSED'}")
    return all(met for _, _, met in bars)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=BAR_JOBS)
    parser.add_argument("--pairs", type=int, default=5, help="of a floor and a run, for each line")
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    options = parser.parse_args()
    jobs, pairs = (400, 1) if options.smoke else (options.jobs, options.pairs)
    met = True
    with ground(options.dir) as folder:
        start = start_up(folder, pairs)
        print(f"a run over an empty state takes {start.seconds:.2f} s ({start.cpu:.2f} s of the processors)")
        print(f"its peak is {start.memory:.0f} MB\n\n{HEADING}")
        for shape in options.shape:
            few, many = grown(folder, shape, jobs, pairs, start)
            print(few, many, sep="\n", flush=True)
            if shape == OUTPUTS and not options.smoke:
                met = verdict(few, many)
    if options.smoke:
        print("\nso few jobs show that it works; the figures mean nothing")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
