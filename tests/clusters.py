"""Dask clusters of real processes on loopback: a scheduler, and workers as a test wants them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE = 30.0
"""Seconds until a process of Dask's must have begun."""


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as found:
        found.bind((host, 0))
        return int(found.getsockname()[1])


@dataclass
class Cluster:
    """In `folder` lie its logs. `before`: words before each command, to start it elsewhere (`ip netns exec`, say)."""

    folder: Path
    host: str = "127.0.0.1"
    before: tuple[str, ...] = ()
    port: int = 0
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = self.port or free_port()

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def start(self) -> Cluster:
        words = ("--host", self.host, "--port", str(self.port), "--no-dashboard")
        self.scheduler = self._start("scheduler", *words)
        self._wait("scheduler", self.scheduler, "Scheduler at:")
        return self

    def add_worker(
        self,
        threads: int = 2,
        *,
        before: tuple[str, ...] | None = None,
        nanny: bool = False,
        python: str = sys.executable,
        words: tuple[str, ...] = (),
    ) -> subprocess.Popen[bytes]:
        """One more, which has registered when this returns."""
        options = ("--nthreads", str(threads), "--no-dashboard", "--local-directory", str(self.folder), *words)
        number = len(self.workers)
        process = self._start(
            f"worker{number}",
            *(self.address, "--nanny" if nanny else "--no-nanny", *options),
            kind="worker",
            before=before,
            python=python,
        )
        self.workers.append(process)
        self._wait(f"worker{number}", process, "Registered to:")
        return process

    def kill_scheduler(self) -> None:
        assert self.scheduler is not None
        self.scheduler.kill()
        self.scheduler.wait()

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            if process is not None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _start(
        self,
        name: str,
        *words: str,
        kind: str = "scheduler",
        before: tuple[str, ...] | None = None,
        python: str = sys.executable,
    ) -> subprocess.Popen[bytes]:
        before = self.before if before is None else before
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*before, python, "-m", f"distributed.cli.dask_{kind}", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                # Else a module that a test changes twice within a second is read from its bytecode, by all.
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self.variables},
                start_new_session=True,
            )

    def _wait(self, name: str, process: subprocess.Popen[bytes], word: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while word not in self.said(name):
            assert process.poll() is None, self.said(name)
            assert time.monotonic() < deadline, self.said(name)
            time.sleep(0.02)
