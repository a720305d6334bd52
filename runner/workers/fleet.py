"""Agents elsewhere, as one Executor: on a Dask cluster (`dask.py`), or in any pool of processes (`pilots.py`).

Theory of operation. A Link knows the places where an agent can be, and carries requests (`link.py`). At each place
there is an agent (`roster.py`), which has workers of its own (`agent.py`), and is sent as many orders as it has room
for. What lies at an agent for too long comes back, and goes to whoever has room. When an agent is given up, so are its
orders. If several of them had begun, any may be to blame: each goes out again alone with an agent.

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
from itertools import chain

from msgspec.structs import replace

from runner.core.events import Began, WorkerLost
from runner.store.files import Files, ground
from runner.store.pace import note_start, steady
from runner.store.shelf import LOCKS
from runner.workers.exchange import Answered, Returned, Told
from runner.workers.link import Link
from runner.workers.member import Member
from runner.workers.port import Looked, Order, Outcome, Reply, Settings, Staged
from runner.workers.publisher import Publisher
from runner.workers.roster import Lost, Roster

RECALL = 2.0
"""Seconds to wait for what agents hand back; what one hands back later is as well."""

PATIENCE = 3.0
"""Seconds after which one says who is waited for at the end."""

_POLL = 0.05

_STOPS = "the runner stops"


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
        self._lease = lease
        self._say = say
        self._roster = Roster(link, settings, preload, most=most, lease=lease, say=say)
        self._members = self._roster.members
        self._files = Files()
        self._locks_fd = self._files.open_folder(os.path.join(settings.state, LOCKS))
        self._ready: deque[Order] = deque()  # until an agent has room
        self._vacancies: deque[Order] = deque()  # what has a rate, or must be alone: until one has nothing to do
        self._suspects: deque[Order] = deque()  # what must be alone with its agent: until one has no orders
        self._fallen: set[str] = set()  # jobs that were running, with others, when their agent was lost
        self._staged: dict[str, tuple[Order, Staged]] = {}  # jobs that are half way
        self._litter: list[str] = []
        self._found: list[Outcome] = []
        self._turned = steady()
        self._halted = False
        self._publisher = Publisher(settings)
        self._selector = selectors.DefaultSelector()
        self._words = selectors.DefaultSelector()  # for where nothing else is to be heard
        for fd in (link.fd, self._publisher.fd):
            self._selector.register(fd, selectors.EVENT_READ)
        self._words.register(link.fd, selectors.EVENT_READ)

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
        if self._halted or self._ready or self._vacancies:
            return 0
        return sum(member.free for member in self._members.values())

    def wait(self, timeout: float | None) -> list[Outcome]:
        if not self._found:
            due = self._turn()
            if not self._found:
                self._hear(due if timeout is None else min(timeout, due), self._selector)
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
        members = self._roster.open
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
            self._hear(_POLL, self._words)
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
        while left := [member for member in members if member.process is not None and not self._roster.is_over(member)]:
            for member in left:
                member.speak()
            self._hear(_POLL, self._words)
            if not told and time.monotonic() > began + PATIENCE:
                told = True
                places = ", ".join(member.place for member in left)
                seconds = max(member.until for member in left) - steady()
                self._say(f"waiting until nobody can be at work any more on {places}: {max(0.0, seconds):.0f} s")
        for member in members:
            self._litter += member.litter
            self._roster.strike_off(member)  # where somebody cannot be ended, the next runner sees to it
        self._publisher.close()
        self._link.close()
        self._selector.close()
        self._words.close()
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
            self._line(order).appendleft(order)
        for gone in self._roster.look_after(halted=self._halted):
            self._give_up(gone)
        if not self._halted:
            self._roster.open_more()
        elif not self._roster.open:
            self._leave_half_way()
        self._hand_out()
        due = [each for member in self._members.values() if (each := member.speak()) is not None]
        return max(0.0, min(*due, self._roster.due(), 1.0))

    def _hand_out(self) -> None:
        members = self._roster.open
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

    # ----------------------------------------------------------------------------------------------------- who is over

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

    def _give_up(self, gone: Lost) -> None:
        member, outcome, message = gone
        self._litter += member.litter
        waiting, undelivered = [*self._take_unsent(member)], member.undelivered
        begun = [id for id in member.orders if id not in undelivered]
        unsure = [id for id in member.orders if id in undelivered]
        if member.at_rest:
            waiting += [id for id in unsure if member.orders[id].staged is None]
            unsure = [id for id in unsure if member.orders[id].staged is not None]
        if member.process is not None:
            self._say(f"{message}; {'what it had is for others' if begun else 'it had nothing'}")
        for id in member.orders:
            self._drop_draft(id)
        if len(begun) > 1:
            self._fallen.update(begun)
        if begun or waiting:
            lost = WorkerLost(begun=tuple(begun), waiting=tuple(waiting), outcome=outcome, message=message)
            self._found.append(lost)
        for id in unsure:  # which may have begun: nobody pays for that
            self._found.append(WorkerLost(begun=(id,), waiting=(), outcome="interrupted", message=message))

    # ------------------------------------------------------------------------------------------------------- listening

    def _hear(self, timeout: float, selector: selectors.BaseSelector) -> None:
        """What comes within so many seconds."""
        selector.select(max(0.0, timeout))
        self._take_words()

    def _take_words(self) -> None:
        for member, way, data in self._roster.take():
            known = member.process
            try:
                for told in member.hear(way, data):
                    self._tell(member, told)
            except ValueError as error:
                self._roster.broke(member, way, f"what it answers cannot be read ({error})")
                continue
            if member.back:
                self._handed_back(member)
            if known is None:
                self._roster.has_introduced_itself(member)

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
        self._roster.has_worked = True
        self._found.append(reply)

    def _drop_draft(self, id: str) -> None:
        """That job is not half way any more."""
        known = self._staged.pop(id, None)
        if known is not None:
            self._litter.append(known[1].draft)
