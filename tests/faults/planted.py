"""Faults, each planted in a state by hand: by name, what `check` calls it, and whether `--repair` mends it.

Each plants itself in a copy of the state of `checked.py`, and gives a word that the line about it must have.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.checked import Planted, edit, read, write

Plant = Callable[[Planted], str]
NOBODY = "Nobody-0123456789abcdef"
EARLIER = "20261122T020000Z"


def put(status: str, data: bytes, task: str = "") -> Plant:
    """Other bytes in a job file."""

    def plant(state: Planted) -> str:
        file = state.file(status, task)
        file.write_bytes(data)
        return file.name

    return plant


def changed(status: str, task: str, change: Callable[[Any], object]) -> Plant:
    """A job file with something else in it."""
    return lambda state: edit(state.file(status, task), change)


def half(status: str) -> Plant:
    def plant(state: Planted) -> str:
        file = state.file(status)
        os.truncate(file, file.stat().st_size // 2)
        return file.name

    return plant


def moved(source: str, target: str, task: str) -> Plant:
    """As with `mv` from one status folder to another."""

    def plant(state: Planted) -> str:
        file = state.file(source, task)
        file.rename(state.state / target / file.name)
        return f"{target}/{file.name}"

    return plant


def renamed(source: str, task: str, name: str, change: Callable[[Any, str], object] | None = None) -> Plant:
    """Under another name, which it may (`change`) know of."""

    def plant(state: Planted) -> str:
        file = state.file(source, task)
        document = read(file)
        if change is not None:
            change(document, name)
        file.unlink()
        write(file.with_name(f"{name}.json"), document)
        return name

    return plant


def instead(make: Callable[[Path], object]) -> Plant:
    """Something else than a file, under a job's name."""

    def plant(state: Planted) -> str:
        path = state.state / "failed" / f"{NOBODY}.json"
        make(path)
        return NOBODY

    return plant


def deleted(find: Callable[[Planted], Path]) -> Plant:
    def plant(state: Planted) -> str:
        file = find(state)
        file.unlink()
        return file.stem

    return plant


def copied(
    target: str, change: Callable[[Any], object] = lambda job: None, data: bytes | None = None, name: str = ""
) -> Plant:
    """A done job in another folder as well."""

    def plant(state: Planted) -> str:
        file = state.file("done", "Text")
        copy = Path(shutil.copy(file, state.state / target / (name or file.name)))
        if data is None:
            edit(copy, change)
        else:
            copy.write_bytes(data)
        return copy.name

    return plant


def everywhere(state: Planted) -> str:
    file = state.file("done", "Text")
    for status in ("pending", "running"):
        shutil.copy(file, state.state / status)
    return file.name


def another(status: str, **fields: Any) -> Plant:
    """One more job, as a copy of one that waits."""

    def plant(state: Planted) -> str:
        job = {**read(state.file("pending")), "id": NOBODY, "task": "jobs.night:Nobody", **fields}
        write(state.state / status / f"{job['id']}.json", job)
        return str(job["id"])

    return plant


def circle(*statuses: str) -> Plant:
    """Jobs that come after each other."""

    def plant(state: Planted) -> str:
        ids = [f"Nobody-{number:016x}" for number in range(len(statuses))]
        for number, status in enumerate(statuses):
            another(status, id=ids[number], after=[ids[number - 1]])(state)
        return ids[0]

    return plant


def same_output(one: str, two: str) -> Plant:
    """Two done jobs have made one file."""

    def plant(state: Planted) -> str:
        made = read(state.of(one))["result"]["outputs"][one]
        edit(state.of("data/one-0"), lambda job: job["result"]["outputs"].update({two: made}))
        return two

    return plant


def record(change: Callable[[Path], object], target: str = "jobs.night:night") -> Plant:
    def plant(state: Planted) -> str:
        file = state.run(target)
        change(file)
        return f"runs/{file.name}"

    return plant


def record_moved(state: Planted) -> str:
    state.run("jobs.night:night").rename(state.state / "runs" / f"{EARLIER}.json")
    return EARLIER


def record_linked(file: Path) -> None:
    file.rename(file.with_suffix(".elsewhere"))
    file.symlink_to(file.with_suffix(".elsewhere"))


def last_try(**fields: Any) -> Callable[[Any], object]:
    return lambda job: job["attempts"][-1].update(fields)


def new_root(state: Planted) -> str:
    edit(state.run("jobs.night:night"), lambda run: run["roots"].append(NOBODY))
    return NOBODY


FAULTS: dict[str, tuple[Plant, str, bool]] = {
    **{f"half a file in {status}": (half(status), "invalid", True) for status in ("pending", "running", "done")},
    **{f"half a file in {status}": (half(status), "invalid", True) for status in ("failed", "blocked", "cancelled")},
    "an empty file": (put("done", b"", "Site"), "invalid", True),
    "zeros": (put("done", b"\0" * 600, "Site"), "invalid", True),
    "no object": (put("pending", b"[]"), "invalid", True),
    "a key twice": (put("failed", b'{"id": "a", "id": "b"}'), "invalid", True),
    "no task": (changed("blocked", "Report", lambda job: job.pop("task")), "invalid", True),
    "a time that is none": (changed("pending", "Last", lambda job: job.update(not_before="soon")), "invalid", True),
    "retries that never were": (changed("failed", "Page", lambda job: job.update(retries_from=99)), "invalid", True),
    "an attempt without an end": (changed("done", "Note", lambda job: job["attempts"][-1].clear()), "invalid", True),
    "after what is no id": (changed("pending", "Last", lambda job: job.update(after=["../x"])), "invalid", True),
    "a size below nothing": (
        changed("done", "Site", lambda job: job["result"]["outputs"]["data/site.txt"].update(bytes=-1)), "invalid", True
    ),
    "another job's name": (renamed("done", "Note", NOBODY), "invalid", True),
    "a symlink": (instead(lambda path: path.symlink_to("nowhere")), "invalid", True),
    "a FIFO": (instead(os.mkfifo), "invalid", True),
    "a folder": (instead(Path.mkdir), "invalid", True),
    "a name that is no id": (copied("failed", name="job.json"), "name", True),
    "a name too long for an id": (renamed("done", "Note", "N" * 200 + "-0123456789abcdef"), "name", True),
    "an older copy": (copied("running", lambda job: job.update(result=None)), "double", True),
    "a copy that is another job": (copied("pending", lambda job: job["params"].update(page="other")), "double", True),
    "a copy that cannot be read": (copied("blocked", data=b"{"), "double", True),
    "three copies": (everywhere, "double", True),
    "a child that is nowhere": (deleted(lambda state: state.file("done", "Text", -1)), "child", False),
    "a blocked child that is nowhere": (deleted(lambda state: state.file("blocked", "Text")), "child", False),
    "upstream of pending nowhere": (
        changed("pending", "Last", lambda job: job.update(after=[NOBODY])), "upstream", False
    ),
    "upstream of done nowhere": (changed("done", "Text", lambda job: job["after"].append(NOBODY)), "upstream", False),
    "what a held job waits for": (deleted(lambda state: state.file("running")), "upstream", False),
    "a root that is nowhere": (deleted(lambda state: state.file("done", "New")), "root", False),
    "a root with other arguments": (deleted(lambda state: state.file("cancelled", "Old")), "root", False),
    "one root more": (new_root, "root", False),
    "two that wait for each other": (circle("pending", "pending"), "cycle", False),
    "three that wait for each other": (circle("pending", "blocked", "pending"), "cycle", False),
    "one that waits for itself": (circle("pending"), "cycle", False),
    "done without a record": (changed("done", "Site", lambda job: job.update(result=None)), "no record", True),
    "done without an attempt": (changed("done", "Note", lambda job: job.update(attempts=[])), "not finished", True),
    "done by a failure": (changed("done", "Note", last_try(outcome="failed")), "not finished", True),
    "done by another run": (changed("done", "Note", last_try(run=EARLIER)), "not finished", True),
    "failed, moved to done": (moved("failed", "done", "Page"), "no record", True),
    "running, moved to done": (moved("running", "done", "Hold"), "no record", True),
    "done, moved to failed": (moved("done", "failed", "Both"), "untold", True),
    "pending, moved to failed": (moved("pending", "failed", "Last"), "untold", True),
    "two owners of a first output": (
        another("pending", id="Nobody-ae7be286f9526cac", params={"output": "data/renamed.txt"}), "two owners", False
    ),
    "two owners of a second output": (same_output("data/one-1", "data/two-1"), "two owners", False),
    "a second output that is a first": (same_output("data/site.txt", "data/site.txt"), "two owners", False),
    "an id of no such output": (
        renamed("done", "Both", "Both-0123456789abcdef", lambda job, id: job.update(id=id)), "identity", True
    ),
    "an id of another class": (
        changed("done", "Both", lambda job: job.update(task="jobs.night:Neither")), "identity", True
    ),
    "an id of other parameters": (
        changed("done", "Note", lambda job: (job["params"].update(text="?"), job["result"]["params"].update(text="?"))),
        "identity", True
    ),
    "parameters of another output": (
        changed("done", "Site", lambda job: job["params"].update(output="data/other.txt")), "identity", True
    ),
    "a task that is none": (changed("pending", "Last", lambda job: job.update(task="rm -rf")), "task", True),
    "half a run record": (record(lambda file: os.truncate(file, 40)), "run record", True),
    "an empty run record": (record(lambda file: os.truncate(file, 0), "jobs.night:held"), "run record", True),
    "a run record of another run": (record_moved, "run record", True),
    "a run record that is a link": (record(record_linked), "run record", True),
}  # fmt: skip
