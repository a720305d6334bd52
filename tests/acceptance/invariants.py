"""The guarantees, checked from outside with nothing but the standard library: a second opinion beside `check`.

For a state folder that nobody is working on. What may be looked at while a runner works is `whole_files`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.acceptance.project import STATUSES


def strict(data: bytes) -> Any:
    """Decode JSON; duplicate keys and NaN are errors."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        assert len(set(keys)) == len(keys), f"a key twice: {keys}"
        return dict(pairs)

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    return json.loads(data, object_pairs_hook=once, parse_constant=refuse)


def whole_files(state: Path) -> int:
    """Guarantee 1, at any instant: every file that can be read in a status folder is whole. Returns how many were."""
    seen = 0
    for status in STATUSES:
        for path in (state / status).glob("[!.]*.json"):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # it moved on
            job = strict(data)
            assert job["id"] == path.stem, path
            seen += 1
    return seen


def check_state(root: Path) -> dict[str, str]:
    """Guarantees 1, 2, 3, 5 and 6, at rest. Returns every id with its status."""
    state = root / "state"
    where: dict[str, str] = {}
    jobs: dict[str, Any] = {}
    for status in STATUSES:
        for path in (state / status).glob("[!.]*.json"):
            job = strict(path.read_bytes())
            assert job["schema"] == 1, path
            assert job["id"] == path.stem, path
            assert path.stem not in where, f"{path.stem} is in {where[path.stem]} and in {status}"
            where[path.stem], jobs[path.stem] = status, job
    handed_in = {path.stem for path in (state / "inbox").glob("[!.]*.json")}
    for job_id, status in where.items():
        unknown = set(jobs[job_id]["after"]) - where.keys() - handed_in
        assert not unknown, f"{job_id} waits for jobs that are nowhere: {unknown}"
        if status == "done":
            check_done(root, jobs[job_id], where.keys() | handed_in)
    return where


def check_done(root: Path, job: dict[str, Any], known: set[str]) -> None:
    """What came to done/ has its outputs, whole, and its children exist."""
    result = job["result"]
    for path, record in result["outputs"].items():
        if record is not None:
            assert (root / path).is_file(), f"{job['id']} is done, its output is not there: {path}"
            assert (root / path).stat().st_size == record["bytes"], f"{job['id']}: {path} has another size"
    lost = set(result["found"]) - known
    assert not lost, f"{job['id']} is done, and children of it are nowhere: {lost}"
