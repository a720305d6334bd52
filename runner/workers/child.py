"""A worker process: reads orders, carries them out on this or on several threads, replies.

It must not outlive its runner: the kernel kills it when the fork server ends (Linux), and the end of its stream ends
it between two jobs elsewhere. It holds a lock file of its own as long as it lives: the next runner can wait for it.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections import deque
from queue import SimpleQueue

import msgspec
from filelock import FileLock
from msgspec import Struct

from runner.store.files import writer_token
from runner.workers import capture
from runner.workers.attempt import Bench, perform
from runner.workers.frames import Frames, frame, write_all
from runner.workers.port import Order, Reply, Settings

_PR_SET_PDEATHSIG = 1


class Halt(Struct, frozen=True, tag=True):
    """Begin nothing more; hand back what was not begun."""


class Work(Struct, frozen=True, tag=True):
    """Orders, in the order they are to be begun."""

    orders: list[Order]


class Unbegun(Struct, frozen=True, tag=True):
    """The answer to Halt: these were not begun, and will not be."""

    ids: tuple[str, ...]


class Done(Struct, frozen=True, tag=True):
    """The answer to one order."""

    reply: Reply


_decode = msgspec.json.Decoder(Halt | Work).decode
_encode = msgspec.json.Encoder().encode


def main(fd: int, settings: bytes, parent: int) -> None:
    """Work until the stream ends. Called in a process of its own, just forked from process `parent`."""
    _tie_to(parent)
    os.setpgid(0, 0)  # what a task starts can be found, and killed with its worker
    known = msgspec.json.decode(settings, type=Settings)
    os.chdir(known.root)
    capture.install(known.level)
    bench = Bench(known)
    lock = FileLock(os.path.join(known.state, "locks", f"worker-{writer_token()}lock"))
    lock.acquire(timeout=0)
    try:
        if known.threads == 1:
            _serve_alone(fd, bench)
        else:
            _serve_threads(fd, bench, known.threads)
    except OSError as error:
        print(f"worker {os.getpid()}: {error}", file=sys.__stderr__)
    os._exit(0)  # threads of a task, or at-exit handlers of a library, must not keep it alive


def _tie_to(parent: int) -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _ignore)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we were tied to it
        os._exit(0)


def _serve_alone(fd: int, bench: Bench) -> None:
    """One job at a time, on the main thread."""
    os.set_blocking(fd, False)
    frames = Frames(fd)
    backlog: deque[Order] = deque()
    while True:
        if not backlog:
            select.select([fd], [], [])
        for payload in frames.read():
            message = _decode(payload)
            if isinstance(message, Work):
                backlog.extend(message.orders)
            else:
                _send(fd, Unbegun(tuple(order.id for order in backlog)))
                backlog.clear()
        if frames.eof:
            return
        if backlog:
            _send(fd, Done(perform(backlog.popleft(), bench)))


def _send(fd: int, message: Unbegun | Done) -> None:
    data = frame(_encode(message))
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            select.select([], [fd], [])


def _serve_threads(fd: int, bench: Bench, threads: int) -> None:
    """The main thread reads; so many others work, each on one job at a time."""
    orders: SimpleQueue[Order] = SimpleQueue()
    writing = threading.Lock()

    def send(message: Unbegun | Done) -> None:
        data = frame(_encode(message))
        with writing:
            write_all(fd, data)

    def work() -> None:
        while True:
            reply = perform(orders.get(), bench)
            try:
                send(Done(reply))
            except OSError:  # the runner is gone
                os._exit(0)

    for number in range(threads):
        threading.Thread(target=work, name=f"task-{number}", daemon=True).start()
    frames = Frames(fd)
    while not frames.eof:
        for payload in frames.read():
            message = _decode(payload)
            if isinstance(message, Work):
                for order in message.orders:
                    orders.put(order)
                continue
            ids = []
            while not orders.empty():
                try:
                    ids.append(orders.get_nowait().id)
                except Exception:  # a thread was quicker
                    break
            send(Unbegun(tuple(ids)))


def _ignore(signum: int, frame: object) -> None:
    """A handler, not SIG_IGN: programs that a task starts must get the default back."""
