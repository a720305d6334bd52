"""A failed sync: nothing is moved on the strength of it, no job is to blame, the runner leaves, and `resume` goes on.

The kernel tells of a lost write once, and calls the next sync a success: so none may be tried again.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.project import Project
from tests.faults.aftermath import PATIENCE, is_on_record, left_in_order, look
from tests.faults.at_sync import Sync, armed, syncs
from tests.faults.conftest import TORTURE
from tests.faults.test_kills import FLOW, SMALL, SMALL_JOBS, check_end, expected, working_project

NewProject = Callable[..., Project]
RUN = ("run", FLOW, *SMALL)
RECORD = re.compile(r"\d+-\d+\.\d+\.(.+)\.json")  # in tmp/: what a worker wrote at the end of a job


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("by", ["any", "worker"])
def test_a_failed_sync_stops_the_runner(
    by: str, new_project: NewProject, tmp_path: Path, seed: int, struck: Counter[str]
) -> None:
    """The first, that of a commit group, the last; workers sync what a class with downstream_tasks() publishes."""
    log = tmp_path / "syncs"
    project = working_project(new_project("undisturbed"), WORK_SECONDS="0")
    armed(project, log)
    assert project.runner(*RUN).code == 0
    counted = [sync for sync in syncs(log) if by in ("any", sync.by)]
    last = len(counted)
    groups = [number for number, sync in enumerate(counted, 1) if sync.whole_disk] or [1]
    for at in range(1, last + 1) if TORTURE else sorted({1, random.Random(seed).choice(groups), last}):
        project = working_project(new_project(f"fail-{at}"), WORK_SECONDS="0")
        armed(project, log, "fail", at, by)
        code = left_in_order(project, project.start(*RUN), 0)
        noted = syncs(log)
        if not any(sync.struck for sync in noted):
            assert code == 0  # there were fewer this time
            continue
        assert code == 4
        struck[next(sync.by for sync in noted if sync.struck)] += 1
        nothing_counts_that_was_not_durable(project, noted)
        look(project)
        armed(project, log)
        again = project.runner(*(("resume",) if is_on_record(project) else RUN))
        assert again.code == 0, again.err
        check_end(project, SMALL_JOBS, expected(1, 2, 2))


def nothing_counts_that_was_not_durable(project: Project, noted: list[Sync]) -> None:
    failed = next(number for number, sync in enumerate(noted) if sync.struck)
    if noted[failed].by == "scheduler":
        assert not [sync for sync in noted[failed + 1 :] if sync.by == "scheduler"], "a sync after one that failed"
    succeeded = [sync for sync in noted if not sync.struck]
    durable = {found[1] for sync in succeeded for name in sync.tmp if (found := RECORD.fullmatch(name))}
    assert project.ids("done") <= durable
    assert project.counts().keys() <= {"pending", "running", "done"}, "a job is blamed"
    outcomes = {
        attempt["outcome"]
        for status in ("pending", "running")
        for job in project.jobs(status)
        for attempt in job["attempts"]
    }
    assert outcomes <= {"done", "interrupted"}


@pytest.mark.strace
def test_the_kernel_says_that_the_disk_could_not_be_synced(project: Project, struck: Counter[str]) -> None:
    working_project(project, WORK_SECONDS="0")
    log = project.root / "strace.log"
    before = ("strace", "-f", "-qq", "-o", str(log), "-e", "trace=syncfs", "-e", "inject=syncfs:error=EIO:when=2")
    process = project.start(*RUN, before=before)
    assert process.wait(timeout=PATIENCE) == 4, project.said()
    project.all_gone(process, PATIENCE)
    struck["syncfs"] += log.read_text().count("(INJECTED)")
    assert "syncfs: Input/output error" in project.said()
    assert project.counts().keys() <= {"pending", "running", "done"}
    look(project)
    assert project.runner("resume").code == 0
    check_end(project, SMALL_JOBS, expected(1, 2, 2))


def test_help_says_what_process_does_not_promise(project: Project) -> None:
    for verb in ("run", "resume"):
        said = " ".join(project.runner(verb, "--help").out.split())
        assert "after a power cut, files written in the last half minute may be empty" in said
