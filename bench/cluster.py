"""What a job costs on a Dask cluster, and how long a slow one keeps others waiting.

python -m bench.cluster [--smoke] [--dir DIR] [--jobs 10000] [--pairs 5]

A scheduler and two workers of one thread each are started once, on this machine: all of them, the runner and the tasks
share its processors, and there is no network between. `ms/job` is the whole run less what a run of one job takes, for
jobs that do nothing; `here` is the same with two worker processes of the runner's own, run before each. Medians of the
pairs; the ratio is that of the two.

slow: among jobs that take 2 ms, and so travel many at a time, one takes three seconds. `longest` is the longest time
from its begin until a job began that had been sent out before: behind it, or to the other worker, who is never idle.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from bench import bars
from bench.ground import arguments, count, ground, shapes_project, timed

BAR = 0.4  # ms a job
LONGEST = 0.5  # s: see runner/workers/agent.py, BOUND
SLOW, WHICH, QUICK = 3.0, 150, 0.002
PATIENCE = 30.0

SLOW_TASKS = f"""
import time
from dataclasses import dataclass
from runner import Task

@dataclass
class Step(Task):
    number: int

    def run(self):
        begin = time.time()
        time.sleep({SLOW} if self.number == {WHICH} else {QUICK})
        return begin

def steps(count: int = 300):
    return [Step(number) for number in range(int(count))]
"""


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """The address of its scheduler."""
    told = folder / "scheduler.json"
    words = ("--no-dashboard", "--scheduler-file", str(told))
    started = [start(folder, "scheduler", "--host", "127.0.0.1", "--port", "0", *words)]
    try:
        deadline = time.monotonic() + PATIENCE
        while not told.exists() or not told.read_text().endswith("}"):
            if started[0].poll() is not None or time.monotonic() > deadline:
                sys.exit(f"no Dask scheduler: {(folder / 'scheduler.log').read_text()[-2000:]}")
            time.sleep(0.05)
        address = str(json.loads(told.read_text())["address"])
        started.append(start(folder, "worker", address, "--nworkers", "2", "--nthreads", "1", "--no-dashboard"))
        yield address
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait()


def start(folder: Path, kind: str, *words: str) -> subprocess.Popen[bytes]:
    with (folder / f"{kind}.log").open("wb") as log:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)


def run_once(folder: Path, jobs: int, *where: str) -> float:
    """Seconds of one run of a new project."""
    project = shapes_project(folder / "project")
    os.sync()
    seconds = timed(project, "run", "shapes:fan_out", f"count={jobs}", "--durability", "process", *where)
    done = count(project, "done")
    shutil.rmtree(project)
    if done < jobs:
        sys.exit(f"only {done} of {jobs} jobs are done")
    return seconds


def cost(folder: Path, address: str, jobs: int, pairs: int) -> tuple[float, float]:
    """Median ms a job there, and the median ratio to here."""
    here, there = ("--workers", "2"), ("--executor", "dask", "--address", address)
    starts = [statistics.median(run_once(folder, 1, *where) for _ in range(pairs)) for where in (here, there)]
    print(
        f"a run of one job takes {starts[0]:.2f} s here, {starts[1]:.2f} s there\n\n"
        f"{'here':>8} {'ms/job':>8} {'ratio':>6}"
    )
    found = []
    for _ in range(pairs):
        near, far = (
            max(1e-9, run_once(folder, jobs, *where) - start) / jobs * 1e3
            for where, start in zip((here, there), starts, strict=True)
        )
        found.append((far, far / near))
        print(f"{near:8.3f} {far:8.3f} {far / near:6.2f}", flush=True)
    return statistics.median(far for far, _ in found), statistics.median(ratio for _, ratio in found)


def longest(folder: Path, address: str, steps: int) -> float:
    """Seconds that the unluckiest job waited behind a slow one of its batch."""
    project = folder / "project"
    project.mkdir()
    (project / "slow.py").write_text(SLOW_TASKS)
    (project / "pyproject.toml").write_text('[tool.runner]\nmodules = ["slow"]\n')
    words = ("--executor", "dask", "--address", address, "--durability", "process")
    timed(project, "run", "slow:steps", f"count={steps}", *words)
    begun = {}
    for path in (project / "state" / "done").iterdir():
        job = json.loads(path.read_text())
        begun[job["id"]] = float(job["result"]["value"]), int(job["params"]["number"])
    (journal,) = (project / "state" / "runs").glob("*.jsonl")
    moves = [json.loads(line) for line in journal.read_text().splitlines()]
    sent = {move["id"]: datetime.fromisoformat(move["at"]).timestamp() for move in moves if move.get("step") == "claim"}
    shutil.rmtree(project)
    (late,) = (at for at, number in begun.values() if number == WHICH)
    return max((at - late for id, (at, _) in begun.items() if sent[id] < late < at), default=0.0)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    jobs, pairs, steps = (200, 1, 200) if options.smoke else (options.jobs, options.pairs, 800)
    with ground(options.dir) as folder, tempfile.TemporaryDirectory() as logs, cluster(Path(logs)) as address:
        each, ratio = cost(folder, address, jobs, pairs)
        waits = [longest(folder, address, steps) for _ in range(pairs)]
        print(f"\n{'longest wait behind a slow one':32} {' '.join(f'{wait:.2f}' for wait in waits)} s")
        if options.smoke:
            print("\nso few jobs show that it works; the figures mean nothing")
            return 0
        print(f"a job costs {ratio:.1f} times what it costs here")
        good = [
            bars.met("a job on a Dask cluster", each, BAR, unit=" ms"),
            bars.met("longest wait behind a slow batch-mate", statistics.median(waits), LONGEST, unit=" s"),
        ]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
