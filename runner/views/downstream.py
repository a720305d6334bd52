"""What lies downstream of a job: who comes after it, and whom it has found, and so on from there."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from runner.core.model import Status
from runner.errors import BadJobFile
from runner.store.folders import FolderStore
from runner.views.reading import load_job


class _Made(Struct):
    found: tuple[str, ...] = ()


class _Edges(Struct):
    """As much of a job file as tells its neighbours."""

    after: tuple[str, ...] = ()
    result: _Made | None = None


_decode = msgspec.json.Decoder(_Edges).decode


def downstream_of(store: FolderStore, start: Mapping[str, Status | None]) -> dict[str, Status | None]:
    """`start`, and all that lies downstream of it, with their statuses. Reads every job file."""
    known = store.scan()
    below: dict[str, list[str]] = {}
    for id, status in known.items():
        edges = _edges(store, id, status)
        for upstream in edges.after:
            below.setdefault(upstream, []).append(id)
        if edges.result is not None:
            below.setdefault(id, []).extend(edges.result.found)
    found = dict(start)
    queue = list(start)
    for id in queue:  # it grows
        for other in below.get(id, ()):
            if other not in found and other in known:
                found[other] = known[other]
                queue.append(other)
    return found


def _edges(store: FolderStore, id: str, status: Status) -> _Edges:
    try:
        found = load_job(store, id, status)
        return _decode(found[0] if found is not None else b"{}")
    except (OSError, BadJobFile, ValueError, RecursionError):  # gone on meanwhile, or damaged
        return _Edges()
