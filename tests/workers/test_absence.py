"""Inputs that are there, that are missing, that are absent, and that are of last night."""

from __future__ import annotations

import os
from pathlib import Path

from runner import Absent
from runner.core.events import Finished, Lacked
from runner.core.ledger import output_hash
from runner.workers.staging import digest
from tests.workers import tasks
from tests.workers.support import Yard, again, change_of, write
from tests.workers.tasks import Act, Copied, Finder, Gather, Noop, Read


def producer(yard: Yard, path: str, *, absent: bool = False, status: str = "done") -> str:
    """A job that makes `path`, in its folder; its id."""
    action = (lambda task: Absent()) if absent else write(f"<{path}>")
    return yard.finished(yard.act(action, output=path), status=status).id


def test_an_absent_job_records_null_and_its_old_files_are_for_the_trash(yard: Yard) -> None:
    job = yard.finished(yard.act(write(), output="a.txt", more=["b.txt"]))
    os.unlink("b.txt")

    def action(task: Act) -> Absent:
        task.more[0].write_text("half of it")
        return Absent({"status": 410})

    reply = again(yard, job, action)
    event = reply.event
    assert isinstance(event, Finished)
    assert (event.deliver, event.trash) == ((), ("a.txt",))
    after = yard.finished(reply)
    assert after.result is not None
    assert after.result["outputs"] == {"a.txt": None, "b.txt": None}
    assert (after.result["value"], after.result["change"]) == ({"status": 410}, "absent")
    assert yard.files() == []


def test_an_absent_job_is_not_asked_and_keeps_the_children_it_had(yard: Yard) -> None:
    tasks.CHILDREN["it"] = lambda task: [Noop(1), Noop(2)]
    job = yard.finished(yard.act(write(), kind=Finder, output="a.txt"))
    assert job.result is not None
    found = job.result["found"]
    assert len(found) == 2
    tasks.CHILDREN["it"] = lambda task: 1 / 0
    reply = again(yard, job, lambda task: Absent())
    assert isinstance(reply.event, Finished)
    assert reply.event.children is None
    after = yard.finished(reply)
    assert after.result is not None
    assert after.result["found"] == found


def test_a_missing_input_that_no_record_calls_absent_is_lacking(yard: Yard) -> None:
    maker = producer(yard, "there.txt")
    job = yard.job(Read("no.txt", "out.txt", many=["there.txt", "neither.txt"]), after=(maker,))
    reply = yard.perform(job)
    assert reply.event == Lacked(job.id, ("no.txt", "neither.txt"))
    assert yard.files() == ["there.txt"]


def test_the_reader_of_an_absent_input_does_not_run_and_is_absent_too(yard: Yard) -> None:
    makers = (producer(yard, "gone.txt", absent=True), producer(yard, "there.txt"))
    Path("out.txt").write_text("of last night")
    reply = yard.perform(yard.job(Read("gone.txt", "out.txt", many=["there.txt"]), after=makers))
    assert isinstance(reply.event, Finished)
    assert reply.event.trash == ("out.txt",)
    after = yard.finished(reply)
    assert after.result is not None
    assert (after.result["change"], after.result["outputs"]) == ("absent", {"out.txt": None})
    assert after.result["inputs"] == {"there.txt": digest("there.txt").sha256}, "or it would be due again every night"


def test_absence_spreads_on_through_those_that_read_nothing_else(yard: Yard) -> None:
    first = producer(yard, "1.txt", absent=True)
    second = yard.finished(yard.perform(yard.job(Read("1.txt", "2.txt"), after=(first,))))
    reply = yard.perform(yard.job(Read("2.txt", "3.txt"), after=(second.id,)))
    assert change_of(reply) == "absent"


def test_what_may_be_missing_is_none_and_a_list_holds_what_is_there(yard: Yard) -> None:
    makers = (
        producer(yard, "a.txt"),
        producer(yard, "b.txt", absent=True),
        producer(yard, "c.txt"),
        producer(yard, "d.txt", absent=True),
    )
    task = Read("a.txt", "out.txt", maybe="b.txt", many=["b.txt", "c.txt"], several=["c.txt", "d.txt"])
    after = yard.finished(yard.perform(yard.job(task, after=makers)))
    assert Path("out.txt").read_text() == "<a.txt>-<c.txt><c.txt>"
    assert after.result is not None
    assert after.result["inputs"].keys() == {"a.txt", "c.txt"}


def test_a_list_that_may_be_none_waits_for_its_files_all_the_same(yard: Yard) -> None:
    maker = producer(yard, "a.txt")
    job = yard.job(Read("a.txt", "out.txt", several=["later.txt"]), after=(maker,))
    assert yard.perform(job).event == Lacked(job.id, ("later.txt",))


def test_with_all_done_a_list_holds_what_is_there_and_what_is_of_last_night_is_noted_as_stale(yard: Yard) -> None:
    fresh = producer(yard, "fresh.txt")
    failed = producer(yard, "stale.txt", status="failed")
    blocked = producer(yard, "stale too.txt", status="blocked")
    never = f"Act-{output_hash('never.txt')}"
    unrecorded = f"Act-{output_hash('by hand.txt')}"
    Path("by hand.txt").write_text("?")
    many = ["fresh.txt", "never.txt", "stale.txt", "stale too.txt", "by hand.txt"]
    job = yard.job(Gather(many, "out.txt"), after=(fresh, failed, blocked, never, unrecorded))
    after = yard.finished(yard.perform(job))
    assert Path("out.txt").read_text() == "<fresh.txt><stale.txt><stale too.txt>?"
    assert after.attempts[-1]["stale"] == ["stale.txt", "stale too.txt", "by hand.txt"]
    clean = yard.finished(yard.perform(yard.job(Gather(["fresh.txt"], "out2.txt"), after=(fresh,))))
    assert "stale" not in clean.attempts[-1]


def test_with_all_done_a_plain_input_must_be_there(yard: Yard) -> None:
    failed = f"Act-{output_hash('no.txt')}"
    job = yard.job(Copied(plain="no.txt", output="out.txt"), after=(failed,))
    assert yard.perform(job).event == Lacked(job.id, ("no.txt",))
