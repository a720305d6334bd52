"""The rule book against everything that can happen, in any order, with a crash between any two commands.

Small worlds, so that things meet: seven outputs, two classes that claim the same ones, a few sources and one path that
nobody makes. What must hold is in `world.py`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.core.model import Limit
from tests.core.kinds import Kind, Wish
from tests.core.world import RETURNABLE, Crash, World

COUNT = 7
LIMITS = {"one": Limit(1), "two": Limit(2), "slow": Limit(None, 0.5)}

anyone = [*range(COUNT)] * 4 + [COUNT, COUNT + 1, COUNT + 2]  # the last ones are heirs: they claim what others make

keys = st.lists(st.sampled_from(sorted(LIMITS)), max_size=2, unique=True)
numbers = st.sampled_from(anyone)
picks = st.integers(0, 999)
variants = st.sampled_from([0] * 7 + [1])
batches = st.lists(st.tuples(numbers, variants), min_size=1, max_size=5)
edges = st.lists(st.tuples(numbers, numbers), max_size=2)
outcomes = st.sampled_from(["same"] * 5 + ["changed"] * 3 + ["failed", "later", "hopeless", "absent"])
ends = st.sampled_from(["died", "timeout", "interrupted"])

Batch = list[tuple[int, int]]
Links = list[tuple[int, int]]


@st.composite
def kinds(draw: st.DrawFn) -> list[Kind]:
    """What each number's task reads: mostly what smaller numbers make."""
    made = []
    for number in range(COUNT):
        below = [f"o{n}" for n in range(number)]
        anywhere = [f"o{n}" for n in range(COUNT) if n != number] + [f"p{COUNT - 1}"]
        few = st.lists(st.sampled_from([*below, "source", "nowhere"]), max_size=2)
        inputs = draw(few if draw(st.integers(0, 5)) else st.lists(st.sampled_from(anywhere), max_size=2))
        inputs = [path for path in dict.fromkeys(inputs) if path != f"p{number}"]
        first = Kind(
            outputs=(f"o{number}", f"p{number}") if draw(st.integers(0, 2)) == 0 else (f"o{number}",),
            inputs=tuple(inputs),
            optional=tuple(inputs[:1]) if draw(st.integers(0, 3)) == 0 else (),
            limits={key: LIMITS[key] for key in draw(keys)},
            priority=draw(st.integers(0, 1)),
            all_done=draw(st.integers(0, 4)) == 0,
            finds=draw(st.booleans()),
        )
        made.append(first)
    heirs = [Kind(name="Heir", outputs=kind.outputs, inputs=kind.inputs[:1], finds=kind.finds) for kind in made[:3]]
    return made + heirs


Act = TypeVar("Act", bound=Callable[..., None])


def may_crash(act: Act) -> Act:
    """If the crash that was armed strikes in this step, the run is resumed."""

    @functools.wraps(act)
    def guarded(self: Machine, **arguments: Any) -> None:
        try:
            act(self, **arguments)
        except Crash:
            self.world.resume()

    return guarded  # type: ignore[return-value]


class Machine(RuleBasedStateMachine):
    """Random steps, and what must hold after each; then on to the end, and what must hold there."""

    world: World

    @initialize(made=kinds(), batch=batches, links=edges, lazy=st.booleans())
    def begin(self, made: list[Kind], batch: Batch, links: Links, lazy: bool) -> None:
        self.made = made
        self.world = World(made, ["source"])
        self.world.lazy = lazy
        self.world.submit(self.wishes(batch), self.graph(links))

    def wishes(self, batch: Batch) -> list[Wish]:
        return [Wish(self.made[number], variant) for number, variant in batch]

    def graph(self, links: Links) -> dict[str, list[str]]:
        graph: dict[str, list[str]] = {}
        for one, other in links:
            graph.setdefault(self.made[max(one, other)].id, []).append(self.made[min(one, other)].id)
        return graph

    def pick(self, ids: Iterable[str], number: int) -> str:
        ids = sorted(ids)
        return ids[number % len(ids)]

    @rule(batch=batches, links=edges, by_name=st.booleans())
    @may_crash
    def propose(self, batch: Batch, links: Links, by_name: bool) -> None:
        if by_name:
            self.world.hand_in([*self.wishes(batch)], self.graph(links))
        else:
            self.world.submit(self.wishes(batch), self.graph(links))

    @precondition(lambda self: any(self.world.store.folders[status] for status in RETURNABLE))
    @rule(numbers=st.lists(picks, min_size=1, max_size=3))
    @may_crash
    def move_back_into_the_inbox(self, numbers: list[int]) -> None:
        ids = [id for status in RETURNABLE for id in self.world.store.folders[status]]
        files = self.world.take_out(sorted({self.pick(ids, number) for number in numbers}))
        self.world.hand_in([*files])

    @precondition(lambda self: self.world.engine.entering or self.world.engine.deferred)
    @rule(count=st.integers(1, 3))
    @may_crash
    def enter_more_of_the_batch(self, count: int) -> None:
        self.world.enter(count)

    @precondition(lambda self: self.world.left)
    @rule(count=st.integers(1, 3))
    @may_crash
    def take_over_more(self, count: int) -> None:
        self.world.take_over(count)

    @precondition(
        lambda self: self.world.unnamed is not None and not (self.world.engine.entering or self.world.engine.deferred)
    )
    @rule(count=st.integers(0, 2))
    @may_crash
    def name_more_roots(self, count: int) -> None:
        self.world.name(count)

    @rule(free=st.integers(1, 4))
    @may_crash
    def fill(self, free: int) -> None:
        self.world.slots(free)

    @precondition(lambda self: self.world.working)
    @rule(number=picks, outcome=outcomes, batch=batches, links=edges)
    @may_crash
    def work(self, number: int, outcome: str, batch: Batch, links: Links) -> None:
        self.world.work(self.pick(self.world.working, number), outcome, self.wishes(batch), self.graph(links))

    @precondition(lambda self: self.world.unbegun)
    @rule(number=picks, told=st.booleans())
    @may_crash
    def begin_work(self, number: int, told: bool) -> None:
        self.world.begin(self.pick(self.world.unbegun, number), told)

    @precondition(lambda self: self.world.group)
    @rule()
    @may_crash
    def commit(self) -> None:
        self.world.commit()

    @precondition(lambda self: not self.world.idle)
    @rule(turns=st.lists(st.tuples(outcomes, st.none() | batches), min_size=1, max_size=12))
    @may_crash
    def go_on(self, turns: list[tuple[str, Batch | None]]) -> None:
        for outcome, batch in turns:
            self.world.turn(outcome, None if batch is None else self.wishes(batch))
            self.world.check()

    @precondition(lambda self: not self.world.idle)
    @rule(bad=st.lists(numbers, max_size=2))
    @may_crash
    def go_on_to_the_end(self, bad: list[int]) -> None:
        self.world.drain({self.made[number].id for number in bad})
        self.world.check_end()

    @precondition(lambda self: self.world.working)
    @rule(numbers=st.lists(picks, min_size=1, max_size=3), begun=picks, outcome=ends)
    @may_crash
    def lose_a_worker(self, numbers: list[int], begun: int, outcome: str) -> None:
        ids = sorted({self.pick(self.world.working, number) for number in numbers})
        begun = max(begun % (len(ids) + 1), outcome == "timeout")
        self.world.lose(ids[:begun], ids[begun:], outcome)

    @precondition(lambda self: self.world.judging or self.world.walks)
    @rule()
    @may_crash
    def judge(self) -> None:
        if self.world.walks:
            self.world.walk()
        else:
            self.world.judge()

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    @may_crash
    def wait(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule(numbers=st.lists(numbers, min_size=1, max_size=2), cancel=st.booleans())
    @may_crash
    def a_person_wants(self, numbers: list[int], cancel: bool) -> None:
        ids = [self.made[number].id for number in numbers]
        if cancel:
            self.world.cancel(ids)
        else:
            self.world.retry(ids)

    @rule(numbers=st.lists(numbers, min_size=1, max_size=2))
    @may_crash
    def a_person_invalidates(self, numbers: list[int]) -> None:
        self.world.invalidate([self.made[number].id for number in numbers])

    @precondition(lambda self: self.world.idle)
    @rule()
    @may_crash
    def wind_up(self) -> None:
        self.world.wind_up()

    @rule(after=st.none() | st.integers(0, 12), torn=st.booleans())
    def crash(self, after: int | None, torn: bool) -> None:
        """Now, or within the commands to come."""
        if after is None:
            self.world.resume()
        else:
            self.world.crash_in, self.world.torn = after, torn

    @rule(batch=batches, links=edges, due=st.lists(numbers, max_size=3), source=st.booleans(), lost=st.booleans())
    @may_crash
    def another_night(self, batch: Batch, links: Links, due: list[int], source: bool, lost: bool) -> None:
        if source:
            self.world.store.outputs["source"] += b"0"
        if lost and due:
            self.world.store.outputs.pop(self.made[due[0]].outputs[0], None)
        self.world.start(self.wishes(batch), self.graph(links), {self.made[number].id for number in due})

    @invariant()
    def all_is_well(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.crash_in = None
            self.world.drain()
            self.world.check_end()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("RUNNER_TEST_EXAMPLES", "150")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
