"""What a person sees while a run goes on."""

from __future__ import annotations

import errno
import io
import re

import pytest

from runner.core.commands import Change, Move
from runner.core.engine import Engine
from runner.core.events import Failed, Finished, Submitted
from runner.core.model import Attempt, Proposal, Status, Step
from runner.progress import CTRL_C, FAILURES, KEPT, Progress
from runner.workers.port import Reply

ID = "Page-0123456789abcdef"


def test_a_failure_is_told_once_with_its_reason() -> None:
    stream = io.StringIO()
    progress = Progress("20261122T020000Z", stream=stream)
    progress.moved([Move(ID, Status.RUNNING, Status.FAILED, Step.FAIL, record="1.json")], 0.0)
    progress.replied(Reply(event=Failed(id=ID, record="1.json"), error="ValueError: no luck\nmore"))
    assert stream.getvalue() == f"failed: {ID}: ValueError: no luck\n"


def test_what_never_ran_is_told_with_the_reason_of_its_move() -> None:
    stream = io.StringIO()
    Progress("r", stream=stream).moved(
        [Move(ID, Status.PENDING, Status.FAILED, Step.FAIL, why="its class is gone")], 0.0
    )
    assert stream.getvalue() == f"failed: {ID}: its class is gone\n"


def test_a_retry_is_told_where_a_worker_died_too() -> None:
    stream = io.StringIO()
    died = Attempt(outcome="died", type="WorkerDied", message="its worker was killed by SIGKILL")
    again = Change(attempt=died, retry_in=2.0)
    back = [Move(ID, Status.RUNNING, Status.PENDING, Step.REQUEUE, change=again, why=died.message)]
    Progress("r", stream=stream).moved(back, 0.0)
    assert stream.getvalue() == f"again in 2.0 s: {ID}: its worker was killed by SIGKILL\n"
    interrupted = [Move(ID, Status.RUNNING, Status.PENDING, Step.REQUEUE, why="the runner stops")]
    quiet = io.StringIO()
    Progress("r", stream=quiet).moved(interrupted, 0.0)
    assert not quiet.getvalue()


def test_escape_codes_in_an_error_are_shown_and_not_obeyed() -> None:
    stream = io.StringIO()
    progress = Progress("r", stream=stream)
    progress.replied(Reply(event=Failed(id=ID, record="1.json"), error="ValueError: \x1b[2Jgone\x07"))
    assert stream.getvalue() == f"failed: {ID}: ValueError: \\x1b[2Jgone\\x07\n"


def test_outputs_that_no_sync_covers_are_warned_of_once() -> None:
    stream = io.StringIO()
    progress = Progress("r", stream=stream)
    for output in ("data/a", "data/b"):
        progress.replied(Reply(event=Finished(id=ID, record="1.json"), elsewhere=output))
    said = "warning: data/a lies on another file system than state and project"
    assert stream.getvalue() == f"{said}: after a power cut a job may be newer than its outputs\n"


def test_quiet_says_what_is_final_and_silent_says_nothing() -> None:
    stream = io.StringIO()
    quiet = Progress("r", verbosity=-1, stream=stream)
    quiet.replied(Reply(event=Failed(id=ID, record="1.json", retry_in=1.0), error="ValueError: no luck"))
    quiet.replied(Reply(event=Failed(id=ID, record="1.json"), error="ValueError: no luck"))
    quiet.tick(Engine(), 0.0)
    quiet.leaving("its time is over", 1)
    assert stream.getvalue() == f"failed: {ID}: ValueError: no luck\n"
    quiet.leaving(CTRL_C, 1)
    assert "Ctrl-C: nothing more is started" in stream.getvalue(), "somebody is there who wants to know"

    stream = io.StringIO()
    progress = Progress("r", verbosity=-2, stream=stream)
    progress.replied(Reply(event=Failed(id=ID, record="1.json"), error="ValueError: no luck"))
    progress.tick(Engine(), 0.0)
    progress.close()
    assert stream.getvalue() == ""


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("runner.progress.time.monotonic", lambda: self.now)


def engine_with(*ids: str) -> Engine:
    engine = Engine()
    engine.handle(Submitted([Proposal(id=id, task="jobs:Page", params={}, fingerprint="") for id in ids]), 0.0)
    return engine


def test_where_there_is_no_terminal_a_line_comes_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    progress = Progress("r", stream=stream)
    for seconds in (0.5, 1.0, 5.0, 10.5, 11.0, 20.0):
        clock.now = 1000.0 + seconds
        progress.tick(engine_with(ID), 0.0)
    assert [line[:6] for line in stream.getvalue().splitlines()] == ["[1 s] ", "[11 s]"]
    assert "0 of 1 done, 1 pending" in stream.getvalue()


def test_a_rate_is_that_of_the_last_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, stream = Clock(monkeypatch), io.StringIO()
    progress, engine = Progress("r", stream=stream), engine_with(ID)
    for second in range(121):  # two jobs a second, and none after a minute
        clock.now = 1000.0 + second
        progress.tick(engine, 0.0)
        if second < 60:
            progress.moved([Move(ID, Status.RUNNING, Status.DONE, Step.FINISH, record="1.json")] * 2, 0.0)
    rates = [re.search(r", ([\d.]+ jobs/\w+)", line) for line in stream.getvalue().splitlines()]
    assert [found and found[1] for found in rates[2:6]] == ["2.0 jobs/s"] * 4
    assert rates[-1] is None, "nothing was done lately, so nobody knows how long it takes"


def test_what_is_out_of_retries_is_kept_for_the_summary_and_the_rest_is_counted() -> None:
    stream = io.StringIO()
    progress = Progress("r", stream=stream)
    for n in range(FAILURES + 7):
        progress.replied(Reply(event=Failed(id=f"Page-{n:016x}", record="1.json"), error="ValueError: no luck"))
    progress.close()
    assert [failure.id for failure in progress.failures] == [f"Page-{n:016x}" for n in range(KEPT)]
    lines = stream.getvalue().splitlines()
    assert len(lines) == FAILURES + 1
    assert lines[-1] == "and 7 more failures"


def test_a_terminal_that_is_gone_ends_no_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    progress = Progress("r", stream=Gone())
    for _ in range(2):
        progress.replied(Reply(event=Failed(id=ID, record="1.json"), error="ValueError: no luck"))
    progress.close()
    assert len(progress.failures) == 2
