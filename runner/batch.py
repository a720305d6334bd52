"""From tasks to proposals: a batch of tasks as the rule book takes it. And from names to tasks (`target.py`).

`propose` turns what a flow or `downstream_tasks()` gave into Proposals: parameters as JSON, ids, what waits for what
within the batch, which Inputs others must make. It refuses what cannot be admitted as one batch. It asks tasks for
`upstream_tasks()` and `limits()`, runs none, and reads nothing from disk but whether an Input exists. Cycles among
several tasks are left to the rule book, which has to look for them anyway.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

from runner.core.model import Json, Limit, Need, Proposal
from runner.errors import Conflict, CycleFound, GrowthLimit
from runner.scalars import shown
from runner.target import (
    ClassGone,
    FlowFailed,
    Found,
    ModuleBroken,
    ModuleGone,
    check_target,
    load_class,
    load_target,
)
from runner.task import Task, TaskType, describe, encode, fingerprint, identify, paths_in

__all__ = [
    "ClassGone",
    "FlowFailed",
    "Found",
    "ModuleBroken",
    "ModuleGone",
    "check_target",
    "limits_of",
    "load_class",
    "load_target",
    "propose",
]

MOST_CHILDREN = 1_000_000
MOST_ROOTS = 10_000_000
DEEPEST = 1_000
REPEATS = 16  # a generator that yields one task for ever must end too


def propose(
    found: Found | None,
    *,
    root: Path | str,
    finder: str | None = None,
    depth: int = 0,
    submitted: bool = False,
    most: int | None = None,
    deepest: int = DEEPEST,
) -> list[Proposal]:
    """Proposals for `found` and all its upstream_tasks(), in topological order (if there is one).

    `root` is the project's folder, `finder` the job that found them. Raises TypeError for what is no task or cannot be
    a job; Conflict, CycleFound (a task and itself); GrowthLimit for more than `most` tasks (one million found by a job,
    ten million otherwise) or `upstream_tasks()` nested deeper than `deepest`. Errors of the user's own code pass.
    """
    limit = most if most is not None else MOST_ROOTS if finder is None else MOST_CHILDREN
    batch = Batch(os.path.abspath(root), finder, limit, deepest)
    batch.take(found)
    batch.ask_upstream()
    return in_order(batch.proposals(depth, submitted))


class Node:
    """A task in the making of a batch."""

    __slots__ = ("after", "depth", "fingerprint", "id", "named", "named_by", "params", "task", "type")

    def __init__(self, id_: str, type_: TaskType, print_: str) -> None:
        self.id = id_
        self.type = type_
        self.fingerprint = print_
        self.task: Task | None = None  # only where it will be asked something
        self.params: dict[str, Json]
        self.after: list[str] | None = None
        self.named = False  # given itself, not just as somebody's upstream task
        self.named_by: Node | None = None
        self.depth = 0  # how many upstream_tasks() it took to get here


class Batch:
    """What `propose` knows so far."""

    def __init__(self, root: str, finder: str | None, most: int, deepest: int) -> None:
        self.root = root
        self.finder = finder
        self.most = most
        self.deepest = deepest
        self.nodes: dict[str, Node] = {}
        self.seen = 0

    def take(self, found: Found | None) -> None:
        """Everything that a flow or downstream_tasks() gave."""
        if isinstance(found, Mapping):
            graph = list(found.items())  # a Mapping may make its keys anew each time
            nodes = {id(task): self.add(task, named=True) for task, _ in graph}
            for task, upstream in graph:
                node = nodes[id(task)]
                for other in each_of(upstream, f" before {node.id} in the graph"):
                    before = nodes.get(id(other)) or self.add(other, named=False)
                    self.follow(node, before, "the graph")
        elif isinstance(found, Task):
            self.add(found, named=True)
        else:
            for task in each_of(found):
                self.add(task, named=True)

    def add(self, task: Any, *, named: bool) -> Node:
        """The node of a task. If it is there already: the last one's Hints win, but one that is only named as
        somebody's upstream task, where nobody bothers about Hints, never beats one that was given itself."""
        self.seen += 1
        if self.seen > self.most * REPEATS:
            self.too_many()
        if not isinstance(task, Task):
            raise TypeError(f"expected a task, found {shown(task)}{self.found_by()}{hint_for(task)}")
        type_ = describe(type(task))
        params = encode(task, self.root)
        id_ = identify(type_, params)
        print_ = fingerprint(type_, params) if type_.outputs else id_[-16:]
        node = self.nodes.get(id_)
        if node is None:
            if len(self.nodes) >= self.most:
                self.too_many()
            if "<locals>" in type_.name:
                raise TypeError(f"{type_.name} is defined inside a function, where no worker can import it")
            node = self.nodes[id_] = Node(id_, type_, print_)
        elif node.fingerprint != print_ or node.type is not type_:
            raise Conflict(self.two_wishes(node, type_, params))
        elif node.named and not named:
            return node
        if type_.has_upstream or type_.limited:
            node.task = task
        node.params = params
        node.named = named
        return node

    def too_many(self) -> NoReturn:
        raise GrowthLimit(f"more than {self.most:,} tasks in one batch{self.found_by()}: most likely it never ends")

    def follow(self, node: Node, upstream: Node, says: str) -> None:
        if node is upstream:
            raise CycleFound(f"{node.id} waits for itself: so says {says}{self.found_by()}")
        if node.after is None:
            node.after = []
        node.after.append(upstream.id)

    def ask_upstream(self) -> None:
        """upstream_tasks() of every task, and of those it names, until there are no new ones."""
        waiting = [node for node in self.nodes.values() if node.type.has_upstream]
        for node in waiting:  # it grows
            says = f"upstream_tasks() of {node.id}"
            with noted(says):
                assert node.task is not None
                named = list(islice(each_of(node.task.upstream_tasks(), f" from {says}"), self.most + 1))
            if len(named) > self.most:
                self.too_many()
            for task in named:
                known = len(self.nodes)
                upstream = self.add(task, named=False)
                self.follow(node, upstream, says)
                if len(self.nodes) == known:
                    continue
                upstream.named_by = node
                upstream.depth = node.depth + 1
                if upstream.depth > self.deepest:
                    raise GrowthLimit(f"upstream_tasks() go deeper than {self.deepest:,}: {chain(upstream)}")
                if upstream.type.has_upstream:
                    waiting.append(upstream)

    def makers(self) -> dict[str, str]:
        """Output path -> id. Raises Conflict."""
        makers: dict[str, str] = {}
        for node in self.nodes.values():
            for path in outputs_of(node.type, node.params):
                if path in makers:
                    both = f"{makers[path]} and {node.id} both make {path}{self.found_by()}"
                    twice = f"{node.id} names its output {path} twice{self.found_by()}"
                    raise Conflict(twice if makers[path] == node.id else both)
                makers[path] = node.id
        return makers

    def proposals(self, depth: int, submitted: bool) -> list[Proposal]:
        makers = self.makers()
        exists: dict[str, bool] = {}
        proposals = []
        nodes, self.nodes = self.nodes, {}
        for id_ in list(nodes):
            node = nodes.pop(id_)  # a million of them and of proposals need not be there at once
            type_, params = node.type, node.params
            after: list[str] = []
            needs: list[Need] = []
            for field in type_.inputs:
                for path in paths_in(params[field.name]):
                    maker = makers.get(path)
                    if maker is None:
                        if path not in exists:
                            exists[path] = os.path.exists(os.path.join(self.root, path))
                        needs.append(Need(path, exists[path], field.optional and not field.many))
                    elif maker == node.id:
                        raise CycleFound(f"{node.id} reads {path}, which it makes itself{self.found_by()}")
                    else:
                        after.append(maker)
            after += node.after or ()
            proposals.append(
                Proposal(
                    id=node.id,
                    task=type_.name,
                    params=params,
                    fingerprint=node.fingerprint,
                    after=tuple(dict.fromkeys(after)) if after else (),
                    inputs=tuple(dict.fromkeys(needs)) if needs else (),
                    outputs=outputs_of(type_, params),
                    limits=limits_of(node.task) if node.task is not None and type_.limited else {},
                    priority=type_.priority,
                    all_done=type_.all_done,
                    finds=type_.asks,
                    found_by=self.finder,
                    submitted=submitted,
                    depth=depth,
                )
            )
        return proposals

    def found_by(self) -> str:
        return f" (found by {self.finder})" if self.finder else ""

    def two_wishes(self, node: Node, type_: TaskType, params: dict[str, Json]) -> str:
        if node.type is not type_:
            return f"{node.type.name} and {type_.name} are both {node.id}, in one batch{self.found_by()}"
        name = next(name for name, value in params.items() if name not in type_.hints and value != node.params[name])
        return (
            f"{node.id}{made_by(type_, params)} is there twice in one batch{self.found_by()}, "
            f"with different parameters: "
            f"{type_.name}.{name} is {shown(node.params[name])} and {shown(params[name])}"
        )


def outputs_of(type_: TaskType, params: Mapping[str, Json]) -> tuple[str, ...]:
    """The paths that a task makes."""
    if len(type_.outputs) == 1:
        value = params[type_.outputs[0].name]
        return (value,) if type(value) is str else tuple(value or ())
    return tuple(path for field in type_.outputs for path in paths_in(params[field.name]))


def made_by(type_: TaskType, params: Mapping[str, Json]) -> str:
    """What a job makes, for messages."""
    paths = [path for field in type_.outputs for path in paths_in(params.get(field.name))]
    return f" (which makes {paths[0]})" if paths else ""


def each_of(found: Any, where: str = "") -> Iterator[Any]:
    """The items of an iterable of tasks. None, which is what a function without `return` gives, has none."""
    if found is None:
        return iter(())
    if isinstance(found, (str, bytes, Task)) or not isinstance(found, Iterable):
        raise TypeError(f"expected an iterable of tasks{where}, found {shown(found)}{hint_for(found)}")
    return iter(found)


def hint_for(found: Any) -> str:
    if isinstance(found, type) and issubclass(found, Task):
        return f": write {found.__qualname__}(...), not the class itself"
    return ""


@contextmanager
def noted(note: str) -> Iterator[None]:
    """Errors of the user's code pass, with a note of where they come from."""
    try:
        yield
    except Exception as error:
        error.add_note(f"in {note}")
        raise


def chain(node: Node) -> str:
    """Who named whom, the last few of them."""
    names: list[str] = []
    step: Node | None = node
    while step is not None and len(names) < 4:
        names.append(step.id)
        step = step.named_by
    return " < ".join(names) + (" < ..." if step is not None else "")


def limits_of(task: Task) -> dict[str, Limit]:
    """What `limits()` of a task says. Raises TypeError, naming the class; errors of the user's own code pass."""
    name = f"limits() of {describe(type(task)).name}"
    given: Any
    with noted(name):
        given = task.limits()
    if isinstance(given, Mapping):
        return {checked_key(key, name): limit_from(key, value, name) for key, value in given.items()}
    if isinstance(given, str):  # one key; its letters are certainly not meant
        given = (given,)
    if not isinstance(given, Iterable):
        raise TypeError(f"{name}: expected keys, or a dict of them, found {shown(given)}")
    return {checked_key(key, name): Limit() for key in given}


def checked_key(key: Any, name: str) -> str:
    if type(key) is not str or not key:
        raise TypeError(f"{name}: expected keys such as 'host:example.org', found {shown(key)}")
    return key


def limit_from(key: str, value: Any, name: str) -> Limit:
    at_once, per_second = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, None)
    if at_once is not None and (type(at_once) is not int or at_once < 1):
        form = "jobs at once (an int >= 1) or (at once, starts per second)"
        raise TypeError(f"{name}: {key!r} allows {shown(value)}; expected {form}")
    if per_second is not None:
        fits = isinstance(per_second, (int, float)) and not isinstance(per_second, bool)
        if not fits or not isfinite(per_second) or per_second <= 0:
            raise TypeError(f"{name}: {key!r} allows {shown(per_second)} starts per second; expected more than 0")
        per_second = float(per_second)
    return Limit(at_once, per_second)


def in_order(proposals: list[Proposal]) -> list[Proposal]:
    """Level by level: what waits for nothing, then what waits for these; otherwise, and in a cycle, as found.

    So a large batch, which enters part by part in this order, has work for all workers from its first part on, and a
    job most often enters when all it waits for is done.
    """
    waiting = {proposal.id: len(proposal.after) for proposal in proposals}
    ordered = [proposal for proposal in proposals if not proposal.after]
    if len(ordered) == len(proposals):
        return proposals
    readers: dict[str, list[Proposal]] = {}
    for proposal in proposals:
        for upstream in proposal.after:
            readers.setdefault(upstream, []).append(proposal)
    for proposal in ordered:  # it grows
        for reader in readers.get(proposal.id, ()):
            waiting[reader.id] -= 1
            if not waiting[reader.id]:
                ordered.append(reader)
    if len(ordered) < len(proposals):
        ordered += [proposal for proposal in proposals if waiting[proposal.id]]
    return ordered
