"""An agent: works for a runner in a process that is not the runner's, on another machine, perhaps.

It has worker processes of its own there (`local.py`), so that all is as it is on the runner's machine: time-outs, logs,
deaths. It says nothing by itself: it answers when it is asked (`exchange.py`). What it may do ends when it has not been
asked for long enough (`lease.py`): then its workers are killed.

Must not write to the state folder, but by its workers. Must not import what the user wrote: its workers do.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import inf

import msgspec
from msgspec.structs import replace

from runner.core.events import Asked, Began, Finished, WorkerLost
from runner.errors import RunnerError, StateError, plainly
from runner.store.files import ground, process_start
from runner.store.pace import steady
from runner.store.shelf import LOCKS, TMP
from runner.workers.child import PORTION, Discovered
from runner.workers.exchange import (
    VERSION,
    Answer,
    Answered,
    Opening,
    Process,
    Request,
    Returned,
    Told,
    decode_request,
    encode,
)
from runner.workers.lease import read_grant
from runner.workers.local import LocalExecutor
from runner.workers.orphans import clear_dead
from runner.workers.port import Outcome, Reply, Settings

BOUND = 0.1
"""Seconds for which an order may lie here while no worker has room for it; then it is for others."""

IDLE = 0.25
"""Seconds between two looks at whether there is more to do."""

WAY = 0.05
"""Seconds that may pass between an answer and the orders that follow from it: so much work may lie ready, beyond what
workers need."""

AT_ONCE = 4096
"""How much is told in one answer: jobs, and children of jobs."""

PATIENCE = 2.0
"""Seconds to wait until the agent's own thread has taken in what came; then it is asked again."""

KEPT = 600.0
"""Seconds for which what an agent has to tell is kept, once it is at rest."""

_agents: dict[str, Agent] = {}
_lock = threading.Lock()


def exchange(data: bytes, threads: int = 1) -> bytes:
    """One request to an agent in this process, and its answer. `threads`: most workers that a new one may have. May
    wait as long as the request says. Raises ValueError for what is no request, StandsStill.
    """
    request = decode_request(data)
    if request.version != VERSION:
        return encode(Answer(unfit="its package `runner` is of another version", process=_me()))
    agent = _known(request, threads)
    if isinstance(agent, Answer):
        return encode(agent)
    return encode(agent.answer(request))


def _known(request: Request, threads: int) -> Agent | Answer:
    with _lock:
        for name in [name for name, agent in _agents.items() if agent.is_over]:
            del _agents[name]
        agent = _agents.get(request.agent)
    if agent is not None:
        return agent
    if request.opening is None:
        return Answer(unknown=True, process=_me())
    reason = _unfitness(request.opening, request.agent)  # outside of the lock: the folder may not answer for long
    if reason is not None:
        return Answer(unfit=reason, process=_me())
    with _lock:
        if request.agent not in _agents:
            _agents[request.agent] = Agent(request.agent, request.opening, threads)
        return _agents[request.agent]


def _me() -> Process:
    pid = os.getpid()
    return Process(os.uname().nodename, pid, process_start(pid) or "", ground())


def _unfitness(opening: Opening, agent: str) -> str | None:
    """Why this process cannot work for that runner; None if it can."""
    settings = msgspec.json.decode(opening.settings, type=Settings)
    if opening.package != (here := package_version()):
        return f"its package `runner` is version {here}, and the runner's is {opening.package}: install that"
    shared = "runner and workers have to see one folder under one path (NFS, say)"
    if not os.path.isdir(settings.root):
        return f"it does not see the project, {settings.root}: {shared}"
    if not os.path.isdir(settings.state):
        return f"it does not see the state, {settings.state}: {shared}"
    if read_grant(os.path.join(settings.state, LOCKS), agent) is None:
        return f"what it sees as the state, {settings.state}, is another folder than the runner's: {shared}"
    if not os.access(os.path.join(settings.state, TMP), os.W_OK):
        return f"it may not write to the state, {settings.state}: let it run as the user that the runner runs as"
    lacking = next((module for module in opening.modules if not has_module(module, settings.root)), None)
    if lacking is not None:
        return f"it has no module {lacking!r}, which the jobs are in: install it there, as on the runner's machine"
    return None


def has_module(module: str, root: str) -> bool:
    """Whether a worker could import it. Nothing is imported: that is for the workers."""
    with suppress(ImportError, ValueError):  # a finder of somebody's may raise, or a module in memory have no spec
        return bool(PathFinder.find_spec(module, [root]) or find_spec(module))
    return True


def package_version() -> str:
    """Of this package; "" where it is not installed, but lies on the path."""
    try:
        return version("runner")
    except PackageNotFoundError:
        return ""


class StandsStill(RuntimeError):
    """The agent's thread does not get on: no answer is to tell that it is well."""


class Agent:
    """Works from the moment it is made, as soon as a request says that its first answer was heard."""

    def __init__(self, name: str, opening: Opening, threads: int) -> None:
        settings = msgspec.json.decode(opening.settings, type=Settings)
        self._lease = opening.lease
        self._settings = replace(settings, agent=name, afar=opening.ground != ground())
        self._workers = max(1, min(threads, opening.most))
        self._preload = opening.preload
        self._tmp = os.path.join(settings.state, TMP)
        self._until = steady() + self._lease
        self._sent: dict[int, float] = {}  # answers that nobody has said were heard -> when they were sent
        self._answers = 0
        self._heard = -1
        self._changed = threading.Condition()
        self._came: deque[Request] = deque()
        self._taken = 0  # the number of the last request that the thread has taken in
        self._received = 0  # and that came
        self._told: deque[Told] = deque()
        self._first = 0  # the number of the first of them
        self._free = self._vacant = 0
        self._said = (0, 0)  # these, when they were told last
        self._back: tuple[str, ...] = ()
        self._closed = False
        self._closed_at = inf
        self._failed = ""
        self._turned = steady()  # when the thread last came round
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._work, name=f"agent-{name}", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------------- being asked

    def answer(self, request: Request) -> Answer:
        """Take in what a request brings, or wait for something to tell."""
        with self._changed:
            if not self._closed and steady() - self._turned > self._lease / 2:
                raise StandsStill("its thread stands still")
            self._hear(request.heard)
            if not self._closed and request.number:
                self._bring(request)
            elif not self._closed and request.listen:
                self._forget(request.got)
                left = (self._until - steady()) / 2  # or the lease would run out while nothing is said
                seconds = max(0.0, min(request.listen, left))
                self._changed.wait_for(lambda: bool(self._told or self._is_freer or self._closed), seconds)
            elif request.listen:
                self._forget(request.got)
            return self._answer(told=not request.number, close=request.close)

    @property
    def is_over(self) -> bool:
        """Whether it is at rest, and nobody will ask any more what there was to tell."""
        untold = bool(self._told or self._failed)
        return self._closed and (not untold or steady() > self._closed_at + KEPT)

    def _forget(self, got: int) -> None:
        while self._told and self._first < got:
            self._told.popleft()
            self._first += 1

    @property
    def _is_freer(self) -> bool:
        """Whether more could be begun than whoever listens may know."""
        free, vacant = self._said
        return self._vacant > vacant or (self._free > 0 and free == 0)

    def _hear(self, heard: int) -> None:
        """The answer of that number came back: so much longer may be worked."""
        sent = self._sent.get(heard)
        if sent is None or steady() >= self._until:
            return
        self._heard = heard
        self._until = max(self._until, sent + self._lease)
        self._sent = {number: at for number, at in self._sent.items() if number >= heard}
        self._poke()

    def _bring(self, request: Request) -> None:
        if self._heard < 0 and not request.close:
            return
        if request.number > self._received:
            self._received = request.number
            self._came.append(request)
            self._poke()
        self._changed.wait_for(lambda: self._taken >= request.number or self._closed, PATIENCE)

    def _answer(self, *, told: bool, close: bool) -> Answer:
        """It is `closed` for whoever has heard all there was to tell, or wants to hear no more."""
        self._answers += 1
        some = self._some() if told else []
        self._sent[self._answers] = steady()
        self._said = (self._free, self._vacant)
        return Answer(
            number=self._answers,
            closed=self._closed and (close or len(some) == len(self._told)),
            failed=self._failed,
            taken=self._taken,
            free=self._free,
            vacant=self._vacant,
            back=self._back,
            first=self._first,
            told=some,
            process=_me(),
        )

    def _some(self) -> list[Told]:
        """The next that is to be told, no more than one answer should hold. A moment lies in the past by then."""
        some: list[Told] = []
        size, now = 0, steady()
        for told in self._told:
            size += 1 + (len(told.children) if isinstance(told, Discovered) else 0)
            if some and size > AT_ONCE:
                break
            if isinstance(told, Began) and self._settings.afar:
                told = Began(told.id, told.at - now)
            some.append(told)
        return some

    def _poke(self) -> None:
        if not self._closed:
            with suppress(BlockingIOError):
                os.write(self._waker, b".")

    # ---------------------------------------------------------------------------------------------------- the thread

    def _work(self) -> None:
        """All that is done with the workers is done by this thread: they end with it."""
        failed = "it has failed: its log says why"
        try:
            clear_dead(os.path.join(self._settings.state, LOCKS))
            executor = LocalExecutor(self._workers, self._settings, self._preload, until=self._until)
            try:
                executor.watch(self._wake)
                self._serve(executor)
            finally:
                executor.close()
            failed = ""
        except (OSError, RunnerError) as error:  # what forks the workers may know first that the lease is over
            failed = plainly(error) if steady() < self._until else ""
        finally:
            with self._changed:
                self._closed, self._failed, self._closed_at = True, failed, steady()
                os.close(self._wake)
                os.close(self._waker)
                self._changed.notify_all()
            with _lock:
                if self.is_over:
                    _agents.pop(self._settings.agent, None)

    def _serve(self, executor: LocalExecutor) -> None:
        """Until the runner says so, or has not been heard for the length of the lease."""
        since: dict[str, float] = {}  # when orders came
        until = self._until
        while True:
            self._turned = steady()
            self._drain()
            if self._until > until:
                until = self._until
                executor.extend(until)
            if steady() >= until:
                return
            with self._changed:
                came, self._came = self._came, deque()
            for request in came:
                if request.close:
                    return
                self._take(request, executor, since)
            self._note(executor, [], came)
            pause = BOUND / 4 if any(executor.lying) else IDLE
            found = executor.wait(min(pause, until - steady()))
            if executor.broken:  # and the runner could
                raise StateError(f"{executor.broken}; it has to be as on the runner's machine")
            self._note(executor, [*_pieces(found), *self._surplus(executor, since)], ())
            for outcome in found:
                _forget(since, outcome)

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            while os.read(self._wake, 4096):
                pass

    def _take(self, request: Request, executor: LocalExecutor, since: dict[str, float]) -> None:
        for name in request.litter:
            with suppress(OSError):
                os.unlink(os.path.join(self._tmp, name))
        now = time.monotonic()
        if request.orders:
            since.update((order.id, now) for order in request.orders)
            executor.start(request.orders)
        if request.look:
            executor.look(request.look)
        if request.recall:
            self._back = executor.unbegun()

    @staticmethod
    def _surplus(executor: LocalExecutor, since: dict[str, float]) -> list[Told]:
        """What lies here for too long."""
        late = time.monotonic() - BOUND
        if all(since[order.id] > late for order in executor.lying):
            return []
        ids = tuple(order.id for order in executor.surplus())
        for id in ids:
            since.pop(id, None)
        return [Returned(ids)]

    def _note(self, executor: LocalExecutor, told: list[Told], came: Iterable[Request]) -> None:
        with self._changed:
            self._told += told
            self._free, self._vacant = executor.free_for(WAY), executor.vacant()
            for request in came:
                self._taken = request.number
            self._changed.notify_all()


def _pieces(found: Iterable[Outcome]) -> Iterable[Told]:
    """Outcomes as they are told: many children in portions before the answer that they belong to."""
    for outcome in found:
        if not isinstance(outcome, Reply):
            yield outcome
            continue
        event = outcome.event
        children = event.children if isinstance(event, Finished | Asked) else None
        if children is not None and len(children) > PORTION:
            for start in range(0, len(children), PORTION):
                yield Discovered(event.id, children[start : start + PORTION])
            outcome = replace(outcome, event=replace(event, children=[]))
        yield Answered(outcome)


def _forget(since: dict[str, float], outcome: Outcome) -> None:
    match outcome:
        case Reply(event=event):
            since.pop(event.id, None)
        case WorkerLost(begun=begun, waiting=waiting):
            for id in (*begun, *waiting):
                since.pop(id, None)
