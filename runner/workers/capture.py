"""What a task prints and logs goes to its job's own log file, whichever thread it is on.

`sys.stdout` and `sys.stderr` of a worker are Routers: they write to the log of the job that the current context belongs
to. The file is made with the first byte. Output of no job (a library's own thread, say) goes to the worker's stderr.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from contextvars import ContextVar
from typing import TextIO

MAX_BYTES = 10_000_000
"""What one attempt may write to its job's log; the rest is counted, not kept."""


class Log:
    """The log file of one job, while an attempt of it runs."""

    def __init__(self, folder: str, id: str, header: str) -> None:
        self._path = os.path.join(folder, id + ".log")
        self._header = header
        self._fd = -1
        self._written = 0

    def write(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        if self._fd < 0:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            os.write(self._fd, self._header.encode())
        room = MAX_BYTES - self._written
        self._written += len(data)
        if room > 0:
            os.write(self._fd, data[:room])

    def close(self) -> None:
        if self._fd < 0:
            return
        if self._written > MAX_BYTES:
            os.write(self._fd, f"\n[{self._written - MAX_BYTES:,} more bytes were not kept]\n".encode())
        os.close(self._fd)
        self._fd = -1


CURRENT_LOG: ContextVar[Log | None] = ContextVar("CURRENT_LOG", default=None)


class Router(io.TextIOBase):
    """A text stream that writes to the log of the current job."""

    encoding = "utf-8"

    def __init__(self, fallback: TextIO) -> None:
        self._fallback = fallback

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        log = CURRENT_LOG.get()
        if log is None:
            return self._fallback.write(text)
        log.write(text)
        return len(text)

    def flush(self) -> None:
        if CURRENT_LOG.get() is None:
            self._fallback.flush()

    def fileno(self) -> int:
        return self._fallback.fileno()


def install(level: str) -> None:
    """Route this process's stdout, stderr and logging."""
    os.dup2(2, 1)  # what bypasses sys.stdout must not mix with the data that the runner prints
    sys.stdout = Router(sys.__stderr__ or sys.stderr)
    sys.stderr = Router(sys.__stderr__ or sys.stderr)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.captureWarnings(True)
