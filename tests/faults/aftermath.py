"""How a runner leaves a disk that failed, and what must be found there before anybody resumes."""

from __future__ import annotations

import json
import re
from collections.abc import Set
from hashlib import sha256
from subprocess import Popen

from tests.acceptance.invariants import check_state
from tests.acceptance.project import Project

PATIENCE = 120.0  # seconds for whatever must happen
ADVISORY = re.compile(r"\[|warning: |the journal |worker \d+: the log |the process that forks the workers ")
UNREADABLE = re.compile(r"pyproject\.toml|cannot be imported|there is no such folder")


def left_in_order(project: Project, process: Popen[bytes], said_before: int) -> int:
    """It found its disk dead, or a sync failed: it leaves by itself, and says so plainly. Gives the exit code."""
    code = process.wait(timeout=PATIENCE)
    project.all_gone(process, PATIENCE)
    said = project.ear.read_text()[said_before:]
    assert "Traceback" not in said, said
    if code != 0:
        # Beside progress, and warnings: of the file systems, of the journal and logs, which are advisory.
        lines = [line for line in said.splitlines() if line and not ADVISORY.match(line)]
        assert 1 <= len(lines) <= 2, said
        assert lines[-1].startswith("runner: "), said
        # 2: it had not come to the state, and already the project could not be read.
        assert code == 4 or (code == 2 and UNREADABLE.search(said)), said
    return code


def look(project: Project, acknowledged: Set[str] = frozenset()) -> None:
    """Nothing is damaged, nothing that counts is empty, nothing acknowledged is missing."""
    where = check_state(project.root)  # every job file is whole and in one place, and so are a done job's children
    assert project.count("quarantine") == 0
    for job in project.jobs("done"):
        for path, made in job["result"]["outputs"].items():
            assert sha256((project.root / path).read_bytes()).hexdigest() == made["sha256"], f"{job['id']}: {path}"
    missing = acknowledged - where.keys() - handed_in(project)
    assert not missing, f"acknowledged, and nowhere: {missing}"
    if project.state.exists():
        checked = project.runner("check", "--verify")
        assert checked.code == 0, checked.err + checked.out


def handed_in(project: Project) -> set[str]:
    """The ids of the jobs in inbox/, whose files must be whole."""
    return {json.loads(file.read_bytes())["id"] for file in project.state.glob("inbox/*.json")}


def is_on_record(project: Project, earlier: Set[str] = frozenset()) -> bool:
    """Whether the run can be resumed; else its first command is given again."""
    return any(name.endswith(".json") for name in project.names("runs") - earlier)
