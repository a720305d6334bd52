"""NoRetry, from the command line: what `resume`, `run`, `retry` and the readers of a failed job do."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project

MODULE = """
    from dataclasses import dataclass
    from datetime import datetime
    from pathlib import Path
    from runner import Input, NoRetry, Output, Task

    class Permanent(RuntimeError, NoRetry):
        pass

    @dataclass
    class Fetch(Task):
        output_filepath: Output
        retries = 5
        backoff = 0.01

        def run(self):
            with open("tries", "a") as file:
                file.write(".")
            if not Path("cure").exists():
                raise Permanent("403 Forbidden")
            self.output_filepath.write_text("page")

    @dataclass
    class Parse(Task):
        input_filepath: Input
        output_filepath: Output

        def run(self):
            self.output_filepath.write_text(self.input_filepath.read_text())

    @dataclass
    class Gather(Task):
        input_filepaths: list[Input]
        output_filepath: Output
        trigger_rule = "all_done"

        def run(self):
            self.output_filepath.write_text(" ".join(path.read_text() for path in self.input_filepaths))

    @dataclass
    class Picky(Task):
        output_filepath: Output

        def run(self):
            self.output_filepath.write_text("made")

        def due(self, last, now: datetime):
            raise NoRetry("no way to tell")

    def everything():
        page, text, gathered = Path("a.html"), Path("a.txt"), Path("gathered.txt")
        return [Fetch(page), Parse(page, text), Gather([page], gathered)]
"""


@pytest.fixture
def project(project: Project) -> Project:
    project.module("final", MODULE)
    return project


def tries(project: Project) -> int:
    return len((project.root / "tries").read_text())


def test_it_is_tried_once_blocks_who_reads_it_and_lets_all_done_readers_run(project: Project) -> None:
    outcome = project.runner("run", "jobs.final:everything", *QUICK)
    assert outcome.code == 1
    assert "403 Forbidden" in outcome.said
    assert tries(project) == 1
    assert project.counts() == {"failed": 1, "blocked": 1, "done": 1}
    assert (project.root / "gathered.txt").read_text() == ""
    assert project.error("Fetch") == "Permanent: 403 Forbidden"
    (job,) = project.jobs("failed")
    assert "final.py" in job["attempts"][0]["error"]["traceback"]
    told = json.loads(project.runner("explain", job["id"], "--json").out)
    assert told["verdict"].startswith("failed after 1 attempt")
    assert "its error says that trying again cannot help" in told["because"]
    check_state(project.root)


def test_resume_leaves_it_and_a_new_run_or_a_person_tries_again(project: Project) -> None:
    assert project.runner("run", "jobs.final:everything", *QUICK).code == 1
    assert project.runner("resume").code == 0, "nothing to resume"
    assert tries(project) == 1
    assert project.runner("run", "jobs.final:everything", *QUICK).code == 1
    assert tries(project) == 2
    (project.root / "cure").touch()
    assert project.runner("retry", "--failed").code == 0
    assert project.runner("resume", *QUICK).code == 0
    assert tries(project) == 3
    assert project.counts() == {"done": 3}
    assert (project.root / "a.txt").read_text() == "page"
    assert project.runner("check").code == 0


def test_a_runner_that_died_before_its_last_rename_does_not_make_it_two_attempts(project: Project) -> None:
    """Its record was in running/ already, and the run goes on."""
    assert project.runner("run", "jobs.final:everything", *QUICK).code == 1
    (file,) = project.state.glob("failed/*.json")
    file.rename(project.state / "running" / file.name)
    (record,) = project.state.glob("runs/*.json")
    run = json.loads(record.read_text())
    record.write_text(json.dumps({key: value for key, value in run.items() if key not in ("ended", "exit")}))
    assert project.runner("resume", *QUICK).code == 1
    assert tries(project) == 1
    assert project.counts() == {"failed": 1, "blocked": 1, "done": 1}
    assert project.runner("check").code == 0


def test_raised_by_due_it_is_as_any_error(project: Project) -> None:
    words = ("run", "jobs.final:Picky", "output_filepath=made.txt", *QUICK)
    assert project.runner(*words).code == 0
    plan = project.runner("plan", *words[1:3])
    assert "due() raised NoRetry: no way to tell" in plan.out
    assert project.runner(*words).code == 0, "it is due, and runs"
    (job,) = project.jobs("done")
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["done", "done"]
