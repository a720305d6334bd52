"""A file-based persistent job queue with a runner that can be killed at any moment and goes on.

What a user needs: Task, Input, Output and Hint to write tasks; Unchanged, Absent and RetryLater to say how one went;
previous() to ask about last time; run() and resume() to work from a program, as `python -m runner` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runner.task import Absent, Hint, Input, Output, RetryLater, Task, Unchanged, previous

if TYPE_CHECKING:
    from runner.api import resume, run

__all__ = ["Absent", "Hint", "Input", "Output", "RetryLater", "Task", "Unchanged", "previous", "resume", "run"]


def __getattr__(name: str) -> Any:
    """run and resume bring the whole scheduler: imported when asked for, and not in every worker and view."""
    if name in ("run", "resume"):
        from runner import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
