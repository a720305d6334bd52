"""Which file system a folder lies on, for the one warning about those that the promises do not cover."""

from __future__ import annotations

import os

JOURNALLED = frozenset({"ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "apfs", "ntfs3"})
REMOTE = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "fuse.sshfs", "lustre", "afs"})


def filesystem(path: str) -> str:
    """The type of the file system that `path` lies on, as in /proc/self/mountinfo; "" where that cannot be told."""
    try:
        device = os.stat(path).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields = line.split()
                if fields[2] == wanted:
                    return fields[fields.index("-") + 1]
    except (OSError, ValueError, IndexError):
        pass
    return ""


def doubts(state: str, root: str, *, durable: bool) -> list[str]:
    """What about the file systems of state and project falls short of the promises, a line each."""
    said = []
    for what, path in (("the state folder", state), ("the project's folder", root)):
        kind = filesystem(path)
        if kind in REMOTE:
            said.append(
                f"{what} lies on {kind}, a network file system: locks and renames there are not to be relied on"
            )
        elif durable and kind and kind not in JOURNALLED:
            said.append(
                f"{what} lies on {kind}, which keeps no journal: after a power cut files may be missing or empty"
            )
    if durable and os.stat(state).st_dev != os.stat(root).st_dev:
        said.append("state and project lie on two file systems: after a power cut a job may be newer than its outputs")
    return list(dict.fromkeys(said))
