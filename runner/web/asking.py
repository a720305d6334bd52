"""Why a job stands where it stands, asked of a process of its own.

`explain` imports the user's tasks and calls their `due()`. In the page's process that would be yesterday's code after a
change, could hang or end it, and works in another folder.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

from runner.patience import end_group

PATIENCE = 5.0
"""Seconds that the answer may take."""

AT_ONCE = 2
"""How many are asked at once; who comes meanwhile gets the page without."""

_asked = threading.BoundedSemaphore(AT_ONCE)


class Why(Struct, frozen=True, kw_only=True):
    """What the page shows of it."""

    verdict: str
    because: list[str] = []


def why(root: Path, state: Path, id: str) -> Why:
    """The answer, or why there is none."""
    if not _asked.acquire(blocking=False):
        return Why(verdict="", because=["why it stands there was not asked: others are asking just now"])
    words = [sys.executable, "-m", "runner", "-C", str(root), "--state", str(state), "explain", id, "--json"]
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd=root, process_group=0)
        try:
            out, error = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            end_group(process)
            return Why(verdict="", because=[f"why it stands there could not be told within {PATIENCE:.0f} s"])
        if process.returncode:
            said = error.decode("utf-8", "replace").strip() or f"explain left with {process.returncode}"
            return Why(verdict="", because=[said.splitlines()[-1].removeprefix("runner: ")])
        return msgspec.json.decode(out, type=Why)
    except (OSError, msgspec.MsgspecError) as error:
        return Why(verdict="", because=[f"why it stands there could not be asked: {error}"])
    finally:
        _asked.release()
