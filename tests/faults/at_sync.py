"""Strikes at the N-th sync of a run, whichever of its processes makes it.

`armed` has a project's jobs/__init__.py import this: so the scheduler has it before its first sync, and the workers
from the fork server on, and the product needs no hook. What to do is in the environment:

SYNC_STRIKE: `cut-before:N`, `cut-journal:N` (the same, the journal being written), `cut-after:N` or `fail:N` (the sync
    then does nothing, and says EIO)
SYNC_BY: `any`, or `worker`: whose syncs count
SYNC_LOG: a file on another disk; each sync adds a line: by whom, whether it was struck, and which names lay in tmp/
SYNC_STATE: the state folder
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from runner.store.files import Files
from tests.acceptance.project import Project
from tests.faults.disk import cut_power

Strike = Literal["cut-before", "cut-after", "cut-journal", "fail"]

IMPORT = "import tests.faults.at_sync  # for its effects\n"
BY = "worker" if sys.argv[0] == "-c" else "scheduler"  # so the fork server is started, from which workers come


# ------------------------------------------------------------------------------------------------- the test's side


@dataclass(frozen=True)
class Sync:
    """One line of the log."""

    by: str
    struck: bool
    whole_disk: bool
    tmp: list[str]  # what lay there before it


def armed(project: Project, log: Path, strike: Strike | None = None, at: int = 0, by: str = "any") -> None:
    """From now on what is started in this project strikes; `strike` None: it only keeps the log."""
    if (init := project.root / "jobs" / "__init__.py").read_text() != IMPORT:
        init.write_text(IMPORT)
    log.unlink(missing_ok=True)
    top = str(Path(__file__).parents[2])
    project.variables |= {
        "PYTHONPATH": os.pathsep.join(filter(None, (top, os.environ.get("PYTHONPATH")))),
        "SYNC_STRIKE": f"{strike or ''}:{at}",
        "SYNC_BY": by,
        "SYNC_LOG": str(log),
        "SYNC_STATE": str(project.state),
    }


def syncs(log: Path) -> list[Sync]:
    return [Sync(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []


# ----------------------------------------------------------------------------------------------- the runner's side


def strike_now(whole_disk: bool) -> str:
    """Note a sync; what is to be done about it."""
    strike, _, at = os.environ["SYNC_STRIKE"].partition(":")
    counts = os.environ["SYNC_BY"] in ("any", BY)
    state, path = os.environ["SYNC_STATE"], os.environ["SYNC_LOG"]
    tmp = os.listdir(f"{state}/tmp") if whole_disk else []
    log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(log, fcntl.LOCK_EX)  # one after the other, in whichever processes and threads
        before = sum(os.environ["SYNC_BY"] in ("any", sync.by) for sync in syncs(Path(path)))
        struck = bool(strike) and counts and before + 1 == int(at)
        line = {"by": BY, "struck": struck, "whole_disk": whole_disk, "tmp": tmp}
        os.write(log, json.dumps(line).encode() + b"\n")
    finally:
        os.close(log)
    return strike if struck else ""


def struck(real: Callable[..., Any], whole_disk: bool) -> Callable[..., Any]:
    def sync(*arguments: Any) -> Any:
        strike = strike_now(whole_disk)
        if strike == "fail":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if strike == "cut-journal":
            time.sleep(0.2)  # a slow disk: who does not wait for it goes on meanwhile, and is caught
        if strike in ("cut-before", "cut-journal"):
            cut_power(os.environ["SYNC_STATE"], journal=strike == "cut-journal")
        done = real(*arguments)
        if strike == "cut-after":
            cut_power(os.environ["SYNC_STATE"])
        return done

    return sync


if "SYNC_STRIKE" in os.environ:
    os.fsync = struck(os.fsync, whole_disk=False)
    Files.sync_filesystem = struck(Files.sync_filesystem, whole_disk=True)  # type: ignore[method-assign]
