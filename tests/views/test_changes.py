"""`changes`: run records beside job files, of runs that have ended and of one that has not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runner import api
from runner.cli import cli
from runner.errors import UsageError
from runner.views.changes import KINDS, Changes, changes
from tests.views.state import RUN, START, Built, done_attempt, failed_attempt, id_of

LATER = "20261123T020000Z"


@pytest.fixture(autouse=True)
def project(built: Built, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(built.root)
    monkeypatch.delenv("RUNNER_STATE", raising=False)
    return built.root


def look(built: Built, run: str | None = None) -> Changes:
    with built.store() as store:
        return changes(store, run)


def told(found: Changes) -> dict[str, dict[str, int]]:
    return {task: {kind: n for kind, n in kinds.items() if n} for task, kinds in found.tasks.items()}


def site(built: Built) -> dict[str, str]:
    """Jobs of two nights; the second one's fates as names."""
    ids = {}
    for change in ("new", "changed", "unchanged", "absent"):
        attempts = [done_attempt(), done_attempt(run=LATER, change=change)]
        result = built.result({change: None if change == "absent" else b"x"}, change=change, run=LATER)
        ids[change] = built.put("done", change, attempts=attempts, result=result)
    ids["old"] = built.put("done", "old", attempts=[done_attempt(change="new")])
    ids["failed"] = built.put("failed", "failed", "Parse", attempts=[done_attempt(), failed_attempt(run=LATER)])
    ids["later"] = built.put("pending", "later", attempts=[{**failed_attempt(run=LATER), "outcome": "later"}])
    return ids


NUMBERS = {
    "Fetch": {"new": 1, "changed": 1, "unchanged": 2, "absent": 1, "gone": 1},
    "Parse": {"failed": 1, "blocked": 3},
}


def test_a_run_that_has_ended_is_told_by_its_record(built: Built) -> None:
    ids = site(built)
    built.run(LATER, ended=START, changes=NUMBERS, gone=[ids["old"], "Fetch-0000000000000000"])
    found = look(built)
    assert (found.run, found.ended, found.target) == (LATER, START, "jobs.scrape:nightly")
    assert told(found) == NUMBERS
    assert [(job.change, job.id, job.output) for job in found.jobs] == [
        ("new", ids["new"], "new"),
        ("changed", ids["changed"], "changed"),
        ("absent", ids["absent"], "absent"),
        ("gone", ids["old"], "old"),
        ("failed", ids["failed"], None),
    ]


def test_a_run_that_has_not_ended_is_told_by_the_jobs(built: Built) -> None:
    site(built)
    built.run(LATER)
    assert told(look(built)) == {
        "Fetch": {"new": 1, "changed": 1, "unchanged": 1, "absent": 1},
        "Parse": {"failed": 1},
    }
    assert look(built).ended is None


def test_a_record_of_before_there_were_numbers_still_reads(built: Built) -> None:
    site(built)
    built.run(LATER, ended=START)
    record = built.state / "runs" / f"{LATER}.json"
    document = json.loads(record.read_text())
    del document["changes"], document["gone"]
    record.write_text(json.dumps(document))
    assert told(look(built))["Fetch"] == {"new": 1, "changed": 1, "unchanged": 1, "absent": 1}


def test_what_ran_before_a_crash_counts_though_the_record_leaves_it_out(built: Built) -> None:
    site(built)
    built.run(LATER, ended=START, changes={"Fetch": {"unchanged": 7}})
    assert told(look(built))["Fetch"] == {"new": 1, "changed": 1, "unchanged": 7, "absent": 1}


def test_an_older_run_a_prefix_and_none(built: Built) -> None:
    ids = site(built)
    with pytest.raises(UsageError, match="no run yet"):
        look(built)
    built.run(ended=START)
    built.run(LATER)
    found = look(built, RUN)
    assert [(job.change, job.id) for job in found.jobs] == [("new", ids["old"])]
    assert look(built, "20261122").run == RUN
    assert look(built, LATER).run == LATER
    with pytest.raises(UsageError, match="several runs begin with '2026112'"):
        look(built, "2026112")
    with pytest.raises(UsageError, match=f"no run begins with '2025': the newest are {RUN}, {LATER}"):
        look(built, "2025")


def test_a_retry_that_succeeded_in_the_same_run_is_no_failure(built: Built) -> None:
    built.put("done", "a", attempts=[failed_attempt(), done_attempt(change="new")])
    built.put("failed", "b", attempts=[done_attempt(change="new"), failed_attempt()])
    built.put("cancelled", "c", attempts=[failed_attempt(), done_attempt(outcome="cancelled")])
    built.run()
    assert told(look(built)) == {"Fetch": {"new": 1, "failed": 1}}


def test_a_damaged_job_file_is_left_out(built: Built) -> None:
    built.put("done", "a", attempts=[done_attempt(change="new")])
    built.file("done", id_of("b")).write_text("{")
    built.run()
    assert told(look(built)) == {"Fetch": {"new": 1}}


# ------------------------------------------------------------------------------------------------------ how it is said


def call(*words: str) -> str:
    result = CliRunner().invoke(cli, ["changes", *words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_as_text(built: Built) -> None:
    ids = site(built)
    built.run(LATER, ended=START, changes=NUMBERS, gone=[ids["old"]])
    lines = call().splitlines()
    assert lines[0] == f"run {LATER} of jobs.scrape:nightly"
    assert lines[2].split() == list(KINDS)
    assert lines[3].split() == ["Fetch", "1", "1", "2", "1", "1"]
    assert lines[5].split() == ["total", "1", "1", "2", "1", "1", "1", "3"]
    assert f"changed    {ids['changed']}  changed" in lines
    built.run(LATER)
    assert call().startswith(f"run {LATER} of jobs.scrape:nightly: has not ended; so far\n")


def test_many_of_a_kind_are_cut(built: Built) -> None:
    for n in range(12):
        built.put("done", str(n), attempts=[done_attempt(change="new")])
    built.run()
    assert call().count("\nnew  ") == 11
    assert "new        and 2 more: --json has them all" in call()


def test_a_run_with_no_jobs(built: Built) -> None:
    built.run(ended=START, target=None)
    assert call() == f"run {RUN}\nno jobs\n"


def test_as_a_document(built: Built) -> None:
    ids = site(built)
    built.run(LATER, ended=START, changes=NUMBERS)
    document: Any = json.loads(call("--json"))
    assert document.keys() == {"schema", "run", "target", "ended", "tasks", "jobs"}
    assert document["tasks"]["Parse"] == dict.fromkeys(KINDS, 0) | {"failed": 1, "blocked": 3}
    assert document["jobs"][0] == {"change": "new", "task": "Fetch", "id": ids["new"], "output": "new"}


def test_as_a_table(built: Built) -> None:
    ids = site(built)
    built.run(LATER, ended=START, changes=NUMBERS)
    frame = api.changes(state=built.state, root=built.root)
    assert list(frame.columns) == list(KINDS)
    assert frame.loc["Fetch", "changed"] == 1
    assert frame.loc["Parse"].sum() == 4
    assert (frame.index.name, frame.attrs["run"]) == ("task", LATER)
    jobs = api.changes("20261123", jobs=True, state=built.state)
    assert list(jobs.columns) == ["change", "task", "id", "output"]
    assert list(jobs[jobs.change == "changed"].id) == [ids["changed"]]
    built.run("20261124T020000Z", ended=START)
    assert api.changes().empty
    assert list(api.changes().columns) == list(KINDS)
