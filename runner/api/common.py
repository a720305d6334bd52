"""What the verbs have in common: their flags, the modules whose tasks may run, the project on the import path."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from runner.bounds import Bounds, parse_stop
from runner.errors import UsageError
from runner.session import Options
from runner.settings import Settings, overrides, parse_age
from runner.workers.lease import LEASE

if TYPE_CHECKING:
    from runner.workers.pilots import Pool

Durability: TypeAlias = Literal["process", "power"]
StrPath: TypeAlias = str | os.PathLike[str]


class Flags(TypedDict, total=False):
    """How to run, in the words of the command line; what is left out, or None, is as the settings have it."""

    workers: int | None  # processes; as many as there are processors
    threads: int | None  # tasks at once in each; 1
    limits: Mapping[str, int | str] | None  # {"host:*": 2}: jobs at once
    rates: Mapping[str, float | str] | None  # {"host:*": "5/s"}: starts per time
    durability: Durability | None  # "power"
    force: bool  # all that the run reaches is due
    force_tasks: Collection[str]  # the jobs of these classes are
    adopt: bool  # outputs that are there without a record of ours are taken over
    verify: bool  # outputs are hashed, not only measured
    fail_fast: bool  # leave when a job is out of retries
    stop_after: str | None  # leave then: "05:30" (local time), or "3h" from now
    max_wait: str | None  # leave when all that is left waits for its next try, and that is further off: "1h"
    max_jobs: int | None  # leave when so many were started
    executor: Literal["local", "dask"] | None  # processes on this machine, or a Dask cluster; "local"
    address: str | None  # of the Dask scheduler; None: a cluster on this machine
    pool: Pool | None  # any PEP 3148 executor, instead of these
    verbosity: int  # to stderr. 0: as the command line; 1: more; -1: failures that are final; -2: nothing


def options_of(settings: Settings, flags: Flags) -> Options:
    """Raises UsageError."""
    options = Options(
        workers=flags.get("workers") or settings.workers or 0,
        threads=flags.get("threads") or settings.threads or 1,
        limits={key: str(value) for key, value in {**settings.limits, **(flags.get("limits") or {})}.items()},
        rates={key: str(value) for key, value in {**settings.rates, **(flags.get("rates") or {})}.items()},
        durability=flags.get("durability") or "power",
        force=flags.get("force", False),
        force_tasks=tuple(flags.get("force_tasks", ())),
        adopt=flags.get("adopt", False),
        verify=flags.get("verify", False),
        executor="pool" if flags.get("pool") is not None else flags.get("executor") or "local",
        address=flags.get("address") or "",
        lease=parse_age(settings.lease) if settings.lease is not None else LEASE,
        verbosity=flags.get("verbosity", -2),
    )
    overrides(options.limits, options.rates)  # said now, and not after the lock is taken
    if flags.get("address") == "":  # a variable of the shell that is not set, most likely
        raise UsageError("--address: it is empty; it is that of a Dask scheduler, tcp://HOST:PORT")
    if options.address and options.executor != "dask":
        raise UsageError(f"address {options.address}: that is for the executor dask (--executor dask)")
    return options


def bounds_of(flags: Flags) -> Bounds:
    """Raises UsageError."""
    stop_after, max_wait, max_jobs = flags.get("stop_after"), flags.get("max_wait"), flags.get("max_jobs")
    if max_jobs is not None and max_jobs < 1:
        raise UsageError(f"max_jobs is {max_jobs}: at least 1")
    return Bounds(
        fail_fast=flags.get("fail_fast", False),
        stop_at=None if stop_after is None else parse_stop(stop_after, time.time()),
        max_wait=None if max_wait is None else parse_age(max_wait),
        max_jobs=max_jobs,
    )


def places(root: StrPath, state: StrPath) -> tuple[Path, Path]:
    """The project's folder and its state folder, which is meant relative to that."""
    folder = Path(root).absolute()
    return folder, folder / state


def modules_of(settings: Settings, target: str | None) -> tuple[str, ...]:
    """The modules whose tasks may run: those of the settings, and the one that a person named as the target."""
    named = [top(target.partition(":")[0])] if target else []
    return tuple(dict.fromkeys((*settings.modules, *named)))


def top(module: str) -> str:
    return module.partition(".")[0]


@contextlib.contextmanager
def importable(root: Path) -> Iterator[None]:
    """In the project's folder, with it on the import path, as tasks and flows are when they run."""
    before = os.getcwd()
    os.chdir(root)
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        yield
    finally:
        os.chdir(before)
