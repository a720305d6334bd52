"""What a run is asked for, and the roots that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from runner.batch import Found, load_target, propose
from runner.core.model import Proposal
from runner.errors import RunnerError, UsageError


class Ask(Struct, frozen=True, kw_only=True):
    """What a run is asked for: a target by name with its arguments, or tasks."""

    target: str | None = None
    arguments: dict[str, str] = {}
    tasks: Found | None = None


def roots_of(ask: Ask, modules: Sequence[str], root: Path) -> list[Proposal]:
    """The roots, as proposals. Runs the user's flow. Raises RunnerError."""
    tasks = ask.tasks
    if tasks is None and ask.target is not None:
        tasks = load_target(ask.target, ask.arguments, modules)
    try:
        return propose(tasks, root=root) if tasks is not None else []
    except RunnerError:
        raise
    except Exception as error:  # limits() or upstream_tasks() of the user's, or what cannot be a job
        kind = "" if isinstance(error, TypeError) else f"{type(error).__name__}: "
        raise UsageError(f"{kind}{error}") from error
