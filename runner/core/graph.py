"""A forest of TopologicalSorters that grows by batches.

A prepared sorter cannot grow, so each batch of jobs gets a sorter of its own. A job of an earlier batch that this one
waits for appears in the new sorter as a node without predecessors, and is told `done()` in every sorter that holds it.
Only the sorters that a settled job touches are visited: a loop over all active ones is quadratic. A job that settles
without success is told `done()` as well: who is released finds out there what became of those it waited for. So no
sorter stays active for ever, and none needs cleaning up: one that nobody holds any more is garbage. A job that is
planted again, before it was released or after, is released by its newest sorter alone: what it waits for now is what
counts, and waiting for what it waited for before might even be a cycle.

The forest knows ids and edges, not statuses; it must not decide anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

from runner.errors import CycleFound

Sorter = TopologicalSorter[str]


class Forest:
    """Many sorters alive at once. `visits` counts the calls into sorters, for the growth tests."""

    def __init__(self) -> None:
        self._holders: dict[str, Sorter | list[Sorter]] = {}
        self._newest: dict[str, Sorter] = {}  # for those that were planted more than once
        self._early: dict[str, list[Sorter]] = {}
        self.visits = 0

    def plant(self, waits: Mapping[str, Collection[str]]) -> list[str]:
        """Add a batch, `{id: ids it waits for}`, and return those of it that wait for nothing.

        Raises CycleFound, with nothing changed, when the batch waits for itself.
        """
        sorter = prepared(waits)
        holders = self._holders
        for id in waits:
            if id in holders:
                self._hold(id, sorter)
                self._newest[id] = sorter
            else:
                holders[id] = sorter
        self.visits += 1
        released: list[str] = []
        for id in sorter.get_ready():
            if id in waits:
                released.append(id)
            else:
                self._hold(id, sorter)
        return released

    def settle(self, id: str) -> list[str]:
        """The job is through, with or without success. Returns the jobs that wait for nothing any more."""
        held = self._holders.pop(id, None)
        if held is None:
            return []
        self._newest.pop(id, None)
        released: list[str] = []
        for sorter in held if isinstance(held, list) else (held,):
            self._done(sorter, id, released)
        return released

    def _hold(self, id: str, sorter: Sorter) -> None:
        held = self._holders.get(id)
        if held is None:
            self._holders[id] = sorter
        elif isinstance(held, list):
            held.append(sorter)
        else:
            self._holders[id] = [held, sorter]

    def _done(self, sorter: Sorter, id: str, released: list[str]) -> None:
        finished = [id]
        while finished:
            id = finished.pop()
            self.visits += 1
            try:
                sorter.done(id)
            except ValueError:  # settled (cancelled, say) before this sorter let it out: remember to tell it then
                self._early.setdefault(id, []).append(sorter)
                continue
            for node in sorter.get_ready():
                early = self._early.get(node)
                if early is not None and sorter in early:
                    early.remove(sorter)
                    if not early:
                        del self._early[node]
                    finished.append(node)
                elif self._newest.get(node, sorter) is sorter:
                    released.append(node)


def prepared(waits: Mapping[str, Collection[str]]) -> Sorter:
    """A sorter for these, ready to be used. Raises CycleFound."""
    sorter: Sorter = TopologicalSorter(waits)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = tuple(reversed(error.args[1]))  # each waits for the next
        raise CycleFound("a cycle, tasks that wait for each other: " + " -> ".join(cycle), cycle) from None
    return sorter
