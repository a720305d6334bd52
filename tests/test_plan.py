"""What `plan` says beside what the run then does, night after night."""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runner.ask import Ask
from runner.cli import cli
from runner.cli.pages import print_plan
from runner.cli.paper import paper
from runner.core.model import Status
from runner.errors import RunnerError
from runner.plan import Plan, PlannedJob, plan
from runner.store import inbox
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.views.changes import KINDS, changes
from runner.workers.judge import How
from tests import nightly
from tests.nightly import CLASSES, MODULES, TARGET, Here, Page, Parse, Site, bump, newest, night, raw, reasons, text
from tests.rig import id_of

BEFORE = {"new", "unfinished"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    fresh()
    yield tmp_path
    fresh()


def fresh() -> None:
    nightly.SITE = Site()
    for cls in CLASSES:
        bump(cls, 1)


def foretold(root: Path, *, adopt: bool = False, **how: Any) -> Plan:
    with FolderStore(root / "state", create=False, root=root) as store:
        return plan(store, Ask(target=TARGET), MODULES, root, How(**how), adopt=adopt)


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Every file and folder with its bytes, inode and times."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in (root, *sorted(root.rglob("*"))):
        status = path.lstat()
        found[str(path)] = (
            status.st_ino,
            status.st_mode,
            status.st_mtime_ns,
            status.st_ctime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
    return found


def jobs_of(store: FolderStore) -> dict[str, tuple[Status, JobFile]]:
    return {
        id: (status, store.read(id, status)) for id, status in store.scan().items() if status is not Status.QUARANTINE
    }


# ------------------------------------------------------------------------------------------------ random nights


NAMES = ["a", "b", "c", "d"]


class Nights:
    """A project over several nights; each is foretold, run, and compared with what was said."""

    def __init__(self, root: Path, chance: random.Random, sure: Counter[str]) -> None:
        self.root = root
        self.chance = chance
        self.versions = Counter(dict.fromkeys(CLASSES, 1))
        self.handed = set[str]()
        self.sure = sure  # how often what was checked
        (root / "notes.txt").write_text("notes")
        site = nightly.SITE
        site.roots = chance.sample(NAMES, chance.randint(0, 2))
        site.texts = {name: name for name in NAMES}
        site.links = {name: [n for n in NAMES if n > name and chance.random() < 0.4] for name in NAMES}
        site.merges = chance.sample(NAMES, chance.randint(0, 2))

    def change(self) -> None:
        for _ in range(self.chance.randint(0, 3)):
            self.chance.choice(
                [
                    self._bump,
                    self._select,
                    self._hint,
                    self._due,
                    self._edit,
                    self._delete,
                    self._break,
                    self._text,
                    self._remove,
                    self._relink,
                    self._reroot,
                    self._filter,
                    self._hand_in,
                    self._retry,
                    self._command,
                    self._stumble,
                    self._remerge,
                ]
            )()

    def _bump(self) -> None:
        cls = self.chance.choice(CLASSES)
        self.versions[cls] += 1
        bump(cls, self.versions[cls])

    def _select(self) -> None:
        nightly.SITE.selector = self.chance.randint(0, 3)

    def _hint(self) -> None:
        nightly.SITE.hint += "x"

    def _due(self) -> None:
        nightly.SITE.due = set(self.chance.sample(NAMES, self.chance.randint(0, 3)))

    def _edit(self) -> None:
        Path("notes.txt").write_text(self.chance.choice(["notes", "nuts", "other"]))

    def _delete(self) -> None:
        there = sorted(path for folder in ("raw", "text") if Path(folder).exists() for path in Path(folder).iterdir())
        if there:
            path = self.chance.choice(there)
            path.unlink() if self.chance.random() < 0.6 else path.write_text('["xyz, and more than it was", []]')

    def _break(self) -> None:
        nightly.SITE.broken = {self.chance.choice(NAMES)} if self.chance.random() < 0.5 else set()

    def _text(self) -> None:
        nightly.SITE.texts[self.chance.choice(NAMES)] = self.chance.choice(["a", "ab", "bc", "z"])

    def _remove(self) -> None:
        nightly.SITE.texts.pop(self.chance.choice(NAMES), None)

    def _relink(self) -> None:
        name = self.chance.choice(NAMES)
        nightly.SITE.links[name] = [n for n in NAMES if n > name and self.chance.random() < 0.4]

    def _reroot(self) -> None:
        nightly.SITE.roots = self.chance.sample(NAMES, self.chance.randint(0, 2))

    def _remerge(self) -> None:
        nightly.SITE.merges = self.chance.sample(NAMES, self.chance.randint(0, 2))

    def _filter(self) -> None:
        nightly.SITE.filter = self.chance.choice(["", "b", "c"])

    def _stumble(self) -> None:
        nightly.SITE.stumbles = {self.chance.choice(NAMES)} if self.chance.random() < 0.5 else set()

    def _hand_in(self) -> None:
        name = self.chance.choice(NAMES)
        page: Any = {"task": "tests.nightly:Page", "params": {"name": name, "output": str(raw(name))}}
        parse: Any = {"task": "tests.nightly:Parse", "params": {"page": str(raw(name)), "output": str(text(name))}}
        ids = {"Page": id_of(Page(name, raw(name))), "Parse": id_of(Parse(raw(name), text(name)))}
        jobs = self.chance.choice([[page], [parse], [page, parse], [{"task": "os:system", "params": {}}]])
        self.handed |= {ids[job["task"].partition(":")[2]] for job in jobs if job["task"] != "os:system"}
        inbox.hand_in("state", jobs)

    def _retry(self) -> None:
        with FolderStore("state", create=False) as store:
            for id, status in store.scan().items():
                if status in (Status.FAILED, Status.BLOCKED, Status.CANCELLED) and self.chance.random() < 0.5:
                    inbox.retry(store, id)

    def _command(self) -> None:
        with FolderStore("state", create=False) as store:
            ids = [id for id in store.scan() if self.chance.random() < 0.3]
            inbox.command(store, self.chance.choice(["cancel", "invalidate", "retry", "stop"]), ids=ids)

    # ------------------------------------------------------------------------------------------------- one night

    def live(self) -> None:
        """A night, foretold and run; perhaps cut short, and perhaps resumed."""
        kinds = [cls.__name__ for cls in CLASSES]
        force = tuple(self.chance.sample(kinds, 1)) if self.chance.random() < 0.1 else ()
        before = snapshot(self.root)
        said = foretold(self.root, force_tasks=force)
        assert snapshot(self.root) == before
        with FolderStore("state", create=False) as store:
            jobs = jobs_of(store)
            taken = {id for id, (status, _) in jobs.items() if status in (Status.PENDING, Status.RUNNING)}
            handed = {entry.job.id for entry in inbox.Inbox(store).scan(0) if entry.job} | self.handed
        cut = self.chance.randint(0, 6) if self.chance.random() < 0.25 else -1
        summary = night(self.root, cut=cut, force_tasks=force)
        with FolderStore("state", create=False) as store:
            after, why = jobs_of(store), reasons(store, newest(store).id)
        self.compare(said, after, why, whole=summary is not None)
        resumed = summary is None
        while summary is None and self.chance.random() < 0.7:
            with FolderStore("state", create=False) as store:
                taken = {id for id, status in store.scan().items() if status in (Status.PENDING, Status.RUNNING)}
            summary = night(self.root, resume=True, cut=self.chance.choice([-1, -1, 2]))
        if summary is not None:
            self.count(taken if resumed else taken | handed, resumed=resumed)
        self.handed.clear()

    def compare(
        self, said: Plan, after: dict[str, tuple[Status, JobFile]], why: dict[str, str], *, whole: bool
    ) -> None:
        will, expected, may = ({job.id: job for job in jobs} for jobs in (said.will, said.expected, said.may))
        assert len({*will, *expected, *may}) == len(will) + len(expected) + len(may)
        ran = Here.ran
        where = f"{said}\nran {ran}\nwhy {why}"
        for id in will.keys() - ran.keys() if whole else ():
            assert self.hindered(id, after), f"{id} did not run\n{where}"
        for id in ran.keys() - will.keys() - expected.keys() - may.keys():
            assert self.newly_found(id, after), f"{id} ran, and nobody said so\n{where}"
        for id in ran:
            job = will.get(id) or expected.get(id)
            if job is not None:
                self.sure[job.part] += 1
                also = job.part in ("input", "due", "force") and why.get(id, "").startswith(("input", "its inputs"))
                if id in expected:  # its finder says with which parameters
                    also |= job.part == "parameter" or why.get(id, "").startswith("parameter")
                assert also or why.get(id, job.why) == job.why, f"{id}: {why[id]}, and not {job.why}\n{where}"
                assert id in why or job.part in BEFORE, where
            elif id in may:
                self.sure[f"may, {may[id].part}"] += 1
                read = why.get(id, "input").startswith(("input", "its inputs"))
                assert may[id].part == "input" or not read, f"{id}: {why[id]}\n{where}"

    def hindered(self, id: str, after: dict[str, tuple[Status, JobFile]]) -> bool:
        """Whether somebody it comes after failed, or somebody did on the way to whom it comes after."""
        seen, queue = {id}, list(after[id][1].after)
        for other in queue:
            if other in seen:
                continue
            seen.add(other)
            if other not in after or after[other][0] in (Status.FAILED, Status.BLOCKED, Status.CANCELLED):
                return True
            queue += after[other][1].after
        return False

    def newly_found(self, id: str, after: dict[str, tuple[Status, JobFile]]) -> bool:
        """Whether a job that ran leads to it, by way of those that it found."""
        queue = [other for other, succeeded in Here.ran.items() if succeeded]
        seen: set[str] = set()
        for other in queue:
            if other in after:
                found = set((after[other][1].result or {}).get("found", ())) - seen
                seen |= found
                queue += found
        return id in seen

    # --------------------------------------------------------------------------------------------------- counting

    def count(self, others: set[str], *, resumed: bool) -> None:
        """The numbers in RUN.json, beside those that the job files tell."""
        with FolderStore("state", create=False) as store:
            run, after = newest(store), jobs_of(store)
            told = changes(store)
        reached = self.reached({*run.roots, *others}, after) - set(run.gone)
        counts: dict[str, Counter[str]] = {}
        for id in reached:
            status, job = after[id]
            here = [attempt for attempt in job.attempts if attempt["run"] == run.id]
            if status is Status.DONE:
                kind = str(here[-1]["change"]) if here and here[-1]["outcome"] == "done" else "unchanged"
            elif status in (Status.FAILED, Status.BLOCKED):
                kind = status.value
            else:
                continue
            counts.setdefault(id.rpartition("-")[0], Counter())[kind] += 1
        for id in run.gone:
            counts.setdefault(id.rpartition("-")[0], Counter())["gone"] += 1
        assert {k: dict(v) for k, v in counts.items()} == run.changes, f"{counts}\n{run}\n{reached}"
        if not resumed:
            whole = {name: {kind: kinds.get(kind, 0) for kind in KINDS} for name, kinds in counts.items()}
            assert told.tasks == whole, f"{told}\n{run}"
        listed = Counter((job.task, job.change) for job in told.jobs)
        for name, kinds in told.tasks.items():
            for kind in ("new", "changed", "absent", "gone", "failed"):
                assert listed[name, kind] == kinds[kind], f"{kind} {name}: {told}\n{run}"
        self.sure["counted"] += 1

    def reached(self, starts: set[str], after: dict[str, tuple[Status, JobFile]]) -> set[str]:
        found = starts & after.keys()
        queue = list(found)
        for id in queue:
            status, job = after[id]
            if status is Status.DONE:
                for child in (job.result or {}).get("found", ()):
                    if child in after and child not in found:
                        found.add(child)
                        queue.append(child)
        return {id for id in found if after[id][0] is not Status.CANCELLED}


EXAMPLES = int(os.environ.get("PLAN_EXAMPLES", "0"))
"""More of them, and others each time: PLAN_EXAMPLES=1000 python -m pytest -n 0 --timeout 0 (this file)."""


def test_a_run_does_what_was_foretold(
    tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> None:
    sure = Counter[str]()

    @settings(
        max_examples=EXAMPLES or 60, derandomize=not EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @example(seed=18522, count=2)
    @given(seed=st.integers(0, 2**32), count=st.integers(1, 5))
    def nights(seed: int, count: int) -> None:
        root = tmp_path_factory.mktemp("project")
        os.chdir(root)
        fresh()
        nights = Nights(root, random.Random(seed), sure)
        with FolderStore("state"):
            pass
        for number in range(count):
            if number:
                nights.change()
            nights.live()

    nights()
    record_property("struck", ", ".join(f"{count} {what}" for what, count in sorted(sure.items())))
    assert sure["counted"] > 100
    assert sure.keys() >= {"due", "force", "version", "parameter", "new", "unfinished", "may, input"}


# ------------------------------------------------------------------------------------------------ on the command line


def project_of(text: str) -> None:
    """A project whose jobs are this text, in a module of its own name: modules of other tests stay imported."""
    global MODULE
    MODULE = f"planned{next(_serial)}"
    Path("pyproject.toml").write_text(f'[tool.runner]\nmodules = ["{MODULE}"]\n')
    Path(f"{MODULE}.py").write_text(HEAD + text)


HEAD = """
from dataclasses import dataclass
from pathlib import Path
from runner import Input, Output, Task

print("imported")

@dataclass
class Make(Task):
    name: str
    output: Output
    source: Input | None = None
    version = 1
    def run(self):
        self.output.write_text(self.name)

@dataclass
class Find(Task):
    output: Output
    def run(self):
        self.output.write_text("x")
    def downstream_tasks(self):
        print("downstream_tasks() is asked")
        if Path("stumble").exists():
            raise LookupError("no list")
        return [Make(str(n), Path(f"{n}.txt")) for n in range(3)]

def flow():
    print("the flow is asked")
    return [Find(Path("found"))]

def conflict():
    return [Make("a", Path("x")), Find(Path("x"))]

def cycle():
    return [Make("a", Path("x"), Path("y")), Make("b", Path("y"), Path("x"))]
"""
_serial = itertools.count()
MODULE = ""


def call(*words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(cli, list(words))
    assert isinstance(result.exception, SystemExit | RunnerError | None), result.exception
    assert getattr(result.exception, "exit_code", result.exit_code) == code, (result.output, result.exception)
    return result


def test_before_the_first_run_nothing_is_made_and_what_tasks_print_is_no_data(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    project_of("")
    before = snapshot(project)
    found = json.loads(call("plan", f"{MODULE}:flow", "--json").stdout)
    assert [job["why"] for job in found["will"]] == ["new"]
    assert snapshot(project) == before, "no state folder, and no __pycache__"


@pytest.mark.parametrize("target", ["nowhere:flow", "{}:nothing", "{}:conflict", "{}:cycle"])
def test_what_a_run_would_refuse_is_refused(project: Path, target: str) -> None:
    project_of("")
    before = snapshot(project)
    planned = call("plan", target.format(MODULE), code=2)
    assert snapshot(project) == before
    ran = call("run", target.format(MODULE), "--workers", "1", code=2)
    assert str(planned.exception) == str(ran.exception)


def test_the_whole_of_it(project: Path) -> None:
    project_of("")
    flow = f"{MODULE}:flow"
    call("run", flow, "--workers", "1", "--durability", "process")
    assert "up to date: 1 Find, 3 Make" in call("plan", flow).stdout
    module = sys.modules[MODULE]
    bump(module.Make, 2)
    with FolderStore("state", create=False, root=project) as store, store.lock():
        before = snapshot(project)
        out = call("plan", flow).stdout
        assert snapshot(project) == before
    assert out == (f"plan of {flow}\n\nwill run: 3\n  3 Make: version 1 -> 2\n\nup to date: 1 Find\n")
    assert call("run", flow, "--dry-run").stdout == out
    found = json.loads(call("plan", flow, "--json").stdout)
    assert found.keys() == {"schema", "target", "will", "expected", "may", "fails", "blocked", "up_to_date", "gone"}
    assert found["will"][0] == {
        "id": id_of(module.Make("0", Path("0.txt"))),
        "task": "Make",
        "part": "version",
        "why": "version 1 -> 2",
        "output": "0.txt",
    }
    Path("stumble").touch()
    assert ": LookupError: no list\n" in call("plan", flow).stdout, "the run does it again"


def test_an_adopted_output(project: Path) -> None:
    project_of("")
    Path("a.txt").write_text("there")
    words = (f"{MODULE}:Make", "name=a", "output=a.txt")
    assert ": new\n" in call("plan", *words).stdout
    assert ": its outputs are there, and are taken over\n" in call("plan", *words, "--adopt").stdout


GATHER = """
@dataclass
class Gather(Task):
    parts: list[Input]
    output: Output
    trigger_rule = "all_done"
    def run(self):
        self.output.write_text("x")

def gathered():
    return [Gather([Path("nowhere")], Path("all"))]
"""


def test_a_list_of_inputs_may_lack_some_whatever_failed(project: Path) -> None:
    project_of(GATHER)
    out = call("plan", f"{MODULE}:gathered").stdout
    assert "will run: 1\n" in out
    assert "will fail" not in out
    call("run", f"{MODULE}:gathered", "--workers", "1", "--durability", "process")


def test_who_comes_after_one_that_fails_is_told_as_blocked(project: Path) -> None:
    project_of(CHAIN)
    Path("folder").mkdir()
    out = call("plan", f"{MODULE}:chain").stdout
    assert "will run: 0\n\nwill fail: 1\n" in out
    first, second = map(id_of, sys.modules[MODULE].chain())
    assert f"will be blocked: 1\n  {second}: {first} is failed\n" in out
    call("run", f"{MODULE}:chain", "--workers", "1", "--durability", "process", code=1)
    assert len(list(Path("state/failed").iterdir())) == len(list(Path("state/blocked").iterdir())) == 1


def test_what_was_moved_back_to_be_tried_again_is_not_told_as_new(project: Path) -> None:
    project_of(CHAIN)
    call("run", f"{MODULE}:chain", "--workers", "1", "--durability", "process", code=1)
    Path("folder").write_text("now a file")
    (failed,) = Path("state/failed").iterdir()
    failed.rename(Path("state/inbox", failed.name))
    assert f"{failed.stem}: it is tried again\n" in call("plan").stdout


CHAIN = """
@dataclass
class Copy(Task):
    source: Input
    output: Output
    retries = 0
    def run(self):
        self.output.write_bytes(self.source.read_bytes())

def chain():
    return [Copy(Path("folder"), Path("a")), Copy(Path("a"), Path("b"))]
"""


def planned(count: int, why: Callable[[int], str], part: str = "parameter") -> list[PlannedJob]:
    return [PlannedJob(id=f"Parse-{n:016x}", task="Parse", part=part, why=why(n)) for n in range(count)]


def test_jobs_are_grouped(capsys: pytest.CaptureFixture[str]) -> None:
    nothing: Any = {"target": "m:f", "up_to_date": {}}
    nothing |= {name: [] for name in ("expected", "may", "fails", "blocked", "gone")}
    will = [*planned(1204, lambda n: "version 2 -> 3", "version"), *planned(9, lambda n: f"parameter x: 0 -> {n}")]
    with paper() as out:
        print_plan(out, Plan(**nothing | {"will": will, "fails": planned(1, lambda n: "nobody makes it", "fails")}))
    assert capsys.readouterr().out.splitlines() == [
        "plan of m:f",
        "",
        "will run: 1,213",
        "  1,204 Parse: version 2 -> 3",
        "  9 Parse: other parameters (such as: parameter x: 0 -> 0)",
        "",
        "will fail: 1",
        "  Parse-0000000000000000: nobody makes it",
        "",
        "up to date: nothing",
    ]
