"""What a task prints and logs goes to its job's own log file, whichever thread it is on.

`sys.stdout` and `sys.stderr` of a worker are Routers: they write to the log of the job that the current context belongs
to, or, where a worker does one job at a time, of that job: so threads that a task has started are heard too. The file
is made with the first byte. Output of no job (a library's own thread, say) goes to the worker's stderr.

Processes that a task starts by `subprocess` are heard too, unless the task says where else they write; also those that
outlive the attempt. What writes to descriptor 1 or 2 in another way ends up in the runner's stderr.
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
from weakref import WeakSet

from runner.workers.hearing import Hearing, TooMany

MAX_BYTES = 10_000_000
"""What one attempt may write to its job's log; the rest is counted, not kept."""

_LINE = 1 << 16  # bytes, beyond which nothing waits for its end
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not hang


class Log:
    """The log file of one job, while an attempt of it runs, and as long as a process that it has started can write."""

    def __init__(self, folder: str, id: str, header: str) -> None:
        self._path = f"{folder}/{id}.log"
        self._header = header
        self._fd = -1
        self._written = 0
        self._writing = threading.RLock()  # a signal's handler may print while its thread writes
        self._lost = False
        self._hearing: Hearing | None = None
        self._begun: dict[int, bytes] = {}  # lines, by threads
        self.closed = False
        self._pid = os.getpid()
        _LOGS.add(self)

    @property
    def spoke(self) -> bool:
        """Whether there is anything in it."""
        return self._written > 0

    def say(self, data: bytes) -> None:
        """Add whole lines; the rest waits for what this thread says next, or `flush`: others speak in between."""
        speaker = threading.get_ident()
        data = self._begun.pop(speaker, b"") + data
        whole = data.rfind(b"\n") + 1 if len(data) < _LINE else len(data)
        if whole < len(data):
            self._begun[speaker] = data[whole:]
        if whole:
            self.write(data[:whole])

    def flush(self) -> None:
        """Add the line that this thread has begun."""
        if begun := self._begun.pop(threading.get_ident(), b""):
            self.write(begun)

    def write(self, data: bytes) -> None:
        """Add to the file. Where that cannot be, it is said once, and what follows is lost: no task fails of it."""
        self.catch_up()
        self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            with self._writing:
                if not self._lost:
                    self._write(data)
        except OSError as error:
            self._lost = True
            with suppress(OSError, ValueError):
                print(f"worker {os.getpid()}: the log {self._path}: {error.strerror}", file=sys.__stderr__)

    def _write(self, data: bytes) -> None:
        if self._fd < 0:
            self._fd = os.open(self._path, _CREATE, 0o644)
            os.write(self._fd, self._header.encode())
        room = MAX_BYTES - self._written
        self._written += len(data)
        if room > 0:
            os.write(self._fd, data[:room])

    def descriptor(self) -> int | None:
        """One for a process that is going to be started, to be closed then; None where there is none to be had."""
        with suppress(OSError, RuntimeError, TooMany), self._writing:
            if self.closed:
                return None
            if self._hearing is None and os.getpid() == self._pid:  # a fork's would end with it
                self._hearing = Hearing(self._take, self._heard_out)
            return None if self._hearing is None else self._hearing.descriptor()
        return None

    def catch_up(self) -> None:
        """Add what processes have said so far."""
        if (hearing := self._hearing) is not None:
            hearing.catch_up()

    def close(self) -> None:
        """The attempt is over."""
        with self._writing:
            self.closed = True  # a thread that the task has left behind may go on printing
            hearing = self._hearing
        while self._begun:
            with suppress(KeyError):
                self.write(self._begun.popitem()[1])
        if hearing is not None:
            hearing.close()
        else:
            self._end()

    def _heard_out(self) -> None:
        """Nobody has the pipe any more."""
        with self._writing:
            self._hearing = None
            if not self.closed:  # a task has closed it
                return
        self._end()

    def _end(self) -> None:
        with self._writing:
            self._lost = True  # who speaks just now must not make it anew
            if self._fd < 0:
                return
            with suppress(OSError):
                if self._written > MAX_BYTES:
                    os.write(self._fd, f"\n[{self._written - MAX_BYTES:,} more bytes were not kept]\n".encode())
                os.close(self._fd)
            self._fd = -1

    def freed(self) -> None:
        """Nobody holds the lock any more, nor has begun a line."""
        self._writing = threading.RLock()
        self._begun.clear()


_LOGS: WeakSet[Log] = WeakSet()
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
        log.say(text.encode("utf-8", "backslashreplace"))
        return len(text)

    def flush(self) -> None:
        log = _log()
        if log is None:
            self._fallback.flush()
        else:
            log.flush()

    def fileno(self) -> int:
        # Not the log's: who keeps the number, as faulthandler does, would write into whatever file has it later.
        return self._fallback.fileno()


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
            log.say(bytes(data))
        return len(data)

    def flush(self) -> None:
        if (log := _log()) is not None:
            log.flush()


_POPEN = subprocess.Popen.__init__
_PLACES = (4, "stdout"), (5, "stderr")  # where they stand among the arguments that are given without a name


@functools.wraps(_POPEN)
def _popen(process: subprocess.Popen[Any], *args: Any, **kwargs: Any) -> None:
    """Start a process: what it was given no place to write to, or our own, goes to the log."""
    given = {name: args[n] if len(args) > n else kwargs.get(name) for n, name in _PLACES}
    log = _log() if any(map(_is_ours, given.values())) else None
    descriptor = log.descriptor() if log is not None else None
    if descriptor is None:
        _POPEN(process, *args, **kwargs)
        return
    words = list(args)
    for n, name in _PLACES:
        if _is_ours(given[name]):
            if len(words) > n:
                words[n] = descriptor
            else:
                kwargs[name] = descriptor
    try:
        _POPEN(process, *words, **kwargs)
    finally:
        os.close(descriptor)


def _is_ours(place: object) -> bool:
    return place is None or isinstance(place, (Router, _Bytes))


def _caught_up() -> None:
    """Before a fork: what it says comes after what was said."""
    for log in list(_LOGS):
        log.catch_up()


def _freed() -> None:
    """In a fork: whoever held a lock is not here."""
    for log in _LOGS:
        log.freed()


def install(level: str) -> None:
    """Route this process's stdout, stderr and logging, and those of the processes that it starts."""
    subprocess.Popen.__init__ = _popen  # type: ignore[method-assign, assignment]
    os.register_at_fork(before=_caught_up, after_in_child=_freed)
    sys.stdout = Router(sys.__stderr__ or sys.stderr)
    sys.stderr = Router(sys.__stderr__ or sys.stderr)
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.captureWarnings(True)
