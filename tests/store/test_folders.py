"""FolderStore: what each command makes of the disk, what recovery finds, who is let in."""

from __future__ import annotations

import errno
import grp
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from filelock import FileLock
from msgspec.structs import replace

from runner.core.commands import Change, Deliver, Discard, Move
from runner.core.model import Attempt, Status, Step
from runner.errors import BadJobFile, Busy, NewerSchema, StateError
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.files import Files
from runner.store.folders import FolderStore
from runner.store.lock import announce
from tests.store.support import (
    NOW,
    RUN,
    CountingFiles,
    DurableFiles,
    FaultyFiles,
    bind,
    claim,
    contents,
    create,
    finish,
    finished,
    job_id,
    names,
    open_store,
    proposal,
    put,
    requeue,
    rewish,
)

PENDING, RUNNING, DONE = Status.PENDING, Status.RUNNING, Status.DONE
FAILED, BLOCKED, CANCELLED, QUARANTINE = Status.FAILED, Status.BLOCKED, Status.CANCELLED, Status.QUARANTINE
DIED = Attempt(outcome="died", type="WorkerDied", message="killed by signal 9", seconds=2.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FolderStore]:
    with open_store(tmp_path) as store:
        yield store


def record(store: FolderStore, number: int, outputs: dict[str, int] | None = None) -> str:
    job = codec.decode(store.read_bytes(job_id(number), RUNNING))
    return store.stage(job_id(number), codec.encode(finished(job, outputs)))


# ------------------------------------------------------------------------------------------------- who is let in


def test_the_folders_of_the_contract_are_made_and_closed_to_others(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with open_store(tmp_path) as store:
            made = names(store, ".")
            store.carry_out([create(1)])
    finally:
        os.umask(old)
    statuses = [status.value for status in Status]
    assert made == sorted([*statuses, "inbox", "runs", "logs", "trash", "tmp", "locks", "cache"])
    for path in (tmp_path / "state", *(tmp_path / "state").rglob("*")):
        assert path.stat().st_mode & 0o022 == 0, path


def test_two_that_make_the_same_state_at_once(tmp_path: Path) -> None:
    class Second(Files):
        """Somebody else makes each folder just before."""

        def mkdir(self, folder: int, name: str, mode: int = 0o755) -> None:
            os.mkdir(name, mode, dir_fd=folder)
            super().mkdir(folder, name, mode)

    with FolderStore(tmp_path / "state", files=Second()) as store:
        assert store.scan() == {}


@pytest.mark.parametrize("folder", [".", "pending", "inbox", "tmp", "locks"])
def test_a_state_that_others_may_write_to_is_refused(tmp_path: Path, folder: str) -> None:
    open_store(tmp_path).close()
    (tmp_path / "state" / folder).chmod(0o757)
    with pytest.raises(StateError, match="chmod go-w"):
        open_store(tmp_path)


@pytest.mark.root
def test_a_group_may_write_if_it_is_the_users_own(tmp_path: Path) -> None:
    """A umask of 002 and a group for each user are the default on many systems."""
    open_store(tmp_path).close()
    (tmp_path / "state" / "pending").chmod(0o775)
    open_store(tmp_path).close()
    os.chown(tmp_path / "state" / "pending", -1, grp.getgrnam("daemon").gr_gid)
    with pytest.raises(StateError, match="chmod go-w"):
        open_store(tmp_path)


@pytest.mark.root
def test_a_state_of_somebody_else_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    os.chown(tmp_path / "state" / "done", 65534, 65534)
    with pytest.raises(StateError, match="uid 65534"):
        open_store(tmp_path)


def test_a_symlink_or_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    folder = tmp_path / "state" / "done"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="state/done is no folder"):
        open_store(tmp_path)
    folder.unlink()
    folder.write_text("x")
    with pytest.raises(StateError, match="state/done is no folder"):
        open_store(tmp_path)


def test_a_look_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no state folder"):
        open_store(tmp_path, create=False)
    (tmp_path / "state").mkdir(mode=0o755)
    with open_store(tmp_path, create=False) as store:
        assert store.scan() == {}
        assert store.find(job_id(1)) is None
        assert store.holder() is None
        with pytest.raises(FileNotFoundError):
            store.read(job_id(1), DONE)
    assert list((tmp_path / "state").iterdir()) == []


def test_closing_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    with open_store(tmp_path) as store, store.lock():
        store.carry_out([create(1), claim(1)])
    (tmp_path / "state" / "done").chmod(0o777)
    with pytest.raises(StateError):
        open_store(tmp_path)
    assert len(os.listdir("/dev/fd")) == before


def _hold(path: Path, ready: multiprocessing.connection.Connection) -> None:  # type: ignore[name-defined]
    with open_store(path) as store, store.lock({"run": RUN, "target": "jobs.x:flow"}):
        ready.send(os.getpid())
        ready.recv()


def test_one_runner_at_a_time(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path, there))
    other.start()
    pid = here.recv()
    with open_store(tmp_path) as store:
        with pytest.raises(Busy, match=rf"pid {pid} on .*run {RUN}"), store.lock():
            pass
        holder = store.holder()
        assert holder is not None
        assert (holder.pid, holder.run, holder.info, holder.alive) == (pid, RUN, {"target": "jobs.x:flow"}, True)
        other.kill()
        other.join()
        assert not holder.alive
        with store.lock({"run": "later"}):
            found = store.holder()
            assert found is not None
            assert (found.pid, found.run) == (os.getpid(), "later")
            with open_store(tmp_path) as second, pytest.raises(Busy), second.lock():
                pass
        assert sorted(n for n in names(store, "locks") if n.startswith("runner")) == ["runner.json", "runner.lock"]
        with store.lock():
            pass


def test_who_has_the_lock_and_has_not_said_so_yet_is_waited_for(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "state" / "locks" / "runner.lock")
    with open_store(tmp_path) as first, open_store(tmp_path) as second, lock:
        saying = threading.Timer(0.1, announce, (first.shelf, {"run": RUN}))
        saying.start()
        with pytest.raises(Busy, match=rf"pid {os.getpid()} on .*run {RUN}"), second.lock():
            pass
        saying.join()


# ----------------------------------------------------------------------------------------------------- commands


def test_a_job_s_walk(store: FolderStore) -> None:
    store.carry_out([create(1, params={"a": "ü"}, depth=1, found_by=job_id(7), after=(job_id(7),))])
    assert store.scan() == {job_id(1): PENDING}
    job = store.read(job_id(1), PENDING)
    assert (job.params, job.depth, job.found_by, job.after) == ({"a": "ü"}, 1, job_id(7), (job_id(7),))
    store.carry_out([claim(1)])
    whole = finished(job)
    store.carry_out([finish(1, store.stage(job_id(1), codec.encode(whole)))])
    assert contents(store) == {job_id(1): (DONE, whole)}
    store.tidy()
    assert names(store, "tmp") == []


def test_a_staged_file_becomes_the_job(store: FolderStore) -> None:
    inner = codec.new_file(proposal(1), ())
    staged = store.stage(job_id(1), codec.encode(inner))
    inode = os.stat(f"{store.tmp_path}/{staged}").st_ino
    store.carry_out([create(1, staged=staged)])
    assert os.stat(f"{store.path}/pending/{job_id(1)}.json").st_ino == inode
    assert names(store, "tmp") == []


def test_a_staged_file_with_other_upstream_jobs_keeps_its_history(store: FolderStore) -> None:
    old = finished(codec.new_file(proposal(1), ()))
    staged = store.stage(job_id(1), codec.encode(old))
    wanted = create(1, staged=staged)
    store.carry_out([type(wanted)(wanted.proposal, (job_id(2),))])
    assert store.read(job_id(1), PENDING) == replace(old, after=(job_id(2),))
    assert names(store, "tmp") == []


def test_a_new_job_that_a_worker_waits_for_takes_one_rename(tmp_path: Path) -> None:
    files = CountingFiles()
    with open_store(tmp_path, files=files) as store:
        commands = [create(1), create(2), claim(1), create(3), rewish(3, Status.PENDING, task="tasks:Other"), claim(3)]
        counts = files.during(lambda: store.carry_out(commands))
        assert store.scan() == {
            job_id(1): Status.RUNNING,
            job_id(2): Status.PENDING,
            job_id(3): Status.RUNNING,
        }
        assert counts["rename"] == 4, "one each, and one more for the third, which was changed in between"
        assert store.read(job_id(3), Status.RUNNING).task == "tasks:Other"


def test_what_was_written_ahead_needs_only_its_rename_and_no_sync_of_its_own(tmp_path: Path) -> None:
    files = CountingFiles()
    with open_store(tmp_path, files=files, durability="power") as store:
        ahead = [create(1), create(2), create(3, after=(job_id(9),))]
        assert store.write_ahead(ahead)
        assert store.scan() == {}
        store.sync()
        counts = files.during(lambda: store.carry_out(ahead))
        assert (counts.get("write", 0), counts["rename"], counts.get("sync_filesystem", 0)) == (0, 3, 0)
        assert store.read(job_id(3), Status.PENDING).after == (job_id(9),)
        late = [create(4)]
        assert store.write_ahead(late)
        counts = files.during(lambda: store.carry_out(late))
        assert counts["sync_filesystem"] == 1, "it was written after the last sync"


def test_what_was_written_ahead_for_another_wish_is_thrown_away(store: FolderStore) -> None:
    store.write_ahead([create(1, depth=1)])
    other = create(1, depth=2)
    store.carry_out([other])
    assert store.read(job_id(1), Status.PENDING).depth == 2
    assert os.listdir(store.tmp_path) == []


def test_what_a_worker_has_staged_or_is_no_id_is_not_written_ahead(store: FolderStore) -> None:
    assert not store.write_ahead([create(1, staged="a.json"), create(2, id="../x")])
    assert os.listdir(store.tmp_path) == []


def test_a_new_job_s_id_cannot_lead_out_of_the_state(store: FolderStore) -> None:
    for id in ("../x", "/etc/x", "a/b-0123456789abcdef", "x", ""):
        with pytest.raises(BadJobFile, match="no job id"):
            store.carry_out([create(1, id=id)])
        with pytest.raises(BadJobFile, match="no job id"):
            store.read(id, PENDING)
        assert store.find(id) is None


def test_a_change_is_written_before_the_move(store: FolderStore) -> None:
    change = Change(attempt=DIED, retry_in=60)
    store.carry_out([create(1), claim(1), requeue(1, change)])
    job = store.read(job_id(1), PENDING)
    assert job.attempts == [
        {
            "run": RUN,
            "started": codec.stamp(NOW - 2),
            "seconds": 2.0,
            "outcome": "died",
            "error": {"type": "WorkerDied", "message": "killed by signal 9", "traceback": ""},
            "retry_in": 60,
        }
    ]
    assert job.not_before == codec.stamp(NOW + 60)
    assert job.retries_from == 0
    store.carry_out([claim(1), requeue(1, Change(reset_retries=True))])
    job = store.read(job_id(1), PENDING)
    assert (len(job.attempts), job.retries_from, job.not_before) == (1, 1, None)


def test_several_commands_on_one_job_in_one_call(store: FolderStore) -> None:
    staged = store.stage(job_id(1), codec.encode(codec.new_file(proposal(1), ())))
    store.carry_out(
        [
            create(1, staged=staged),
            rewish(1, PENDING, params={"n": 2}),
            claim(1),
            requeue(1, Change(attempt=DIED)),
            bind(1, PENDING, 5),
            Move(job_id(1), PENDING, BLOCKED, Step.BLOCK),
            rewish(1, BLOCKED, params={"n": 3}, after=(job_id(5),)),
            Move(job_id(1), BLOCKED, PENDING, Step.UNBLOCK),
        ]
    )
    job = store.read(job_id(1), PENDING)
    assert (job.params, job.after, len(job.attempts)) == ({"n": 3}, (job_id(5),), 1)
    store.tidy()
    assert names(store, "tmp") == []


def test_a_change_after_moves_of_the_same_call_reads_the_file_where_it_still_is(store: FolderStore) -> None:
    store.carry_out([create(1)])
    store.shelf.recent.clear()
    store.carry_out([claim(1), requeue(1, Change(attempt=DIED)), claim(1)])
    assert len(store.read(job_id(1), RUNNING).attempts) == 1


def test_a_wish_that_says_nothing_new_writes_nothing(store: FolderStore) -> None:
    store.carry_out([create(1)])
    path = Path(store.path, PENDING, f"{job_id(1)}.json")
    before = path.stat()
    store.carry_out([rewish(1, PENDING), bind(1, PENDING)])
    assert path.stat() == before


def test_a_wish_given_to_a_running_job_outlives_its_worker_s_record(store: FolderStore) -> None:
    for step in (
        lambda staged: finish(1, staged),
        lambda staged: Move(job_id(1), RUNNING, FAILED, Step.FAIL, record=staged),
    ):
        store.carry_out([create(1), claim(1)])
        staged = record(store, 1)
        store.carry_out([rewish(1, RUNNING, params={"n": 5}, found_by=job_id(9), after=(job_id(3),))])
        move = step(staged)
        store.carry_out([move])
        job = store.read(job_id(1), move.target)
        assert (job.params, job.found_by, job.after) == ({"n": 5}, job_id(9), (job_id(3),))
        assert (len(job.attempts), job.result is not None) == (1, True)
        store.tidy()
        assert names(store, "tmp") == []
        os.unlink(f"{store.path}/{move.target}/{job_id(1)}.json")


def test_a_new_upstream_job_outlives_a_running_job_s_record(store: FolderStore) -> None:
    store.carry_out([create(1), claim(1)])
    staged = record(store, 1)
    store.carry_out([bind(1, RUNNING, 4)])
    store.carry_out([finish(1, staged)])
    assert store.read(job_id(1), DONE).after == (job_id(4),)


def test_the_next_claim_starts_from_the_newer_wish(store: FolderStore) -> None:
    store.carry_out([create(1), claim(1), rewish(1, RUNNING, params={"n": 5}), requeue(1, Change())])
    store.carry_out([claim(1)])
    staged = record(store, 1)
    assert codec.decode(Path(store.tmp_path, staged).read_bytes()).params == {"n": 5}
    store.carry_out([finish(1, staged)])
    assert store.read(job_id(1), DONE).params == {"n": 5}


def test_a_damaged_file_is_put_aside_when_its_job_is_wished_again(store: FolderStore) -> None:
    put(store, DONE, b"", f"{job_id(1)}.json")
    store.carry_out([rewish(1, DONE, params={"n": 5})])
    assert store.read(job_id(1), DONE) == codec.new_file(proposal(1, params={"n": 5}), ())
    assert names(store, "quarantine") == [f"{job_id(1)}.json", f"{job_id(1)}.json.reason.txt"]
    assert store.scan() == {job_id(1): DONE}
    store.carry_out([rewish(2, QUARANTINE)])


def test_outputs_are_delivered_and_what_became_absent_is_kept(store: FolderStore, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "in").mkdir(parents=True)
    (data / ".a.txt").write_text("new")
    (data / "a.txt").write_text("old")
    (data / "in" / "gone.txt").write_text("last night's")
    outside = tmp_path.parent / f"{tmp_path.name}-outside.txt"
    outside.write_text("far away")
    command = Deliver(job_id(1), (("data/.a.txt", "data/a.txt"),), ("data/in/gone.txt", "data/never.txt", str(outside)))
    for _ in range(2):  # done again after a crash: nothing is lost, nothing is refused
        store.carry_out([command])
        assert (data / "a.txt").read_text() == "new"
    trash = Path(store.path, "trash", RUN)
    assert (trash / "data/in/gone.txt").read_text() == "last night's"
    assert (trash / str(outside)[1:]).read_text() == "far away"
    (data / "in" / "gone.txt").write_text("again")
    store.carry_out([Deliver(job_id(1), (), ("data/in/gone.txt",))])
    assert (trash / "data/in/gone.txt").read_text() == "last night's"
    assert (trash / "data/in/gone.txt.2").read_text() == "again"


class Elsewhere(Files):
    """As if trash/ were on another disk than the outputs."""

    def rename(self, folder: int, name: str, to_folder: int, to_name: str) -> None:
        if to_name.startswith(RUN) and folder != self.tmp:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        super().rename(folder, name, to_folder, to_name)


def test_an_output_on_another_disk_is_copied_to_the_trash(tmp_path: Path) -> None:
    files = Elsewhere()
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    with open_store(tmp_path, files=files) as store:
        files.tmp = store.shelf.fds["tmp"]
        store.carry_out([Deliver(job_id(1), (), ("a",))])
        assert Path(store.path, "trash", RUN, "a").stat().st_size == 3_000_000
        assert not (tmp_path / "a").exists()
        assert names(store, "tmp") == []


def test_an_output_that_is_nowhere_stops_the_runner(store: FolderStore) -> None:
    store.carry_out([create(1)])
    with pytest.raises(StateError, match=r"neither .a nor a is there"):
        store.carry_out([Deliver(job_id(1), ((".a", "a"),)), claim(1)])
    assert store.scan() == {job_id(1): PENDING}, "what comes after it was not done"


def test_what_is_not_needed_is_discarded(store: FolderStore) -> None:
    staged = store.stage(job_id(1), b"x")
    store.carry_out([Discard((staged, "gone-already"))])
    assert names(store, "tmp") == []


def test_a_job_that_a_person_moves_to_the_inbox_meanwhile(store: FolderStore) -> None:
    """`mv` out of blocked/, failed/ or cancelled/ is anybody's right, at any time; the runner may not fall over it."""
    store.carry_out([create(n) for n in (1, 2, 3)])
    store.carry_out([Move(job_id(n), PENDING, BLOCKED, Step.BLOCK) for n in (1, 2, 3)])
    for n in (1, 2, 3):
        os.rename(f"{store.path}/blocked/{job_id(n)}.json", f"{store.path}/inbox/{job_id(n)}.json")
    assert store.read(job_id(1), BLOCKED).id == job_id(1)
    store.carry_out(
        [
            Move(job_id(1), BLOCKED, PENDING, Step.UNBLOCK),
            Move(job_id(2), BLOCKED, PENDING, Step.RETRY, change=Change(reset_retries=True)),
            rewish(3, BLOCKED, params={"n": 9}),
            Move(job_id(3), BLOCKED, PENDING, Step.RETRY),
        ]
    )
    assert store.scan() == {job_id(n): PENDING for n in (1, 2, 3)}
    assert store.read(job_id(3), PENDING).params == {"n": 9}
    assert names(store, "inbox") == [f"{job_id(n)}.json" for n in (2, 3)], "their wish is still to be carried out"


def test_a_job_that_is_gone_altogether_stops_the_runner(store: FolderStore) -> None:
    store.carry_out([create(2)])
    for _ in range(2):
        with pytest.raises(StateError, match="gone from blocked/"):
            store.carry_out([Move(job_id(1), BLOCKED, PENDING, Step.UNBLOCK), claim(2)])
    assert store.scan() == {job_id(2): PENDING}
    with open_store(Path(store.root)) as again, pytest.raises(FileNotFoundError):
        again.carry_out([claim(1)])


def test_bytes_are_right_whether_remembered_or_not(store: FolderStore) -> None:
    store.carry_out([create(1)])
    path = Path(store.path, PENDING, f"{job_id(1)}.json")
    assert store.read_bytes(job_id(1), PENDING) == path.read_bytes()
    store.carry_out([rewish(1, PENDING, params={"n": 7}), bind(1, PENDING, 4), claim(1)])
    path = Path(store.path, RUNNING, path.name)
    first = store.read_bytes(job_id(1), RUNNING)
    assert first == path.read_bytes()
    assert not store.shelf.recent
    assert store.read_bytes(job_id(1), RUNNING) == first
    store.carry_out([finish(1, record(store, 1))])
    assert store.read_bytes(job_id(1), DONE) == Path(store.path, DONE, path.name).read_bytes()


def test_what_is_remembered_is_bounded(store: FolderStore) -> None:
    large = "x" * (1 << 20)
    for n in range(40):
        store.carry_out([create(n, params={"a": large})])
    assert 10 << 20 < sum(map(len, store.shelf.recent.values())) <= 16 << 20
    assert job_id(0) in store.shelf.recent
    store.carry_out([rewish(0, PENDING, params={"a": large * 3})])
    assert job_id(0) not in store.shelf.recent
    assert store.read(job_id(0), PENDING).params == {"a": large * 3}
    store.carry_out([Move(job_id(n), PENDING, CANCELLED, Step.CANCEL) for n in range(40)])
    assert not store.shelf.recent
    store.carry_out([create(99)])
    assert list(store.shelf.recent) == [job_id(99)]


# --------------------------------------------------------------------------------------------------- durability


def _a_bit_of_everything(store: FolderStore) -> None:
    store.carry_out([create(n) for n in range(4)])
    store.carry_out([claim(n) for n in range(3)])
    staged = [record(store, n) for n in range(2)]
    store.sync()
    store.carry_out([finish(0, staged[0]), rewish(1, RUNNING, params={"n": 8}), finish(1, staged[1])])
    store.carry_out([requeue(2, Change(attempt=DIED)), bind(3, PENDING, 1), create(9, after=(job_id(3),))])
    store.sync()


@pytest.mark.parametrize("syncfs", [True, False])
def test_in_power_mode_nothing_is_renamed_before_it_is_durable(tmp_path: Path, syncfs: bool) -> None:
    files = DurableFiles(syncfs=syncfs)
    with open_store(tmp_path, durability="power", files=files) as store:
        _a_bit_of_everything(store)
    assert files.renamed > 15
    assert files.syncs <= 6


def test_in_process_mode_nothing_is_synced(tmp_path: Path) -> None:
    files = DurableFiles()
    with open_store(tmp_path, files=files) as store, pytest.raises(AssertionError, match="before it is durable"):
        _a_bit_of_everything(store)
    assert files.syncs == 0


def test_one_sync_for_all_files_of_a_call_and_none_for_moves(tmp_path: Path) -> None:
    files = DurableFiles()
    with open_store(tmp_path, durability="power", files=files) as store:
        store.carry_out([create(n) for n in range(50)])
        assert files.syncs == 1
        store.carry_out([claim(n) for n in range(50)])
        assert files.syncs == 1


def test_of_two_syncs_at_once_neither_misses_the_error_of_the_other(tmp_path: Path) -> None:
    class Tells(Files):  # the kernel tells of an error once
        told = threading.Event()

        def sync_filesystem(self, folder: int) -> bool:
            if threading.current_thread() is threading.main_thread():
                return True
            self.told.set()
            time.sleep(0.1)
            raise OSError(errno.EIO, "told once")

    def other() -> None:
        with pytest.raises(OSError, match="told once"):
            store.sync()

    files = Tells()
    with open_store(tmp_path, files=files, durability="power") as store:
        thread = threading.Thread(target=other)
        thread.start()
        assert files.told.wait(5)
        with pytest.raises(StateError, match="told once"):
            store.carry_out([create(1)])
        thread.join()
        assert store.scan() == {}


def test_after_a_failed_sync_nothing_is_moved_any_more(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    files = FaultyFiles(error=OSError(5, "Input/output error"))
    with open_store(tmp_path, durability="power", files=files) as store:
        store.carry_out([create(1)])
        files.at = files.calls + 2  # the sync after the write
        with pytest.raises(OSError, match="Input/output"):
            store.carry_out([create(2), claim(1)])
        files.at = None
        for again in (lambda: store.carry_out([claim(1)]), store.sync):
            with pytest.raises(StateError, match="sync failed"):
                again()
        assert store.scan() == {job_id(1): PENDING}


def test_what_cannot_be_tidied_hides_no_error(tmp_path: Path) -> None:
    """A disk that dies: what it died of is told, not that it is dead when the store is closed."""
    open_store(tmp_path).close()
    files = FaultyFiles(error=OSError(5, "Input/output error"))
    store = open_store(tmp_path, files=files)
    store.carry_out([create(1), claim(1), requeue(1, Change())])
    assert store.shelf.leftovers
    files.at = files.calls + 1
    store.close()
    assert not store.shelf.fds


# ----------------------------------------------------------------------------------------------------- recovery


def dead_writer() -> str:
    pid = os.fork()
    if pid == 0:  # pragma: no cover
        os._exit(0)
    os.waitpid(pid, 0)
    return f"{pid}-77."


def test_recovery_sweeps_what_dead_writers_left(store: FolderStore) -> None:
    mine = store.stage(job_id(1), b"x")
    Path(store.tmp_path, f"{dead_writer()}1.x").write_text("x")
    Path(store.tmp_path, "not-ours").write_text("x")
    assert store.recover() == ({}, [])
    assert names(store, "tmp") == sorted([mine, "not-ours"])


def test_recovery_tells_what_is_unfinished_and_reads_nothing_else(store: FolderStore) -> None:
    jobs = {status: codec.new_file(proposal(n), ()) for n, status in enumerate(Status) if status is not QUARANTINE}
    for status, job in jobs.items():
        put(store, status, job)
    for status in (DONE, FAILED, CANCELLED):
        put(store, status, b"", f"{jobs[status].id}.json")
    statuses, found = store.recover()
    assert statuses == {job.id: status for status, job in jobs.items()}
    assert sorted(found, key=lambda each: each[0].id) == [
        (jobs[PENDING], PENDING, False),
        (jobs[RUNNING], RUNNING, False),
        (jobs[BLOCKED], BLOCKED, False),
    ]
    seen: list[tuple[JobFile, Status, bool]] = []
    assert store.recover(lambda *each: seen.append(each)) == (statuses, [])
    assert seen == found
    assert store.scan() == statuses


def test_a_job_that_lacked_only_its_last_rename(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("12345")
    job = codec.new_file(proposal(1), ())
    done = finished(job, {"out": 5})
    absent = replace(done, result={**(done.result or {}), "outputs": {"gone": None}})
    failed_since = codec.with_attempt(done, {"outcome": "failed", "run": RUN})
    again = replace(done, retries_from=1)
    other_run = replace(done, result={**(done.result or {}), "run": "20261121T020000Z"})
    cases = [
        (done, True),
        (absent, True),
        (finished(job, {"out": 6}), False),
        (finished(job, {"nowhere": 5}), False),
        (finished(job, {"out/x": 5}), False),
        (failed_since, False),
        (again, False),
        (other_run, False),
        (job, False),
    ]
    for file, expected in cases:
        put(store, RUNNING, file)
        assert store.recover()[1] == [(file, RUNNING, expected)]


def test_what_is_no_job_goes_to_quarantine_with_the_reason(store: FolderStore) -> None:
    good = codec.new_file(proposal(1), ())
    put(store, PENDING, good)
    put(store, PENDING, b"{", f"{job_id(2)}.json")
    put(store, RUNNING, good, f"{job_id(3)}.json")
    put(store, DONE, b"{}", "x" * 250 + ".json")
    Path(store.path, BLOCKED, f"{job_id(4)}.json").symlink_to("/etc/passwd")
    Path(store.path, FAILED, "odd.json").mkdir()
    left_alone = [put(store, PENDING, b"?", name) for name in (".hidden.json", "README", "x.json~")]
    statuses, found = store.recover()
    assert found == [(good, PENDING, False)]
    assert statuses == {job_id(1): PENDING, **{job_id(n): QUARANTINE for n in (2, 3, 4)}}
    assert all(path.read_bytes() == b"?" for path in left_alone)
    quarantined = names(store, "quarantine")
    assert len(quarantined) == 10
    reasons = {name: Path(store.path, QUARANTINE, name).read_text() for name in quarantined if name.endswith(".txt")}
    assert "pending/" in reasons[f"{job_id(2)}.json.reason.txt"]
    assert "truncated" in reasons[f"{job_id(2)}.json.reason.txt"]
    assert "the file is named" in reasons[f"{job_id(3)}.json.reason.txt"]
    assert "symlink" in reasons[f"{job_id(4)}.json.reason.txt"]
    assert Path(store.path, QUARANTINE, f"{job_id(4)}.json").is_symlink()
    assert store.recover()[0] == statuses, "the next start finds it so"


def test_nothing_in_quarantine_is_overwritten(store: FolderStore) -> None:
    for n in range(3):
        put(store, PENDING, b"%d" % n, f"{job_id(2)}.json")
        store.recover()
    kept = {name: Path(store.path, QUARANTINE, name).read_bytes() for name in names(store, "quarantine")}
    assert [kept[f"{prefix}{job_id(2)}.json"] for prefix in ("", "2.", "3.")] == [b"0", b"1", b"2"]
    assert len(kept) == 6


def test_what_is_taken_away_meanwhile_needs_no_quarantine(store: FolderStore) -> None:
    store.quarantine("inbox", "gone.json", "bad")
    assert names(store, "quarantine") == []


def test_a_newer_schema_moves_nothing(store: FolderStore) -> None:
    put(store, PENDING, b"{", f"{job_id(2)}.json")
    put(store, RUNNING, b'{"schema": 2}', f"{job_id(3)}.json")
    leftover = Path(store.tmp_path, f"{dead_writer()}1.x")
    leftover.write_text("x")
    with pytest.raises(NewerSchema, match=f"running/{job_id(3)}.json: schema 2"):
        store.recover()
    assert leftover.exists()
    assert names(store, "quarantine") == []
    assert names(store, "pending") == [f"{job_id(2)}.json"]


def test_a_job_in_two_folders(store: FolderStore) -> None:
    """A hand copy or an old backup: the most advanced wins if it is the same job, the others go to quarantine."""
    job = codec.new_file(proposal(1), ())
    put(store, PENDING, job)
    put(store, RUNNING, replace(job, depth=2))
    put(store, DONE, finished(job))
    statuses, found = store.recover()
    assert (statuses, found) == ({job_id(1): DONE}, [])
    assert contents(store) == {job_id(1): (DONE, finished(job))}
    assert len([n for n in names(store, "quarantine") if n.endswith(".json")]) == 2


def test_two_jobs_of_one_id_in_two_folders(store: FolderStore) -> None:
    put(store, PENDING, codec.new_file(proposal(1), ()))
    put(store, DONE, codec.new_file(proposal(1, params={"n": 2}), ()))
    statuses, found = store.recover()
    assert (statuses, found) == ({job_id(1): QUARANTINE}, [])
    assert store.scan() == statuses
    assert len(names(store, "quarantine")) == 4


def test_a_damaged_copy_of_a_job(store: FolderStore) -> None:
    job = codec.new_file(proposal(1), ())
    put(store, PENDING, job)
    put(store, DONE, b"", f"{job_id(1)}.json")
    assert store.recover() == ({job_id(1): PENDING}, [(job, PENDING, False)])
    assert store.scan() == {job_id(1): PENDING}
    put(store, PENDING, b"", f"{job_id(1)}.json")
    put(store, DONE, b"", f"{job_id(1)}.json")
    assert store.recover() == ({job_id(1): QUARANTINE}, [])


# ------------------------------------------------------------------------------------------- looking beside moves


def _move_to_and_fro(path: Path, ready: multiprocessing.connection.Connection) -> None:  # type: ignore[name-defined]
    with open_store(path) as store:
        store.carry_out([create(n) for n in range(400)])
        ready.send(None)
        while not ready.poll():
            store.carry_out([claim(n) for n in range(400)])
            store.carry_out([requeue(n, Change()) for n in range(0, 400, 40)])
            store.carry_out([Move(job_id(n), RUNNING, BLOCKED, Step.BLOCK) for n in range(400) if n % 40])
            store.carry_out([Move(job_id(n), BLOCKED, PENDING, Step.UNBLOCK) for n in range(400) if n % 40])


def test_a_scan_beside_moves_forward_and_backward_misses_no_job(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(target=_move_to_and_fro, args=(tmp_path, there))
    other.start()
    here.recv()
    try:
        with open_store(tmp_path) as store:
            for _ in range(200):
                assert len(store.scan()) == 400
    finally:
        here.send(None)
        other.join()


def _move_without_rest(path: Path, ready: multiprocessing.connection.Connection) -> None:  # type: ignore[name-defined]
    with open_store(path) as store:
        store.carry_out([create(1)])
        ready.send(None)
        while not ready.poll():
            store.carry_out([claim(1)])
            store.carry_out([requeue(1, Change())])


def test_who_looks_for_a_job_that_never_rests_finds_it_or_knows_better(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    other = multiprocessing.get_context("fork").Process(target=_move_without_rest, args=(tmp_path, there))
    other.start()
    here.recv()
    try:
        with open_store(tmp_path) as store:
            for _ in range(3000):
                found, sure = store.survey()
                assert len(found) == 1 or not sure
                assert store.find(job_id(1)) is not None
    finally:
        here.send(None)
        other.join()


def test_a_runner_that_died_in_a_backward_move_does_not_hold_up_readers_for_ever(tmp_path: Path) -> None:
    files = CountingFiles()
    with open_store(tmp_path, files=files) as store:
        store.carry_out([create(1)])
        store.shelf.begin_backward()
        assert files.during(store.scan)["names"] == 2 * len(Status)
        store.recover()
        assert files.during(store.scan)["names"] == len(Status)


def test_where_one_job_is(store: FolderStore) -> None:
    store.carry_out([create(1), create(2), claim(2)])
    assert [store.find(job_id(n)) for n in (1, 2, 3)] == [PENDING, RUNNING, None]


# --------------------------------------------------------------------------------------------- each call failing


def test_a_full_disk_stops_before_anything_is_moved(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    files = FaultyFiles(error=OSError(28, "No space left on device"))
    with open_store(tmp_path, files=files) as store:
        store.carry_out([create(1)])
        files.at = files.calls + 2
        with pytest.raises(OSError, match="No space"):
            store.carry_out([claim(1), create(2), create(3)])
        files.at = None
        with pytest.raises(StateError, match="No space"):
            store.carry_out([claim(1)])
    with open_store(tmp_path) as store:
        assert store.recover()[0] == {job_id(1): PENDING}


def test_an_error_of_a_bad_command_leaves_the_store_usable(store: FolderStore) -> None:
    store.carry_out([create(1)])
    with pytest.raises(BadJobFile):
        store.carry_out([rewish(1, PENDING, params={"n": 9}), create(3, id="../x")])
    assert store.read(job_id(1), PENDING).params == {"n": 1}
    store.carry_out([claim(1)])
    assert store.scan() == {job_id(1): RUNNING}
    assert msgspec.json.decode(store.read_bytes(job_id(1), RUNNING))["id"] == job_id(1)


# -------------------------------------------------------------------------------- what was damaged from outside


def cancel(number: int, source: Status) -> Move:
    change = Change(attempt=Attempt(outcome="cancelled", type="Cancelled", message="by a person"))
    return Move(job_id(number), source, CANCELLED, Step.CANCEL, change=change)


@pytest.mark.parametrize("source", [FAILED, DONE])
def test_a_damaged_job_cannot_be_moved_and_is_put_aside(store: FolderStore, source: Status) -> None:
    put(store, source, b"{", f"{job_id(1)}.json")
    put(store, source, finished(codec.new_file(proposal(2), ())))
    store.carry_out([cancel(1, source), cancel(2, source)])
    assert store.scan() == {job_id(1): QUARANTINE, job_id(2): CANCELLED}
    (reason,) = (name for name in names(store, "quarantine") if name.endswith(".txt"))
    text = Path(store.path, QUARANTINE, reason).read_text()
    assert text == f"{source}/{job_id(1)}.json: `$` Input data was truncated\n"
    store.carry_out([rewish(1, CANCELLED)])  # it is named again in the same run
    store.carry_out([Move(job_id(1), CANCELLED, PENDING, Step.RETRY, change=Change(reset_retries=True))])
    assert contents(store)[job_id(1)] == (PENDING, codec.new_file(proposal(1), ()))


def test_of_a_job_whose_history_alone_is_damaged_the_rest_is_kept(store: FolderStore) -> None:
    whole = finished(codec.new_file(proposal(1), ()))
    damaged = codec.encode(whole).replace(b'"outcome"', b'"outcomf"')
    put(store, DONE, damaged, f"{job_id(1)}.json")
    store.carry_out([Move(job_id(1), DONE, PENDING, Step.EXPIRE, change=Change(reset_retries=True))])
    status, job = contents(store)[job_id(1)]
    assert (status, job.params, job.attempts) == (PENDING, whole.params, [])
    assert codec.record_of(job) == codec.record_of(whole)
    assert Path(store.path, QUARANTINE, f"{job_id(1)}.json").read_bytes() == damaged


def test_where_a_fifo_lies_nothing_waits(store: FolderStore) -> None:
    os.mkfifo(Path(store.path, "locks", "generation"))
    os.mkfifo(Path(store.path, "runs", "x.jsonl"))
    with pytest.raises(OSError, match="generation"):
        store.shelf.begin_backward()
    with pytest.raises(OSError, match=r"x\.jsonl"):
        store.shelf.files.append(store.shelf.fds["runs"], "x.jsonl", b"line")


@pytest.mark.parametrize("name", ["runner.lock", "runner.json"])
def test_a_lock_that_is_none_is_named(store: FolderStore, name: str) -> None:
    Path(store.path, "locks", name).mkdir()
    with pytest.raises(StateError, match=f"{name} is no file of the runner's"), store.lock():
        pass


def test_a_holder_that_cannot_be_read_is_none(store: FolderStore) -> None:
    Path(store.path, "locks", "runner.json").write_bytes(b"[" * 100_000)
    assert store.holder() is None
