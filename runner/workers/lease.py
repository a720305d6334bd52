"""Leases: for how long an agent may go on without a word from its runner, and when that runner may give it up.

Theory of operation. An agent works on another machine, perhaps, where nobody can look whether it is alive. So what it
may do ends by itself. It notes when it sends each answer: when a request says that this answer was heard, the agent may
go on for `lease` seconds from that moment. A runner gives up what an agent has when `lease` seconds and a margin are
over since the last answer came: by then the agent has stopped, whether its words were lost or the runner's, and however
long they were on their way. Only lengths of time are compared, each by the clock of one machine, never dates. An agent
keeps the term by two processes: its own, and the one that forks its workers, so that to stop one of them is not enough
to break it.

Before an agent is asked for anything, a file in locks/ says that there is one. Who holds the runner lock next waits
until all of these must be at rest; on our own ground it sees when they are.

Not guarded against: a machine that stops both processes, but not their workers, for longer than the margin; a clock
that runs by a hundredth slower than the runner's; and a virtual machine that is stopped, with its clock, and goes on.
Then two may be at work on one job. What the late one makes does not count: only the runner puts outputs in place.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from runner.store.files import Files, ground, process_start
from runner.store.pace import note_start, steady

LEASE = 30.0
"""Seconds, where the settings say nothing."""

PATIENCE = 1.5
"""Seconds after which one says what is waited for: agents that can be asked have ended by then."""

_PREFIX, _SUFFIX = "agent-", ".json"
_POLL = 0.05


def margin(lease: float) -> float:
    """Seconds that a runner waits beyond: for clocks that do not run alike, and for workers to be killed."""
    return 1.0 + lease / 100


class Grant(Struct, frozen=True, kw_only=True):
    """What locks/ says of an agent. Until it has answered, nobody knows its process."""

    agent: str
    lease: float
    place: str  # where it was asked for
    address: str = ""  # of the Dask scheduler
    host: str = ""
    pid: int = 0
    start: str = ""
    ground: str = ""

    @property
    def is_dead(self) -> bool:
        """Whether its process is known to be gone."""
        return self.ground == ground() and process_start(self.pid) != self.start


def new_agent() -> str:
    """A name that no other agent has. Its workers' files have it in their names."""
    return secrets.token_hex(8)


def write_grant(locks: str, grant: Grant, *, durable: bool) -> None:
    """Say in locks/ that there is such an agent, before it is given anything. Raises OSError."""
    files, path = Files(), _path(locks, grant.agent)
    folder = files.open_folder(locks)
    try:
        new = f".{os.path.basename(path)}.new"
        with suppress(FileNotFoundError):
            files.unlink(folder, new)
        files.write(folder, new, msgspec.json.encode(grant) + b"\n")
        if durable:
            files.sync_file(folder, new)
        files.rename(folder, new, folder, os.path.basename(path))
        if durable:
            files.sync_folder(folder)
    finally:
        files.close(folder)


def read_grant(locks: str, agent: str) -> Grant | None:
    """None: there is none of that name, or it cannot be read."""
    try:
        with open(_path(locks, agent), "rb") as file:
            return msgspec.json.decode(file.read(), type=Grant)
    except (OSError, ValueError):
        return None


def end_grant(locks: str, agent: str) -> None:
    """That agent is at rest, and will stay so."""
    with suppress(FileNotFoundError):
        os.unlink(_path(locks, agent))


def grants(locks: str) -> list[Grant]:
    """Of what an earlier runner has left. What cannot be read counts as one that was given just now."""
    found = []
    for name in sorted(os.listdir(locks)):
        if name.startswith(_PREFIX) and name.endswith(_SUFFIX):
            agent = name[len(_PREFIX) : -len(_SUFFIX)]
            found.append(read_grant(locks, agent) or Grant(agent=agent, lease=LEASE, place="?"))
    return found


def settle(
    locks: str, say: Callable[[str], None], dismiss: Callable[[Sequence[Grant]], Collection[str]] | None = None
) -> bool:
    """Wait until no agent of an earlier runner can be at work. Only the holder of the runner lock may call this.
    Whether there were any.

    `dismiss` may make that quicker: it asks these agents to end, and gives the names of those that have.
    """
    since = steady()
    left = _still(locks, found := grants(locks))
    ended: set[str] = set()
    if left and dismiss is not None:
        asked = tuple(left)
        threading.Thread(target=lambda: ended.update(dismiss(asked)), name="dismiss", daemon=True).start()
    told = False
    while left:
        now = steady()
        over = [g for g in left if g.agent in ended or now > since + g.lease + margin(g.lease)]
        for grant in over:
            end_grant(locks, grant.agent)
        left = _still(locks, [grant for grant in left if grant not in over])
        if left and not told and steady() > since + PATIENCE:
            told = True
            seconds = max(grant.lease + margin(grant.lease) for grant in left) - (steady() - since)
            places = ", ".join(dict.fromkeys(grant.host or grant.place for grant in left))
            say(f"an earlier run may still be at work on {places}: waiting until that must be over, {seconds:.0f} s")
        time.sleep(_POLL if left else 0)
    if found:  # a job with a rate may have begun there a moment ago
        files = Files()
        folder = files.open_folder(locks)
        try:
            note_start(files, folder)
        finally:
            files.close(folder)
    return bool(found)


def _still(locks: str, left: list[Grant]) -> list[Grant]:
    """Those not known to be dead; the others are struck off."""
    for grant in left:
        if grant.is_dead:
            end_grant(locks, grant.agent)
    return [grant for grant in left if not grant.is_dead]


def _path(locks: str, agent: str) -> str:
    return os.path.join(locks, f"{_PREFIX}{agent}{_SUFFIX}")
