"""What a runner that is gone has left, and the next start puts right by itself: for `check`, when no runner is alive.

None of it is a fault: a kill at any moment leaves it. Must not change anything.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from runner.core.model import DONE, HOPELESS, PENDING, RUNNING, Status
from runner.store.files import process_start, writer_is_gone, writer_of
from runner.store.folders import FolderStore
from runner.store.shelf import LOCKS, TMP
from runner.views.examine import Examiner, Finding
from runner.views.reading import names

_WORKER, _LOCK = "worker-", ".lock"
_HOPEFUL = frozenset({DONE, PENDING, RUNNING})


def left_behind(store: FolderStore, examiner: Examiner, *, goes_on: bool) -> Iterator[Finding]:
    """`examiner`: it has seen all jobs. `goes_on`: there is a run that has not ended."""
    statuses = list(examiner.known.values())
    if running := statuses.count(RUNNING):
        what = f"{running:,} jobs were running when the last runner ended"
        yield Finding(code="left running", where="running", what=what, do="`python -m runner resume`")
    elif (pending := statuses.count(PENDING)) and not goes_on:
        what = f"{pending:,} jobs wait, and all runs have ended"
        yield Finding(code="left pending", where="pending", what=what, do="`python -m runner resume`")
    yield from _derived(examiner)
    yield from _workers(store)
    yield from _files(store, examiner)


def _derived(examiner: Examiner) -> Iterator[Finding]:
    """What is blocked, and what only waits, follows from the jobs it comes after."""
    known = examiner.known
    for id, after in examiner.waits.items():
        status = known.get(id)
        if status is Status.BLOCKED and all(known.get(upstream) in _HOPEFUL for upstream in after):
            what = "nothing that it comes after has failed"
            do = "nothing: the next start lets it wait again"
            yield Finding(code="to be unblocked", where=f"{status}/{id}.json", what=what, do=do, id=id)
        elif status is PENDING and (hopeless := next((up for up in after if known.get(up) in HOPELESS), None)):
            what = f"it waits, and {hopeless}, which it comes after, is {known[hopeless]}"
            do = "nothing: the next start blocks it, unless it is to run whatever becomes of that"
            yield Finding(code="to be blocked", where=f"{status}/{id}.json", what=what, do=do, id=id)


def _workers(store: FolderStore) -> Iterator[Finding]:
    holder = store.holder()
    if holder is not None and holder.host != socket.gethostname():
        return  # its processes cannot be seen from here
    for name in sorted(names(store, LOCKS)):
        worker = writer_of(name[len(_WORKER) :]) if name.startswith(_WORKER) and name.endswith(_LOCK) else None
        if worker is None or not worker.near or worker.pid == os.getpid():
            continue
        if process_start(worker.pid) == worker.start:
            what = f"a worker of an earlier runner is still alive: pid {worker.pid}"
            do = "nothing: the next run waits for it, or ends it"
            yield Finding(code="orphan", where=f"{LOCKS}/{name}", what=what, do=do, guarantee=7)


def _files(store: FolderStore, examiner: Examiner) -> Iterator[Finding]:
    """In tmp/, and beside outputs."""
    from runner.workers.staging import staged_in

    if left := sum(map(writer_is_gone, names(store, TMP))):
        what = f"{left:,} files were left by processes that are gone"
        yield Finding(code="leftover", where=TMP, what=what, do="nothing: the next start deletes them")
    staged = [(folder, *each) for folder in sorted(examiner.folders) for each in staged_in(store.root, folder)]
    owners = {id[-16:]: id for id in examiner.known} if staged else {}
    for folder, name, owner in staged:
        id = owners.get(owner)
        if id is None:
            continue  # not of this state
        what = f"{os.path.join(folder, name)} was left by an attempt that was cut short"
        do = "delete it: nobody needs it"
        if examiner.known[id] is RUNNING:
            do = "nothing: the next start deletes it"
        yield Finding(code="leftover", where=f"{examiner.known[id]}/{id}.json", what=what, do=do, id=id)
