"""A file-based persistent job queue with a runner that can be killed at any moment and goes on.

What a user needs: Task, Input, Output and Hint to write tasks; Unchanged, Absent, RetryLater and NoRetry to say how one
went; previous() to ask about last time; UsageError for a flow to raise when what it was given is wrong (its message is
shown as it is); run() and resume() to work from a program, as `python -m runner` does, RunnerError for what they raise,
and Pool to have them work in a pool of processes of somebody else's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.api import resume, run
    from runner.errors import RunnerError, UsageError
    from runner.task import Absent, Hint, Input, NoRetry, Output, RetryLater, Task, Unchanged, previous
    from runner.workers.pilots import Pool

__all__ = [
    "Absent",
    "Hint",
    "Input",
    "NoRetry",
    "Output",
    "Pool",
    "RetryLater",
    "RunnerError",
    "Task",
    "Unchanged",
    "UsageError",
    "previous",
    "resume",
    "run",
]

_ELSEWHERE = {
    "run": "runner.api",
    "resume": "runner.api",
    "RunnerError": "runner.errors",
    "UsageError": "runner.errors",
    "Pool": "runner.workers.pilots",
}


def __getattr__(name: str) -> Any:
    """Each name brings its module when it is asked for: to look at a state takes none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(_ELSEWHERE.get(name, "runner.task")), name)
    globals()[name] = found
    return found
