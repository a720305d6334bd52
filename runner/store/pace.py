"""When a job with a rate last began: what the next runner keeps its distance from, however this one ended.

A number by the clock that nobody sets, written by the worker in which the job begins, a moment before. A date would be
wrong whenever the clock was put. After a boot the number is too large, or it makes a rate wait for longer than it need,
but never for longer than from one start to the next; a cut of power may take it, and then nobody has begun since.
"""

from __future__ import annotations

import re
import time

from runner.errors import BadJobFile, StateError
from runner.store.files import Files
from runner.store.shelf import LOCKS, Shelf

NAME = "last-start"

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_FORM = re.compile(rb"[0-9]{13}\.[0-9]{6}\n")


def steady() -> float:
    """Seconds that nobody can put forward or back, and that pass while the machine sleeps, where the system has such:
    what waits for a time would else wait for a day more after the clock was put back by one.
    """
    return time.clock_gettime(_STEADY)


def note_start(files: Files, locks: int) -> float:
    """A job with a rate begins now; when that is. `locks`: descriptor of the folder. Raises OSError."""
    now = steady()
    files.overwrite(locks, NAME, b"%020.6f\n" % now)
    return now


def last_start(shelf: Shelf) -> float:
    """When any runner on this state may have begun a job with a rate last. Raises StateError."""
    try:
        text = shelf.files.read(shelf.fds[LOCKS], NAME, 64)
    except FileNotFoundError:
        return 0.0
    except BadJobFile as error:
        raise StateError(f"{shelf.path}/{LOCKS}/{NAME} {error}: move it away") from None
    found = float(text) if _FORM.fullmatch(text) else 0.0
    return found if found <= steady() else 0.0  # else of another boot: nobody has begun since this one
