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
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, cwd=root, process_group=0
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines() or [
                f"explain left with {done.returncode}"
            ]
            return Why(verdict="", because=[said[-1].removeprefix("runner: ")])
        return msgspec.json.decode(done.stdout, type=Why)
    except subprocess.TimeoutExpired:
        return Why(verdict="", because=[f"why it stands there could not be told within {PATIENCE:.0f} s"])
    except (OSError, msgspec.MsgspecError) as error:
        return Why(verdict="", because=[f"why it stands there could not be asked: {error}"])
    finally:
        _asked.release()
