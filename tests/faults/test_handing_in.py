"""Work is handed in while a runner works, by anybody and in any way, and while it is stopped and killed: nothing is
lost, nothing is done twice, and a wish that was accepted is carried out.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.killer import BUSY
from tests.acceptance.project import QUICK, Project
from tests.faults.conftest import TORTURE

TASKS = """
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Input, Output, Task, previous
    from jobs.work import at_work, note

    @dataclass
    class Unit(Task):
        number: int
        retries = 0

        def run(self):
            with at_work(f"Unit-{self.number}"):
                return self.number

    @dataclass
    class Source(Task):
        name: str
        output: Output
        retries = 0

        def run(self):
            with at_work(f"Source-{self.name}"):
                if Path(f"broken-{self.name}").exists():
                    raise RuntimeError("503 Service Unavailable")
                if previous():
                    note(f"previous Source-{self.name}")
                self.output.write_text(self.name)

    @dataclass
    class Patient(Source):
        retries = 3
        backoff = 3000.0

    @dataclass
    class Copy(Task):
        input: Input
        output: Output
        retries = 0

        def run(self):
            with at_work(f"Copy-{self.input.stem}"):
                self.output.write_text(self.input.read_text())

    @dataclass
    class Finder(Task):
        name: str
        retries = 0

        def run(self):
            with at_work(f"Finder-{self.name}"):
                return None

        def downstream_tasks(self):
            return chain(self.name)

    def chain(name: str, kind=Source):
        first, second, third = (Path(f"data/{name}-{part}.txt") for part in "abc")
        return [kind(name, first), Copy(first, second), Copy(second, third)]

    def patient():
        return chain("slow", Patient)

    def both():
        return [Unit(0), *chain("static"), Finder("dynamic")]
"""

UNIT = {"task": "jobs.hand:Unit", "params": {"number": 0}}


@pytest.fixture
def project(project: Project) -> Project:
    project.module("work", (Path(__file__).parents[1] / "acceptance" / "work.py").read_text())
    project.module("hand", TASKS)
    project.variables["WORK_SECONDS"] = "0"
    return project


def started(project: Project) -> Counter[str]:
    """How often each task has begun."""
    text = project.log.read_text() if project.log.exists() else ""
    lines = [line.split() for line in text.splitlines()]
    assert not [words for words in lines if words[0] == "twice"], "a task ran twice at the same time"
    return Counter(words[1] for words in lines if words[0] == "start")


def hold(project: Project, name: str) -> None:
    (project.root / f"gate-{name}").touch()


def let_go(project: Project, name: str) -> None:
    (project.root / f"gate-{name}").unlink()


def live(project: Project, *words: str, held: str) -> subprocess.Popen[bytes]:
    """A run that is at the task `held`, which does not end before it is let go."""
    hold(project, held)
    before = started(project)[held]
    process = project.start("run", *words, "--workers", "2", *QUICK)
    processes.wait_until(f"{held} has begun", lambda: started(project)[held] > before or process.poll() is not None, 30)
    assert process.poll() is None, project.said()
    return process


def ends(project: Project, process: subprocess.Popen[bytes], code: int = 0) -> None:
    assert process.wait(timeout=60) == code, project.said()
    check_state(project.root)


def kill(project: Project, process: subprocess.Popen[bytes], struck: Counter[str]) -> None:
    """The runner and all its workers."""
    os.killpg(process.pid, signal.SIGKILL)
    processes.clear(project.mark(process))
    struck["kill"] += process.wait() == -signal.SIGKILL
    project.all_gone(process)


# ---------------------------------------------------------------------------------------------- many hands at a time

SINGLE = 3  # of each producer, one by one
LINES = 60  # and at once
FILES = 40  # of each script
DEATHS = 40 if TORTURE else 3

PRODUCER = """
    {runner} submit jobs.hand:Unit number=7
    for number in {numbers}; do {runner} submit jobs.hand:Unit number=$number; done
    {runner} submit --file - < {file}
    {runner} submit jobs.hand:Unit number=7
"""
RENAMER = "for made in made/renamed-*.json; do cp $made new.json; mv new.json state/inbox/${made#made/}; done"
COPIER = "for made in made/copied-*.json; do dd status=none bs=7 if=$made of=state/inbox/${made#made/}; done"


class Hands:
    """Producers and scripts; each hands in numbers of its own, and all producers the number 7."""

    def __init__(self, project: Project, rounds: int) -> None:
        self.project = project
        self.rounds = rounds
        self.wanted = {7}
        self.next = 100
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def numbers(self, count: int) -> list[int]:
        self.next += count
        return list(range(self.next - count, self.next))

    def shell(self, name: str, script: str) -> None:
        mark = f"hand-{name}-{secrets.token_hex(8)}"
        with (
            (self.project.root / f"{name}.txt").open("wb") as said,
            (self.project.root / "hands.txt").open("ab") as bad,
        ):
            process = subprocess.Popen(
                ["sh", "-ec", script],
                cwd=self.project.root,
                env=self.project.environment() | {processes.MARK: mark},
                stdout=said,
                stderr=bad,
                start_new_session=True,
            )
        self.project.started[mark] = self.processes[name] = process

    def begin(self) -> None:
        root = self.project.root
        (root / "made").mkdir(exist_ok=True)
        runner = " ".join(self.project.command())
        for name in ("one", "two", "three", "four"):
            script = ""
            for turn in range(self.rounds):
                several, lines, file = self.numbers(SINGLE), self.numbers(LINES), f"lines-{name}-{turn}"
                text = "".join(json.dumps({**UNIT, "params": {"number": number}}) + "\n" for number in lines)
                (root / file).write_text(text)
                script += PRODUCER.format(numbers=" ".join(map(str, several)), runner=runner, file=file)
                if name != "four":  # which is killed
                    self.wanted.update(several, lines)
            self.shell(name, script)
        for kind, script in (("renamed", RENAMER), ("copied", COPIER)):
            for number in self.numbers(FILES):
                (root / "made" / f"{kind}-{number}.json").write_text(json.dumps({**UNIT, "params": {"number": number}}))
                self.wanted.add(number)
            self.shell(kind, script)

    def printed(self) -> set[str]:
        return {line for name in self.processes for line in (self.project.root / f"{name}.txt").read_text().split()}

    def end(self) -> None:
        for name, process in self.processes.items():
            code = process.wait(timeout=120)
            assert code == 0 or name == "four", (self.project.root / "hands.txt").read_text()

    def kill(self, name: str) -> bool:
        """With the verb that it is at."""
        process = self.processes[name]
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    def wait_for_progress(self, more: int) -> None:
        """Until some more are done, or all has been handed in."""
        goal = self.project.count("done") + more

        def enough() -> bool:
            return self.project.count("done") >= goal or all(p.poll() is not None for p in self.processes.values())

        processes.wait_until("the runner takes in what is handed in", enough, 60)


def go_on(project: Project) -> subprocess.Popen[bytes]:
    """`resume`, as soon as nobody is left of the last one, and all of it is under way."""
    for _ in range(100):
        earlier = started(project)["Unit-0"]
        process = project.start("resume")
        processes.wait_until(
            "it goes on", lambda n=earlier, p=process: started(project)["Unit-0"] > n or p.poll() is not None, 60
        )
        if process.poll() != BUSY:
            break
    assert process.poll() is None, project.said()
    return process


@pytest.mark.timeout(900 if TORTURE else 120)
def test_many_hands_while_the_runner_is_killed_and_stopped(project: Project, struck: Counter[str], seed: int) -> None:
    chance = random.Random(seed)
    process = live(project, "jobs.hand:Unit", "number=0", held="Unit-0")
    hands = Hands(project, rounds=12 if TORTURE else 1)
    hands.begin()
    again: Counter[str] = Counter()  # who was in running/ when a runner died, and so may begin once more
    for death in range(DEATHS):
        hands.wait_for_progress(chance.randint(1, 60))
        if death == 0:
            struck["producer killed"] += hands.kill("four")
        kill(project, process, struck)
        again.update(f"Unit-{job['params']['number']}" for job in project.jobs("running"))
        check_state(project.root)
        process = go_on(project)
    hands.wait_for_progress(20)
    assert project.runner("stop").code == 0
    let_go(project, "Unit-0")
    assert process.wait(timeout=60) in (0, 3), project.said()  # whether all was in by then
    struck["stop"] += 1
    hands.end()
    outcome = project.runner("resume")
    assert outcome.code == 0, outcome.err

    done = {job["id"]: job["params"]["number"] for job in project.jobs("done")}
    assert hands.printed() <= done.keys()
    assert hands.wanted <= set(done.values())
    assert project.counts() == {"done": len(done)}, "each in one folder, and none put aside"
    assert not project.names("inbox")
    starts = started(project)
    assert starts.keys() == {f"Unit-{number}" for number in done.values()}
    assert all(1 <= times <= 1 + again[name] for name, times in starts.items()), "once, but for those that were killed"
    check_state(project.root)
    assert project.runner("check").code == 0
    struck["handed in"] += len(done)


# ----------------------------------------------------------------------------- jobs that failed, and whom they blocked


def back(project: Project, how: str, *folders: str) -> None:
    """All jobs of these folders are tried again."""
    if how == "mv":
        paths = " ".join(f"state/{folder}/*.json" for folder in folders)
        subprocess.run(["sh", "-ec", f"mv {paths} state/inbox/"], cwd=project.root, check=True)
    elif how == "retry":
        outcome = project.runner("retry", *(id for folder in folders for id in sorted(project.ids(folder))))
        assert outcome.code == 0, outcome.err
    else:
        for job in (job for folder in folders for job in project.jobs(folder)):
            words = [f"{name}={value}" for name, value in job["params"].items()]
            assert project.runner("submit", job["task"], *words).code == 0


def wait_for(project: Project, **counts: int) -> None:
    processes.wait_until(f"there are {counts}", lambda: project.counts() == counts and not project.names("inbox"), 30)


ONCE = ("Unit-0", "Finder-dynamic", *(f"Copy-{name}-{part}" for name in ("static", "dynamic") for part in "ab"))


FAILED, ALL = ("failed",), ("failed", "blocked")


@pytest.mark.parametrize(
    ("how", "folders", "alive"),
    [
        ("mv", FAILED, True),
        ("retry", FAILED, True),
        ("submit", FAILED, True),
        ("mv", ALL, True),
        ("mv", FAILED, False),
        ("retry", FAILED, False),
    ],
    ids=["mv", "retry", "submit", "mv all", "mv at rest", "retry at rest"],
)
def test_what_a_retried_job_blocked_follows(
    project: Project, struck: Counter[str], how: str, folders: tuple[str, ...], alive: bool
) -> None:
    """Named by the flow or found by a job; two in a row are blocked. A second failure in between changes nothing."""
    for name in ("static", "dynamic"):
        (project.root / f"broken-{name}").touch()
    process = live(project, "jobs.hand:both", held="Unit-0")
    wait_for(project, failed=2, blocked=4, running=1, done=1)
    if not alive:
        let_go(project, "Unit-0")
        ends(project, process, 1)
        assert project.runner("resume").code == 0, "what failed is left alone"
        assert project.counts() == {"done": 2, "failed": 2, "blocked": 4}
    (project.root / "broken-static").unlink()
    back(project, how, *folders)
    struck[how] += 2
    if alive:
        wait_for(project, done=4, failed=1, blocked=2, running=1)
    else:
        assert project.runner("resume").code == 1
    (project.root / "broken-dynamic").unlink()
    back(project, how, *folders)
    struck[how] += 1
    if alive:
        wait_for(project, done=7, running=1)
        let_go(project, "Unit-0")
        ends(project, process)
    else:
        outcome = project.runner("resume")
        assert outcome.code == 0, outcome.err
    assert project.counts() == {"done": 8}
    assert not project.names("inbox")
    assert started(project) == {**dict.fromkeys(ONCE, 1), "Source-static": 2, "Source-dynamic": 3}
    assert project.runner("check").code == 0


# ------------------------------------------------------------------------------------------------------- wishes


def patient(project: Project) -> subprocess.Popen[bytes]:
    """A run whose first job is running, and would wait for an hour if it failed."""
    return live(project, "jobs.hand:patient", held="Source-slow")


def test_cancel_of_a_job_that_waits_for_its_retry(project: Project, struck: Counter[str]) -> None:
    """It does not begin again, and nobody waits for its time."""
    (project.root / "broken-slow").touch()
    process = patient(project)
    let_go(project, "Source-slow")
    processes.wait_until(
        "it waits", lambda: [job for job in project.jobs("pending", "Patient-") if job["not_before"]], 60
    )
    (id,) = (job["id"] for job in project.jobs("pending", "Patient-"))
    assert project.runner("cancel", id).code == 0
    struck["cancel"] += 1
    ends(project, process, 1)
    assert project.counts() == {"cancelled": 1, "blocked": 2}
    assert started(project) == {"Source-slow": 1}


@pytest.mark.parametrize(("wait", "killed"), [(("--wait",), False), ((), True)], ids=["", "killed"])
def test_cancel_of_what_runs_holds(project: Project, struck: Counter[str], wait: tuple[str, ...], killed: bool) -> None:
    """It is not tried again: not after it fails, and not after its runner was killed."""
    (project.root / "broken-slow").touch()
    process = patient(project)
    (id,) = project.ids("running")
    assert project.runner("cancel", *wait, id).code == 0
    struck["cancel"] += 1
    if killed:
        processes.wait_until("the runner has heard of it", lambda: not project.names("inbox"), 30)
        kill(project, process, struck)
        let_go(project, "Source-slow")
        assert project.runner("resume").code == 1
    else:
        processes.wait_until("the runner has heard of it", lambda: not project.names("inbox"), 30)
        let_go(project, "Source-slow")
        ends(project, process, 1)
    assert project.counts() == {"cancelled": 1, "blocked": 2}
    assert started(project) == {"Source-slow": 1}
    (project.root / "broken-slow").unlink()
    assert project.runner("retry", id).code == 0
    outcome = project.runner("resume")
    assert outcome.code == 0, outcome.err
    assert project.counts() == {"done": 3}, "and it holds no longer than that"
    assert not os.listdir(project.state / "inbox")


def test_a_wish_that_is_kept_is_about_who_runs(project: Project, struck: Counter[str]) -> None:
    """Whom it has reached already may be retried meanwhile, and is not cancelled again by the next runner."""
    process = patient(project)
    (source,), copies = project.ids("running"), sorted(project.ids("pending"))
    assert project.runner("cancel", source, *copies, "--wait").code == 0
    assert project.ids("cancelled") == {*copies}
    assert project.runner("retry", *copies, "--wait").code == 0
    kill(project, process, struck)
    let_go(project, "Source-slow")
    assert project.runner("resume").code == 1
    assert project.ids("cancelled") == {source}
    assert project.ids("blocked") == {*copies}
    assert started(project) == {"Source-slow": 1}


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_invalidate_of_what_runs_holds(project: Project, struck: Counter[str], killed: bool) -> None:
    """What its worker had of last time is not to be relied on: in the end it was made from nothing."""
    flow = ("jobs.hand:patient",)
    assert project.runner("run", *flow, *QUICK).code == 0
    process = live(project, *flow, "--force", held="Source-slow")
    (id,) = project.ids("running")
    assert project.runner("invalidate", id, "--wait").code == 0
    struck["invalidate"] += 1
    if killed:
        kill(project, process, struck)
        let_go(project, "Source-slow")
        assert project.runner("resume").code == 0
    else:
        let_go(project, "Source-slow")
        ends(project, process)
    assert project.counts() == {"done": 3}
    lines = [line for line in project.log.read_text().splitlines() if line.endswith("Source-slow")]
    last = len(lines) - 1 - lines[::-1].index("start Source-slow")
    assert lines[last + 1 :] == ["end Source-slow"], "the last time without previous()"
    assert not os.listdir(project.state / "inbox")
