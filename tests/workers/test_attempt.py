"""One attempt at one job, within the process of the test: its outputs, what it leaves, what it records."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from runner import Absent, Unchanged, previous
from runner.core.events import Failed, Finished
from runner.store import codec
from runner.workers.staging import digest
from tests.workers import tasks
from tests.workers.support import RUN, STARTED, Action, Yard, again, change_of, earlier, fail, write
from tests.workers.tasks import Act, Finder, Noop, Wanders, Write

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
    assert change_of(reply) == "new"
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
        assert (change_of(reply), job.result and job.result["change"]) == (change, change)
    tasks.ACTIONS["it"] = write("3")
    assert change_of(yard.perform(job)) == "new", "it was new in this run, and still is"


def test_the_outputs_that_stayed_the_same_are_told_against_an_earlier_run_too(yard: Yard) -> None:
    def writes(a: str, b: str, c: str) -> Action:
        def action(task: Act) -> None:
            for path, text in zip([task.output, *task.more], (a, b, c), strict=True):
                assert path is not None
                path.write_text(text)

        return action

    def tonight(job: codec.JobFile, *texts: str) -> codec.JobFile:
        tasks.ACTIONS["it"] = writes(*texts)
        return yard.finished(yard.perform(job))

    job = yard.finished(yard.act(writes("1", "1", "1"), output="a.txt", more=["b.txt", "c.txt"]))
    assert "same" not in job.attempts[-1], "it is new"
    job = tonight(earlier(job), "1", "1", "1")
    assert "same" not in job.attempts[-1], "it is unchanged as a whole"
    job = tonight(earlier(job), "1", "2", "1")
    assert job.attempts[-1]["same"] == ["a.txt", "c.txt"]
    job = tonight(job, "2", "2", "1")
    assert job.attempts[-1]["same"] == ["c.txt"], "b.txt is as a moment ago, and not as it was last night"
    job = tonight(job, "2", "2", "1")
    assert job.attempts[-1]["same"] == ["c.txt"]
    job = tonight(earlier(job), "3", "3", "3")
    assert "same" not in job.attempts[-1]
    job = tonight(job, "3", "3", "3")
    assert "same" not in job.attempts[-1]
    job = tonight(earlier(job), "3", "3", "3")
    job = tonight(job, "3", "4", "3")
    assert job.attempts[-1]["same"] == ["a.txt", "c.txt"], "all of it was as it was, until then"


def test_without_outputs_the_value_tells_whether_anything_changed(yard: Yard) -> None:
    job = yard.finished(yard.act(lambda task: 1))
    assert change_of(again(yard, job, lambda task: 1)) == "unchanged"
    assert change_of(again(yard, job, lambda task: 2)) == "changed"


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
    assert reply.event.retry_in is not None


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
    assert change_of(reply) == "unchanged"


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
