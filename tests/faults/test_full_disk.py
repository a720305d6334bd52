"""In the middle of a run the disk gets full, read-only, or is not to be written to any more.

Nothing more is begun, what runs is let end, exit 4 with a plain line; no job is called failed for it, and `resume` goes
on once the disk is well again.
"""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance import processes
from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Project
from tests.faults.disk import new_disk

pytestmark = pytest.mark.root

FILLS = Path(__file__).parent / "fills.py"
LEFT = 256 << 10  # bytes: enough for job files, and not for what the tasks write
TURNS = 0.6  # seconds: more than a turn of the runner, in which it would begin another job

NewProject = Callable[[Path], Project]


@pytest.fixture
def on(tmp_path: Path) -> Iterator[NewProject]:
    """Makes a project in a folder, with the tasks of fills.py; what it started is ended with the test."""
    made: list[Project] = []

    def make(folder: Path) -> Project:
        project = Project(folder, variables={"GATES": str(tmp_path)})
        made.append(project)
        project.module("fills", FILLS.read_text())
        (folder / "data").mkdir()
        (folder / "stderr.txt").symlink_to(tmp_path / "stderr.txt")  # what is said is to be read whatever the disk does
        return project

    yield make
    for project in made:
        project.close()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system in memory."""
    mounted: list[Path] = []

    def mount(name: str = "disk", **options: object) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True)
        words = ",".join(f"{key}={value}" for key, value in {"mode": "755", **options}.items())
        subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", str(path)], check=True)
        mounted.append(path)
        return path

    yield mount
    for path in reversed(mounted):
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(folder: Path, left: int) -> Path:
    """A file that leaves so many bytes free on its disk."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with filler.open("r+b") as file:
        file.truncate(max(0, filler.stat().st_size - left))
    return filler


@dataclass
class Night:
    """A run that is at work: `long` and the first writer have begun, and wait for their gates. `others` wait for
    theirs, if they have begun."""

    project: Project
    target: str
    extra: tuple[str, ...] = ()
    gates: tuple[str, ...] = ("long", "write-0")
    others: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.folder = Path(self.project.variables["GATES"])
        for gate in (*self.gates, *self.others):
            (self.folder / f"gate-{gate}").touch()
        self.process = self.project.start("run", self.target, "--workers", "2", *self.extra)
        processes.wait_until("they have begun", lambda: set(self.gates) <= self.begun())

    def begun(self) -> set[str]:
        return {path.name.removeprefix("begun-") for path in self.folder.glob("begun-*")}

    def open(self, gate: str) -> None:
        """One, or those that a pattern fits."""
        for path in self.folder.glob(f"gate-{gate}"):
            path.unlink()

    def stops_while_long_runs(self, *words: str) -> None:
        """It says that it is hindered, begins nothing more, and waits for what runs."""
        processes.wait_until("it says why", lambda: "nothing more is started" in self.project.said(), 30)
        assert re.search("|".join(words), self.project.said()), self.project.said()
        before = self.begun()
        with pytest.raises(subprocess.TimeoutExpired):
            self.process.wait(TURNS)
        assert self.begun() == before

    def leaves(self, *words: str) -> None:
        """Exit 4, in plain words; nobody failed, and nobody is left."""
        assert self.process.wait(timeout=30) == 4, self.project.said()
        said = self.project.said()
        assert "Traceback" not in said
        plain = rf"runner: [^;]*({'|'.join(words)})[^;]*; nothing was lost: free what is lacking, then `resume`"
        assert re.search(plain, said), said
        assert not self.project.count("failed")
        assert not self.project.count("blocked")
        self.project.all_gone(self.process)
        check_state(self.project.root)

    def goes_on(self, done: int) -> None:
        """`resume` does the rest, and nobody's attempts were used up: there are no retries."""
        for gate in self.folder.glob("gate-*"):
            gate.unlink()
        resumed = self.project.runner("resume")
        assert resumed.code == 0, resumed.err
        assert self.project.counts() == {"done": done}
        outcomes = {attempt["outcome"] for job in self.project.jobs("done") for attempt in job["attempts"]}
        assert outcomes <= {"done", "interrupted"}
        assert not [path for path in (self.project.root / "data").iterdir() if path.name.startswith(".")]
        checked = self.project.runner("check", "--verify")
        assert checked.code == 0, checked.err + checked.out


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_task_finds_the_disk_full(
    on: NewProject, mount: Callable[..., Path], durability: str, threads: str, struck: Counter[str]
) -> None:
    disk = mount(size="24m")
    extra = ("--threads", threads, "--durability", durability)
    others = tuple(f"write-{number}" for number in range(1, 6))  # or they meet `fill`, which takes more than it keeps
    night = Night(on(disk / "project"), "jobs.fills:flow", extra, others=others)
    filler = fill(disk, LEFT)
    night.open("write-*")
    night.stops_while_long_runs("No space left")
    night.open("long")
    night.leaves("No space left")
    assert "Long" in {id.partition("-")[0] for id in night.project.ids("done")}, "what ran was let end, and it counts"
    assert night.project.counts()["pending"] >= 1
    struck["full disk"] += 1
    filler.unlink()
    night.goes_on(7)


def test_no_more_files_can_be_made(on: NewProject, mount: Callable[..., Path], struck: Counter[str]) -> None:
    disk = mount(nr_inodes=400)
    night = Night(on(disk / "project"), "jobs.fills:flow", QUICK)
    takers = []
    with suppress(OSError):
        for number in range(400):
            takers.append(disk / f"taker-{number}")
            takers[-1].touch()
    night.open("write-0")
    night.stops_while_long_runs("No space left")
    night.open("long")
    night.leaves("No space left")
    struck["no inodes"] += 1
    for taker in takers:
        taker.unlink(missing_ok=True)
    night.goes_on(7)


@pytest.mark.parametrize("durability", ["process", "power"])
def test_only_the_disk_of_the_state_is_full(
    on: NewProject, mount: Callable[..., Path], tmp_path: Path, durability: str, struck: Counter[str]
) -> None:
    """There is room for the outputs, but not for the records of who made them, nor for the files of those found."""
    project = on(tmp_path / "project")
    disk = mount("project/state", size="2m")
    night = Night(project, "jobs.fills:finding", ("--durability", durability), gates=("long", "find"))
    filler = fill(disk, 0)
    night.open("find")
    night.stops_while_long_runs("No space left")
    night.open("long")
    night.leaves("No space left")
    assert night.project.counts() == {"pending": 2}
    struck["full disk"] += 1
    filler.unlink()
    night.goes_on(8)


def test_the_disk_turns_read_only(on: NewProject, tmp_path: Path, struck: Counter[str]) -> None:
    """As a kernel makes it that has found an error on it; what is not durable by then is lost, as in a power cut."""
    with new_disk("ext4", tmp_path) as disk:
        night = Night(on(disk.path / "project"), "jobs.fills:flow")
        disk.sync()
        subprocess.run(["mount", "-o", "remount,errors=remount-ro", str(disk.path)], check=True)
        found = subprocess.run(["findmnt", "-no", "SOURCE", str(disk.path)], check=True, capture_output=True, text=True)
        Path("/sys/fs/ext4", Path(found.stdout.strip()).name, "trigger_fs_error").write_text("a test")
        with pytest.raises(OSError, match="Read-only"):
            (disk.path / "x").touch()
        struck["read-only disk"] += 1
        night.open("write-0")
        night.stops_while_long_runs("Read-only")
        night.open("long")
        night.leaves("Read-only")
        disk.again()
        night.goes_on(7)
        night.project.close()


@pytest.mark.parametrize("folder", ["data", "state/tmp", "state/done", "state/running"])
def test_a_folder_may_not_be_written_to_any_more(
    on: NewProject, tmp_path: Path, folder: str, struck: Counter[str]
) -> None:
    """By its immutable flag, which binds root too."""
    with new_disk("ext4", tmp_path) as disk:
        night = Night(on(disk.path / "project"), "jobs.fills:flow", QUICK)
        locked = night.project.root / folder
        subprocess.run(["chattr", "+i", str(locked)], check=True)
        try:
            night.open("write-0")
            night.stops_while_long_runs("not permitted")
            night.open("long")
            night.leaves("not permitted")
            struck[folder] += 1
        finally:
            subprocess.run(["chattr", "-i", str(locked)], check=True)
            night.project.close()
        night.goes_on(7)


def test_one_task_that_may_not_write_where_it_wants_is_a_failure_like_any_other(
    on: NewProject, tmp_path: Path, struck: Counter[str]
) -> None:
    """A disk of its own is full, which is nobody else's: the others are done."""
    project = on(tmp_path / "project")
    project.module(
        "odd",
        """
        from dataclasses import dataclass
        from pathlib import Path
        from runner import Output, Task
        from jobs.fills import Write

        @dataclass
        class Odd(Task):
            output: Output
            retries = 0

            def run(self):
                with open("/dev/full", "w") as file:
                    file.write("x")

        def flow():
            return [Odd(Path("data/odd")), *(Write(n, Path(f"data/{n}")) for n in range(6))]
        """,
    )
    outcome = project.runner("run", "jobs.odd:flow", *QUICK)
    assert outcome.code == 1, outcome.err
    assert project.counts() == {"done": 6, "failed": 1}
    assert "No space left" in project.error("Odd")
    struck["full device"] += 1
