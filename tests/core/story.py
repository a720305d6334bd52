"""What happened, in words short enough for the message of a failed assertion."""

from __future__ import annotations

from typing import Any

from runner.core.commands import Bind, Count, Create, Deliver, Discard, Judge, Launch, Move, Rewish, Walk
from runner.core.events import Asked, Finished, Recovered, Submitted
from runner.core.model import Proposal


def brief(told: Any) -> str:
    """An event or a command in a line or two."""
    match told:
        case str():
            return told
        case Submitted(batch, by_name):
            return f"Submitted by_name={by_name}" + "".join(map(_proposal, batch))
        case Recovered(statuses, unfinished):
            after = {item.id: item.after for item in unfinished}
            lines = (f"\n        {id} {status} {after.get(id, '')}" for id, status in statuses.items())
            return "Recovered" + "".join(lines)
        case Finished() | Asked():
            return f"{type(told).__name__} {told.id}" + "".join(map(_proposal, told.children or ()))
        case Create(proposal, after):
            return f"    Create {proposal.id} after={after}"
        case Move(id, source, target, step, _, _, why):
            return f"    Move {id} {source} > {target} ({step}) {why}"
        case Rewish(proposal, after, status):
            return f"    Rewish {proposal.id} {status} after={after} by {proposal.found_by}"
        case Launch() | Judge() | Walk() | Count() | Bind() | Deliver() | Discard():
            return f"    {told}"
    return str(told)


def _proposal(proposal: Proposal) -> str:
    needs = [f"{need.path}{'+' if need.exists else ''}{'?' if need.optional else ''}" for need in proposal.inputs]
    wish = f"variant={proposal.params['variant']} after={proposal.after} needs={needs} by {proposal.found_by}"
    return f"\n        {proposal.id} {wish}"
