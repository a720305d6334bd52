"""Ready jobs by priority and limits: who may start now, and when next.

Jobs with the same limits share a lane; within a lane the higher priority goes first, then who came first. Lanes whose
first jobs are of equal priority take turns: no host waits until another one is through. A lane that meets a closed gate
(one of its limit keys) is parked there, and costs nothing until the gate opens: when a place is free, or when the rate
allows the next start. A rate is about when jobs begin, and between the claim of a job and its beginning lies a worker:
so a gate with a rate stays closed until the one that was claimed is known to have begun, and counts from there. Where
limits of one key differ, the strictest holds as long as a job that has it is ready or running.

Nothing here knows what a job is, and the time is passed in.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from itertools import count
from math import inf

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
    PARKED = "at a closed gate"


class _Gate:
    """One limit key: how many run under it, and when the last of them began."""

    __slots__ = ("alarm", "at_once", "claimed", "given", "interval", "last", "parked", "running")

    def __init__(self, last: float) -> None:
        self.given: dict[Limit, int] = {}  # what holds by the lanes that have a job, and how many these are
        self.at_once = inf
        self.interval = 0.0  # seconds from one start to the next at the least; 0.0: no rate
        self.running = 0
        self.last = last  # when a job with this key began last
        self.claimed: str | None = None  # a job that is not known to have begun: until it is, nobody else may
        self.parked: list[tuple[int, int, _Lane]] = []  # a heap, of lanes by their first jobs; some have left it
        self.alarm = inf  # when `pop` is to look at it

    @property
    def full(self) -> bool:
        return self.running >= self.at_once or self.claimed is not None

    @property
    def opens(self) -> float:
        """When its rate allows the next start."""
        return self.last + self.interval if self.interval else -inf

    def give(self, limit: Limit, change: int) -> None:
        """A lane with this limit has its first job (+1), or none any more (-1)."""
        lanes = self.given.pop(limit, 0) + change
        if lanes:
            self.given[limit] = lanes
        self.at_once = min((each.at_once for each in self.given if each.at_once is not None), default=inf)
        self.interval = max((1.0 / each.per_second for each in self.given if each.per_second), default=0.0)


class _Lane:
    """The ready jobs that share one set of limits. It stands in one place at a time."""

    __slots__ = ("at", "gates", "heap", "jobs", "limits", "place", "turn")

    def __init__(self, gates: tuple[_Gate, ...], limits: tuple[Limit, ...]) -> None:
        self.gates = gates
        self.limits = limits
        self.heap: list[tuple[int, int, str]] = []
        self.place = _Place.EMPTY
        self.at: _Gate | None = None  # where it is parked
        self.jobs = 0  # that are ready or running
        self.turn = 0  # among lanes of equal priority, the lowest goes first


class ReadyQueue:
    """`push` what is ready, `pop` what may start, say when it has `begun`, `release` what is through.

    `last`: when any job may have begun last before there was this queue. No rate allows a start too soon after it.
    """

    def __init__(self, overrides: Sequence[Override] = (), last: float = -inf) -> None:
        self._overrides = overrides
        self._last = last
        self._gates: dict[str, _Gate] = {}
        self._lanes: dict[tuple[tuple[str, Limit], ...], _Lane] = {}
        self._open: list[tuple[int, int, _Lane]] = []
        self._timed: list[tuple[float, int, _Gate]] = []
        self._serial = count()
        self._current: dict[str, int] = {}  # id -> serial of its valid entry
        self._limited: dict[str, _Lane] = {}  # those that have limits, as long as they are ready or running

    def __len__(self) -> int:
        return len(self._current)

    def push(self, id: str, priority: int, limits: Mapping[str, Limit]) -> None:
        """Add a ready job. A higher `priority` starts first."""
        lane = self._lane(limits)
        serial = next(self._serial)
        entry = (-priority, serial, id)
        heapq.heappush(lane.heap, entry)
        self._current[id] = serial
        if lane.gates:
            self._limited[id] = lane
            self._count(lane, +1)
        if lane.place is _Place.EMPTY:
            lane.turn = serial
            self._enter(lane)
        elif lane.heap[0] is entry:  # there is an entry for its former head, which will be found out of date
            self._stand(lane)

    def pop(self, now: float) -> str | None:
        """The next job that may start at `now`, its limits taken; None if there is none."""
        while self._timed and self._timed[0][0] <= now:
            gate = self._ring()
            if gate is not None:
                self._wake(gate, now)
        while self._open:
            priority, turn, lane = heapq.heappop(self._open)
            if lane.place is not _Place.OPEN or lane.heap[0][0] != priority or lane.turn != turn:
                continue  # a left-over entry: the lane has gone elsewhere, or has a better head with its own entry
            _, serial, id = lane.heap[0]
            if self._current.get(id) != serial:  # withdrawn
                heapq.heappop(lane.heap)
                self._enter(lane)
                if not lane.heap:
                    self._pass_on(lane, now)
                continue
            if lane.gates and not self._admits(lane, now):
                continue
            heapq.heappop(lane.heap)
            del self._current[id]
            if lane.gates:
                self._take(lane, id, now)
            lane.turn = next(self._serial)
            self._enter(lane)
            if not lane.heap:
                self._pass_on(lane, now)
            return id
        return None

    def withdraw(self, id: str) -> None:
        """The job is not ready after all."""
        if self._current.pop(id, None) is not None and (lane := self._limited.pop(id, None)) is not None:
            self._count(lane, -1)

    def has_rate(self, id: str) -> bool:
        """Whether a job that was popped has a rate: then somebody has to say when it has begun."""
        lane = self._limited.get(id)
        return lane is not None and any(gate.claimed == id for gate in lane.gates)

    def begun(self, id: str, at: float) -> None:
        """A job that was popped has begun: its rates count from there. Said again: it was a little later."""
        lane = self._limited.get(id)
        for gate in lane.gates if lane is not None else ():
            if gate.claimed == id:
                gate.claimed = None
            gate.last = max(gate.last, at)
            self._wake(gate)

    def release(self, id: str) -> None:
        """A job that was popped is through. If nobody said that it has begun, it has not, and was no start."""
        lane = self._limited.pop(id, None)
        if lane is None:
            return
        for gate in lane.gates:
            gate.running -= 1
            if gate.claimed == id:
                gate.claimed = None
            self._wake(gate)
        self._count(lane, -1)

    def next_start(self) -> float | None:
        """When a rate lets the next job start, if nothing else happens before."""
        while self._timed:
            time, _, gate = self._timed[0]
            if gate.parked and not gate.full and time == gate.alarm:
                return time
            self._ring()
        return None

    def held(self) -> dict[str, int]:
        """Limit key -> how many ready jobs wait for it just now, about: of a job with several closed ones the first."""
        found: dict[str, int] = {}
        for keys, lane in self._lanes.items():
            if lane.place is _Place.PARKED and lane.at is not None:
                key = keys[lane.gates.index(lane.at)][0]
                ready = sum(self._current.get(id) == serial for _, serial, id in lane.heap)
                found[key] = found.get(key, 0) + ready
        return {key: count for key, count in found.items() if count}

    def _lane(self, limits: Mapping[str, Limit]) -> _Lane:
        keys = tuple(limits.items())
        lane = self._lanes.get(keys)
        if lane is None:
            for key in limits:
                if key not in self._gates:
                    self._gates[key] = _Gate(self._last)
            gates = tuple(map(self._gates.__getitem__, limits))
            lane = _Lane(gates, tuple(effective(self._overrides, key, limit) for key, limit in keys))
            self._lanes[keys] = lane
        return lane

    def _count(self, lane: _Lane, change: int) -> None:
        """A job of the lane has come, or is through: with the first and the last, what holds may change."""
        lane.jobs += change
        if lane.jobs == max(change, 0):
            for gate, limit in zip(lane.gates, lane.limits, strict=True):
                gate.give(limit, change)
                if change < 0:
                    self._wake(gate)

    @staticmethod
    def _take(lane: _Lane, id: str, now: float) -> None:
        for gate in lane.gates:
            gate.running += 1
            if gate.interval:
                gate.claimed = id
            else:  # nobody will say when it has begun; somebody may bring a rate soon
                gate.last = now

    def _enter(self, lane: _Lane) -> None:
        lane.at = None
        lane.place = _Place.OPEN if lane.heap else _Place.EMPTY
        self._stand(lane)

    def _stand(self, lane: _Lane) -> None:
        """Write the lane down where it stands, by its first job."""
        if lane.heap:
            entry = (lane.heap[0][0], lane.turn, lane)
            heapq.heappush(self._open if lane.at is None else lane.at.parked, entry)

    def _admits(self, lane: _Lane, now: float) -> bool:
        """Whether all gates of the lane are open; if not, the lane is parked at the one that stopped it."""
        for gate in lane.gates:
            if gate.full or gate.opens > now:
                lane.place, lane.at = _Place.PARKED, gate
                self._stand(lane)
                self._pass_on(lane, now)
                return False
        return True

    def _pass_on(self, lane: _Lane, now: float) -> None:
        """What the lane was woken for it does not use up: whoever is parked there may have it."""
        for gate in lane.gates:
            self._wake(gate, now)

    def _wake(self, gate: _Gate, now: float = -inf) -> None:
        """If the gate is open, the first lane that is parked there tries; if it is going to be, `pop` will look."""
        while gate.parked and not gate.full:
            if gate.opens > now:
                self._set_alarm(gate)
                break
            priority, turn, lane = heapq.heappop(gate.parked)
            if lane.at is gate and lane.heap[0][0] == priority and lane.turn == turn:
                self._enter(lane)
                break

    def _set_alarm(self, gate: _Gate) -> None:
        if gate.alarm != gate.opens:
            gate.alarm = gate.opens
            heapq.heappush(self._timed, (gate.alarm, next(self._serial), gate))

    def _ring(self) -> _Gate | None:
        """Take off the first alarm; None: it is out of date."""
        time, _, gate = heapq.heappop(self._timed)
        if time != gate.alarm:
            return None
        gate.alarm = inf
        return gate
