"""What is handed in: a file in inbox/ becomes a job, or goes to quarantine/ with the reason, and is never lost."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from runner.core.events import Event, Submitted
from runner.errors import Refused
from runner.store import codec, inbox
from runner.store.codec import JobFile
from tests.rig import Rig, id_of
from tests.workers import tasks
from tests.workers.tasks import Act, Noop, Once, Rated, Write

TASKS = "tests.workers.tasks"


@pytest.fixture(autouse=True)
def rig(project: Path) -> Rig:
    return Rig()


def drop(name: str, task: str = "Noop", /, **params: Any) -> Path:
    """Hand in a job as another program would."""
    path = Path("state/inbox") / name
    path.write_text(json.dumps({"task": f"{TASKS}:{task}", "params": params or {"number": 1}}))
    return path


def quarantined() -> dict[str, str]:
    """Name -> reason."""
    folder = Path("state/quarantine")
    names = [name for name in os.listdir(folder) if not name.endswith(".reason.txt")]
    return {name: (folder / f"{name}.reason.txt").read_text() for name in names}


def events(rig: Rig) -> list[Event]:
    """All events, carried out and settled as the loop does it."""
    found = []
    for event in rig.handed.collect():
        rig.loop.do(event)
        rig.handed.settled(event, None)
        found.append(event)
    return found


def failed(rig: Rig, task: Any) -> JobFile:
    """A job that lies in failed/, with its history."""
    (id,) = rig.submit([task])
    tasks.ACTIONS["it"] = lambda task: 1 / 0
    rig.loop.run()
    status, job = rig.job(id)
    assert status == "failed"
    return job


# -------------------------------------------------------------------------------------------------------- new jobs


def test_all_files_of_one_scan_are_one_batch_and_go_when_it_is_admitted(rig: Rig) -> None:
    names = [drop(f"{number}.json", number=number).name for number in range(3)]
    collected = iter(rig.handed.collect())
    event = next(collected)
    assert isinstance(event, Submitted)
    assert event.by_name
    assert sorted(os.listdir("state/inbox")) == names, "not before it was carried out"
    rig.loop.do(event)
    rig.handed.settled(event, None)
    assert list(collected) == []
    assert os.listdir("state/inbox") == []
    for number in range(3):
        status, job = rig.job(id_of(Noop(number)))
        assert (status, job.submitted, job.found_by, job.depth) == ("pending", True, None, 0)


def test_a_batch_may_depend_on_itself_in_any_order(rig: Rig) -> None:
    drop("a.json", "Copied", plain="one.txt", output="two.txt")
    drop("b.json", "Write", output="one.txt")
    assert rig.loop.run()
    assert Path("two.txt").read_text() == "text\n"


def test_the_later_of_two_files_for_one_job_wins_and_both_are_answered(rig: Rig) -> None:
    drop("1.json", "Write", output="a.txt", text="first")
    os.utime("state/inbox/1.json", (1, 1))
    drop("2.json", "Write", output="a.txt", text="second")
    events(rig)
    assert rig.job(id_of(Write("a.txt")))[1].params["text"] == "second"
    assert os.listdir("state/inbox") == []
    assert quarantined() == {}


def test_a_known_job_takes_its_new_wish(rig: Rig) -> None:
    (id,) = rig.submit([Write("a.txt", "old")])
    drop("a.json", "Write", output="a.txt", text="new")
    events(rig)
    assert rig.job(id)[1].params["text"] == "new"


# ------------------------------------------------------------------------------------------------------ bad files


@pytest.mark.parametrize(
    ("task", "params", "told"),
    [
        ("Gone", {"number": 1}, "has no Gone"),
        ("Noop", {"number": "one"}, "number"),
        ("Noop", {"other": 1}, "no field 'other'"),
        ("Noop", {"number": 1, "more": 2}, "no field 'more'"),
        ("ACTIONS", {"number": 1}, "no Task"),
    ],
)
def test_a_job_that_cannot_be_made_goes_to_quarantine_with_the_reason(
    rig: Rig, task: str, params: dict[str, Any], told: str
) -> None:
    drop("bad.json", task, **params)
    drop("good.json", number=5)
    (event,) = events(rig)
    assert isinstance(event, Submitted)
    assert len(event.batch) == 1
    assert told in quarantined()["bad.json"]
    assert rig.handed.quarantined == 1
    assert os.listdir("state/inbox") == []


def test_a_file_whose_id_is_not_that_of_its_task_is_put_aside(rig: Rig) -> None:
    data = {"id": "Noop-0123456789abcdef", "task": f"{TASKS}:Noop", "params": {"number": 1}}
    Path("state/inbox/x.json").write_text(json.dumps(data))
    assert events(rig) == []
    assert "make Noop-" in quarantined()["x.json"]


def test_a_module_that_is_not_allowed_is_not_imported(rig: Rig) -> None:
    Path("evil.py").write_text("open('was here', 'w')")
    Path("state/inbox/x.json").write_text(json.dumps({"task": "evil:Task", "params": {}}))
    assert events(rig) == []
    assert "not among the modules" in quarantined()["x.json"]
    assert not Path("was here").exists()


def test_a_file_that_may_not_be_whole_yet_is_waited_for(rig: Rig) -> None:
    path = Path("state/inbox/half.json")
    path.write_text('{"task": "tests.workers.tasks:Noop", "par')
    assert events(rig) == []
    assert rig.handed.unsettled
    drop("half.json", number=7)
    assert len(events(rig)) == 1
    assert not rig.handed.unsettled
    path.write_text("no json at all")
    os.utime(path, (time.time() - 5,) * 2)
    assert events(rig) == []
    assert "half.json" in quarantined()


def test_a_bad_file_that_is_taken_away_again_is_nobody_s_trouble(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    drop("bad.json", "Gone")
    quarantine = rig.store.quarantine

    def too_late(folder: str, name: str, reason: str) -> str:
        os.unlink(Path("state/inbox") / name)
        return quarantine(folder, name, reason)

    monkeypatch.setattr(rig.store, "quarantine", too_late)
    assert events(rig) == []
    assert os.listdir("state/quarantine") == []


# -------------------------------------------------------------------------------------------------------- refusals


def refuse(rig: Rig) -> list[Event]:
    """Carry out as the loop does, with what the engine refuses."""
    found = []
    for event in rig.handed.collect():
        refused = None
        try:
            rig.loop.do(event)
            found.append(event)
        except Refused as error:
            refused = error
        rig.handed.settled(event, refused)
    return found


def test_a_cycle_puts_its_files_aside_and_no_others(rig: Rig) -> None:
    drop("a.json", "Copied", plain="b.txt", output="a.txt")
    drop("b.json", "Copied", plain="a.txt", output="b.txt")
    drop("self.json", "Copied", plain="c.txt", output="c.txt")
    drop("good.json", number=1)
    assert len(refuse(rig)) == 1
    assert quarantined().keys() == {"a.json", "b.json", "self.json"}
    assert "cycle" in quarantined()["a.json"].lower()
    assert rig.counts() == {"pending": 1}


def test_two_files_that_claim_one_output_are_both_put_aside(rig: Rig) -> None:
    drop("a.json", "Write", output="a.txt")
    drop("b.json", "Copied", plain="x.txt", output="a.txt")
    drop("good.json", number=1)
    assert len(refuse(rig)) == 1
    assert quarantined().keys() == {"a.json", "b.json"}
    assert rig.counts() == {"pending": 1}


@pytest.mark.parametrize("error", [RuntimeError("no limits today"), TypeError("bad"), SystemError("odd")])
def test_a_class_whose_own_methods_raise_costs_its_files_and_not_the_run(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def limits(self: Rated) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(Rated, "limits", limits)
    drop("rated.json", "Rated", name="it")
    drop("good.json", number=1)
    assert rig.loop.run()
    assert rig.counts() == {"done": 1}
    assert str(error) in quarantined()["rated.json"]


# ------------------------------------------------------------------------------------------------ what comes back


def test_a_failed_job_that_is_moved_back_is_tried_again_with_all_its_history(rig: Rig) -> None:
    job = failed(rig, Once("it"))
    shutil.move(f"state/failed/{job.id}.json", "state/inbox/")
    tasks.ACTIONS["it"] = lambda task: "well"
    assert rig.loop.run()
    status, after = rig.job(job.id)
    assert status == "done"
    assert [attempt["outcome"] for attempt in after.attempts] == ["failed", "done"]
    assert after.retries_from == 1
    assert os.listdir("state/inbox") == []


def test_what_comes_back_keeps_who_found_it_and_what_it_comes_after(rig: Rig) -> None:
    done = id_of(Noop(1))
    rig.work([Noop(1)])
    job = failed(rig, Once("it"))
    os.unlink(f"state/failed/{job.id}.json")
    found_by = "Finder-0123456789abcdef"
    old = codec.JobFile(
        id=job.id,
        task=job.task,
        params=job.params,
        attempts=job.attempts,
        after=(done,),
        found_by=found_by,
        depth=7,
    )
    Path("state/inbox", f"{job.id}.json").write_bytes(codec.encode(old))
    events(rig)
    status, after = rig.job(job.id)
    assert (status, after.after, after.found_by, after.depth) == ("pending", (done,), found_by, 7)


@pytest.mark.parametrize("first", ["history", "wish"])
def test_history_is_kept_when_the_same_job_is_handed_in_anew_beside_it(rig: Rig, first: str) -> None:
    job = failed(rig, Once("it", hint="old"))
    shutil.move(f"state/failed/{job.id}.json", "state/inbox/")
    drop("again.json", "Once", name="it", hint="new")
    earlier = f"{job.id}.json" if first == "history" else "again.json"
    os.utime(Path("state/inbox") / earlier, (1, 1))
    events(rig)
    status, after = rig.job(job.id)
    assert (status, len(after.attempts)) == ("pending", 1)
    assert after.params["hint"] == ("new" if first == "history" else "old"), "the later wish wins"
    assert os.listdir("state/inbox") == []


# ------------------------------------------------------------------------------------------------------- commands


def test_a_job_that_waits_for_its_retry_time_is_retried_at_once(rig: Rig) -> None:
    tasks.ACTIONS["it"] = lambda task: 1 / 0
    (id,) = rig.submit([Act("it")])

    def cure() -> None:
        if rig.replies:
            tasks.ACTIONS["it"] = lambda task: None
            inbox.command(rig.store, "retry", ids=[id])
            rig.executor.while_waiting = lambda: None

    rig.executor.while_waiting = cure
    started = time.monotonic()
    assert rig.loop.run()
    assert time.monotonic() - started < 5, "not after the ten seconds of its backoff"
    assert rig.outcomes(id) == ["failed", "done"]


def test_a_cancelled_job_does_not_run(rig: Rig) -> None:
    (id,) = rig.submit([Noop(1)])
    inbox.command(rig.store, "cancel", ids=[id])
    assert rig.loop.run()
    assert rig.job(id)[0] == "cancelled"


def test_a_stop_is_for_the_runner_that_it_names(rig: Rig) -> None:
    with rig.store.lock():
        holder = rig.store.holder()
        assert holder is not None
        inbox.command(rig.store, "stop", pid=holder.pid, start="1")
        assert events(rig) == []
        assert not rig.handed.stop_wanted
        assert os.listdir("state/inbox") == [], "and is dropped by any other"
        inbox.command(rig.store, "stop", pid=holder.pid, start=holder.start)
        assert events(rig) == []
        assert rig.handed.stop_wanted


@pytest.mark.parametrize(
    "command", [{"verb": "dance"}, {"verb": "retry", "ids": [1]}, {"verb": "cancel", "ids": "all"}]
)
def test_a_command_that_nobody_knows_is_put_aside(rig: Rig, command: dict[str, Any]) -> None:
    Path("state/inbox/x.do.json").write_text(json.dumps(command))
    assert events(rig) == []
    assert "no command this runner knows" in quarantined()["x.do.json"]


def test_whether_anything_waits_is_told_without_dot_names(rig: Rig) -> None:
    assert not rig.handed.waiting(rig.store)
    Path("state/inbox/.partial").touch()
    assert not rig.handed.waiting(rig.store)
    drop("x.json")
    assert rig.handed.waiting(rig.store)
