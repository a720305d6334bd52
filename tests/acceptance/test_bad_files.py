"""What is submitted, right or wrong, and a project that is not there. (Hostile files: tests/faults.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.project import QUICK, Project
from tests.acceptance.samples import GOOD, says


@pytest.fixture
def project(project: Project) -> Project:
    project.module("good", GOOD)
    return project


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
