"""From the folders to the engine: what the last runner left, read once, as the event that starts everything.

No job is moved here but by what recovery in the store puts right by itself (see `store/recovery.py`); what the attempts
that were cut short had staged beside their outputs is removed, while their jobs still lie in running/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from runner.catalog import Catalog
from runner.core.events import Recovered
from runner.core.model import Status, Stored
from runner.errors import RunnerError
from runner.store.codec import JobFile, Object
from runner.store.folders import FolderStore
from runner.workers import staging


def rebuild(store: FolderStore, catalog: Catalog) -> tuple[Recovered, int]:
    """What recovery found, and how many files it had to quarantine. Raises NewerSchema, with nothing moved."""
    before = _in_quarantine(store)
    unfinished: list[Stored] = []
    interrupted: dict[str, tuple[str, ...]] = {}
    spent: list[str] = []

    def visit(job: JobFile, status: Status, finished: bool) -> None:
        unfinished.append(catalog.stored(job, status, finished))
        if unfinished[-1].spent and _is_of(store, job):
            spent.append(job.id)
        if status is Status.RUNNING:
            interrupted[job.id] = catalog.outputs(job)

    statuses, _ = store.recover(visit)
    staging.sweep(store.files, interrupted, store.root)
    return put_together(store, catalog, statuses, unfinished, spent), _in_quarantine(store) - before


def put_together(
    store: FolderStore,
    catalog: Catalog,
    statuses: Mapping[str, Status],
    unfinished: list[Stored],
    spent: Iterable[str] = (),
) -> Recovered:
    """The event, with what else it takes: who owns which output, and who comes back when he is found again.

    `spent`: those that used up their retries in this very run, and lack only their last rename.
    """
    owners: dict[str, str] = {}
    for job in _with_several_outputs(store, catalog, statuses):
        owners.update((path, job.id) for path in (job.result or {}).get("outputs", ()))
    cancelled = (id for id, status in statuses.items() if status is Status.CANCELLED)
    revivable = frozenset(id for id in cancelled if _is_revivable(store, id))
    tried = (id for id, status in statuses.items() if status is Status.FAILED) if store.run else ()
    failed = (id for id in tried if _last_attempt(store, id, Status.FAILED).get("run") == store.run)
    return Recovered(statuses, unfinished, owners, revivable, frozenset((*failed, *spent)))


def _in_quarantine(store: FolderStore) -> int:
    names = store.shelf.files.names(store.shelf.fds[Status.QUARANTINE])
    return sum(not name.endswith(".reason.txt") for name in names)


def _with_several_outputs(store: FolderStore, catalog: Catalog, statuses: Mapping[str, Status]) -> Iterator[JobFile]:
    """The done jobs of those classes that may have more than one output: names do not tell who owns those."""
    several: dict[str, bool] = {}
    for id, status in statuses.items():
        name = id[:-17]
        if status is not Status.DONE or several.get(name) is False:
            continue
        try:
            job = store.read(id, status)
        except (OSError, RunnerError):
            continue
        if name not in several:
            try:
                outputs = catalog.kind(job.task).outputs
                several[name] = len(outputs) > 1 or any(field.many for field in outputs)
            except (RunnerError, TypeError):
                several[name] = True
        if several[name]:
            yield job


def _is_revivable(store: FolderStore, id: str) -> bool:
    """Whether it was cancelled as superseded or gone, and so comes back when it is found again.

    So does one that cannot be read: whether a person did not want it, nobody knows any more.
    """
    try:
        attempts = store.read(id, Status.CANCELLED).attempts
    except (OSError, RunnerError):
        return True
    return bool(attempts) and attempts[-1].get("outcome") in ("superseded", "gone")


def _is_of(store: FolderStore, job: JobFile) -> bool:
    """Whether its last attempt was of this run."""
    return bool(store.run and job.attempts and job.attempts[-1].get("run") == store.run)


def _last_attempt(store: FolderStore, id: str, status: Status) -> Object:
    try:
        attempts = store.read(id, status).attempts
    except (OSError, RunnerError):
        return {}
    return attempts[-1] if attempts else {}
