"""A world around one engine: a MemoryStore, workers, a judge and a clock, all of them in the hands of the test.

It does what the loop does, in the same order (all that is for the disk first, then launches and judgements), plays the
tasks themselves, and asserts on the way what must hold at every single command. A crash can be armed: it strikes after
so many more commands, the engine and the workers are gone, and the store is as it was.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from math import inf
from typing import Any

from msgspec.structs import replace

from runner.batch import in_order
from runner.core import policy
from runner.core.commands import Command, Count, Create, Judge, Launch, Move, Trace, Walk
from runner.core.engine import Engine
from runner.core.events import (
    Asked,
    Began,
    Cancelled,
    Continued,
    Counted,
    Event,
    Invalidated,
    Judged,
    Lacked,
    Recovered,
    Retried,
    Returned,
    Slots,
    Submitted,
    TakenOver,
    Ticked,
    Traced,
    Verified,
    Withdrawn,
    WorkerLost,
    Wound,
)
from runner.core.ledger import output_hash
from runner.core.model import TRANSITIONS, Attempt, Need, Proposal, Status, Step, Stored
from runner.errors import Refused
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.memory import MemoryStore
from tests.core.checks import check, check_end
from tests.core.kinds import Kind, Wish, digest, fingerprint
from tests.core.story import brief
from tests.core.workshop import RETRIES, Workshop, dropped, failures, is_final

PART = 2  # jobs that enter in one go, of batches of up to five
CHECKED = 5  # steps that their check takes in one go, of up to twenty
RETURNABLE = (Status.FAILED, Status.BLOCKED, Status.CANCELLED)


class Crash(BaseException):
    """The runner is gone."""


Edges = Mapping[str, Iterable[str]]


class World:
    """One state, and one run after the other over it."""

    def __init__(self, kinds: Iterable[Kind], sources: Iterable[str] = ()) -> None:
        self.kinds = {kind.id: kind for kind in kinds}
        self.now = 1_000_000.0
        self.store = MemoryStore(clock=lambda: self.now)
        self.store.outputs.update(dict.fromkeys(sources, b"0"))
        self.runs = 0
        self.created: set[str] = set()
        self.workshop = Workshop(self.store, self.kinds)
        self.story: list[Any] = []
        self.crash_in: int | None = None
        self.torn = False  # the crash comes within a move: the new content is there, in the old folder
        self.unadmitted: list[Proposal] | None = None  # roots, as long as the run's record does not name them
        self.inbox: list[list[Wish | Kind | JobFile]] = []  # what was handed in, and is not settled yet
        self.launches: Counter[str] = Counter()  # that were to run the job
        self.begins: dict[str, float] = {}  # limit key with a rate -> when a job that has it began last, in any run
        self.last_start = -inf  # the same for all keys, as the disk has it
        self.lazy = False  # pending jobs are taken over in parts
        self.left: list[str] = []  # of these, those that are still to be
        self.unnamed: list[str] | None = None  # the roots that a run which goes on has still to name; None: it has
        self.crashes = 0
        self._begin_run()

    # ------------------------------------------------------------------------------------------------------------ runs

    def _begin_run(self) -> None:
        self.runs += 1
        self.store.run = f"run-{self.runs}"
        self.roots: list[str] = []
        self.due: set[str] = set()  # by their own due(), tonight
        self.whole = True  # the run was not interrupted
        self._fresh_engine(resuming=False)

    def _fresh_engine(self, *, resuming: bool) -> None:
        self.engine = Engine(resuming=resuming, part=PART, checked=CHECKED, last_start=self.last_start)
        self.resuming = resuming
        self.working: dict[str, tuple[Launch, JobFile]] = {}
        self.unbegun: set[str] = set()  # of these, that have a rate and have not begun
        self.untold: dict[str, float] = {}  # that have begun, and when: the engine has not heard of it
        self.group: list[Event] = []
        self.judging: deque[str] = deque()
        self.walks: deque[Walk | Trace] = deque()
        self.wound = False
        self.said: dict[str, list[str]] = {}  # whom those that were only asked named last
        self.expirable: set[str] = set()

    def start(self, wishes: Sequence[Wish | Kind], edges: Edges | None = None, due: Iterable[str] = ()) -> None:
        """The runner was gone in any case; a new run."""
        self._begin_run()
        self.due = set(due)
        self._recover()
        self.submit(wishes, edges)

    def resume(self) -> None:
        """Go on with the same run, as `resume` does."""
        self.crash_in = None
        self.crashes += 1
        self.whole = False
        unadmitted, self.unadmitted = self.unadmitted, None
        self._fresh_engine(resuming=unadmitted is None)
        self._recover()
        if unadmitted is None and self.lazy:
            self.unnamed = [id for id in self.roots if id not in self.left]
        elif unadmitted is None:
            self.do(Submitted(self.known(self.roots)))
        else:
            self._submit_roots(unadmitted)
        inbox, self.inbox = self.inbox, []
        for handed in inbox:
            self.hand_in(handed)

    def _recover(self) -> None:
        statuses, found = self.store.recover()
        unfinished = [self._stored(job, status, finished) for job, status, finished in found]
        left = [item for item in unfinished if self.lazy and self._is_plain(item)]
        self.left, self.unnamed = [item.id for item in left], None
        unfinished = [item for item in unfinished if item.id not in self.left]
        owners = {
            path: job.id
            for job in self.store.folders[Status.DONE].values()
            for path in (job.result or {}).get("outputs", ())
        }
        revivable = frozenset(
            id
            for id, job in self.store.folders[Status.CANCELLED].items()
            if job.attempts and job.attempts[-1]["outcome"] in ("superseded", "gone")
        )
        failed = frozenset(
            id
            for id, job in self.store.folders[Status.FAILED].items()
            if job.attempts and job.attempts[-1]["run"] == self.store.run
        )
        waiting = {item.id: item.after for item in left if item.after}
        self.do(Recovered(statuses, unfinished, owners, revivable, failed, waiting))

    def _is_plain(self, item: Stored) -> bool:
        """Whether its name and what it comes after are all that has to be known of it by now."""
        makers = {id[-16:] for id in item.after}
        unbound = any(output_hash(need.path) not in makers for need in item.inputs)
        special = unbound or item.spent or item.delay is not None or len(item.outputs) > 1
        return item.status is Status.PENDING and not special

    def take_over(self, count: int) -> None:
        """More of what the last runner left; some of it was proposed or cancelled since."""
        ids, self.left = self.left[:count], self.left[count:]
        ledger = self.engine.ledger
        known = [id for id in ids if ledger.node(id) is None and ledger.status(id) is Status.PENDING]
        jobs = [self.store.read(id, Status.PENDING) for id in known]
        self.do(TakenOver([self._named(self._stored(job, Status.PENDING, False)) for job in jobs]))

    def _named(self, item: Stored) -> Stored:
        return replace(item, named=self.resuming and item.id in self.roots)

    def name(self, count: int) -> None:
        """More roots of a run that goes on."""
        assert self.unnamed is not None
        ids, self.unnamed = self.unnamed[:count], self.unnamed[count:] or None
        for proposal in self.known(ids):
            with suppress(Refused):  # another that turned up since would wait for it, and it for that
                self.do(Submitted([proposal], more=True))
        self.do(Submitted([], more=self.unnamed is not None))

    def _stored(self, job: JobFile, status: Status, finished: bool) -> Stored:
        kind = self.kinds[job.id]
        return Stored(
            id=job.id,
            status=status,
            after=job.after,
            outputs=kind.outputs,
            limits=kind.limits,
            priority=kind.priority,
            all_done=kind.all_done,
            finds=kind.finds,
            submitted=job.submitted,
            fingerprint=fingerprint(job.params),
            inputs=self._needs(kind),
            depth=job.depth,
            delay=codec.delay(job, self.now),
            finished=finished,
            spent=failures(job) > RETRIES or is_final(job),
        )

    def _needs(self, kind: Kind) -> tuple[Need, ...]:
        return tuple(Need(path, path in self.store.outputs, path in kind.optional) for path in kind.inputs)

    # ------------------------------------------------------------------------------------------------------- proposals

    def propose(
        self, wanted: Sequence[Wish | Kind], edges: Edges | None = None, *, found_by: str | None = None, depth: int = 0
    ) -> list[Proposal]:
        """A batch, as `runner.batch.propose` makes it: no path has two makers, upstream first."""
        chosen: dict[str, Wish] = {}
        makers: dict[str, str] = {}
        for wish in (item if isinstance(item, Wish) else Wish(item) for item in wanted):
            if not any(path in makers for path in wish.kind.outputs):
                makers.update(dict.fromkeys(wish.kind.outputs, wish.kind.id))
                chosen[wish.kind.id] = wish
        batch = []
        for id, wish in chosen.items():
            kind = wish.kind
            after = [makers[path] for path in kind.inputs if path in makers]
            after += [upstream for upstream in (edges or {}).get(id, ()) if upstream in chosen and upstream != id]
            needs = [
                Need(path, path in self.store.outputs, path in kind.optional)
                for path in kind.inputs
                if path not in makers
            ]
            batch.append(
                Proposal(
                    id=id,
                    task=f"jobs.x:{kind.name}",
                    params=wish.params,
                    fingerprint=fingerprint(wish.params),
                    after=tuple(dict.fromkeys(after)),
                    inputs=tuple(needs),
                    outputs=kind.outputs,
                    limits=kind.limits,
                    priority=kind.priority,
                    all_done=kind.all_done,
                    finds=kind.finds,
                    found_by=found_by,
                    depth=depth,
                )
            )
        return in_order(batch)

    def known(self, ids: Iterable[str]) -> list[Proposal]:
        """Jobs as they stand in their files, proposed again."""
        proposals = []
        for id in ids:
            status = self.store.find(id)
            if status is None or status in (Status.QUARANTINE, Status.CANCELLED):
                continue
            job, kind = self.store.read(id, status), self.kinds[id]
            proposals.append(
                Proposal(
                    id=id,
                    task=job.task,
                    params=job.params,
                    fingerprint=fingerprint(job.params),
                    after=job.after,
                    inputs=self._needs(kind) if status is not Status.FAILED else (),
                    outputs=kind.outputs,
                    limits=kind.limits,
                    priority=kind.priority,
                    all_done=kind.all_done,
                    finds=kind.finds,
                    found_by=job.found_by,
                    submitted=job.submitted,
                    depth=job.depth,
                )
            )
        return proposals

    def submit(self, wishes: Sequence[Wish | Kind], edges: Edges | None = None) -> Refused | None:
        """Roots of the run."""
        return self._submit_roots(self.propose(wishes, edges))

    def _submit_roots(self, batch: list[Proposal]) -> Refused | None:
        self.complete()
        self.unadmitted = batch
        refused = self.offer(Submitted(batch))
        if refused is None:
            self._note_roots()
        else:
            self.unadmitted = None
        return refused

    def _note_roots(self) -> None:
        """The record of the run names its roots, once all of them have entered."""
        if self.unadmitted is not None and not self.engine.entering:
            self.roots += [proposal.id for proposal in self.unadmitted if proposal.id not in self.roots]
            self.unadmitted = None

    def enter(self, count: int) -> None:
        """More of the batch that is being admitted."""
        self.do(Continued(count))
        self._note_roots()

    def complete(self) -> None:
        """All of the batches that are being admitted."""
        while self.engine.entering or self.engine.deferred:
            self.enter(PART)

    def hand_in(self, handed: list[Wish | Kind | JobFile], edges: Edges | None = None) -> Refused | None:
        """Files in inbox/: new wishes, and jobs that were moved there from a status folder."""
        self.inbox.append(handed)
        self.complete()
        files = {item.id: item for item in handed if isinstance(item, JobFile)}
        wishes = [
            Wish(self.kinds[item.id], item.params["variant"]) if isinstance(item, JobFile) else item for item in handed
        ]
        for id in files:  # also one that cannot be in this batch beside the others: it has left its folder as well
            if self.store.find(id) is None and self.engine.ledger.status(id) in RETURNABLE:
                self.do(Withdrawn((id,)))
        batch = []
        for proposal in self.propose(wishes, edges):
            proposal = replace(proposal, submitted=True)
            if proposal.id in files:
                job = files[proposal.id]
                after = tuple(dict.fromkeys((*proposal.after, *job.after)))
                proposal = replace(proposal, after=after, found_by=job.found_by, depth=job.depth)
                told = codec.with_attempt(replace(job, after=after), None, reset_retries=True)
                staged = self.store.stage(job.id, codec.encode(told))
                proposal = replace(proposal, staged=staged)
            batch.append(proposal)
        refused = self.offer(Submitted(batch, by_name=True))
        self.complete()
        self.inbox.remove(handed)
        for job in files.values():
            if self.store.find(job.id) is None:
                self.store.folders[Status.QUARANTINE][job.id] = job
        return refused

    def take_out(self, ids: Iterable[str]) -> list[JobFile]:
        """A person moves these from their status folder into inbox/."""
        self.complete()
        return [self.store.folders[status].pop(id) for id in ids if (status := self.store.find(id)) in RETURNABLE]

    def offer(self, event: Submitted) -> Refused | None:
        """Submit; if that is refused, assert that nothing was changed."""
        before = self._picture()
        try:
            self.do(event)
        except Refused as refused:
            assert self._picture() == before, self.told()
            self.story.append(f"    refused: {refused}")
            return refused
        return None

    def _picture(self) -> Any:
        nodes = {node.id: (node.status, node.phase, node.after) for node in self.engine.ledger.nodes()}
        return nodes, self.store.scan(), self.engine.claimable

    # ------------------------------------------------------------------------------------------------- the loop's part

    def do(self, *events: Event) -> None:
        """Tell the engine, and carry out what it says, in one go."""
        commands: list[Command] = []
        for event in events:
            self.story.append(event)
            commands += self.engine.handle(event, self.now)
        others: list[Launch | Judge | Walk | Trace | Count] = []
        self.wound = False
        for command in commands:
            self.story.append(command)
            if isinstance(command, Launch | Judge | Walk | Trace | Count):
                others.append(command)
            else:
                self._put(command)
        for other in others:
            match other:
                case Launch():
                    self._launch(other)
                case Judge(id):
                    self.judging.append(id)
                case Walk() | Trace():
                    self.walks.append(other)
                case Count(id, attempt):
                    self._count(id, attempt)

    def _put(self, command: Any) -> None:
        if self.crash_in is not None:
            if self.crash_in == 0:
                self.story.append("crash")
                if self.torn and isinstance(command, Move):
                    self.store.do(command)
                    job = self.store.folders[command.target].pop(command.id)
                    self.store.folders[command.source][command.id] = job
                raise Crash
            self.crash_in -= 1
        if isinstance(command, Create):
            id = command.proposal.id
            assert self.store.find(id) in (None, Status.QUARANTINE), self.told()
            self.store.folders[Status.QUARANTINE].pop(id, None)  # only one of the two counts as the job
            self.created.add(id)
        elif isinstance(command, Move):
            assert self.store.find(command.id) is command.source, self.told()
            assert TRANSITIONS[command.source, command.step] is command.target, self.told()
            if command.step is Step.EXPIRE:
                assert command.id in self.expirable, f"{command.id} was done, and nothing is due\n{self.told()}"
                self.expirable.discard(command.id)
        self.store.do(command)

    def _launch(self, launch: Launch) -> None:
        id = launch.id
        assert id not in self.working, self.told()
        assert all(event.id != id for event in self.group if not isinstance(event, WorkerLost)), self.told()  # type: ignore[union-attr]
        status = self.store.find(id)
        assert status is (Status.DONE if launch.ask else Status.RUNNING), self.told()
        job = self.store.read(id, status)
        assert launch.paced == (not launch.ask and bool(self._rates(id))), self.told()
        if launch.paced:
            self.unbegun.add(id)
        if not launch.ask:
            assert not is_final(job), f"{id} has said that trying again cannot help\n{self.told()}"
            self.launches[id] += 1
            for upstream in job.after:
                assert not self.engine.ledger.is_open(upstream), f"{id} starts before {upstream}\n{self.told()}"
                if not self.kinds[id].all_done:
                    assert self.store.find(upstream) is Status.DONE, f"{id} starts, and {upstream}\n{self.told()}"
        self.working[id] = (launch, job)

    def _count(self, id: str, attempt: Attempt) -> None:
        count = 1 + failures(self.store.read(id, Status.RUNNING))
        self.do(Counted(id, attempt, policy.retry_in(id, count, RETRIES, 1.0)))

    # ----------------------------------------------------------------------------------------------- the workers' part

    def slots(self, free: int) -> None:
        self.do(Slots(free))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.do(Ticked())

    def _rates(self, id: str) -> dict[str, float]:
        return {key: limit.per_second for key, limit in self.kinds[id].limits.items() if limit.per_second}

    def begin(self, id: str, told: bool = True) -> None:
        """A job with a rate begins; the engine hears of it now, or later, or never, if the runner dies before."""
        self.unbegun.discard(id)
        for key, rate in self._rates(id).items():
            assert self.now - self.begins.get(key, -inf) >= 1.0 / rate, f"{id} is too soon for {key}\n{self.told()}"
            self.begins[key] = self.now
        self.last_start = self.untold[id] = self.now
        if told:
            self._tell(id)

    def _tell(self, id: str) -> None:
        if id in self.untold:
            self.do(Began(id, self.untold.pop(id)))

    def work(
        self, id: str, outcome: str = "same", found: Sequence[Wish | Kind] = (), edges: Edges | None = None
    ) -> None:
        """A worker answers: same, changed, absent, failed, later or hopeless. Its result is not committed yet."""
        launch, job = self.working.pop(id)

        def children() -> list[Proposal]:
            return self._children(job, found, edges)

        ask = self._ask if launch.ask else self.workshop.run
        event = ask(job, outcome, children)
        if id in self.unbegun and not isinstance(event, Lacked):
            self.begin(id)
        self._tell(id)
        begun = id not in self.unbegun
        self.unbegun.discard(id)
        if isinstance(event, Asked) and event.error is None:
            self.said[id] = [child.id for child in event.children]
        self.group.append(event)
        self.do(Returned(id, begun))

    def _ask(self, job: JobFile, outcome: str, children: Callable[[], list[Proposal]]) -> Asked:
        self.expirable.add(job.id)  # what it answers may be refused
        if outcome in ("failed", "hopeless"):
            return Asked(id=job.id, children=[], error="it could not tell")
        batch = children()
        found = tuple(child.id for child in batch)
        result = job.result or {}
        changed = None if tuple(result.get("found", ())) == found else found
        return Asked(id=job.id, children=batch, found=changed, dropped=dropped(result, self.store.run, found))

    def _children(self, job: JobFile, found: Sequence[Wish | Kind], edges: Edges | None) -> list[Proposal]:
        children = self.propose(found, edges, found_by=job.id, depth=job.depth + 1)
        return [
            replace(child, staged=self.store.stage(child.id, codec.encode(codec.new_file(child, child.after))))
            if not child.inputs and self.store.find(child.id) not in (Status.DONE, Status.PENDING)
            else child
            for child in children
        ]

    def lose(self, begun: Sequence[str], waiting: Sequence[str], outcome: str) -> None:
        """A worker dies with these."""
        for id in (*begun, *waiting):
            launch, _ = self.working.pop(id)
            if launch.ask:
                self.expirable.add(id)
            if id in self.unbegun and id in begun:  # at the last moment; its word was lost
                self.begin(id, told=False)
            if id in waiting:
                self._tell(id)
            self.untold.pop(id, None)
            self.unbegun.discard(id)
        guilty = tuple(begun[:1]) if outcome == "timeout" else ()
        returned = [Returned(id, id in begun) for id in (*begun, *waiting)]
        lost = WorkerLost(
            begun=tuple(begun), waiting=tuple(waiting), outcome=outcome, message="its worker is gone", guilty=guilty
        )
        self.do(*returned, lost)

    def commit(self) -> None:
        """The results that are there are committed, all at once."""
        group, self.group = self.group, []
        self.do(*group)

    # ---------------------------------------------------------------------------------------------- what was done once

    def reason(self, job: JobFile, *, tonight: bool = True) -> str | None:
        """Why a done job is due."""
        result, outputs = job.result, self.store.outputs
        if result is None:
            return "it has no record"
        if "invalidated" in result:
            return "it was invalidated"
        if result["params"] != {"variant": job.params["variant"]}:
            return "other parameters"
        sizes = {path: len(outputs[path]) for path in result["outputs"] if path in outputs}
        if any(made is not None and sizes.get(path) != made["bytes"] for path, made in result["outputs"].items()):
            return "an output is not there"
        if result["inputs"] != {path: digest(outputs[path]) for path in job.params["inputs"] if path in outputs}:
            return "other inputs"
        return "it is due" if tonight and result["run"] != self.store.run and job.id in self.due else None

    def judge(self) -> None:
        """The next of the done jobs that are to be compared with their records."""
        id = self.judging.popleft()
        if self.store.find(id) is not Status.DONE:
            return
        job = self.store.read(id, Status.DONE)
        reason = self.reason(job)
        if reason is not None:
            self.expirable.add(id)
            self.do(Judged(id=id, reason=reason))
            return
        assert job.result is not None
        found, change = tuple(job.result["found"]), job.result["change"]
        if job.result["run"] == self.store.run:
            left = dropped(job.result, self.store.run, found)
            self.do(Judged(id=id, reason=None, found=found, dropped=left, change=change))
        elif change == "absent":
            self.do(Judged(id=id, reason=None, found=found))
        else:
            asks = self.kinds[id].finds or bool(found)
            self.do(Judged(id=id, reason=None, asks=True) if asks else Verified((id,)))

    def walk(self) -> None:
        """The next of the jobs whose children of last time are to be proposed again."""
        walk = self.walks.popleft()
        if isinstance(walk, Trace):
            jobs = self._readable(walk.ids)
            told = tuple((job.id, job.submitted, tuple((job.result or {}).get("found", ()))) for job in jobs)
            spared = (id for job in self._readable(walk.unheard) for id in (job.result or {}).get("found", ()))
            self.do(Traced(told, frozenset(spared)))
            return
        self.expirable.add(walk.finder)  # they may be refused
        self.do(Asked(id=walk.finder, children=self.known(walk.ids)))

    def _readable(self, ids: Iterable[str]) -> list[JobFile]:
        found = ((id, self.store.find(id)) for id in ids)
        return [self.store.read(id, status) for id, status in found if status not in (None, Status.QUARANTINE)]  # type: ignore[arg-type]

    # -------------------------------------------------------------------------------------------------------- a person

    def cancel(self, ids: Iterable[str]) -> None:
        self.do(Cancelled(tuple(ids)))

    def retry(self, ids: Iterable[str]) -> None:
        self.do(Retried(tuple(ids)))

    def invalidate(self, ids: Iterable[str]) -> None:
        self.do(Invalidated(tuple(ids)))

    def wind_up(self) -> None:
        """Nothing is left to do: who is gone?"""
        self.do(Wound())
        self.wound = True

    # ------------------------------------------------------------------------------------ a test that knows its mind

    def status(self, kind: Kind) -> Status | None:
        return self.store.find(kind.id)

    def job(self, kind: Kind) -> JobFile:
        status = self.store.find(kind.id)
        assert status is not None
        return self.store.read(kind.id, status)

    def answer(self, kind: Kind, outcome: str = "same", found: Sequence[Wish | Kind] = ()) -> None:
        """A worker answers, and its result is committed."""
        self.work(kind.id, outcome, found)
        self.commit()

    def at_work(self) -> set[str]:
        """The first outputs of the jobs that are with a worker."""
        return {self.kinds[id].outputs[0] for id in self.working}

    def moves(self, kind: Kind) -> list[Step]:
        """What befell a job."""
        return [told.step for told in self.story if isinstance(told, Move) and told.id == kind.id]

    # ------------------------------------------------------------------------------------------------------ to the end

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        more = self.left or self.unnamed is not None
        return self.engine.finished and not (more or self.judging or self.walks or self.group or self.working)

    def turn(
        self, outcome: str = "same", found: Sequence[Wish | Kind] | None = None, edges: Edges | None = None
    ) -> None:
        """Whatever comes next. `found` None: the children of last time."""
        if self.engine.entering or self.engine.deferred:
            self.enter(1)
        elif self.left:
            self.take_over(1)
        elif self.unnamed is not None:
            self.name(1)
        elif self.judging:
            self.judge()
        elif self.walks:
            self.walk()
        elif self.group and len(self.working) < 2:
            self.commit()
        elif self.working:
            id, (launch, job) = next(iter(self.working.items()))
            if found is None:
                found = [self.wish(child) for child in (job.result or {}).get("found", ())] if launch.ask else []
            self.work(id, outcome, found, edges)
        else:
            before = len(self.story)
            self.slots(3)
            due = self.engine.next_time()
            if len(self.story) == before + 1 and due is not None:
                self.now = max(self.now, due) + 0.001

    def drain(self, bad: Iterable[str] = (), most: int = 2000) -> None:
        """Work until the engine says that nothing is left. What is in `bad` fails when it runs."""
        bad = set(bad)
        for _ in range(most):
            if self.idle and self.wound:
                return
            if self.idle:
                self.wind_up()
                continue
            before = len(self.story), self.now
            launch = next((launch for launch, _ in self.working.values()), None)
            self.turn("failed" if launch is not None and launch.id in bad and not launch.ask else "same")
            stuck = (len(self.story), self.now) == (before[0] + 1, before[1]) and isinstance(self.story[-1], Slots)
            assert not stuck, f"nothing can start, and it is not finished\n{self.told()}"
        raise AssertionError(f"it never ends\n{self.told()}")

    def wish(self, id: str) -> Wish:
        """A job's newest wish."""
        status = self.store.find(id)
        variant = self.store.read(id, status).params["variant"] if status is not None else 0
        return Wish(self.kinds[id], variant)

    # -------------------------------------------------------------------------------------------------- what must hold

    def told(self) -> str:
        """The last of what happened, with paths for ids."""
        text = "\n".join(map(brief, self.story[-300:]))
        for kind in self.kinds.values():
            text = text.replace(kind.id, f"{kind.name}:{kind.outputs[0]}")
        return text

    def check(self) -> None:
        """What holds after every step."""
        check(self)

    def check_end(self) -> None:
        """What holds when nothing is left to do."""
        check_end(self)
