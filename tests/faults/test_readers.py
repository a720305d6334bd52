"""Who looks beside a runner at full speed waits for nobody, and is told no lie: every job is there, once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from runner.core.model import Status
from runner.store.folders import FolderStore
from runner.views.listing import rows
from runner.views.reading import open_state
from runner.views.show import show
from runner.views.status import look
from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project
from tests.faults.conftest import TORTURE

LOOKS = 1_000 if TORTURE else 40  # in each situation, with jobs moving under them
JOBS = 2_000 if TORTURE else 600

TASKS = """
    from dataclasses import dataclass
    from pathlib import Path
    from runner import RetryLater, Task

    @dataclass
    class Noop(Task):
        number: int

        def run(self):
            return None

    @dataclass
    class Shaky(Task):
        number: int
        retries = 8
        backoff = 0.0

        def run(self):
            raise RuntimeError("503 Service Unavailable")

    def noops(count: int):
        return [Noop(number) for number in range(count)]

    def shaky(count: int):
        return [Shaky(number) for number in range(count)]
"""


class Reader:
    """Looks as the verbs do, and knows what must be there: whoever was there before, and nobody twice."""

    def __init__(self, project: Project, struck: Counter[str], seed: int) -> None:
        self.project, self.struck, self.chance = project, struck, random.Random(seed)
        self.sure: set[str] = set()  # ids that some look has seen, and nobody takes away
        self.least = 0
        self.looks = 0  # with jobs moving under them

    def look(self) -> None:
        """One look. It struck, if jobs moved under it."""
        verb = self.chance.choice([self.status, self.status, self.list, self.show])
        before = self.moves()
        with open_state(self.project.state, self.project.root) as store:
            verb(store)
        if self.moves() != before:
            self.looks += 1
            self.struck[f"{verb.__name__} beside moves"] += 1

    def moves(self) -> list[int]:
        return [os.stat(self.project.state / status).st_mtime_ns for status in ("pending", "running", "done", "failed")]

    def status(self, store: FolderStore) -> None:
        known = len(self.sure)
        state = look(store, time.time())
        assert state.total == sum(state.statuses.values()) == sum(sum(each.values()) for each in state.tasks.values())
        self.struck["told as moving"] += state.moving
        assert max(known, self.least) <= state.total <= JOBS or state.moving, f"{known}, {self.least}: {state}"
        if not state.moving:
            self.least = state.total

    def list(self, store: FolderStore) -> None:
        wanted = self.chance.choice([(), (), *((status,) for status in Status)])
        known = frozenset(self.sure)
        listed = [row.id for row in rows(store, statuses=wanted)]
        assert len(set(listed)) == len(listed)
        if not wanted:
            assert not known - set(listed), f"not listed, and there: {known - set(listed)}"
        self.sure.update(listed)

    def show(self, store: FolderStore) -> None:
        if not self.sure:
            self.sure.update(store.scan())
        for id in self.chance.sample(sorted(self.sure), min(10, len(self.sure))):
            shown = show(store, id)
            assert (shown.id, shown.problem) == (id, None)
            assert shown.job is not None
            assert shown.job.id == id

    def accompany(self, process: subprocess.Popen[bytes], until: Callable[[], bool] = lambda: False) -> None:
        while process.poll() is None and not until():
            self.look()


@pytest.fixture
def reader(project: Project, struck: Counter[str], seed: int) -> Reader:
    project.module("swift", TASKS)
    return Reader(project, struck, seed)


def start(reader: Reader, *words: str) -> subprocess.Popen[bytes]:
    process = reader.project.start(*words, "-q", "--workers", "1", *QUICK)
    processes.wait_until("there is something to look at", reader.project.state.joinpath("locks").exists, 60)
    return process


def nights(reader: Reader, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """One run after the other, until there were enough looks."""
    while reader.looks < LOOKS:
        process = start(reader, *words)
        yield process
        assert process.wait(timeout=60) in (0, 1, -signal.SIGKILL), reader.project.said()


NOOPS = ("run", "jobs.swift:noops", f"count={JOBS}")


@pytest.mark.timeout(600)
def test_while_a_large_batch_enters(reader: Reader) -> None:
    """And while its first jobs are done already. The state is thrown away for the next one."""
    for process in nights(reader, *NOOPS):
        reader.accompany(process)
        check_state(reader.project.root)
        assert process.wait() == 0
        reader.look()
        reader.project.state.rename(reader.project.root / f"state-{reader.looks}")
        reader.sure.clear()
        reader.least = 0


@pytest.mark.timeout(600)
def test_while_all_that_was_done_is_done_again(reader: Reader) -> None:
    """The second night: a thousand jobs go from done/ back to pending/."""
    assert start(reader, *NOOPS).wait(timeout=60) == 0
    for process in nights(reader, *NOOPS, "--force"):
        reader.accompany(process)
    assert reader.project.counts() == {"done": JOBS}


@pytest.mark.timeout(600)
def test_while_jobs_are_tried_again_and_again(reader: Reader) -> None:
    """From running/ back to pending/, many times a second, each of them."""
    count = JOBS // 3
    for process in nights(reader, "run", "jobs.swift:shaky", f"count={count}"):
        reader.accompany(process)
    assert reader.project.counts() == {"failed": count}


@pytest.mark.timeout(600)
def test_while_runners_die_and_others_recover(reader: Reader) -> None:
    """The dead one's jobs go back to pending/; a death within such moves leaves a mark that nobody may wait for."""
    assert start(reader, *NOOPS).wait(timeout=60) == 0
    words = (*NOOPS, "--force")
    for process in nights(reader, *words):
        goal = reader.looks + reader.chance.randint(1, 12)
        reader.accompany(process, until=lambda goal=goal: reader.looks >= goal)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            reader.struck["kill"] += process.wait() == -signal.SIGKILL
            reader.look()
    reader.project.all_gone(process)
    check_state(reader.project.root)


@pytest.mark.timeout(600)
def test_beside_a_runner_that_stands_still(reader: Reader) -> None:
    """Stopped in the middle of whatever it was at: it holds its lock, and nobody waits for that."""
    assert start(reader, *NOOPS).wait(timeout=60) == 0
    for process in nights(reader, *NOOPS, "--force"):
        while process.poll() is None:
            goal = reader.looks + reader.chance.randint(1, 5)
            reader.accompany(process, until=lambda goal=goal: reader.looks >= goal)
            process.send_signal(signal.SIGSTOP)
            reader.struck["standstill"] += process.poll() is None
            for _ in range(3):
                reader.look()
            process.send_signal(signal.SIGCONT)
    assert reader.project.counts() == {"done": JOBS}


@pytest.mark.timeout(600)
def test_by_the_command_line(reader: Reader) -> None:
    """The same by the verbs themselves: whatever they tell is true, and there is no traceback."""
    project = reader.project
    assert start(reader, *NOOPS).wait(timeout=60) == 0
    ids = sorted(project.ids("done"))
    wanted = 100 if TORTURE else 6
    while reader.struck["verb"] < wanted:
        process = start(reader, *NOOPS, "--force")
        while process.poll() is None:
            before = reader.moves()
            state = json.loads(project.runner("status", "--json").out)
            assert state["total"] == sum(state["statuses"].values())
            assert state["total"] == JOBS or state["moving"]
            listed = [row["id"] for row in json.loads(project.runner("list", "--json").out)["jobs"]]
            assert sorted(listed) == ids
            id = reader.chance.choice(ids)
            shown = json.loads(project.runner("show", id, "--json").out)
            assert (shown["id"], shown["job"]["id"], shown["problem"]) == (id, id, None)
            reader.struck["verb"] += 3 * (reader.moves() != before)
        assert process.wait() == 0, project.said()
