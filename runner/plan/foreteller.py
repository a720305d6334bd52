"""An Executor that runs nothing: it says of each job that it ran, and found whom it found last time.

Parents that are up to date are asked for their children for real, in this process, as a run asks them in a worker.
Time goes by at once when there is nothing else to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

from runner.batch import propose
from runner.catalog import Catalog
from runner.core.events import Asked, Finished, Lacked
from runner.core.model import Proposal, Status
from runner.plan.paper import Paper
from runner.store import codec
from runner.store.codec import JobFile
from runner.task import decode, input_paths
from runner.workers.port import Nobody, Order, Outcome, Reply
from runner.workers.record import dropped
from runner.workers.staging import is_file

_PLACES = 1000
_STEP = 3600.0  # seconds


class Foreteller(Nobody):
    """`ran`: the jobs that a run would start, in order, as they are now. `makes`: what they make, and who.
    `children`: whom a parent found, or names when it is asked.
    """

    def __init__(self, paper: Paper, catalog: Catalog, known: Callable[[Iterable[str]], list[Proposal]], now: float):
        self._paper = paper
        self._catalog = catalog
        self._known = known
        self._orders: list[Order] = []
        self.now = now
        self.ran: dict[str, JobFile] = {}
        self.makes: dict[str, str] = {}
        self.children: dict[str, tuple[str, ...]] = {}

    def start(self, orders: Sequence[Order], litter: Sequence[str] = ()) -> None:
        self._orders += orders

    def free(self) -> int:
        return max(0, _PLACES - len(self._orders))

    def wait(self, timeout: float | None) -> list[Outcome]:
        if not self._orders and timeout:
            self.now += max(timeout, _STEP)
        orders, self._orders = self._orders, []
        return [self._answer(order) for order in orders]

    def _answer(self, order: Order) -> Reply:
        job = codec.decode(bytes(order.job) + b"\n", order.id)
        if order.ask:
            return Reply(event=self._ask(job))
        lacking = self._lacking(job)
        if lacking:
            return Reply(event=Lacked(job.id, lacking))
        return Reply(event=self._run(job))

    def _run(self, job: JobFile) -> Finished:
        self.ran[job.id] = job
        record = codec.record_of(job)
        self.makes.update(dict.fromkeys(self._catalog.outputs(job), job.id))
        found = record.found if record is not None else ()
        self.children[job.id] = found
        children = self._known(found)
        staged = self._paper.stage(job.id, codec.encode(job))
        return Finished(id=job.id, record=staged, children=children or None)

    def _lacking(self, job: JobFile) -> tuple[str, ...]:
        """Plain inputs that are not there, that nobody is to make, and that are not recorded absent."""
        kind = self._catalog.kind(job.task)
        if not kind.inputs:
            return ()
        root = self._catalog.root
        task = decode(kind.cls, job.params, root)
        wanted = [path for field, path in input_paths(task, root) if kind.needs(field)]
        gone = [path for path in wanted if path not in self.makes and not is_file(os.path.join(root, path))]
        absent: set[str] = set()
        for id in job.after if gone else ():
            made = codec.record_of(self._paper.read(id, Status.DONE)) if self._paper.find(id) is Status.DONE else None
            absent.update(path for path, digest in (made.outputs if made else {}).items() if digest is None)
        return tuple(path for path in gone if path not in absent)

    def _ask(self, job: JobFile) -> Asked:
        try:
            kind = self._catalog.kind(job.task)
            record = codec.record_of(job)
            task = decode(kind.cls, job.params, self._catalog.root)
            object.__setattr__(task, "value", record.value if record else None)
            named = task.downstream_tasks() if kind.asks else ()
            children = propose(named, root=self._catalog.root, finder=job.id, depth=job.depth + 1)
        except Exception as error:  # of the user's own code, too: a run would do the job again
            return Asked(id=job.id, children=[], error=f"{type(error).__name__}: {error}")
        found = self.children[job.id] = tuple(child.id for child in children)
        return Asked(
            id=job.id,
            children=children,
            found=None if record and record.found == found else found,
            dropped=dropped(record, self._paper.run, found),
        )
