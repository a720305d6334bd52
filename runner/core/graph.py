"""A forest of TopologicalSorters that grows by batches.

A prepared sorter cannot grow, so each batch of jobs gets a sorter of its own. A job of an earlier batch that this one
waits for appears in the new sorter as a node without predecessors, and is told `done()` in every sorter that holds it.
Only the sorters that a settled job touches are visited: a loop over all active ones is quadratic. A job that settles
without success is told `done()` as well: who is released finds out there what became of those it waited for. So no
sorter stays active for ever, and none needs cleaning up: one that nobody holds any more is garbage.

A sorter does not let a job be done before it has let it out. That happens to a job that is cancelled while it waits, or
that waits for others by now than this sorter was told; who waits for it here would wait for ever. So `settle` tells of
it, and whoever keeps the facts looks at those that come after the job. For the same reason a job may be released by an
old sorter while a newer one holds it back: to be released is to be looked at, and no more.

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
        self.visits = 0

    def plant(self, waits: Mapping[str, Collection[str]]) -> list[str]:
        """Add a batch, `{id: ids it waits for}`, and return those of it that wait for nothing.

        Raises CycleFound, with nothing changed, when the batch waits for itself.
        """
        released: list[str] = []
        if not any(waits.values()):
            return list(waits)  # nobody waits for anybody: who comes later brings a sorter along
        sorter = prepared(waits)
        for id in waits:
            self._hold(id, sorter)
        self.visits += 1
        for id in sorter.get_ready():
            if id in waits:
                released.append(id)
            else:
                self._hold(id, sorter)
        return released

    def settle(self, id: str) -> tuple[list[str], bool]:
        """The job is through, with or without success.

        Returns the jobs that wait for nothing any more, and whether a sorter had not let this one out yet, so that
        those behind it there will not be released.
        """
        held = self._holders.pop(id, None)
        if held is None:
            return [], False
        released: list[str] = []
        too_early = False
        for sorter in held if isinstance(held, list) else (held,):
            self.visits += 1
            try:
                sorter.done(id)
            except ValueError:
                too_early = True
            else:
                released += sorter.get_ready()
        return released, too_early

    def _hold(self, id: str, sorter: Sorter) -> None:
        held = self._holders.get(id)
        if held is None:
            self._holders[id] = sorter
        elif isinstance(held, list):
            held.append(sorter)
        else:
            self._holders[id] = [held, sorter]


def prepared(waits: Mapping[str, Collection[str]]) -> Sorter:
    """A sorter for these, ready to be used. Raises CycleFound."""
    sorter: Sorter = TopologicalSorter(waits)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = tuple(reversed(error.args[1]))  # each waits for the next
        raise CycleFound("a cycle, tasks that wait for each other: " + " -> ".join(cycle), cycle) from None
    return sorter
