"""Ready jobs by priority and limits: who may start now, and when next.

Jobs with the same limit keys share a lane; within a lane the higher priority goes first, then who came first. A lane
that meets a full gate is parked at that gate and costs nothing until a place is free; one that meets a rate waits in a
heap of times. Nothing here knows what a job is, and the time is passed in.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from itertools import count

from runner.core.model import Limit

Override = tuple[str, Limit]
"""A pattern of keys (as in `--limit host:*=2`) and what it sets; a None in it leaves the task's own bound."""


def effective(overrides: Sequence[Override], key: str, limit: Limit) -> Limit:
    """What holds for a key of which a task says `limit`."""
    for pattern, override in overrides:
        if fnmatchcase(key, pattern):
            limit = Limit(
                limit.at_once if override.at_once is None else override.at_once,
                limit.per_second if override.per_second is None else override.per_second,
            )
    return limit


class _Place(Enum):
    EMPTY = "no job in it"
    OPEN = "in the open heap"
    PARKED = "at a full gate"
    TIMED = "in the heap of times"


class _Gate:
    """One limit key: how many run under it, and when the next may start."""

    __slots__ = ("limit", "next_start", "parked", "running")

    def __init__(self) -> None:
        self.limit = Limit()
        self.running = 0
        self.next_start = 0.0
        self.parked: deque[_Lane] = deque()

    @property
    def full(self) -> bool:
        return self.limit.at_once is not None and self.running >= self.limit.at_once


class _Lane:
    """The ready jobs that share one set of limit keys. It stands in one place at a time."""

    __slots__ = ("gates", "heap", "place")

    def __init__(self, gates: tuple[_Gate, ...]) -> None:
        self.gates = gates
        self.heap: list[tuple[int, int, str]] = []
        self.place = _Place.EMPTY


class ReadyQueue:
    """`push` what is ready, `pop` what may start, `release` what is through."""

    def __init__(self, overrides: Sequence[Override] = ()) -> None:
        self._overrides = overrides
        self._gates: dict[str, _Gate] = {}
        self._lanes: dict[tuple[str, ...], _Lane] = {}
        self._open: list[tuple[int, int, _Lane]] = []
        self._timed: list[tuple[float, int, _Lane]] = []
        self._serial = count()
        self._current: dict[str, int] = {}  # id -> serial of its valid entry

    def __len__(self) -> int:
        return len(self._current)

    def push(self, id: str, priority: int, limits: Mapping[str, Limit]) -> None:
        """Add a ready job. A higher `priority` starts first."""
        lane = self._lane(limits)
        serial = next(self._serial)
        entry = (-priority, serial, id)
        heapq.heappush(lane.heap, entry)
        self._current[id] = serial
        if lane.place is _Place.EMPTY or (lane.place is _Place.OPEN and lane.heap[0] is entry):
            self._enter(lane)

    def pop(self, now: float) -> str | None:
        """The next job that may start at `now`, its limits taken; None if there is none."""
        while self._timed and self._timed[0][0] <= now:
            self._enter(heapq.heappop(self._timed)[2])
        while self._open:
            priority, serial, lane = heapq.heappop(self._open)
            if lane.place is not _Place.OPEN or lane.heap[0][0] != priority or lane.heap[0][1] != serial:
                continue  # a left-over entry: the lane has gone elsewhere, or has a better head with its own entry
            id = lane.heap[0][2]
            if self._current.get(id) != serial:  # withdrawn
                heapq.heappop(lane.heap)
                self._enter(lane)
                if not lane.heap:
                    self._pass_on(lane)
                continue
            if lane.gates and not self._admits(lane, now):
                continue
            heapq.heappop(lane.heap)
            del self._current[id]
            for gate in lane.gates:
                gate.running += 1
                if gate.limit.per_second:
                    gate.next_start = max(now, gate.next_start) + 1.0 / gate.limit.per_second
            self._enter(lane)
            return id
        return None

    def withdraw(self, id: str) -> None:
        """The job is not ready after all."""
        self._current.pop(id, None)

    def release(self, limits: Mapping[str, Limit]) -> None:
        """A job that was popped with these limits is through."""
        for key in limits:
            gate = self._gates[key]
            gate.running -= 1
            self._wake(gate)

    def next_start(self) -> float | None:
        """When a rate lets the next job start, if nothing else happens before."""
        return self._timed[0][0] if self._timed else None

    def _lane(self, limits: Mapping[str, Limit]) -> _Lane:
        keys = tuple(limits)
        lane = self._lanes.get(keys)
        if lane is None:
            gates = tuple(self._gates.setdefault(key, _Gate()) for key in keys)
            lane = self._lanes[keys] = _Lane(gates)
        for key, gate in zip(keys, lane.gates, strict=True):
            gate.limit = effective(self._overrides, key, limits[key])
        return lane

    def _enter(self, lane: _Lane) -> None:
        if lane.heap:
            lane.place = _Place.OPEN
            heapq.heappush(self._open, (lane.heap[0][0], lane.heap[0][1], lane))
        else:
            lane.place = _Place.EMPTY

    def _admits(self, lane: _Lane, now: float) -> bool:
        """Whether all gates of the lane are open; if not, the lane waits at the one that stopped it."""
        for gate in lane.gates:
            if gate.full:
                lane.place = _Place.PARKED
                gate.parked.append(lane)
                break
            if gate.limit.per_second and gate.next_start > now:
                lane.place = _Place.TIMED
                heapq.heappush(self._timed, (gate.next_start, next(self._serial), lane))
                break
        else:
            return True
        self._pass_on(lane)
        return False

    def _pass_on(self, lane: _Lane) -> None:
        """The place that the lane was woken for is not used: whoever is parked behind it may have it."""
        for gate in lane.gates:
            self._wake(gate)

    def _wake(self, gate: _Gate) -> None:
        if gate.parked and not gate.full:
            self._enter(gate.parked.popleft())
