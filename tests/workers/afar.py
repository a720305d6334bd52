"""A link to agents in this very process, whose faults a test chooses; and a fleet on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from runner.workers import agent
from runner.workers.exchange import Answer, Request, decode_answer, decode_request, encode
from runner.workers.fleet import Fleet
from runner.workers.link import Broke, Came, Joined, Left, Word
from runner.workers.mailbox import Mailbox
from tests.workers.support import Yard


@dataclass
class Lines:
    """The Link. `loses` says of each request, and of each answer, whether it is lost on its way; what is lost on a lane
    that is `cut` is found out when the answer is overdue."""

    lanes: dict[str, int]
    address: str = ""
    lacking: str = "start one"
    loses: Callable[[Request | Answer], bool] = lambda word: False
    alters: Callable[[Request], Request] = lambda request: request
    cut: set[str] = field(default_factory=set)
    asked: list[Request] = field(default_factory=list)
    answered: list[Answer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._words: Mailbox[Word] = Mailbox()
        self.fd = self._words.fd
        self._pool = ThreadPoolExecutor(32)
        for lane, size in self.lanes.items():
            self.say(Joined(lane, size))

    def ask(self, lane: str, name: str, way: int, data: bytes, seconds: float) -> None:
        self._pool.submit(self._ask, lane, name, way, data, seconds)

    def take(self) -> list[Word]:
        return self._words.take()

    def say(self, word: Word) -> None:
        self._words.put(word)

    def leave(self, lane: str) -> None:
        self.say(Left(lane))

    def close(self) -> None:
        self._pool.shutdown(wait=False)
        self._words.close()

    def _ask(self, lane: str, name: str, way: int, data: bytes, seconds: float) -> None:
        request = self.alters(decode_request(data))
        self.asked.append(request)
        began = time.monotonic()
        lost = lane not in self.cut and self.loses(request)
        try:
            answer = b"" if lost or lane in self.cut else agent.exchange(encode(request), self.lanes[lane])
        except agent.StandsStill as error:
            self.say(Broke(lane, name, way, f"it cannot be asked ({error})"))
            return
        if lane in self.cut:
            time.sleep(max(0.0, began + seconds - time.monotonic()))
            self.say(Broke(lane, name, way))
            return
        if not lost:
            self.answered.append(decode_answer(answer))
            lost = self.loses(self.answered[-1])
        self.say(Broke(lane, name, way) if lost else Came(lane, name, way, answer))


@contextmanager
def a_fleet(
    yard: Yard, *, lease: float = 3.0, most: int | None = None, link: Lines | None = None, **settings: Any
) -> Iterator[tuple[Fleet, Lines, list[str]]]:
    """With what it says."""
    link = link or Lines({"one": 1, "two": 1})
    said: list[str] = []
    fleet = Fleet(link, yard.settings(**settings), ["tests.workers.tasks"], most=most, lease=lease, say=said.append)
    try:
        yield fleet, link, said
    finally:
        fleet.close()
        deadline = time.monotonic() + lease + 15
        while any(thread.name.startswith("agent-") for thread in threading.enumerate()):
            assert time.monotonic() < deadline, "an agent has outlived its fleet"
            time.sleep(0.01)
