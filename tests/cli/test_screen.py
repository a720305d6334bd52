"""What a run looks like on a real terminal (tmux is one), wide and narrow, and what is left there at its end."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.support import wait_for

pytestmark = pytest.mark.tmux

JOBS = """
from dataclasses import dataclass
from pathlib import Path
import time
from runner import Output, Task

@dataclass
class Fetch(Task):
    number: int
    filepath: Output
    retries = 0

    def limits(self):
        return {"host:h.example": 1}

    def run(self):
        if self.number == 0:
            raise ValueError("no such page" + chr(27) + "[31m " + "and so on " * 12)
        while self.number == 3 and not Path("go").exists():
            time.sleep(0.02)
        self.filepath.write_text("here")

    def downstream_tasks(self):
        return [Parse(f"out/{self.number}")]

@dataclass
class Parse(Task):
    filepath: Output

    def run(self):
        self.filepath.write_text("parsed")

def flow():
    return [Fetch(n, f"data/{n}") for n in range(9)]
"""


class Terminal:
    """A window of tmux."""

    def __init__(self, folder: Path, columns: int, line: str) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._call("new-session", "-d", "-x", str(columns), "-y", "24", "-c", str(folder), f"{line}; sleep 600")

    def _call(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True, timeout=20).stdout

    def shown(self, *, colours: bool = False) -> str:
        """What one sees, lines that were broken put together again."""
        return self._call("capture-pane", "-p", "-J", *(["-e"] if colours else []))

    @property
    def cursor(self) -> bool:
        """Whether it is to be seen."""
        return self._call("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def close(self) -> None:
        self._call("kill-server")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").write_text(JOBS)
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\ntarget = "jobs:flow"\n')
    return tmp_path


@pytest.fixture(params=[100, 40], ids="{} columns".format)
def columns(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def terminal(columns: int, root: Path) -> Iterator[Terminal]:
    command = (
        f"COLUMNS=77 {shlex.quote(sys.executable)} -m runner run --threads 4 --durability process; echo exit code $?"
    )
    terminal = Terminal(root, columns, command)
    yield terminal
    (root / "go").touch()
    terminal.close()


def test_a_run_on_a_terminal(root: Path, columns: int, terminal: Terminal) -> None:
    wait_for("it waits", lambda: "held back: 5 by host:h.example" in " ".join(terminal.shown().split()), seconds=30)
    wait_for("what was found", lambda: re.search(r"Parse.* 2 of 2", terminal.shown()))
    lines = terminal.shown().rstrip().splitlines()
    assert ("━" in lines[1]) is (columns == 100), "there is room for a bar"
    assert lines[0].startswith("failed: Fetch-")
    assert "no such page\\x1b[31m and so on" in lines[0]
    table = " ".join(" ".join(lines[1:]).split())  # where it is narrow, words have gone to the next line
    assert re.match(r"Fetch.* 3 of 9,? 1 running,? 1 failed", table)
    assert re.search(r"\[\d+ s\] 4 of 11 done, 5 pending, 1 running, 1 failed", table)

    (root / "go").touch()
    wait_for("its end", lambda: "exit code 1" in terminal.shown(), seconds=30)
    lines = terminal.shown().rstrip().splitlines()
    assert [line.partition(":")[0].partition(" 2")[0] for line in lines] == [
        "failed",
        "run",
        "who did not succeed",
        "why, for one of them",
        "to try them again",
        "exit code 1",
    ], "nothing of the table is left"
    assert ": 16 done, 1 failed (16 new) in " in lines[1]


@pytest.mark.parametrize(("setting", "coloured"), [("TERM=tmux", True), ("NO_COLOR=1", False), ("TERM=dumb", False)])
def test_colour_where_it_is_wanted(root: Path, setting: str, coloured: bool) -> None:
    line = (
        f"env {setting} {shlex.quote(sys.executable)} -m runner run --threads 4 --durability process; echo exit code $?"
    )
    terminal = Terminal(root, 100, line)
    try:
        wait_for("it waits", lambda: "of 11 done" in terminal.shown(), seconds=30)
        wait_for("colours", lambda: bool(re.search(r"\x1b\[[0-9;]*3[0-8]m", terminal.shown(colours=True))) is coloured)
    finally:
        (root / "go").touch()
        terminal.close()


def test_a_page_is_not_poured_over_a_terminal(root: Path) -> None:
    (root / "go").touch()
    runner = f"{shlex.quote(sys.executable)} -m runner"
    terminal = Terminal(root, 100, f"{runner} run -q; {runner} report; echo exit code $?")
    try:
        wait_for("its end", lambda: "exit code" in terminal.shown(), seconds=30)
        assert "name a file with -o" in terminal.shown()
        assert "exit code 2" in terminal.shown()
    finally:
        terminal.close()


def test_a_run_that_ends_by_an_error_leaves_the_terminal_as_it_was(root: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m runner run --threads 4 --durability process; echo exit code $?"
    terminal = Terminal(root, 100, command)
    try:
        wait_for("it waits", lambda: "of 11 done" in terminal.shown(), seconds=30)
        assert not terminal.cursor
        shutil.rmtree(root / "state" / "tmp")
        (root / "go").touch()
        wait_for("its end", lambda: "exit code 4" in terminal.shown(), seconds=30)
        assert terminal.cursor
        lines = terminal.shown().splitlines()
        assert not [line for line in lines if "of 11 done" in line], "nothing of the table is left"
        assert any("nothing more is started" in line for line in lines)
    finally:
        (root / "go").touch()
        terminal.close()
