"""The command lines of docs/nightly.md, started as cron and systemd start them: with next to no environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from tests.cli.test_notice import JOBS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "nightly.md").read_text()
BARE = {"PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "me", "USER": "me"}  # crontab(5)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a project in it, whose virtual environment is this one, and a `mail` that keeps what it is given."""
    site = tmp_path / "site"
    (site / "jobs").mkdir(parents=True)
    (site / "jobs" / "__init__.py").write_text(JOBS)
    (site / "pyproject.toml").write_text('[tool.runner]\ntarget = "jobs:flow"\n')
    (site / ".venv" / "bin").mkdir(parents=True)
    command = site / ".venv" / "bin" / "runner"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m runner "$@"\n')
    command.chmod(0o755)
    (site / "tell").write_text(blocks("sh")[0])
    (site / "tell").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mail").write_text(f'#!/bin/sh\necho "$2" > {tmp_path}/subject; cat > {tmp_path}/mail\n')
    (tmp_path / "bin" / "mail").chmod(0o755)
    return tmp_path


def bare(home: Path) -> dict[str, str]:
    mine = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    return {**BARE, "HOME": str(home), "PATH": f"{home}/bin:{BARE['PATH']}", **mine}


def sh(home: Path, line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-c", line], env=bare(home), cwd=home, capture_output=True, text=True, timeout=60)


def test_the_lines_of_the_crontab(home: Path) -> None:
    lines = [re.split(r"\s{2,}", line, maxsplit=1)[1] for line in blocks("cron")[0].splitlines()]
    assert len(lines) == 3
    for line in lines:
        done = sh(home, line)
        assert (done.returncode, done.stderr) in ((0, ""), (0, "nothing to resume\n")), done.stderr
    assert sorted(path.name for path in (home / "site" / "data").iterdir()) == ["1", "2", "3"]
    assert not (home / "mail").exists(), "there is nothing to tell"


needs_jq = pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, as the example has it")


@needs_jq
def test_a_failure_is_told_by_mail(home: Path) -> None:
    (home / "site" / "jobs" / "__init__.py").write_text(JOBS.replace("least: int = 1", "least: int = 0"))
    line = re.split(r"\s{2,}", blocks("cron")[0].splitlines()[0], maxsplit=1)[1]
    assert sh(home, line).returncode == 1
    assert (home / "subject").read_text() == "nightly: exit code 1\n"
    told = json.loads((home / "mail").read_text())
    assert told["counts"] == {"done": 3, "failed": 1}
    assert "ZeroDivisionError" in told["failures"][0]["error"]


@needs_jq
def test_a_run_that_cannot_start_is_told_by_mail(home: Path) -> None:
    (home / "site" / "jobs" / "__init__.py").write_text("import nothing_of_this_name\n")
    line = re.split(r"\s{2,}", blocks("cron")[0].splitlines()[0], maxsplit=1)[1]
    assert sh(home, line).returncode == 2
    assert "nothing_of_this_name" in json.loads((home / "mail").read_text())["error"]


def test_the_unit_and_its_timer(home: Path) -> None:
    service, timer = (ConfigParser(interpolation=None, strict=False) for _ in range(2))
    for parser in (service, timer):
        parser.optionxform = str  # type: ignore[assignment, method-assign]
    service.read_string(blocks("ini")[0])
    timer.read_string(blocks("ini")[1])
    unit = service["Service"]
    for key in ("ExecStart", "ExecStartPost"):
        words = unit[key].replace("%h", str(home))
        done = subprocess.run(
            shlex.split(words),
            env=bare(home),
            cwd=unit["WorkingDirectory"].replace("%h", str(home)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert timer["Timer"]["OnCalendar"]
