"""What a job costs: file operations are counted, not seconds, so that nothing creeps in unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.core.commands import Change, Deliver, Discard, Move
from runner.core.model import Attempt, Status, Step
from runner.store import codec
from runner.store.files import Files
from runner.store.folders import FolderStore
from runner.store.inbox import Inbox, hand_in
from runner.store.runs import Journal
from tests.store.support import (
    RUN,
    CountingFiles,
    bind,
    claim,
    create,
    finish,
    finished,
    job_id,
    open_store,
    proposal,
    requeue,
    rewish,
)

N = 10


@pytest.fixture
def files() -> CountingFiles:
    return CountingFiles()


@pytest.fixture
def store(tmp_path: Path, files: CountingFiles) -> Iterator[FolderStore]:
    with open_store(tmp_path, files=files) as store:
        yield store


def stage(store: FolderStore, number: int, done: bool = False) -> str:
    job = codec.new_file(proposal(number), ())
    return store.stage(job_id(number), codec.encode(finished(job) if done else job))


def test_a_job_s_walk(store: FolderStore, files: CountingFiles) -> None:
    """The floor is one write and two renames; what the runner itself does is three renames and an unlink, no look."""
    staged = [stage(store, n) for n in range(N)]
    created = [create(n, staged=name) for n, name in enumerate(staged)]
    assert files.during(lambda: store.carry_out(created)) == {"rename": N}
    assert files.during(lambda: store.carry_out([claim(n) for n in range(N)])) == {"rename": N}
    records = [stage(store, n, done=True) for n in range(N)]
    done = [finish(n, name) for n, name in enumerate(records)]
    assert files.during(lambda: store.carry_out(done)) == {"exchange": N, "rename": N}
    assert files.during(store.tidy) == {"unlink": N}
    assert files.during(store.tidy) == {}


def test_a_new_job_is_one_file_more(store: FolderStore, files: CountingFiles) -> None:
    assert files.during(lambda: store.carry_out([create(n) for n in range(N)])) == {"write": N, "rename": N}


def test_a_claim_right_after_the_creation_reads_nothing(store: FolderStore, files: CountingFiles) -> None:
    store.carry_out([create(n) for n in range(N)])

    def launch() -> None:
        for n in range(N):
            store.carry_out([claim(n)])
            store.read_bytes(job_id(n), Status.RUNNING)

    assert files.during(launch) == {"rename": N}


def test_power_costs_one_sync_a_call_that_writes(tmp_path: Path, files: CountingFiles) -> None:
    with open_store(tmp_path, files=files, durability="power") as store:
        made = files.during(lambda: store.carry_out([create(n) for n in range(N)]))
        assert made == {"write": N, "rename": N, "sync_filesystem": 1}
        assert files.during(lambda: store.carry_out([claim(n) for n in range(N)])) == {"rename": N}
        assert files.during(store.sync) == {"sync_filesystem": 1}
        records = [stage(store, n, done=True) for n in range(N)]
        store.sync()
        done = [finish(n, name) for n, name in enumerate(records)]
        assert files.during(lambda: store.carry_out(done)) == {"exchange": N, "rename": N}


def test_without_exchange_a_record_costs_two_renames(store: FolderStore, files: CountingFiles) -> None:
    files.exchange = lambda *_: False  # type: ignore[method-assign]
    store.carry_out([create(1), claim(1)])
    record = stage(store, 1, done=True)
    assert files.during(lambda: store.carry_out([finish(1, record)])) == {"rename": 2}
    assert files.during(store.tidy) == {}


def test_new_content_is_one_file_and_one_exchange(store: FolderStore, files: CountingFiles) -> None:
    store.carry_out([create(1)])
    store.shelf.forget_all()
    changed = {"read": 1, "write": 1, "exchange": 1}
    assert files.during(lambda: store.carry_out([rewish(1, Status.PENDING, params={"n": 2})])) == changed
    store.shelf.forget_all()
    assert files.during(lambda: store.carry_out([bind(1, Status.PENDING, 4)])) == changed
    store.shelf.forget_all()
    block = Move(job_id(1), Status.PENDING, Status.BLOCKED, Step.BLOCK, change=Change())
    assert files.during(lambda: store.carry_out([block])) == {**changed, "rename": 1}


def test_a_wish_that_says_nothing_new_costs_a_read(store: FolderStore, files: CountingFiles) -> None:
    store.carry_out([create(n) for n in range(N)])
    store.shelf.forget_all()
    again = [rewish(n, Status.PENDING) for n in range(N)]
    assert files.during(lambda: store.carry_out(again)) == {"read": N}


def test_several_commands_on_a_job_read_it_once(store: FolderStore, files: CountingFiles) -> None:
    store.carry_out([create(1)])
    store.shelf.forget_all()
    many = [rewish(1, Status.PENDING, params={"n": n}) for n in range(5)]
    assert files.during(lambda: store.carry_out(many)) == {"read": 1, "write": 5, "exchange": 5}


def test_backward_moves_tell_the_readers_once_a_call(store: FolderStore, files: CountingFiles) -> None:
    store.carry_out([create(n) for n in range(N)])
    store.carry_out([claim(n) for n in range(N)])
    store.carry_out([Move(job_id(n), Status.RUNNING, Status.BLOCKED, Step.BLOCK) for n in range(N)])
    first = [Move(job_id(0), Status.BLOCKED, Status.PENDING, Step.UNBLOCK)]
    assert files.during(lambda: store.carry_out(first)) == {"rename": 1, "overwrite": 2, "read": 1}
    others = [Move(job_id(n), Status.BLOCKED, Status.PENDING, Step.UNBLOCK) for n in range(1, N)]
    assert files.during(lambda: store.carry_out(others)) == {"rename": N - 1, "overwrite": 2}
    died = Change(attempt=Attempt(outcome="died", type="", message=""))
    store.carry_out([claim(n) for n in range(N)])
    back = [requeue(n, died) for n in range(N)]
    expected = {"read": N, "write": N, "exchange": N, "rename": N, "overwrite": 2}
    store.shelf.forget_all()
    assert files.during(lambda: store.carry_out(back)) == expected


def test_outputs_and_leftovers(store: FolderStore, files: CountingFiles, tmp_path: Path) -> None:
    (tmp_path / ".a").write_text("x")
    deliver = Deliver(job_id(1), ((".a", "a"),))
    assert files.during(lambda: store.carry_out([deliver])) == {"rename": 1}
    assert files.during(lambda: store.carry_out([Discard(("x", "y"))])) == {"unlink": 2}


def test_leftovers_do_not_pile_up(store: FolderStore, files: CountingFiles) -> None:
    store.carry_out([create(1)])
    for n in range(2500):
        store.carry_out([rewish(1, Status.PENDING, params={"n": n + 5})])
    assert len(store.shelf.leftovers) < 2000
    taken = store.take_leftovers()
    assert len(taken) == len(set(taken)) > 0
    assert store.take_leftovers() == []
    for name in taken:
        Files().unlink(store.shelf.fds["tmp"], name)


def test_scans_and_recovery_grow_with_what_is_unfinished(store: FolderStore, files: CountingFiles) -> None:
    store.carry_out([create(n) for n in range(N)])
    store.carry_out([claim(n) for n in range(5)])
    store.carry_out([finish(n, stage(store, n, done=True)) for n in range(3)])
    store.shelf.forget_all()
    assert files.during(store.scan) == {"names": 7, "read": 2}
    assert files.during(store.recover) == {"names": 8, "read": (N - 3) + 1}


def test_an_empty_inbox_costs_one_listing(store: FolderStore, files: CountingFiles) -> None:
    inbox = Inbox(store)
    assert files.during(lambda: inbox.scan(0)) == {"names": 1}
    hand_in(store, [codec.new_file(proposal(n), ()) for n in range(N)])
    assert files.during(lambda: inbox.scan(0)) == {"names": 1, "stat": N, "read": N}


def test_many_jobs_are_handed_in_with_one_sync(store: FolderStore, files: CountingFiles) -> None:
    jobs = [codec.new_file(proposal(n), ()) for n in range(100)]
    made = files.during(lambda: hand_in(store, jobs))
    assert made == {"write": 100, "rename": 100, "sync_filesystem": 1, "sync_folder": 1}


def test_the_journal_writes_once_a_flush(store: FolderStore, files: CountingFiles) -> None:
    journal = Journal(store, RUN)

    def work() -> None:
        for n in range(100):
            journal.add({"id": job_id(n)})
        journal.flush()

    assert files.during(work) == {"append": 1, "stat": 1}
    assert files.during(work) == {"append": 1}
