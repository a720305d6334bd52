"""Agents elsewhere, as one Executor: on a Dask cluster (`dask.py`), or in any pool of processes (`pilots.py`).

Theory of operation. A Link knows the places where an agent can be, and carries requests there. At each place the fleet
opens an agent, which has workers of its own (`agent.py`), and sends it as many orders as it has room for. What lies at
an agent for too long comes back, and goes to whoever has room. An agent that was not heard for the length of its lease
is given up, and its orders with it (`lease.py`); on our own ground one sees at once when its process is gone.

Agents write staged files and records only. Where a class finds children, its outputs have to be in place before it is
asked for them: then a job comes back half way, its outputs are put in place here (`publisher.py`), and it goes out
again to be asked. So whoever is at work without knowing that it was given up can do no harm.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple, Protocol, TypeAlias

import msgspec
from msgspec.structs import replace

from runner.core.events import Began, WorkerLost
from runner.errors import Busy, StateError
from runner.store.files import Files, ground
from runner.store.pace import note_start, steady
from runner.store.shelf import LOCKS
from runner.workers.agent import has_module, package_version
from runner.workers.exchange import Answered, Opening, Returned, Told
from runner.workers.lease import Grant, end_grant, new_agent, write_grant
from runner.workers.member import Member
from runner.workers.orphans import clear_orphans
from runner.workers.port import Looked, Order, Outcome, Reply, Settings, Staged
from runner.workers.publisher import Publisher

RECALL = 2.0
"""Seconds to wait for what agents hand back; what one hands back later is done."""

ALONE = 3.0
"""Seconds without any agent after which one says so."""

MOURNING = 3.0
"""Seconds from when a process is seen to be gone until one says why: when the Dask scheduler goes, its workers go."""

_POLL = 0.05

_STOPS = "the runner stops"


class Joined(NamedTuple):
    """There is a place for an agent, with so many threads or processes."""

    lane: str
    size: int


class Left(NamedTuple):
    """It cannot be asked any more."""

    lane: str


class Came(NamedTuple):
    """The answer to a request."""

    lane: str
    agent: str
    way: int
    data: bytes


class Broke(NamedTuple):
    """A request, or its answer, did not get through. `unfit`: and none will, for that reason."""

    lane: str
    agent: str
    way: int
    unfit: str = ""


class Cut(NamedTuple):
    """Nobody can be asked just now. `why` "": that is over."""

    why: str


class Over(NamedTuple):
    """There will be no more places."""

    why: str


Word: TypeAlias = Joined | Left | Came | Broke | Cut | Over


class Link(Protocol):
    """Carries requests to agents. `fd` is readable when there is something to take; `address`: by which another runner
    finds the same agents, or "".
    """

    fd: int
    address: str
    lacking: str  # what to do where there is no place at all

    def ask(self, lane: str, agent: str, way: int, data: bytes, seconds: float) -> None:
        """Send a request, whose answer should come within so many seconds. Came or Broke follows."""

    def take(self) -> list[Word]:
        """What has happened since."""

    def close(self) -> None:
        """Let go of the places."""


class Fleet:
    """An Executor. `most`: worker processes, all agents taken together; `say` tells a person what happens to agents."""

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
        self._link = link
        self._settings = settings
        self._encoded = msgspec.Raw(msgspec.json.encode(settings))
        self._preload = tuple(preload)
        self._modules = tuple(module for module in settings.modules if has_module(module, settings.root))
        self._most = most
        self._lease = lease
        self._say = say
        self._locks = os.path.join(settings.state, LOCKS)
        self._files = Files()
        self._locks_fd = self._files.open_folder(self._locks)
        self._members: dict[str, Member] = {}  # by lane
        self._places: dict[str, int] = {}  # lane -> its size
        self._unfit: dict[str, str] = {}  # lane -> why nobody can work there
        self._mute: dict[str, float] = {}  # lane -> when it was known that nobody answers there
        self._held: dict[str, float] = {}  # lane -> when to see again whether what was there has ended
        self._ready: deque[Order] = deque()  # until an agent has room
        self._vacancies: deque[Order] = deque()  # what has a rate, or must be alone: until one has nothing to do
        self._suspects: deque[Order] = deque()  # what must be alone with its agent: until one has no orders
        self._fallen: set[str] = set()  # jobs that were running, with others, when their agent was lost
        self._staged: dict[str, tuple[Order, Staged]] = {}  # jobs that are half way
        self._litter: list[str] = []
        self._found: list[Outcome] = []
        self._cut = self._over = ""
        self._alone_since: float | None = time.monotonic()
        self._said_alone = ""
        self._has_worked = False
        self._turned = steady()
        self._halted = False
        self._publisher = Publisher(settings)
        self._selector = selectors.DefaultSelector()
        for fd in (link.fd, self._publisher.fd):
            self._selector.register(fd, selectors.EVENT_READ)

    # ------------------------------------------------------------------------------------------------------- the port

    def start(self, orders: Sequence[Order], litter: Sequence[str] = ()) -> None:
        self._litter += litter
        for order in orders:
            self._line(order).append(order)
        self._hand_out()

    def look(self, ids: Sequence[str]) -> bool:
        idle = next((member for member in self._members.values() if member.idle), None)
        if idle is None or self._halted:
            return False
        idle.look(ids)
        idle.speak()
        return True

    def free(self) -> int:
        if self._halted or self._ready or self._vacancies or self._suspects:
            return 0
        return sum(member.free for member in self._members.values())

    def wait(self, timeout: float | None) -> list[Outcome]:
        if not self._found:
            due = self._turn()
            if not self._found:
                self._hear(due if timeout is None else min(timeout, due))
                self._turn()
        found, self._found = self._found, []
        return found

    @property
    def busy(self) -> int:
        here = sum(map(len, self._lines))
        publishing = sum(order.staged is None for order, _ in self._staged.values())
        return here + publishing + sum(len(member.orders) for member in self._members.values())

    def watch(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ)

    def unbegun(self) -> tuple[str, ...]:
        self._halted = True
        members = [member for member in self._members.values() if member.is_open]
        taken = [id for member in members for id in self._take_unsent(member)]
        for line in self._lines:
            taken += [order.id for order in line if order.staged is None]
            half_way = [order for order in line if order.staged is not None]  # begun, and to be brought to its end
            line.clear()
            line.extend(half_way)
        for member in members:
            member.recall()
        deadline = time.monotonic() + RECALL
        while any(member.is_open and member.back is None for member in members) and time.monotonic() < deadline:
            self._turn()
            self._hear(_POLL)
        return tuple(taken)

    def close(self) -> Sequence[str]:
        self._halted = True
        if self._selector.get_map() is None:
            return self._litter
        members = list(self._members.values())
        for member in members:
            member.close()
        told = False
        began = time.monotonic()
        while left := [member for member in members if member.process is not None and not self._is_over(member)]:
            for member in left:
                member.speak()
            self._hear(_POLL)
            if not told and time.monotonic() > began + ALONE:
                told = True
                places = ", ".join(member.place for member in left)
                seconds = max(member.until for member in left) - steady()
                self._say(f"waiting until nobody can be at work any more on {places}: {max(0.0, seconds):.0f} s")
        for member in members:
            self._strike_off(member)  # where somebody cannot be ended, the next runner sees to it
        self._publisher.close()
        self._link.close()
        self._selector.close()
        self._files.close(self._locks_fd)
        self._litter += [staged.draft for _, staged in self._staged.values()]
        return self._litter

    # ------------------------------------------------------------------------------------------------------ what to do

    @property
    def _lines(self) -> tuple[deque[Order], ...]:
        return self._ready, self._vacancies, self._suspects

    def _line(self, order: Order) -> deque[Order]:
        if order.alone and order.id in self._fallen:
            return self._suspects
        return self._vacancies if order.alone or order.paced else self._ready

    def _turn(self) -> float:
        """All that can be done now. Seconds until there is more, whatever comes."""
        now = steady()
        if now - self._turned > self._lease / 4 + 1.0:  # stopped (SIGSTOP, Ctrl-Z), or kept from here by a slow disk
            for member in self._members.values():
                member.excuse()
        self._turned = now
        self._take_words()
        for published in self._publisher.take():
            order, staged = self._staged[published.staged.id]
            if published.hindered:
                self._drop_draft(staged.id)
                self._found.append(
                    WorkerLost(begun=(staged.id,), waiting=(), outcome="hindered", message=published.refused)
                )
                continue
            order = replace(order, staged=staged, refused=published.refused, published=published.some, paced=False)
            self._staged[staged.id] = order, staged
            self._ready.appendleft(order)
        self._look_after()
        self._open_more()
        self._hand_out()
        due = [each for member in self._members.values() if (each := member.speak()) is not None]
        watched = any(not member.there for member in self._members.values())
        nearest = min((member.until - steady() for member in self._members.values()), default=1.0)
        return max(0.0, min(*due, nearest, _POLL if watched else 1.0, 1.0))

    def _hand_out(self) -> None:
        members = [member for member in self._members.values() if member.is_open]
        self._hand_out_suspects(members)
        while self._vacancies:
            member = max(members, key=lambda member: member.vacant, default=None)
            if member is None or not member.vacant:
                break
            self._give(member, self._vacancies.popleft())
        while self._ready and not self._vacancies:
            member = max(members, key=lambda member: (member.vacant, member.free), default=None)
            count = (member.vacant or member.free) if member is not None else 0
            if member is None or not count:
                break
            for _ in range(min(count, len(self._ready))):
                self._give(member, self._ready.popleft())
        for member in members:
            if member.unsent:
                self._pass_on_litter(member)
                member.speak()

    def _hand_out_suspects(self, members: list[Member]) -> None:
        """One at a time to an agent that has nothing else, and gets nothing else meanwhile: if that is lost, too, then
        it is known by whom. One of the agents that are at work is let run empty.
        """
        for member in members:
            member.kept = member.kept and bool(member.orders)
        while self._suspects:
            able = [member for member in members if member.can_be_asked and (member.orders or member.vacant)]
            free = [member for member in able if not member.kept]
            if not free:
                return
            emptiest = min(free, key=lambda member: len(member.orders))
            if emptiest.orders:
                emptiest.kept = not any(member.kept for member in able)
                return
            self._give(emptiest, self._suspects.popleft())
            emptiest.kept = True

    def _give(self, member: Member, order: Order) -> None:
        if order.paced:  # if we do not live to hear when it began, the next runner is to know about when
            note_start(self._files, self._locks_fd)
        member.put(order)

    def _pass_on_litter(self, member: Member) -> None:
        member.unlink(self._litter)
        self._litter.clear()

    def _take_unsent(self, member: Member) -> Iterator[str]:
        for id, order in list(member.unsent.items()):
            del member.unsent[id], member.orders[id]
            if order.staged is None:
                yield id
            else:
                self._ready.append(order)

    # ----------------------------------------------------------------------------------------------------- the agents

    def _open_more(self) -> None:
        """An agent at each place, as long as there may be more workers."""
        if self._halted:
            return
        for lane, size in sorted(self._places.items(), key=lambda place: self._mute.get(place[0], 0.0)):
            if lane in self._members or lane in self._unfit:
                continue
            if self._most is not None:
                size = min(size, self._most - sum(member.workers for member in self._members.values()))
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
        self._members[lane] = Member(lane, name, opening, partial(self._link.ask, lane, name))

    def _grant(self, lane: str, name: str) -> Grant:
        return Grant(agent=name, lease=self._lease, place=lane, address=self._link.address)

    def _look_after(self) -> None:
        """Give up who is at rest, or must be."""
        for member in list(self._members.values()):
            if member.unfit:
                self._refuse(member)
            elif self._is_over(member):
                self._give_up(member)
        able = any(member.is_open for member in self._members.values())
        if self._halted and not able:
            self._leave_half_way()
        if able or self._halted:
            if self._said_alone and able:
                self._say("going on: there is a worker again")
            self._alone_since, self._said_alone = None, ""
            return
        if self._places and not self._members and not self._has_worked and self._places.keys() <= self._unfit.keys():
            lane, reason = next(iter(self._unfit.items()))
            raise StateError(f"no worker can be used. {lane}: {reason}")
        if self._over and not self._members:
            raise StateError(f"no worker is left: {self._over}; nothing was lost: `resume` goes on")
        self._alone_since = self._alone_since or time.monotonic()
        what = self._cut or "there is no worker"
        if self._said_alone != what and time.monotonic() > self._alone_since + ALONE:
            self._said_alone = what
            self._say(f"{what}: {'waiting for it' if self._cut else f'waiting for one ({self._link.lacking})'}")

    def _leave_half_way(self) -> None:
        """Nobody can bring these to their end, and nobody is waited for any more."""
        left = [order.id for line in self._lines for order in line]
        for line in self._lines:
            line.clear()
        for id in left:
            self._drop_draft(id)
        if left:
            message = f"{_STOPS}, and there is no worker"
            self._found.append(WorkerLost(begun=tuple(left), waiting=(), outcome="interrupted", message=message))

    def _is_over(self, member: Member) -> bool:
        """Whether nobody can be at work there any more, and it can be told why."""
        if steady() < self._held.get(member.lane, 0.0):
            return False
        if member.at_rest or steady() > member.until or member.is_mute or member.unfit:
            return True
        if member.is_dead:
            member.dead_since = member.dead_since or steady()
            return bool(self._cut or steady() > member.dead_since + MOURNING)
        return not member.there and member.process is None  # it was never given anything

    def _refuse(self, member: Member) -> None:
        """It was never given anything."""
        self._strike_off(member)
        self._cannot_use(member.lane, member.unfit)
        self._say(f"worker {member.place} cannot be used: {member.unfit}")

    def _cannot_use(self, lane: str, reason: str) -> None:
        if lane in self._places:  # else it has left, and whoever comes next under that name is another
            self._unfit[lane] = reason

    def _give_up(self, member: Member) -> None:
        if not self._strike_off(member):
            return
        undelivered = member.undelivered
        unsent = tuple(self._take_unsent(member))
        begun = tuple(id for id in member.orders if id not in undelivered)
        waiting = (*unsent, *(id for id in member.orders if id in undelivered))
        if member.failed:
            self._cannot_use(member.lane, member.failed)
        outcome, message = self._how_it_ended(member)
        if member.process is not None:
            self._say(f"{message}; {'what it had is for others' if begun else 'it had nothing'}")
        elif member.is_mute and member.lane not in self._mute:
            self._say(f"the worker {member.place} does not answer: others are asked first")
        if not member.at_rest:
            self._mute[member.lane] = steady()
        for id in member.orders:
            self._drop_draft(id)
        if len(begun) > 1:
            self._fallen.update(begun)
        if begun or waiting:
            self._found.append(WorkerLost(begun=begun, waiting=waiting, outcome=outcome, message=message))

    def _how_it_ended(self, member: Member) -> tuple[str, str]:
        cut = self._cut or member.cut_off
        if member.failed:
            return "interrupted", f"the worker {member.place} has ended: {member.failed}"
        if not cut and (member.is_dead or not member.there):
            return "died", f"the worker {member.place} died"
        if member.at_rest or cut:
            return "interrupted", f"the worker {member.place} could not be reached for {member.silent_for:.0f} s"
        return "died", f"the worker {member.place} was not heard from for {member.silent_for:.0f} s"

    def _strike_off(self, member: Member) -> bool:
        """It is over, and what is left of it is cleared away. False: not all can be ended, so far."""
        try:
            clear_orphans(self._locks, member.name)
        except Busy as error:
            self._held[member.lane] = steady() + self._lease
            self._say(str(error))
            return False
        self._held.pop(member.lane, None)
        self._members.pop(member.lane, None)
        self._litter += member.litter
        end_grant(self._locks, member.name)
        return True

    # ------------------------------------------------------------------------------------------------------- listening

    def _hear(self, timeout: float) -> None:
        """What comes within so many seconds."""
        self._selector.select(max(0.0, timeout))
        self._take_words()

    def _take_words(self) -> None:
        for word in self._link.take():
            match word:
                case Joined(lane, size):
                    self._places[lane] = size
                    self._unfit.pop(lane, None)
                    if lane in self._members:
                        self._members[lane].come_back()
                case Left(lane):
                    self._places.pop(lane, None)
                    self._unfit.pop(lane, None)
                    self._mute.pop(lane, None)
                    if lane in self._members:
                        self._members[lane].gone(cut=bool(self._cut))
                case Cut(why):
                    self._cut = why
                case Over(why):
                    self._over = why
                case Came(lane, agent, way, data):
                    member = self._members.get(lane)
                    if member is not None and member.name == agent:
                        self._take_in(member, way, data)
                case Broke(lane, agent, way, unfit):
                    member = self._members.get(lane)
                    if member is not None and member.name == agent:
                        self._broke(member, way, unfit)

    @staticmethod
    def _broke(member: Member, way: int, unfit: str) -> None:
        """Who has answered before may be at work: then its lease decides."""
        if member.process is None:
            member.unfit = unfit
        member.broke(way)

    def _take_in(self, member: Member, way: int, data: bytes) -> None:
        known = member.process
        try:
            for told in member.hear(way, data):
                self._tell(member, told)
        except ValueError as error:
            self._broke(member, way, f"what it answers cannot be read ({error})")
            return
        if member.back:
            self._handed_back(member)
        if known is None and member.process is not None and not member.unfit:
            # Whoever comes after us can see then whether it is dead, if it stands on the same ground.
            me = member.process
            named = replace(
                self._grant(member.lane, member.name), host=me.host, pid=me.pid, start=me.start, ground=me.ground
            )
            write_grant(self._locks, named, durable=False)

    def _tell(self, member: Member, told: Told) -> None:
        match told:
            case Answered(reply):
                self._answered(member, reply)
            case Returned(ids):
                orders = [order for id in ids if (order := member.orders.pop(id, None)) is not None]
                self._come_back(orders)
            case WorkerLost():
                for id in chain(told.begun, told.waiting):
                    member.orders.pop(id, None)
                    self._drop_draft(id)
                message = f"{told.message} (on {member.process.host})" if member.process else told.message
                self._found.append(replace(told, message=message))
            case Began(id, at):
                if member.process is not None and member.process.ground != ground():
                    note_start(self._files, self._locks_fd)
                    told = Began(id, steady() + at)
                self._found.append(told)
            case Looked():
                self._found.append(told)

    def _handed_back(self, member: Member) -> None:
        """What it has not begun, and never will."""
        ids, member.back = member.back or (), ()
        self._come_back([order for id in ids if (order := member.orders.pop(id, None)) is not None])

    def _come_back(self, orders: list[Order]) -> None:
        """Nobody has begun these: they are for others, or for another run, but for those that are half way."""
        left = [order for order in orders if order.staged is not None or not self._halted]
        for order in reversed(left):
            self._line(order).appendleft(order)
        if len(left) < len(orders):
            ids = tuple(order.id for order in orders if order not in left)
            self._found.append(WorkerLost(begun=(), waiting=ids, outcome="interrupted", message=_STOPS))

    def _answered(self, member: Member, reply: Reply) -> None:
        event = reply.event
        order = member.orders.pop(event.id, None)
        if order is None:
            return
        if isinstance(event, Staged):
            self._staged[event.id] = order, event
            self._publisher.put(event)
            return
        self._drop_draft(event.id)
        self._fallen.discard(event.id)
        self._has_worked = True
        self._found.append(reply)

    def _drop_draft(self, id: str) -> None:
        """That job is not half way any more."""
        known = self._staged.pop(id, None)
        if known is not None:
            self._litter.append(known[1].draft)
