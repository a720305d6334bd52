"""Verbs that look, each over states that are none, are not ours to read, or hold what no runner ever wrote."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from runner.cli import cli
from runner.errors import RunnerError
from tests.cli.test_look import built, call
from tests.views.state import RUN, Built, done_attempt, failed_attempt, id_of

__all__ = ["built"]

JOB = id_of("a")
LOOKS = {
    "status": ["status"],
    "list": ["list"],
    "show": ["show", JOB],
    "logs": ["logs", JOB],
    "explain": ["explain", JOB],
    "changes": ["changes"],
    "graph": ["graph"],
    "graph of one": ["graph", JOB],
    "report": ["report"],
    "stats": ["stats"],
    "stats by night": ["stats", "--by", "night"],
    "check": ["check"],
    "prune": ["prune", "--dry-run"],
}
each_look = pytest.mark.parametrize("words", LOOKS.values(), ids=LOOKS)


def fill(built: Built) -> None:
    built.put("done", "a", attempts=[failed_attempt(), done_attempt()])
    (built.state / "logs" / f"{JOB}.log").write_text(f"--- run {RUN}, attempt 1\nhello\n")
    built.put("failed", "b", attempts=[failed_attempt("E" * 60, "x" * 500)])
    built.put("pending", "c" * 120, after=[id_of("b")], params={"url": "u" * 200})
    built.run(ended="2026-11-22T02:10:00.000000Z", exit=1, changes={"Fetch": {"new": 1, "failed": 1}})


def code_and_error(*words: str, columns: int | None = None) -> tuple[int, str]:
    """How the command line leaves, and what it says."""
    result = call(*words, columns=columns)
    if isinstance(result.exception, RunnerError):
        return result.exception.exit_code, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.stderr


@each_look
def test_where_there_is_no_state(built: Built, words: list[str]) -> None:
    code, error = code_and_error("--state", "nowhere", *words)
    assert code == 4
    assert "nowhere" in error
    assert not Path("nowhere").exists(), "a look makes nothing"


@each_look
@pytest.mark.parametrize("kind", ["file", "somebody's folder"])
def test_where_it_is_something_else(built: Built, words: list[str], kind: str) -> None:
    other = Path("other")
    if kind == "file":
        other.write_text("no state")
    else:
        other.mkdir()
        (other / "letter.txt").write_text("dear")
    code, error = code_and_error("--state", "other", *words)
    assert code == 4, error
    assert "other" in error
    assert os.listdir("other") == ["letter.txt"] if other.is_dir() else other.read_text() == "no state"


@each_look
def test_a_job_of_a_newer_version(built: Built, words: list[str]) -> None:
    """Who reads all files does not tell half a truth; who looks at names, or at another job, is not hindered."""
    fill(built)
    built.put("done", "new")
    file = built.file("done", id_of("new"))
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 99}))
    before = built.contents()
    code, error = code_and_error(*words)
    reads_all = words[0] in ("list", "graph", "report", "stats", "check", "prune") and "night" not in words
    assert (code, "newer version" in error) == ((4, True) if reads_all else (0, False)), error
    assert built.contents() == before


@each_look
def test_files_that_are_no_jobs_hinder_nobody(built: Built, words: list[str]) -> None:
    fill(built)
    done = built.state / "done"
    for name in ("empty", "cut", "binary"):
        built.put("done", name)
    built.file("done", id_of("empty")).write_bytes(b"")
    built.file("done", id_of("cut")).write_bytes(b'{"schema": 1, "id": ')
    built.file("done", id_of("binary")).write_bytes(os.urandom(3000))
    (done / f"{id_of('folder')}.json").mkdir()
    os.mkfifo(done / f"{id_of('pipe')}.json")
    (done / f"{id_of('link')}.json").symlink_to("/etc/passwd")
    (done / "notes.txt").write_text("mine")
    code, error = code_and_error(*words)
    assert code == (1 if words[0] == "check" else 0), error


@each_look
@pytest.mark.parametrize("columns", [1, 20, 40])
def test_on_a_narrow_terminal(built: Built, words: list[str], columns: int) -> None:
    fill(built)
    code, error = code_and_error(*words, columns=columns)
    assert code == 0, error


@pytest.mark.parametrize("words", [["status"], ["list"], ["changes"], ["stats"]], ids=" ".join)
def test_tables_are_no_wider_than_forty_columns(built: Built, words: list[str]) -> None:
    fill(built)
    lines = [line for line in call(*words, columns=40).stdout.splitlines() if re.search(r"\S  ", line)]
    assert lines
    assert [line for line in lines if len(line) > 40] == []


@each_look
def test_a_reader_that_is_gone(built: Built, words: list[str]) -> None:
    """`| true` gives no traceback, and no failure under `pipefail`."""
    fill(built)
    reader, writer = os.pipe()
    os.close(reader)
    found = subprocess.run(
        [sys.executable, "-m", "runner", *words], cwd=built.root, stdout=writer, stderr=subprocess.PIPE, timeout=60
    )
    os.close(writer)
    assert b"Traceback" not in found.stderr
    assert (found.returncode, found.stderr) == (0, b""), found.stderr


@each_look
def test_a_disk_that_is_full(built: Built, words: list[str]) -> None:
    fill(built)
    with open("/dev/full", "wb") as full:
        found = subprocess.run(
            [sys.executable, "-m", "runner", *words], cwd=built.root, stdout=full, stderr=subprocess.PIPE, timeout=60
        )
    assert found.returncode == 4
    assert found.stderr.count(b"\n") == 1, found.stderr
    assert b"No space left" in found.stderr


def test_plan_and_resume_take_what_run_takes() -> None:
    def flags(verb: str) -> set[str]:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        return {name for parameter in command.params for name in parameter.opts if name.startswith("--")}

    assert flags("plan") - {"--json"} == flags("run") - {"--dry-run"}
    assert flags("run") - flags("resume") == {"--force", "--force-task", "--adopt", "--verify", "--dry-run"}


@pytest.mark.parametrize("words", [["run"], ["resume"], ["submit", "--file", "jobs.jsonl"]], ids=" ".join)
def test_nothing_is_added_to_a_folder_of_somebody_else(built: Built, words: list[str]) -> None:
    other = Path("other")
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    Path("jobs.jsonl").write_text("")
    code, error = code_and_error("--state", "other", *words)
    assert (code, "is no state folder: there is letter.txt" in error) == (4, True), error
    assert os.listdir("other") == ["letter.txt"]


def test_who_is_too_deep_is_told_where_the_project_is(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    (built.root / "jobs" / "deep").mkdir(parents=True)
    monkeypatch.chdir(built.root / "jobs" / "deep")
    code, error = code_and_error("status")
    assert code == 4
    assert f"-C {built.root}" in error
