"""What a task prints and logs goes to its own log, and nowhere else."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import copy_context
from pathlib import Path

import pytest

from runner.core.events import Finished
from runner.workers import capture
from runner.workers.capture import Capturing, Log, Router
from tests.workers.support import Yard, only, outcomes, replies, wait_for, working
from tests.workers.tasks import Chatty, Floods, ForksTalking, LeavesTalking, Starts, Talk, Threaded


@contextmanager
def routed() -> Iterator[io.StringIO]:
    """sys.stdout as workers have it; gives where the output of no job goes."""
    stream = io.StringIO()
    with redirect_stdout(Router(stream)):
        yield stream


def log_of(folder: Path, id: str = "Job-0") -> Log:
    return Log(str(folder), id, "--- begins\n")


def test_a_job_that_says_nothing_has_no_log(tmp_path: Path) -> None:
    with Capturing(log_of(tmp_path), alone=True):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_log_begins_with_its_attempt_and_is_added_to(tmp_path: Path) -> None:
    with routed() as fallback:
        for word in ("one", "two"):
            with Capturing(log_of(tmp_path), alone=True):
                print(word)
        assert (tmp_path / "Job-0.log").read_text() == "--- begins\none\n--- begins\ntwo\n"
        print("nobody's")
        assert fallback.getvalue() == "nobody's\n"


def test_a_log_that_cannot_be_written_fails_nobody_and_is_told_of_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.__stderr__", sys.stderr)
    (tmp_path / "elsewhere").touch()
    (tmp_path / "Job-0.log").symlink_to("elsewhere")
    with routed() as fallback:
        with Capturing(log_of(tmp_path), alone=True):
            print("one")
            print("two")
        assert fallback.getvalue() == ""
    said = capsys.readouterr().err
    assert said.count("Job-0.log: Too many levels of symbolic links") == said.count("\n") == 1
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_any_text_can_be_printed_and_bytes_too(tmp_path: Path) -> None:
    with routed() as fallback:
        with Capturing(log_of(tmp_path), alone=True):
            print("Ω \udcff", flush=True)
            sys.stdout.buffer.write(b"bytes \xff\n")
            sys.stdout.buffer.flush()
        sys.stdout.buffer.write(b"nobody's bytes")
        data = (tmp_path / "Job-0.log").read_bytes()
        assert data == "--- begins\nΩ \\udcff\n".encode() + b"bytes \xff\n"
        assert fallback.getvalue() == "nobody's bytes"


def test_a_line_that_is_begun_waits_for_its_end_a_flush_or_the_end_of_the_attempt(tmp_path: Path) -> None:
    with routed():
        path = tmp_path / "Job-0.log"
        with Capturing(log_of(tmp_path), alone=True):
            print("one, ", end="")
            other = threading.Thread(target=print, args=("another's",))
            other.start()
            other.join()
            assert path.read_text() == "--- begins\nanother's\n"
            print("two")
            print("10 %", end="\r", flush=True)
            assert path.read_bytes() == b"--- begins\nanother's\none, two\n10 %\r"
            print("the end", end="")
        assert path.read_bytes().endswith(b"\rthe end")


def test_a_log_ends_at_its_limit_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with routed():
        monkeypatch.setattr(capture, "MAX_BYTES", 1000)
        with Capturing(log_of(tmp_path), alone=True):
            for _ in range(300):
                print("123456789")
        text = (tmp_path / "Job-0.log").read_text()
        assert len(text) < 1100
        assert text.endswith("[2,000 more bytes were not kept]\n")


def test_threads_that_each_do_a_job_do_not_hear_each_other(tmp_path: Path) -> None:
    with routed():
        barrier = threading.Barrier(4)

        def work(number: int) -> None:
            with Capturing(log_of(tmp_path, f"Job-{number}"), alone=False):
                barrier.wait()
                for _ in range(200):
                    print(f"I am {number}")

        threads = [threading.Thread(target=copy_context().run, args=(work, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(4):
            lines = (tmp_path / f"Job-{number}.log").read_text().splitlines()
            assert lines == ["--- begins", *[f"I am {number}"] * 200]


def test_what_a_thread_says_after_its_job_ended_is_not_put_into_the_log(tmp_path: Path) -> None:
    with routed() as fallback:
        go = threading.Event()
        with Capturing(log_of(tmp_path), alone=True):
            print("in time")
            context = copy_context()
            late = threading.Thread(target=context.run, args=(lambda: (go.wait(), print("too late")),))
            late.start()
        go.set()
        late.join()
        assert (tmp_path / "Job-0.log").read_text() == "--- begins\nin time\n"
        assert fallback.getvalue() == "too late\n"


def test_logging_goes_where_print_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before, level, converter = list(root.handlers), root.level, logging.Formatter.converter
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(subprocess.Popen, "__init__", subprocess.Popen.__init__)
    try:
        root.handlers.clear()
        capture.install("INFO")
        with Capturing(log_of(tmp_path), alone=True):
            logging.getLogger("a.b").info("said %d", 1)
            logging.getLogger("a.b").debug("too quiet")
    finally:
        logging.captureWarnings(False)
        root.handlers[:] = before
        root.setLevel(level)
        logging.Formatter.converter = converter
    (_, line) = (tmp_path / "Job-0.log").read_text().splitlines()
    assert line.endswith("INFO a.b: said 1")


# ------------------------------------------------------------------------------------------------ in worker processes


def log(yard: Yard, id: str) -> list[str]:
    return (yard.state / "logs" / f"{id}.log").read_text().splitlines()


@pytest.mark.parametrize("threads", [1, 3])
def test_every_job_has_its_own_words_in_its_own_log(yard: Yard, threads: int) -> None:
    names = ["anna", "berta", "clara"]
    with working(yard, threads=threads) as executor:
        orders = [yard.order(Talk(name)) for name in names]
        executor.start(orders)
        assert len(replies(outcomes(executor, 3))) == 3
    for name, order in zip(names, orders, strict=True):
        header, *lines = log(yard, order.id)
        assert header == "--- run 20261122T020000Z, attempt 1"
        assert [line.rpartition(" ")[2] for line in lines] == [name] * 151
        assert sum("INFO some.library: log" in line for line in lines) == 50


def test_what_a_thread_of_a_task_says_is_the_task_s_where_no_other_runs(yard: Yard) -> None:
    with working(yard) as executor:
        orders = [yard.order(Threaded(name)) for name in ("anna", "berta")]
        executor.start(orders)
        outcomes(executor, 2)
    for name, order in zip(("anna", "berta"), orders, strict=True):
        assert log(yard, order.id)[1:] == [f"thread of {name}"]


@pytest.mark.parametrize("threads", [1, 3])
def test_what_programs_say_that_a_task_starts_is_the_task_s(yard: Yard, threads: int) -> None:
    names = [f"{n}" for n in range(9)]
    with working(yard, threads=threads) as executor:
        orders = [yard.order(Chatty(name)) for name in names]
        executor.start(orders)
        assert len(replies(outcomes(executor, 9))) == 9
    for name, order in zip(names, orders, strict=True):
        assert log(yard, order.id)[1:] == [f"before {name}", f"out {name}", f"err {name}", f"after {name}"]


def test_what_a_task_wants_for_itself_it_gets(yard: Yard) -> None:
    with working(yard) as executor:
        order = yard.order(Chatty("anna", apart=True))
        executor.start([order])
        reply = only(executor)
    assert yard.written(reply.event.record).result["value"] == "err anna\n"
    assert log(yard, order.id)[1:] == ["before anna", "out anna", "after anna"]


def test_what_programs_say_is_kept_up_to_the_limit(yard: Yard) -> None:
    with working(yard) as executor:
        orders = [yard.order(Floods(30)), yard.order(Floods(1))]
        executor.start(orders)
        outcomes(executor, 2)
    much, little = (yard.state / "logs" / f"{order.id}.log" for order in orders)
    wait_for("its end", lambda: much.read_text().endswith("more bytes were not kept]\n"))
    assert much.stat().st_size < capture.MAX_BYTES + 200
    assert much.read_text().endswith(
        f"[{30_000_000 + len('that was all') + 1 - capture.MAX_BYTES:,} more bytes were not kept]\n"
    )
    assert little.read_text().endswith("y\ny\nthat was all\n")
    assert little.stat().st_size > 1_000_000


def test_a_program_that_outlives_its_attempt_is_heard(yard: Yard) -> None:
    with working(yard) as executor:
        order = yard.order(LeavesTalking(1))
        executor.start([order])
        only(executor)
        assert log(yard, order.id)[1:] == ["left it"]
        (yard.root / "speak").touch()
        wait_for("it speaks", lambda: log(yard, order.id)[1:] == ["left it", "late words"])


def test_a_fork_can_speak_while_a_program_does(yard: Yard) -> None:
    with working(yard) as executor:
        order = yard.order(ForksTalking(30))
        executor.start([order])
        assert isinstance(only(executor).event, Finished)
    said = set(log(yard, order.id)[1:])
    assert {f"fork {n}" for n in range(30)} <= said


def test_a_descriptor_of_stdout_that_somebody_keeps_never_becomes_a_file_of_ours(tmp_path: Path) -> None:
    router = Router(sys.__stderr__)
    with Capturing(log_of(tmp_path), alone=True):
        assert router.fileno() == sys.__stderr__.fileno()


def test_a_program_that_a_task_runs_can_be_listened_to(yard: Yard) -> None:
    with working(yard) as executor:
        executor.start([yard.order(Starts(["true"]))])
        reply = only(executor)
    assert yard.written(reply.event.record).result["value"] == "hello\n"
