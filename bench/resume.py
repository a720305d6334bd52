"""`resume` over a million jobs, until its first task has ended, beside what looking at their names, or files, costs.

python -m bench.resume [--smoke] [--dir DIR] [--jobs 1000000] [--pairs 5] [--state done pending]

done: all but one in a hundred are done. The floor is a bare listing of the names of all job files.
pending: nothing is done. The floor is to open, read and close all job files in one loop, and nothing else. `MB` is the
peak of the runner until then, `whole` that of one which is let go on until all are done.

The time is that of the whole command, from the start of Python. Each runner is killed as soon as something is done. The
files are in the page cache.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from bench import bars
from bench.ground import HERE, arguments, command, count, ground, shapes_project
from bench.memory import memory
from runner import Task
from runner.batch import propose
from runner.core.model import Proposal
from runner.store import codec
from runner.store.folders import FolderStore
from runner.store.runs import RunFile, Runs

DONE, PENDING = "done", "pending"
BARS = {DONE: (5.0, 2.5), PENDING: (2.5, 1.3)}  # times the floor: the bar, and what is striven for
MEMORY = (1000, 500)  # MB, when all is pending
LEFT = 100  # of so many jobs one is not done
RUN = "20260101T000000Z"
PART = 10_000
PATIENCE = 900.0  # seconds
EVERY = 0.005  # seconds between two looks


@dataclass(frozen=True)
class Pair:
    """Seconds, and MB."""

    floor: float
    first: float
    memory: float

    @property
    def ratio(self) -> float:
        return self.first / self.floor


# ------------------------------------------------------------------------------------------------- what was left behind


def killed(folder: Path, jobs: int, done: int) -> Path:
    """A project in which a run was killed when so many of its jobs were done, and the others had not begun."""
    project = shapes_project(folder / "project")
    with FolderStore(project / "state", durability="process", root=project) as store:
        roots: list[str] = []
        tasks = fan_out(jobs)
        while batch := propose(list(islice(tasks, PART)), root=project):
            for proposal in batch:
                write(store, proposal, len(roots) < done)
                roots.append(proposal.id)
        now = codec.stamp(time.time())
        record = RunFile(id=RUN, start=now, admitted=now, target="shapes:fan_out", roots=roots)
        Runs(store).write(replace(record, arguments={"count": str(jobs)}))
    os.sync()
    return project


def fan_out(jobs: int) -> Iterator[Task]:
    """The tasks of that flow, of the module that the project calls so."""
    sys.path.insert(0, str(HERE))
    found: Iterator[Task] = importlib.import_module("shapes").fan_out(jobs)
    return found


def write(store: FolderStore, proposal: Proposal, done: bool) -> None:
    """Its file, as a worker or the scheduler writes it."""
    job = codec.new_file(proposal, ())
    if done:
        now = codec.stamp(time.time())
        note = {"run": RUN, "started": now, "seconds": 0.000012, "outcome": "done", "change": "new"}
        result = {
            "run": RUN,
            "version": Task.version,
            "checked_at": now,
            "change": "new",
            "params": job.params,
            "hints": {},
        }
        result |= {"inputs": {}, "outputs": {}, "found": [], "value": None}
        job = replace(codec.with_attempt(job, note), result=result)
    files, fds = store.shelf.files, store.shelf.fds
    files.write(fds[DONE if done else PENDING], f"{job.id}.json", codec.encode(job))


# ----------------------------------------------------------------------------------------------------------- the floors


def listing(state: Path) -> float:
    """Seconds to list the names of all job files."""
    begin = time.perf_counter()
    for folder in (PENDING, DONE):
        os.listdir(state / folder)
    return time.perf_counter() - begin


def reading(state: Path) -> float:
    """Seconds to open, read and close all pending job files."""
    folder = os.open(state / PENDING, os.O_RDONLY)
    names = os.listdir(folder)
    begin = time.perf_counter()
    for name in names:
        file = os.open(name, os.O_RDONLY | os.O_NOATIME, dir_fd=folder)
        os.read(file, 65536)
        os.close(file)
    seconds = time.perf_counter() - begin
    os.close(folder)
    return seconds


FLOORS: dict[str, Callable[[Path], float]] = {DONE: listing, PENDING: reading}


# ------------------------------------------------------------------------------------------------------------- resuming


def first_task(project: Path) -> tuple[float, float]:
    """Seconds until a task has ended, and the runner's peak by then in MB."""
    done = project / "state" / "done"
    before, said = done.stat().st_mtime_ns, project / "stderr.txt"
    begin = time.perf_counter()
    with said.open("w") as file:
        words = command(project, "resume", "-q", "--workers", "2", "--durability", "process")
        process = subprocess.Popen(words, stderr=file, start_new_session=True)
    while done.stat().st_mtime_ns == before:
        if process.poll() is not None or time.perf_counter() - begin > PATIENCE:
            sys.exit(f"`resume` has begun nothing: {said.read_text()[-2000:]}")
        time.sleep(EVERY)
    seconds, peak = time.perf_counter() - begin, memory(process.pid)[0] / 1024
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return seconds, peak


def to_the_end(project: Path, jobs: int) -> float:
    """The peak in MB of a runner that does all that is left."""
    said = project / "stderr.txt"
    words = command(project, "resume", "-q", "--workers", "2", "--durability", "process")
    with said.open("w") as file:
        pid = os.posix_spawn(words[0], words, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 2)])
        _, status, used = os.wait4(pid, 0)
    if status or count(project, DONE) != jobs:
        sys.exit(f"`resume` left work, or failed: {said.read_text()[-2000:]}")
    return used.ru_maxrss / 1024


def measure(folder: Path, state: str, jobs: int, pairs: int, *, smoke: bool) -> bool:
    """Print the figures, and say whether the bars are met."""
    project = killed(folder, jobs, jobs - jobs // LEFT if state == DONE else 0)
    floor = FLOORS[state]
    floor(project / "state")  # so that the first pair finds all of it in memory, too
    measured = [Pair(floor(project / "state"), *first_task(project)) for _ in range(pairs)]
    middle = statistics.median
    ratio, peak = middle(pair.ratio for pair in measured), middle(pair.memory for pair in measured)
    whole = to_the_end(project, jobs) if state == PENDING else 0.0
    shutil.rmtree(project)
    first, lowest = middle(pair.first for pair in measured), middle(pair.floor for pair in measured)
    ratios = " ".join(f"{pair.ratio:.2f}" for pair in measured)
    print(f"{state:8} {jobs:8} {first:7.2f} {lowest:7.2f} {ratio:6.2f} {peak:7.0f} {whole:7.0f}   {ratios}", flush=True)
    if smoke:
        return True
    good = bars.met(f"resume, {state}: until the first task has ended", ratio, *BARS[state], unit=" x floor")
    if state == PENDING:
        good &= bars.met("resume, pending: peak memory", max(peak, whole), *MEMORY, unit=" MB")
    return good


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--pairs", type=int, default=5, help="of a floor and a start, for each line")
    parser.add_argument("--state", choices=BARS, nargs="*", default=list(BARS))
    options = parser.parse_args()
    jobs, pairs = (2000, 1) if options.smoke else (options.jobs, options.pairs)
    met = True
    with ground(options.dir, gigabytes=6 + jobs * 12 // 1_000_000) as folder:
        print(f"\n{'state':8} {'jobs':>8} {'s':>7} {'floor':>7} {'ratio':>6} {'MB':>7} {'whole':>7}   ratios")
        for state in options.state:
            met &= measure(folder, state, jobs, pairs, smoke=options.smoke)
    if options.smoke:
        print("\nso few jobs show that it works; the figures mean nothing")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
