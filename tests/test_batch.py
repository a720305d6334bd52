import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import batch
from runner.batch import (
    limits_of,
    propose,
)
from runner.core.model import Limit, Need, Proposal
from runner.errors import Conflict, CycleFound, GrowthLimit
from runner.task import Hint, Input, Output, Task, encode, job_id

ROOT = "/project"
HERE = __name__


@dataclass
class Fetch(Task):
    url: str
    output: Output
    lastmod: Hint[str | None] = None
    priority = 3


@dataclass
class Parse(Task):
    source: Input
    output: Output
    style: str = ""
    trigger_rule = "all_done"


@dataclass
class Merge(Task):
    sources: list[Input]
    output: Output
    extra: Input | None = None
    more: list[Output] = field(default_factory=list)


@dataclass
class Waiter(Task):
    """Waits for what it is given; `after` is no parameter of the job."""

    name: str

    def upstream_tasks(self) -> Any:
        return UPSTREAM.get(self.name, ())


UPSTREAM: dict[str, Any] = {}


@dataclass
class Limited(Task):
    name: str

    def limits(self) -> Any:
        return LIMITS[self.name]


LIMITS: dict[str, Any] = {}


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    yield
    UPSTREAM.clear()
    LIMITS.clear()


def page(number: int) -> Fetch:
    return Fetch(f"https://example.org/{number}", Path(f"raw/{number}.html"))


def ids(proposals: list[Proposal]) -> list[str]:
    return [proposal.id for proposal in proposals]


def id_of(task: Task) -> str:
    return job_id(task, ROOT)


# ----------------------------------------------------------------------------------------------------- propose


def test_one_task_becomes_one_proposal() -> None:
    task = Fetch("u", Path("/project/raw/a.html"), "2026")
    (proposal,) = propose(task, root=ROOT, finder="F-0", depth=2, submitted=True)
    assert proposal.id == id_of(task)
    assert proposal.task == f"{HERE}:Fetch"
    assert proposal.params == {"url": "u", "output": "raw/a.html", "lastmod": "2026"}
    assert proposal.outputs == ("raw/a.html",)
    assert (proposal.after, proposal.inputs, proposal.limits) == ((), (), {})
    assert (proposal.priority, proposal.all_done, proposal.depth, proposal.submitted) == (3, False, 2, True)
    assert (proposal.found_by, proposal.staged) == ("F-0", None)
    assert propose(Parse(Path("a"), Path("b")), root=ROOT)[0].all_done


@pytest.mark.parametrize("found", [None, [], (), {}, iter(())])
def test_nothing_found_is_nothing_proposed(found: Any) -> None:
    assert propose(found, root=ROOT) == []


def test_a_generator_will_do() -> None:
    assert ids(propose((page(number) for number in range(3)), root=ROOT)) == [id_of(page(n)) for n in range(3)]


def test_paths_are_the_dependencies(tmp_path: Path) -> None:
    (tmp_path / "there.txt").write_text("x", encoding="utf-8")
    merge = Merge([Path("raw/1.html"), Path("there.txt"), Path("gone.txt"), Path("raw/1.html")], Path("m"), Path("e"))
    fetch = page(1)
    merged, fetched = reversed(propose([merge, fetch], root=tmp_path))
    assert fetched.id == id_of(fetch)
    assert merged.after == (fetched.id,)
    assert merged.inputs == (Need("there.txt", True), Need("gone.txt"), Need("e", False, True))
    outside = Parse(tmp_path.parent / "nowhere", Path("o"))
    assert propose(outside, root=tmp_path)[0].inputs == (Need(str(tmp_path.parent / "nowhere")),)


def test_the_root_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("x", encoding="utf-8")
    (proposal,) = propose(Parse(tmp_path / "a", Path("b")), root=".")
    assert proposal.inputs == (Need("a", True),)


def test_a_graph_as_graphlib_takes_it() -> None:
    one, two, three = (Waiter(name) for name in ("one", "two", "three"))
    graph: Mapping[Task, Iterable[Task]] = {three: {one, two}, two: [one]}
    proposals = propose(graph, root=ROOT)
    assert ids(proposals) == [id_of(task) for task in (one, two, three)]
    assert set(proposals[2].after) == {id_of(one), id_of(two)}
    assert [id_of(task) for task in TopologicalSorter(graph).static_order()] == ids(proposals)


def test_upstream_tasks_come_along_and_theirs_too() -> None:
    UPSTREAM.update(a=[Waiter("b")], b=(Waiter(name) for name in ("c", "d")), c=None)
    proposals = propose([Waiter("a")], root=ROOT, finder="F-0", depth=4)
    assert {proposal.params["name"]: [other[-4:] for other in proposal.after] for proposal in proposals} == {
        "d": [],
        "c": [],
        "b": [id_of(Waiter("c"))[-4:], id_of(Waiter("d"))[-4:]],
        "a": [id_of(Waiter("b"))[-4:]],
    }
    assert {(proposal.found_by, proposal.depth) for proposal in proposals} == {("F-0", 4)}


def test_cycles_among_several_are_left_to_the_rule_book() -> None:
    UPSTREAM.update(a=[Waiter("b")], b=[Waiter("a")])
    one, two = propose([Waiter("a"), page(1), Waiter("b")], root=ROOT)[1:]
    assert one.after == (two.id,)
    assert two.after == (one.id,)


def test_a_task_that_waits_for_itself() -> None:
    UPSTREAM.update(a=[Waiter("a")])
    with pytest.raises(CycleFound, match=r"Waiter-\w+ waits for itself: so says upstream_tasks\(\) of Waiter"):
        propose(Waiter("a"), root=ROOT)
    with pytest.raises(CycleFound, match=r"waits for itself: so says the graph \(found by F-0\)"):
        propose({page(1): [page(1)]}, root=ROOT, finder="F-0")
    with pytest.raises(CycleFound, match=r"Parse-\w+ reads a, which it makes itself"):
        propose(Parse(Path("a"), Path("/project/a")), root=ROOT)


def test_the_same_job_twice_the_last_hints_win_and_edges_add_up() -> None:
    one, two = Fetch("u", Path("a"), "old"), Fetch("u", Path("x/../a"), "new")
    (proposal,) = propose([one, two], root=ROOT)
    assert proposal.params["lastmod"] == "new"
    graph = {one: [page(1)], two: [page(2), page(1)]}
    proposals = propose(graph, root=ROOT)
    assert proposals[-1].after == (id_of(page(1)), id_of(page(2)))
    assert proposals[-1].params["lastmod"] == "new"


def test_a_task_that_is_only_waited_for_takes_no_hints_away() -> None:
    given_ = Fetch("u", Path("a"), "hint")
    UPSTREAM.update(w=[Fetch("u", Path("a"))])
    for found in ([given_, Waiter("w")], [Waiter("w"), given_]):
        (hint,) = (p.params["lastmod"] for p in propose(found, root=ROOT) if p.id == id_of(given_))
        assert hint == "hint"
    for graph in ({given_: (), page(1): [Fetch("u", Path("a"))]}, {page(1): [Fetch("u", Path("a"))], given_: ()}):
        (hint,) = (p.params["lastmod"] for p in propose(graph, root=ROOT) if p.id == id_of(given_))
        assert hint == "hint"


def test_one_job_with_two_sets_of_parameters() -> None:
    with pytest.raises(Conflict) as caught:
        propose([Parse(Path("a"), Path("o"), "x"), Parse(Path("a"), Path("o"), "y")], root=ROOT, finder="F-0")
    text = str(caught.value)
    assert "Parse-" in text
    assert "Parse.style is 'x' (str) and 'y' (str)" in text
    assert "found by F-0" in text


def test_two_jobs_with_one_output() -> None:
    for other in (Parse(Path("a"), Path("raw/1.html")), Merge([], Path("m"), more=[Path("/project/raw/1.html")])):
        with pytest.raises(Conflict) as caught:
            propose([page(1), other], root=ROOT, finder="F-0")
        assert str(caught.value) == f"{id_of(page(1))} and {id_of(other)} both make raw/1.html (found by F-0)"


def test_one_job_that_names_an_output_twice() -> None:
    with pytest.raises(Conflict, match=r"Merge-\w+ names its output m twice"):
        propose(Merge([], Path("m"), more=[Path("m")]), root=ROOT)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ("abc", r"expected an iterable of tasks, found 'abc' \(str\)"),
        (5, "expected an iterable of tasks"),
        (["abc"], r"expected a task, found 'abc' \(str\)"),
        ([Fetch], r"expected a task, found .*: write Fetch\(...\), not the class itself"),
        (Fetch, r"write Fetch\(...\), not the class itself"),
        ([[page(1)]], "expected a task, found "),
        ({page(1): page(2)}, r"iterable of tasks before Fetch-\w+ in the graph, found Fetch"),
        ({"a": []}, "expected a task, found 'a'"),
        ([Fetch(5, Path("a"))], r"test_batch:Fetch\.url: expected a str, found 5"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_task_is_a_type_error(found: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        propose(found, root=ROOT)


def test_a_task_that_no_worker_could_import() -> None:
    @dataclass
    class Local(Task):
        pass

    with pytest.raises(TypeError, match=r"Local is defined inside a function"):
        propose(Local(), root=ROOT)


def test_errors_of_the_users_code_pass_with_a_note() -> None:
    def broken() -> Iterator[Task]:
        yield Waiter("x")
        raise KeyError("mine")

    UPSTREAM.update(a=broken())
    with pytest.raises(KeyError, match="mine") as caught:
        propose(Waiter("a"), root=ROOT)
    assert caught.value.__notes__ == [f"in upstream_tasks() of {id_of(Waiter('a'))}"]
    with pytest.raises(KeyError):
        propose(broken(), root=ROOT)


def test_growth_is_limited() -> None:
    assert len(propose((page(n) for n in range(10)), root=ROOT, most=10)) == 10
    with pytest.raises(GrowthLimit, match=r"more than 10 tasks in one batch \(found by F-0\)"):
        propose((page(n) for n in range(11)), root=ROOT, most=10, finder="F-0")
    with pytest.raises(GrowthLimit):
        propose(iter(lambda: page(1), None), root=ROOT, most=10)
    UPSTREAM.update(a=iter(lambda: page(1), None))
    with pytest.raises(GrowthLimit):
        propose(Waiter("a"), root=ROOT, most=10)


@dataclass
class Endless(Task):
    number: int

    def upstream_tasks(self) -> Iterable[Task]:
        return [Endless(self.number + 1)]


def test_endless_upstream_tasks_are_named_with_their_chain() -> None:
    with pytest.raises(GrowthLimit, match=r"deeper than 20: Endless-\w+ < Endless-\w+ < Endless-\w+ < .* < \.\.\."):
        propose(Endless(0), root=ROOT, deepest=20)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ((), {}),
        (["host:a", "host:b"], {"host:a": Limit(), "host:b": Limit()}),
        ("host:a", {"host:a": Limit()}),
        ({"a"}, {"a": Limit()}),
        ({"a": 2}, {"a": Limit(2)}),
        ({"a": (2, 5)}, {"a": Limit(2, 5.0)}),
        ({"a": (None, 0.5), "b": None}, {"a": Limit(None, 0.5), "b": Limit()}),
    ],
)
def test_limits(given_: Any, expected: dict[str, Limit]) -> None:
    LIMITS["x"] = given_
    assert limits_of(Limited("x")) == expected
    assert propose(Limited("x"), root=ROOT)[0].limits == expected


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        (5, "expected keys, or a dict of them, found 5"),
        (None, "expected keys, or a dict of them, found None"),
        ([5], "expected keys such as 'host:example.org', found 5"),
        ([""], "expected keys such as"),
        ({5: 1}, "expected keys such as"),
        ({"a": 0}, r"'a' allows 0 \(int\); expected jobs at once"),
        ({"a": "2"}, "expected jobs at once"),
        ({"a": True}, "expected jobs at once"),
        ({"a": (1, 2, 3)}, "expected jobs at once"),
        ({"a": (1, 0)}, r"'a' allows 0 \(int\) starts per second"),
        ({"a": (1, float("inf"))}, "starts per second"),
        ({"a": (1, "x")}, "starts per second"),
    ],
)
def test_bad_limits_are_type_errors(given_: Any, message: str) -> None:
    LIMITS["x"] = given_
    with pytest.raises(TypeError, match=rf"limits\(\) of {HERE}:Limited: .*{message}"):
        propose(Limited("x"), root=ROOT)


def test_errors_in_limits_pass_with_a_note() -> None:
    with pytest.raises(KeyError) as caught:
        propose(Limited("x"), root=ROOT)
    assert caught.value.__notes__ == [f"in limits() of {HERE}:Limited"]


Edges = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda edge: edge[0] > edge[1]))


@given(Edges, Edges, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_acyclic_batch_comes_in_topological_order(
    by_path: set[tuple[int, int]], by_graph: set[tuple[int, int]], chance: random.Random
) -> None:
    tasks = {n: Merge([Path(f"f{b}") for a, b in by_path if a == n], Path(f"f{n}")) for n in range(12)}
    order = list(tasks)
    chance.shuffle(order)
    proposals = propose({tasks[n]: {tasks[b] for a, b in by_graph if a == n} for n in order}, root=ROOT)
    seen: set[str] = set()
    for proposal in proposals:
        assert seen.issuperset(proposal.after)
        assert len(set(proposal.after)) == len(proposal.after)
        seen.add(proposal.id)
    edges = {(proposal.id, other) for proposal in proposals for other in proposal.after}
    assert edges == {(id_of(tasks[a]), id_of(tasks[b])) for a, b in by_path | by_graph}
    assert len(proposals) == 12


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda edge: edge[0] != edge[1])))
@settings(deadline=None)
def test_with_cycles_nothing_is_lost(edges: set[tuple[int, int]]) -> None:
    tasks = [Merge([Path(f"f{b}") for a, b in edges if a == n], Path(f"f{n}")) for n in range(6)]
    proposals = propose(tasks, root=ROOT)
    assert sorted(ids(proposals)) == sorted(map(id_of, tasks))


def test_the_work_grows_in_step_with_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"encode": 0, "exists": 0}

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            calls[name] += 1
            return function(*arguments)

        return call

    monkeypatch.setattr(batch, "encode", counted("encode", encode))
    monkeypatch.setattr(os.path, "exists", counted("exists", os.path.exists))
    for size in (100, 1000):
        calls.update(encode=0, exists=0)
        tasks = [Parse(Path("same"), Path(f"p{n}")) for n in range(size)]
        merge = Merge([task.output for task in tasks], Path("m"))
        assert len(propose([merge, *tasks], root=ROOT)) == size + 1
        assert calls == {"encode": size + 1, "exists": 1}
