"""What a person sees while a run goes on."""

from __future__ import annotations

import io

from runner.core.commands import Move
from runner.core.engine import Engine
from runner.core.events import Failed, Finished
from runner.core.model import Status, Step
from runner.progress import Progress
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


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    progress = Progress("r", verbosity=-1, stream=stream)
    progress.replied(Reply(event=Failed(id=ID, record="1.json"), error="ValueError: no luck"))
    progress.tick(Engine(), 0.0)
    progress.close(Engine())
    assert stream.getvalue() == ""
