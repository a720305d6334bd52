"""One agent, as its runner sees it: what it has, what it was told, and from when on it must be at rest.

Speaks with the agent (`exchange.py`): at most one request that brings, and one that listens, are on their way. What
gets lost is sent again, as it was. Knows nothing of other agents; decides nothing about jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import inf

from msgspec.structs import replace

from runner.core.events import Asked, Finished
from runner.core.model import Proposal
from runner.store.files import ground, process_start
from runner.store.pace import steady
from runner.workers.child import Discovered
from runner.workers.exchange import Answer, Answered, Opening, Process, Request, Told, decode_answer, encode
from runner.workers.lease import margin
from runner.workers.port import Order

BRING, LISTEN = 0, 1
"""The two requests that may be on their way."""

AGAIN = 0.5
"""Seconds after which a request that broke is sent again, at the most."""

SILENT = 3.0
"""Seconds that an answer may be late, at the most; then the agent gets nothing more until one comes."""

OPENING = 10.0
"""Seconds to wait for the first answer, at least. Nobody works there before it is heard."""

Send = Callable[[int, bytes, float], None]
"""Send a request, BRING or LISTEN, which may take so many seconds."""


class Member:
    """`send` carries requests there."""

    def __init__(self, lane: str, name: str, opening: Opening, send: Send) -> None:
        self.lane = lane
        self.name = name
        self.orders: dict[str, Order] = {}  # unanswered
        self.unsent: dict[str, Order] = {}  # those of them that are still here
        self.process: Process | None = None
        self.workers = opening.most  # processes, at the most
        self.unfit = ""  # why it cannot be worked with
        self.failed = ""  # why it ended
        self.at_rest = False  # it is known that nobody works there any more
        self.until = inf  # when that must be so, by the clock of `steady`
        self.opened = steady()
        self.there = True  # it can be asked
        self.cut_off = False  # it cannot, though it did not die: by the network, the Dask scheduler, or in good order
        self.kept = False  # it is to get no orders, as one is to be alone there
        self.dead_since: float | None = None  # when its process was seen to be gone
        self.back: tuple[str, ...] | None = None  # what it has handed back, once it was told to
        self._lease = opening.lease
        self._send = send
        self._opening: Opening | None = opening
        self._way: dict[int, Request | None] = {BRING: None, LISTEN: None}  # what is on its way
        self._broken: dict[int, tuple[float, Request]] = {}  # what is to be sent again, and when
        self._brought = self._taken = 0
        self._heard = -1
        self._got = 0
        self._answered = steady()
        self._litter: list[str] = []
        self._look: tuple[str, ...] = ()
        self._recall = self._close = False
        self._free = self._vacant = 0
        self._discovered: dict[str, list[Proposal]] = {}

    # ------------------------------------------------------------------------------------------------ what it is to do

    def put(self, order: Order) -> None:
        self.orders[order.id] = self.unsent[order.id] = order
        self._free -= 1
        self._vacant -= 1

    def unlink(self, names: Sequence[str]) -> None:
        self._litter += names

    def look(self, ids: Sequence[str]) -> None:
        self._look = tuple(ids)

    def recall(self) -> None:
        """It is to hand back what it has not begun: `back` has that, then."""
        self._recall = True

    def close(self) -> None:
        """It is to end its workers: `at_rest` says when it has."""
        self._close = True

    # ---------------------------------------------------------------------------------------------- what can be told

    @property
    def is_open(self) -> bool:
        return self._opening is None and not self.at_rest

    @property
    def free(self) -> int:
        """How many more orders are welcome."""
        return max(0, self._free) if self.can_be_asked and not self.kept else 0

    @property
    def vacant(self) -> int:
        """How many threads have nothing to do."""
        return max(0, self._vacant) if self.can_be_asked and not self.kept else 0

    @property
    def idle(self) -> bool:
        return self.can_be_asked and not self.orders and not self._look and self._vacant > 0 and not self.kept

    @property
    def is_mute(self) -> bool:
        """Whether it has not even answered that it is there."""
        return self.process is None and steady() > self.opened + max(OPENING, self._lease)

    @property
    def undelivered(self) -> set[str]:
        """Orders that it has not said to have got. If it is `at_rest`, it has not."""
        ways = (self._way[BRING], self._broken.get(BRING, (0.0, None))[1])
        return {order.id for request in ways if request and request.number > self._taken for order in request.orders}

    @property
    def place(self) -> str:
        return f"{self.lane} on {self.process.host}" if self.process is not None else self.lane

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to be gone."""
        me = self.process
        return me is not None and me.ground == ground() and process_start(me.pid) != me.start

    @property
    def litter(self) -> list[str]:
        """What it may not have unlinked."""
        on_way = [request for request in (*self._way.values(), *(r for _, r in self._broken.values())) if request]
        return [*self._litter, *(name for request in on_way for name in request.litter)]

    @property
    def silent_for(self) -> float:
        """Seconds since the last answer."""
        return steady() - self._answered

    @property
    def can_be_asked(self) -> bool:
        return self.is_open and self.there and not self._close and self.silent_for < self._listen + self._late

    @property
    def _listen(self) -> float:
        """Seconds for which it may have nothing to tell. If one answer is lost, there is time for another."""
        return self._lease / 4

    @property
    def _late(self) -> float:
        """Seconds that an answer may be late."""
        return min(SILENT, self._lease / 6)

    # -------------------------------------------------------------------------------------------------------- speaking

    def speak(self) -> float | None:
        """Send what there is to say. Seconds until there may be more, whatever comes."""
        if self.at_rest or self.unfit or not self.there:
            return None
        now = steady()
        for way, (at, request) in list(self._broken.items()):
            if at <= now:
                del self._broken[way]
                self._send_off(way, replace(request, heard=-1 if self._close else self._heard))
        if self._opening is not None:
            if self._is_free(BRING):
                self._send_off(BRING, Request(agent=self.name, opening=self._opening))
        else:
            if self._is_free(BRING) and self._has_something():
                self._bring()
            if self._is_free(LISTEN) and not self._close:
                self._send_off(LISTEN, Request(agent=self.name, heard=self._heard, listen=self._listen, got=self._got))
        return min((at - now for at, _ in self._broken.values()), default=None)

    def come_back(self) -> None:
        """It can be asked again."""
        self.there, self.cut_off = True, False

    def excuse(self) -> None:
        """This process stood still, and may have heard nobody for that: give each the time to be heard."""
        self.until = max(self.until, steady() + self._listen + SILENT)

    def _is_free(self, way: int) -> bool:
        return self._way[way] is None and way not in self._broken

    def _has_something(self) -> bool:
        return bool(self.unsent or self._litter or self._look or self._recall or self._close)

    def _bring(self) -> None:
        self._brought += 1
        request = Request(
            agent=self.name,
            heard=-1 if self._close else self._heard,  # it is not to go on
            number=self._brought,
            orders=tuple(self.unsent.values()),
            litter=tuple(self._litter),
            look=self._look,
            recall=self._recall,
            close=self._close,
        )
        self.unsent.clear()
        self._litter.clear()
        self._look, self._recall = (), False
        self._send_off(BRING, request)

    def _send_off(self, way: int, request: Request) -> None:
        self._way[way] = request
        self._send(way, encode(request), request.listen + self._late if way == LISTEN else SILENT)

    def broke(self, way: int) -> None:
        """A request, or its answer, did not get through."""
        request = self._way[way]
        self._way[way] = None
        if request is not None:
            self._broken[way] = (steady() + min(AGAIN, self._lease / 12), request)

    def gone(self, *, cut: bool) -> None:
        """It cannot be asked any more, for now; `cut`: nobody can."""
        me = self.process
        in_good_order = me is not None and me.ground == ground() and not self.is_dead
        self.there, self.cut_off = False, cut or in_good_order
        for way in self._way:
            self.broke(way)

    # ------------------------------------------------------------------------------------------------------- listening

    def hear(self, way: int, data: bytes) -> Iterator[Told]:
        """An answer came: what it tells of orders. Raises ValueError for what is none."""
        answer = decode_answer(data)
        request = self._way[way]
        if answer.unfit and self.process is None:
            self.process, self.unfit = answer.process, answer.unfit
            return
        if answer.unfit or answer.unknown or request is None:
            # The very process has had it, and struck it off; of another one's this says nothing.
            self.at_rest = self.at_rest or (answer.unknown and answer.process == self.process)
            self.broke(way)
            return
        self._way[way] = None
        if way == BRING and request.number > answer.taken:
            self._way[way] = request  # it has not come to that yet
            self.broke(way)
        self._note(answer)
        if way == BRING and request.recall and answer.taken >= request.number:
            self.back = answer.back
        self._opening = None
        new = answer.told[max(0, self._got - answer.first) :]
        self._got += len(new)
        for told in new:
            yield from self._whole(told)

    def _note(self, answer: Answer) -> None:
        now = steady()
        self.process = answer.process
        self._answered = now
        if not self._close or self.until == inf:
            self.until = now + self._lease + margin(self._lease)
        self._taken = max(self._taken, answer.taken)
        self.failed = answer.failed
        self.at_rest = self.at_rest or answer.closed
        if answer.number > self._heard:  # else a later one came before
            self._heard = answer.number
            on_way = len(self.undelivered) + len(self.unsent)
            self._free, self._vacant = answer.free - on_way, answer.vacant - on_way

    def _whole(self, told: Told) -> Iterator[Told]:
        """Children that came before the answer that they belong to are put into that."""
        if isinstance(told, Discovered):
            self._discovered.setdefault(told.id, []).extend(told.children)
            return
        if isinstance(told, Answered):
            event = told.reply.event
            children = self._discovered.pop(event.id, None)
            if children is not None and isinstance(event, Finished | Asked):
                told = Answered(replace(told.reply, event=replace(event, children=children)))
        yield told
