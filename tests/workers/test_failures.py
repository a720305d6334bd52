"""What an attempt makes of bad values and of errors, and of the children that a task finds."""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner import Absent, RetryLater, previous
from runner.core.events import Asked, Failed, Finished
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.files import Files
from runner.workers import attempt
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.hindrance import Hindered
from runner.workers.staging import digest
from tests.workers import tasks
from tests.workers.support import RUN, STARTED, Action, Yard, change_of, fail, write
from tests.workers.tasks import Act, Copied, Finder, Noop, Read, Write

# ------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("value", [None, 0, 1.5, "x", True, [1, [2]], {"a": {"b": None}}, "Ω", 2**70, -(2**70)])
def test_a_small_json_value_is_kept_as_it_is(yard: Yard, value: Any) -> None:
    job = yard.finished(yard.act(lambda task: value))
    assert job.result is not None
    assert repr(job.result["value"]) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        (1, 2),
        {1: 2},
        {"a": (1,)},
        Path("x"),
        object(),
        b"x",
        {1},
        datetime.now(UTC),
        "\ud800",
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("wrap", [lambda value: value, Absent])
def test_what_is_no_json_value_is_a_failure_that_says_so(yard: Yard, value: Any, wrap: Callable[[Any], Any]) -> None:
    assert "no JSON value" in yard.message(yard.act(lambda task: wrap(value)))


def test_a_value_must_not_be_too_deep_nor_too_large(yard: Yard) -> None:
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    assert "nested" in yard.message(yard.act(lambda task: deep))
    assert "write it to an Output" in yard.message(yard.act(lambda task: "x" * (attempt.MAX_VALUE + 1)))


def test_a_staging_path_in_a_value_is_a_failure(yard: Yard) -> None:
    def action(task: Act) -> Any:
        assert task.output is not None
        task.output.write_text("x")
        return {"files": [f"see {task.output}"]}

    assert "name of a staging file" in yard.message(yard.act(action, output="data/Ω.txt"))
    assert yard.files() == []


# ------------------------------------------------------------------------------------------------------ failures


def test_an_error_is_told_with_the_user_s_own_frames(yard: Yard) -> None:
    error = yard.failed(yard.act(fail))["error"]
    assert (error["type"], error["message"]) == ("RuntimeError", "half way")
    assert "tests/workers" in error["traceback"].splitlines()[1]
    assert "workers/attempt.py" not in error["traceback"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("\ud800 and \udcff"), "\\ud800 and \\udcff"),
        (ValueError("x" * 100_000), "[...]"),
        (SystemExit("told to leave"), "told to leave"),
        (ExceptionGroup("two", [ValueError("1"), KeyError("2")]), "two (2 sub-exceptions)"),
        (type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})(), "its own __str__ fails"),
    ],
)
def test_whatever_a_task_raises_can_be_written_down(yard: Yard, error: BaseException, told: str) -> None:
    def action(task: Act) -> None:
        raise error

    reply = yard.act(action)
    assert told in yard.message(reply)
    assert len(yard.message(reply)) < 11_000


def test_retries_are_used_up_with_a_growing_wait(yard: Yard) -> None:
    job = yard.acting(fail)
    waits = []
    for _ in range(2):
        event = yard.perform(job).event
        assert isinstance(event, Failed)
        job = yard.written(event.record)
        assert event.retry_in is not None
        assert job.attempts[-1]["retry_in"] == event.retry_in
        assert job.not_before is not None
        assert 0 <= codec.parse_stamp(job.not_before) - event.retry_in - time.time() + 1 < 2
        waits.append(event.retry_in)
    assert 7 < waits[0] < 13
    assert 14 < waits[1] < 26
    last = yard.perform(job).event
    assert isinstance(last, Failed)
    assert last.retry_in is None
    assert len(yard.written(last.record).attempts) == 3


def put_off(seconds: float) -> Action:
    def action(task: Act) -> None:
        raise RetryLater(seconds, "come again")

    return action


def test_who_asks_for_more_time_uses_up_no_retry(yard: Yard) -> None:
    job = yard.acting(put_off(60))
    for _ in range(20):
        reply = yard.perform(job)
        assert (yard.failed(reply)["outcome"], yard.message(reply)) == ("later", "come again")
        assert isinstance(reply.event, Failed)
        assert reply.event.retry_in == 60
        job = yard.written(reply.event.record)
    assert job.retries_from == 0


def test_the_twenty_first_time_is_a_failure_and_so_is_each_that_follows(yard: Yard) -> None:
    later = {"run": RUN, "started": codec.stamp(STARTED), "seconds": 0.1, "outcome": "later"}
    job = yard.acting(put_off(1), attempts=[later] * 20)
    outcomes = []
    for _ in range(3):
        reply = yard.perform(job)
        outcomes.append(yard.failed(reply)["outcome"])
        assert isinstance(reply.event, Failed)
        job = yard.written(reply.event.record)
    assert outcomes == ["failed"] * 3
    assert reply.event.retry_in is None, "its two retries are used up, and it does not go on for ever"


def test_more_than_a_day_of_putting_off_is_a_failure(yard: Yard) -> None:
    assert yard.failed(yard.act(put_off(25 * 3600)))["outcome"] == "failed"
    assert yard.failed(yard.act(put_off(math.inf)))["outcome"] == "failed"
    assert yard.failed(yard.act(put_off(23 * 3600)))["outcome"] == "later"
    old = {"outcome": "later", "retry_in": 24 * 3600}
    assert yard.failed(yard.perform(yard.acting(put_off(1), attempts=[old])))["outcome"] == "failed"
    assert yard.failed(yard.perform(yard.acting(put_off(1), attempts=[{"outcome": "later"}])))["outcome"] == "later"


def test_what_can_never_run_is_not_tried_again(yard: Yard) -> None:
    for changes, told in (
        ({"task": "tests.workers.tasks:Gone"}, "has no Gone"),
        ({"params": {"number": "one"}}, "no longer fit"),
        ({"params": {"other": 1}}, "no field 'other'"),
        ({"task": "tests.workers.nowhere:Noop"}, "there is no module"),
        ({"task": "os:getcwd"}, "not among the modules"),
    ):
        reply = yard.perform(replace(yard.job(Noop(1)), **changes))
        assert told in yard.message(reply)
        assert isinstance(reply.event, Failed)
        assert reply.event.retry_in is None
        assert "traceback" not in yard.failed(reply)["error"]


def test_an_order_that_holds_no_valid_job_file_is_nobody_s_attempt(yard: Yard) -> None:
    bench = Bench(yard.settings())
    order = yard.order(Noop(1))
    with pytest.raises(BadJobFile):
        perform(type(order)(id="Noop-0123456789abcdef", job=order.job), bench)


def test_a_record_of_another_s_making_is_taken_with_what_it_has(yard: Yard) -> None:
    seen: list[Any] = []

    def action(task: Act) -> None:
        seen.append(previous())
        write()(task)

    for result in ({}, {"outputs": {"a.txt": None}}, {"value": 1}, {"run": None, "checked_at": None, "change": None}):
        reply = yard.perform(yard.acting(action, output="a.txt", result=result))
        assert change_of(reply) in ("new", "changed"), result
        assert isinstance(reply.event, Finished)
    assert seen == [None] * 4
    Path("a.txt").write_text("x")
    made = digest("a.txt")
    whole = {"outputs": {"a.txt": {"bytes": made.bytes, "sha256": made.sha256}}}
    yard.perform(yard.acting(action, output="a.txt", result=whole))
    assert seen[-1].checked_at.year == 1970
    assert (seen[-1].params, seen[-1].value) == ({}, None)


# ------------------------------------------------------------------------------------------------------ children


def test_a_finder_s_outputs_are_in_place_before_it_is_asked(yard: Yard) -> None:
    def children(task: Any) -> Any:
        assert task.output == Path("data/list.txt")
        names = task.output.read_text().split()
        assert task.value == len(names)
        return {Noop(int(name)): [] for name in names}

    tasks.CHILDREN["it"] = children
    reply = yard.act(lambda task: task.output.write_text("1 2") and 2, kind=Finder, output="data/list.txt", depth=4)
    event = reply.event
    assert isinstance(event, Finished)
    assert event.deliver == ()
    assert event.children is not None
    assert [child.params for child in event.children] == [{"number": 1}, {"number": 2}]
    job = yard.finished(reply)
    for child in event.children:
        assert (child.found_by, child.depth) == (job.id, 5)
        assert child.staged is not None
        assert yard.written(child.staged) == codec.new_file(child, child.after)
    assert job.result is not None
    assert job.result["found"] == [child.id for child in event.children]
    assert yard.files() == ["data/list.txt"]


def test_only_a_child_that_is_complete_and_not_done_is_written_ahead(yard: Yard) -> None:
    yard.put("done", yard.job(Noop(1)))
    yard.put("pending", yard.job(Noop(2)))
    tasks.CHILDREN["it"] = lambda task: [Noop(1), Noop(2), Noop(3), Read("unknown.txt", "x.txt")]
    event = yard.act(lambda task: None, kind=Finder).event
    assert isinstance(event, Finished)
    assert [bool(child.staged) for child in event.children or ()] == [False, True, True, False]


def test_a_failure_when_asked_keeps_the_new_files_and_says_published(yard: Yard) -> None:
    job = yard.finished(yard.act(write("old"), output="a.txt"))
    tasks.CHILDREN["it"] = lambda task: 1 / 0
    reply = yard.perform(yard.acting(write("new"), kind=Finder, output="a.txt", result=job.result))
    assert yard.failed(reply)["outcome"] == "published"
    assert Path("a.txt").read_text() == "new"
    assert yard.files() == ["a.txt"]
    assert isinstance(reply.event, Failed)
    assert yard.written(reply.event.record).result == job.result
    assert yard.failed(yard.act(lambda task: None, kind=Finder))["outcome"] == "failed", "it has published nothing"


@pytest.mark.parametrize(
    "children",
    [
        lambda task: [Write(Path("x.txt"), "1"), Write(Path("x.txt"), "2")],
        lambda task: {(a := Noop(1)): [a]},
        lambda task: [Write(Path("x.txt")), Read("x.txt", "y.txt"), Copied(plain="y.txt", output="y.txt")],
    ],
)
def test_a_batch_that_cannot_be_admitted_fails_its_finder_for_good(yard: Yard, children: Action) -> None:
    tasks.CHILDREN["it"] = children
    reply = yard.act(write(), kind=Finder, output="a.txt")
    assert yard.failed(reply)["outcome"] == "published"
    assert isinstance(reply.event, Failed)
    assert reply.event.retry_in is None


def test_asking_alone_runs_nothing_and_sees_the_recorded_value(yard: Yard) -> None:
    tasks.CHILDREN["it"] = lambda task: [Noop(n) for n in task.value]
    job = yard.finished(yard.act(lambda task: [1, 2], kind=Finder))
    tasks.ACTIONS["it"] = fail
    tasks.CHILDREN["it"] = lambda task: [Noop(n + 10) for n in task.value]
    event = yard.perform(job, ask=True).event
    assert isinstance(event, Asked)
    assert [child.params["number"] for child in event.children] == [11, 12]
    tasks.CHILDREN["it"] = lambda task: 1 / 0
    event = yard.perform(job, ask=True).event
    assert isinstance(event, Asked)
    assert (event.children, event.error) == ([], "ZeroDivisionError: division by zero")


def test_who_lacked_room_that_another_made_again_meanwhile_is_not_charged(yard: Yard) -> None:
    class Full(Files):
        """A disk that is full when it is asked for the first time, and never again."""

        asked = 0

        def write(self, folder: int, name: str, data: bytes) -> None:
            Full.asked += 1
            if Full.asked == 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().write(folder, name, data)

    def no_room(task: Act) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def while_another_is_hindered(task: Act) -> None:
        tasks.ACTIONS["another"] = no_room
        with pytest.raises(Hindered, match="No space left"):
            yard.perform(Act("another"))
        no_room(task)

    yard._bench = Bench(yard.settings(), files=Full())
    with pytest.raises(Hindered, match="No space left"):
        yard.act(while_another_is_hindered)
    reply = yard.act(no_room)  # that it began later, when there was room
    assert yard.failed(reply)["outcome"] == "failed"
