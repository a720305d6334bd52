"""Who works for a run: processes on this machine, a Dask cluster, or any pool of processes, as the options say."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from runner.workers import lease
from runner.workers.forkserver import ForkServer
from runner.workers.local import LocalExecutor
from runner.workers.port import Executor, Settings

if TYPE_CHECKING:
    from runner.workers.link import Link
    from runner.workers.pilots import Pool

Kind: TypeAlias = Literal["local", "dask", "pool"]


class Staff:
    """`workers`: processes, at the most; None: as many as there are processors, or as the cluster has places for.

    `address`: of a Dask scheduler, "" for a cluster on this machine. `lease`: seconds that agents may go unheard.
    `pool`: for the kind of that name.
    """

    def __init__(self, kind: Kind, *, workers: int | None, address: str, lease: float, pool: Pool | None) -> None:
        self._kind = kind
        self._workers = workers
        self._address = address
        self._lease = lease
        self._pool = pool
        self._server: ForkServer | None = None

    def prepare(self, root: str, modules: tuple[str, ...]) -> None:
        """Begin with what takes time: these modules will be needed."""
        if self._kind == "local":
            self._server = ForkServer(root, modules)

    def executor(self, settings: Settings, preload: Sequence[str], say: Callable[[str], None]) -> Executor:
        """Raises UsageError, StateError."""
        if self._kind == "local":
            return LocalExecutor(self._workers or os.cpu_count() or 1, settings, preload, server=self._server)
        from runner.workers.fleet import Fleet

        most = self._workers if self._address or self._pool else None
        return Fleet(self._link(), settings, preload, most=most, lease=self._lease, say=say)

    def _link(self) -> Link:
        if self._pool is not None:
            from runner.workers.pilots import PilotLink

            return PilotLink(self._pool)
        from runner.workers.dask import DaskLink

        return DaskLink(self._address, self._workers or os.cpu_count() or 1)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()


def wait_for_agents(locks: str, say: Callable[[str], None]) -> None:
    """Make sure that no agent of an earlier runner is at work. Only the holder of the runner lock may call this."""
    lease.settle(locks, say, _dismiss)


def _dismiss(grants: Sequence[lease.Grant]) -> set[str]:
    ended: set[str] = set()
    for address in {grant.address for grant in grants if grant.address}:
        from runner.workers.dask import dismiss

        ended.update(dismiss(address, [grant for grant in grants if grant.address == address]))
    return ended
