"""FolderStore and MemoryStore, told the same, hold the same jobs; and a crash anywhere leaves a prefix of the commands.

MemoryStore does one command after the other on dicts. FolderStore plans a whole call ahead, writes, syncs and renames.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.commands import Bind, Change, Create, Deliver, Discard, Move, Rewish
from runner.core.model import TRANSITIONS, Attempt, Status, Step
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import Files
from runner.store.memory import MemoryStore
from tests.store.support import NOW, RUN, Crash, FaultyFiles, contents, finished, job_id, names, open_store, proposal

Jobs = dict[str, tuple[Status, JobFile]]

# What is to be done next, in numbers: to which job, and in which variant. `Driver` makes commands of it.
acts = st.tuples(
    st.sampled_from(["create", "move", "move", "move", "rewish", "bind", "deliver", "discard"]),
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(0, 9),
)
calls = st.lists(st.lists(acts, max_size=8), max_size=6)


class NoExchange(Files):
    """As on a file system that cannot exchange."""

    def exchange(self, folder: int, name: str, to_folder: int, to_name: str) -> bool:
        return False


class Driver:
    """Makes legal commands of random numbers, does each on the MemoryStore, and gathers them for the other."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.memory = MemoryStore(clock=lambda: NOW)
        self.memory.run = RUN
        self.staged = 0
        self.claimed: dict[str, JobFile] = {}  # as its worker was given it
        self.states: list[Jobs] = [{}]  # what may be on disk, after each command and within it

    def call(self, wanted: Sequence[tuple[str, int, int, int]]) -> list[Any]:
        self.states = [contents(self.memory)]
        self.made: dict[str, int] = {}  # jobs that this call creates: in which state they are first there
        commands = []
        for kind, number, one, other in wanted:
            command = getattr(self, kind)(number, one, other)
            if command is not None:
                self.memory.do(command)
                self.within(command)
                self.states.append(contents(self.memory))
                commands.append(command)
                if isinstance(command, Create):
                    if command.proposal.staged is None or command.after == command.proposal.after:
                        self.made[command.proposal.id] = len(self.states) - 1
                elif isinstance(command, Move):
                    self.at_once(command)
        return commands

    def at_once(self, move: Move) -> None:
        """A new job that is claimed in the same call, as it was created, goes to running/ straight away."""
        first = self.made.pop(move.id, None)
        if first is None or move.step is not Step.CLAIM or move.change is not None or move.record is not None:
            return
        job = self.memory.read(move.id, move.target)
        if self.states[first][move.id][1] == job:
            for state in self.states[first:]:
                state[move.id] = (move.target, job)

    def within(self, command: Any) -> None:
        """A move with new content is two renames: the content first."""
        if not isinstance(command, Move):
            return
        if command.step is Step.CLAIM:
            self.claimed[command.id] = self.memory.read(command.id, command.target)
        after = self.memory.read(command.id, command.target)
        self.states.append({**self.states[-1], command.id: (command.source, after)})

    def stage(self, id: str, job: JobFile) -> str:
        data = codec.encode(job)
        name = str(self.store.stage(id, data))
        self.memory.tmp[name] = data
        return name

    def wish(self, number: int, one: int, other: int) -> dict[str, Any]:
        return {
            "params": {"n": [1, 1.0, True, "ü", None][one % 5]},
            "found_by": job_id(8) if other % 2 else None,
            "after": (job_id(9),) if other % 3 else (),
            "submitted": other == 7,
            "depth": other % 2,
        }

    def create(self, number: int, one: int, other: int) -> Create | None:
        id = job_id(number)
        if self.memory.find(id) is not None:
            return None
        wanted = proposal(number, **self.wish(number, one, other))
        if one % 3 == 0:
            return Create(wanted, wanted.after)
        job = codec.new_file(wanted, wanted.after)
        if other % 2:
            job = replace(finished(job), retries_from=1, extra={"theirs": 1})
        staged = replace(wanted, staged=self.stage(id, job))
        return Create(staged, wanted.after if one % 3 == 1 else (*wanted.after, job_id(7)))

    def rewish(self, number: int, one: int, other: int) -> Rewish | None:
        status = self.memory.find(job_id(number))
        wanted = proposal(number, **self.wish(number, one, other))
        return None if status is None else Rewish(wanted, wanted.after, status)

    def bind(self, number: int, one: int, other: int) -> Bind | None:
        status = self.memory.find(job_id(number))
        return None if status is None else Bind(job_id(number), status, (job_id(one), job_id(other)))

    def move(self, number: int, one: int, other: int) -> Move | None:
        id = job_id(number)
        status = self.memory.find(id)
        steps = [(step, target) for (source, step), target in TRANSITIONS.items() if source is status]
        if status is None or not steps:
            return None
        step, target = steps[one % len(steps)]
        record = change = None
        if status is Status.RUNNING and other % 2:
            record = self.stage(id, finished(self.claimed[id]))
        if other % 3 == 0:
            attempt = Attempt(outcome="died", type="T", message="m", seconds=1.5) if other else None
            change = Change(attempt=attempt, retry_in=9.0 if one % 2 else None, reset_retries=other == 3)
        return Move(id, status, target, step, record=record, change=change)

    def deliver(self, number: int, one: int, other: int) -> Deliver:
        root = Path(self.store.root)
        self.staged += 1
        staging, final, gone = f".out-{self.staged}", f"out{one}", f"out{other}"
        if number:
            (root / staging).write_text(f"{number}")
            self.memory.outputs[staging] = b"%d" % number
        there = staging in self.memory.outputs or final in self.memory.outputs
        return Deliver(job_id(number), ((staging, final),) if there else (), (gone,) if number == 2 else ())

    def discard(self, number: int, one: int, other: int) -> Discard:
        name = self.stage(job_id(number), codec.new_file(proposal(number), ()))
        return Discard((name, f"never-{one}"))


def files_below(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@contextmanager
def a_folder() -> Any:
    path = Path(tempfile.mkdtemp(prefix="agreement-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


@settings(max_examples=200, deadline=None)
@given(calls, st.lists(st.booleans(), min_size=6, max_size=6), st.booleans(), st.booleans())
def test_both_stores_hold_the_same_jobs(
    wanted: list[list[tuple[str, int, int, int]]], restarts: list[bool], can_exchange: bool, power: bool
) -> None:
    options = {"files": Files() if can_exchange else NoExchange(), "durability": "power" if power else "process"}
    with a_folder() as folder:
        store = open_store(folder, **options)
        driver = Driver(store)
        memory = driver.memory
        for call, restart in zip(wanted, restarts, strict=False):
            commands = driver.call(call)
            store.carry_out(commands)
            assert contents(store) == contents(memory)
            for id, status in memory.scan().items():
                assert store.find(id) is status
                assert codec.decode(store.read_bytes(id, status)) == memory.read(id, status)
            outputs = {name: path.read_bytes() for path in folder.iterdir() if path.is_file() for name in [path.name]}
            assert outputs == memory.outputs
            assert files_below(folder / "state" / "trash") == memory.trash
            store.tidy()
            assert names(store, "tmp") == sorted(memory.tmp)
            if restart:
                store.close()
                store = driver.store = open_store(folder, **options)
                for name in names(store, "tmp"):  # its writer is this process, and lives: a recovery leaves it
                    (folder / "state" / "tmp" / name).unlink()
                statuses, found = store.recover()
                expected, unfinished = memory.recover()
                assert statuses == expected
                assert sorted(found, key=lambda each: each[0].id) == sorted(unfinished, key=lambda each: each[0].id)
                lost = [job.id for job, status, _ in found if status is Status.RUNNING]
                back = [Move(id, Status.RUNNING, Status.PENDING, Step.REQUEUE, change=Change()) for id in lost]
                store.carry_out(back)
                memory.carry_out(back)
        store.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(acts, max_size=10), st.lists(acts, min_size=1, max_size=6), st.booleans())
@example([], [("create", 0, 2, 0), ("move", 0, 0, 1)], False)  # one that brings its history: two renames, when claimed
def test_a_crash_at_any_call_leaves_a_prefix_of_the_commands(
    before: list[tuple[str, int, int, int]], call: list[tuple[str, int, int, int]], power: bool
) -> None:
    """Every job in one folder, every file whole, and the state one that the commands go through, in their order."""
    durability = "power" if power else "process"
    at = 0
    crashed = True
    reached = 0
    while crashed:
        at += 1
        with a_folder() as folder:
            files = FaultyFiles()
            store = open_store(folder, files=files, durability=durability)
            driver = Driver(store)
            store.carry_out(driver.call(before))
            commands = driver.call(call)
            files.at = files.calls + at
            try:
                store.carry_out(commands)
                crashed = False
            except Crash:
                pass
            store.shelf.files = Files()
            store.close()
            with open_store(folder) as again:
                statuses, _ = again.recover()
                found = contents(again)
                assert statuses == {id: status for id, (status, _) in found.items()}
                assert names(again, "quarantine") == []
                assert found in driver.states[reached:], "and never back to an earlier one"
                reached = driver.states.index(found, reached)
    assert found == driver.states[-1]
