"""Six tasks that wait for a file named `open`, and runs of them: for tests of what comes from outside meanwhile."""

from __future__ import annotations

import subprocess

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project

SLEEPER = """
    import os
    import sys
    import time
    from collections.abc import Iterator
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Output, Task

    def hold(name: str) -> None:
        Path(f"{name}-begun").touch()
        while Path(name).exists():
            time.sleep(0.005)

    hold("import-again" if sys.argv[0] == "-c" else "import")

    @dataclass
    class Sleep(Task):
        number: int
        output_filepath: Output
        retries = 0

        def run(self):
            Path(f"begun-{self.number}").touch()
            while not Path("open").exists():
                time.sleep(0.005)
            self.output_filepath.write_text("slept")

    @dataclass
    class Limited(Sleep):
        timeout = 5.0

    def sleepers(count: int = 6, limited: bool = False) -> Iterator[Task]:
        hold("flow")
        yield from ((Limited if limited else Sleep)(n, Path(f"data/{n}.txt")) for n in range(count))
"""
FLOW = "jobs.sleeper:sleepers"


def start(project: Project, *words: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    """A run of six tasks that is at work with two workers."""
    process = project.start("run", FLOW, *words, "--workers", "2", *QUICK, before=before)
    processes.wait_until("two tasks have begun", lambda: begun(project) >= 2 or process.poll() is not None)
    assert process.poll() is None, project.said()
    return process


def begun(project: Project) -> int:
    return len(list(project.root.glob("begun-*")))


def in_order(project: Project) -> None:
    """What had begun was finished, and nothing else was begun: two, or what a worker had lying ready besides."""
    done = project.count("done")
    assert 2 <= done <= 4
    assert project.counts() == {"done": done, "pending": 6 - done}
    assert begun(project) == done


def let_go(project: Project) -> None:
    (project.root / "open").touch()


def resumed_to_the_end(project: Project, count: int = 6) -> None:
    """Nothing was lost, and no retry was used up: these tasks have none."""
    check_state(project.root)
    let_go(project)
    outcome = project.runner("resume")
    assert outcome.code == 0, outcome.err
    assert project.counts() == {"done": count}
