"""What a job costs the rule book, in operations counted and not in seconds, so that nothing quadratic creeps in.

Counted is every hashing and comparing of an id, so that a loop that hides in a set operation or in an `in` shows as
well, every node that the ledger hands out when it is walked through, and every call into a sorter. From 1,000 to 8,000
jobs the cost of each may grow by a fifth at the most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count

import pytest

from runner.core.commands import Command, Judge, Launch
from runner.core.engine import Engine
from runner.core.events import (
    Asked,
    Cancelled,
    Continued,
    Event,
    Failed,
    Finished,
    Judged,
    Lacked,
    Recovered,
    Returned,
    Slots,
    Submitted,
    Withdrawn,
    WorkerLost,
)
from runner.core.ledger import Node, output_hash
from runner.core.model import Limit, Need, Proposal, Status, Stored

FEW, MANY = 1_000, 8_000
MORE = 1.2


class Id(str):
    """An id that counts what is done with it."""

    operations = 0

    def __hash__(self) -> int:
        Id.operations += 1
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        Id.operations += 1
        return str.__eq__(self, other)

    def __lt__(self, other: str) -> bool:
        Id.operations += 1
        return str.__lt__(self, other)


def path(number: int) -> str:
    return f"out/{number}"


_ids: dict[int, Id] = {}


def job(number: int) -> Id:
    """The id of the job that makes `path(number)`."""
    if number not in _ids:
        _ids[number] = Id(f"Job-{output_hash(path(number))}")
    return _ids[number]


def proposal(number: int, after: Iterable[int] = (), needs: Iterable[int] = (), **more: object) -> Proposal:
    return Proposal(
        id=job(number),
        task="jobs.x:Job",
        params={},
        fingerprint="",
        after=tuple(map(job, after)),
        inputs=tuple(Need(path(need)) for need in needs),
        outputs=(path(number),),
        **more,  # type: ignore[arg-type]
    )


class Run:
    """An engine whose workers answer at once, as `outcome` says; only what happens inside the engine is counted."""

    def __init__(self, outcome: Callable[[str], Event | None] | None = None, **options: object) -> None:
        self.engine = Engine(**options)  # type: ignore[arg-type]
        self.outcome = outcome or (lambda id: None)
        self.judge: Callable[[str], Event] = lambda id: Judged(id=id, reason=None)
        self.now = 0.0
        self.ids = 0
        self.walked = 0
        self._nodes = self.engine.ledger.nodes
        self.engine.ledger.nodes = self._walk  # type: ignore[method-assign]

    def _walk(self) -> Iterator[Node]:
        for node in self._nodes():
            self.walked += 1
            yield node

    def do(self, *events: Event) -> list[Command]:
        commands: list[Command] = []
        before = Id.operations
        for event in events:
            commands += self.engine.handle(event, self.now)
            while self.engine.entering or self.engine.deferred:
                commands += self.engine.handle(Continued(50), self.now)
        self.ids += Id.operations - before
        return commands

    def cost(self) -> int:
        return self.ids + self.walked + self.engine.forest.visits

    def submit(self, *batch: Proposal, by_name: bool = False, returned: Iterable[str] = ()) -> None:
        self.go_on(self.do(Withdrawn(tuple(returned)), Submitted(list(batch), by_name)))

    def go_on(self, commands: Sequence[Command]) -> None:
        """What the engine ordered is done, and what workers and judges answer, until nothing more comes back."""
        while commands:
            events: list[Event] = []
            for command in commands:
                if isinstance(command, Launch):
                    events += (Returned(command.id), self.outcome(command.id) or self.finished(command.id))
                elif isinstance(command, Judge):
                    events.append(self.judge(command.id))
            commands = self.do(*events) if events else []

    @staticmethod
    def finished(id: str, *children: Proposal) -> Finished:
        return Finished(id=id, record="", children=list(children))

    def to_the_end(self, free: int = 50) -> None:
        while not self.engine.finished:
            commands = self.do(Slots(free))
            if not commands:
                due = self.engine.next_time()
                assert due is not None, "nothing can start"
                self.now = max(self.now, due)
            self.go_on(commands)


def fan_out(jobs: int) -> Run:
    run = Run(lambda id: Run.finished(id, *map(proposal, range(1, jobs))) if id == job(0) else None)
    run.submit(proposal(0))
    return run


def fan_in(jobs: int) -> Run:
    run = Run()
    run.submit(*map(proposal, range(1, jobs)), proposal(0, range(1, jobs)))
    return run


def one_chain(jobs: int) -> Run:
    run = Run()
    run.submit(*(proposal(n, [n - 1] if n else []) for n in range(jobs)))
    return run


def short_chains(jobs: int) -> Run:
    run = Run()
    run.submit(*(proposal(n, [n - 1] if n % 10 else []) for n in range(jobs)))
    return run


def small_batches(jobs: int) -> Run:
    """Every job finds a pair, the second of which reads the first."""

    def find(id: str) -> Event | None:
        first, second = next(numbers), next(numbers)
        return Run.finished(id, proposal(first), proposal(second, [first])) if second < jobs else None

    numbers = count(1)
    run = Run(find)
    run.submit(proposal(0))
    return run


def a_chain_of_batches(jobs: int) -> Run:
    """Each batch waits for the one before."""
    run = Run()
    for n in range(jobs):
        run.submit(proposal(n, [n - 1] if n else []))
    return run


def many_wait_for_one(jobs: int) -> Run:
    """Batch after batch comes to wait for the same job."""
    run = Run()
    run.submit(proposal(0))
    for n in range(1, jobs):
        run.submit(proposal(n, [0]))
    return run


def one_failure_blocks_all(jobs: int) -> Run:
    run = Run(lambda id: Failed(id=id, record="") if id == job(0) else None)
    run.submit(*(proposal(n, {0, n // 2} if n else ()) for n in range(jobs)))
    return run


def every_other_fails(jobs: int) -> Run:
    run = Run(lambda id: Failed(id=id, record="") if id.endswith(("0", "2", "4", "6", "8", "a", "c", "e")) else None)
    run.submit(*(proposal(n, [n - 1] if n % 4 else []) for n in range(jobs)))
    return run


def many_blocked_and_new_ones(jobs: int) -> Run:
    """Half of the jobs are blocked, and stay so, while the other half comes in one by one."""
    run = one_failure_blocks_all(jobs // 2)
    run.to_the_end()
    for n in range(jobs // 2, jobs):
        run.submit(proposal(n))
    return run


def blocked_jobs_retried_one_by_one(jobs: int) -> Run:
    """Every failed job blocks one; each is moved back into the inbox by itself."""
    failing = {job(n) for n in range(0, jobs, 2)}
    run = Run(lambda id: Failed(id=id, record="") if id in failing else None)
    run.submit(*(proposal(n, [n - 1] if n % 2 else []) for n in range(jobs)))
    run.to_the_end()
    failing.clear()
    for n in range(0, jobs, 2):
        run.submit(proposal(n), by_name=True, returned=[job(n)])
    return run


def all_retried_at_once(jobs: int) -> Run:
    """A fan-in of failures: all come back in one batch, and are blocked again, and once more."""
    failing = {job(n) for n in range(1, jobs)}
    run = Run(lambda id: Failed(id=id, record="") if id in failing else None)
    run.submit(*map(proposal, range(1, jobs)), proposal(0, range(1, jobs)))
    for _ in range(2):
        run.to_the_end()
        run.submit(*map(proposal, range(1, jobs)), by_name=True, returned=map(job, range(1, jobs)))
    failing.clear()
    return run


def held_for_their_makers(jobs: int) -> Run:
    """Half of the jobs lack a file each; the makers come in one by one."""
    run = Run()
    half = jobs // 2
    run.submit(*(proposal(n, needs=[half + n]) for n in range(half)))
    for n in range(half, jobs):
        run.submit(proposal(n))
    return run


def held_for_one_maker(jobs: int) -> Run:
    run = Run()
    run.submit(*(proposal(n, needs=[0]) for n in range(1, jobs)))
    run.submit(proposal(0))
    return run


def held_for_nobody(jobs: int) -> Run:
    run = Run(lambda id: Lacked(id, (path(-1),)))
    run.submit(*(proposal(n, needs=[-1]) for n in range(jobs)))
    return run


def a_merge_that_lacks_all(jobs: int) -> Run:
    """All that it reads turns up in one batch."""
    run = Run()
    run.submit(proposal(0, needs=range(1, jobs)))
    run.submit(*map(proposal, range(1, jobs)))
    return run


def found_again_and_again(jobs: int) -> Run:
    """Every page links to the same ten, and to one more."""

    def find(id: str) -> Event | None:
        number = next(numbers)
        return Run.finished(id, *map(proposal, range(10)), proposal(number)) if number < jobs else None

    numbers = count(10)
    run = Run(find)
    run.submit(proposal(0))
    return run


def cancelled_one_by_one(jobs: int) -> Run:
    run = Run()
    run.submit(*(proposal(n, [n - n % 2]) if n % 2 else proposal(n) for n in range(jobs)))
    for n in range(0, jobs, 2):
        run.do(Cancelled((job(n),)))
    return run


def superseded_one_by_one(jobs: int) -> Run:
    """Half of the jobs were made by a class that was renamed; each has one that reads it, still pending."""
    run = Run()
    half = jobs // 2
    run.do(
        Recovered(
            {job(n): Status.PENDING for n in range(jobs)},
            [
                Stored(id=job(n), status=Status.PENDING, after=(job(n - half),) if n >= half else ())
                for n in range(jobs)
            ],
        )
    )
    for n in range(half):
        old = proposal(n)
        run.submit(Proposal(id=f"New{old.id}", task="", params={}, fingerprint="", outputs=old.outputs))
    return run


def the_second_night(jobs: int) -> Run:
    """All is done; each is judged, and every tenth is due."""
    run = Run()
    run.do(Recovered({job(n): Status.DONE for n in range(jobs)}, []))
    run.judge = lambda id: Judged(id=id, reason="it is due" if id.endswith("0") else None)
    run.submit(*(proposal(n, [n - 1] if n % 10 else []) for n in range(jobs)))
    return run


def late_news(jobs: int) -> Run:
    """Half of the jobs are up to date when what they read turns out to be due, one by one."""
    run = Run()
    half = jobs // 2
    run.do(Recovered({job(n): Status.DONE for n in range(jobs)}, []))
    run.submit(*(proposal(n, [n - half]) for n in range(half, jobs)))
    run.judge = lambda id: Judged(id=id, reason="it is due")
    for n in range(half):
        run.submit(proposal(n))
    return run


def asked_again(jobs: int) -> Run:
    """Every tenth of the done jobs is asked for the nine others that it found."""

    def judge(id: str) -> Event:
        return Judged(id=id, reason=None, asks=id in finders)

    def ask(id: str) -> Event | None:
        return Asked(id=id, children=[proposal(finders[id] + n, found_by=id) for n in range(1, 10)])

    finders = {str(job(n)): n for n in range(0, jobs, 10)}
    run = Run(ask)
    run.judge = judge
    run.do(Recovered({job(n): Status.DONE for n in range(jobs)}, []))
    run.submit(*(proposal(n) for n in range(0, jobs, 10)))
    return run


def workers_that_die(jobs: int) -> Run:
    """Every job's worker dies once, with another job."""
    seen: set[str] = set()

    def die(id: str) -> Event | None:
        if id in seen:
            return None
        seen.add(id)
        return WorkerLost(begun=(), waiting=(id,), outcome="died", message="")

    run = Run(die)
    run.submit(*map(proposal, range(jobs)))
    return run


def retried_later(jobs: int) -> Run:
    """Every job fails once, and waits for its time."""
    seen: set[str] = set()

    def fail(id: str) -> Event | None:
        if id in seen:
            return None
        seen.add(id)
        return Failed(id=id, record="", retry_in=1000.0 + len(seen) % 100)

    run = Run(fail)
    run.submit(*map(proposal, range(jobs)))
    return run


def under_limits(jobs: int) -> Run:
    """A hundred hosts that take two at once, and no more than one a second, under a limit for all."""
    run = Run()
    host = [{f"host:{n}": Limit(2, 1.0), "all": Limit(20)} for n in range(100)]
    run.submit(*(proposal(n, limits=host[n % 100]) for n in range(jobs)))
    return run


def recovered(jobs: int) -> Run:
    """What a crash left: chains, and blocked ones whose upstream job is tried again."""
    run = Run()
    stored = [
        Stored(
            id=job(n),
            status=Status.BLOCKED if n % 4 else Status.PENDING,
            after=(job(n - 1),) if n % 4 else (),
        )
        for n in reversed(range(jobs))
    ]
    run.do(Recovered({item.id: item.status for item in stored}, stored))
    return run


SHAPES = [
    fan_out,
    fan_in,
    one_chain,
    short_chains,
    small_batches,
    a_chain_of_batches,
    many_wait_for_one,
    one_failure_blocks_all,
    every_other_fails,
    many_blocked_and_new_ones,
    blocked_jobs_retried_one_by_one,
    all_retried_at_once,
    held_for_their_makers,
    held_for_one_maker,
    held_for_nobody,
    a_merge_that_lacks_all,
    found_again_and_again,
    cancelled_one_by_one,
    superseded_one_by_one,
    the_second_night,
    late_news,
    asked_again,
    workers_that_die,
    retried_later,
    under_limits,
    recovered,
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__.replace("_", " "))
def test_a_job_costs_the_same_among_many(shape: Callable[[int], Run]) -> None:
    costs = []
    for jobs in (FEW, MANY):
        run = shape(jobs)
        run.to_the_end()
        costs.append(run.cost() / jobs)
    few, many = costs
    print(f"{few:.1f} operations a job, {many:.1f} among {MANY // FEW} times as many")
    assert many <= few * MORE, f"{few:.1f} operations a job, but {many:.1f} among {MANY // FEW} times as many"
