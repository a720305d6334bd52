"""Whether a batch of proposals can be admitted, and as what. It decides; it changes nothing.

So a batch that is refused (a conflict, a cycle, endless growth) leaves no trace, and the one that proposed it can be
failed with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from msgspec import Struct

from runner.core import policy
from runner.core.ledger import Ledger, Node, Phase
from runner.core.model import Need, Proposal, Status
from runner.errors import Conflict, CycleFound, GrowthLimit


class Fate(Enum):
    """What a proposal means for the job it names."""

    NEW = "nobody knew it"
    JUDGE = "done: compare it with its record"
    RETRY = "failed, cancelled or blocked: try it again"
    WISH = "take the new wish, nothing else"
    JOIN = "waiting: take the new wish and what it comes after"


class Admitted(Struct, frozen=True):
    """One proposal of an admitted batch."""

    proposal: Proposal
    fate: Fate
    after: tuple[str, ...]
    missing: tuple[Need, ...]


class Plan(Struct, frozen=True):
    """A batch that can be admitted."""

    admitted: list[Admitted]
    superseded: list[tuple[str, str]]  # (a former owner, who makes its output now)
    bound: list[tuple[str, str, str]]  # (a job that lacked an input, the job of this batch that makes it, its path)


class Admission:
    """The rules of admission for one run."""

    def __init__(self, ledger: Ledger, *, resuming: bool) -> None:
        self._ledger = ledger
        self._resuming = resuming

    def plan(self, batch: list[Proposal], wanted: dict[str, set[str]], *, by_name: bool) -> Plan:
        """What admitting `batch` means; `wanted`: path -> jobs that lack it.

        Raises Conflict, CycleFound or GrowthLimit.
        """
        makers = {path: p.id for p in batch for path in p.outputs}
        admitted: list[Admitted] = []
        superseded: list[tuple[str, str]] = []
        bound: list[tuple[str, str, str]] = []
        for proposal in batch:
            self._check_depth(proposal)
            node = self._ledger.node(proposal.id)
            if node is not None and node.proposed and node.fingerprint != proposal.fingerprint:
                raise Conflict(
                    f"{proposal.id} ({proposal.task}) was proposed with different parameters by "
                    f"{_finder(node.found_by)} and by {_finder(proposal.found_by)}; give them different outputs"
                )
            superseded.extend(self._former_owners(proposal))
            admitted.append(self._admit(proposal, makers, by_name))
            if wanted:
                bound.extend(
                    (id, proposal.id, path)
                    for path in proposal.outputs
                    for id in sorted(wanted.get(path, ()))
                    if id != proposal.id
                )
        self._check_cycles(admitted, bound)
        return Plan(admitted, superseded, bound)

    def _admit(self, proposal: Proposal, makers: dict[str, str], by_name: bool) -> Admitted:
        after = list(proposal.after)
        missing = []
        for need in proposal.inputs:
            maker = makers.get(need.path) or self._ledger.maker(need.path)
            if maker == proposal.id:
                raise CycleFound(
                    f"a cycle, {maker} waits for itself: {need.path} is its Input and its Output", (maker, maker)
                )
            if maker is not None:
                if maker not in after:
                    after.append(maker)
            elif not need.exists:
                missing.append(need)
        return Admitted(proposal, self._fate(proposal.id, by_name), tuple(after), tuple(missing))

    def _fate(self, id: str, by_name: bool) -> Fate:
        status, node = self._ledger.status(id), self._ledger.node(id)
        touched = node is not None  # by this run: what it settled stays settled, what it is at stays as it is
        match status:
            case None | Status.QUARANTINE:
                return Fate.NEW
            case Status.DONE:
                return Fate.WISH if node is not None and (node.open or node.proposed) and not by_name else Fate.JUDGE
            case Status.RUNNING:
                return Fate.WISH
            case Status.PENDING:
                return Fate.JOIN
            case Status.BLOCKED if node is not None and node.open:
                return Fate.JOIN
            case Status.FAILED if by_name or not (self._resuming or touched):
                return Fate.RETRY
            case Status.BLOCKED if by_name or not (self._resuming or (node is not None and node.proposed)):
                return Fate.RETRY
            case Status.CANCELLED if by_name or id in self._ledger.revivable:
                return Fate.RETRY
            case _:
                return Fate.WISH

    def _former_owners(self, proposal: Proposal) -> Iterable[tuple[str, str]]:
        for path in proposal.outputs:
            for id in self._ledger.owners(path):
                if id == proposal.id or self._ledger.status(id) in (Status.CANCELLED, Status.QUARANTINE):
                    continue
                node = self._ledger.node(id)
                if node is not None and (node.proposed or node.status is Status.RUNNING):
                    raise Conflict(
                        f"{path} is the output of two jobs: {id} (found by {_finder(node.found_by)}) and "
                        f"{proposal.id} (found by {_finder(proposal.found_by)}); give each an output of its own"
                    )
                yield id, proposal.id

    def _check_depth(self, proposal: Proposal) -> None:
        if proposal.depth <= policy.MAX_DEPTH:
            return
        chain = [proposal.id]
        finder = proposal.found_by
        while finder is not None and len(chain) < 8:
            chain.append(finder)
            node = self._ledger.node(finder)
            finder = node.found_by if node is not None else None
        raise GrowthLimit(
            f"jobs have found each other {proposal.depth} deep (the limit is {policy.MAX_DEPTH}): "
            + " <- ".join(chain)
            + (" <- ..." if finder else "")
        )

    def _check_cycles(self, admitted: list[Admitted], bound: list[tuple[str, str, str]]) -> None:
        """A job that is known already must not come to wait for one that waits for it.

        Among the new ones the sorter finds the cycle; this is for edges that known jobs gain.
        """
        after = {entry.proposal.id: entry.after for entry in admitted}
        gained = [(id, maker) for id, maker, _ in bound]
        for entry in admitted:
            node = self._ledger.node(entry.proposal.id)
            if entry.fate is Fate.JOIN and node is not None:
                gained.extend((node.id, id) for id in entry.after if id not in node.after)
        for id, _ in gained:
            node = self._ledger.node(id)
            after[id] = tuple(after.get(id, node.after if node else ())) + tuple(m for i, m in gained if i == id)
        for id, maker in gained:
            path = self._path(maker, id, after)
            if path:
                cycle = (id, *path)
                raise CycleFound("a cycle, tasks that wait for each other: " + " -> ".join(cycle), cycle)

    def _path(self, start: str, goal: str, after: dict[str, tuple[str, ...]]) -> list[str]:
        """The jobs from `start` to `goal`, each waiting for the next; empty if there is no such chain."""
        came: dict[str, str | None] = {start: None}
        stack = [start]
        while stack:
            id = stack.pop()
            if id == goal:
                path = [id]
                while (back := came[path[-1]]) is not None:
                    path.append(back)
                return path[::-1]
            node = self._ledger.node(id)
            for upstream in after.get(id) or (node.after if node is not None and node.open else ()):
                if upstream not in came and (upstream in after or self._ledger.is_open(upstream)):
                    came[upstream] = id
                    stack.append(upstream)
        return []


def unstarted(node: Node) -> bool:
    """Whether a job may still gain an edge."""
    return node.phase in (Phase.WAITING, Phase.HELD, Phase.DELAYED, Phase.READY)


def _finder(id: str | None) -> str:
    return id or "the run itself"
