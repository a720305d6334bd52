"""`--notify`: what its command is told, how a run ended or why it did not begin, and that nothing of it does harm."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runner.cli import cli, notice
from tests.workers.support import wait_for

JOBS = """
from dataclasses import dataclass
from runner import Output, Task

@dataclass
class Make(Task):
    number: int
    filepath: Output
    retries = 0

    def run(self):
        self.filepath.write_text(str(10 // self.number))

def flow(least: int = 1):
    return [Make(number, f"data/{number}") for number in range(least, 4)]
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RUNNER_STATE", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "noticed_jobs.py").write_text(JOBS)
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nmodules = ["noticed_jobs"]\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "-q"])


def told() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("told.json").read_text())
    return found


def test_how_a_run_ended() -> None:
    assert call("run", "noticed_jobs:flow", "least=0", "--notify", "cat > told.json").exit_code == 1
    found = told()
    assert (found["exit_code"], found["verb"], found["error"]) == (1, "run", None)
    assert found["summary"]["counts"] == {"done": 3, "failed": 1}
    (failure,) = found["summary"]["failures"]
    assert failure["error"].startswith("ZeroDivisionError")
    assert Path("state", "failed", f"{failure['id']}.json").exists()


def test_it_is_called_when_all_is_recorded_and_the_lock_is_free() -> None:
    command = (
        "cat state/runs/*.json > record; python3 -c 'import fcntl; fcntl.flock(open(\"state/locks/runner.lock\"), 6)'"
    )
    result = call("run", "noticed_jobs:flow", "--notify", command)
    assert result.exit_code == 0
    assert "warning" not in result.stderr, "the lock could be had"
    assert json.loads(Path("record").read_text())["exit"] == 0


def test_bounds_end_a_run_and_are_for_one_call_only() -> None:
    assert call("run", "noticed_jobs:flow", "--max-jobs", "1", "--notify", "cat > told.json").exit_code == 3
    assert told()["summary"]["counts"] == {"pending": 2, "done": 1}
    assert call("resume", "--notify", "cat > told.json").exit_code == 0
    assert told()["summary"]["counts"] == {"done": 3}


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "nowhere:flow"], 2, "nowhere"),
        (["run", "noticed_jobs:flow", "--stop-after", "late"], 2, "05:30"),
        (["run", "noticed_jobs:flow", "--max-wait", "soon"], 2, "no length of time"),
    ],
)
def test_why_a_run_did_not_begin(words: list[str], code: int, says: str) -> None:
    result = call(*words, "--notify", "cat > told.json")
    assert getattr(result.exception, "exit_code", None) == code
    assert (told()["exit_code"], told()["summary"]) == (code, None)
    assert says in told()["error"]


def test_a_state_that_cannot_be_used(project: Path) -> None:
    (project / "state").write_text("no folder")
    call("run", "noticed_jobs:flow", "--notify", "cat > told.json")
    assert told()["exit_code"] == 4


@pytest.mark.parametrize("command", ["exit 7", "no-such-command", "kill -9 $$"])
def test_a_command_that_fails_changes_no_exit_code(command: str) -> None:
    result = call("run", "noticed_jobs:flow", "--notify", command)
    assert result.exit_code == 0
    assert "warning: --notify: the command left with" in result.stderr


def test_a_command_that_reads_nothing_does_no_harm() -> None:
    result = call("run", "noticed_jobs:flow", "--notify", "exec <&-")
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_command_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice, "PATIENCE", 0.3)
    began = time.monotonic()
    result = call("run", "noticed_jobs:flow", "--notify", "sleep 60 & sleep 60")
    assert time.monotonic() - began < 30
    assert result.exit_code == 0
    assert "did not end" in result.stderr


def test_ctrl_c_while_the_command_runs_changes_no_exit_code(project: Path) -> None:
    words = ["run", "noticed_jobs:flow", "-q", "--notify", "cat >> told.txt; touch began; sleep 60"]
    with subprocess.Popen([sys.executable, "-m", "runner", *words], stderr=subprocess.PIPE) as process:
        wait_for("it is told", Path("began").exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert b"killed at Ctrl-C" in process.stderr.read()
    assert Path("told.txt").read_text().count('"schema"') == 1, "it is told once"


def test_that_there_was_nothing_to_resume_is_told_too() -> None:
    assert call("resume", "--notify", "cat > told.json").exit_code == 0
    assert (told()["exit_code"], told()["summary"]) == (0, None)
