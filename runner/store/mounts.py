"""Which file system a folder lies on, for the one warning about those that the promises do not cover."""

from __future__ import annotations

import os

JOURNALLED = frozenset({"ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "apfs", "ntfs3"})
_EXT = ("ext3", "ext4")
_JOURNALS = "/proc/fs/jbd2"
LOST = "after a power cut a job may be newer than its outputs"
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
                    kind, source = fields[fields.index("-") + 1 :][:2]
                    return kind if kind not in _EXT or _journal_of(source) else f"{kind} without a journal"
    except (OSError, ValueError, IndexError):
        pass
    return ""


def _journal_of(source: str) -> bool:
    """Whether an ext3 or ext4 keeps a journal; True where the kernel does not tell."""
    try:
        journals = os.listdir(_JOURNALS)
    except OSError:
        return True
    device = os.path.basename(os.path.realpath(source))
    return any(name.rpartition("-")[0] == device for name in journals)


def doubts(state: str, root: str, *, durable: bool) -> list[str]:
    """What about the file systems of state and project falls short of the promises, a line each."""
    here, there = filesystem(state), filesystem(root)
    places = (
        [("state and project lie", here)] if here == there else [("the state lies", here), ("the project lies", there)]
    )
    said = []
    for what, kind in places:
        if kind in REMOTE:
            said.append(f"{what} on {kind}, a network file system: its locks and renames are not to be relied on")
        elif durable and kind and kind not in JOURNALLED:
            said.append(f"{what} on {kind}: after a power cut files may be empty or missing, whatever was synced")
    if durable and os.stat(state).st_dev != os.stat(root).st_dev:
        said.append(f"state and project lie on two file systems: {LOST}")
    return said
