"""One attempt at one job, within the process of the test: what it leaves, what it records, what it says."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner import Absent, RetryLater, Unchanged, previous
from runner.core.model import Asked, Failed, Finished, Lacked
from runner.errors import BadJobFile
from runner.store import codec
from runner.store.codec import JobFile
from runner.task import job_hash
from runner.workers import attempt
from runner.workers.attempt import perform
from runner.workers.bench import Bench
from runner.workers.port import Reply
from runner.workers.staging import digest
from tests.workers import tasks
from tests.workers.support import EARLIER, RUN, STARTED, Yard
from tests.workers.tasks import Act, Copied, Finder, Gather, Noop, Read, Wanders, Write

Action = Callable[[Act], Any]


def write(text: str = "text\n") -> Action:
    """What a task does that writes its outputs."""

    def action(task: Act) -> None:
        for path in (*filter(None, [task.output]), *task.more):
            path.write_text(text)

    return action


def fail(task: Act) -> None:
    """What a task does that fails half way."""
    for path in (*filter(None, [task.output]), *task.more):
        path.write_text("half of it")
    raise RuntimeError("half way")


def earlier(job: JobFile) -> JobFile:
    """As if its success were of an earlier run."""
    assert job.result is not None
    return replace(job, result={**job.result, "run": EARLIER})


def again(yard: Yard, job: JobFile, action: Action) -> Reply:
    """The next attempt at a job, in another run."""
    tasks.ACTIONS["it"] = action
    return yard.perform(earlier(job))


# --------------------------------------------------------------------------------------------------------- success


def test_the_record_of_a_success(yard: Yard) -> None:
    Path("in.txt").write_text("input")
    reply = yard.act(
        lambda task: task.output.write_text("hello") and {"a": [1, None]},
        output="data/out.txt",
        source="in.txt",
        hint="h",
    )
    event = reply.event
    assert isinstance(event, Finished)
    ((staged, final),) = event.deliver
    assert (final, event.trash, event.children) == ("data/out.txt", (), None)
    assert Path(staged).read_text() == "hello"
    job = yard.finished(reply)
    assert job.id == event.id
    (noted,) = job.attempts
    assert (noted["run"], noted["outcome"]) == (RUN, "done")
    assert 0 <= noted["seconds"] < 5
    assert job.result == {
        "run": RUN,
        "version": 1,
        "checked_at": codec.stamp(STARTED),
        "change": "new",
        "params": {"name": "it", "output": "data/out.txt", "more": []},
        "hints": {"hint": "h"},
        "inputs": {"in.txt": digest("in.txt").sha256},
        "outputs": {"data/out.txt": {"bytes": 5, "sha256": digest("data/out.txt").sha256}},
        "found": [],
        "value": {"a": [1, None]},
    }
    assert reply.change == "new"
    assert yard.files() == ["data/out.txt", "in.txt"]


def test_a_task_sees_staging_paths_in_the_folder_of_its_outputs_which_is_made(yard: Yard) -> None:
    seen: list[Path] = []

    def action(task: Act) -> None:
        assert task.output is not None
        seen.extend([task.output, *task.more])
        write()(task)

    yard.finished(yard.act(action, output="a/b/c.html", more=["a/d.txt", str(yard.root / "e.txt")]))
    assert [path.parent for path in seen] == [Path("a/b"), Path("a"), Path()]
    assert [path.suffix for path in seen] == [".html", ".txt", ".txt"]
    assert all(path.name.startswith(".") for path in seen)
    assert yard.files() == ["a/b/c.html", "a/d.txt", "e.txt"]


def test_run_works_in_the_project_root_wherever_the_task_before_it_went(yard: Yard) -> None:
    Path("elsewhere").mkdir()
    reply = yard.perform(yard.job(Wanders(str(yard.root / "elsewhere"), Path("data/out.txt"))))
    yard.finished(reply)
    assert Path.cwd() == yard.root
    assert Path("data/out.txt").read_text() == "from afar"
    yard.act(lambda task: os.chdir("elsewhere") or 1 / 0)
    assert Path.cwd() == yard.root


def test_equal_bytes_keep_the_old_file_and_its_mtime(yard: Yard) -> None:
    job = yard.finished(yard.act(write("same"), output="a.txt", more=["b.txt"]))
    os.utime("a.txt", (1, 1))
    before = os.stat("a.txt")

    def action(task: Act) -> None:
        assert task.output is not None
        task.output.write_text("same")
        task.more[0].write_text("other")

    reply = again(yard, job, action)
    assert isinstance(reply.event, Finished)
    assert [final for _, final in reply.event.deliver] == ["b.txt"]
    yard.finished(reply)
    after = os.stat("a.txt")
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert Path("b.txt").read_text() == "other"
    assert yard.files() == ["a.txt", "b.txt"]


def test_change_is_told_against_the_last_success_of_an_earlier_run(yard: Yard) -> None:
    job = yard.finished(yard.act(write("1"), output="a.txt"))
    for action, change in (
        (write("1"), "unchanged"),
        (write("2"), "changed"),
        (lambda task: Unchanged(), "unchanged"),
        (lambda task: Absent(), "absent"),
        (write("2"), "new"),
    ):
        reply = again(yard, job, action)
        job = yard.finished(reply)
        assert (reply.change, job.result and job.result["change"]) == (change, change)
    tasks.ACTIONS["it"] = write("3")
    assert yard.perform(job).change == "new", "it was new in this run, and still is"


def test_without_outputs_the_value_tells_whether_anything_changed(yard: Yard) -> None:
    job = yard.finished(yard.act(lambda task: 1))
    assert again(yard, job, lambda task: 1).change == "unchanged"
    assert again(yard, job, lambda task: 2).change == "changed"


def test_what_is_on_a_file_system_that_the_runner_does_not_sync_is_synced_here(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    yard.perform(Write(Path("a.txt")), durable=True)
    assert synced == []
    reply = yard.perform(Write(Path("b.txt")), durable=True, devices=())
    assert isinstance(reply.event, Finished)
    assert synced == [os.stat(reply.event.deliver[0][0]).st_ino]
    yard.perform(Write(Path("c.txt")), durable=False, devices=())
    assert len(synced) == 1


# --------------------------------------------------------------------------------------------------- bad outputs


def test_an_output_that_is_not_written_is_a_failure_that_says_so(yard: Yard) -> None:
    reply = yard.act(lambda task: None, output="data/a.txt")
    assert yard.message(reply) == "run() has not written its output data/a.txt"
    assert "traceback" not in yard.failed(reply)["error"]
    assert isinstance(reply.event, Failed)
    assert reply.event.retry_at is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir() or (path / "in it").touch(),
        lambda path: path.symlink_to("/etc/hostname"),
        lambda path: os.mkfifo(path),
    ],
    ids=["a folder", "a link", "a fifo"],
)
def test_an_output_is_a_file_and_what_else_a_task_makes_of_it_does_not_stay(
    yard: Yard, make: Callable[[Path], Any]
) -> None:
    reply = yard.act(lambda task: make(task.output), output="data/a.txt")
    assert "something else than a file of its output data/a.txt" in yard.message(reply)
    assert os.listdir("data") == []


def test_a_folder_in_the_place_of_an_output_is_a_failure_and_no_trouble_at_the_commit(yard: Yard) -> None:
    Path("data/a.txt").mkdir(parents=True)
    reply = yard.act(write(), output="data/a.txt")
    assert "data/a.txt is a folder" in yard.message(reply)
    assert os.listdir("data") == ["a.txt"]


@pytest.mark.parametrize(
    "how",
    [
        fail,
        lambda task: write()(task) or sys.exit(3),
        lambda task: write()(task) or (_ for _ in ()).throw(KeyboardInterrupt()),
        lambda task: write()(task) or math.nan,
        lambda task: write()(task) or Unchanged(),
    ],
    ids=["raises", "sys.exit", "interrupted", "bad value", "unchanged, and yet written"],
)
def test_a_failure_keeps_the_last_good_outputs_and_leaves_nothing_else(yard: Yard, how: Action) -> None:
    job = yard.finished(yard.act(write("good"), output="data/a.txt", more=["b.txt"]))
    reply = again(yard, job, how)
    assert yard.failed(reply)["outcome"] == "failed"
    assert yard.files() == ["b.txt", "data/a.txt"]
    assert Path("data/a.txt").read_text() == Path("b.txt").read_text() == "good"
    assert isinstance(reply.event, Failed)
    record = yard.written(reply.event.record)
    assert record.result == earlier(job).result, "the last success is still told"


# ------------------------------------------------------------------------------------------- Unchanged, previous()


def test_unchanged_keeps_what_is_there(yard: Yard) -> None:
    job = yard.finished(yard.act(write("good"), output="a.txt"))
    os.utime("a.txt", (1, 1))
    reply = again(yard, job, lambda task: Unchanged({"etag": "x"}))
    after = yard.finished(reply)
    assert after.result is not None
    assert job.result is not None
    assert (after.result["outputs"], after.result["value"]) == (job.result["outputs"], {"etag": "x"})
    assert after.result["checked_at"] == codec.stamp(STARTED)
    assert os.stat("a.txt").st_mtime == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: os.unlink("a.txt"),
        lambda: Path("a.txt").write_text("evil"),
        lambda: Path("a.txt").write_text("longer than it was"),
        lambda: os.unlink("b.txt"),
    ],
)
def test_unchanged_is_a_failure_where_last_time_s_outputs_are_not_whole(yard: Yard, spoil: Callable[[], Any]) -> None:
    job = yard.finished(yard.act(write("good"), output="a.txt", more=["b.txt"]))
    spoil()
    assert "are not there whole" in yard.message(again(yard, job, lambda task: Unchanged()))


def test_unchanged_is_a_failure_where_there_was_no_last_time(yard: Yard) -> None:
    assert "are not there whole" in yard.message(yard.act(lambda task: Unchanged(), output="a.txt"))
    assert "are not there whole" in yard.message(yard.act(lambda task: Unchanged()))
    gone = yard.finished(yard.act(lambda task: Absent(), output="a.txt"))
    assert "are not there whole" in yard.message(again(yard, gone, lambda task: Unchanged()))


def test_a_task_that_makes_no_file_may_say_unchanged_too(yard: Yard) -> None:
    job = yard.finished(yard.act(lambda task: 1))
    reply = again(yard, job, lambda task: Unchanged(1))
    assert yard.finished(reply).result is not None
    assert reply.change == "unchanged"


def test_previous_is_the_last_record_if_its_outputs_are_whole(yard: Yard) -> None:
    seen: list[Any] = []

    def look(task: Act) -> None:
        last = previous()
        seen.append(last and (last.value, last.params["output"], last.hints, Path("a.txt").read_text()))
        assert last is None or last.checked_at == datetime.fromtimestamp(STARTED, UTC)
        write("good")(task)

    assert previous() is None
    job = yard.finished(yard.act(lambda task: write("good")(task) or "v", output="a.txt", hint="h"))
    again(yard, job, look)
    Path("a.txt").write_text("evil")
    again(yard, job, look)
    os.unlink("a.txt")
    again(yard, job, look)
    yard.act(look, output="b.txt")
    assert seen == [("v", "a.txt", {"hint": "h"}, "good"), None, None, None]
    assert previous() is None


def test_previous_is_none_for_what_made_no_file(yard: Yard) -> None:
    seen: list[Any] = []
    job = yard.finished(yard.act(lambda task: 1))
    again(yard, job, lambda task: seen.append(previous()))
    job = yard.finished(yard.act(lambda task: Absent(), output="a.txt"))
    again(yard, job, lambda task: seen.append(previous()) or Absent())
    assert seen == [None, None]


# -------------------------------------------------------------------------------------------- inputs and absence


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
    assert reply.change == "absent"


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
    never = f"Act-{job_hash('never.txt')}"
    unrecorded = f"Act-{job_hash('by hand.txt')}"
    Path("by hand.txt").write_text("?")
    many = ["fresh.txt", "never.txt", "stale.txt", "stale too.txt", "by hand.txt"]
    job = yard.job(Gather(many, "out.txt"), after=(fresh, failed, blocked, never, unrecorded))
    after = yard.finished(yard.perform(job))
    assert Path("out.txt").read_text() == "<fresh.txt><stale.txt><stale too.txt>?"
    assert after.attempts[-1]["stale"] == ["stale.txt", "stale too.txt", "by hand.txt"]
    clean = yard.finished(yard.perform(yard.job(Gather(["fresh.txt"], "out2.txt"), after=(fresh,))))
    assert "stale" not in clean.attempts[-1]


def test_with_all_done_a_plain_input_must_be_there(yard: Yard) -> None:
    failed = f"Act-{job_hash('no.txt')}"
    job = yard.job(Copied(plain="no.txt", output="out.txt"), after=(failed,))
    assert yard.perform(job).event == Lacked(job.id, ("no.txt",))


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
        assert event.retry_at is not None
        assert job.not_before == codec.stamp(event.retry_at)
        waits.append(event.retry_at - codec.parse_stamp(job.attempts[-1]["started"]))
    assert 7 < waits[0] < 13
    assert 14 < waits[1] < 26
    last = yard.perform(job).event
    assert isinstance(last, Failed)
    assert last.retry_at is None
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
        assert reply.event.retry_at is not None
        assert 55 < reply.event.retry_at - codec.parse_stamp(yard.failed(reply)["started"]) < 65
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
    assert reply.event.retry_at is None, "its two retries are used up, and it does not go on for ever"


def test_more_than_a_day_of_putting_off_is_a_failure(yard: Yard) -> None:
    assert yard.failed(yard.act(put_off(25 * 3600)))["outcome"] == "failed"
    assert yard.failed(yard.act(put_off(math.inf)))["outcome"] == "failed"
    assert yard.failed(yard.act(put_off(23 * 3600)))["outcome"] == "later"
    old = {"outcome": "later", "started": "2026-01-01T00:00:00Z"}
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
        assert reply.event.retry_at is None
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
        assert reply.change in ("new", "changed"), result
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


def test_only_a_child_that_is_surely_new_and_complete_is_written_ahead(yard: Yard) -> None:
    yard.put("done", yard.job(Noop(1)))
    yard.put("pending", yard.job(Noop(2)))
    tasks.CHILDREN["it"] = lambda task: [Noop(1), Noop(2), Noop(3), Read("unknown.txt", "x.txt")]
    event = yard.act(lambda task: None, kind=Finder).event
    assert isinstance(event, Finished)
    assert [bool(child.staged) for child in event.children or ()] == [False, False, True, False]


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
    assert reply.event.retry_at is None


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


# --------------------------------------------------------------------------------------------------------- forks


@pytest.mark.parametrize("leave", [lambda: None, lambda: 1 / 0, lambda: sys.exit(0)])
def test_a_child_that_a_task_forked_does_not_come_back_as_a_second_worker(yard: Yard, leave: Callable[[], Any]) -> None:
    def action(task: Act) -> str:
        task.output.write_text("x")  # type: ignore[union-attr]
        child = os.fork()
        if child == 0:
            leave()
            return "child"
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        return "parent"

    job = yard.finished(yard.act(action, output="a.txt"))
    assert job.result is not None
    assert job.result["value"] == "parent"
    assert yard.files() == ["a.txt"]
    assert len(os.listdir(yard.state / "tmp")) == 1


def test_the_same_in_downstream_tasks(yard: Yard) -> None:
    def children(task: Any) -> Any:
        yield Noop(1)
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        yield Noop(2)

    tasks.CHILDREN["it"] = children
    event = yard.act(lambda task: None, kind=Finder).event
    assert isinstance(event, Finished)
    assert len(event.children or ()) == 2
