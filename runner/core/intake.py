"""How a batch of proposals comes onto the board: checked first, then all of it, or none."""

from __future__ import annotations

from runner.core import policy
from runner.core.admission import Admission, Admitted, Fate, Plan, unstarted
from runner.core.board import Board
from runner.core.ledger import Node, Phase
from runner.core.model import Attempt, Bind, Change, Create, Discard, Proposal, Rewish, Status, Step, Stored
from runner.errors import GrowthLimit


class Intake:
    """Admits batches for one run, and counts them."""

    def __init__(self, board: Board, *, resuming: bool) -> None:
        self._board = board
        self._admission = Admission(board.ledger, resuming=resuming)
        self.admitted = 0

    def admit(self, batch: list[Proposal], *, by_name: bool = False) -> None:
        """Take up a batch. Raises Refused (a conflict, a cycle, endless growth), with nothing changed."""
        if len(batch) > policy.MAX_CHILDREN:
            raise GrowthLimit(f"{len(batch):,} jobs at once (the limit is {policy.MAX_CHILDREN:,})")
        if self.admitted + len(batch) > policy.MAX_JOBS:
            raise GrowthLimit(f"this run has admitted {self.admitted:,} jobs (the limit is {policy.MAX_JOBS:,})")
        board = self._board
        plan = self._admission.plan(batch, board.wanted, by_name=by_name)
        grown = [self._node(entry) for entry in plan.admitted]
        waits = board.waits(node for node in grown if node is not None)
        again = [id for id in waits if (old := board.ledger.node(id)) is not None and old.phase is Phase.WAITING]
        released = board.forest.plant(waits, again)  # the last thing that can refuse
        self.admitted += len(batch)
        for former, owner in plan.superseded:
            self._supersede(former, owner)
        for entry, node in zip(plan.admitted, grown, strict=True):
            if node is None:
                self._wish(entry)
            else:
                self._enter(entry, node)
            staged = entry.proposal.staged
            if staged and entry.fate is not Fate.NEW:
                board.out.append(Discard((staged,)))
        board.revive()
        for id in released:
            board.release(board.ledger[id])
        self._bind(plan)

    def _node(self, entry: Admitted) -> Node | None:
        """The node that goes into the forest for this proposal; none, if it is only a new wish."""
        known = self._board.ledger.node(entry.proposal.id)
        if entry.fate is Fate.WISH or (entry.fate is Fate.JOIN and known is not None and not unstarted(known)):
            return None
        status = Status.PENDING if entry.fate is Fate.NEW else self._board.ledger.status(entry.proposal.id)
        assert status is not None
        node = Node(entry.proposal, status, entry.after)
        if known is not None:
            node.suspect = known.suspect
            node.not_before = known.not_before if entry.fate is Fate.JOIN else None
        return node

    def _wish(self, entry: Admitted) -> None:
        board, proposal = self._board, entry.proposal
        node = board.ledger.node(proposal.id)
        if node is None:
            node = Node(proposal, board.ledger.status(proposal.id) or Status.PENDING, entry.after)
            node.phase = Phase.SETTLED
            board.track(node, proposal.outputs)
        elif node.status is Status.RUNNING:
            node.rejudge |= node.fingerprint != proposal.fingerprint
        node.fingerprint = proposal.fingerprint
        node.found_by = node.found_by or proposal.found_by
        node.proposed = node.reached = True
        board.out.append(Rewish(proposal, entry.after, node.status))

    def _enter(self, entry: Admitted, node: Node) -> None:
        board, proposal = self._board, entry.proposal
        board.track(node, proposal.outputs)
        node.proposed = node.reached = True
        if entry.fate is Fate.NEW:
            board.out.append(Create(proposal, entry.after))
        else:
            board.out.append(Rewish(proposal, entry.after, node.status))
        if entry.fate is Fate.RETRY:
            board.move(node, Step.RETRY, change=Change(reset_retries=True), why="to be tried again")
        if entry.missing:
            board.lack(node.id, entry.missing)

    def _bind(self, plan: Plan) -> None:
        """Jobs that lacked an input come after the one that turned up to make it."""
        board = self._board
        for id, maker, path in plan.bound:
            node = board.ledger[id]
            if not unstarted(node):
                continue
            board.supply(id, path)
            if maker in node.after:
                continue
            node.after = (*node.after, maker)
            board.out.append(Bind(id, node.status, node.after))
            if node.phase is not Phase.WAITING:  # a waiting one is looked at again when it is released
                board.phase(node, Phase.WAITING)
                board.plant([node])

    def _supersede(self, former: str, owner: str) -> None:
        node = self._board.ledger.node(former)
        if node is None:
            status = self._board.ledger.status(former)
            assert status is not None
            node = Node(Stored(id=former, status=status), status, ())
            node.phase = Phase.SETTLED
            self._board.track(node)
        self.cancel(node, Attempt(outcome="superseded", type="Superseded", message=f"{owner} makes its output now"))

    def cancel(self, node: Node, attempt: Attempt) -> None:
        """Never to run, for the reason in `attempt`."""
        self._board.move(node, Step.CANCEL, change=Change(attempt=attempt), why=attempt.message)
        self._board.settle(node)
