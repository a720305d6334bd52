"""A whole runner within the process of a test, but for worker processes: attempts are made when the test says so."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from runner.backlog import Backlog
from runner.batch import propose
from runner.bounds import NONE, Bounds
from runner.catalog import Catalog
from runner.core.commands import Move
from runner.core.engine import PART, Engine
from runner.core.events import Recovered, WorkerLost
from runner.core.model import Status
from runner.core.queue import Override
from runner.handed import Handed
from runner.loop import Loop
from runner.rebuild import rebuild
from runner.rounds import Rounds
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import Files
from runner.store.folders import FolderStore
from runner.task import Task
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.judge import Judge
from runner.workers.looking import Looker
from runner.workers.port import Looked, Order, Outcome, Reply, Settings
from tests.workers import tasks

RUN = "20261122T020000Z"
STARTED = 1795312800.0


class Inline:
    """An Executor whose orders are carried out by `wait`, in this process; `held` ones are not, until let go."""

    def __init__(self, settings: Settings, places: int = 4) -> None:
        self.bench = Bench(settings)
        self.places = places
        self.orders: dict[str, Order] = {}
        self.begun: list[str] = []
        self.held: set[str] = set()  # task names
        self.lost: list[WorkerLost] = []  # to be told with the next wait
        self.waits: list[float | None] = []
        self.halted = False
        self.closed = False
        self.looker = Looker(self.bench)
        self.looks = False  # whether it looks at done jobs ahead of time; it tells of half of them one `wait` late
        self._sights: tuple[list[Looked], list[Looked]] = [], []
        self._watched: list[int] = []
        self.before_start: Callable[[Order], None] = lambda order: None
        self.while_waiting: Callable[[], object] = lambda: None  # true: `wait` returns at once

    def start(self, orders: Sequence[Order], litter: Sequence[str] = ()) -> None:
        for order in orders:
            self.before_start(order)
            self.orders[order.id] = order

    def look(self, ids: Sequence[str]) -> bool:
        if self.looks:
            late = ids[0][-1] in "01234567"
            self._sights[late].append(self.looker.look(ids))
        return self.looks

    def free(self) -> int:
        return max(0, self.places - len(self.orders))

    def wait(self, timeout: float | None) -> list[Outcome]:
        self.waits.append(timeout)
        if self.while_waiting():
            return []
        outcomes: list[Outcome] = [*self.lost, *self._sights[0]]
        self._sights = self._sights[1], []
        for lost in self.lost:
            for id in (*lost.begun, *lost.waiting):
                self.orders.pop(id, None)
        self.lost = []
        for id, order in list(self.orders.items()):
            if id.partition("-")[0] not in self.held and not (self.halted and id not in self.begun):
                self.begun.append(id)
                outcomes.append(self._perform(order))
                del self.orders[id]
        if not outcomes:
            select.select(self._watched, [], [], timeout)
        return outcomes

    def _perform(self, order: Order) -> Reply:
        return perform(order, self.bench)

    @property
    def busy(self) -> int:
        return len(self.orders)

    def watch(self, fd: int) -> None:
        self._watched.append(fd)

    def unbegun(self) -> tuple[str, ...]:
        self.halted = True
        back = tuple(id for id in self.orders if id not in self.begun)
        for id in back:
            del self.orders[id]
        return back

    def close(self) -> Sequence[str]:
        self.closed = True
        return ()


class Rig:
    """Store, rule book, inbox and loop of one run, in the working directory."""

    made: ClassVar[list[Rig]] = []

    @classmethod
    def close_all(cls) -> None:
        """Close what the rigs of a test hold open."""
        for rig in cls.made:
            rig.store.close()
            rig.executor.bench.close()
        cls.made.clear()

    def __init__(
        self,
        *,
        durability: Any = "process",
        files: Files | None = None,
        modules: Sequence[str] = ("tests",),
        places: int = 4,
        run: str = RUN,
        started: float = STARTED,
        resuming: bool = False,
        overrides: Sequence[Override] = (),
        clock: Callable[[], float] = time.time,
        part: int = PART,
        ahead: bool = False,
        bounds: Bounds = NONE,
    ) -> None:
        self.made.append(self)
        self.root = Path.cwd()
        self.store = FolderStore("state", durability=durability, files=files, root=self.root, clock=clock)
        self.store.run = run
        self.catalog = Catalog(modules, self.root)
        self.engine = Engine(resuming=resuming, overrides=overrides, part=part)
        settings = Settings(
            root=str(self.root),
            state=self.store.path,
            run=run,
            started=started,
            durable=durability == "power",
            devices=(self.root.stat().st_dev,),
            modules=tuple(modules),
        )
        self.executor = Inline(settings, places)
        self.handed = Handed(self.store, self.catalog, self.engine)
        self.moves: list[tuple[str, str]] = []
        self.replies: list[Reply] = []
        judge = Judge(self.catalog, settings.how, run=run, started=started)
        self.rounds = Rounds(self.store, self.catalog, self.engine.ledger, judge)
        if ahead:  # however small the batch is
            self.executor.looks = True
            self.rounds.ahead.least = self.rounds.ahead.lead = 0
            self.rounds.ahead.chunk = part
        self.backlog = Backlog(self.store, self.catalog)
        self.loop = Loop(
            self.engine,
            self.store,
            self.executor,
            self.catalog,
            self.rounds,
            self.handed,
            [self],
            backlog=self.backlog,
            bounds=bounds,
            clock=clock,
        )

    # --------------------------------------------------------------------------------------------- as a watcher

    def moved(self, moves: Sequence[Move], now: float) -> None:
        self.moves += [(move.id, move.target.value) for move in moves]

    def replied(self, reply: Reply) -> None:
        self.replies.append(reply)

    def tick(self, engine: Engine, now: float) -> None:
        pass

    def leaving(self, reason: str, busy: int) -> None:
        pass

    # ------------------------------------------------------------------------------------------------- working

    def recover(self, *, lazily: bool = True) -> Recovered:
        """As a run does it; not `lazily`: every job that is left is known at once."""
        recovered, _ = rebuild(self.store, self.catalog, self.backlog if lazily else None)
        self.loop.do(recovered)
        return recovered

    def submit(self, found: Any) -> list[str]:
        """Propose what a flow would give; the ids."""
        batch = propose(found, root=self.root)
        self.loop.submit(batch)
        return [proposal.id for proposal in batch]

    def work(self, found: Any = ()) -> bool:
        """One run, from what is on disk and what is asked for to its end."""
        self.recover()
        self.submit(found)
        return self.loop.run()

    # ------------------------------------------------------------------------------------------------- looking

    def job(self, id: str) -> tuple[str, JobFile]:
        """Where a job is, and its file."""
        status = self.store.find(id)
        assert status is not None, f"{id} is nowhere"
        return status.value, self.store.read(id, status)

    def counts(self) -> dict[str, int]:
        statuses = list(self.store.scan().values())
        return {status.value: statuses.count(status) for status in Status if status in statuses}

    def put(self, status: str, job: JobFile) -> JobFile:
        Path(self.store.path, status, f"{job.id}.json").write_bytes(codec.encode(job))
        return job

    def outcomes(self, id: str) -> list[str]:
        """How the attempts at a job ended."""
        return [attempt["outcome"] for attempt in self.job(id)[1].attempts]


def made(task: Any, action: Callable[[Any], Any] | None = None) -> JobFile:
    """The job file of a task that has run; its files are there."""
    if action is not None:
        tasks.ACTIONS["it"] = action
    rig = Rig()
    (id,) = rig.submit([task])
    assert rig.loop.run()
    status, job = rig.job(id)
    assert status == "done"
    rig.store.close()
    return job


def id_of(task: Task) -> str:
    (proposal,) = propose([task], root=os.getcwd())
    return proposal.id


def files(folder: str = ".") -> list[str]:
    """All files there outside state/, dot files too."""
    found: Iterable[Path] = (path for path in Path(folder).rglob("*") if path.is_file() and path.parts[0] != "state")
    return sorted(map(str, found))
