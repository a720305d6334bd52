"""Tasks for the tests of the workers: plain user code, imported by name in real worker processes."""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner import Hint, Input, Output, Task

ACTIONS: dict[str, Callable[[Any], Any]] = {
    "write": lambda task: task.output.write_text("text"),
    "fail": lambda task: 1 / 0,
    "nothing": lambda task: None,
}
"""What `Act.run()` does, by name: for attempts within the process of the test."""

CHILDREN: dict[str, Callable[[Any], Any]] = {}
"""What `Finder.downstream_tasks()` gives, by name."""


@dataclass
class Act(Task):
    name: str
    output: Output | None = None
    more: list[Output] = field(default_factory=list)
    source: Input | None = None
    hint: Hint[str] = ""
    retries = 2
    backoff = 10.0

    def run(self) -> Any:
        return ACTIONS[self.name](self)


@dataclass
class Once(Act):
    """Is not tried again."""

    retries = 0


@dataclass
class Hasty(Act):
    """Is tried again soon."""

    backoff = 0.2


@dataclass
class Rated(Act):
    """Three a second."""

    def limits(self) -> dict[str, tuple[int | None, float | None]]:
        return {"key": (None, 3.0)}


@dataclass
class Read(Task):
    """A plain Input, one that may be missing, and a list of them."""

    plain: Input
    output: Output
    maybe: Input | None = None
    many: list[Input] = field(default_factory=list)
    several: list[Input] | None = None

    def run(self) -> None:
        several = [] if self.several is None else self.several
        parts = [self.plain, self.maybe, *self.many, *several]
        self.output.write_text("".join("-" if part is None else part.read_text() for part in parts))


@dataclass
class Gather(Task):
    """Runs also when some of those that make its inputs failed."""

    many: list[Input]
    output: Output
    plain: Input | None = None
    trigger_rule = "all_done"

    def run(self) -> None:
        self.output.write_text("".join(path.read_text() for path in self.many))


@dataclass
class Copied(Task):
    """Reads a file, whatever became of those that make it."""

    plain: Input
    output: Output
    trigger_rule = "all_done"

    def run(self) -> None:
        self.output.write_bytes(self.plain.read_bytes())


@dataclass
class Finder(Act):
    def downstream_tasks(self) -> Iterable[Task]:
        found: Iterable[Task] = CHILDREN[self.name](self)
        return found


@dataclass
class Noop(Task):
    number: int

    def run(self) -> int:
        return self.number


@dataclass
class Shuts(Task):
    """Closes all that its process has open, but for sockets."""

    number: int

    def run(self) -> None:
        for descriptor in descriptors(sockets=False):
            os.close(descriptor)


def descriptors(*, sockets: bool) -> list[int]:
    """What this process has open beyond the first three: its sockets, or all but these."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing
            if int(name) > 2 and os.readlink(f"/proc/self/fd/{name}").startswith("socket:") is sockets:
                found.append(int(name))
    return sorted(found)


@dataclass
class Greedy(Task):
    """Leaks all descriptors that its process may have, but for so many."""

    spared: int

    def run(self) -> None:
        taken = []
        with suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        for descriptor in taken[: self.spared]:
            os.close(descriptor)


@dataclass
class Write(Task):
    output: Output
    text: str = "text\n"

    def run(self) -> None:
        self.output.write_text(self.text)


@dataclass
class Echo(Task):
    """Many bytes there and back."""

    text: str

    def run(self) -> str:
        return self.text[: 1 << 19]


@dataclass
class Frozen(Task):
    def run(self) -> int:
        return gc.get_freeze_count()


@dataclass
class Found(Task):
    number: int
    text: str


@dataclass
class FindsMuch(Task):
    """Children of many bytes."""

    count: int
    size: int

    def downstream_tasks(self) -> Iterable[Task]:
        return (Found(number, "x" * self.size) for number in range(self.count))


@dataclass
class Seeks(Task):
    """Writes words, and finds a child for each that it then reads. With `wait`, only once there is such a file."""

    output: Output
    words: str
    wait: str = ""

    def run(self) -> None:
        print("seeking")
        if self.wait:
            Path(f"begun-{self.wait}").touch()
            while not Path(self.wait).exists():
                time.sleep(0.005)
        self.output.write_text(self.words)

    def downstream_tasks(self) -> Iterable[Task]:
        print("asked")
        return [Found(number, word) for number, word in enumerate(self.output.read_text().split())]


@dataclass
class Sleep(Task):
    """Makes the file `begun-NUMBER`, and sleeps."""

    number: int
    seconds: float
    output: Output | None = None
    ask: bool = False

    def run(self) -> None:
        if self.output is not None:
            self.output.write_text("half of it")
        Path(f"begun-{self.number}").write_text(str(os.getpid()))
        time.sleep(self.seconds)


@dataclass
class Limited(Sleep):
    timeout = 0.3


@dataclass
class Hold(Task):
    """Works until a file named `open` is there."""

    number: int

    def run(self) -> None:
        Path(f"begun-{self.number}").write_text(str(os.getpid()))
        while not Path("open").exists():
            time.sleep(0.005)


@dataclass
class Moody(Task):
    """Takes no time, or as long as no file `open-NUMBER` is there. Notes in `ran` that it was begun."""

    number: int
    held: bool = False

    def run(self) -> None:
        with open("ran", "ab", buffering=0) as file:
            file.write(b"%d\n" % self.number)
        while self.held and not Path(f"open-{self.number}").exists():
            time.sleep(0.002)


@dataclass
class Die(Task):
    """Takes its worker with it, when others are at work beside it, if there are to be others."""

    how: str
    others: int = 0
    output: Output | None = None
    backoff = 0.05

    def run(self) -> None:
        if self.output is not None:
            self.output.write_text("half of it")
        deadline = time.monotonic() + 20
        while len(list(Path().glob("begun-*"))) < self.others and time.monotonic() < deadline:
            time.sleep(0.005)
        die(self.how)


def die(how: str) -> None:
    match how:
        case "exit":
            os._exit(3)
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "sys.exit":
            sys.exit(3)
        case _:
            os.kill(os.getpid(), signal.Signals[how])
            time.sleep(10)


@dataclass
class Talk(Task):
    """Says its name in every way, many times, while others do the same."""

    name: str
    times: int = 50

    def run(self) -> None:
        for _ in range(self.times):
            print(f"out {self.name}")
            print(f"err {self.name}", file=sys.stderr)
            logging.getLogger("some.library").info("log %s", self.name)
            time.sleep(0.0005)
        sys.stdout.buffer.write(f"bytes {self.name}\n".encode())


@dataclass
class Threaded(Task):
    """Has a thread of its own say something."""

    name: str

    def run(self) -> None:
        thread = threading.Thread(target=lambda: print(f"thread of {self.name}"))
        thread.start()
        thread.join()


@dataclass
class Stubborn(Task):
    """Cannot be talked to: in Python, in C, and with children."""

    how: str

    def run(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(signum, signal.SIG_IGN)
        Path("stubborn").write_text(str(os.getpid()))
        if self.how == "gil":
            re.match(r"(a+)+$", "a" * 60 + "b")
        if self.how == "forks":
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            Path("child").write_text(str(child))
        time.sleep(60)


@dataclass
class Forks(Task):
    """Forks; the child comes back from run() as if it were the worker."""

    number: int

    def run(self) -> str:
        Path("parent").write_text(str(os.getpid()))
        if os.fork() == 0:
            return "child"
        os.wait()
        return "parent"


@dataclass
class LeavesChild(Task):
    """Leaves a child that holds everything the worker has open; then dies, if it is to."""

    number: int
    how: str = ""
    session: bool = False

    def run(self) -> None:
        child = os.fork()
        if child == 0:
            if self.session:
                os.setsid()
            time.sleep(60)
            os._exit(0)
        while self.session and os.getsid(child) != child:
            time.sleep(0.001)
        Path(f"child-{self.number}").write_text(str(child))
        if self.how:
            die(self.how)


@dataclass
class Starts(Task):
    """Starts a program, and leaves it running."""

    command: list[str]

    def run(self) -> str:
        process = subprocess.Popen(self.command, close_fds=False)
        Path("program").write_text(str(process.pid))
        return subprocess.run(["echo", "hello"], capture_output=True, text=True, check=True).stdout


@dataclass
class Chatty(Task):
    """Talks itself, and by a program that it starts; `apart`: by one whose stderr it wants for itself."""

    name: str
    apart: bool = False

    def run(self) -> str:
        print(f"before {self.name}", flush=True)
        more = {"stderr": subprocess.PIPE} if self.apart else {}
        done = subprocess.run(["sh", "-c", f"echo out {self.name}; echo err {self.name} >&2"], check=True, **more)
        print(f"after {self.name}")
        return (done.stderr or b"").decode()


@dataclass
class Floods(Task):
    """Starts a program that prints without end, ends it after `megabytes`, and says so."""

    megabytes: int

    def run(self) -> None:
        subprocess.run(["sh", "-c", f"yes | head -c {self.megabytes}000000"], check=True)
        print("that was all")


@dataclass
class LeavesTalking(Task):
    """Leaves a program behind that speaks when it is told to."""

    number: int

    def run(self) -> None:
        subprocess.Popen(["sh", "-c", "while [ ! -e speak ]; do sleep 0.02; done; echo late words"])
        print("left it")


@dataclass
class ForksTalking(Task):
    """Forks again and again while a program prints all the time; each fork says something."""

    forks: int

    def run(self) -> None:
        noise = subprocess.Popen(["sh", "-c", "while :; do echo x; done"])
        context = multiprocessing.get_context("fork")
        for n in range(self.forks):
            process = context.Process(target=print, args=(f"fork {n}",), kwargs={"flush": True})
            process.start()
            process.join(20)
            assert process.exitcode == 0, process
        noise.kill()
        noise.wait()


@dataclass
class Lists(Task):
    """Lists the descriptors that a program gets which it starts."""

    number: int

    def run(self) -> str:
        listing = ["sh", "-c", "ls -l /proc/self/fd"]
        return subprocess.run(listing, close_fds=False, stdout=subprocess.PIPE, text=True, check=True).stdout


@dataclass
class Closes(Task):
    """Closes all its descriptors, as programs do that become daemons, and lives on."""

    number: int

    def run(self) -> None:
        Path("closed").write_text(str(os.getpid()))
        os.closerange(3, 256)
        time.sleep(60)


@dataclass
class Meddles(Task):
    """With what its worker has from the runner: a stream and tickets, in this order."""

    how: str
    seconds: float = 0.0

    def run(self) -> None:
        stream, tickets = descriptors(sockets=True)
        if self.how == "closes the tickets":
            os.close(tickets)
        elif self.how == "writes on the stream":
            os.write(stream, b"what is no message")
        else:
            os.set_blocking(stream, False)
        time.sleep(self.seconds)


@dataclass
class Wanders(Task):
    """Goes elsewhere, and writes its output by the path it was given before."""

    folder: str
    output: Output

    def run(self) -> None:
        path = self.output.absolute()
        os.chdir(self.folder)
        path.write_text("from afar")
