"""The table of hostile files: one function for each folder, and a case for each outcome or way through the code."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.faults.hostile import PLANTS, ROOT, RUN, Case, Document, attempt, done, id_of, job, result, text


def written(data: bytes | Document) -> Callable[[Path], None]:
    whole = data if isinstance(data, bytes) else text(data)
    return lambda path: (path.write_bytes(whole), None)[1]


def damaged(folder: str, name: str, *, asked: bool, **changes: Any) -> Case:
    """A file of one of the kinds above, in the place of a whole one."""
    plant, says = PLANTS[name]
    path = f"data/{folder}-{name.replace(' ', '-')}-{asked:d}.txt"
    history = [attempt(folder if folder in ("failed", "cancelled") else "failed")]
    whole = text(done(path) if folder == "done" else job(path, attempts=history, retries_from=1))
    return Case(
        folder,
        name + (", asked for" if asked else ""),
        f"{id_of(path)}.json",
        lambda where: plant(where, whole),
        **{
            "says": says,
            "asked": f"Good {path}" if asked else "",
            "then": "done" if asked else None,
            "before": "" if folder == "inbox" else "invalid",
            "root": name in ROOT,
            "made": (path, b"good") if folder == "done" else None,
        }
        | changes,
    )


def odd(folder: str, name: str, document: bytes | Document, says: str = "", **changes: Any) -> Case:
    """A file with hand-made content; its name is its id, or else made from the case's."""
    known = document.get("id") if isinstance(document, dict) else None
    file = f"{known}.json" if known and folder != "inbox" else f"{name.replace(' ', '-').replace('/', '_')}.json"
    return Case(folder, name, **{"file": file, "plant": written(document), "says": says} | changes)


def handed_in(name: str, says: str, **changes: Any) -> Case:
    """A document for inbox/ that is a job, but for its changes."""
    path = f"data/inbox-{name.replace(' ', '-').replace('/', '_')}.txt"
    return odd("inbox", name, job(path, **{"schema": None, "id": None} | changes), says)


def accepted(name: str, file: str, **changes: Any) -> Case:
    """A file in inbox/ that looks odd, and is a job like any other."""
    path = f"data/accepted-{name.replace(' ', '-')}.txt"
    return odd("inbox", name, job(path, **changes), file=file, ends="", then="done", job=id_of(path))


PARAMS: dict[str, tuple[Any, str]] = {
    "params are a list": ([], "`$.params`"),
    "params are null": (None, "params"),
    "a parameter of the wrong type": ({"output_filepath": "data/p.txt", "text": 5}, "text"),
    "a parameter that nobody knows": ({"output_filepath": "data/p.txt", "colour": "red"}, "colour"),
    "no parameter": ({}, "output_filepath"),
    "an output that is a number": ({"output_filepath": 5}, "expected a path"),
    "an output that is an object": ({"output_filepath": {"a": 1}}, "expected a path"),
    "an output without a name": ({"output_filepath": ""}, "output_filepath"),
    "an output with a NUL": ({"output_filepath": "data/a\0b"}, "output_filepath"),
    "an output that is the project": ({"output_filepath": "data/.."}, "the project's folder"),
}
CLASSES = {
    "os:system": "is not among the modules",
    "builtins:exec": "is not among the modules",
    "subprocess:Popen": "is not among the modules",
    "evil:Owned": "is not among the modules",
    "jobsevil:Owned": "is not among the modules",
    "runner.task:Task": "is not among the modules",
    "jobs.land:Path": "no Task any more",
    "jobs.land:Task": "no Task any more",
    "jobs.land:NoTask": "no Task any more",
    "jobs.land:no_class": "no Task any more",
    "jobs.land:Good.run": "no Task any more",
    "jobs.land:Good.run.__globals__": "has no",
    "jobs.land:Nobody": "has no Nobody",
    "jobs.nowhere:Good": "no module jobs.nowhere",
    "jobs.broken:Good": "cannot be imported",
    "jobs.land": "no name of a task",
    "../jobs/land:Good": "no name of a task",
    "jobs.land:": "no name of a task",
    "": "no name of a task",
}
FIELDS: dict[str, tuple[Document, str]] = {  # of any job file, wherever it lies
    "schema 0": ({"schema": 0}, "`$.schema`"),
    "schema in words": ({"schema": "1"}, "`$.schema`"),
    "schema with a point": ({"schema": 1.0}, "`$.schema`"),
    "an id that climbs": ({"id": "../../x-0123456789abcdef"}, "`$.id`"),
    "an absolute id": ({"id": "/etc/x-0123456789abcdef"}, "`$.id`"),
    "an id in capitals": ({"id": "Good-0123456789ABCDEF"}, "`$.id`"),
    "an id without a hash": ({"id": "Good"}, "`$.id`"),
    "an id that is too long": ({"id": "G" * 240 + "-0123456789abcdef"}, "longer than"),
    "an id that is a number": ({"id": 5}, "`$.id`"),
    "a task that is a list": ({"task": ["jobs.land:Good"]}, "`$.task`"),
    "upstream jobs in words": ({"after": "Good"}, "`$.after`"),
    "an upstream job that climbs": ({"after": ["../x"]}, "`$.after[0]`"),
    "a finder that is a number": ({"found_by": 5}, "`$.found_by`"),
    "submitted yes": ({"submitted": "yes"}, "`$.submitted`"),
    "a depth of -5": ({"depth": -5}, "`$.depth`"),
    "a depth with a point": ({"depth": 1.5}, "`$.depth`"),
    "a retry time in words": ({"not_before": "tomorrow"}, "`$.not_before`"),
    "a retry time without a zone": ({"not_before": "2026-01-01T02:00:00"}, "`$.not_before`"),
    "a retry time in month 13": ({"not_before": "2026-13-01T02:00:00Z"}, "no time"),
    "retries beyond the attempts": ({"retries_from": 3}, "`$.retries_from`"),
    "attempts that are an object": ({"attempts": {}}, "`$.attempts`"),
    "an attempt without an outcome": ({"attempts": [{"run": RUN}]}, "`$.attempts[0]`"),
    "an attempt without a zone": ({"attempts": [attempt(started="2026-01-01T02:00:00")]}, "`$.attempts[0].started`"),
    "an error in words": ({"attempts": [attempt(error="no")]}, "`$.attempts[0].error`"),
    "a result that is a list": ({"result": []}, "`$.result`"),
    "a result with half a digest": ({"result": {"outputs": {"a": {"bytes": 1}}}}, "`$.result.outputs"),
    "a result with a negative size": ({"result": result("a", outputs={"a": {"bytes": -1, "sha256": ""}})}, "bytes`"),
    "a result that found a path": ({"result": {"found": ["../../x"]}}, "`$.result.found[0]`"),
    "a result without a zone": ({"result": {"checked_at": "2026-01-01T02:00:00"}}, "`$.result.checked_at`"),
}
COMMANDS: dict[str, tuple[bytes | Document, str]] = {
    "a command cut short": (b'{"schema": 1, "verb": "sto', "truncated"),
    "a command in a list": (b"[]", "not one object"),
    "a command that nobody knows": ({"verb": "rm", "ids": ["-rf"]}, "no command"),
    "a command without a verb": ({"schema": 1}, "`$.verb`"),
    "a command of a newer version": ({"schema": 99, "verb": "cancel", "ids": []}, "newer version"),
    "a command for a number": ({"verb": "cancel", "ids": 5}, "no command"),
    "a command twice the same key": (b'{"verb": "stop", "verb": "cancel"}', "'verb' twice"),
    "a command nested deep": (b'{"verb": ' + b"[" * 100_000, "nested more"),
}


def inbox_cases() -> list[Case]:
    others = ("another's id", "a gigabyte")
    cases = [damaged("inbox", name, asked=False) for name in PLANTS if name not in others]
    cases += [handed_in(name, says, params=params) for name, (params, says) in PARAMS.items()]
    cases += [handed_in(f"the class {name}", says, task=name) for name, says in CLASSES.items()]
    cases += [handed_in(name, says, **changes) for name, (changes, says) in FIELDS.items()]
    cases += [
        odd("inbox", name, document, says, file=f"{name.replace(' ', '-')}.do.json")
        for name, (document, says) in COMMANDS.items()
    ]
    short = [{"outcome": "failed"}]
    large = {"params": {"output_filepath": "data/large.txt", "text": "x" * (17 << 20)}}
    return [*cases,
        handed_in("a newer schema", "newer version", schema=99),
        handed_in("no task", "`$`", task=None),
        handed_in("another's id", "its task and params make", id=id_of("another")),
        handed_in("17 MB", "are allowed", **large),
        handed_in("itself upstream", "Cycle", id=id_of("data/inbox-itself-upstream.txt"),
                  after=[id_of("data/inbox-itself-upstream.txt")]),
        odd("inbox", "one of a cycle", job("data/c1.txt", after=[id_of("data/c2.txt")]), "Cycle"),
        odd("inbox", "the other of a cycle", job("data/c2.txt", after=[id_of("data/c1.txt")]), "Cycle"),
        odd("inbox", "one of a conflict", job("data/both.txt"), "both"),
        odd("inbox", "the other of a conflict", job("data/both.txt", "Loud"), "both"),
        odd("inbox", "nobody upstream", job("data/up.txt", after=[id_of("nobody")]), ends="", then="blocked",
            job=id_of("data/up.txt")),
        odd("inbox", "a dot name", job("data/dot.txt"), file=".waits.json", ends="inbox"),
        odd("inbox", "a command about paths", {"verb": "cancel", "ids": ["../../x", "/etc/passwd", ""]},
            file="paths.do.json", ends=""),
        odd("inbox", "a stop for somebody else", {"verb": "stop", "pid": 1, "start": "0"}, file="s.do.json", ends=""),
        accepted("no suffix", "NAME"),
        accepted("two suffixes", f"{id_of('data/accepted-two-suffixes.txt')}.json.json"),
        accepted("spaces and a line feed", "a b\nc.json"),
        accepted("255 bytes", "x" * 250 + ".json"),
        accepted("no Unicode", os.fsdecode(b"\xff\xfe.json")),
        accepted("a finder that is nowhere", "found.json", found_by="Nobody-0123456789abcdef", depth=3),
        accepted("a finder that is a path", "finder.json", found_by="../../x"),
        accepted("100,000 attempts", "attempts.json", attempts=short * 100_000),
        accepted("a finished history", "history.json", attempts=[attempt("done")], retries_from=0,
                 result=result("/etc/passwd")),
        accepted("a retry time in 9999", "9999.json", not_before="9999-12-31T23:59:59Z"),
        accepted("unknown fields", "fields.json", owner={"name": "me"}),
    ]  # fmt: skip


PENDING_NAMES = {
    "two suffixes": f"{id_of('data/n1.txt')}.json.json",
    "another case": f"{id_of('data/n2.txt').replace('Good', 'good')}.json",
    "a hash in capitals": f"{id_of('data/n3.txt').upper().replace('GOOD', 'Good')}.json",
    "composed otherwise": f"Gro\u0308\u00dfe-{id_of('x')[-16:]}.json",
    "a line feed": f"{id_of('data/n4.txt')}\n.json",
    "255 bytes": "x" * 250 + ".json",
    "no Unicode": os.fsdecode(b"Good\xff-0123456789abcdef.json"),
    "nothing before the suffix": "-.json",
    "a command": "stop.do.json",
}


def pending_cases() -> list[Case]:
    cases = [damaged("pending", name, asked=False) for name in PLANTS]
    cases += [damaged("pending", name, asked=True) for name in ("cut", "symlink", "folder", "FIFO")]
    for name, (changes, says) in FIELDS.items():
        if "id" in changes:
            continue
        path = f"data/field-{name.replace(' ', '-')}.txt"
        cases.append(odd("pending", name, job(path, **changes), says, before="invalid"))
    for name, file in PENDING_NAMES.items():
        whole = job(f"data/name-{name.replace(' ', '-')}.txt")
        before, says = ("invalid", "the file is named") if name == "another case" else ("name", "no job id")
        cases.append(odd("pending", f"named with {name}", whole, says, file=file, before=before))
    for number, (name, (params, says)) in enumerate(PARAMS.items()):
        if params:  # what a worker is to fail: its id cannot be told from these
            whole = job(f"p{number}", params=params)
            cases.append(odd("pending", name, whole, says, ends="failed", then="failed"))
    failed: dict[str, Any]
    for number, (name, says) in enumerate(CLASSES.items()):
        named = ":" in name and name[-1] != ":" and "/" not in name
        before = "task" if not named else "" if name.endswith(":Good") else "identity"
        whole = job(f"k{number}", task=name)
        cases.append(
            odd("pending", f"the class {name}", whole, says, ends="failed", then="failed", before=before, after=before)
        )
    self_, one, two, three = (id_of(f"data/{name}.txt") for name in ("self", "one", "two", "three"))
    up, reads = "data/after-nobody.txt", {"input_filepath": "data/nobody.txt", "output_filepath": "data/reads.txt"}
    short = [{"outcome": "failed"}]
    failed = {"ends": "failed", "then": "failed"}
    return [*cases,
        odd("pending", "itself upstream", job("data/self.txt", after=[self_]), "Cycle", before="cycle", **failed),
        odd("pending", "one of a cycle", job("data/one.txt", after=[two]), "Cycle", **failed),
        odd("pending", "two of a cycle", job("data/two.txt", after=[three]), "Cycle", before="cycle",
            **failed),
        odd("blocked", "three of a cycle", job("data/three.txt", after=[one]), "Cycle",
            before="to be unblocked", **failed),
        odd("pending", "nobody upstream", job(up, after=[id_of("nobody")]), ends="blocked", then="blocked",
            before="upstream", after="upstream"),
        odd("pending", "an input that nobody makes", job("data/reads.txt", "Copy", params=reads), "nobody makes it",
            **failed),
        odd("pending", "an input that is a number", job("q1", "Copy", params=reads | {"input_filepath": 5}),
            "expected a path", **failed),
        odd("pending", "inputs that are numbers", job("q2", "Merge", params=reads | {"input_filepaths": [5, [], None]}),
            "expected a path", **failed),
        odd("pending", "outputs that are numbers", job("q3", params={"output_filepath": [1, 2]}),
            "expected a path", **failed),
        odd("pending", "another job's params", job("data/q4.txt", params={"output_filepath": "data/q5.txt"}),
            ends="done", then="done", after="identity"),
        odd("pending", "a depth of 10**30", job("data/q6.txt", depth=10**30), ends="done", then="done"),
        odd("pending", "a retry time in year 1", job("data/q7.txt", not_before="0001-01-01T00:00:00Z"), ends="done",
            then="done"),
        odd("pending", "failures enough", job("data/q8.txt", attempts=[attempt()]), ends="failed",
            then="failed", says="by hand"),
        odd("pending", "100,000 failures that count no more", job("data/q9.txt", attempts=short * 100_000,
            retries_from=100_000), ends="done", then="done"),
        odd("pending", "a finder that is nowhere", job("data/q10.txt", found_by="../../x"), ends="done", then="done"),
    ]  # fmt: skip


def outside(job: Document) -> Document:
    """With a record of a file that is not the project's."""
    files = {"../outside/victim.txt": {"bytes": 8, "sha256": sha256(b"precious").hexdigest()}}
    return job | {"result": result("x", outputs=files), "attempts": [attempt("done", error=None)]}


def other_cases() -> list[Case]:
    """In the folders that a run reads only for those that it comes to."""
    some = ("cut", "empty", "another's id", "symlink", "folder", "FIFO", "foreign owner")
    cases = []
    for folder in ("running", "blocked"):
        cases += [damaged(folder, name, asked=False) for name in (*some, "binary", "deep")]
    for folder in ("done", "failed", "cancelled"):
        cases += [damaged(folder, name, asked=True) for name in some]
        cases += [damaged(folder, name, asked=False, ends=folder, after="invalid") for name in some]
    return cases


def done_cases() -> list[Case]:
    """Done jobs that are met in other ways than by their name."""
    history = [{"outcomf": "done"}]
    old = {"attempts": history, "result": result("data/d2.txt", version=0)}
    files = {f"data/d{n}.txt": (f"data/d{n}.txt", b"good") for n in range(9)}
    empty = {"data/d6.txt": {"bytes": 0, "sha256": sha256(b"").hexdigest()}}
    nul = result("data/d5.txt", outputs={"data/\0": {"bytes": 4, "sha256": ""}})
    late = result("data/d7.txt", checked_at="9999-12-31T23:59:59-23:59", invalidated="0001-01-01T00:00:00+23:59")
    cut = text(done("data/d3.txt"))[:200]
    whole: dict[str, Any] = {"then": "done"}
    return [
        odd("done", "an odd history", done("data/d1.txt", attempts=history), asked="Good data/d1.txt", ends="done",
            before="invalid", after="invalid", made=files["data/d1.txt"], **whole),
        odd("done", "an odd history, and due", done("data/d2.txt", **old), "attempts[0]", asked="Good data/d2.txt",
            before="invalid", made=files["data/d2.txt"], **whole),
        odd("done", "an odd history, and to be asked", done("data/d0.txt", "Finder", attempts=history), "attempts[0]",
            asked="Finder data/d0.txt", before="invalid", made=files["data/d0.txt"], **whole),
        odd("done", "cut, and superseded", cut, "truncated", file=f"{id_of('data/d3.txt')}.json", before="invalid",
            asked="Loud data/d3.txt", made=files["data/d3.txt"], then="done", job=id_of("data/d3.txt", "Loud")),
        odd("done", "cut, and read by another", cut, file=f"{id_of('data/d4.txt')}.json", before="invalid",
            asked="Merge data/d4.txt", made=files["data/d4.txt"], ends="done", after="invalid", then="done",
            job=id_of("data/d4.txt.merged", "Merge")),
        odd("done", "an output with a NUL", done("data/d5.txt", result=nul), asked="Good data/d5.txt", ends="done",
            before="identity", made=files["data/d5.txt"], **whole),
        odd("done", "an output that is a FIFO", done("data/d6.txt", result=result("data/d6.txt", outputs=empty)),
            asked="Good data/d6.txt", ends="done", before="output", after="output", **whole),
        odd("done", "times out of the calendar", done("data/d7.txt", result=late), asked="Good data/d7.txt",
            ends="done", made=files["data/d7.txt"], **whole),
        odd("done", "a record about others' files", outside(done("data/d8.txt")), asked="Good data/d8.txt",
            ends="done", before="identity", **whole),
        odd("done", "no record", done("data/d9.txt", result=None), asked="Good data/d9.txt", ends="done",
            before="no record", **whole),
        odd("running", "a record about others' files", outside(job("r1", task="jobs.land:Nobody")), ends="done",
            before="identity", after="identity", then="done"),
        odd("running", "a task that is none", job("r2", task="os:system"), "not among", ends="failed", then="failed",
            before="identity", after="identity"),
        odd("running", "outputs that are numbers", job("r3", params={"output_filepath": [1]}), "expected a path",
            ends="failed", then="failed"),
    ]  # fmt: skip


def _twins(first: str, one: Document, two: Document | None) -> Callable[[Path], None]:
    """The same file, or the same job, in another folder too."""

    def plant(path: Path) -> None:
        other = path.parents[1] / first / path.name
        other.write_bytes(text(one))
        if two is None:
            path.hardlink_to(other)
        else:
            path.write_bytes(text(two))

    return plant


def double_cases() -> list[Case]:
    cases = []
    for number, (first, name, second) in enumerate([
        ("done", "pending", None), ("failed", "pending", None), ("failed", "running", "same"),
        ("cancelled", "blocked", "same"), ("done", "pending", "other"), ("failed", "running", "other"),
    ]):  # fmt: skip
        path = f"data/twin-{number}.txt"
        one = done(path) if first == "done" else job(path, attempts=[attempt(first)])
        two = None if second is None else one if second == "same" else one | {"params": {"output_filepath": "x"}}
        how = "one file" if second is None else f"the {second} job"
        says = "with different parameters" if second == "other" else f"{first}/ has a later copy"
        plant = _twins(first, one, two)
        made = (path, b"good") if first == "done" else None
        cases.append(odd(name, f"{how} as in {first}", one, says, plant=plant, made=made))
    return cases


def log_cases() -> list[Case]:
    """What lies where a job's log goes: what the job prints is lost, and nothing else."""
    plants: dict[str, Callable[[Path], None]] = {
        "symlink": lambda path: path.symlink_to("../../../outside/victim.txt"),
        "FIFO": os.mkfifo,
        "folder": lambda path: path.mkdir(),
    }
    cases = []
    for name, plant in plants.items():
        loud = job(f"data/loud-{name}.txt", "Loud")
        cases.append(odd("logs", f"a {name}", b"", file=f"{loud['id']}.log", plant=plant, ends="logs"))
        cases.append(odd("pending", f"its log is a {name}", loud, ends="done", then="done"))
    return cases


def litter_cases() -> list[Case]:
    """In the runner's own folders: what is none of its files is left alone, or swept like its own."""
    link: Callable[[Path], None] = lambda path: path.symlink_to("../../../outside/victim.txt")  # noqa: E731
    folder: Callable[[Path], None] = lambda path: path.mkdir()  # noqa: E731
    deep = b"[" * 100_000
    planted: list[tuple[str, str, Any, str]] = [
        ("tmp/99999999-1.1.x", "a dead runner's file", b"x", ""),
        ("tmp/99999999-1.2.x", "a symlink like a dead runner's file", link, ""),
        ("tmp/99999999-1.3.x", "a FIFO like a dead runner's file", os.mkfifo, ""),
        ("tmp/99999999-1.4.x", "a folder like a dead runner's file", folder, "tmp"),
        ("tmp/0-0.1.x", "a file of process 0", b"x", ""),
        ("tmp/999999999999999-1.1.x", "a file of no process", b"x", "tmp"),
        ("tmp/notes.txt", "somebody's notes", b"x", "tmp"),
        ("tmp/-.", "hardly a name", b"x", "tmp"),
        ("locks/worker-99999991-1.lock", "a FIFO like a worker's lock", os.mkfifo, "locks"),
        ("locks/worker-99999992-1.lock", "a folder like a worker's lock", folder, "locks"),
        ("locks/worker-99999993-1.lock", "a symlink like a worker's lock", link, "locks"),
        ("locks/worker-99999994-1.lock", "a worker's lock with words in it", b"none", ""),
        ("locks/worker-99999999999999999999-1.lock", "a lock of no process", b"", ""),
        ("locks/worker-1-1.lock", "a lock of process 1", b"", "locks"),
        ("locks/worker-x-y.lock", "a lock of a process in words", b"", "locks"),
        ("locks/runner.json", "a holder nested deep", deep, "locks"),
        ("locks/generation", "a generation in words", b"many", "locks"),
        ("runs/20250101T000000Z.jsonl", "a journal nested deep", deep + b"\n" + deep, "runs"),
        ("runs/20250102T000000Z.jsonl", "a journal that is a FIFO", os.mkfifo, "runs"),
        ("runs/20250103T000000Z.jsonl", "a binary journal", bytes(range(256)) * 9, "runs"),
        ("runs/notes.json", "no run record", b"{", "runs"),
        ("trash/x", "a FIFO in the trash", os.mkfifo, "trash"),
        ("cache/x", "a symlink in the cache", link, "cache"),
        ("quarantine/x", "a FIFO in quarantine", os.mkfifo, "quarantine"),
        (f"quarantine/{id_of('q')}.json", "a job in quarantine, with no reason", deep, "quarantine"),
        ("done/notes.txt", "notes among jobs", b"mine", "done"),
        ("done/.hidden.json", "a hidden file among jobs", b"mine", "done"),
        ("strange", "a file in the state itself", b"mine", "."),
    ]
    return [
        Case(where.rpartition("/")[0] or ".", name, where.rpartition("/")[2],
             written(plant) if isinstance(plant, bytes) else plant, ends=ends,
             before="no reason" if where.startswith("quarantine") else "",
             after="no reason" if where.startswith("quarantine") else "")
        for where, name, plant, ends in planted
    ]  # fmt: skip


CASES = [
    *inbox_cases(),
    *pending_cases(),
    *other_cases(),
    *done_cases(),
    *double_cases(),
    *log_cases(),
    *litter_cases(),
]
