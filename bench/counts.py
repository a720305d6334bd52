"""Counts, not times: what a job costs in file operations and syncs, what a start reads, what the rule book visits.

python -m bench.counts

They are the same on every machine: a change that makes one of them larger is seen at once, however noisy it is there.
Needs strace. A job is what one of twice as many jobs adds.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench import bars
from bench.ground import command, count, shapes_project
from bench.resume import killed
from runner.backlog import Backlog
from runner.batch import propose
from runner.catalog import Catalog
from runner.core.commands import Command, Launch
from runner.core.engine import Engine
from runner.core.events import Continued, Finished, Returned, Slots, Submitted
from runner.rebuild import rebuild
from runner.store import codec
from runner.store.folders import FolderStore

FEW = 40
CALLS = (
    "openat,open,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,stat,lstat,newfstatat,statx,access,"
    "faccessat,faccessat2,readlink,readlinkat,fsync,fdatasync,syncfs,sync_file_range"
)
SYNCS = ("fsync", "fdatasync", "syncfs", "sync_file_range")
OF_A_JOB = re.compile(r'"[^"]*(?:-[0-9a-f]{16}|data/)[^"]*"')
CALL = re.compile(r"^\d+ +(?:<\.\.\. )?(\w+)")

# What one job may cost: operations on files that bear its name, or are its output; and syncs.
SHAPES = {
    "fan-out": ("fan_out", "process", 7, 0.0),
    "chains of 10": ("chains", "process", 7, 0.0),
    "found at run time": ("found", "process", 8, 0.0),
    "one small output": ("outputs", "process", 11, 0.0),
    "chains of 10, power": ("chains", "power", 7, 2.0),
    "one chain, power": ("chain", "power", 7, 2.0),
}


class Counts:
    """Prints what was counted, and remembers whether any of it is too much."""

    def __init__(self) -> None:
        self.met = True

    def say(self, what: str, found: float, most: float) -> None:
        self.met &= bars.met(what, found, most, unit="")


# ------------------------------------------------------------------------------------------------- what a run asks for


def traced(project: Path, flow: str, jobs: int, durability: str) -> tuple[float, int]:
    """Operations on files of jobs, a job, and syncs of any kind, in one run of a new project. Exits if it failed."""
    log = project.with_suffix(".trace")
    shapes_project(project)
    words = command(
        project, "run", f"shapes:{flow}", f"count={jobs}", "-q", "--workers", "2", "--durability", durability
    )
    strace = ["strace", "-f", "-qq", "-s", "400", "-e", f"trace={CALLS}", "-o", str(log)]
    done = subprocess.run([*strace, *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"exit code {done.returncode} of {' '.join(words)}:\n{done.stderr[-2000:]}")
    operations = syncs = 0
    for line in log.read_text(errors="replace").splitlines():
        call = CALL.match(line)
        if call is None or "resumed>" in line:
            continue
        syncs += call[1] in SYNCS
        operations += call[1] not in SYNCS and OF_A_JOB.search(line) is not None
    done_jobs = count(project, "done")
    shutil.rmtree(project)
    log.unlink()
    return operations / done_jobs, syncs


def file_operations(counts: Counts, folder: Path) -> None:
    for shape, (flow, durability, operations, syncs) in SHAPES.items():
        few, many = (traced(folder / "project", flow, size, durability) for size in (FEW, 2 * FEW))
        counts.say(f"{shape}: file operations a job", many[0], operations)
        counts.say(f"{shape}: syncs a job", (many[1] - few[1]) / FEW, syncs)


# ----------------------------------------------------------------------------------------------- what a start looks at

STARTS = 1_000  # jobs that are pending
DONE = 1_000


def a_start(counts: Counts, folder: Path) -> None:
    """What is read and decoded until the first job of those that are left can start."""
    project = killed(folder, STARTS + DONE, DONE)
    called: Counter[str] = Counter()
    with FolderStore(project / "state", durability="process", root=project) as store:
        store.run = "20260101T000000Z"
        catalog = Catalog(("shapes",), project)
        backlog = Backlog(store, catalog)
        with counted(called):
            engine = Engine(resuming=True)
            engine.handle(rebuild(store, catalog, backlog)[0], 0.0)
            engine.handle(backlog.take(engine.part, engine.ledger), 0.0)
    assert engine.claimable == engine.part, "the first jobs cannot start"
    shutil.rmtree(project)
    counts.say("a start: pending files glanced at, of each", called["glance"] / STARTS, 1)
    counts.say("a start: job files decoded whole before the first one starts", called["decode"], engine.part)
    counts.say("a start: done files looked into, for each class", called["skim"], 1)


@contextmanager
def counted(called: Counter[str]) -> Iterator[None]:
    """Count the calls of what reads a job file."""
    before = {name: getattr(codec, name) for name in ("glance", "decode", "skim")}

    def counting(name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            called[name] += 1
            return before[name](*arguments)

        return call

    for name in before:
        setattr(codec, name, counting(name))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(codec, name, function)


# -------------------------------------------------------------------------------------------- what the rule book visits


def visits(counts: Counts, folder: Path) -> None:
    """Calls into sorters, for each job of a run that needs no disk."""
    for shape, most in (("fan_out", 0), ("chains", 2.2), ("chain", 2.2)):
        tasks = importlib.import_module("shapes").__dict__[shape](2_000)
        engine = Engine()
        todo: deque[Command] = deque(engine.handle(Submitted(propose(tasks, root=folder)), 0.0))
        while not engine.finished:
            while todo:
                command = todo.popleft()
                if isinstance(command, Launch):
                    todo.extend(engine.handle(Returned(command.id), 0.0))
                    todo.extend(engine.handle(Finished(id=command.id, record="record"), 0.0))
            todo.extend(engine.handle(Continued(64) if engine.entering else Slots(64), 0.0))
        counts.say(f"{shape}: calls into sorters a job", engine.forest.visits / 2_000, most)


def main() -> int:
    if shutil.which("strace") is None:
        sys.exit("there is no strace; on Debian: apt-get install strace")
    counts = Counts()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        file_operations(counts, Path(folder))
        a_start(counts, Path(folder))
        visits(counts, Path(folder))
    return 0 if counts.met else 1


if __name__ == "__main__":
    sys.exit(main())
