"""Small rules with numbers in them: backoff, how often to put off, how far to grow. Pure."""

from __future__ import annotations

from hashlib import sha256

MAX_BACKOFF = 3600.0
"""Seconds; no retry waits longer."""

MAX_PUT_OFFS = 20
"""How often a job may raise RetryLater before it counts as a failure."""

MAX_PUT_OFF_TIME = 24 * 3600.0
"""Seconds; how long a job may be put off altogether before raising RetryLater counts as a failure."""

MAX_DEPTH = 1_000
"""How many jobs may have found each other in a row."""

MAX_CHILDREN = 1_000_000
"""How many jobs one job may find."""

MAX_JOBS = 10_000_000
"""How many jobs one run may admit."""


CHARGED = frozenset({"failed", "published", "died", "timeout"})
"""Outcomes of an attempt that use up a retry."""


def backoff(id: str, failures: int, base: float) -> float:
    """Seconds to wait after the `failures`-th failure: `base` doubled each time, +-25 % by a hash of the id.

    The hash spreads jobs that failed together, and gives the same answer after a restart.
    """
    spread = sha256(f"{id} {failures}".encode()).digest()[0] / 255.0
    doubled = base * 2.0 ** min(failures - 1, 30)
    return min(doubled, MAX_BACKOFF) * (0.75 + spread / 2.0)


def retry_in(id: str, failures: int, retries: int, base: float) -> float | None:
    """How long a job that failed for the `failures`-th time waits; None when its retries are used up."""
    return backoff(id, failures, base) if failures <= retries else None


def put_off(put_offs: int, spent: float, seconds: float) -> float | None:
    """How long a job that raised RetryLater waits; None when that is no longer an excuse.

    `put_offs` counts this one; `spent` is what the earlier ones have waited.
    """
    wait = max(0.0, seconds)
    return wait if put_offs <= MAX_PUT_OFFS and spent + wait <= MAX_PUT_OFF_TIME else None
