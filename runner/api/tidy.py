"""The verb that tidies, for programs."""

from __future__ import annotations

import time

from runner.api.common import StrPath, places
from runner.errors import StateError
from runner.prune import Pruned, prune_state


def prune(*, older: float, dry_run: bool = False, state: StrPath = "state", root: StrPath = ".") -> Pruned:
    """Delete what is older than `older` seconds and nobody needs: gone jobs, run records, journals, logs, trash.

    `dry_run`: say what would be deleted, and take no lock. Outputs stay. Raises Busy, NewerSchema, StateError.
    """
    folder, path = places(root, state)
    before = max(0.0, time.time() - older)
    try:
        return prune_state(path, folder, before=before, dry_run=dry_run)
    except OSError as error:
        raise StateError(f"{state}: {error}; nothing that is needed was deleted: `prune` again") from error
