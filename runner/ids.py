"""Ids cut short, as in git."""

from __future__ import annotations

from collections.abc import Collection

from runner.errors import UsageError


def full_id(prefix: str, ids: Collection[str]) -> str:
    """The one id that begins with `prefix`. Raises UsageError when there is none, or more than one."""
    if prefix in ids:
        return prefix
    found = sorted(id for id in ids if id.startswith(prefix)) if prefix else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no job's id begins with {prefix!r}; `list` shows them")
    some = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    raise UsageError(f"{len(found)} jobs' ids begin with {prefix!r}: {some}; give more of it")
