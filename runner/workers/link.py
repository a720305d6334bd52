"""What carries requests to agents, and says where agents can be: `dask.py`, `pilots.py`. Must not know orders."""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias


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
