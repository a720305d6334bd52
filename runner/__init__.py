"""A file-based persistent job queue with a runner that can be killed at any moment and goes on.

What a user needs: Task, Input, Output and Hint to write tasks; Unchanged, Absent and RetryLater to say how one went;
previous() to ask about last time; run() and resume() to work from a program, as `python -m runner` does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runner.api import resume, run
    from runner.task import Absent, Hint, Input, Output, RetryLater, Task, Unchanged, previous

__all__ = ["Absent", "Hint", "Input", "Output", "RetryLater", "Task", "Unchanged", "previous", "resume", "run"]


def __getattr__(name: str) -> Any:
    """Each name brings its module when it is asked for: to look at a state takes none of them."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module("runner.api" if name in ("run", "resume") else "runner.task"), name)
    globals()[name] = found
    return found
