"""Writes docs/schemas/VERB.json, JSON Schemas of what `--json` gives: `python docs/make_schemas.py`.

The views' own types are the source. A test fails when a file is not what this makes, or when a verb gives a document
that does not fit.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from runner.cli.notice import Notice
from runner.plan import Plan
from runner.prune import Pruned
from runner.store.codec import SCHEMA, JobFile
from runner.views.changes import Changes
from runner.views.check import Report
from runner.views.explain import Explained
from runner.views.graph import Graph
from runner.views.journal import Entry
from runner.views.listing import Row
from runner.views.log import JobLog, LogTail
from runner.views.report import RunReport
from runner.views.show import OutputLook
from runner.views.status import State

FOLDER = Path(__file__).with_name("schemas")


class Listed(msgspec.Struct, kw_only=True):
    """All jobs that were asked for."""

    schema: int = SCHEMA
    jobs: list[Row]


class Shown(msgspec.Struct, kw_only=True):
    """One job. `job`: as it is in its file; `journals_unread`: how many were not searched for its story."""

    schema: int = SCHEMA
    id: str
    status: str
    path: str
    problem: str | None
    job: dict[str, Any] | None
    outputs: list[OutputLook]
    story: list[Entry]
    journals_unread: int
    log: LogTail | None


class Standing(State, kw_only=True):
    """`next`: the command to type next, if any."""

    next: str | None  # type: ignore[assignment]


class Stats(msgspec.Struct, kw_only=True):
    """Rows with the columns of the table: those of `by`, and then the figures."""

    schema: int = SCHEMA
    by: str
    rows: list[dict[str, Any]]


DOCUMENTS: dict[str, type] = {
    "status": Standing,
    "list": Listed,
    "show": Shown,
    "logs": JobLog,
    "explain": Explained,
    "plan": Plan,
    "changes": Changes,
    "graph": Graph,
    "report": RunReport,
    "stats": Stats,
    "check": Report,
    "prune": Pruned,
    "notify": Notice,
    "job": JobFile,
}
"""By verb; `notify`: what `--notify` hands over; `job`: the files in the status folders."""


def schema(name: str) -> str:
    """The text of one file."""
    found = {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(DOCUMENTS[name])}
    return json.dumps(found, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in DOCUMENTS:
        (FOLDER / f"{name}.json").write_text(schema(name), encoding="utf-8")
