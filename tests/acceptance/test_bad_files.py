"""Cut, hostile or foreign files in the inbox and in the state: set aside with a reason, and the rest goes on."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project
from tests.acceptance.samples import GOOD, good_still_works, run, says


@pytest.fixture
def project(project: Project) -> Project:
    project.module("good", GOOD)
    return project


DEEP = '{"task": "jobs.good:Good", "params": {"text": ' + "[" * 100_000 + "]" * 100_000 + "}}"

HANDED_IN = {
    "cut": '{"task": "jobs.good:Good", "params": {"output_file',
    "empty": "",
    "binary": "\x00\x01\x02",
    "no object": "[1, 2]",
    "no task": '{"params": {}}',
    "deep": DEEP,
    "keys twice": '{"task": "jobs.good:Good", "task": "jobs.good:Copy", "params": {}}',
    "not a number": '{"task": "jobs.good:Good", "params": {"output_filepath": "data/n.txt", "text": NaN}}',
    "newer schema": '{"schema": 99, "task": "jobs.good:Good", "params": {"output_filepath": "data/n.txt"}}',
    "no such class": '{"task": "jobs.good:Nobody", "params": {}}',
    "no such module": '{"task": "jobs.nowhere:Good", "params": {}}',
    "code": '{"task": "os:system", "params": {"command": "touch owned"}}',
    "no task class": '{"task": "jobs.good:Path", "params": {"path": "owned"}}',
    "another id": '{"id": "../../owned", "task": "jobs.good:Good", "params": {"output_filepath": "data/n.txt"}}',
    "wrong type": '{"task": "jobs.good:Good", "params": {"output_filepath": 5}}',
    "no such parameter": '{"task": "jobs.good:Good", "params": {"output_filepath": "data/n.txt", "colour": "red"}}',
}


@pytest.mark.parametrize("kind", HANDED_IN)
def test_a_bad_file_is_handed_in(project: Project, kind: str) -> None:
    """To quarantine with a reason, exit code 1; what was handed in beside it is done."""
    inbox = project.state / "inbox"
    inbox.mkdir(parents=True)
    for folder in (project.state, inbox):
        folder.chmod(0o755)
    (inbox / "bad.json").write_text(HANDED_IN[kind], encoding="utf-8")
    good = {"task": "jobs.good:Good", "params": {"output_filepath": "data/good.txt"}}
    (inbox / "handed-in.json").write_text(json.dumps(good))
    outcome = project.runner("run", *QUICK)
    assert outcome.code == 1, outcome.err
    quarantined = project.names("quarantine")
    assert len([name for name in quarantined if name.endswith(".reason.txt")]) == 1, quarantined
    assert len(quarantined) == 2
    (reason,) = (project.state / "quarantine").glob("*.reason.txt")
    assert reason.read_text().strip()
    (kept,) = (file for file in (project.state / "quarantine").iterdir() if file != reason)
    assert kept.read_text(encoding="utf-8") == HANDED_IN[kind], "nothing is ever deleted"
    assert (project.root / "data" / "good.txt").read_text() == "good"
    assert not project.names("inbox")
    assert not list(project.root.parent.rglob("owned*"))
    check_state(project.root)
    assert project.runner("run", *QUICK).code == 0, "what lies in quarantine is no fault of the next run"


@pytest.mark.parametrize("kind", ["symlink", "fifo", "folder", "huge"])
def test_something_else_than_a_file_is_handed_in(project: Project, kind: str) -> None:
    """Nothing is followed, nothing hangs, nothing is deleted; the good file beside it is done."""
    inbox = project.state / "inbox"
    inbox.mkdir(parents=True)
    odd = inbox / "odd.json"
    good = {"task": "jobs.good:Good", "params": {"output_filepath": "data/good.txt"}}
    if kind == "symlink":
        target = project.root / "elsewhere.json"
        target.write_text(json.dumps({"task": "jobs.good:Good", "params": {"output_filepath": "data/linked.txt"}}))
        odd.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(odd)
    elif kind == "folder":
        odd.mkdir()
    else:
        with odd.open("wb") as file:
            file.truncate(17 * 2**20)
    (inbox / "handed-in.json").write_text(json.dumps(good))
    outcome = project.runner("run", *QUICK, seconds=30)
    assert outcome.code in (0, 1), outcome.err
    assert (project.root / "data" / "good.txt").exists()
    assert not (project.root / "data" / "linked.txt").exists()
    there = [name for folder in ("inbox", "quarantine") for name in project.names(folder)]
    assert any("odd" in name for name in there)


def test_a_file_that_is_still_being_copied(project: Project) -> None:
    """People use `cp`: what does not parse gets 2 s to become whole."""
    project.module(
        "slow",
        """
        import time
        from dataclasses import dataclass
        from runner import Task

        @dataclass
        class Slow(Task):
            seconds: float

            def run(self):
                time.sleep(self.seconds)
        """,
    )
    process = project.start("run", "jobs.slow:Slow", "seconds=4", *QUICK)
    processes.wait_until("the task has begun", lambda: project.count("running") == 1)
    text = json.dumps({"task": "jobs.good:Good", "params": {"output_filepath": "data/copied.txt"}})
    with (project.state / "inbox" / "copied.json").open("w") as file:
        file.write(text[:30])
        file.flush()
        time.sleep(0.8)
        file.write(text[30:])
    assert process.wait(timeout=30) == 0, project.said()
    assert (project.root / "data" / "copied.txt").exists()
    assert not project.names("quarantine")


def test_a_newer_schema_in_a_status_folder(project: Project) -> None:
    """Exit 4, and nothing is moved: a newer version was at work here."""
    run(project, 0, "jobs.good:good")
    (name,) = project.names("done")
    newer = {**json.loads((project.state / "done" / name).read_bytes()), "schema": 99}
    (project.state / "done" / name).unlink()
    (project.state / "pending" / name).write_text(json.dumps(newer))
    before = project.snapshot()
    for words in (("resume",), ("run", "jobs.good:good", *QUICK)):
        outcome = project.runner(*words)
        assert outcome.code == 4, outcome.err
        says(outcome.said, "schema", "99")
    assert project.snapshot() == before


def test_a_damaged_file_in_a_status_folder(project: Project) -> None:
    run(project, 0, "jobs.good:good")
    damaged = project.state / "pending" / "Good-0123456789abcdef.json"
    damaged.write_text('{"schema": 1, "id"')
    stranger = project.state / "done" / "notes.txt"
    stranger.write_text("mine")
    assert project.runner("check").code == 1
    assert project.runner("run", *QUICK).code in (0, 1)
    assert not damaged.exists()
    assert len(project.names("quarantine")) == 2
    assert stranger.read_text() == "mine"
    good_still_works(project)


def test_a_state_folder_that_others_may_write_to(project: Project) -> None:
    run(project, 0, "jobs.good:good")
    project.state.chmod(0o777)
    outcome = project.runner("run", "jobs.good:good", *QUICK)
    assert outcome.code == 4
    says(outcome.said, "state", "writ")


@pytest.mark.parametrize(
    ("lines", "part"),
    [
        ('{"task": "jobs.good:Good", "params": {"output_filepath": "data/a.txt"}}\n{"task": "jobs.go', "2"),
        ('{"task": "jobs.good:Nobody", "params": {}}\n', "Nobody"),
        ('{"task": "jobs.good:Good", "params": {"colour": "red"}}\n', "colour"),
    ],
)
def test_submit_refuses_bad_lines_as_a_whole(project: Project, lines: str, part: str) -> None:
    outcome = project.runner("submit", "--file", "-", given=lines)
    assert outcome.code in (1, 2), outcome.err
    says(outcome.said, part)
    assert not project.names("inbox")
    assert not project.names("pending")


def test_submit_then_run(project: Project) -> None:
    lines = "".join(
        json.dumps({"task": "jobs.good:Good", "params": {"output_filepath": f"data/{n}.txt"}}) + "\n" for n in range(5)
    )
    submitted = project.runner("submit", "--file", "-", given=lines)
    assert submitted.code == 0, submitted.err
    ids = submitted.out.split()
    assert len(ids) == 5
    assert len(project.names("inbox")) == 5
    one = project.runner("submit", "jobs.good:Good", "output_filepath=data/one.txt", "text=one")
    assert one.code == 0, one.err
    assert project.runner("run", *QUICK).code == 0
    assert project.ids("done") == {*ids, *one.out.split()}
    assert (project.root / "data" / "one.txt").read_text() == "one"
    shown = project.runner("show", one.out.strip(), "--json")
    assert "schema" in json.loads(shown.out)
    assert project.runner("show", "Nobody-00").code != 0


def test_a_project_that_is_not_there(tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    project.root = tmp_path / "nowhere"
    outcome = project.runner("run", "jobs.good:good")
    assert outcome.code == 2
    says(outcome.said, "nowhere")
