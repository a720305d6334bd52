"""What tasks may do to the pipe that their programs write to: each in a process of its own, which is then as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FRAME = """
import os, signal, subprocess, sys, threading, time
from runner.workers import capture, hearing
from runner.workers.capture import Capturing, Log

here = os.getcwd()
told = os.fdopen(os.dup(1), "w")

def attempt(name):
    return Capturing(Log(here, name, "--- begins\\n"), alone=True)

def text(name):
    path = f"{here}/{name}.log"
    return open(path).read() if os.path.exists(path) else ""

def soon(what):
    until = time.monotonic() + 20
    while not what():
        assert time.monotonic() < until
        time.sleep(0.01)

def numbers():
    return len(os.listdir("/proc/self/fd"))
"""


def played(folder: Path, code: str, seconds: float = 60) -> str:
    """What the code tells."""
    script = f"{FRAME}\n{code}\ntold.flush()\nos._exit(0)\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_thread_that_starts_a_program_as_the_attempt_ends_reaches_no_file_of_another(tmp_path: Path) -> None:
    code = """
class Slow:  # a thread that loses the processor between the two
    def __fspath__(self):
        time.sleep(0.3)
        return "echo"

capture.install("INFO")
with attempt("a"):
    subprocess.run(["true"])
    left = threading.Thread(target=lambda: subprocess.run([Slow(), "words of a's program"]))
    left.start()
    time.sleep(0.1)
others = [os.open(f"output {n}", os.O_WRONLY | os.O_CREAT) for n in range(5)]
left.join()
soon(lambda: "words of a's program" in text("a"))
told.write(repr([os.fstat(other).st_size for other in others]))
"""
    assert played(tmp_path, code) == "[0, 0, 0, 0, 0]"


def test_where_neither_the_log_nor_stderr_can_be_written_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "a.log").mkdir()
    code = """
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
capture.install("INFO")
with attempt("a"):
    print("from the task")
    told.write(str(subprocess.run(["sh", "-c", "head -c 300000 /dev/zero"], timeout=20).returncode))
"""
    assert played(tmp_path, code) == "0"


@pytest.mark.parametrize("mode", ["O_WRONLY", "O_RDONLY"])
def test_a_task_that_closes_the_pipe_harms_itself_alone(tmp_path: Path, mode: str) -> None:
    code = f"""
import fcntl
capture.install("INFO")
with attempt("a"):
    subprocess.run(["echo", "heard"])
    soon(lambda: "heard" in text("a"))
    for number in range(3, 200):
        try:
            if os.readlink(f"/proc/self/fd/{{number}}").startswith("pipe:"):
                if fcntl.fcntl(number, fcntl.F_GETFL) & 3 == os.{mode} and number != told.fileno():
                    os.close(number)
        except OSError:
            pass
    blocking = os.pipe()  # gets the number
    print("still here")
    subprocess.run(["echo", "maybe heard"])
with attempt("b"):
    subprocess.run(["echo", "next"])
soon(lambda: "next" in text("b"))
told.write(repr("still here" in text("a")))
"""
    assert played(tmp_path, code).endswith("True"), "what it started had nowhere to write, and wrote to stdout"


def test_what_a_fork_starts_goes_to_stderr_and_lives_on(tmp_path: Path) -> None:
    code = """
os.dup2(2, 1)
capture.install("INFO")
with attempt("a"):
    child = os.fork()
    if not child:
        subprocess.Popen(["sh", "-c", "sleep 0.3; echo one; sleep 0.1; echo two; touch spoken"])
        os._exit(0)
    os.waitpid(child, 0)
    soon(lambda: os.path.exists("spoken"))
"""
    played(tmp_path, code)
    assert (tmp_path / "spoken").exists(), "it was not ended by a pipe that nobody reads"


def test_a_signal_s_handler_may_print(tmp_path: Path) -> None:
    code = """
capture.install("INFO")
def tick(*_):
    print("tick")
    signal.setitimer(signal.ITIMER_REAL, 0.002)
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.002)
with attempt("a"):
    subprocess.run(["true"])
    until = time.monotonic() + 2
    while time.monotonic() < until:
        print("line")
    signal.setitimer(signal.ITIMER_REAL, 0)
told.write(repr(text("a").count("tick") > 50))
"""
    assert played(tmp_path, code) == "True"


def test_programs_that_outlive_their_attempts_do_not_use_up_the_descriptors(tmp_path: Path) -> None:
    code = """
hearing.MOST = 20
capture.install("INFO")
before = numbers()
programs = []
for n in range(100):
    with attempt(f"a{n}"):
        programs.append(subprocess.Popen(["sleep", "60"]))
told.write(repr(numbers() - before <= 20))
for program in programs:
    program.kill()
    program.wait()
soon(lambda: numbers() <= before)
with attempt("z"):
    subprocess.run(["echo", "heard again"])
told.write(repr("heard again" in text("z")))
"""
    assert played(tmp_path, code) == "TrueTrue"


def test_a_thread_that_prints_on_does_not_open_a_log_again(tmp_path: Path) -> None:
    code = """
capture.install("INFO")
os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
def talk():
    while True:
        print("left behind")
threading.Thread(target=talk, daemon=True).start()
before = numbers()
for n in range(600):
    with attempt(f"a{n}"):
        print("mine")
    time.sleep(0.0005)
told.write(repr([sum(text(f"a{n}").count("---") > 1 for n in range(600)), numbers() - before]))
"""
    assert played(tmp_path, code) == "[0, 0]"


def test_who_wants_its_output_for_itself_costs_no_pipe(tmp_path: Path) -> None:
    code = """
capture.install("INFO")
with attempt("a"):
    before = numbers()
    said = subprocess.run(["echo", "mine"], capture_output=True, text=True).stdout
    told.write(repr([said, numbers() - before]))
"""
    assert played(tmp_path, code) == "['mine\\n', 0]"
