"""A file system on a loop device that can lose its power: the shutdown ioctl of ext4 or XFS, with the journal as it is.

What was not durable at that moment is gone, and whoever still works on it gets an I/O error for all that he does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

KINDS = {"ext4": ("-F", 64 << 20), "xfs": ("-f", 320 << 20)}  # mkfs's word for "whatever is there", and a size it takes
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, and XFS_IOC_GOINGDOWN: both _IOR('X', 125, __u32)
LOG_FLUSH, NO_LOG_FLUSH = b"\x01\x00\x00\x00", b"\x02\x00\x00\x00"  # of both: whether the journal is written first
PATIENCE = 20.0  # seconds until those whom a cut has ended have let go of the disk


def cut_power(folder: str | os.PathLike[str], *, journal: bool = False) -> None:
    """From now on the file system of `folder` takes nothing, and what was not durable is lost at the next mount.

    `journal`: it was written just before, as it is every few seconds; all names are durable then, contents are not.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, SHUTDOWN, LOG_FLUSH if journal else NO_LOG_FLUSH)
    finally:
        os.close(descriptor)


class Disk:
    def __init__(self, image: Path, mountpoint: Path) -> None:
        self.image, self.path = image, mountpoint

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.path)], check=True, capture_output=True)

    def unmount(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while (done := subprocess.run(["umount", str(self.path)], capture_output=True, check=False)).returncode:
            assert time.monotonic() < deadline, f"somebody is still on the disk: {done.stderr!r}"
            time.sleep(0.02)

    def again(self) -> None:
        """The reboot. Nobody may have anything open on it."""
        self.unmount()
        self.mount()

    def cut(self) -> None:
        cut_power(self.path)
        self.again()

    def sync(self) -> None:
        """What a test has prepared is durable."""
        subprocess.run(["sync", "-f", str(self.path)], check=True)

    @property
    def dead(self) -> bool:
        """Whether its power was cut."""
        try:
            (self.path / "alive").touch()
        except OSError as error:
            return error.errno == errno.EIO
        return False


@contextmanager
def new_disk(kind: str, folder: Path) -> Iterator[Disk]:
    """Made, and mounted below `folder`; skips the test where that cannot be had."""
    import pytest  # here, as runners that are to strike import this module too

    mkfs = shutil.which(f"mkfs.{kind}", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if mkfs is None:
        pytest.skip(f"needs mkfs.{kind}")
    option, size = KINDS[kind]
    image, mountpoint = folder / f"{kind}.image", folder / kind
    with image.open("wb") as file:
        file.truncate(size)
    subprocess.run([mkfs, "-q", option, str(image)], check=True, capture_output=True)
    mountpoint.mkdir()
    disk = Disk(image, mountpoint)
    try:
        disk.mount()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount a loop device here: {error.stderr!r}")
    try:
        yield disk
    finally:
        disk.unmount()
        image.unlink()
