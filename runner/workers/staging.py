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
from hashlib import sha256

from runner.store.codec import Digest
from runner.store.files import Files

_MAX_NAME = 255
_STAGED = re.compile(r"\..*-([0-9a-f]{16})-[0-9a-f]{8}(?![0-9a-f])", re.DOTALL)


def staging_path(final: str, id: str) -> str:
    """A name in the same folder, hidden, with the same suffix, that no other attempt uses."""
    folder, name = os.path.split(final)
    stem, suffix = os.path.splitext(name)
    token = f"-{id[-16:]}-{secrets.token_hex(4)}"
    room = _MAX_NAME - 1 - len(token) - len(os.fsencode(suffix))
    if room < 0:
        stem, suffix, room = name, "", _MAX_NAME - 1 - len(token)
    short = os.fsencode(stem)[:room].decode("utf-8", "ignore")
    return os.path.join(folder, f".{short}{token}{suffix}")


def digest(path: str) -> Digest:
    """Size and SHA-256 of a regular file. Raises OSError."""
    hasher, size = sha256(), 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # to open a FIFO must not hang
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", path)
        while chunk := os.read(fd, 1 << 20):
            hasher.update(chunk)
            size += len(chunk)
    finally:
        os.close(fd)
    return Digest(size, hasher.hexdigest())


def is_file(path: str) -> bool:
    """Whether there is a regular file at `path` (a link to one counts)."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def same(path: str, known: Digest) -> bool:
    """Whether the regular file at `path` holds the very bytes that `known` describes."""
    try:
        found = os.stat(path)
        return found.st_size == known.bytes and stat.S_ISREG(found.st_mode) and digest(path) == known
    except OSError:
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
