"""A small process that has the user's modules imported and forks workers from that: 11 ms instead of 700.

It has one thread, so a fork is safe. Its session is its own: a Ctrl-C or a signal to the runner's group does not reach
the workers, the scheduler decides. When the scheduler dies, the kernel kills this process, and with it its workers,
whatever they are doing: each has asked for that. (Elsewhere than on Linux, the end of the control socket ends it.)

Requests and answers are JSON, one a packet; a request carries two descriptors, the worker's ends of its stream and of
its tickets.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from math import inf

import msgspec
from msgspec import Struct

from runner.store.pace import steady

PATIENCE = 10.0
"""Seconds to wait for an answer that takes milliseconds, before one takes the process for stuck."""

_PACKET = 1 << 16
_AT_ONCE = 256  # module names in one packet
_START = """
import json, sys
spec = json.loads(sys.argv[1])
sys.path[:] = spec.pop("path")
try:
    from runner.workers.forkserver import main
    main(**spec)
except OSError as error:  # the disk that it is imported from fails, say
    # Before the exit, which closes the control socket: whoever sees that end may kill this process.
    print(f"the process that forks the workers cannot go on: {error}", file=sys.stderr, flush=True)
    sys.exit(1)
"""


class Fork(Struct, frozen=True, tag=True):
    """Fork a worker with these settings (JSON of port.Settings)."""

    settings: str


class Load(Struct, frozen=True, tag=True):
    """Import these modules; the answer is Ready."""

    modules: tuple[str, ...]


class Extend(Struct, frozen=True, tag=True):
    """Live on until then, by the clock of `steady`. There is no answer."""

    until: float


class Born(Struct, frozen=True, tag=True):
    """The worker's process id."""

    pid: int


class Ready(Struct, frozen=True, tag=True, omit_defaults=True):
    """Everything is imported: a fork takes no time now. `broken`: the first module that could not be, and why."""

    broken: str = ""


class Died(Struct, frozen=True, tag=True):
    """A worker ended; `status` as waitpid gives it."""

    pid: int
    status: int


class ForkServer:
    """The scheduler's side. `ready`: a fork is known to be quick; `gone`, once it is known to have ended; `died`:
    workers, until their `status` is asked; `broken`: what could not be imported, and why. `until`: it ends then, by the
    clock of `steady`, and its workers with it, whatever becomes of this process.
    """

    def __init__(self, root: str, preload: tuple[str, ...], until: float = inf) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control = ours
        self.died: dict[int, int] = {}
        self.gone = False
        self.broken = ""
        self._loading = 1  # how many more times it is to tell that it is ready
        spec = {"root": root, "preload": preload, "parent": os.getpid(), "path": sys.path}
        if until < inf:  # which is no JSON
            spec["until"] = until
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, msgspec.json.encode(spec).decode()],
                stdin=theirs.fileno(),  # a number of its own may be a large one, which select() does not take
                start_new_session=True,
            )

    @property
    def ready(self) -> bool:
        return self._loading == 0

    def load(self, modules: Sequence[str]) -> None:
        """Have it import these as well before it forks again. What cannot be imported there is left out."""
        self._control.settimeout(None)
        with contextlib.suppress(OSError):  # it is gone: the next fork tells
            for start in range(0, len(modules), _AT_ONCE):
                self._control.send(msgspec.json.encode(Load(tuple(modules[start : start + _AT_ONCE]))))
                self._loading += 1

    def extend(self, until: float) -> None:
        """It may live on until then."""
        with contextlib.suppress(OSError):  # it is gone, or does not read: if so for long, it may as well end
            self._control.settimeout(0)
            self._control.send(msgspec.json.encode(Extend(until)))

    def fork(self, fds: tuple[int, int], settings: str) -> int:
        """A new worker that has these, for its stream and its tickets; its process id.

        Raises ConnectionError when the process is gone, or stuck.
        Who waits here hears nobody, a Ctrl-C neither: so it is not for ever, but for modules still being imported.
        """
        self._control.settimeout(None)
        try:
            socket.send_fds(self._control, [msgspec.json.encode(Fork(settings))], fds)
        except ConnectionError:
            self.gone = True
            raise
        while True:
            answer = self._receive(PATIENCE if self.ready else None)
            if answer is None:
                self._process.kill()
                self.gone = True
                raise ConnectionError("the process that forks the workers does not answer")
            if isinstance(answer, Born):
                return answer.pid

    def fileno(self) -> int:
        """Readable when a worker has died, or this process."""
        return self._control.fileno()

    def hear(self) -> None:
        """Take in what it has told."""
        with contextlib.suppress(OSError):
            while self._receive(0) is not None:
                pass

    def status(self, pid: int, timeout: float) -> int | None:
        """How the worker ended, as waitpid tells; None if that is not known within `timeout` seconds."""
        with contextlib.suppress(OSError):
            while pid not in self.died and self._receive(timeout) is not None:
                pass
        return self.died.pop(pid, None)

    def close(self) -> None:
        """End the process, and with it every worker."""
        self._control.close()
        try:
            self._process.wait(5 if self.ready else 0)  # it does not look up from what it imports
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _receive(self, timeout: float | None) -> Ready | Born | Died | None:
        self._control.settimeout(timeout)
        try:
            data = self._control.recv(_PACKET)
        except (TimeoutError, BlockingIOError):
            return None
        except OSError:
            data = b""
        if not data:
            self.gone = True
            raise ConnectionError("the process that forks the workers has ended")
        answer = msgspec.json.decode(data, type=Ready | Born | Died)
        if isinstance(answer, Died):
            self.died[answer.pid] = answer.status
        elif isinstance(answer, Ready):
            self._loading -= 1
            self.broken = self.broken or answer.broken
        return answer


def how_it_ended(status: int | None) -> str:
    """A worker, in words. `status`: as of os.waitpid; None: not known."""
    if status is None:
        return "its worker died"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"its worker was killed by {name}"
    return f"its worker exited with code {os.WEXITSTATUS(status)}"


def main(root: str, preload: list[str], parent: int, until: float = inf) -> None:
    """The process itself. Its standard input is the control socket; `preload`: modules to import first."""
    from runner.workers import child

    child.tie_to(parent)
    control = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # what a module or a task prints past `sys.stdout` must not mix with what the runner prints
    sys.stdout = sys.stderr  # a line that stays in a buffer is lost at our end, and each worker would have it, too
    os.chdir(root)
    if root not in sys.path:
        sys.path.insert(0, root)
    _load(control, preload)
    _serve(control, child.main, until)


def _load(control: socket.socket, modules: Iterable[str]) -> None:
    broken = ""
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:  # the job that needs it says so in its own file
            broken = broken or f"{name} cannot be imported: {type(error).__name__}: {str(error)[:1000]}"
    with contextlib.suppress(OSError):  # the scheduler is gone: that is seen next
        control.send(msgspec.json.encode(Ready(broken)))


def _serve(control: socket.socket, work: Callable[[int, int, bytes, int], None], until: float) -> None:
    wake_read, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, _ignore)
    server = os.getpid()
    while True:
        left = max(0.0, until - steady())
        readable, _, _ = select.select([control.fileno(), wake_read], [], [], left if left < inf else None)
        if not readable and left < inf and steady() >= until:  # nobody has said that our workers may go on
            os._exit(0)
        if wake_read in readable:
            os.read(wake_read, 4096)
            _reap(control)
        if control.fileno() in readable:
            try:
                data, fds, _, _ = socket.recv_fds(control, _PACKET, 2)
            except ConnectionError:
                data, fds = b"", []
            if not data:  # the scheduler is gone: so are we, and with us, by the kernel, the workers
                os._exit(0)
            request = msgspec.json.decode(data, type=Fork | Load | Extend)
            if isinstance(request, Extend):
                until = max(until, request.until)
                continue
            if isinstance(request, Load):
                _load(control, request.modules)
                continue
            if steady() >= until:
                os._exit(0)
            gc.freeze()  # what has been imported stays: no worker need look through it for garbage again and again
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                control.close()
                os.close(wake_read)
                os.close(wake_write)
                stream, tickets = fds
                work(stream, tickets, request.settings.encode(), server)
                os._exit(0)
            for fd in fds:
                os.close(fd)
            control.send(msgspec.json.encode(Born(pid)))


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        try:
            control.send(msgspec.json.encode(Died(pid, status)))
        except OSError:  # nobody is left to tell
            os._exit(0)


def _ignore(signum: int, frame: object) -> None:
    """A handler, not SIG_IGN: programs that a task starts must get the default back."""
