"""Small tasks for the tests of bad input, and what these tests share."""

from __future__ import annotations

from textwrap import dedent

from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project

HEAD = """\
from dataclasses import dataclass
from pathlib import Path
from runner import Input, Output, Task
from jobs.good import Copy, Finder, Good

"""

GOOD = """
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Input, Output, Task

    @dataclass
    class Good(Task):
        output_filepath: Output
        text: str = "good"

        def run(self):
            self.output_filepath.write_text(self.text)

    @dataclass
    class Copy(Task):
        input_filepath: Input
        output_filepath: Output
        retries = 0

        def run(self):
            self.output_filepath.write_bytes(self.input_filepath.read_bytes())

    @dataclass
    class Finder(Task):
        "Finds whatever its flow says: set by a subclass."
        output_filepath: Output
        retries = 0

        def run(self):
            self.output_filepath.write_text("found")

    def good():
        return [Good(Path("data/good.txt"))]
"""


def write_bad(project: Project, text: str) -> None:
    """Write jobs/bad.py: `text`, with all of jobs/good.py at hand."""
    project.module("bad", HEAD + dedent(text))


def run(project: Project, code: int, target: str = "jobs.bad:flow", *words: str) -> str:
    """Run a target; what was said about it. Whatever went wrong, the state is sound afterwards."""
    outcome = project.runner("run", target, *words, *QUICK)
    assert outcome.code == code, outcome.err
    check_state(project.root)
    return outcome.said


def says(said: str, *parts: str) -> None:
    for part in parts:
        assert part.lower() in said.lower(), f"{part!r} is not in: {said}"


def good_still_works(project: Project) -> None:
    """After a refusal, the next run finds a state it can work with."""
    run(project, 0, "jobs.good:good")
    assert (project.root / "data" / "good.txt").read_text() == "good"
