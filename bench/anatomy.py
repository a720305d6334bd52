"""Where each microsecond of a job goes: the steps of a job, each by itself, many times over.

python -m bench.anatomy [--smoke] [--dir DIR] [--jobs 5000] [--rounds 5] [--shape fan_out|outputs]

Each step is the very code of the runner, on the file system of the other benchmarks; `us` is the median of the rounds,
for one job, and `floor` what create + 2 renames cost just before. Scheduler and workers work at the same time, and wait
for each other's locks in the kernel: what a run takes, `python -m bench.throughput` tells.
"""

from __future__ import annotations

import importlib
import os
import shutil
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Raw

from bench.floor import floor
from bench.ground import HERE, arguments, ground, shapes_project
from runner import Task
from runner.batch import propose
from runner.core.commands import Command, Create, Launch, Move
from runner.core.engine import Engine
from runner.core.events import Finished, Returned, Slots, Submitted
from runner.core.model import Status
from runner.recorder import Recorder
from runner.store.folders import FolderStore
from runner.store.runs import Journal
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.child import Done, Work
from runner.workers.frames import frame
from runner.workers.port import Order, Reply, Settings

RUN = "20260101T000000Z"
AT_ONCE = 16  # orders in one message
PART = 64  # jobs that go through together
SCHEDULER, WORKER = "scheduler", "worker"


class Watch:
    """Seconds for each step, in the order in which they first come."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)

    @contextmanager
    def step(self, who: str, what: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.seconds[who, what] += time.perf_counter() - begin


def one_round(project: Path, tasks: list[Task]) -> dict[tuple[str, str], float]:
    """What the steps of these took, all in all."""
    watch = Watch()
    state = str(project / "state")
    with FolderStore(state, durability="process", root=project) as store:
        store.run = RUN
        settings = Settings(
            root=str(project), state=state, run=RUN, started=time.time(), durable=False, devices=(), modules=("shapes",)
        )
        worker = Bench(settings)
        engine = Engine()
        recorder = Recorder(Journal(store, RUN))
        for start in range(0, len(tasks), PART):
            launches = to_the_workers(watch, store, engine, tasks[start : start + PART])
            replies = at_work(watch, store, worker, launches)
            home(watch, store, engine, recorder, replies)
            with watch.step(WORKER, "what was replaced (unlink)"):
                worker.unlink(store.take_leftovers())
        recorder.close()
        worker.close()
    return watch.seconds


def to_the_workers(watch: Watch, store: FolderStore, engine: Engine, tasks: list[Task]) -> list[Launch]:
    with watch.step(SCHEDULER, "tasks to proposals: ids, parameters as JSON"):
        batch = propose(tasks, root=Path(store.root))
    commands: list[Command] = []
    with watch.step(SCHEDULER, "rule book: check, admit, release"):
        commands += engine.handle(Submitted(batch), 0.0)
    creates = [command for command in commands if isinstance(command, Create)]
    with watch.step(SCHEDULER, "the job file: JSON, and a file in tmp/ (create)"):
        store.write_ahead(creates)
    with watch.step(SCHEDULER, "to pending/ (rename)"):
        store.carry_out(creates)
    with watch.step(SCHEDULER, "rule book: claim"):
        commands = engine.handle(Slots(len(tasks)), 0.0)
    with watch.step(SCHEDULER, "to running/ (rename)"):
        store.carry_out([command for command in commands if isinstance(command, Move)])
    return [command for command in commands if isinstance(command, Launch)]


def at_work(watch: Watch, store: FolderStore, worker: Bench, launches: list[Launch]) -> list[Reply]:
    with watch.step(SCHEDULER, "its order, as a message"):
        data = [store.read_bytes(launch.id, Status.RUNNING) for launch in launches]
        orders = [Order(id=launch.id, job=Raw(each)) for launch, each in zip(launches, data, strict=True)]
        sent = [
            frame(msgspec.json.encode(Work(orders[start : start + AT_ONCE])))
            for start in range(0, len(orders), AT_ONCE)
        ]
    with watch.step(WORKER, "the message, as orders"):
        orders = [order for each in sent for order in msgspec.json.decode(each[8:], type=Work).orders]
    with watch.step(WORKER, "the attempt: load, run, digest, record (create)"):
        replies = [perform(order, worker) for order in orders]
    with watch.step(WORKER, "its answer, as a message"):
        answers = [frame(msgspec.json.encode(Done(reply))) for reply in replies]
    with watch.step(SCHEDULER, "the message, as an answer"):
        return [msgspec.json.decode(each[8:], type=Done).reply for each in answers]


def home(watch: Watch, store: FolderStore, engine: Engine, recorder: Recorder, replies: list[Reply]) -> None:
    commands: list[Command] = []
    with watch.step(SCHEDULER, "rule book: finish, settle, release"):
        for reply in replies:
            assert isinstance(reply.event, Finished), reply
            commands += engine.handle(Returned(reply.event.id), 0.0)
            commands += engine.handle(reply.event, 0.0)
    with watch.step(SCHEDULER, "outputs to their names, the record (exchange), to done/ (rename)"):
        store.carry_out(commands)  # type: ignore[arg-type]
    moves = [command for command in commands if isinstance(command, Move)]
    with watch.step(SCHEDULER, "two lines of the journal"):
        for start in range(0, len(moves), AT_ONCE):
            for _ in ("claimed", "finished"):
                recorder.moved(moves[start : start + AT_ONCE], time.time())


def tasks_of(shape: str, jobs: int) -> list[Task]:
    """Of the module that the project calls so."""
    sys.path.insert(0, str(HERE))
    return list(importlib.import_module("shapes").__dict__[shape](jobs))


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--jobs", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=("fan_out", "outputs"), default="fan_out")
    options = parser.parse_args()
    jobs, rounds = (200, 1) if options.smoke else (options.jobs, options.rounds)
    tasks = tasks_of(options.shape, jobs)
    lowest, measured = [], []
    with ground(options.dir) as folder:
        for _ in range(rounds):
            project = shapes_project(folder / "project")
            os.chdir(project)
            lowest.append(floor(folder, jobs))
            measured.append(one_round(project, tasks))
            os.chdir("/")
            shutil.rmtree(project)
    base = statistics.median(lowest)
    print(f"\n{options.shape}, {jobs} jobs; the floor, create + 2 renames, takes {base:.1f} us\n")
    for who in (SCHEDULER, WORKER):
        whole = 0.0
        for key in measured[0]:
            if key[0] == who:
                each = statistics.median(seconds[key] for seconds in measured) / jobs * 1e6
                whole += each
                print(f"{who:10} {key[1]:64} {each:6.1f} us {each / base:6.2f} x floor")
        print(f"{who:10} {'all of it':64} {whole:6.1f} us {whole / base:6.2f} x floor\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
