"""Tasks that run in a pool of somebody else's: any PEP 3148 executor; loky's first, as docs/scaling.md has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from tests.acceptance import processes
from tests.acceptance.project import Project
from tests.faults.test_kills import JOBS, check_end, expected, working_project

PROGRAM = """
import sys
import runner
from jobs.work import everything
{given}

if __name__ == "__main__":
    pool = runner.Pool({executor}, size=2)
    if sys.argv[1:] == ["resume"]:
        summary = runner.resume(pool=pool, durability="process")
    else:
        summary = runner.run(everything(), pool=pool, durability="process", verbosity=0)
    sys.exit(summary.exit_code)
"""

POOLS = {
    "loky": ("from loky import get_reusable_executor", "get_reusable_executor(max_workers=2)"),
    "processes": ("from concurrent.futures import ProcessPoolExecutor", "ProcessPoolExecutor(2)"),
    "threads": ("from concurrent.futures import ThreadPoolExecutor", "ThreadPoolExecutor(2)"),
}


@pytest.fixture
def program(new_project: Callable[..., Project], request: pytest.FixtureRequest) -> Project:
    project = working_project(new_project(settings='lease = "3s"\n'), WORK_RETRIES="1", WORK_SECONDS="0.02")
    given, executor = POOLS[request.param]
    (project.root / "program.py").write_text(PROGRAM.format(given=given, executor=executor))
    return project


def start(project: Project, *words: str) -> subprocess.Popen[bytes]:
    environment = project.environment() | {processes.MARK: "pools" + project.root.parent.name}
    with project.ear.open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "program.py", *words], cwd=project.root, env=environment, stdout=said, stderr=said
        )


@pytest.mark.parametrize("program", list(POOLS), indirect=True)
def test_a_pool_does_it_all(program: Project) -> None:
    process = start(program)
    assert process.wait(60) == 0, program.said()
    check_end(program, JOBS, expected(3, 10, 8))
    pids = {attempt["worker"] for job in program.jobs("done") for attempt in job["attempts"] if attempt.get("worker")}
    assert process.pid not in pids
    assert len(pids) >= 2


@pytest.mark.parametrize("program", ["loky", "processes"], indirect=True)
def test_a_process_of_the_pool_is_killed(program: Project, struck: Counter[str]) -> None:
    """Such pools are of no use from then on: the run says so, and the next one goes on."""
    process = start(program)
    processes.wait_until("it is half way", lambda: program.count("done") > 20, 60)
    (agent, *_) = (path for path in (program.state / "locks").glob("agent-*.json") if '"pid":0' not in path.read_text())
    pid = int(agent.read_text().partition('"pid":')[2].partition(",")[0])
    assert pid != process.pid
    os.kill(pid, signal.SIGKILL)
    struck["kill"] += 1
    code = process.wait(60)
    if code != 0:  # else the other process could do the rest
        assert "no worker is left: the pool has failed" in program.said() or code == 4, program.said()
        process = start(program, "resume")
        assert process.wait(60) == 0, program.said()
    check_end(program, JOBS, expected(3, 10, 8))
