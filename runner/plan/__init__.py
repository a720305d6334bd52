"""`plan`: what a run will do, what is to be expected of it and what may follow, and why. Nothing is run or written.

Theory of operation. The run itself is played: the same engine and the same loop, over a store on paper (`paper.py`) and
with workers that only say that they ran (`foreteller.py`). So whatever decides about a job in a run decides here.
What a job that runs will make is not known, and so the files that are made anew are taken to be as they were recorded,
there or not:

- *will*: due by what is known now, and certain to be come to: a root, handed in, unfinished, or named by a parent that
  is up to date itself and certain. (As long as nothing fails that it comes after.)
- *expected*: due by what is known now, if the parent that found it last time, and will run, finds it again.
- *may*: up to date by what is known now, and it reads what will be made anew, or its parent will run and may ask for
  something else; or it lacks what somebody may make whom a job that runs finds.

Whom nobody found last time cannot be foretold.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

from msgspec import Struct

from runner.ask import Ask, roots_of
from runner.catalog import Catalog
from runner.core.commands import Move
from runner.core.engine import Engine
from runner.core.events import Judged, Recovered
from runner.core.ledger import Node
from runner.core.model import Limit, Status, Step
from runner.core.trace import Difference
from runner.errors import BadJobFile, Refused, RunnerError, UsageError
from runner.loop import Loop
from runner.plan.foreteller import Foreteller
from runner.plan.handed import Foreseen
from runner.plan.paper import Paper
from runner.rebuild import put_together
from runner.rounds import Rounds
from runner.store import codec
from runner.store.codec import SCHEMA, Brief, JobFile
from runner.store.folders import FolderStore
from runner.store.recovery import is_finished
from runner.store.runs import RunFile, Runs
from runner.task import decode, input_paths, paths_in
from runner.views.reading import read_job
from runner.workers.judge import How, Judge
from runner.workers.port import Reply
from runner.workers.staging import is_file

_RUN = "99991231T235959Z"  # later than all that were
_NO_BOUND = [("*", Limit(at_once=1 << 30, per_second=inf))]
_BEFORE = {
    Status.FAILED: "it failed before",
    Status.PENDING: "it was left unfinished",
    Status.RUNNING: "it was left unfinished",
    Status.BLOCKED: "what blocked it is tried again",
    Status.CANCELLED: "it is named again",
}


class PlannedJob(Struct, frozen=True, kw_only=True):
    """A job, and why. `part`: what makes the difference: new, unfinished, version, parameter, output, input, due ..."""

    id: str
    task: str  # class name
    part: str
    why: str
    output: str | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """What a run would do if it started now. `fails`: jobs that lack an input which nobody makes."""

    schema: int = SCHEMA
    target: str | None
    will: list[PlannedJob]
    expected: list[PlannedJob]
    may: list[PlannedJob]
    fails: list[PlannedJob]
    blocked: list[PlannedJob]  # they come after one that fails, or that will not run
    up_to_date: dict[str, int]  # class name -> jobs
    gone: list[str]


class _Forejudge(Judge):
    """Judges as a run does, but takes what will be made anew to be as it was; also the loop's Watcher, which hears why
    jobs are due. `whys`: that; `lacking`: inputs that up to date jobs go without; `failed`: jobs that cannot run.
    """

    def __init__(self, catalog: Catalog, *, how: How, started: float) -> None:
        super().__init__(catalog, how, run=_RUN, started=started)
        self.foreteller: Foreteller
        self.whys: dict[str, Difference] = {}
        self.lacking: dict[str, str] = {}
        self.failed: set[str] = set()

    def judge(self, job: Brief) -> Judged:
        if job.id in self.foreteller.ran:
            return Judged(id=job.id, reason=None)
        judged = super().judge(job)
        if judged.reason is None:
            self.foreteller.children.setdefault(job.id, judged.found)  # of an absent one, which is not asked
            self._note_lacking(job)
        return judged

    def _note_lacking(self, job: Brief) -> None:
        record = job.result
        if record is None:
            return
        with suppress(RunnerError, TypeError):
            for field in self._classes.kind(job.task).inputs:
                for path in paths_in(job.params.get(field.name)):
                    if path not in record.inputs and path not in self.foreteller.makes:
                        self.lacking[job.id] = path

    def differences(self, job: Brief) -> Iterator[Difference]:
        for found in self.compare(job, assumed=self.foreteller.makes):
            self.whys.setdefault(job.id, found)
            yield found

    def moved(self, moves: Sequence[Move], now: float) -> None:
        for move in moves:
            if move.step is Step.FAIL:
                self.failed.add(move.id)
            known = self.whys.get(move.id)
            if move.step is Step.EXPIRE and (known is None or known.says != move.why):
                self.whys[move.id] = Difference(part="ask", says=move.why)

    def replied(self, reply: Reply) -> None:
        pass

    def leaving(self, reason: str, busy: int) -> None:
        pass

    def tick(self, engine: Engine, now: float) -> None:
        pass


def plan(store: FolderStore, ask: Ask, modules: Sequence[str], root: Path, how: How, *, adopt: bool = False) -> Plan:
    """Raises RunnerError, for what the run would refuse. The working directory is to be the project's root."""
    runs = Runs(store)
    catalog = Catalog(modules, root)
    recovered = _look(store, catalog)
    now = time.time()
    engine = Engine(overrides=_NO_BOUND)
    paper = Paper(store, _RUN)
    judge = _Forejudge(catalog, how=how, started=now)
    rounds = Rounds(paper, catalog, engine.ledger, judge)
    foreteller = judge.foreteller = Foreteller(paper, catalog, rounds.known, now)
    intake = Foreseen(store, catalog, engine, paper)
    loop = Loop(engine, paper, foreteller, catalog, rounds, intake, [judge], clock=lambda: foreteller.now)
    try:
        roots = roots_of(ask, modules, root)
        asked_for = [proposal.id for proposal in roots]
        record = RunFile(id=_RUN, start=codec.stamp(now), target=ask.target, arguments=ask.arguments, roots=asked_for)
        loop.do(recovered)
        loop.submit(roots, dropped=runs.dropped(record))
        loop.run()
    except Refused as error:
        raise UsageError(str(error)) from error
    return _Sorted(engine, paper, catalog, judge, recovered, {*asked_for, *intake.ids}, adopt).plan(ask.target)


def _look(store: FolderStore, catalog: Catalog) -> Recovered:
    """The state, as a run would find it; nothing is put in order."""
    statuses = store.scan()
    unfinished = []
    for id, status in list(statuses.items()):
        if status not in (Status.PENDING, Status.RUNNING, Status.BLOCKED):
            continue
        try:
            found = read_job(store, id, status)
        except BadJobFile:
            statuses[id] = Status.QUARANTINE
            continue
        if found is None:
            del statuses[id]
            continue
        job, status = found
        statuses[id] = status
        if status in (Status.PENDING, Status.RUNNING, Status.BLOCKED):
            finished = status is Status.RUNNING and is_finished(store.shelf, job)
            unfinished.append(catalog.stored(job, status, finished))
    return put_together(store, catalog, statuses, unfinished)


class _Sorted:
    """The jobs of a run that was played, by how sure it is that they run."""

    def __init__(
        self,
        engine: Engine,
        paper: Paper,
        catalog: Catalog,
        judge: _Forejudge,
        recovered: Recovered,
        asked_for: set[str],
        adopt: bool,
    ) -> None:
        self._engine = engine
        self._paper = paper
        self._catalog = catalog
        self._foreteller = judge.foreteller
        self._whys = judge.whys
        self._lacking = judge.lacking
        self._failed = judge.failed
        self._recovered = recovered
        self._before = recovered.statuses
        self._certain = asked_for
        self._adopt = adopt
        self._found_by: dict[str, list[str]] = {}
        for parent, children in self._foreteller.children.items():
            for child in children:
                self._found_by.setdefault(child, []).append(parent)

    def plan(self, target: str | None) -> Plan:
        ran = self._foreteller.ran
        may = self._may()
        self._spread(may)
        gone = frozenset(self._engine.gone)
        planned = [self._planned(job) for job in ran.values() if job.id not in gone]
        for id in gone & ran.keys():  # whether a worker is free before that is known
            may[id] = self._by(id, "unfinished", "it was left unfinished, and nobody names it any more", ran[id])
        reached = [node for node in self._engine.ledger.nodes() if node.reached]
        if any(map(self._finds, (*ran, *may))):
            for node in reached:
                if node.id not in ran and node.id not in may and (why := self._open_end(node)):
                    may[node.id] = self._by(node.id, "input", why, self._paper.read(node.id, node.status))
        settled = Counter(
            node.id.rpartition("-")[0]
            for node in reached
            if node.status is Status.DONE and node.id not in ran and node.id not in may
        )
        fails = [self._failing(node.id) for node in reached if node.id not in may and self._fails(node)]
        return Plan(
            target=target,
            will=[job for job in planned if job.id in self._certain],
            expected=[job for job in planned if job.id not in self._certain],
            may=list(may.values()),
            fails=fails,
            blocked=[self._blocked(node) for node in reached if node.status is Status.BLOCKED and node.id not in may],
            up_to_date=dict(sorted(settled.items())),
            gone=self._engine.gone,
        )

    def _spread(self, may: Mapping[str, PlannedJob]) -> None:
        """Whom a parent names that is certain and up to date, is certain as well.

        What is unfinished is given up if its finder no longer names it, and whether a finder that runs does is open.
        """
        for item in self._recovered.unfinished:
            asked_again = any(id in may or id in self._foreteller.ran for id in self._found_by.get(item.id, ()))
            if item.status is not Status.BLOCKED and (item.submitted or not asked_again):
                self._certain.add(item.id)
        queue = list(self._certain)
        for id in queue:  # it grows
            if id in may or id in self._foreteller.ran:
                continue
            for child in self._foreteller.children.get(id, ()):
                if child not in self._certain:
                    self._certain.add(child)
                    queue.append(child)

    def _may(self) -> dict[str, PlannedJob]:
        """Up to date now, but what they read may change, or what they are asked for."""
        found: dict[str, PlannedJob] = {}
        ran, ledger = self._foreteller.ran, self._engine.ledger
        makes = dict(self._foreteller.makes)
        queue = list(ran)
        for id in queue:  # it grows
            readers = (node.id for node in ledger.readers(id))
            for other in dict.fromkeys((*readers, *self._foreteller.children.get(id, ()))):
                node = ledger.node(other)
                if other in ran or other in found or node is None or not node.reached or node.status is not Status.DONE:
                    continue
                why = self._why_it_may(other, id, makes)
                if why is None:
                    continue
                job = self._paper.read(other, Status.DONE)
                makes.update(dict.fromkeys(self._catalog.outputs(job), other))
                part = "input" if why.startswith("input") else "finder"
                found[other] = self._by(other, part, why, job)
                queue.append(other)
        return found

    def _why_it_may(self, id: str, upstream: str, makes: Mapping[str, str]) -> str | None:
        parent = f"its finder {upstream} runs" if upstream in self._found_by.get(id, ()) else None
        with suppress(FileNotFoundError, RunnerError, TypeError):
            job = self._paper.read(id, Status.DONE)
            kind = self._catalog.kind(job.task)
            for _, path in input_paths(decode(kind.cls, job.params, self._catalog.root), self._catalog.root):
                if path in makes:
                    return f"input {path} may change: {makes[path]} runs"
        return parent

    def _planned(self, job: JobFile) -> PlannedJob:
        why = self._whys.get(job.id)
        if why is None:
            before = self._before.get(job.id)
            outputs = self._catalog.outputs(job)
            if self._adopt and job.result is None and outputs and all(map(self._is_there, outputs)):
                says = "its outputs are there, and are taken over"
                return self._by(job.id, "adopt", says, job)
            if before is None and job.attempts:  # a person moved it back into inbox/
                return self._by(job.id, "unfinished", "it is tried again", job)
            part = "new" if before is None else "unfinished" if before in _BEFORE else "done"
            says = "new" if before is None else _BEFORE.get(before, "a worker could not ask it for its children")
            why = Difference(part=part, says=says)
        return self._by(job.id, why.part, why.says, job)

    def _finds(self, id: str) -> bool:
        node = self._engine.ledger.node(id)
        return node is not None and node.finds

    def _open_end(self, node: Node) -> str | None:
        """What it lacks, or does without, that may be made by somebody who is found for the first time, or again."""
        ledger = self._engine.ledger
        if self._fails(node):
            return self._failing(node.id).why + "; it fails, unless somebody is found who makes it"
        if node.id in self._lacking:
            return f"input {self._lacking[node.id]} is not there, so far"
        for id in node.after:
            upstream = ledger.node(id)
            if upstream is None or not upstream.reached:
                return f"it comes after {id}, which may be found again"
        if (hopeless := ledger.hopeless(node)) is not None:
            return f"{hopeless} is {ledger.status(hopeless) or 'not there'}, so far"
        return None

    def _by(self, id: str, part: str, why: str, job: JobFile) -> PlannedJob:
        return PlannedJob(id=id, task=_class(id), part=part, why=why, output=self._output(job))

    def _fails(self, node: Node) -> bool:
        """Whether it fails in this run, and has not only stayed where it was."""
        return node.status is Status.FAILED and node.id in self._failed

    def _failing(self, id: str) -> PlannedJob:
        job = self._paper.read(id, Status.FAILED)
        message = (job.attempts[-1].get("error") or {}).get("message", "") if job.attempts else ""
        return self._by(id, "fails", message, job)

    def _blocked(self, node: Node) -> PlannedJob:
        ledger = self._engine.ledger
        hopeless = ledger.hopeless(node)
        why = f"{hopeless} is {ledger.status(hopeless) or 'not there'}" if hopeless is not None else "blocked"
        return self._by(node.id, "blocked", why, self._paper.read(node.id, Status.BLOCKED))

    def _is_there(self, path: str) -> bool:
        return is_file(os.path.join(self._catalog.root, path))

    def _output(self, job: JobFile) -> str | None:
        return next(iter(self._catalog.outputs(job)), None)


def _class(id: str) -> str:
    return id.rpartition("-")[0]
