"""Whether a batch of proposals can be admitted, and as what. It decides; it changes nothing.

So a batch that is refused (a conflict, a cycle, endless growth) leaves no trace, and the one that proposed it can be
failed with the reason.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from enum import Enum
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from runner.core import policy
from runner.core.graph import prepared
from runner.core.ledger import BUSY, Ledger, Node, Phase, Several
from runner.core.model import CANCELLED, DONE, FAILED, QUARANTINE, Need, Proposal, Status
from runner.errors import Conflict, CycleFound, GrowthLimit


class Fate(Enum):
    """What a proposal means for the job it names."""

    NEW = "nobody knew it"
    JUDGE = "done: compare it with its record"
    RETRY = "failed, cancelled or blocked: try it again"
    JOIN = "waiting, or blocked: take the new wish and what it comes after"
    WISH = "take the new wish, nothing else"
    REJUDGE = "a worker has it: take the new wish, and compare it with its record when the worker is through"


NEW, JUDGE, RETRY, JOIN, WISH, REJUDGE = Fate


class Admitted(Struct, frozen=True):
    """One proposal of an admitted batch."""

    proposal: Proposal
    fate: Fate
    after: tuple[str, ...]
    unmade: tuple[Need, ...]  # Inputs that no job makes


class Plan(Struct, frozen=True):
    """A batch that can be admitted."""

    admitted: list[Admitted]
    superseded: dict[str, str]  # a former owner -> who makes its output now
    rebound: dict[str, tuple[str, ...]]  # a job outside the batch -> what it comes after from now on
    outdated: Sequence[Proposal] = ()  # of the batch, and not to be admitted
    divisible: bool = False  # it is large, and can enter part by part


Steps: TypeAlias = Generator[None, None, Plan]


class Admission:
    """The rules of admission for one run."""

    def __init__(self, ledger: Ledger, *, resuming: bool) -> None:
        self._ledger = ledger
        self._resuming = resuming

    def steps(self, batch: list[Proposal], unmade: Several, *, by_name: bool, part: int) -> Steps:
        """What admitting `batch` means; `unmade`: path -> jobs that read it, and nobody made it so far. `part`: larger
        ones are to enter in parts, if that can be.

        It is found out in small steps, so that others need not wait for the end of a large one. Raises Conflict,
        CycleFound or GrowthLimit.
        """
        outdated = []
        for each in batch:
            yield
            if each.found_by is not None and self._is_outdated(each, by_name):
                outdated.append(each)
        if outdated:
            left_out = {proposal.id for proposal in outdated}
            batch = [proposal for proposal in batch if proposal.id not in left_out]
        makers = {path: proposal.id for proposal in batch for path in proposal.outputs}
        ids = {proposal.id for proposal in batch}
        superseded: dict[str, str] = {}
        for proposal in batch:
            yield
            self._find_former_owners(proposal, ids, superseded)
        admitted = []
        for proposal in batch:
            yield
            admitted.append(self._admit(proposal, ids, makers, superseded, by_name))
        rebound = self._rebind(makers, unmade, superseded, ids)
        yield from self._check_batch(admitted, rebound, superseded)
        divisible = False
        if len(batch) > part and not superseded:
            divisible = yield from self._is_divisible(admitted)
        return Plan(admitted, superseded, rebound, outdated, divisible)

    def _is_divisible(self, admitted: list[Admitted]) -> Generator[None, None, bool]:
        """Whether a batch can be entered part by part, in its order: nobody waits for one that comes later, and nothing
        changes for what may start meanwhile.
        """
        ledger, waited_for = self._ledger, self._ledger.anybody_waits
        later = {entry.proposal.id for entry in admitted}
        for entry in admitted:
            yield
            id, fate = entry.proposal.id, entry.fate
            if fate is RETRY or (entry.after and not later.isdisjoint(entry.after)):
                return False
            if fate is not NEW and ledger.is_open(id):
                return False
            if fate is not NEW and waited_for and any(reader.open for reader in ledger.readers(id)):
                return False
            later.discard(id)
        return True

    def anew(self, entry: Admitted, *, by_name: bool) -> Admitted:
        """The entry of a plan that is some events old: workers may have begun and ended jobs since."""
        if entry.fate is NEW or self._ledger.node(entry.proposal.id) is None:  # nobody touched it meanwhile
            return entry
        return replace(entry, fate=self._fate(entry.proposal, by_name))

    def _admit(
        self,
        proposal: Proposal,
        batch: set[str],
        makers: Mapping[str, str],
        superseded: Mapping[str, str],
        by_name: bool,
    ) -> Admitted:
        node = self._ledger.node(proposal.id)
        named = proposal.after
        if node is not None and node.proposed:
            proposal = self._said_before(node, proposal, by_name)
            if node.fingerprint == proposal.fingerprint:
                named = (*named, *node.after)
        if proposal.depth > policy.MAX_DEPTH:
            raise GrowthLimit(self._too_deep(proposal))
        if superseded:
            named = tuple(superseded.get(id, id) for id in named if superseded.get(id) != proposal.id)
        if named:
            now = {id: id if id in batch else self._ledger.successor(id) for id in named}
            named = tuple(maker for id, maker in now.items() if maker == id or maker != proposal.id)
        if not proposal.inputs:
            return Admitted(proposal, self._fate(proposal, by_name), tuple(dict.fromkeys(named)) if named else (), ())
        after = dict.fromkeys(named)
        unmade = []
        for need in proposal.inputs:
            maker = makers.get(need.path) or self._ledger.maker(need.path)
            if maker == proposal.id:
                raise CycleFound(
                    f"a cycle, {maker} waits for itself: {need.path} is its Input and its Output", (maker, maker)
                )
            if maker is None:
                unmade.append(need)
            else:
                after[maker] = None
        return Admitted(proposal, self._fate(proposal, by_name), tuple(after), tuple(unmade))

    def _said_before(self, node: Node, proposal: Proposal, by_name: bool) -> Proposal:
        """A job that this run was told of already: its first finder stays, and the shortest way to it counts."""
        other = node.fingerprint != proposal.fingerprint and node.found_by != proposal.found_by
        if other and not by_name and not self._is_left_over(node.found_by):
            raise Conflict(
                f"{proposal.id} ({proposal.task}) was proposed with different parameters by "
                f"{_finder(node.found_by)} and by {_finder(proposal.found_by)}; give them different outputs"
            )
        found_by, depth = node.found_by or proposal.found_by, min(node.depth, proposal.depth)
        if (found_by, depth) == (proposal.found_by, proposal.depth):
            return proposal
        return replace(proposal, found_by=found_by, depth=depth)

    def _is_outdated(self, proposal: Proposal, by_name: bool) -> bool:
        """Whether somebody whom this run has only taken over wants it to be other than one whom it has come to does."""
        node = self._ledger.node(proposal.id)
        if node is None or not node.proposed or node.fingerprint == proposal.fingerprint or by_name:
            return False
        return self._is_left_over(proposal.found_by) and not self._is_left_over(node.found_by)

    def _is_left_over(self, finder: str | None) -> bool:
        """Whether a finder runs only because an earlier run did not come to it: it may be dropped by now."""
        node = self._ledger.node(finder) if finder is not None else None
        return node is not None and not node.proposed

    def _fate(self, proposal: Proposal, by_name: bool) -> Fate:
        """What this run settled stays settled, and what it is at stays as it is, unless the wish is another."""
        id = proposal.id
        node = self._ledger.node(id)
        status = self._ledger.status(id) if node is None else node.status
        if status is DONE and node is None:
            return JUDGE
        wish = node.fingerprint if node is not None else None
        other = by_name or (wish is not None and wish != proposal.fingerprint)
        match status:
            case None | Status.QUARANTINE:
                return NEW
            case Status.PENDING:
                return JOIN
            case Status.RUNNING:
                return REJUDGE if other else WISH
            case Status.DONE:
                assert node is not None
                return _fate_of_done(node, other)
            case Status.FAILED if other or (id not in self._ledger.failed and (node is None or not node.reached)):
                return RETRY
            case Status.BLOCKED if node is not None and node.open:
                return JOIN
            case Status.BLOCKED if by_name or not (self._resuming or (node is not None and node.proposed)):
                return RETRY
            case Status.BLOCKED:
                return JOIN
            case Status.CANCELLED if by_name or id in self._ledger.revivable:
                return RETRY
            case _:
                return WISH

    def _find_former_owners(self, proposal: Proposal, batch: set[str], superseded: dict[str, str]) -> None:
        for path, id in self._ledger.rivals(proposal):
            if id in batch or self._ledger.status(id) in (CANCELLED, QUARANTINE):
                continue
            node = self._ledger.node(id)
            if node is not None and (node.proposed or node.phase is BUSY):
                raise Conflict(
                    f"{path} is the output of two jobs: {id} (found by {_finder(node.found_by)}) and "
                    f"{proposal.id} (found by {_finder(proposal.found_by)}); give each an output of its own"
                )
            superseded.setdefault(id, proposal.id)

    def _rebind(
        self, makers: Mapping[str, str], unmade: Several, superseded: Mapping[str, str], batch: set[str]
    ) -> dict[str, tuple[str, ...]]:
        """Who reads what a job of this batch turned up to make comes after it, and no more after a former owner."""
        gained: dict[str, list[str]] = {}
        for former in superseded:
            for node in self._ledger.readers(former):
                gained.setdefault(node.id, [])
        for path, maker in makers.items() if unmade else ():
            for id in unmade.get(path):
                gained.setdefault(id, []).append(maker)
        rebound: dict[str, tuple[str, ...]] = {}
        for id, owners in gained.items():
            reader = self._ledger.node(id)
            if reader is None or id in batch or id in superseded:
                continue
            if reader.status in (FAILED, CANCELLED):
                continue
            stay = (superseded.get(upstream, upstream) for upstream in reader.after)
            after = tuple(dict.fromkeys((*stay, *owners)))
            if after != reader.after:
                rebound[id] = after
        return rebound

    def _too_deep(self, proposal: Proposal) -> str:
        chain = [proposal.id]
        finder = proposal.found_by
        while finder is not None and len(chain) < 8:
            chain.append(finder)
            node = self._ledger.node(finder)
            finder = node.found_by if node is not None else None
        return (
            f"jobs have found each other {proposal.depth} deep (the limit is {policy.MAX_DEPTH}): "
            + " <- ".join(chain)
            + (" <- ..." if finder else "")
        )

    def _check_batch(
        self, admitted: Sequence[Admitted], rebound: dict[str, tuple[str, ...]], superseded: Mapping[str, str]
    ) -> Generator[None, None, None]:
        """A job that is known already must not come to wait for one that waits for it. Raises CycleFound.

        Cycles among those that the batch sets to wait are left to its sorter. Any other comes into the batch from a
        job outside, or goes through one that is only wished for; and it takes somebody who comes after somebody new.
        """
        edges = {entry.proposal.id: entry.after for entry in admitted if entry.after} | rebound
        if not any(upstream and self._is_new(id, upstream) for id, upstream in edges.items()):
            return
        # Jobs known by name only are not rebound: who comes after a former owner there comes after the new one.
        heirs = {former: (owner,) for former, owner in superseded.items()}
        after = {entry.proposal.id: entry.after for entry in admitted} | rebound | heirs
        starts = [*rebound, *(former for former in heirs if self._ledger.others_after(former, after))]
        for entry in admitted:
            yield
            id = entry.proposal.id
            unsorted = entry.fate in (WISH, REJUDGE)
            if unsorted or self._ledger.others_after(id, after):
                starts.append(id)
        self.check_cycles(after, starts)

    def _is_new(self, id: str, after: tuple[str, ...]) -> bool:
        node = self._ledger.node(id)
        return node is None or not node.proposed or not set(after).issubset(node.after)

    def check_cycles(self, after: Mapping[str, tuple[str, ...]], starts: Iterable[str] | None = None) -> None:
        """Raises CycleFound if one of `starts` (None: of all) is to wait for itself when `after` holds."""
        waits: dict[str, tuple[str, ...]] = {}
        stack = list(after if starts is None else starts)
        while stack:
            id = stack.pop()
            if id not in waits:
                waits[id] = after[id] if id in after else self._ledger.waits_for(id)
                stack.extend(waits[id])
        if waits:
            prepared(waits)


def _fate_of_done(node: Node, other: bool) -> Fate:
    match node.phase:
        case Phase.WAITING:
            return JOIN
        case Phase.ASKING | Phase.BUSY if other:
            return REJUDGE
        case Phase.SETTLED if other or not node.proposed:
            return JUDGE
        case _:
            return WISH


def _finder(id: str | None) -> str:
    return id or "the run itself"
