"""How a run takes over what the last one left: what was cut short is put back, the rest waits as it waited.

Of a million pending jobs only the names are known at first; the rest of them comes in parts, while workers are busy.
Until then such a job is open: whoever comes after it waits.
"""

from __future__ import annotations

from collections.abc import Iterable

from runner.core.board import Board
from runner.core.commands import Bind, Change
from runner.core.events import Recovered, TakenOver
from runner.core.ledger import Node, output_hash
from runner.core.model import BLOCKED, CANCELLED, DONE, FAILED, PENDING, QUARANTINE, RUNNING, Attempt, Step, Stored
from runner.errors import CycleFound

_INTERRUPTED = Attempt(outcome="interrupted", type="Interrupted", message="the runner ended while the job was running")


def take_over(board: Board, event: Recovered) -> None:
    """Put the state as recovery found it on an empty board."""
    board.ledger.load(event.statuses, event.owners, event.revivable, event.waiting)
    board.ledger.failed = event.failed
    for id in event.failed:
        if board.ledger.status(id) is FAILED:
            board.node_of(id).reached = True  # also if nobody names it again: the run has failed at it
    put_on(board, event.unfinished)


def take_over_more(board: Board, event: TakenOver) -> list[Node]:
    """Jobs that were known by their names only. Returns their nodes.

    Some may have been proposed, or cancelled, since they were read: what was said of those is newer.
    """
    for id in event.lost:
        board.forget(id)
    for id in event.damaged:
        board.forget(id)
        board.ledger.note(id, QUARANTINE)
    left = [item for item in event.pending if board.ledger.node(item.id) is None]
    return put_on(board, [item for item in left if board.ledger.status(item.id) is PENDING])


def put_on(board: Board, items: Iterable[Stored]) -> list[Node]:
    """Unfinished jobs come onto the board. Returns the nodes of those that there is more to do for."""
    left = [(item, node) for item in items if (node := _put_right(board, item)) is not None]
    for item, node in left:
        _bind(board, item, node)
    nodes = [node for _, node in left]
    while True:
        try:
            board.plant(nodes)
        except CycleFound as error:  # edited by hand: the runner admits no cycle
            fail_cycle(board, error)
            nodes = [node for node in nodes if node.open]
        else:
            break
    board.look_again([node for node in nodes if node.status is BLOCKED])
    return nodes


def fail_cycle(board: Board, error: CycleFound) -> None:
    """Jobs that wait for each other never run; what was done before stays as it is."""
    for node in map(board.ledger.__getitem__, dict.fromkeys(error.cycle)):
        if node.status is DONE:
            board.settle(node)
            continue
        if node.status is BLOCKED:
            board.move(node, Step.UNBLOCK)
        _fail(board, node, Attempt(outcome="failed", type="CycleFound", message=str(error)))


def _put_right(board: Board, item: Stored) -> Node | None:
    """The node of an unfinished job; None, if there is nothing more to do for it."""
    node = Node(item, item.status, item.after)
    node.not_before = None if item.delay is None else board.now + item.delay
    node.reached = item.status is not BLOCKED
    node.proposed = item.named
    board.track(node)
    if item.finished:
        board.move(node, Step.FINISH, why="it lacked only its last rename")
        board.settle(node)
        return None
    if item.spent and node.status is not BLOCKED:  # in running/ it lacked only its last rename
        board.move(node, Step.FAIL, why="it is not tried again")
        if node.id in board.ledger.failed:
            board.settle(node)
            return None
        board.forget(node.id)  # it failed before this run, which may try it again
        board.ledger.note(node.id, node.status)
        return None
    if item.status is RUNNING:
        board.move(node, Step.REQUEUE, change=Change(attempt=_INTERRUPTED), why=_INTERRUPTED.message)
    if item.problem is not None and node.status is PENDING:
        _fail(board, node, item.problem)
        return None
    return node


def _bind(board: Board, item: Stored, node: Node) -> None:
    """Its Inputs: who turned up to make one may not have been noted yet, and what nobody makes is to be waited for."""
    unmade, makers = [], []
    known = {id[-16:] for id in node.after}
    for need in item.inputs:
        if output_hash(need.path) in known:
            continue
        maker = board.ledger.maker(need.path)
        if maker is None or board.ledger.status(maker) in (CANCELLED, QUARANTINE):
            unmade.append(need)
        elif maker != node.id:
            makers.append(maker)
    board.read(node.id, unmade)
    board.lack(node.id, (need for need in unmade if not need.exists))
    after = tuple(dict.fromkeys((*map(board.ledger.successor, node.after), *makers)))
    if after != node.after:
        board.ledger.come_after(node, after)
        board.out.append(Bind(node.id, node.status, after))


def _fail(board: Board, node: Node, attempt: Attempt) -> None:
    board.move(node, Step.FAIL, change=Change(attempt=attempt), why=attempt.message)
    board.settle(node)
