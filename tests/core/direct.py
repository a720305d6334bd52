"""An engine with nothing around it, told events one by one; and proposals and commands in few words."""

from __future__ import annotations

from typing import Any

from runner.core.commands import Command
from runner.core.engine import Engine
from runner.core.events import Continued, Event, Failed, Finished, Returned, Slots, Submitted, WorkerLost
from runner.core.ledger import output_hash
from runner.core.model import Need, Proposal, Status


def id_of(path: str, name: str = "Job") -> str:
    return f"{name}-{output_hash(path)}"


def wish(path: str, *after: str, name: str = "Job", reads: tuple[str, ...] = (), **more: Any) -> Proposal:
    """A proposal of the job that makes `path`; `also` are other outputs."""
    fields: dict[str, Any] = {
        "params": {},
        "fingerprint": "",
        "after": tuple(map(id_of, after)),
        "inputs": tuple(map(Need, reads)),
        "outputs": (path, *more.pop("also", ())),
    }
    return Proposal(id=id_of(path, name), task=f"jobs.x:{name}", **{**fields, **more})


def names(commands: list[Command]) -> list[str]:
    """The commands in short: what, and the first output of whom."""
    paths = {id_of(path): path for path in "abcdexyz"}

    def one(command: Any) -> str:
        id = command.proposal.id if hasattr(command, "proposal") else getattr(command, "id", "")
        return f"{getattr(command, 'step', type(command).__name__.lower())} {paths.get(id, id)}".strip()

    return [one(command) for command in commands]


class Direct:
    """An engine with nothing around it."""

    def __init__(self, *batch: Proposal, **options: Any) -> None:
        self.engine = Engine(**options)
        self.now = 0.0
        if batch:
            self.do(Submitted(list(batch)))

    def do(self, *events: Event) -> list[Command]:
        """What the engine says to these, and to the rest of what they propose."""
        commands = []
        for event in events:
            commands += self.engine.handle(event, self.now)
            while self.engine.entering or self.engine.deferred:
                commands += self.engine.handle(Continued(50), self.now)
        return commands

    def slots(self, free: int = 9) -> list[str]:
        return names(self.do(Slots(free)))

    def finish(self, path: str, *children: Proposal, **more: Any) -> list[str]:
        id = id_of(path)
        return names(self.do(Returned(id), Finished(id=id, record="r", children=list(children), **more)))

    def fail(self, path: str, retry_in: float | None = None) -> list[str]:
        id = id_of(path)
        return names(self.do(Returned(id), Failed(id=id, record="r", retry_in=retry_in)))

    def lose(self, *begun: str, waiting: str = "", outcome: str = "died", guilty: str = "") -> list[Command]:
        ids = [*map(id_of, begun), *map(id_of, waiting)]
        lost = WorkerLost(
            begun=tuple(map(id_of, begun)),
            waiting=tuple(map(id_of, waiting)),
            outcome=outcome,
            message="its worker died",
            guilty=tuple(map(id_of, guilty)),
        )
        return self.do(*map(Returned, ids), lost)

    def status(self, path: str) -> Status | None:
        return self.engine.ledger.status(id_of(path))
