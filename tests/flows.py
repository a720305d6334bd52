"""Flows that change from night to night, and how one night of such a flow is run and held against the oracle."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.batch import propose
from runner.core.engine import PART
from runner.core.events import Asked, Judged, Lacked
from runner.core.model import Status
from runner.readahead import ReadAhead
from runner.store.codec import Brief
from tests.incremental import (
    ASKED,
    BAD,
    CLASSES,
    DAY,
    GONE,
    OUTPUT,
    PARENTS,
    PLAN,
    VALUE,
    Expected,
    Wish,
    expect,
    id_of,
    outputs_of,
    set_version,
    task_of,
)
from tests.rig import STARTED, Rig
from tests.store.support import Crash, FaultyFiles

SOURCES = ["src/0", "src/1", "src/2"]
Cut = tuple[str, int]
"""Where a run is cut short: at the N-th change of a file ("files"), "before" or "after" the N-th attempt."""

Stat = tuple[int, int, bytes]
"""A file's inode, mtime and contents."""

COUNTS: Counter[str] = Counter()
"""What the nights of a test saw."""

# ---------------------------------------------------------------------------------------------------- the world


@dataclass
class Spec:
    """A task as the flow of a night has it; `finders` are numbers of its parents."""

    task: str
    several: int = 0
    root: bool = True
    finders: set[int] = field(default_factory=set)
    many: list[str] = field(default_factory=list)
    maybe: str | None = None
    plain: str | None = None
    mode: str = PLAN
    lazy: bool = False
    fragile: bool = False
    brittle: bool = False
    fold: int = 0
    hint: str = ""
    salt: str = ""

    def __repr__(self) -> str:
        """As it is made, without what need not be said."""
        plain = vars(Spec(self.task))
        said = [f"{name}={value!r}" for name, value in vars(self).items() if value != plain[name]]
        return f"Spec({', '.join([repr(self.task), *said])})"


@dataclass
class World:
    specs: list[Spec]
    early: bool = True  # jobs may read what is found when they are there already
    texts: dict[str, str] = field(default_factory=dict)

    def wishes(self) -> list[Wish]:
        """The roots, with all that they find inside them, and the index files on disk."""
        alive: dict[int, str] = {}  # number -> what will become of it
        jobs = read_jobs()
        for i, spec in enumerate(self.specs):
            if spec.root or any(alive.get(p) == "made" and self.specs[p].task in PARENTS for p in spec.finders):
                alive[i] = self._fate(
                    spec,
                    self._inputs(i, alive),
                    alive,
                    jobs.get(id_of({"task": spec.task, "params": {"output": f"out/j{i}"}})),
                )
        made: dict[int, Wish] = {}
        for i in sorted(alive, reverse=True):
            made[i] = self._wish(i, alive, made)
        return [made[i] for i in sorted(alive) if self.specs[i].root]

    def _fate(self, spec: Spec, inputs: Mapping[str, Any], alive: Mapping[int, str], job: Any) -> str:
        read = _flat(inputs)
        makers = [maker for path in read if (maker := maker_of(path)) in alive]
        if any(alive[maker] in ("failed", "blocked") for maker in makers):
            if job is None or job["status"] != "done":
                return "blocked"
            return "absent" if None in job["result"]["outputs"].values() else "kept"
        if (plain := maker_of(inputs.get("plain") or "")) is not None and alive.get(plain) == "absent":
            return "absent"
        texts = [self.texts.get(path) for path in read]
        if spec.fragile and GONE in texts:
            return "absent"
        return "failed" if spec.brittle and BAD in texts else "made"

    def _inputs(self, i: int, alive: Mapping[int, str]) -> dict[str, Any]:
        """What it reads tonight: nothing that nobody makes."""
        spec = self.specs[i]

        def stays(path: str | None) -> bool:
            maker = None if path is None else maker_of(path)
            return path is not None and (
                maker is None or path in self.texts or (maker in alive and (self.early or self._known(maker, i)))
            )

        found: dict[str, Any] = {
            "many": [path for path in spec.many if stays(path)],
            "maybe": spec.maybe if stays(spec.maybe) else None,
        }
        if spec.plain is not None:
            found["plain"] = spec.plain if stays(spec.plain) else f"src/p{i}"
        return found

    def _known(self, maker: int, reader: int) -> bool:
        """Whether the one is on the board when the other comes there."""
        if self.specs[maker].root or self.specs[reader].root:
            return self.specs[maker].root
        finders = self.specs[reader].finders
        return all(f == maker or f in self.specs[maker].finders or self._known(maker, f) for f in finders)

    def _wish(self, i: int, alive: Mapping[int, str], made: Mapping[int, Wish]) -> Wish:
        spec = self.specs[i]
        told = json.dumps([made[c] for c in sorted(made) if i in self.specs[c].finders])
        parent = spec.task in PARENTS
        indexed = parent and spec.mode in (VALUE, OUTPUT)
        params = {
            "output": f"out/j{i}",
            "more": [f"out/j{i}.{k}" for k in range(spec.several)],
            "index": f"src/index{i}" if indexed else None,
            "mode": spec.mode if parent else PLAN,
            "plan": told if parent and spec.mode == PLAN else "[]",
            "asked": told if parent and spec.mode == ASKED else "[]",
            "hint": spec.hint,
            "salt": spec.salt,
            "fold": spec.fold,
            "fragile": spec.fragile,
            "brittle": spec.brittle,
            "lazy": spec.lazy,
            **self._inputs(i, alive),
        }
        if indexed:
            put(f"src/index{i}", told)
        return {"task": spec.task, "params": params}


def _flat(read: Mapping[str, Any]) -> list[str]:
    return [path for value in read.values() for path in (value if isinstance(value, list) else [value]) if path]


def maker_of(path: str) -> int | None:
    return int(path.partition("/j")[2].partition(".")[0]) if path.startswith("out/j") else None


def put(path: str, text: str) -> None:
    """Write it, if it is another."""
    Path(path).parent.mkdir(exist_ok=True)
    if not os.path.exists(path) or Path(path).read_text() != text:
        Path(path).write_text(text)


# --------------------------------------------------------------------------------------------------- the nights


@dataclass
class Night:
    """What one run did."""

    ran: Counter[str] = field(default_factory=Counter)  # attempts begun, by job id
    asked: Counter[str] = field(default_factory=Counter)
    lacked: Counter[str] = field(default_factory=Counter)
    ahead: int = 0  # judgements that a worker had made ahead of time, and that held
    crashes: int = 0
    kept: list[tuple[str, int, Any]] = field(default_factory=list)  # at a crash: a success, its starts so far, inputs

    def crash(self, run: str) -> None:
        self.crashes += 1
        for job in read_jobs().values():
            result = job["result"] or {}
            if job["status"] == "done" and result.get("run") == run:
                self.kept.append((job["id"], self.ran[job["id"]], result["inputs"]))


def work(
    roots: list[Wish], run: str, started: float, crashes: Sequence[Cut], *, end: bool = True, ahead: bool = False
) -> Night:
    """One run through crashes, and (`end`) to its end. `ahead`: jobs enter one by one, and are looked at before."""
    night = Night()
    admitted: list[str] = []
    for crash in [*crashes, None] if end else crashes:
        files = FaultyFiles()
        part = 1 if ahead else PART
        rig = Rig(run=run, started=started, files=files, resuming=bool(admitted), part=part, ahead=ahead)
        try:
            _arm(rig, files, crash, night)
            _count_ahead(rig.rounds.ahead, night)
            rig.recover()
            if admitted:
                rig.backlog.name_again(admitted, tuple)
            else:
                batch = propose([task_of(wish) for wish in roots], root=rig.root)
                ids = [proposal.id for proposal in batch]
                rig.loop.submit(batch, lambda ids=ids: admitted.extend(ids))  # type: ignore[misc]
            assert rig.loop.run(), "the run did not come to its end"
            rig.store.close()
            break
        except Crash:
            night.crash(run)
            rig.store.shelf.close()
        finally:
            rig.executor.bench.close()
            Rig.made.remove(rig)
    return night


def _arm(rig: Rig, files: FaultyFiles, crash: Cut | None, night: Night) -> None:
    perform = rig.executor._perform
    kind, at = crash or ("", 0)
    if kind == "files":
        files.at = at
    begun = 0

    def watched(order: Any) -> Any:
        nonlocal begun
        begun += 1
        if kind == "before" and begun == at:
            raise Crash
        reply = perform(order)
        event = reply.event
        counted = {Asked: night.asked, Lacked: night.lacked}.get(type(event), night.ran)
        counted[event.id] += 1
        if kind == "after" and begun == at:
            raise Crash
        return reply

    rig.executor._perform = watched  # type: ignore[method-assign]


def _count_ahead(ahead: ReadAhead, night: Night) -> None:
    judged = ahead.judged

    def counted(job: Brief) -> Judged | None:
        found = judged(job)
        night.ahead += found is not None
        return found

    ahead.judged = counted  # type: ignore[method-assign]


def _job_files() -> list[Path]:
    return [path for status in Status for path in Path("state", status.value).glob("*-*.json")]


def read_jobs() -> dict[str, Any]:
    """Every job file, by id."""
    found = {}
    for path in _job_files():
        job = json.loads(path.read_text())
        job["status"] = path.parent.name
        found[job["id"]] = job
    return found


def read_files() -> dict[str, str]:
    return {str(path): path.read_text() for folder in ("src", "out") for path in Path(folder).glob("*")}


def stats(paths: Iterable[Path]) -> dict[str, Stat]:
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


@contextmanager
def project() -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def begin(*specs: Spec, early: bool = True) -> World:
    """A flow before its first night, every source "a" and every version 1. In an empty working directory."""
    for folder in ("src", "out"):
        Path(folder).mkdir()
    for cls in CLASSES.values():
        set_version(cls, 1)
    world = World(list(specs), early)
    for path in SOURCES + [f"src/p{i}" for i in range(len(specs))]:
        edit(world, path, "a")
    return world


def edit(world: World, path: str, text: str) -> None:
    world.texts[path] = text
    put(path, text)


def run_night(world: World, number: int, crashes: Sequence[Cut] = (), *, still: bool = False) -> Expected:
    """Run it, and hold it against the oracle; then once more, when only what is always due, or failed, may run.

    `still`: not even to a job file that is put right again at once.
    """
    run, started = f"202611{number:02d}T020000Z", STARTED + number * DAY
    roots = world.wishes()
    jobs, disk, before = read_jobs(), read_files(), stats(Path().glob("out/*"))
    expected = expect(roots, disk, jobs, started)
    ahead = len(roots) % 2 == number % 2
    night = work(roots, run, started, crashes, ahead=ahead)
    strict = all(job["status"] in ("done", "failed", "cancelled") for job in jobs.values())
    check(expected, night, jobs, before, strict=strict)
    COUNTS.update(nights=1, crashes=night.crashes, ran=night.ran.total(), reached=len(expected.wishes))
    COUNTS.update(expected.due.values())
    COUNTS.update(expected.states.values())
    COUNTS.update(asked=night.asked.total(), lacked=night.lacked.total(), absent=len(expected.absent))
    jobs_after, files_after = stats(_job_files()), stats(Path().glob("out/*"))
    second = expect(roots, read_files(), read_jobs(), started + 1)
    again = work(roots, run.replace("00Z", "01Z"), started + 1, [], ahead=not ahead)
    COUNTS["judged ahead"] += night.ahead + again.ahead
    due = {id_of(expected.wishes[output]) for output in second.due}
    assert again.ran == Counter(due), f"a second run in the same night ran {again.ran}, and due were {due}"
    jobs_again = stats(_job_files())
    jobs_after, jobs_again = _others(jobs_after, due), _others(jobs_again, due)
    if still:
        assert jobs_again == jobs_after, "a second run wrote job files"
    assert _told(jobs_again) == _told(jobs_after), "a second run told jobs something else"
    assert stats(Path().glob("out/*")) == files_after
    return expected


def _others(files: dict[str, Stat], due: set[str]) -> dict[str, Stat]:
    return {path: stat for path, stat in files.items() if "/done/" in path and Path(path).stem not in due}


def _told(files: Mapping[str, Stat]) -> dict[str, Any]:
    jobs = {path: json.loads(text) for path, (_, _, text) in files.items()}
    return {path: (_history(job), job["params"]) for path, job in jobs.items()}


def _history(job: Mapping[str, Any]) -> dict[str, Any]:
    """All of a job file that does not say what is wished for, and by whom."""
    return {key: value for key, value in job.items() if key not in ("params", "after", "found_by", "depth")}


def _made(job: Mapping[str, Any]) -> dict[str, Any]:
    """The same without the children found or dropped, which may be others when it is asked for them again."""
    return {**_history(job), "result": {**job["result"], "found": None, "dropped": None}}


def check(
    expected: Expected, night: Night, before: Mapping[str, Any], outputs: Mapping[str, Any], *, strict: bool
) -> None:
    """`strict`: nothing was left unfinished the night before, by which jobs may run that are not asked for."""
    jobs, files = read_jobs(), read_files()
    for path, text in expected.files.items():
        assert files.get(path) == text, f"{path} is not as it is from scratch"
    for output, wish in expected.wishes.items():
        job = jobs[id_of(wish)]
        state = expected.states[output]
        assert job["status"] == state
        for path in expected.files.keys() & outputs_of(wish):
            assert (job["result"]["outputs"][path] is None) == (output in expected.absent)
        times = night.ran[job["id"]]
        if not strict:
            continue
        if output in expected.due:
            assert 1 <= times <= 1 + night.crashes, f"{job['id']} ran {times} times: {expected.due[output]}"
        else:
            assert times == 0, f"{job['id']} ran, and was not due"
            assert state == "blocked" or _made(job) == _made(before[job["id"]])
    inputs = {job["id"]: job["result"]["inputs"] for job in jobs.values() if job["result"]}
    for id, starts, read in night.kept:
        assert night.ran[id] == starts or inputs[id] != read, f"{id} had succeeded in this run, and ran again"
    for output, children in expected.found.items():
        recorded = jobs[id_of(expected.wishes[output])]["result"]["found"]
        assert sorted(recorded) == children, f"{output} is recorded to have found {recorded}"
    reached = set(map(id_of, expected.wishes.values()))
    assert not strict or night.ran.keys() <= reached, f"{night.ran.keys() - reached} ran and was not reached"
    after = stats(Path().glob("out/*"))
    for path, was in outputs.items():
        if path in after and after[path][2] == was[2]:
            assert after[path] == was, f"{path} was written again with the same bytes"
    assert not [path for path in after if path.startswith("out/.")]
