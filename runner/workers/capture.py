"""What a task prints and logs goes to its job's own log file, whichever thread it is on.

`sys.stdout` and `sys.stderr` of a worker are Routers: they write to the log of the job that the current context belongs
to, or, where a worker does one job at a time, of that job: so threads that a task has started are heard too. The file
is made with the first byte. Output of no job (a library's own thread, say) goes to the worker's stderr.

Processes that a task starts by `subprocess` write to the log's own file, unless the task says where else; so they are
heard at once, and may outlive the attempt. What writes to descriptor 1 or 2 in another way ends up in the runner's
stderr.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, TextIO

MAX_BYTES = 10_000_000
"""What one attempt may write to its job's log; the rest is counted, not kept."""

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hang


class Log:
    """The log file of one job, while an attempt of it runs."""

    def __init__(self, folder: str, id: str, header: str) -> None:
        self._path = f"{folder}/{id}.log"
        self._header = header
        self._fd = -1
        self._written = 0
        self._writing = threading.Lock()
        self._lost = False
        self.closed = False

    def write(self, data: bytes) -> None:
        """Add to the file. Where that cannot be, it is said once, and what follows is lost: no task fails of it."""
        try:
            with self._writing:
                if not self._lost:
                    self._write(data)
        except OSError as error:
            self._lost = True
            print(f"worker {os.getpid()}: the log {self._path}: {error.strerror}", file=sys.__stderr__)

    def _write(self, data: bytes) -> None:
        self._open()
        room = MAX_BYTES - self._written
        self._written += len(data)
        if room > 0:
            os.write(self._fd, data[:room])

    def _open(self) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, _CREATE, 0o644)
            os.write(self._fd, self._header.encode())

    def fileno(self) -> int | None:
        """A descriptor for a process that is going to be started; None where there is none to be had."""
        with suppress(OSError), self._writing:
            if not (self._lost or self.closed):
                self._open()
                return self._fd
        return None

    def close(self) -> None:
        self.closed = True  # a thread that the task has left behind may go on printing
        if self._fd < 0:
            return
        with self._writing:
            with suppress(OSError):
                if self._written > MAX_BYTES:
                    os.write(self._fd, f"\n[{self._written - MAX_BYTES:,} more bytes were not kept]\n".encode())
            os.close(self._fd)
            self._fd = -1


_CURRENT: ContextVar[Log | None] = ContextVar("_CURRENT", default=None)
_only: Log | None = None


class Capturing:
    """For a `with`: what this context prints goes to `log`; with `alone`, all that this process prints."""

    def __init__(self, log: Log, *, alone: bool) -> None:
        self._log = log
        self._alone = alone

    def __enter__(self) -> None:
        global _only
        self._before = _CURRENT.set(self._log)
        if self._alone:
            _only = self._log

    def __exit__(self, *_: object) -> None:
        global _only
        _only = None
        _CURRENT.reset(self._before)
        self._log.close()


def _log() -> Log | None:
    log = _CURRENT.get() or _only
    return None if log is None or log.closed else log


class Router(io.TextIOBase):
    """A text stream that writes to the log of the current job."""

    encoding = "utf-8"

    def __init__(self, fallback: TextIO) -> None:
        self._fallback = fallback
        self.buffer = _Bytes(fallback)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        log = _log()
        if log is None:
            return self._fallback.write(text)
        log.write(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        if _log() is None:
            self._fallback.flush()

    def fileno(self) -> int:
        log = _log()
        descriptor = log.fileno() if log is not None else None
        return self._fallback.fileno() if descriptor is None else descriptor


class _Bytes(io.RawIOBase):
    """The same for bytes: some programs write to `sys.stdout.buffer`."""

    def __init__(self, fallback: TextIO) -> None:
        self._fallback = fallback

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        log = _log()
        if log is None:
            self._fallback.write(bytes(data).decode("utf-8", "backslashreplace"))
        else:
            log.write(bytes(data))
        return len(data)


_POPEN = subprocess.Popen.__init__
_STDOUT, _STDERR = 4, 5  # where they stand among the arguments of Popen that are given without a name


@functools.wraps(_POPEN)
def _popen(process: subprocess.Popen[Any], *args: Any, **kwargs: Any) -> None:
    """Start a process: what it was given no place to write to goes to the log."""
    log = _log()
    if log is not None and (descriptor := log.fileno()) is not None:
        for number, name in ((_STDOUT, "stdout"), (_STDERR, "stderr")):
            if len(args) <= number and kwargs.get(name) is None:
                kwargs[name] = descriptor
    _POPEN(process, *args, **kwargs)


def install(level: str) -> None:
    """Route this process's stdout, stderr and logging, and those of the processes that it starts."""
    subprocess.Popen.__init__ = _popen  # type: ignore[method-assign, assignment]
    sys.stdout = Router(sys.__stderr__ or sys.stderr)
    sys.stderr = Router(sys.__stderr__ or sys.stderr)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.captureWarnings(True)
