"""How long workers wait for work.

python -m bench.waits [--smoke] [--dir DIR] [--runs 5] [--part finder threads]

finder: two workers run tasks of 1 ms, with at most four of them sent ahead, while a third comes back with 50,000
children. `longest` is the longest time that one of the two had nothing to do.
threads: tasks of 10 ms on two workers of eight threads: the share of the time in which these are in `run()`.

All in milliseconds, and the medians of some runs: others at work on the machine make both worse.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import bars
from bench.ground import HERE, arguments, ground
from bench.ticks import spans

LONGEST = 50.0  # ms
SHARE, STRIVEN = 0.97, 0.99
AHEAD = 4  # orders sent ahead at most
_FEWER_AHEAD = f"""
import sys
from runner.workers import worker
from runner.cli import main
worker.AHEAD_MOST = {AHEAD}
sys.argv[0] = "runner"
main()
"""


@dataclass(frozen=True)
class Sizes:
    ticks: int
    children: int
    after: float  # seconds
    tasks: int


FULL = Sizes(ticks=12_000, children=50_000, after=2.0, tasks=16_000)
SMALL = Sizes(ticks=300, children=500, after=0.1, tasks=200)


def run(folder: Path, words: Sequence[str], start: Sequence[str]) -> dict[tuple[int, int], list[tuple[float, float]]]:
    """What each thread of each worker ran, in a new project."""
    project = folder / "project"
    project.mkdir()
    shutil.copyfile(HERE / "ticks.py", project / "ticks.py")
    (project / "pyproject.toml").write_text('[tool.runner]\nmodules = ["ticks"]\n')
    os.sync()
    command = [sys.executable, *start, "-C", str(project), "run", *words, "-q", "--durability", "process"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"exit code {done.returncode} of run {' '.join(words)}:\n{done.stderr[-2000:]}")
    found = spans(project)
    shutil.rmtree(project)
    return found


def longest_wait(folder: Path, sizes: Sizes) -> float:
    """Milliseconds that one of the two workers without the finder had nothing to do, at the most."""
    words = [f"ticks={sizes.ticks}", "seconds=0.001", f"children={sizes.children}", f"after={sizes.after}"]
    found = run(folder, ["ticks:finding", *words, "--workers", "3"], ["-c", _FEWER_AHEAD])
    by_ticks = sorted(found.values(), key=len)
    return max(1e3 * (later[0] - earlier[1]) for ran in by_ticks[-2:] for earlier, later in itertools.pairwise(ran))


def busy_share(folder: Path, sizes: Sizes) -> float:
    """Of the time from when the last thread began to when the first had nothing left."""
    words = ["ticks:ticking", f"count={sizes.tasks}", "seconds=0.01", "--workers", "2", "--threads", "8"]
    threads = run(folder, words, ["-m", "runner"]).values()
    begin, end = max(ran[0][0] for ran in threads), min(ran[-1][1] for ran in threads)
    busy = sum(max(0.0, min(late, end) - max(early, begin)) for ran in threads for early, late in ran)
    return busy / (end - begin) / len(threads)


def finder(folder: Path, sizes: Sizes, runs: int) -> bool:
    waits = [longest_wait(folder, sizes) for _ in range(runs)]
    middle = statistics.median(waits)
    told = " ".join(f"{wait:.1f}" for wait in waits)
    print(f"finder: longest wait {middle:.1f} ms   {told}", flush=True)
    return bars.met("the longest wait while one finds 50,000", middle, LONGEST, unit=" ms")


def threads(folder: Path, sizes: Sizes, runs: int) -> bool:
    shares = [busy_share(folder, sizes) for _ in range(runs)]
    middle = statistics.median(shares)
    told = " ".join(f"{share:.1%}" for share in shares)
    print(f"threads: busy {middle:.1%} of the time   {told}", flush=True)
    return bars.met("threads are busy", 100 * middle, 100 * SHARE, 100 * STRIVEN, unit=" %", least=True)


PARTS = {"finder": finder, "threads": threads}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--part", choices=PARTS, nargs="*", default=list(PARTS))
    options = parser.parse_args()
    sizes, runs = (SMALL, 1) if options.smoke else (FULL, options.runs)
    with ground(options.dir) as folder:
        met = [PARTS[part](folder, sizes, runs) for part in options.part]
    if options.smoke:
        print("\nso few jobs show that it works; the figures mean nothing")
        return 0
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
