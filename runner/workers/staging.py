"""Outputs on their way: written beside their final place under a dot name, hashed, compared, put in place.

A staging name holds the job's hash and a token of its own for each attempt, so that a writer that outlived its runner
cannot touch what a later attempt writes. `sweep` removes what attempts left behind that were not to see their end.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import count

from runner.store.codec import Digest
from runner.store.files import Files

_MAX_NAME = 255
_PIECE = 1 << 20
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # to open a FIFO must not hang
_STAGED = re.compile(r"\..*-([0-9a-f]{16})-[0-9a-f]{8}(?![0-9a-f])", re.DOTALL)


class NoFile(Exception):
    """A task has left no file where it was to write one: what it has done instead, as "not written its"."""


def staging_path(final: str, id: str) -> str:
    """A name in the same folder, hidden, with the same suffix, that no other attempt uses."""
    folder, slash, name = final.rpartition("/")
    stem, suffix = os.path.splitext(name)
    token = f"-{id[-16:]}-{next(_tokens(os.getpid())) & 0xFFFFFFFF:08x}"
    if not (name.isascii() and len(name) + len(token) < _MAX_NAME):
        room = _MAX_NAME - 1 - len(token) - len(os.fsencode(suffix))
        if room < 0:
            stem, suffix, room = name, "", _MAX_NAME - 1 - len(token)
        stem = os.fsencode(stem)[:room].decode("utf-8", "ignore")
    return f"{folder}{slash}.{stem}{token}{suffix}"


@cache
def _tokens(pid: int) -> count[int]:
    """Of one process, a fork counting on its own: as unlikely to meet another's as if each were drawn."""
    return count(secrets.randbits(32))


def digest(path: str) -> Digest:
    """Size and SHA-256 of a regular file. Raises OSError."""
    return _read(path, _OPEN)[0]


def taken(path: str) -> tuple[Digest, int]:
    """The same of what a task has staged, and the file system (device) that it lies on. Raises NoFile, OSError."""
    try:
        made, found = _read(path, _OPEN | os.O_NOFOLLOW)
    except OSError:
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            raise NoFile("not written its") from None
        if not stat.S_ISREG(mode):
            raise NoFile("made something else than a file of its") from None
        raise
    return made, found.st_dev


def _read(path: str, flags: int) -> tuple[Digest, os.stat_result]:
    fd = os.open(path, flags)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is no regular file", path)
        hasher, size, piece = sha256(), 0, min(found.st_size, _PIECE) or _PIECE
        while chunk := os.read(fd, piece):
            hasher.update(chunk)
            size += len(chunk)
            if size == found.st_size:  # else a file that has no size to tell, as in /proc, or is being written
                break
    finally:
        os.close(fd)
    return Digest(size, hasher.hexdigest()), found


def is_file(path: str) -> bool:
    """Whether there is a regular file at `path` (a link to one counts)."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def same(path: str, known: Digest) -> bool:
    """Whether the regular file at `path` holds the very bytes that `known` describes."""
    try:
        return stands(path, known)
    except OSError:
        return False


def stands(path: str, known: Digest) -> bool:
    """The same of where an output is to be put. Raises IsADirectoryError for a folder, which no file can replace."""
    try:
        found = os.stat(path)
        if found.st_size == known.bytes and stat.S_ISREG(found.st_mode):
            return digest(path) == known
    except OSError:
        return False
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder", path)
    return False


def remove(files: Files, paths: Iterable[str]) -> None:
    """Remove staged files (or what a task made of that name) that will not be delivered; those not there are fine.

    Raises OSError.
    """
    for path in paths:
        try:
            files.unlink(None, path)
        except FileNotFoundError:
            continue
        except OSError:
            if os.path.islink(path) or not os.path.isdir(path):
                raise
            shutil.rmtree(path, ignore_errors=True)


def sweep(files: Files, left: Mapping[str, Iterable[str]], root: str) -> int:
    """Remove what attempts of these jobs, `{id: its outputs}`, left beside the outputs. Returns how many files.

    Nobody may be at work on these jobs. Every folder is listed once, however many of the outputs are in it.
    """
    hashes: dict[str, set[str]] = {}
    for id, finals in left.items():
        for final in finals:
            hashes.setdefault(os.path.dirname(final), set()).add(id[-16:])
    removed = 0
    for folder, wanted in hashes.items():
        for name, hash in staged_in(root, folder):
            if hash in wanted:
                with suppress(OSError):
                    remove(files, [os.path.join(root, folder, name)])
                removed += 1
    return removed


def staged_in(root: str, folder: str) -> Iterator[tuple[str, str]]:
    """Names in the folder that are staging paths, each with the hash of its job."""
    try:
        names = os.listdir(os.path.join(root, folder))
    except (OSError, ValueError):
        return
    for name in names:
        found = _STAGED.match(name)
        if found is not None:
            yield name, found[1]
