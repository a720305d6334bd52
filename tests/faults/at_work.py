"""What the tests of workers, orphans and signals share: tasks that wait for gates, and looks at what is left.

Tasks of work.py note when they begin, hold a lock of their own name, and wait while a file gate-NAME is there.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.project import Project
from tests.faults.test_kills import Ledger, working_project


def troubled(project: Project) -> Project:
    """A project with the tasks of work.py, without retries, and of trouble.py."""
    working_project(project, WORK_RETRIES="0", WORK_SECONDS="0")
    project.module("trouble", (Path(__file__).parent / "trouble.py").read_text())
    return project


def gate(project: Project, *names: str) -> list[Path]:
    """Hold these tasks of work.py until the gates are opened (unlinked)."""
    gates = [project.root / f"gate-{name}" for name in names]
    for path in gates:
        path.touch()
    return gates


def unlink(gates: list[Path]) -> None:
    for path in gates:
        path.unlink()


def outcomes(project: Project, status: str, task: str) -> list[list[str]]:
    """Of every attempt, for each job of the class."""
    return [[attempt["outcome"] for attempt in job["attempts"]] for job in project.jobs(status, f"{task}-")]


def started(project: Project) -> Counter[str]:
    """How often each task of work.py has begun."""
    return Counter(line.split()[1] for line in Ledger(project).lines() if line.startswith("start"))


def nothing_left(project: Project, process: subprocess.Popen[bytes]) -> None:
    """No process, no worker's lock, no staging file; and never did a task run twice at once."""
    project.all_gone(process)
    assert [name for name in project.names("locks") if name.startswith("worker-")] == []
    assert [str(path) for path in project.root.rglob(".*-*") if project.state not in path.parents] == []
    Ledger(project).check()
    check_state(project.root)


def fork_server(project: Project, process: subprocess.Popen[bytes]) -> processes.Process:
    """The parent of the workers."""
    (parent,) = {worker.parent for worker in project.workers(process)}
    found = processes.look(parent)
    assert found is not None
    assert found.parent == process.pid
    return found


def state_of(pid: int) -> str:
    """As ps has it: D cannot be killed just now, T is stopped."""
    process = processes.look(pid)
    return "" if process is None else process.state
