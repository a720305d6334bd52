"""Files that are no valid job: moved to quarantine/, each with NAME.reason.txt. Nothing is ever deleted."""

from __future__ import annotations

import os
from hashlib import sha256

from runner.core.model import Status
from runner.store.shelf import TMP, Shelf

_MAX_NAME = 230  # bytes: .reason.txt and a number must fit as well


def put_aside(shelf: Shelf, folder: str, name: str, reason: str) -> str:
    """Move a file, whatever it is, to quarantine/, and give the name it has there.

    The reason is put there first: a crash in between leaves a reason too many, and the next recovery does the rest.
    """
    files, quarantine = shelf.files, shelf.fds[Status.QUARANTINE]
    kept = name
    if len(os.fsencode(name)) > _MAX_NAME:
        kept = f"{name[:50]}-{sha256(os.fsencode(name)).hexdigest()[:16]}"
    free = kept
    number = 1
    while files.exists(quarantine, free):
        number += 1
        free = f"{number}.{kept}"  # in front: it must not look like a job's own file
    where = f"{folder}/{name}: "
    text = f"{where}{reason.removeprefix(where).rstrip()}\n".encode("utf-8", "backslashreplace")
    temporary = shelf.write_tmp("reason", text)
    files.rename(shelf.fds[TMP], temporary, quarantine, f"{free}.reason.txt")
    try:
        files.rename(shelf.fds[folder], name, quarantine, free)
    except FileNotFoundError:  # somebody took it away meanwhile
        files.unlink(quarantine, f"{free}.reason.txt")
    return free
