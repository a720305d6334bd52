"""State folders made by hand, file by file, for views to look at."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from runner.core.model import Json, Status
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.store.runs import RunFile, Runs

RUN = "20261122T020000Z"
START = "2026-11-22T02:00:00.000000Z"
NOW = codec.parse_stamp(START) + 60


def id_of(path: str, name: str = "Fetch") -> str:
    """The id of the job whose first output is `path`."""
    return f"{name}-{sha256(path.encode()).hexdigest()[:16]}"


def done_attempt(**changes: Json) -> dict[str, Json]:
    return {"run": RUN, "started": START, "seconds": 0.5, "outcome": "done", **changes}


def failed_attempt(kind: str = "ValueError", message: str = "no page", **changes: Json) -> dict[str, Json]:
    error = {"type": kind, "message": message, "traceback": "Traceback ...\n  File x\nValueError: no page\n"}
    return {"run": RUN, "started": START, "seconds": 0.5, "outcome": "failed", "error": error, **changes}


class Built:
    """A project with a state folder in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"
        with FolderStore(self.state, root=root, durability="process"):
            pass

    def store(self) -> FolderStore:
        """As a reader opens it."""
        return FolderStore(self.state, create=False, root=self.root)

    def file(self, status: str, id: str) -> Path:
        return self.state / status / f"{id}.json"

    def put(self, status: str, path: str, name: str = "Fetch", **fields: Any) -> str:
        """A job that makes `path`; its id. A done one has its output, and the record of it."""
        id = id_of(path, name)
        if status == "done":
            if "result" not in fields:
                fields["result"] = self.result({path: b"abc"}, found=fields.pop("found", []))
            fields.setdefault("attempts", [done_attempt()])
        elif status == "failed":
            fields.setdefault("attempts", [failed_attempt()])
        fields.setdefault("params", {"url": f"https://example.org/{path}", "filepath": path})
        job = JobFile(id=id, task=fields.pop("task", f"jobs.scrape:{name}"), **fields)
        self.file(status, id).write_bytes(codec.encode(job))
        return id

    def result(self, outputs: dict[str, bytes | None], **changes: Json) -> dict[str, Json]:
        """A record of these outputs, which are written."""
        recorded: dict[str, Json] = {}
        for path, data in outputs.items():
            recorded[path] = None if data is None else {"bytes": len(data), "sha256": sha256(data).hexdigest()}
            if data is not None:
                file = self.root / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
        return {
            "run": RUN,
            "version": 1,
            "checked_at": START,
            "change": "new",
            "params": {},
            "hints": {},
            "inputs": {},
            "outputs": recorded,
            "found": [],
            "value": None,
            **changes,
        }

    def run(self, id: str = RUN, **fields: Any) -> None:
        """A run record."""
        with FolderStore(self.state, root=self.root, durability="process") as store:
            Runs(store).write(RunFile(**{"id": id, "start": START, "target": "jobs.scrape:nightly", **fields}))

    def holder(self, **changes: Json) -> None:
        """Say that a runner is alive: the process that started the tests stands for it."""
        from socket import gethostname

        from runner.store.files import process_start

        pid = os.getppid()
        said = {"pid": pid, "start": process_start(pid), "host": gethostname(), "run": RUN, "info": {}, **changes}
        (self.state / "locks" / "runner.json").write_text(json.dumps(said))
        (self.state / "locks" / "runner.lock").touch()

    def journal(self, *moves: tuple[float, str, str, str, str], run: str = RUN) -> None:
        """Lines: seconds after the start, id, source, target, step."""
        began = codec.parse_stamp(START)
        lines = [
            msgspec.json.encode({"at": codec.stamp(began + at), "id": id, "source": a, "target": b, "step": step})
            for at, id, a, b, step in moves
        ]
        with (self.state / "runs" / f"{run}.jsonl").open("ab") as file:
            file.write(b"".join(line + b"\n" for line in lines))

    def contents(self) -> dict[str, list[bytes]]:
        """Every job's bytes, wherever a file of its name lies: to prove that nothing was deleted."""
        found: dict[str, list[bytes]] = {}
        for status in (*Status, "runs", "inbox"):
            for file in (self.state / status).iterdir():
                if file.is_file() and not file.name.endswith(".reason.txt"):
                    found.setdefault(file.name.rpartition(".json")[0].rpartition(".")[2], []).append(file.read_bytes())
        return {name: sorted(data) for name, data in found.items()}
