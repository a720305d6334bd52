"""The power is cut under a real runner: what came to done/ is whole, what was acknowledged is there, and it goes on.

Project and state lie on a loop device with ext4 or XFS. A cut is followed by a remount and a look at what is left,
before anybody resumes. Cuts come at random moments, and before and after every sync that a run makes.
"""

from __future__ import annotations

import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from time import monotonic, sleep

import pytest

from tests.acceptance import processes
from tests.acceptance.conftest import ROUNDS
from tests.acceptance.project import Project
from tests.faults.aftermath import PATIENCE, UNREADABLE, is_on_record, left_in_order, look
from tests.faults.at_sync import Strike, armed, syncs
from tests.faults.conftest import TORTURE
from tests.faults.disk import KINDS, Disk, cut_power, new_disk
from tests.faults.test_kills import FLOW, SMALL, SMALL_JOBS, expected, outputs, working_project

pytestmark = [pytest.mark.root, pytest.mark.timeout(1800)]

SHAPE = {"roots": 2, "pairs": 4, "links": 6, "singles": 12}
JOBS = 1 + 2 + 2 * 2 * 4 + 6 + 12
BLANK = " "  # Find's list of names gets as many each night: other bytes, and the same names
RUN = ("run", FLOW, *(f"{name}={count}" for name, count in SHAPE.items()), "--workers", "3")

NewProject = Callable[..., Project]


@pytest.fixture(scope="module", params=sorted(KINDS))
def disk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with new_disk(request.param, tmp_path_factory.mktemp("disk")) as disk:
        yield disk


@pytest.fixture
def new_project(disk: Disk, tmp_path: Path) -> Iterator[NewProject]:
    """Makes projects on the disk, with the tasks of work.py; their runners are heard elsewhere."""
    if disk.dead:  # a test before this one failed
        disk.again()
    made: list[Project] = []

    def make(name: str = "project", **variables: str) -> Project:
        made.append(Project(disk.path / tmp_path.name / name, hears=tmp_path / f"{name}.txt", cwd=tmp_path))
        working_project(made[-1], **variables)
        disk.sync()
        return made[-1]

    yield make
    for project in made:
        project.close()
    shutil.rmtree(disk.path / tmp_path.name, ignore_errors=True)


@pytest.fixture
def project(new_project: NewProject) -> Project:
    return new_project()


# ------------------------------------------------------------------------------------------------ nights of cuts


def at_the_end(project: Project, jobs: int, wanted: dict[str, str]) -> None:
    assert outputs(project) == wanted
    assert project.counts() == {"done": jobs}
    look(project)


class Nights:
    """Runs, night after night, with other pages and another source each; cut, looked at and resumed until exit 0."""

    def __init__(self, project: Project, disk: Disk, seed: int, struck: Counter[str]) -> None:
        self.project, self.disk, self.struck = project, disk, struck
        self.random = random.Random(seed)
        self.night = 0
        self.first = RUN
        self.earlier: set[str] = set()
        self.cuts = 0

    def run(self, cuts: int, nights: int) -> None:
        """Until there were so many cuts in so many nights, and then to the end."""
        process = self.start()
        while self.cuts < cuts or self.night < nights:
            wanted = self.cuts < cuts * (self.night + 1) / nights
            if wanted and self.moment(process):
                cut_power(self.disk.path, journal=self.random.random() < 0.5)
                ended = self.death(process)
            else:
                assert process.wait(timeout=PATIENCE) == 0, self.project.said()[-2000:]
                cut_power(self.disk.path)
                self.struck["cut after exit 0"] += 1
                ended = True
            self.project.all_gone(process, PATIENCE)
            self.disk.again()
            if ended:
                self.dawn()
            else:
                look(self.project)
                self.every_output_is_whole()
            process = self.start()
        assert process.wait(timeout=PATIENCE) == 0, self.project.said()[-2000:]
        self.project.all_gone(process, PATIENCE)
        at_the_end(self.project, JOBS, self.wanted())

    def start(self) -> Popen[bytes]:
        """`resume`, once tonight's run is on record."""
        self.said = self.project.ear.stat().st_size if self.project.ear.exists() else 0
        return self.project.start(*(("resume",) if is_on_record(self.project, self.earlier) else self.first))

    def noted(self) -> int:
        """How much the tasks have done."""
        return self.project.log.stat().st_size if self.project.log.exists() else 0

    def moment(self, process: Popen[bytes]) -> bool:
        """Wait for a random one. False if the run ended before. One in four is a time, which may strike a start."""
        deadline = monotonic() + PATIENCE
        by_time = self.random.random() < 0.25
        due = monotonic() + (self.random.uniform(0.05, 0.8) if by_time else PATIENCE)
        goal = self.noted() + self.random.randrange(15, 600)
        while monotonic() < due and self.noted() < goal:
            if process.poll() is not None:
                return False
            assert monotonic() < deadline, self.project.said()[-2000:]
            sleep(0.002)
        sleep(self.random.uniform(0, 0.02))
        return process.poll() is None

    def death(self, process: Popen[bytes]) -> bool:
        """Those who found their disk dead leave, or are killed there and then. Whether the run had ended before."""
        if self.random.random() < 0.5:
            kind, ended = "cut and killed", killed(self.project, process) == 0
        else:
            kind, ended = "cut, and left by itself", left_in_order(self.project, process, self.said) == 0
        self.cuts += not ended
        self.struck["cut after exit 0" if ended else kind] += 1
        return ended

    def dawn(self) -> None:
        """Last night's run said that it was over: all of it is there. Then the world changes."""
        at_the_end(self.project, JOBS, self.wanted())
        self.night += 1
        self.earlier = self.project.names("runs")
        self.first = (*RUN, "--force-task", "Fetch", "--force-task", "Find")
        text = (Path(processes.__file__).parent / "work.py").read_text()
        text = text.replace('f"page ', f'f"night {self.night}, page ')
        text = text.replace('f"{name}\\n"', f'f"{{name}}{BLANK * self.night}\\n"')
        self.project.module("work", text)
        (self.project.root / "data/chain/0.txt").write_text(f"{self.night}\n")
        self.disk.sync()

    def every_output_is_whole(self) -> None:
        """Tonight's or last night's, also that of a job at work: nothing replaces a good file but a durable one."""
        tonight, before = self.wanted(), self.wanted(self.night - 1)
        for path, text in outputs(self.project).items():
            if not Path(path).name.startswith("."):
                assert text in (tonight[path], before[path]), f"{path}: {text!r}"

    def wanted(self, night: int | None = None) -> dict[str, str]:
        night = self.night if night is None else night
        files = expected(SHAPE["roots"], SHAPE["pairs"], SHAPE["links"])
        mark = f"night {night}, " if night > 0 else ""
        for path, text in files.items():
            if path.startswith("chain/"):
                files[path] = f"{int(text) + night}\n"
            elif path.startswith("found/"):
                files[path] = text.replace("\n", f"{BLANK * night}\n")
            else:
                files[path] = text.replace("page ", f"{mark}page ").replace("PAGE ", f"{mark.upper()}PAGE ")
        return files


def killed(project: Project, process: Popen[bytes]) -> int:
    """All of them, there and then, as a power cut does. The exit code."""
    process.send_signal(signal.SIGKILL)  # not reaped yet, so the pid is still its own
    processes.clear(project.mark(process))
    project.all_gone(process, PATIENCE)
    return process.wait()


# ------------------------------------------------------------------------------------------------------ the tests


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_cut_at_any_moment(turn: int, disk: Disk, new_project: NewProject, seed: int, struck: Counter[str]) -> None:
    project = new_project(WORK_SECONDS="0.02")
    Nights(project, disk, seed, struck).run(cuts=10 if TORTURE else 2, nights=2)


def syncs_of_a_run(project: Project, log: Path) -> int:
    """How many an undisturbed run of the small flow makes."""
    armed(project, log)
    assert project.runner("run", FLOW, *SMALL).code == 0
    return len(syncs(log))


@pytest.mark.parametrize("strike", ["cut-before", "cut-after", "cut-journal"])
def test_cut_at_the_nth_sync(
    strike: Strike, disk: Disk, new_project: NewProject, tmp_path: Path, seed: int, struck: Counter[str]
) -> None:
    """So also after every commit group, and after the last."""
    log = tmp_path / "syncs"
    last = syncs_of_a_run(new_project("undisturbed", WORK_SECONDS="0"), log)
    for at in random.Random(seed).sample(range(1, last + 1), last):
        if struck.total() and not TORTURE:  # a run may end before so many syncs
            break
        project = new_project(f"{strike}-{at}", WORK_SECONDS="0")
        armed(project, log, strike, at)
        disk.sync()
        code = left_in_order(project, project.start("run", FLOW, *SMALL), 0)
        struck[strike] += any(sync.struck for sync in syncs(log))
        disk.again()
        armed(project, log)
        if code == 0:
            at_the_end(project, SMALL_JOBS, expected(1, 2, 2))
        else:
            look(project)
        again = project.runner(*(("resume",) if is_on_record(project) else ("run", FLOW, *SMALL)))
        assert again.code == 0, again.err
        at_the_end(project, SMALL_JOBS, expected(1, 2, 2))


LISTING = """
from dataclasses import dataclass
from pathlib import Path
from runner import Output, Task
from tests.faults.disk import cut_power

@dataclass
class Listing(Task):
    output_filepath: Output

    def run(self):
        self.output_filepath.write_text("{text}")

    def downstream_tasks(self):
        {asked}
        return []
"""


def test_what_children_are_found_by_is_durable_before_they_are_asked_for(
    disk: Disk, project: Project, struck: Counter[str]
) -> None:
    """The power goes in the midst of downstream_tasks(): what it read has replaced last night's file for good."""
    project.variables["PYTHONPATH"] = str(Path(__file__).parents[2])
    run = ("run", "jobs.listing:Listing", "output_filepath=list.txt")
    project.module("listing", LISTING.format(text="last night's", asked=""))
    assert project.runner(*run).code == 0
    project.module("listing", LISTING.format(text="tonight's", asked='cut_power(".")'))
    disk.sync()
    assert left_in_order(project, project.start(*run, "--force"), 0) == 4
    struck["cut"] += disk.dead
    disk.again()
    assert (project.root / "list.txt").read_text() == "tonight's"
    look(project)
    project.module("listing", LISTING.format(text="tonight's", asked=""))
    assert project.runner("resume").code == 0
    look(project)


def test_on_a_dead_disk_the_verbs_say_so(disk: Disk, project: Project, struck: Counter[str]) -> None:
    assert project.runner("run", FLOW, *SMALL).code == 0
    cut_power(disk.path)
    struck["cut"] += disk.dead
    submit = ("submit", "jobs.work:Single", "number=77")
    for verb in (("run", FLOW), ("resume",), submit, ("check",), ("plan", FLOW)):
        said = project.runner(*verb)  # which refuses tracebacks
        assert said.code == 4 or (said.code == 2 and UNREADABLE.search(said.err)), said
        assert 1 <= len(said.err.splitlines()) <= 3, said.err
    disk.again()
    look(project)


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_submit_that_returned_survives_a_cut_right_after(
    turn: int, disk: Disk, project: Project, seed: int, struck: Counter[str]
) -> None:
    """Alone, and beside a runner that takes the jobs in at that moment; few (synced each) and many (all at once)."""
    chance = random.Random(seed)
    gate = project.root / "gate-Single-0"
    given: set[str] = set()
    few, many = chance.choice((1, 3, 16)), chance.choice((17, 40, 200))
    cases = [(few, False), (many, True), (few, True), (many, False)]
    for count, beside in cases if TORTURE else cases[:2]:
        process = at_work(project, gate) if beside else None
        numbers = range(len(given) + 1, len(given) + 1 + count)
        lines = "".join(f'{{"task": "jobs.work:Single", "params": {{"number": {n}}}}}\n' for n in numbers)
        submitted = project.runner("submit", "--file", "-", given=lines)
        assert submitted.code == 0, submitted.err
        given |= set(submitted.out.split())
        assert len(given) == numbers[-1]
        if process is None:
            cut_power(disk.path)
        else:
            sleep(chance.uniform(0, 0.4))  # the jobs are somewhere on their way through the folders
            cut_power(disk.path)
            killed(project, process)
        disk.again()
        look(project, given)
        struck["cut after submit"] += 1
    gate.unlink(missing_ok=True)
    assert project.runner("run").code == 0
    assert given <= project.ids("done")


def at_work(project: Project, gate: Path) -> Popen[bytes]:
    """A runner that has begun what it cannot end."""

    def begun() -> int:
        return project.log.read_bytes().count(b"start Single-0\n") if project.log.exists() else 0

    gate.touch()
    before = begun()
    process = project.start("run", "jobs.work:Single", "number=0", "--workers", "1")
    processes.wait_until("the runner works", lambda: begun() > before, PATIENCE)
    return process


def test_exit_0_is_for_good(disk: Disk, project: Project, struck: Counter[str]) -> None:
    assert project.runner("run", FLOW, *SMALL).code == 0
    disk.cut()
    struck["cut"] += 1
    at_the_end(project, SMALL_JOBS, expected(1, 2, 2))


def test_with_durability_process_a_cut_takes_what_came_last(
    disk: Disk, new_project: NewProject, struck: Counter[str]
) -> None:
    """Why the default is "power", and that these tests can fail."""
    for turn in range(5):  # another program may just then have every disk synced
        project = new_project(f"project-{turn}")
        assert project.runner("run", FLOW, *SMALL, "--durability", "process").code == 0
        disk.cut()
        struck["cut"] += 1
        try:
            at_the_end(project, SMALL_JOBS, expected(1, 2, 2))
        except (AssertionError, ValueError):
            break
    else:
        pytest.fail("nothing was lost, five times")
    assert project.runner("check").code == 1, "and check says so"


@pytest.mark.parametrize("what", ["state", "outputs"])
def test_a_second_file_system_is_warned_of(what: str, tmp_path: Path, struck: Counter[str]) -> None:
    """No journal keeps the order of what happens on two disks; but exit 0 waits for both, if the state has its own."""
    with new_disk("ext4", tmp_path) as disk, new_disk("xfs", tmp_path) as other:
        project = Project(disk.path / "project", hears=tmp_path / "said", cwd=tmp_path)
        if what == "state":
            project.variables["RUNNER_STATE"] = str(other.path / "state")
        else:
            (project.root / "data").symlink_to(other.path)
        working_project(project, WORK_SECONDS="0")
        disk.sync()
        other.sync()
        run = project.runner("run", FLOW, *SMALL)
        assert run.code == 0, run.err
        assert run.err.count("after a power cut a job may be newer than its outputs") == 1
        for each in (disk, other):
            each.cut()
            struck["cut"] += 1
        if what == "outputs":  # they may be lost, as it said; then they are due
            assert project.runner("run", FLOW, *SMALL).code == 0
        assert outputs(project).items() >= expected(1, 2, 2).items()  # a staged file may have come back
        checked = project.runner("check", "--verify")
        assert (checked.code, "is not there" in checked.err + checked.out) == (0, False)
