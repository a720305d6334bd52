"""Hostile and damaged files, by name: what each is, where it is planted, and what is to become of it.

A `Case` is planted into a state beside good jobs. `asked`: the flow names its job, so that the run comes to it. The
jobs' ids are made here from their output paths, as the contract has it, and not by the code that is tested.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

RUN = "20260101T020000Z"
STRANGER = 54321  # the uid of somebody else

TASKS = """
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Absent, Input, Output, Task

    @dataclass
    class Good(Task):
        output_filepath: Output
        text: str = "good"
        retries = 0

        def run(self):
            self.output_filepath.write_text(self.text)

    @dataclass
    class Merge(Task):
        input_filepaths: list[Input]
        output_filepath: Output
        retries = 0

        def run(self):
            self.output_filepath.write_text(" ".join(path.read_text() for path in self.input_filepaths))

    @dataclass
    class Copy(Task):
        input_filepath: Input
        output_filepath: Output
        retries = 0

        def run(self):
            self.output_filepath.write_bytes(self.input_filepath.read_bytes())

    @dataclass
    class Finder(Task):
        output_filepath: Output
        retries = 0

        def run(self):
            self.output_filepath.write_text("found")

        def downstream_tasks(self):
            yield Good(self.output_filepath.with_suffix(".child"))

    @dataclass
    class Loud(Task):
        output_filepath: Output
        retries = 0

        def run(self):
            print("hello")
            self.output_filepath.write_text("loud")

    @dataclass
    class Gone(Task):
        output_filepath: Output

        def run(self):
            return Absent()

    class NoTask:
        def __init__(self, **_):
            Path("owned-by-a-class").touch()

    def no_class(**_):
        Path("owned-by-a-function").touch()

    def flow():
        yield Good(Path("data/flow.txt"))
        for line in Path("asked.txt").read_text().splitlines():
            kind, path = line.split()
            if kind == "Merge":
                yield Merge([Path(path)], Path(path + ".merged"))
            else:
                yield globals()[kind](Path(path))
"""

Document = dict[str, Any]


def id_of(path: str, task: str = "Good") -> str:
    return f"{task}-{sha256(path.encode()).hexdigest()[:16]}"


def job(path: str, kind: str = "Good", **changes: Any) -> Document:
    """A whole job file; `changes` of None leave a key out."""
    document = {
        "schema": 1,
        "id": id_of(path, kind),
        "task": f"jobs.land:{kind}",
        "params": {"output_filepath": path},
        **changes,
    }
    return {key: value for key, value in document.items() if value is not None}


def attempt(outcome: str = "failed", **changes: Any) -> Document:
    error = {"type": "Odd", "message": "by hand", "traceback": ""}
    return {"run": RUN, "started": "2026-01-01T02:00:00Z", "seconds": 0.1, "outcome": outcome, "error": error} | changes


def result(path: str, data: bytes = b"good", **changes: Any) -> Document:
    """The record of a success that is up to date, if the file is there."""
    return {
        "run": RUN,
        "version": 1,
        "checked_at": "2026-01-01T02:00:00Z",
        "change": "new",
        "params": {"output_filepath": path, "text": "good"},
        "outputs": {path: {"bytes": len(data), "sha256": sha256(data).hexdigest()}},
        **changes,
    }


def done(path: str, kind: str = "Good", **changes: Any) -> Document:
    """A done job, up to date."""
    params = {"output_filepath": path} | ({"text": "good"} if kind == "Good" else {})
    record = result(path, params=params)
    whole: Document = {"params": params, "attempts": [attempt("done", error=None)], "result": record}
    return job(path, kind, **(whole | changes))


def text(document: Document) -> bytes:
    return json.dumps(document, indent=2).encode()


# --------------------------------------------------------------------------------------------------- kinds of damage

Plant = Callable[[Path, bytes], None]  # a path, and the bytes of a whole job file


def _with(damage: Callable[[bytes], bytes]) -> Plant:
    def plant(path: Path, whole: bytes) -> None:
        path.write_bytes(damage(whole))

    return plant


def _symlink(path: Path, whole: bytes) -> None:
    """To a whole job file that is not in the state."""
    target = path.parents[2] / "linked" / f"{path.parent.name}-{path.name}"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(whole)
    path.symlink_to(target)


def _socket(path: Path, whole: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has 108 bytes at the most
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


def _foreign(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    os.chown(path, STRANGER, -1)


def _huge(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)
    os.truncate(path, (1 << 30) + 1)  # sparse


PLANTS: dict[str, tuple[Plant, str]] = {  # and what the reason says
    "cut": (_with(lambda whole: whole[: len(whole) // 2]), "truncated"),
    "empty": (_with(lambda whole: b""), "truncated"),
    "zeros": (_with(lambda whole: bytes(len(whole))), "invalid character"),
    "binary": (_with(lambda whole: bytes(range(256))), "not UTF-8"),
    "deep": (_with(lambda whole: b"[" * 100_000 + b"]" * 100_000), "nested more than 64 deep"),
    "deep inside": (_with(lambda whole: whole[:-1] + b', "x": ' + b"[" * 99 + b"]" * 99 + b"}"), "nested more"),
    "twice the same key": (_with(lambda whole: whole[:-1] + b', "task": "jobs.land:Copy"}'), "'task' twice"),
    "NaN": (_with(lambda whole: whole[:-1] + b', "x": NaN}'), "invalid character"),
    "infinity": (_with(lambda whole: whole[:-1] + b', "x": 1e999}'), "out of range"),
    "5,000 digits": (_with(lambda whole: whole[:-1] + b', "x": ' + b"9" * 5000 + b"}"), "out of range"),
    "lone surrogate": (_with(lambda whole: whole[:-1] + rb', "x": "\ud800"}'), "`$`"),
    "no UTF-8": (_with(lambda whole: whole[:-1] + b', "x": "\xff"}'), "not UTF-8"),
    "UTF-16": (_with(lambda whole: whole.decode().encode("utf-16")), "`$`"),
    "byte order mark": (_with(lambda whole: b"\xef\xbb\xbf" + whole), "byte order mark"),
    "two documents": (_with(lambda whole: whole + whole), "trailing"),
    "a list": (_with(lambda whole: b"[1, 2]"), "not one object"),
    "null": (_with(lambda whole: b"null"), "not one object"),
    "another's id": (_with(lambda whole: text(json.loads(whole) | {"id": id_of("other.txt")})), "is 'Good-"),
    "symlink": (_symlink, "symlink"),
    "dangling symlink": (lambda path, whole: path.symlink_to("nowhere.json"), "symlink"),
    "folder": (lambda path, whole: path.mkdir(), "no regular file"),
    "FIFO": (lambda path, whole: os.mkfifo(path), "no regular file"),
    "socket": (_socket, "no regular file"),
    "foreign owner": (_foreign, f"uid {STRANGER}"),
    "a gigabyte": (_huge, "are allowed"),
}
ROOT = frozenset({"foreign owner"})


def look(path: Path) -> tuple[str, Any]:
    """What lies there, without following or opening what is no file."""
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return "symlink", os.readlink(path)
    if stat.S_ISREG(found.st_mode):
        large = found.st_size > 1 << 24
        return "file", (found.st_ino, found.st_size) if large else path.read_bytes()
    return stat.filemode(found.st_mode)[0], found.st_ino


# ------------------------------------------------------------------------------------------------------------- cases


@dataclass(frozen=True)
class Case:
    """One planted file. `ends`: the folder that it is in after the run. `then`: the status of its job."""

    folder: str
    name: str  # for people
    file: str  # its name in the folder
    plant: Callable[[Path], None]
    ends: str = "quarantine"
    says: str = ""  # in NAME.reason.txt, or in the error of the last attempt
    then: str | None = None
    asked: str = ""  # what the flow names: "Good data/x.txt"
    before: str = ""  # what `check` calls it before the run; "": nothing
    after: str = ""  # and after it
    root: bool = False  # to plant it takes root
    job: str = ""  # whose status `then` is; "": the one that the file is named after
    made: tuple[str, bytes] | None = None  # a file of the project that it refers to

    @property
    def title(self) -> str:
        return f"{self.folder}: {self.name}"
