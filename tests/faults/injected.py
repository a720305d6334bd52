"""Nights of `reference.py` with a fault at the N-th file operation: of the scheduler's, or of its workers'."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import runner.session
import runner.staff
import runner.store.shelf
from runner.ask import Ask
from runner.core.engine import Engine
from runner.core.events import WorkerLost
from runner.errors import RunnerError
from runner.session import Options, open_session
from runner.workers.bench import Bench
from runner.workers.hindrance import Exhausted, Hindered
from runner.workers.port import Order, Outcome
from tests.acceptance.project import STATUSES
from tests.faults import reference
from tests.rig import Inline
from tests.store.support import Crash, Watched

ERRORS = (errno.EIO, errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EMFILE)
MODULES = ("tests",)


@dataclass
class Fault:
    """What happens at the `at`-th operation of one side; none if `at` is 0. `error` None: the process is killed."""

    side: str = "scheduler"
    at: int = 0
    error: int | None = None
    lasts: bool = False  # every operation after it fails too
    calls: int = 0
    struck: int = 0

    def __str__(self) -> str:
        what = "killed" if self.error is None else errno.errorcode[self.error] + (" from then on" if self.lasts else "")
        return f"{self.side}, operation {self.at}: {what}"


class FaultyFiles(Watched):
    """Counts the operations of one side, and fails at the chosen one. A killed process does nothing more."""

    def __init__(self, side: str, fault: Fault) -> None:
        self.fault = fault
        self.counts = side == fault.side
        self.dead = False
        self.opened: set[int] = set()

    def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
        fault = self.fault
        if self.dead:
            raise Crash
        if not self.counts:
            return
        fault.calls += 1
        if not fault.at or fault.calls < fault.at or (fault.calls > fault.at and not fault.lasts):
            return
        fault.struck += 1
        if fault.error is None:
            self.dead = True
            raise Crash
        raise OSError(fault.error, os.strerror(fault.error), f"the {fault.calls}th, {name}")

    def sync_filesystem(self, folder: int) -> bool:
        self._on("sync_filesystem", (folder,))
        return True  # nobody cuts the power here

    def open_folder(self, path: str, parent: int | None = None, *, follow: bool = False) -> int:
        self.opened.add(descriptor := super().open_folder(path, parent, follow=follow))
        return descriptor

    def close(self, folder: int) -> None:
        self.opened.discard(folder)
        super().close(folder)

    def close_all(self) -> None:
        """As the kernel does for a dead process."""
        for descriptor in self.opened:
            with suppress(OSError):
                os.close(descriptor)
        self.opened.clear()


class Workers(Inline):
    """Workers in this process, which can be killed and replaced."""

    fault = Fault()

    def __init__(self, workers: int, settings: Any, preload: Any = (), server: Any = None) -> None:
        super().__init__(settings, places=2)
        self._settings = settings
        self._replace()

    def _replace(self) -> None:
        self.bench.close()
        self.bench = Bench(self._settings, FaultyFiles("workers", self.fault))

    def _perform(self, order: Order) -> Outcome:  # type: ignore[override]
        try:
            return super()._perform(order)
        except Hindered as error:
            return WorkerLost(begun=(order.id,), waiting=(), outcome="hindered", message=str(error))
        except (Crash, Exhausted) as error:
            self.fault.lasts = False  # what a process has used up, the next one has again
            self._replace()
            return WorkerLost(begun=(order.id,), waiting=(), outcome="died", message=repr(error))

    def close(self) -> Sequence[str]:
        if not self.closed:
            self.bench.close()
        return super().close()


@contextmanager
def _injected(fault: Fault) -> Iterator[None]:
    files: list[FaultyFiles] = []

    def make() -> FaultyFiles:
        files.append(FaultyFiles("scheduler", fault))
        return files[-1]

    Workers.fault = fault
    session: Any = runner.session
    staff: Any = runner.staff
    before = staff.LocalExecutor, session.Engine, runner.store.shelf.Files
    staff.LocalExecutor, session.Engine = Workers, partial(Engine, part=3)
    runner.store.shelf.Files = make  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        staff.LocalExecutor, session.Engine, runner.store.shelf.Files = before  # type: ignore[misc]
        for each in files:
            each.close_all()


@dataclass
class End:
    """How a session ended: its exit code, or None for a process that was killed."""

    code: int | None
    message: str = ""


def night(root: Path, *, resume: bool, durability: str, fault: Fault | None = None) -> End:
    """One session. Raises what is neither an exit code nor a kill."""
    fault = fault or Fault()
    options = Options(durability=durability, modules=MODULES, verbosity=-1)  # type: ignore[arg-type]
    try:
        with _injected(fault), open_session(root, root / "state", MODULES, options) as session:
            summary = session.resume() if resume else session.start(Ask(target=reference.TARGET))
            return End(0 if summary is None else summary.exit_code)
    except Crash:
        return End(None)
    except RunnerError as error:
        return End(error.exit_code, str(error))


# ------------------------------------------------------------------------------------------------- looking at the end


def picture(root: Path) -> dict[str, Any]:
    """All that must be the same whatever struck: outputs, where each job lies, what its record says was made of it, and
    what the run reports.
    """
    found: dict[str, Any] = {}
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] != "state":
            found[str(relative)] = path.read_text()
    for path, job in jobs(root):
        assert path.stem not in found, f"{path.stem} is in two folders"
        found[path.stem] = (path.parent.name, made(job), sorted(job["after"]), job["params"])
    run = json.loads((root / "state" / "runs" / f"{newest(root)}.json").read_bytes())
    return found | {name: run[name] for name in ("changes", "gone", "exit")}


def jobs(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """All job files."""
    for status in (*STATUSES, "quarantine", "inbox"):
        for path in root.glob(f"state/{status}/*.json"):
            yield path, json.loads(path.read_bytes())


def made(job: dict[str, Any]) -> dict[str, Any] | None:
    """What its last success made of it."""
    names = ("change", "inputs", "outputs", "found", "value")
    return None if job["result"] is None else {name: job["result"][name] for name in names}


def charged(root: Path) -> Counter[str]:
    """How many attempts were more than an interruption and no success, by job."""
    found: Counter[str] = Counter()
    for _, job in jobs(root):
        found[called(job)] += sum(attempt["outcome"] not in ("done", "interrupted") for attempt in job["attempts"])
    return found


def succeeded(root: Path) -> set[str]:
    """Those that have succeeded in the newest run, and lack their last rename at the most; as they call themselves."""
    found, run = set(), newest(root)
    for path, job in jobs(root):
        here = path.parent.name in ("done", "running") and job["result"] is not None and job["result"]["run"] == run
        if here and job["attempts"][-1]["outcome"] == "done":
            found.add(called(job))
    return found


def newest(root: Path) -> str:
    return max((path.stem for path in root.glob("state/runs/*.json")), default="")


def has_ended(root: Path) -> bool:
    """Whether the newest run is on record as ended."""
    record = root / "state" / "runs" / f"{newest(root)}.json"
    return record.exists() and json.loads(record.read_bytes())["ended"] is not None


def called(job: dict[str, Any]) -> str:
    """How the tasks of reference.py call themselves."""
    task, params = job["task"].partition(":")[2], job["params"]
    if task == "Merge":
        return "Merge"
    return f"{task} {params['name'] if 'name' in params else Path(params['page']).stem}"
