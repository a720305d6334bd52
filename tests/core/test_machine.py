"""The rule book against everything that can happen, in any order, with a crash between any two commands.

Small worlds, so that things meet: seven outputs, two classes that claim the same ones, a few sources and one path that
nobody makes. What must hold is in `world.py`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.core.model import Limit, Status
from tests.core.world import RETURNABLE, Crash, Kind, Wish, World

COUNT = 7
LIMITS = {"one": Limit(1), "two": Limit(2), "slow": Limit(None, 0.5)}

numbers = st.integers(0, COUNT - 1)
picks = st.integers(0, 999)


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
            limits={key: LIMITS[key] for key in draw(st.lists(st.sampled_from(sorted(LIMITS)), max_size=2, unique=True))},
            priority=draw(st.integers(0, 1)),
            all_done=draw(st.integers(0, 4)) == 0,
            finds=draw(st.booleans()),
        )
        made.append(first)
    heirs = [Kind(name="Heir", outputs=kind.outputs, inputs=kind.inputs[:1], finds=kind.finds) for kind in made[:3]]
    return made + heirs


batches = st.lists(st.tuples(st.integers(0, COUNT + 2), st.sampled_from([0, 0, 0, 0, 0, 1])), min_size=1, max_size=5)
edges = st.lists(st.tuples(st.integers(0, COUNT + 2), st.integers(0, COUNT + 2)), max_size=2)
outcomes = st.sampled_from(["same", "same", "same", "changed", "changed", "failed", "later", "hopeless", "absent"])

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
    """Random steps; the invariants after each; to the very end, at the end."""

    world: World

    @initialize(made=kinds(), first=batches, links=edges)
    def begin(self, made: list[Kind], first: list[tuple[int, int]], links: list[tuple[int, int]]) -> None:
        self.made = made
        self.world = World(made, ["source"])
        self.world.submit(self.wishes(first), self.graph(links))

    def wishes(self, batch: list[tuple[int, int]]) -> list[Wish]:
        return [Wish(self.made[number], variant) for number, variant in batch]

    def graph(self, links: list[tuple[int, int]]) -> dict[str, list[str]]:
        graph: dict[str, list[str]] = {}
        for one, other in links:
            graph.setdefault(self.made[max(one, other)].id, []).append(self.made[min(one, other)].id)
        return graph

    def pick(self, ids: list[str], number: int) -> str:
        return sorted(ids)[number % len(ids)]

    @rule(batch=batches, links=edges)
    @may_crash
    def submit(self, batch: list[tuple[int, int]], links: list[tuple[int, int]]) -> None:
        self.world.submit(self.wishes(batch), self.graph(links))

    @rule(batch=batches, links=edges)
    @may_crash
    def hand_in(self, batch: list[tuple[int, int]], links: list[tuple[int, int]]) -> None:
        self.world.hand_in(list(self.wishes(batch)), self.graph(links))

    @precondition(lambda self: any(self.world.store.folders[status] for status in RETURNABLE))
    @rule(numbers=st.lists(picks, min_size=1, max_size=3))
    @may_crash
    def move_back_into_the_inbox(self, numbers: list[int]) -> None:
        ids = [id for status in RETURNABLE for id in self.world.store.folders[status]]
        files = self.world.take_out({self.pick(ids, number) for number in numbers})
        self.world.hand_in(list(files))

    @rule(free=st.integers(1, 4))
    @may_crash
    def fill(self, free: int) -> None:
        self.world.slots(free)

    @precondition(lambda self: self.world.working)
    @rule(number=picks, outcome=outcomes, batch=batches, links=edges, at_once=st.booleans())
    @may_crash
    def work(
        self,
        number: int,
        outcome: str,
        batch: list[tuple[int, int]],
        links: list[tuple[int, int]],
        at_once: bool,
    ) -> None:
        id = self.pick(list(self.world.working), number)
        self.world.work(id, outcome, self.wishes(batch), self.graph(links))
        if at_once:
            self.world.commit()

    @precondition(lambda self: self.world.group)
    @rule()
    @may_crash
    def commit(self) -> None:
        self.world.commit()

    @precondition(lambda self: self.world.working)
    @rule(numbers=st.lists(picks, min_size=1, max_size=3), begun=picks, outcome=st.sampled_from(["died", "timeout", "interrupted"]))
    @may_crash
    def lose_a_worker(self, numbers: list[int], begun: int, outcome: str) -> None:
        ids = sorted({self.pick(list(self.world.working), number) for number in numbers})
        cut = len(ids) - begun % (len(ids) + 1) if outcome != "timeout" else max(1, begun % (len(ids) + 1))
        self.world.lose(ids[:cut], ids[cut:], outcome)

    @precondition(lambda self: self.world.judging)
    @rule()
    @may_crash
    def judge(self) -> None:
        self.world.judge()

    @precondition(lambda self: self.world.walks)
    @rule()
    @may_crash
    def walk(self) -> None:
        self.world.walk()

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0]))
    @may_crash
    def wait(self, seconds: float) -> None:
        self.world.tick(seconds)

    @rule(numbers=st.lists(st.integers(0, COUNT + 2), min_size=1, max_size=2))
    @may_crash
    def cancel(self, numbers: list[int]) -> None:
        self.world.cancel(self.made[number].id for number in numbers)

    @rule(number=numbers)
    @may_crash
    def retry(self, number: int) -> None:
        self.world.retry([self.made[number].id])

    @rule(after=st.integers(0, 8))
    def arm_a_crash(self, after: int) -> None:
        self.world.crash_in = after

    @rule()
    def crash_and_resume(self) -> None:
        self.world.resume()

    @rule(batch=batches, links=edges, due=st.lists(numbers, max_size=3), source=st.booleans(), lost=st.booleans())
    @may_crash
    def another_night(
        self, batch: list[tuple[int, int]], links: list[tuple[int, int]], due: list[int], source: bool, lost: bool
    ) -> None:
        if source:
            self.world.store.outputs["source"] += b"0"
        if lost and due:
            self.world.store.outputs.pop(f"o{due[0]}", None)
        self.world.start(self.wishes(batch), self.graph(links), {self.made[number].id for number in due})

    @precondition(lambda self: not self.world.engine.finished)
    @rule(bad=st.lists(numbers, max_size=2))
    @may_crash
    def work_to_the_end(self, bad: list[int]) -> None:
        self.world.drain({self.made[number].id for number in bad})
        self.world.check_end()

    @invariant()
    def all_is_well(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.crash_in = None
            self.world.drain()
        finally:
            self.world.check()
        self.world.check_end()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=int(os.environ.get("RUNNER_TEST_EXAMPLES", "150")),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
