"""Real power cuts: an ext4 on a loop device is shut down without its journal being flushed, and mounted again."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner.core.model import Status
from runner.store import codec
from runner.store.inbox import Inbox, command, hand_in
from runner.store.runs import RunFile, Runs
from tests.conftest import SEED
from tests.store.support import NOW, RUN, contents, job_id, names, open_store, proposal
from tests.store.test_agreement import Driver, Jobs

pytestmark = pytest.mark.root

SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, b"\x02\x00\x00\x00"
KINDS = ("create", "create", "move", "move", "move", "move", "rewish", "bind", "deliver", "discard")


class Disk:
    """A file system that can lose its power."""

    def __init__(self, image: Path, mountpoint: Path) -> None:
        self.image, self.path = image, mountpoint

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.path)], check=True, capture_output=True)

    def cut(self) -> None:
        """Everything that is not durable by now is gone. Every descriptor must have been closed by the caller."""
        descriptor = os.open(self.path, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, NO_LOG_FLUSH)
        os.close(descriptor)
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    mkfs = shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if mkfs is None:
        pytest.skip("needs mkfs.ext4")
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run([mkfs, "-q", "-F", str(image)], check=True, capture_output=True)
    (tmp_path / "mnt").mkdir()
    disk = Disk(image, tmp_path / "mnt")
    try:
        disk.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount a loop device here: {error.stderr!r}")
    yield disk
    disk.unmount()


def test_a_cut_at_any_time_leaves_a_state_at_or_after_the_last_sync(
    disk: Disk, record_property: Callable[[str, object], None]
) -> None:
    random_one = random.Random(int(os.environ[SEED]))
    lost = 0
    for round in range(12):
        folder = disk.path / str(round)
        folder.mkdir()
        store = open_store(folder, durability="power")
        driver = Driver(store)
        states: list[Jobs] = [{}]
        durable = 0
        store.sync()
        for _ in range(random_one.randrange(1, 9)):
            acts = [(random_one.choice(KINDS), *(random_one.randrange(n) for n in (4, 10, 10))) for _ in range(12)]
            commands = driver.call(acts)
            store.sync()  # as the loop does before it commits what workers staged
            durable = len(states) - 1
            store.carry_out(commands)
            states += driver.states
            if random_one.random() < 0.3:
                store.sync()
                durable = len(states) - 1
        store.shelf.leftovers.clear()
        store.close()
        disk.cut()
        with open_store(folder, durability="power") as again:
            statuses, _ = again.recover()
            found = contents(again)
            assert names(again, "quarantine") == []
            assert statuses == {id: status for id, (status, _) in found.items()}
            assert found in states[durable:], "an order of renames that the engine never asked for, or a lost sync"
            lost += found != states[-1]
    record_property("struck", f"{lost} of 12 power cuts took back moves that were not durable yet")


def test_what_was_acknowledged_is_there_after_a_cut(disk: Disk) -> None:
    state = disk.path / "state"
    jobs = [codec.new_file(proposal(n), ()) for n in range(40)]
    given: list[str] = []
    for round in range(6):
        given += hand_in(state, jobs[: 40 if round % 2 else 3])
        given.append(command(state, "cancel", ids=[job_id(1)]))
        with open_store(disk.path) as store:  # "process": these promises hold in either mode
            Runs(store).write(RunFile(id=RUN, start=codec.stamp(NOW), exit=round))
        disk.cut()
        with open_store(disk.path) as store:
            entries = Inbox(store).scan(NOW)
            assert sorted(entry.name for entry in entries) == sorted(given)
            assert {entry.kind for entry in entries} == {"job", "command"}
            assert Runs(store).read(RUN).exit == round


def test_in_process_mode_a_cut_takes_files(disk: Disk) -> None:
    """Why the default is "power", and that these tests can fail."""
    with open_store(disk.path, durability="process") as store:
        os.sync()
        driver = Driver(store)
        store.carry_out(driver.call([("create", n, 0, 0) for n in range(4)]))
    disk.cut()
    with open_store(disk.path) as store:
        statuses, _ = store.recover()
        assert Status.PENDING not in statuses.values()
