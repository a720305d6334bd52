"""Tasks that do what tasks ought not to; copied into a project as jobs/trouble.py. Each notes its worker's pid.

Beside innocent tasks of work.py, which are held by their gates, so that all of them are at work meanwhile.
"""

import ctypes
import multiprocessing
import os
import re
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.work import Fetch, at_work

from runner import Output, Task

FOREVER = 3600
ALL = 0xFFFFFFFF
PR_SET_PDEATHSIG = 1


@dataclass
class Trouble(Task):
    """Does what `how` says, in every attempt."""

    how: str
    retries = 1
    backoff = 0.01

    def run(self) -> object:
        with Path(f"pid-{self.how}").open("a") as pids:
            pids.write(f"{os.getpid()}\n")
        return globals()[self.how]()


@dataclass
class Endless(Trouble):
    """Does not come to an end."""

    retries = 0
    timeout = 0.5


@dataclass
class Lingers(Task):
    """Leaves a child, once, that has the staging file open, and writes to it when it is told to."""

    output_filepath: Output
    where: int

    def run(self) -> None:
        with self.output_filepath.open("w") as file:
            file.write("whole\n")
            file.flush()
            if Path("lingers").exists():
                return
            child = os.fork()
            if not child:
                os.setsid()
                for number in range(FOREVER):
                    until(lambda number=number: Path(f"write-{number}").exists())
                    os.pwrite(file.fileno(), b"later\n", self.where)
                    Path(f"written-{number}").touch()
            until(lambda: os.getsid(child) == child)  # else it is ended with this worker
            Path("lingers").touch()


@dataclass
class Clings(Task):
    """Asks the kernel, the first time, not to be killed with its runner (as some programs' start-up does)."""

    output_filepath: Output

    def run(self) -> None:
        with at_work("Clings"), self.output_filepath.open("w") as file:
            file.write("whole\n")
            if not Path("clings").exists():
                ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)
                Path("clings").touch()
                while True:
                    print("and more", file=file, flush=True)
                    time.sleep(0.005)


def until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.005)


def beside(hows: str, endless: str = "", innocents: int = 1) -> Iterator[Task]:
    """These deeds, and innocents."""
    yield from (Fetch(str(number), Path(f"data/{number}.txt")) for number in range(innocents))
    yield from map(Trouble, hows.split())
    yield from map(Endless, endless.split())


# ------------------------------------------------------------------------------------------------ what ends a worker


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_by_the_kernel() -> None:
    used = int(time.process_time()) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used, used))
    while True:
        pass


def crashes() -> None:
    ctypes.string_at(0)


def leaves() -> None:
    os._exit(3)


def stream() -> int:
    """The worker's stream to its scheduler, which is none of a task's business."""
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            if int(name) > 2 and stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                return int(name)
        except OSError:
            continue
    raise AssertionError("there is no stream")


def half_a_message() -> None:
    os.write(stream(), struct.pack(">II", 70, 70 ^ ALL) + b'{"type": "Done", "rep')
    killed()


def garbage() -> None:
    os.write(stream(), b"some words of a library's own")


def garbage_in_a_frame() -> None:
    os.write(stream(), struct.pack(">II", 7, 7 ^ ALL) + b"garbage")
    time.sleep(FOREVER)


def closes_all() -> None:
    os.closerange(0, 256)


# ----------------------------------------------------------------------------------------------- what does not end it


def holds_the_gil() -> None:
    re.match(r"(a+)+$", "a" * 60 + "b")


def deaf() -> None:
    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(signum, signal.SIG_IGN)
    time.sleep(FOREVER)


def has_children() -> None:
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 3600"])
    os.fork()
    time.sleep(FOREVER)


def stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(FOREVER)


# ---------------------------------------------------------------------------------------------------- what is a failure


def exits() -> None:
    sys.exit(3)


def allocates() -> None:
    """Until there is no more: as much as the machine has, if nothing limits it."""
    bytearray(1 << 40)


# -------------------------------------------------------------------------------------------------------- what is fine


def child_returns() -> str:
    if os.fork() == 0:
        return "child"
    os.wait()
    return "parent"


def child_raises() -> str:
    if os.fork() == 0:
        sys.exit("the child's own end")
    os.wait()
    return "parent"


def pool() -> list[int]:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2])


def spawned_pool() -> list[int]:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        return pool.map(abs, [-1, -2])


def terminates() -> int | None:
    """At once: the child may not even have begun."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(FOREVER,))
    process.start()
    process.terminate()
    process.join()
    return process.exitcode


def leaves_threads() -> str:
    for _ in range(3):
        threading.Thread(target=time.sleep, args=(FOREVER,)).start()
    return "returned"
