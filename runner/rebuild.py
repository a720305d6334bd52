"""From the folders to the engine: what the last runner left, read once, as the event that starts everything.

No job is moved here but by what recovery in the store puts right by itself (see `store/recovery.py`); what the attempts
that were cut short had staged beside their outputs is removed, while their jobs still lie in running/.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from runner.backlog import Backlog
from runner.catalog import Catalog
from runner.core.events import Recovered
from runner.core.model import CANCELLED, DONE, FAILED, QUARANTINE, RUNNING, Status, Stored
from runner.errors import RunnerError
from runner.store.codec import Brief, JobFile, Object
from runner.store.folders import FolderStore
from runner.workers import staging


def rebuild(store: FolderStore, catalog: Catalog, backlog: Backlog | None = None) -> tuple[Recovered, int]:
    """What recovery found, and how many files it had to quarantine. Raises NewerSchema, with nothing moved.

    `backlog`: takes up pending jobs that need not be known in detail yet; without one, all of them are.
    """
    before = _in_quarantine(store)
    unfinished: list[Stored] = []
    interrupted: dict[str, tuple[str, ...]] = {}
    spent: list[str] = []

    def visit(job: JobFile, status: Status, finished: bool) -> None:
        unfinished.append(catalog.stored(job, status, finished))
        if unfinished[-1].spent and _is_of(store, job):
            spent.append(job.id)
        if status is RUNNING:
            interrupted[job.id] = catalog.outputs(job)

    statuses, _ = store.recover(visit, None if backlog is None else backlog.leave)
    staging.sweep(store.files, interrupted, store.root)
    found = put_together(store, catalog, statuses, unfinished, spent)
    if backlog is not None:
        found = replace(found, waiting=backlog.waiting)
    return found, _in_quarantine(store) - before


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
        owners.update((path, job.id) for path in (job.result.outputs if job.result is not None else ()))
    revivable = frozenset(id for id in _all(CANCELLED, statuses) if _is_revivable(store, id))
    tried = _all(FAILED, statuses) if store.run else ()
    failed = (id for id in tried if _last_attempt(store, id, FAILED).get("run") == store.run)
    return Recovered(statuses, unfinished, owners, revivable, frozenset((*failed, *spent)))


def _all(status: Status, statuses: Mapping[str, Status]) -> Sequence[str]:
    """The jobs of one status. Most often there are none, and that is quickly counted."""
    if list(statuses.values()).count(status) == 0:
        return ()
    return [id for id, its in statuses.items() if its is status]


def _in_quarantine(store: FolderStore) -> int:
    names = store.shelf.files.names(store.shelf.fds[QUARANTINE])
    return sum(not name.endswith(".reason.txt") for name in names)


def _with_several_outputs(store: FolderStore, catalog: Catalog, statuses: Mapping[str, Status]) -> Iterator[Brief]:
    """The done jobs of those classes that may have more than one output: names do not tell who owns those."""
    done = _all(DONE, statuses)
    one_of_each = {id[:-17]: id for id in done}
    several = {name for name, id in one_of_each.items() if _may_have_several(store, catalog, id)}
    for id in done if several else ():
        if id[:-17] in several:
            with suppress(OSError, RunnerError):
                yield store.brief(id, DONE)


def _may_have_several(store: FolderStore, catalog: Catalog, id: str) -> bool:
    try:
        return catalog.may_have_several_outputs(store.brief(id, DONE).task)
    except (OSError, RunnerError):
        return True


def _is_revivable(store: FolderStore, id: str) -> bool:
    """Whether it was cancelled as superseded or gone, and so comes back when it is found again.

    So does one that cannot be read: whether a person did not want it, nobody knows any more.
    """
    try:
        attempts = store.read(id, CANCELLED).attempts
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
