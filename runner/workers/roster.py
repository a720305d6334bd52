"""The agents that a runner has, and the places where it may have more: opens them, and says who is over, and why.

An agent that was not heard for the length of its lease is over (`lease.py`), one on our own ground when its process is
gone, and one that has said so. Must not know orders: whoever hears that an agent is over knows what it had.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import inf
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from runner.errors import Busy, StateError
from runner.store.files import ground
from runner.store.pace import steady
from runner.store.shelf import LOCKS
from runner.workers.agent import has_module, package_version
from runner.workers.exchange import Opening
from runner.workers.lease import Grant, end_grant, new_agent, write_grant
from runner.workers.link import Broke, Came, Cut, Joined, Left, Link, Over
from runner.workers.member import Member
from runner.workers.orphans import clear_orphans
from runner.workers.port import Settings

ALONE = 3.0
"""Seconds without any agent after which one says so."""

MOURNING = 3.0
"""Seconds from when a process is seen to be gone until one says why: when the Dask scheduler goes, its workers go."""

_POLL = 0.05


class Lost(NamedTuple):
    """An agent that is over, and how that is put down to its jobs."""

    member: Member
    outcome: str
    message: str


class Roster:
    """`most`: worker processes, all agents taken together; `say` tells a person what happens to agents."""

    def __init__(
        self,
        link: Link,
        settings: Settings,
        preload: Sequence[str],
        *,
        most: int | None,
        lease: float,
        say: Callable[[str], None],
    ) -> None:
        self.members: dict[str, Member] = {}  # by lane
        self.has_worked = False  # any of them, in this run
        self._link = link
        self._settings = settings
        self._encoded = msgspec.Raw(msgspec.json.encode(settings))
        self._preload = tuple(preload)
        self._modules = tuple(module for module in settings.modules if has_module(module, settings.root))
        self._most = most
        self._lease = lease
        self._say = say
        self._locks = os.path.join(settings.state, LOCKS)
        self._places: dict[str, int] = {}  # lane -> its size
        self._unfit: dict[str, str] = {}  # lane -> why nobody can work there
        self._mute: dict[str, float] = {}  # lane -> when it was known that nobody answers there
        self._held: dict[str, float] = {}  # lane -> when to see again whether what was there has ended
        self._cut = self._over = ""
        self._alone_since: float | None = time.monotonic()
        self._said_alone = ""

    @property
    def open(self) -> list[Member]:
        """Those that can have orders."""
        return [member for member in self.members.values() if member.is_open]

    # ------------------------------------------------------------------------------------------------------- listening

    def take(self) -> Iterator[tuple[Member, int, bytes]]:
        """What has happened since: answers, of whom, and to which request. The rest is noted here."""
        for word in self._link.take():
            match word:
                case Joined(lane, size):
                    self._places[lane] = size
                    self._unfit.pop(lane, None)
                    if lane in self.members:
                        self.members[lane].come_back()
                case Left(lane):
                    for known in (self._places, self._unfit, self._mute):
                        known.pop(lane, None)
                    if lane in self.members:
                        self.members[lane].gone(cut=bool(self._cut))
                case Cut(why):
                    self._cut = why
                case Over(why):
                    self._over = why
                case Came(lane, agent, way, data):
                    if (member := self._member(lane, agent)) is not None:
                        yield member, way, data
                case Broke(lane, agent, way, unfit):
                    if (member := self._member(lane, agent)) is not None:
                        self.broke(member, way, unfit)

    def _member(self, lane: str, agent: str) -> Member | None:
        member = self.members.get(lane)
        return member if member is not None and member.name == agent else None

    @staticmethod
    def broke(member: Member, way: int, unfit: str) -> None:
        """Nothing came of a request. Who has answered before may be at work: then its lease decides."""
        if member.process is None:
            member.unfit = unfit
        member.broke(way)

    def has_introduced_itself(self, member: Member) -> None:
        """Whoever comes after us can see then whether it is dead, if it stands on the same ground."""
        if (me := member.process) is not None and not member.unfit:
            grant = self._grant(member.lane, member.name)
            named = replace(grant, host=me.host, pid=me.pid, start=me.start, ground=me.ground)
            write_grant(self._locks, named, durable=False)

    # --------------------------------------------------------------------------------------------------- who is there

    def look_after(self, *, halted: bool) -> Iterator[Lost]:
        """Those that are over, struck off; then a word if nobody is left. Raises StateError where nobody can come."""
        for member in list(self.members.values()):
            if member.unfit:
                self.strike_off(member)  # it was never given anything
                self._cannot_use(member.lane, member.unfit)
                self._say(f"worker {member.place} cannot be used: {member.unfit}")
            elif self.is_over(member) and self.strike_off(member):
                self._note(member)
                yield Lost(member, *self._how_it_ended(member))
        self._tell_if_alone(halted=halted)

    def is_over(self, member: Member) -> bool:
        """Whether nobody can be at work there any more, and it can be told why."""
        if steady() < self._held.get(member.lane, 0.0):
            return False
        if member.at_rest or steady() > member.until or member.is_mute or member.unfit:
            return True
        if member.is_dead:
            member.dead_since = member.dead_since or steady()
            return bool(self._cut or steady() > member.dead_since + MOURNING)
        return not member.there and member.process is None  # it was never given anything

    def strike_off(self, member: Member) -> bool:
        """It is over, and what is left of it is cleared away. False: not all can be ended, so far."""
        try:
            clear_orphans(self._locks, member.name)
        except Busy as error:
            self._held[member.lane] = steady() + self._lease
            self._say(str(error))
            return False
        self._held.pop(member.lane, None)
        self.members.pop(member.lane, None)
        end_grant(self._locks, member.name)
        return True

    def _note(self, member: Member) -> None:
        """What that says of its place."""
        if member.failed:
            self._cannot_use(member.lane, member.failed)
        if member.is_mute and member.lane not in self._mute:
            self._say(f"the worker {member.place} does not answer: others are asked first")
        if not member.at_rest:
            self._mute[member.lane] = steady()

    def _cannot_use(self, lane: str, reason: str) -> None:
        if lane in self._places:  # else it has left, and whoever comes next under that name is another
            self._unfit[lane] = reason

    def _how_it_ended(self, member: Member) -> tuple[str, str]:
        cut = self._cut or member.cut_off
        if member.failed:
            return "interrupted", f"the worker {member.place} has ended: {member.failed}"
        if not cut and (member.is_dead or not member.there):
            return "died", f"the worker {member.place} died"
        if member.at_rest or cut:
            return "interrupted", f"the worker {member.place} could not be reached for {member.silent_for:.0f} s"
        return "died", f"the worker {member.place} was not heard from for {member.silent_for:.0f} s"

    def _tell_if_alone(self, *, halted: bool) -> None:
        if self.open or halted:
            if self._said_alone and self.open:
                self._say("going on: there is a worker again")
            self._alone_since, self._said_alone = None, ""
            return
        if self._places and not self.members and not self.has_worked and self._places.keys() <= self._unfit.keys():
            lane, reason = next(iter(self._unfit.items()))
            raise StateError(f"no worker can be used. {lane}: {reason}")
        if self._over and not self.members:
            raise StateError(f"no worker is left: {self._over}; nothing was lost: `resume` goes on")
        self._alone_since = self._alone_since or time.monotonic()
        what = self._cut or "there is no worker"
        if self._said_alone != what and time.monotonic() > self._alone_since + ALONE:
            self._said_alone = what
            self._say(f"{what}: {'waiting for it' if self._cut else f'waiting for one ({self._link.lacking})'}")

    def due(self) -> float:
        """Seconds until there is something to look after, whatever comes."""
        watched = any(not member.there for member in self.members.values())
        untils = [max(member.until, self._held.get(member.lane, 0.0)) for member in self.members.values()]
        nearest = min(untils, default=inf) - steady()
        return min(nearest, _POLL if watched else 1.0)

    # --------------------------------------------------------------------------------------------------------- opening

    def open_more(self) -> None:
        """An agent at each place, as long as there may be more workers; first where one may hope for an answer."""
        for lane, size in sorted(self._places.items(), key=lambda place: self._mute.get(place[0], 0.0)):
            if lane in self.members or lane in self._unfit:
                continue
            if self._most is not None:
                size = min(size, self._most - sum(member.workers for member in self.members.values()))
            if size > 0:
                self._open(lane, size)

    def _open(self, lane: str, size: int) -> None:
        name = new_agent()
        opening = Opening(
            settings=self._encoded,
            preload=self._preload,
            modules=self._modules,
            most=size,
            lease=self._lease,
            ground=ground(),
            package=package_version(),
        )
        write_grant(self._locks, self._grant(lane, name), durable=self._settings.durable)
        self.members[lane] = Member(lane, name, opening, partial(self._link.ask, lane, name))

    def _grant(self, lane: str, name: str) -> Grant:
        return Grant(agent=name, lease=self._lease, place=lane, address=self._link.address)
