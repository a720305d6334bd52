"""What the tests of the workers share: a project with a state, orders from tasks, replies and their files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Raw
from msgspec.structs import replace

from runner.batch import propose
from runner.core.events import Failed, Finished, WorkerLost
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import process_start
from runner.task import Task
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.local import LocalExecutor
from runner.workers.port import Order, Outcome, Reply, Settings
from tests.workers import tasks

RUN = "20261122T020000Z"
EARLIER = "20261121T020000Z"
STARTED = 1795312800.0
FOLDERS = ("tmp", "logs", "locks", "pending", "running", "done", "failed", "blocked", "cancelled")


def change_of(reply: Reply) -> str:
    """What became of a job that finished."""
    assert isinstance(reply.event, Finished)
    return reply.event.change


@dataclass
class Yard:
    """A project in `root`, without a runner: the test hands the orders over itself."""

    root: Path
    _bench: Bench | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for folder in FOLDERS:
            (self.state / folder).mkdir(parents=True, exist_ok=True)

    @property
    def state(self) -> Path:
        return self.root / "state"

    def settings(self, **changes: Any) -> Settings:
        base: dict[str, Any] = {
            "root": str(self.root),
            "state": str(self.state),
            "run": RUN,
            "started": STARTED,
            "durable": False,
            "devices": (self.root.stat().st_dev,),
            "modules": ("tests",),
        }
        return Settings(**{**base, **changes})

    # ------------------------------------------------------------------------------------------------------- orders

    def job(self, task: Task, **changes: Any) -> JobFile:
        (proposal,) = propose([task], root=self.root)
        return replace(codec.new_file(proposal, proposal.after), **changes)

    def order(self, task: Task | JobFile, **options: Any) -> Order:
        job = task if isinstance(task, JobFile) else self.job(task)
        return Order(id=job.id, job=Raw(codec.encode(job)), **options)

    def put(self, status: str, job: JobFile) -> JobFile:
        (self.state / status / f"{job.id}.json").write_bytes(codec.encode(job))
        return job

    def written(self, name: str) -> JobFile:
        """A job file that a worker put into tmp/."""
        return codec.decode((self.state / "tmp" / name).read_bytes())

    def files(self) -> list[str]:
        """All files outside state/, dot files too."""
        found = (path for path in self.root.rglob("*") if path.is_file() or path.is_symlink())
        return sorted(str(path.relative_to(self.root)) for path in found if self.state not in path.parents)

    # ------------------------------------------------------------------------------------- attempts in this process

    def perform(self, task: Task | JobFile, *, ask: bool = False, **settings: Any) -> Reply:
        if not settings:
            self._bench = self._bench or Bench(self.settings())
            return perform(self.order(task, ask=ask), self._bench)
        bench = Bench(self.settings(**settings))
        try:
            return perform(self.order(task, ask=ask), bench)
        finally:
            bench.close()

    def close(self) -> None:
        if self._bench is not None:
            self._bench.close()

    def act(self, action: Action, *, kind: type[tasks.Act] = tasks.Act, **fields: Any) -> Reply:
        """One attempt at an Act that does this."""
        return self.perform(self.acting(action, kind=kind, **fields))

    def acting(self, action: Action, *, kind: type[tasks.Act] = tasks.Act, **fields: Any) -> JobFile:
        changes = {name: fields.pop(name) for name in ("after", "attempts", "result", "depth") if name in fields}
        tasks.ACTIONS["it"] = action
        return self.job(kind("it", **fields), **changes)

    def finished(self, reply: Reply, *, status: str = "done") -> JobFile:
        """Commit it as the scheduler would: the outputs put in place, the record in done/."""
        event = reply.event
        assert isinstance(event, Finished), reply
        for path, final in event.deliver:
            os.replace(path, final)
        for path in event.trash:
            os.unlink(path)
        return self.put(status, self.written(event.record))

    def failed(self, reply: Reply) -> dict[str, Any]:
        """The attempt that was noted."""
        assert isinstance(reply.event, Failed), reply
        attempt: dict[str, Any] = self.written(reply.event.record).attempts[-1]
        return attempt

    def message(self, reply: Reply) -> str:
        """What the failure says."""
        return str(self.failed(reply)["error"]["message"])


# --------------------------------------------------------------------------------------------- what tasks may do

Action: TypeAlias = Callable[[tasks.Act], Any]


def write(text: str = "text\n") -> Action:
    """What a task does that writes its outputs."""

    def action(task: tasks.Act) -> None:
        for path in (*filter(None, [task.output]), *task.more):
            path.write_text(text)

    return action


def fail(task: tasks.Act) -> None:
    """What a task does that fails half way."""
    for path in (*filter(None, [task.output]), *task.more):
        path.write_text("half of it")
    raise RuntimeError("half way")


def earlier(job: JobFile) -> JobFile:
    """As if its success were of an earlier run."""
    assert job.result is not None
    return replace(job, result={**job.result, "run": EARLIER})


def again(yard: Yard, job: JobFile, action: Action) -> Reply:
    """The next attempt at a job, in another run."""
    tasks.ACTIONS["it"] = action
    return yard.perform(earlier(job))


# ------------------------------------------------------------------------------------------------- worker processes


@contextmanager
def working(yard: Yard, workers: int = 1, **settings: Any) -> Any:
    executor = LocalExecutor(workers, yard.settings(**settings), preload=["tests.workers.tasks"])
    try:
        yield executor
    finally:
        executor.close()


def expect(executor: LocalExecutor, **seconds: float) -> None:
    """As if tasks of these classes had taken so long lately."""
    executor._expected._seconds.update(seconds)
    executor._expected.next = min(seconds.values())


def outcomes(executor: LocalExecutor, count: int, seconds: float = 20.0) -> list[Outcome]:
    """Wait for so many of them."""
    found: list[Outcome] = []
    deadline = time.monotonic() + seconds
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} outcomes within {seconds:.0f} s: {found}"
        found += executor.wait(0.2)
    return found


def only(executor: LocalExecutor, seconds: float = 20.0) -> Outcome:
    """Wait for the one outcome there is to be."""
    (found,) = outcomes(executor, 1, seconds)
    return found


def replies(found: Iterable[Outcome]) -> dict[str, Reply]:
    return {outcome.event.id: outcome for outcome in found if isinstance(outcome, Reply)}


def losses(found: Iterable[Outcome]) -> list[WorkerLost]:
    return [outcome for outcome in found if isinstance(outcome, WorkerLost)]


def wait_for(what: str, condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.002)


def pid_in(path: Path) -> int:
    """The process id that a task writes into a file."""
    wait_for(f"{path.name} holds a pid", lambda: path.exists() and path.read_text(), 20)
    return int(path.read_text())


def alive(pid: int) -> bool:
    return process_start(pid) is not None
