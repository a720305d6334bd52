"""A worker process: reads orders, carries them out on this or on several threads, replies.

It must not outlive its runner: the kernel kills it when the fork server ends (Linux), and the end of its stream ends
it between two jobs elsewhere. It holds a lock file of its own as long as it lives: the next runner can wait for it.
What is no job's fault (the disk is full) is told to the scheduler with a word, and no job is charged for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

import msgspec
from filelock import FileLock
from msgspec import Struct

from runner.core.events import Began
from runner.errors import RunnerError, plainly
from runner.store.files import writer_token
from runner.workers import capture
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.frames import Frames, frame
from runner.workers.hindrance import Exhausted, Hindered
from runner.workers.looking import Looker
from runner.workers.port import Looked, Order, Reply, Settings

HEAR_TIME = 0.001
"""Seconds between two looks at the stream, while there is work."""

SWITCH_TIME = 0.001
"""Seconds for which a thread that computes may keep others from going on. Threads are for tasks that wait, and with
Python's own 0.005 each answer that has come waits once more, several times over: 32 fetches at once lose 1 or 2 %."""

_PR_SET_PDEATHSIG = 1
_UNHEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Halt(Struct, frozen=True, tag=True):
    """Begin nothing more; hand back what was not begun."""


class Work(Struct, frozen=True, tag=True):
    """Orders, in the order they are to be begun. `litter`: names in tmp/ to unlink."""

    orders: list[Order]
    litter: tuple[str, ...] = ()


class Look(Struct, frozen=True, tag=True):
    """Look at these done jobs, if there is nothing else to do; the answer is Looked."""

    ids: tuple[str, ...]


class Unbegun(Struct, frozen=True, tag=True):
    """The answer to Halt: these were not begun, and will not be."""

    ids: tuple[str, ...]


class Done(Struct, frozen=True, tag=True):
    """The answer to one order."""

    reply: Reply


class Hindrance(Struct, frozen=True, tag=True):
    """The answer to one order that could not be carried out: the machine is at fault. The others go on."""

    id: str
    reason: str


class Unfit(Struct, frozen=True, tag=True):
    """This worker cannot go on: its last word. `hindered`: another could not either."""

    reason: str
    hindered: bool = True


Message: TypeAlias = Began | Done | Unbegun | Hindrance | Unfit | Looked
_Send: TypeAlias = Callable[[Message], None]

_decode = msgspec.json.Decoder(Halt | Work | Look).decode
_encode = msgspec.json.Encoder().encode
_held: list[FileLock] = []
_forking = threading.local()


def main(fd: int, settings: bytes, parent: int) -> None:
    """Work until the stream ends. Called in a process of its own, just forked from process `parent`. Never returns."""
    tie_to(parent)
    os.register_at_fork(before=_hold_back, after_in_parent=_let_come, after_in_child=_heed)
    os.setpgid(0, 0)  # what a task starts can be found, and killed with its worker
    os.set_inheritable(fd, False)  # as it came by a message: what a task starts must not hold the stream open
    send = _sender(fd)
    try:
        known = msgspec.json.decode(settings, type=Settings)
        os.chdir(known.root)
        capture.install(known.level)
        _hold_lock(known.state)
        bench = Bench(known, tell=send)
        if known.threads == 1:
            _serve_alone(fd, send, bench)
        else:
            _serve_threads(fd, send, bench, known.threads)
    except BaseException as error:
        _end(error, send)
    os._exit(0)  # threads of a task, or at-exit handlers of a library, must not keep it alive


def tie_to(parent: int) -> None:
    """Have the kernel kill this process when process `parent` ends (Linux), and not heed what is meant for that."""
    for signum in _UNHEEDED:
        signal.signal(signum, _ignore)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we were tied to it
        os._exit(0)


def _hold_back() -> None:
    """Before a task forks: what comes before `_heed` is not to be lost."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _UNHEEDED)


def _let_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _heed() -> None:
    """In what a task has forked: it must end when the task says so, by Process.terminate(), say."""
    for signum in _UNHEEDED:
        if signal.getsignal(signum) is _ignore:  # else the task has chosen
            signal.signal(signum, signal.SIG_DFL)
    _let_come()


def _hold_lock(state: str) -> None:
    """Until this process ends, and not a moment less. In the file: the session that all it starts belongs to."""
    path = os.path.join(state, "locks", f"worker-{writer_token()}lock")
    lock = FileLock(path)
    lock.acquire(timeout=0)
    _held.append(lock)
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    os.write(file, b"%d\n" % os.getsid(0))
    os.close(file)


def _end(error: BaseException, send: _Send) -> None:
    """Leave: with a word, if the state or the stream is at fault; as a crash, if it is a defect a job brings out."""
    if not isinstance(error, OSError | RunnerError):
        print(f"worker {os.getpid()}: {traceback.format_exc()}", file=sys.__stderr__)
        os._exit(1)
    with contextlib.suppress(OSError):  # the runner is gone: nobody is there to tell
        if isinstance(error, Exhausted):
            send(Unfit(str(error), hindered=False))
        else:
            send(Unfit(f"a worker cannot go on: {plainly(error)}"))
    os._exit(0)


def _carried_out(order: Order, bench: Bench) -> Done | Hindrance:
    try:
        return Done(perform(order, bench))
    except Hindered as error:
        return Hindrance(order.id, str(error))


def _sender(fd: int) -> _Send:
    """Sends whole messages, from whichever thread, over a descriptor that may be a non-blocking one."""
    writing = threading.Lock()

    def send(message: Message) -> None:
        data = memoryview(frame(_encode(message)))
        with writing:
            while data:
                try:
                    data = data[os.write(fd, data) :]
                except BlockingIOError:
                    select.select([], [fd], [])

    return send


def _serve_alone(fd: int, send: _Send, bench: Bench) -> None:
    """One job at a time, on the main thread."""
    os.set_blocking(fd, False)
    frames = Frames(fd)
    looker = Looker(bench)
    backlog: deque[Order] = deque()
    heard = 0.0
    while True:
        if not backlog:
            select.select([fd], [], [])
        elif time.monotonic() - heard < HEAR_TIME:
            send(_carried_out(backlog.popleft(), bench))
            continue
        heard = time.monotonic()
        for payload in frames.read():
            message = _decode(payload)
            if isinstance(message, Work):
                backlog.extend(message.orders)
                bench.unlink(message.litter)
            elif isinstance(message, Look):
                send(looker.look(message.ids if not backlog else ()))
            else:
                send(Unbegun(tuple(order.id for order in backlog)))
                backlog.clear()
        if frames.eof:
            return
        if backlog:
            send(_carried_out(backlog.popleft(), bench))


def _serve_threads(fd: int, send: _Send, bench: Bench, threads: int) -> None:
    """The main thread reads; so many others work, each on one job at a time."""
    orders: SimpleQueue[Order] = SimpleQueue()
    sys.setswitchinterval(SWITCH_TIME)

    def work() -> None:
        try:
            while True:
                send(_carried_out(orders.get(), bench))
        except BaseException as error:
            _end(error, send)

    for number in range(threads):
        threading.Thread(target=work, name=f"task-{number}", daemon=True).start()
    frames = Frames(fd)
    looker = Looker(bench)
    while True:
        for payload in frames.read():
            message = _decode(payload)
            if isinstance(message, Work):
                for order in message.orders:
                    orders.put(order)
                bench.unlink(message.litter)
                continue
            if isinstance(message, Look):
                send(looker.look(message.ids if orders.empty() else ()))
                continue
            ids = []
            with contextlib.suppress(Empty):  # a thread may be quicker
                while True:
                    ids.append(orders.get_nowait().id)
            send(Unbegun(tuple(ids)))
        if frames.eof:
            return


def _ignore(signum: int, frame: object) -> None:
    """A handler, not SIG_IGN: programs that a task starts must get the default back."""
