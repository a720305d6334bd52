"""A worker process: reads orders, carries them out on this or on several threads, replies.

Orders lie ready in it, and each is begun with a ticket (`tickets.py`). A thread that has nothing to do waits for the
next one, whoever is first. Where there are several threads, one more reads the stream; where there is one, it reads
when what its ticket is for has not come yet. It must not outlive its runner: the kernel kills it when the fork server
ends (Linux), and elsewhere it ends between two jobs. It holds a lock file of its own as long as it lives: the next
runner can wait for it.
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
import traceback
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import msgspec
from filelock import FileLock
from msgspec import Struct
from msgspec.structs import replace

from runner.core.events import Asked, Began, Finished
from runner.core.model import Proposal
from runner.errors import RunnerError, plainly
from runner.store.files import write_for, writer_token
from runner.workers import capture
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.frames import Frames, frame
from runner.workers.hindrance import Exhausted, Hindered
from runner.workers.looking import Looker
from runner.workers.port import Looked, Order, Reply, Settings
from runner.workers.tickets import take

SWITCH_TIME = 0.001
"""Seconds for which a thread that computes may keep others from going on. Threads are for tasks that wait, and with
Python's own 0.005 each answer that has come waits once more, several times over: 32 fetches at once lose 1 or 2 %."""

LISTEN_TIME = 0.5
"""Seconds after which a worker with several threads notices that a task has closed the stream."""

PORTION = 256
"""How many children go into one message."""

_PR_SET_PDEATHSIG = 1
UNHEEDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What is meant for the runner, which decides what becomes of its workers."""


class Work(Struct, frozen=True, tag=True):
    """Orders, in the order they are to be begun. `litter`: names in tmp/ to unlink."""

    orders: list[Order]
    litter: tuple[str, ...] = ()


class Look(Struct, frozen=True, tag=True):
    """Look at these done jobs; the answer is Looked."""

    ids: tuple[str, ...]


class Discovered(Struct, frozen=True, tag=True):
    """Some of those that a job has found; the answer to its order follows, and does without them."""

    id: str
    children: list[Proposal]


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


Message: TypeAlias = Began | Discovered | Done | Hindrance | Unfit | Looked
_Send: TypeAlias = Callable[[Message], None]

_decode = msgspec.json.Decoder(Work | Look).decode
_encode = msgspec.json.Encoder().encode
_held: list[FileLock] = []
_forking = threading.local()


def main(stream: int, tickets: int, settings: bytes, parent: int) -> None:
    """Work until the scheduler is gone. Called in a process of its own, just forked from `parent`. Never returns."""
    tie_to(parent)
    os.register_at_fork(before=_hold_back, after_in_parent=_let_come, after_in_child=_heed)
    os.setpgid(0, 0)  # what a task starts can be found, and killed with its worker
    for fd in (stream, tickets):
        os.set_inheritable(fd, False)  # as it came by a message: what a task starts must not hold the stream open
        os.set_blocking(fd, True)
    send = _sender(stream)
    try:
        known = msgspec.json.decode(settings, type=Settings)
        write_for(known.agent)
        os.chdir(known.root)
        capture.install(known.level)
        os.dup2(2, 1)  # the runner's stdout is for data
        _hold_lock(known.state)
        bench = Bench(known, tell=send)
        desk = _Desk(stream, tickets, bench, reader=known.threads > 1)
        serve = partial(_serve, desk, send, bench, Looker(bench))
        if known.threads == 1:
            serve()
        else:
            _with_threads(known.threads, serve, desk.listen, send)
    except BaseException as error:
        _end(error, send)
    os._exit(0)  # threads of a task, or at-exit handlers of a library, must not keep it alive


def tie_to(parent: int) -> None:
    """Have the kernel kill this process when process `parent` ends (Linux), and not heed what is meant for that."""
    for signum in UNHEEDED:
        signal.signal(signum, _ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, UNHEEDED)  # in a Dask worker of ours they are, and tasks want them
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we were tied to it
        os._exit(0)


def _hold_back() -> None:
    """Before a task forks: what comes before `_heed` is not to be lost."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, UNHEEDED)


def _let_come() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _heed() -> None:
    """In what a task has forked: it must end when the task says so, by Process.terminate(), say."""
    for signum in UNHEEDED:
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


class _Desk:
    """What lies ready in this worker. `reader`: another thread calls `listen`."""

    def __init__(self, stream: int, tickets: int, bench: Bench, *, reader: bool) -> None:
        self._frames = Frames(stream)
        self._tickets = tickets
        self._bench = bench
        self._lying: deque[Order | Look] = deque()
        self._number = 0  # of the first of them
        self._turn = threading.Lock()
        self._heard = threading.Condition()
        self._wait: Callable[[], object] = self._heard.wait if reader else self._hear

    def next(self) -> Order | Look | None:
        """What this thread is to do next, as soon as there is something. None: the scheduler is gone."""
        with self._turn:
            number = take(self._tickets)
            if number is None:
                return None
            with self._heard:
                while self._number + len(self._lying) <= number:
                    if self._frames.eof:
                        return None
                    self._wait()
            for _ in range(number - self._number):  # these were taken back
                self._lying.popleft()
            self._number = number + 1
            return self._lying.popleft()

    def listen(self) -> None:
        """Read until the scheduler is gone. Not by a read that waits: while there is one, the scheduler would not see
        that a task has closed the stream."""
        stream = select.poll()
        stream.register(self._frames.fd, select.POLLIN)
        while not self._frames.eof:
            if stream.poll(LISTEN_TIME * 1000):
                self._hear()

    def _hear(self) -> None:
        for payload in self._frames.read():
            message = _decode(payload)
            if isinstance(message, Work):
                self._bench.unlink(message.litter)  # first: an answer to one of the orders says that it is done
                self._lying.extend(message.orders)
            else:
                self._lying.append(message)
        with self._heard:
            self._heard.notify_all()


def _serve(desk: _Desk, send: _Send, bench: Bench, looker: Looker) -> None:
    while (item := desk.next()) is not None:
        if isinstance(item, Look):
            send(looker.look(item.ids))
        else:
            _answer(_carried_out(item, bench), send)


def _answer(done: Done | Hindrance, send: _Send) -> None:
    """If there are many children, these come first, in portions: the scheduler is not to read for long."""
    event = done.reply.event if isinstance(done, Done) else None
    if isinstance(done, Done) and isinstance(event, Finished | Asked) and len(event.children or ()) > PORTION:
        children = event.children or []
        for start in range(0, len(children), PORTION):
            send(Discovered(event.id, children[start : start + PORTION]))
        done = Done(replace(done.reply, event=replace(event, children=[])))
    send(done)


def _with_threads(count: int, serve: Callable[[], None], listen: Callable[[], None], send: _Send) -> None:
    """So many threads serve, each on one job at a time, and one more listens; the main one waits for the end."""
    sys.setswitchinterval(SWITCH_TIME)

    def work(does: Callable[[], None]) -> None:
        try:
            does()
        except BaseException as error:
            _end(error, send)

    threading.Thread(target=work, args=(listen,), name="reader", daemon=True).start()
    working = [
        threading.Thread(target=work, args=(serve,), name=f"task-{number}", daemon=True) for number in range(count)
    ]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()


def _ignore(signum: int, frame: object) -> None:
    """A handler, not SIG_IGN: programs that a task starts must get the default back."""
