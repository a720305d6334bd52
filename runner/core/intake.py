"""How a batch of proposals comes onto the board: checked first, whole; then all of it enters, or none.

A large batch is checked and enters in parts, with other events between them, so that workers need not wait for its end.
What could make the check untrue is not let through meanwhile: see `Engine`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from runner.core import policy
from runner.core.admission import JOIN, JUDGE, NEW, REJUDGE, RETRY, WISH, Admission, Admitted, Plan, Steps
from runner.core.board import Board
from runner.core.commands import Bind, Change, Create, Discard, Rewish
from runner.core.ledger import Node
from runner.core.model import BLOCKED, CANCELLED, FAILED, PENDING, Attempt, Proposal, Step
from runner.errors import GrowthLimit, Refused


class Intake:
    """Admits batches for one run, and counts them. `part`: how many jobs may enter in one go; `checked`: how many steps
    of the check may be taken at once.
    """

    def __init__(self, board: Board, *, resuming: bool, part: int, checked: int) -> None:
        self._board = board
        self._admission = Admission(board.ledger, resuming=resuming)
        self._part = part
        self._checked = checked
        self._batch: list[Proposal] = []  # that is being checked
        self._steps: Steps | None = None  # of its check, that are still to be taken
        self._interrupted = False  # other events came between the steps
        self._rest: deque[Admitted] = deque()
        self._whole: Plan | None = None  # of that batch, if jobs outside come after some of it when all has entered
        self._by_name = False
        self._then: Callable[[], None] | None = None
        self._refused: Callable[[Refused], None] | None = None
        self.admitted = 0

    @property
    def remaining(self) -> int:
        """How many jobs of the batch under way are still to enter."""
        return len(self._rest) + len(self._batch)

    @property
    def checking(self) -> bool:
        """Whether the batch under way is still being checked, and may be refused."""
        return self._steps is not None

    def admit(
        self,
        batch: list[Proposal],
        then: Callable[[], None] | None = None,
        refused: Callable[[Refused], None] | None = None,
        *,
        by_name: bool = False,
    ) -> None:
        """Take up a batch; `then`, when all of it has entered. If it is refused (a conflict, a cycle, endless growth),
        nothing is changed: `refused` is told, sooner or later; without that, Refused is raised.
        """
        if not batch:  # and another may be under way
            if then is not None:
                then()
            return
        assert not self.remaining, "one batch at a time"
        self._by_name, self._then, self._refused = by_name, then, refused
        try:
            if len(batch) > policy.MAX_CHILDREN:
                raise GrowthLimit(f"{len(batch):,} jobs at once (the limit is {policy.MAX_CHILDREN:,})")
            if self.admitted + len(batch) > policy.MAX_JOBS:
                raise GrowthLimit(f"this run has admitted {self.admitted:,} jobs (the limit is {policy.MAX_JOBS:,})")
            if refused is None:
                self._enter_first(self._check(batch))
            else:
                self._batch, self._steps, self._interrupted = batch, self._stepwise(batch), False
                self._go_on_checking(self._checked)
        except Refused as error:
            self._refuse(error)

    def _refuse(self, error: Refused) -> None:
        self._batch, self._steps, self._then = [], None, None
        refused, self._refused = self._refused, None
        if refused is None:
            raise error
        refused(error)

    def _stepwise(self, batch: list[Proposal]) -> Steps:
        return self._admission.steps(batch, self._board.unmade, by_name=self._by_name, part=self._part)

    def _check(self, batch: list[Proposal]) -> Plan:
        steps = self._stepwise(batch)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                plan: Plan = end.value
                return plan

    def _go_on_checking(self, count: int) -> None:
        assert self._steps is not None
        try:
            for _ in range(count):
                next(self._steps)
            self._interrupted = True
        except StopIteration as end:
            plan: Plan = end.value
            batch, self._batch, self._steps = self._batch, [], None
            if self._interrupted and not plan.divisible:
                plan = self._check(batch)  # meanwhile jobs may have begun that it touches
            self._enter_first(plan)

    def _enter_first(self, plan: Plan) -> None:
        """A batch that was checked enters, or the first part of it."""
        staged = tuple(proposal.staged for proposal in plan.outdated if proposal.staged)
        if staged:
            self._board.out.append(Discard(staged))
        if plan.divisible:
            self.admitted += len(plan.admitted)
            self._rest.extend(plan.admitted)
            self._whole = plan if plan.rebound else None
            self._board.finders += 1  # what is to come may be what others come after
            self._enter_part(self._part)
        else:
            self._take_up(plan)
            self.admitted += len(plan.admitted)
            self._have_entered()

    def go_on(self, count: int) -> None:
        """Let the next `count` jobs of the batch enter, or take so many steps of its check."""
        if self._steps is None:
            self._enter_part(count)
            return
        try:
            self._go_on_checking(count)
        except Refused as error:
            self._refuse(error)

    def _enter_part(self, count: int) -> None:
        rest = self._rest
        part = [self._admission.anew(rest.popleft(), by_name=self._by_name) for _ in range(min(count, len(rest)))]
        whole = self._whole
        if whole is None:
            self._take_up(Plan(part, {}, {}))
        elif rest:
            self._take_up(Plan(part, {}, {}), makers=())
        else:
            self._whole = None
            self._take_up(Plan(part, {}, whole.rebound), makers=whole.admitted)
        if not rest:
            self._board.finders -= 1
            self._have_entered()

    def _have_entered(self) -> None:
        then, self._then, self._refused = self._then, None, None
        if then is not None:
            then()

    def upcoming(self, start: int, stop: int) -> list[Create]:
        """The new jobs among the next to enter, from the `start`-th to before the `stop`-th."""
        entries = islice(self._rest, start, stop)
        return [Create(entry.proposal, entry.after) for entry in entries if entry.fate is NEW]

    def done_before(self, start: int, stop: int) -> list[str]:
        """The jobs among these that were done before."""
        return [entry.proposal.id for entry in islice(self._rest, start, stop) if entry.fate is JUDGE]

    def _take_up(self, plan: Plan, makers: Iterable[Admitted] | None = None) -> None:
        """`makers`: who turns up with it to make what others lack, if that is not just those who are admitted."""
        board = self._board
        grown = [self._node(entry) for entry in plan.admitted]
        released = board.forest.plant(board.waits(node for node in grown if node is not None))  # the last to refuse
        opened = [node.id for node in grown if node is not None and not board.ledger.is_open(node.id)]
        changed = self._supersede(plan)
        for entry, node in zip(plan.admitted, grown, strict=True):
            if node is None:
                self._wish(entry)
            else:
                self._enter(entry, node)
            staged = entry.proposal.staged
            if staged and entry.fate is not NEW:
                board.out.append(Discard((staged,)))
        for id, after in plan.rebound.items():
            if (node := board.ledger[id]).status not in (FAILED, CANCELLED):  # it may have failed since the check
                changed.append(self._bind(node, after))
        for entry in (plan.admitted if makers is None else makers) if board.unmade else ():
            if entry.proposal.outputs:
                changed += board.made(entry.proposal.outputs)
        board.settle(*map(board.ledger.__getitem__, plan.superseded))
        for id in opened if board.ledger.anybody_waits else ():
            changed += board.ledger.readers(id)
        changed += (node for node in grown if node is not None and node.status is BLOCKED)
        if changed:
            board.look_again(changed)
        for id in released:
            board.release(board.ledger[id])

    def _node(self, entry: Admitted) -> Node | None:
        """The node that goes into the forest for this proposal; none, if it is only a new wish."""
        if entry.fate in (WISH, REJUDGE):
            return None
        ledger = self._board.ledger
        status = PENDING if entry.fate is NEW else ledger.status(entry.proposal.id)
        assert status is not None
        node = Node(entry.proposal, status, entry.after)
        known = ledger.node(node.id)
        if known is not None:
            node.suspect = known.suspect
            node.not_before = known.not_before if entry.fate is JOIN else None
        return node

    def _wish(self, entry: Admitted) -> None:
        board, proposal = self._board, entry.proposal
        node = board.node_of(proposal.id, proposal)
        board.ledger.come_after(node, entry.after)
        board.ledger.own(node, proposal.outputs[1:])
        if not node.proposed:
            board.read(node.id, entry.unmade)
        node.rejudge |= entry.fate is REJUDGE
        node.fingerprint, node.found_by, node.depth = proposal.fingerprint, proposal.found_by, proposal.depth
        node.proposed = True
        board.reach(node)
        board.out.append(Rewish(proposal, entry.after, node.status))

    def _enter(self, entry: Admitted, node: Node) -> None:
        board, proposal = self._board, entry.proposal
        known = board.ledger.node(node.id)
        board.track(node)
        if entry.unmade:
            if known is None or not known.proposed:
                board.read(node.id, entry.unmade)
            board.lack(node.id, (need for need in entry.unmade if not need.exists))
        node.proposed = True
        board.reach(node)
        if entry.fate is NEW:
            board.out.append(Create(proposal, entry.after))
        else:
            board.out.append(Rewish(proposal, entry.after, node.status))
        if entry.fate is RETRY:
            board.move(node, Step.RETRY, change=Change(reset_retries=True), why="to be tried again")

    def wait_for_makers(self, node: Node, paths: Iterable[str]) -> None:
        """Its Inputs are not there: it comes after those who make them, if anybody does. Raises CycleFound."""
        makers = map(self._board.ledger.maker, paths)
        after = tuple(dict.fromkeys((*node.after, *(maker for maker in makers if maker is not None))))
        if after != node.after:
            self._admission.check_cycles({node.id: after})
            self._bind(node, after)

    def _bind(self, node: Node, after: tuple[str, ...]) -> Node:
        """The job comes after others from now on: somebody turned up to make what it reads."""
        self._board.ledger.come_after(node, after)
        self._board.out.append(Bind(node.id, node.status, after))
        return node

    def _supersede(self, plan: Plan) -> list[Node]:
        """Former owners are cancelled, once those that come after them come after the new owner. Returns these.

        The former owners are not settled yet: who waits for them must find the new owner when it is released.
        """
        board, ledger = self._board, self._board.ledger
        readers = {node.id for former in plan.superseded for node in ledger.readers(former)}
        changed = [self._bind(ledger[id], plan.rebound.pop(id)) for id in sorted(readers & plan.rebound.keys())]
        for former, owner in plan.superseded.items():
            message = f"{owner} makes its output now"
            self._cancel(board.node_of(former), Attempt(outcome="superseded", type="Superseded", message=message))
            ledger.revivable.add(former)
        return changed

    def cancel(self, id: str) -> None:
        """A person wants it never to run."""
        node = self._board.node_of(id)
        self._cancel(node, Attempt(outcome="cancelled", type="Cancelled", message="by a person"))
        self._board.ledger.revivable.discard(id)
        self._board.settle(node)

    def _cancel(self, node: Node, attempt: Attempt) -> None:
        self._board.move(node, Step.CANCEL, change=Change(attempt=attempt), why=attempt.message)
