"""What a runner and its agents say to each other: one request, one answer, JSON both ways.

An exchange can be repeated: an answer that was lost on its way is given again, orders that came already are not taken
in twice. So whoever carries them need promise nothing. Two exchanges go on with each agent: one that brings orders and
is answered at once, one that listens and is answered when there is something to tell.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from runner.core.events import Began, WorkerLost
from runner.workers.child import Discovered
from runner.workers.port import Looked, Order, Reply

VERSION = 1
"""Of this language. Runner and agent must speak the same."""


class Answered(Struct, frozen=True, tag=True):
    """The answer to an order."""

    reply: Reply


class Returned(Struct, frozen=True, tag=True):
    """These lay ready for longer than they should, and nobody has begun them: they are for others."""

    ids: tuple[str, ...]


Told: TypeAlias = Answered | WorkerLost | Looked | Began | Discovered | Returned


class Opening(Struct, frozen=True, kw_only=True):
    """What an agent has to know before anything else. `settings`: JSON of port.Settings."""

    settings: Raw
    preload: tuple[str, ...]  # modules
    modules: tuple[str, ...]  # which it has to have, too: the runner has them
    most: int  # worker processes
    lease: float  # seconds
    ground: str  # the runner's
    package: str  # the runner's version


class Process(Struct, frozen=True):
    """Where an agent is."""

    host: str
    pid: int
    start: str
    ground: str


class Request(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`heard`: the number of the last answer that came back; what the agent may do is reckoned from that one. A request
    with a `number` brings something, one without listens, for so many seconds; `got`: how much it has heard so far.
    """

    version: int = VERSION
    agent: str
    heard: int = -1
    opening: Opening | None = None
    number: int = 0
    orders: tuple[Order, ...] = ()
    litter: tuple[str, ...] = ()  # names in tmp/ to unlink
    look: tuple[str, ...] = ()  # ids
    recall: bool = False  # hand back what is not begun, for good
    close: bool = False  # end the workers
    listen: float = 0.0  # seconds
    got: int = 0


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`told` are numbered from `first` on. `vacant` threads have nothing to do, and `free` more orders are welcome, all
    those reckoned in that came with requests up to `taken`.
    """

    number: int = 0
    process: Process | None = None
    unfit: str = ""  # why it cannot work for this runner
    closed: bool = False  # nobody works there any more, and nobody will
    failed: str = ""  # why not, if nobody has wished so
    unknown: bool = False  # there is no such agent here
    taken: int = 0
    free: int = 0
    vacant: int = 0
    back: tuple[str, ...] = ()
    first: int = 0
    told: list[Told] = []


encode = msgspec.json.Encoder().encode
decode_request = msgspec.json.Decoder(Request).decode
decode_answer = msgspec.json.Decoder(Answer).decode
