"""What the tests of the store share: jobs by number, and Files that count, fail, or watch what is durable."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from runner.core.commands import Bind, Change, Create, Move, Rewish
from runner.core.model import Proposal, Status, Step
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import Files
from runner.store.folders import FolderStore

RUN = "20261122T020000Z"
NOW = 1795312800.0
COUNTED = (
    "write",
    "append",
    "overwrite",
    "rename",
    "exchange",
    "link",
    "unlink",
    "rmdir",
    "read",
    "names",
    "stat",
    "mkdir",
)
SYNCS = ("sync_file", "sync_folder", "sync_filesystem")
CHANGING = ("write", "append", "overwrite", "rename", "exchange", "link", "unlink", "rmdir", "mkdir", *SYNCS)


def job_id(number: int) -> str:
    return f"Job-{number:016x}"


def proposal(number: int, **changes: Any) -> Proposal:
    base: dict[str, Any] = {"id": job_id(number), "task": "jobs.x:Job", "params": {"n": number}, "fingerprint": ""}
    return Proposal(**{**base, **changes})


def create(number: int, **changes: Any) -> Create:
    wanted = proposal(number, **changes)
    return Create(wanted, wanted.after)


def rewish(number: int, status: Status, **changes: Any) -> Rewish:
    wanted = proposal(number, **changes)
    return Rewish(wanted, wanted.after, status)


def claim(number: int) -> Move:
    return Move(job_id(number), Status.PENDING, Status.RUNNING, Step.CLAIM)


def finish(number: int, record: str) -> Move:
    return Move(job_id(number), Status.RUNNING, Status.DONE, Step.FINISH, record=record)


def requeue(number: int, change: Change) -> Move:
    return Move(job_id(number), Status.RUNNING, Status.PENDING, Step.REQUEUE, change=change)


def bind(number: int, status: Status, *after: int) -> Bind:
    return Bind(job_id(number), status, tuple(map(job_id, after)))


def finished(job: JobFile, outputs: dict[str, int] | None = None, run: str = RUN) -> JobFile:
    """The job as its worker would record it."""
    done = codec.with_attempt(job, {"run": run, "started": codec.stamp(NOW), "seconds": 0.5, "outcome": "done"})
    made = {path: {"bytes": size, "sha256": "0" * 64} for path, size in (outputs or {}).items()}
    return msgspec.structs.replace(done, result={"run": run, "version": 1, "outputs": made, "value": None})


def open_store(folder: Path, **options: Any) -> FolderStore:
    store = FolderStore(folder / "state", **{"durability": "process", "clock": lambda: NOW, **options})
    store.run = RUN
    return store


def put(store: FolderStore, status: Status, job: JobFile | bytes, name: str = "") -> Path:
    """A file in a status folder, as from outside."""
    data = job if isinstance(job, bytes) else codec.encode(job)
    path = Path(store.path, status, name or f"{job.id if isinstance(job, JobFile) else 'x'}.json")
    path.write_bytes(data)
    return path


def names(store: FolderStore, folder: str) -> list[str]:
    return sorted(os.listdir(f"{store.path}/{folder}"))


def contents(store: Any) -> dict[str, tuple[Status, JobFile]]:
    return {id: (status, store.read(id, status)) for id, status in store.scan().items()}


class Watched(Files):
    """Files whose every call is told to `_on(name, arguments)` first."""

    def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
        raise NotImplementedError


def _watch(name: str) -> Callable[..., Any]:
    def call(self: Watched, *arguments: Any, **options: Any) -> Any:
        self._on(name, arguments)
        return getattr(Files, name)(self, *arguments, **options)

    return call


for _name in (*COUNTED, *SYNCS):
    setattr(Watched, _name, _watch(_name))


class CountingFiles(Watched):
    """Counts calls by name."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.counts[name] += 1

    def during(self, action: Callable[[], object]) -> dict[str, int]:
        self.counts.clear()
        action()
        return dict(self.counts)


class Crash(BaseException):
    """The process ends here."""


class FaultyFiles(Watched):
    """The N-th call that changes anything raises instead, and so do all that follow, as in a dead process."""

    def __init__(self, at: int | None = None, error: BaseException | None = None) -> None:
        self.at = at
        self.error = error or Crash()
        self.calls = 0

    def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in CHANGING:
            self.calls += 1
            if self.at is not None and self.calls >= self.at:
                raise self.error


class DurableFiles(Watched):
    """Knows which files a power cut would leave empty, and refuses to rename one of them out of tmp/."""

    def __init__(self, *, syncfs: bool = True) -> None:
        self.fragile: set[str] = set()
        self.syncs = 0
        self.renamed = 0
        self.syncfs = syncfs

    def _on(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "write" and not arguments[1].endswith(("reason", "runner.json")):
            self.fragile.add(arguments[1])
        elif name == "sync_file":
            self.fragile.discard(arguments[1])
        elif name in ("rename", "exchange"):
            assert arguments[1] not in self.fragile, f"{arguments[1]} is renamed before it is durable"
            self.renamed += 1

    def sync_filesystem(self, folder: int) -> bool:
        if not self.syncfs:
            return False
        self.syncs += 1
        self.fragile.clear()
        return True
