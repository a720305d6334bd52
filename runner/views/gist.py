"""As much of every job file as pictures and tables need, read in one go. Must not change anything, nor wait.

A file that cannot be read, or is no valid job, counts with its name and its folder alone: `check` tells of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from runner.core.model import Status
from runner.errors import BadJobFile, NewerSchema
from runner.store import codec
from runner.store.folders import FolderStore
from runner.views.reading import load_job


class GistError(Struct, gc=False):
    """Of an attempt that did not succeed."""

    type: str = ""
    message: str = ""
    traceback: str = ""


class GistAttempt(Struct, gc=False):
    """One attempt. `started`: a stamp; `seconds`: how long it took; `worker`: the process id of who did it."""

    run: str | None = None
    started: str | None = None
    seconds: float | None = None
    outcome: str = ""
    change: str | None = None
    worker: int | None = None
    error: GistError | None = None


class GistResult(Struct, gc=False):
    """The last success."""

    run: str | None = None
    change: str | None = None
    found: tuple[str, ...] = ()
    outputs: dict[str, msgspec.Raw] = {}


class Gist(Struct):
    """One job."""

    schema: Any = codec.SCHEMA
    task: str = ""
    params: dict[str, msgspec.Raw] = {}
    after: tuple[str, ...] = ()
    found_by: str | None = None
    attempts: list[GistAttempt] = []
    result: GistResult | None = None
    id: str = ""
    status: str = ""

    @property
    def name(self) -> str:
        """Its class's own name."""
        return self.id.rpartition("-")[0]

    @property
    def host(self) -> str | None:
        """The host of the first parameter that is an address on the web; None: there is none."""
        for value in self.params.values():
            match = _ADDRESS.match(bytes(value))
            if match is not None:
                return match[1].decode("utf-8", "replace").rpartition("@")[2].lower()
        return None


_ADDRESS = re.compile(rb'"https?://([^/?#"\\]+)')
_decode = msgspec.json.Decoder(Gist).decode


def gists(store: FolderStore) -> Iterator[Gist]:
    """All jobs, by id; what is in quarantine/ is none. Raises NewerSchema."""
    for id, status in sorted(store.scan().items()):
        if status is not Status.QUARANTINE:
            yield gist(store, id, status)


def gist(store: FolderStore, id: str, status: Status) -> Gist:
    """One job. Raises NewerSchema: what a newer version means by its fields nobody here knows."""
    try:
        found = load_job(store, id, status)
        if found is None:
            return Gist(id=id, status=status.value)
        data, status = found
        job = _decode(data)
        codec.check_schema({"schema": job.schema})
    except NewerSchema as error:
        raise NewerSchema(f"{status}/{id}.json: {error}") from None
    except (OSError, BadJobFile, ValueError, RecursionError):  # msgspec's errors are a ValueError
        return Gist(id=id, status=status.value)
    job.id, job.status = id, status.value
    return job
