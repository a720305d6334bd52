"""`status`: counts by names, the run that is live or was last, and the next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.errors import NewerSchema, StateError
from runner.store.folders import FolderStore
from runner.views.reading import open_state
from runner.views.status import State, look
from tests.views.state import NOW, RUN, START, Built, id_of


def state(built: Built, now: float = NOW) -> State:
    with built.store() as store:
        return look(store, now)


def test_counts(built: Built) -> None:
    for n in range(3):
        built.put("done", f"a{n}")
    built.put("done", "t", "Parse")
    built.put("failed", "b")
    built.put("pending", "c")
    (built.state / "inbox" / "x.json").write_text("{}")
    (built.state / "inbox" / ".hidden").write_text("{}")
    (built.state / "quarantine" / "bad.json").write_text("{}")
    (built.state / "quarantine" / f"{id_of('q')}.json").write_text("{}")
    (built.state / "quarantine" / "bad.json.reason.txt").write_text("why")
    found = state(built)
    assert found.total == 6
    assert found.statuses == {"pending": 1, "running": 0, "done": 4, "failed": 1, "blocked": 0, "cancelled": 0}
    assert found.tasks == {"Fetch": {"pending": 1, "done": 3, "failed": 1}, "Parse": {"done": 1}}
    assert (found.inbox, found.quarantine) == (1, 2)


def test_it_reads_no_job_file(built: Built) -> None:
    built.file("done", id_of("x")).write_text("{ this is no job")
    assert state(built).statuses["done"] == 1


@pytest.mark.parametrize(
    ("fields", "how"),
    [
        ({}, "interrupted"),
        ({"admitted": START}, "interrupted"),
        ({"admitted": START, "exit": 3}, "stopped"),
        ({"admitted": START, "ended": START, "exit": 0}, "done"),
        ({"admitted": START, "ended": START, "exit": 1}, "failed"),
        ({"ended": START, "exit": 2}, "unusable"),
        ({"admitted": START, "ended": START}, "taken over"),
    ],
)
def test_how_the_last_run_ended(built: Built, fields: dict[str, object], how: str) -> None:
    built.run(**fields)
    found = state(built)
    assert found.run is not None
    assert (found.run.id, found.run.how, found.run.target) == (RUN, how, "jobs.scrape:nightly")
    assert found.next == (["resume"] if how in ("interrupted", "stopped") else [])


def test_a_live_run_with_its_rate(built: Built) -> None:
    built.run(admitted=START, exit=3)  # it was stopped, and is resumed now
    built.holder()
    jobs = [built.put("done", str(n)) for n in range(30)]
    for n in range(30, 45):
        built.put("pending", str(n))
    for n, id in enumerate(jobs):
        built.journal((n, id, "pending", "running", "claim"))
    for n, id in enumerate(jobs):
        built.journal((n + 30, id, "running", "done", "finish"))
    found = state(built)
    assert found.run is not None
    assert found.runner is not None
    assert found.runner.run == RUN
    assert found.run.how == "live"
    assert found.run.exit is None
    assert found.run.finished == 30
    assert found.run.rate == pytest.approx(0.5)
    assert found.run.seconds_left == pytest.approx(30)
    assert found.next == []
    later = state(built, NOW + 45).run
    assert later is not None
    assert later.rate == pytest.approx(15 / 60, abs=1.1 / 60), "over the last minute, as the seconds fall"


def test_a_live_runner_resumes_an_older_run(built: Built) -> None:
    built.run(admitted=START)
    built.run("20261123T020000Z", ended=START, exit=2)
    assert state(built).next == ["resume"], "the newest has ended, an older one has not"
    built.holder()
    found = state(built)
    assert found.run is not None
    assert (found.run.id, found.run.how) == (RUN, "live")


def test_a_holder_that_is_dead_or_done(built: Built) -> None:
    built.run(admitted=START)
    built.holder(start="1")
    assert state(built).runner is None
    built.holder()
    assert state(built).runner is not None
    built.run(admitted=START, ended=START, exit=0)
    assert state(built).runner is None, "a program that called runner.run() lives on after it"


def test_a_runner_that_has_only_just_started(built: Built) -> None:
    built.holder(run="", info={"verb": "check --repair"})
    found = state(built)
    assert found.runner is not None
    assert (found.runner.run, found.runner.verb, found.run) == ("", "check --repair", None)


@pytest.mark.parametrize(
    ("jobs", "words"),
    [
        ((), ["run"]),
        (("done",), []),
        (("done", "failed", "blocked"), ["list", "--status", "failed"]),
        (("blocked",), ["list", "--status", "blocked"]),
        (("failed", "pending"), ["resume"]),
        (("running",), ["resume"]),
        (("cancelled",), []),
    ],
)
def test_what_to_type_next(built: Built, jobs: tuple[str, ...], words: list[str]) -> None:
    for status in jobs:
        built.put(status, status)
    assert state(built).next == words


def test_what_was_handed_in_is_to_be_resumed(built: Built) -> None:
    (built.state / "inbox" / "x.json").write_text("{}")
    assert state(built).next == ["resume"]


def test_a_damaged_run_record_hides_nothing_else(built: Built) -> None:
    built.put("done", "a")
    (built.state / "runs" / f"{RUN}.json").write_text('{"schema"')
    found = state(built)
    assert found.problem is not None
    assert "move it away" in found.problem
    assert found.total == 1


def test_a_newer_run_record(built: Built) -> None:
    (built.state / "runs" / f"{RUN}.json").write_text('{"schema": 99}')
    with pytest.raises(NewerSchema):
        state(built)


def test_no_state_folder(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="python -m runner run"):
        open_state(tmp_path / "state", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="no state folder"):
        open_state(tmp_path / "file", tmp_path)


def test_a_state_folder_without_folders(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with FolderStore(tmp_path / "state", create=False) as store:
        found = look(store, NOW)
    assert (found.total, found.inbox, found.run, found.next) == (0, 0, None, ["run"])
