"""The look verbs on the command line: what they print, how they leave, and what they must not do."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from runner.cli import cli
from runner.core.model import Status
from runner.errors import Busy, RunnerError, StateError, UsageError
from runner.store.folders import FolderStore
from tests.views.state import RUN, START, Built, failed_attempt, id_of

ESCAPE = "\x1b"


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Built:
    for name in ("NO_COLOR", "COLUMNS", "RUNNER_STATE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nmodules = ["jobs"]\n')
    monkeypatch.chdir(tmp_path)
    return Built(tmp_path)


def call(*words: str, columns: int | None = None) -> Result:
    env = {} if columns is None else {"COLUMNS": str(columns)}
    return CliRunner().invoke(cli, list(words), env=env)


def said(*words: str, columns: int | None = None) -> str:
    result = call(*words, columns=columns)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def document(*words: str) -> Any:
    found = json.loads(said(*words, "--json"))
    assert found["schema"] == 1
    return found


def refused(*words: str) -> RunnerError:
    result = call(*words)
    assert isinstance(result.exception, RunnerError), (result.output, result.exception)
    return result.exception


def some(built: Built) -> dict[str, str]:
    ids = {
        "done": built.put("done", "data/a.html"),
        "failed": built.put("failed", "data/b.html", attempts=[failed_attempt("HTTPError", "404 " + "very " * 50)]),
        "pending": built.put("pending", "data/c.txt", "ParseVeryLongTextFiles"),
    }
    built.run(admitted=START, exit=3, roots=list(ids.values()))
    return ids


# -------------------------------------------------------------------------------------------------------------- status


def test_status(built: Built) -> None:
    some(built)
    text = said("status")
    assert re.search(r"^ +pending +done +failed +total$", text, re.M)
    assert re.search(r"^Fetch +1 +1 +2$", text, re.M)
    assert re.search(r"^total +1 +1 +1 +3$", text, re.M)
    assert "stopped in good order" in text
    assert text.endswith("next: python -m runner resume\n")


def test_status_as_json(built: Built) -> None:
    some(built)
    found = document("status")
    assert found["total"] == 3
    assert found["statuses"]["failed"] == 1
    assert found["tasks"]["Fetch"] == {"done": 1, "failed": 1}
    assert (found["run"]["id"], found["run"]["how"], found["runner"]) == (RUN, "stopped", None)
    assert found["next"] == "python -m runner resume"


def test_status_says_the_command_as_it_has_to_be_typed(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    some(built)
    built.state.rename(built.root / "my state")
    elsewhere = built.root / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    words = ("-C", str(built.root), "--state", "my state")
    assert document(*words, "status")["next"] == (
        f"python -m runner -C {built.root} --state '{built.root / 'my state'}' resume"
    )
    monkeypatch.setenv("RUNNER_STATE", "my state")
    assert document("-C", str(built.root), "status")["next"] == f"python -m runner -C {built.root} resume"


def test_status_of_a_live_run(built: Built) -> None:
    some(built)
    built.holder()
    began = time.time()
    with built.store():
        pass
    built.journal((0, "x", "running", "done", "finish"))
    text = said("status")
    assert f"alive: pid {os.getppid()}, since 2026-11-22 02:00:00 UTC" in text
    assert "next:" not in text
    assert time.time() - began < 5


def test_status_when_jobs_failed(built: Built) -> None:
    built.put("failed", "a")
    built.run(ended=START, exit=1, admitted=START)
    text = said("status")
    assert "next: python -m runner list --status failed\n" in text
    assert "then: python -m runner retry --failed\n" in text


def test_no_state(tmp_path: Path) -> None:
    for verb in (["status"], ["list"], ["show", "x"], ["check"], ["check", "--repair"]):
        error = refused("-C", str(tmp_path), *verb)
        assert isinstance(error, StateError)
        assert "python -m runner run" in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("columns", [40, 80])
def test_tables_fit(built: Built, columns: int) -> None:
    some(built)
    for status in ("running", "blocked", "cancelled"):
        built.put(status, status)
    for verb in (["status"], ["list"]):
        lines = said(*verb, columns=columns).splitlines()
        table = [line for line in lines if str(built.root) not in line]
        assert max(map(len, table)) <= max(columns, len(f"pending    {id_of('', 'ParseVeryLongTextFiles')}"))
    listing = said("list", columns=columns)
    assert id_of("data/b.html") in listing, "an id is never cut"


def test_watch_and_json_exclude_each_other(built: Built) -> None:
    assert call("status", "--watch", "--json").exit_code == 2


# ---------------------------------------------------------------------------------------------------------------- list


def test_list(built: Built) -> None:
    ids = some(built)
    lines = said("list").splitlines()
    assert [line.split()[:2] for line in lines] == [[s, ids[s]] for s in ("pending", "done", "failed")]
    assert "very  (url=" in lines[2], "nothing is cut where no terminal is: it may be searched"
    assert said("list", "--status", "failed", columns=60).endswith("...\n")


def test_list_as_json(built: Built) -> None:
    ids = some(built)
    jobs = document("list")["jobs"]
    assert {job["id"]: job["status"] for job in jobs} == {id: status for status, id in ids.items()}
    one = document("list", "--where", "filepath=data/a.html", "--task", "Fetch", "--status", "done")["jobs"]
    assert [job["params"]["filepath"] for job in one] == ["data/a.html"]
    assert document("list", "--task", "Nobody")["jobs"] == []


def test_list_of_those_that_are_gone(built: Built) -> None:
    ids = some(built)
    built.run(admitted=START, ended=START, exit=1, roots=list(ids.values()))
    child = built.put("done", "child", "Parse", found_by=ids["done"])
    assert said("list", "--gone") == (
        f"done       {child}  gone: {ids['done']} no longer names it  (url=https://example.org/child filepath=child)\n"
    )
    (row,) = document("list", "--gone", "--status", "done")["jobs"]
    assert (row["id"], row["status"], row["found_by"]) == (child, "done", ids["done"])
    assert "no such jobs" in call("list", "--gone", "--task", "Fetch").stderr
    (built.state / "runs" / f"{RUN}.json").write_text("{")
    assert isinstance(refused("list", "--gone"), StateError)


def test_list_of_nothing(built: Built) -> None:
    result = call("list", "--task", "Nobody")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no such jobs" in result.stderr


def test_list_with_wrong_words(built: Built) -> None:
    assert call("list", "--status", "lost").exit_code == 2
    for where in ("url", "=x"):
        assert isinstance(refused("list", "--where", where), UsageError)


# ---------------------------------------------------------------------------------------------------------------- show


def test_show(built: Built) -> None:
    ids = some(built)
    built.journal((0, ids["failed"], "pending", "running", "claim"), (1, ids["failed"], "running", "failed", "fail"))
    (built.state / "logs" / f"{ids['failed']}.log").write_text("it printed this\n")
    text = said("show", ids["failed"][:-2])
    for part in (ids["failed"], "failed", "jobs.scrape:Fetch", "data/b.html", "HTTPError: 404", "Traceback"):
        assert part in text
    assert "2026-11-22 02:00:01 UTC  running > failed (fail)" in text
    assert "it printed this" in text
    done = said("show", ids["done"])
    assert "data/a.html (3 bytes, whole)" in done


def test_show_as_json(built: Built) -> None:
    ids = some(built)
    found = document("show", ids["done"])
    assert (found["id"], found["status"]) == (ids["done"], "done")
    assert found["job"] == json.loads(built.file("done", ids["done"]).read_bytes())
    assert found["outputs"][0]["now"] == "whole"


def test_show_nobody_or_several(built: Built) -> None:
    ids = some(built)
    assert "Nobody-00" in str(refused("show", "Nobody-00"))
    assert ids["done"] in str(refused("show", "Fetch-"))


def test_escape_codes_of_others_are_shown_not_obeyed(built: Built) -> None:
    evil = f"{ESCAPE}]0;owned\x07{ESCAPE}[2J"
    id = built.put("failed", "a", params={"url": evil}, attempts=[failed_attempt("E", evil)])
    (built.state / "logs" / f"{id}.log").write_text(evil)
    (built.state / "done" / f"{evil}.json").write_text("{}")
    for verb in (["show", id], ["list"], ["check"]):
        text = call(*verb).stdout
        assert ESCAPE not in text
        assert "\\x1b" in text


# --------------------------------------------------------------------------------------------------------------- check


def test_codes_that_json_lets_stand_are_escaped(built: Built) -> None:
    built.put("failed", "a", params={"url": "\u009b2J\u007f"})
    text = said("list", "--json")
    assert "\u009b" not in text
    assert document("list")["jobs"][0]["params"]["url"] == "\u009b2J\u007f"


def test_a_state_whose_name_is_no_utf_8(built: Built) -> None:
    id = built.put("failed", "a", attempts=[failed_attempt()])
    odd = os.fsdecode(os.fsencode(built.root) + b"/st\xe4te")
    os.rename(built.state, odd)
    found = json.loads(said("--state", odd, "show", id, "--json"))
    assert found["job"]["id"] == id


def test_check(built: Built) -> None:
    some(built)
    assert said("check").startswith("no faults, no warnings: 3 jobs, 1 output (sizes), 1 run, in ")
    assert document("check", "--verify")["verified"] is True


def test_check_finds_and_mends(built: Built) -> None:
    ids = some(built)
    file = built.file("pending", ids["pending"])
    built.file("running", ids["done"]).write_bytes(built.file("done", ids["done"]).read_bytes())
    file.write_bytes(file.read_bytes()[:50])
    result = call("check")
    assert result.exit_code == 1
    faults = [line for line in result.stdout.splitlines() if line.startswith("fault: ")]
    assert len(faults) == 2, "one line each"
    assert all("--repair" in line for line in faults)
    assert "2 faults, no warnings: " in result.stdout
    mended = call("check", "--repair", "--json")
    assert mended.exit_code == 1, "it found some"
    assert all(fault["mended"] for fault in json.loads(mended.stdout)["faults"])
    assert not file.exists()
    after = call("check")
    assert after.exit_code == 0
    assert "quarantine" in after.stdout


def test_check_repair_beside_a_runner(built: Built) -> None:
    with FolderStore(built.state) as store, store.lock({}):
        assert isinstance(refused("check", "--repair"), Busy)


def test_many_warnings_are_summed_up(built: Built) -> None:
    for n in range(30):
        built.put("done", f"data/{n}")
        (built.root / "data" / str(n)).unlink()
    result = call("check")
    assert result.exit_code == 0
    assert result.stdout.count("warning: done/") == 10
    assert "and 20 more like it (output)" in result.stdout
    assert len(document("check")["warnings"]) == 30


def test_check_with_settings_that_are_broken(built: Built) -> None:
    some(built)
    (built.root / "pyproject.toml").write_text("[tool.runner]\nmoduls = 1\n")
    result = call("check")
    assert result.exit_code == 0
    assert "moduls" in result.stderr


# -------------------------------------------------------------------------------------------------- as real processes


def start(built: Built, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "runner", *words], cwd=built.root, **options)


@pytest.mark.parametrize("verb", [["list"], ["list", "--json"], ["show", "Fetch"], ["check"]], ids=" ".join)
def test_a_reader_that_has_seen_enough(built: Built, verb: list[str]) -> None:
    """`| head` gives no traceback, and no failure under `pipefail`."""
    for n in range(300 if verb[0] == "list" else 1):
        built.put("failed", str(n), attempts=[failed_attempt(message="x" * 2000)])
    if verb[0] == "show":
        (built.state / "logs" / f"{id_of('0')}.log").write_text(("y" * 3000 + "\n") * 20)
    reader, writer = os.pipe()
    process = start(built, *verb, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    if verb[0] == "list":
        assert os.read(reader, 10)
    os.close(reader)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == 0


def test_stdout_that_is_full_or_closed(built: Built) -> None:
    some(built)
    with open("/dev/full", "wb") as full:
        process = start(built, "list", stdout=full, stderr=subprocess.PIPE)
        error = process.communicate(timeout=30)[1]
    assert process.returncode == 4
    assert error.count(b"\n") == 1, error
    closed = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' -m runner list >&-"], cwd=built.root, capture_output=True, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_a_stdout_that_has_no_such_letters(built: Built) -> None:
    built.put("pending", "a", params={"name": "Zürich ☃"})
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start(built, "show", "Fetch", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, b"")
    assert b"Z\\xfcrich \\u2603" in out


def on_a_terminal(built: Built, *words: str, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", **environment}
    process = start(built, *words, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    return process, ours


def read_until(terminal: int, text: str, seconds: float = 20) -> str:
    found, until = "", time.monotonic() + seconds
    while text not in found:
        assert time.monotonic() < until, found
        if select.select([terminal], [], [], 0.1)[0]:
            found += os.read(terminal, 65536).decode()
    return found


def test_colour_on_a_terminal_only_and_where_it_is_wanted(built: Built) -> None:
    some(built)
    for environment, coloured in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        process, terminal = on_a_terminal(built, "status", **environment)
        assert (ESCAPE in read_until(terminal, "next: ")) is coloured
        assert process.wait(timeout=30) == 0
        os.close(terminal)
    assert ESCAPE not in said("status")


def test_watch_until_interrupted(built: Built) -> None:
    process, terminal = on_a_terminal(built, "status", "--watch", NO_COLOR="1")
    read_until(terminal, "no jobs in")
    built.put("done", "a")
    read_until(terminal, "1 job in")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 0
    os.close(terminal)


def test_watch_into_a_pipe_says_only_what_is_new(built: Built) -> None:
    process = start(built, "status", "--watch", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (0, b"")
    assert out.count(b"jobs in") == 1


def test_they_start_without_what_they_do_not_need(built: Built) -> None:
    """Neither pandas nor requests nor rich, no user code, and nothing of the scheduler."""
    some(built)
    (built.root / "jobs").mkdir()
    (built.root / "jobs" / "__init__.py").write_text("raise SystemExit('imported')")
    for verb in (["status"], ["list"], ["list", "--gone"], ["check"]):
        script = (
            "import sys; from runner.cli import main; sys.argv[0] = 'runner'\n"
            "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
            "unwanted = {'jobs', 'pandas', 'requests', 'rich', 'asyncio', 'multiprocessing'}\n"
            "unwanted |= {'runner.loop', 'runner.api', 'runner.batch', 'runner.store.steps', 'filelock'}\n"
            "assert not unwanted & set(sys.modules), unwanted & set(sys.modules)\n"
        )
        subprocess.run([sys.executable, "-c", script, *verb], cwd=built.root, check=True, capture_output=True)


def test_looking_changes_nothing(built: Built) -> None:
    ids = some(built)
    built.file("running", ids["done"]).write_text("{")
    before = {file: file.lstat().st_mtime_ns for file in built.root.rglob("*")}
    for verb in (["status"], ["list"], ["list", "--gone"], ["show", ids["failed"]], ["check", "--verify"]):
        call(*verb)
    assert {file: file.lstat().st_mtime_ns for file in built.root.rglob("*")} == before


def test_every_status_can_be_listed(built: Built) -> None:
    for status in Status:
        call("list", "--status", status.value, "--json")
        assert document("list", "--status", status.value)["jobs"] == []


def test_a_quick_end_leaves_nothing_out(tmp_path: Path) -> None:
    """What others want done at the end is done, and the exit code is that of the run."""
    (tmp_path / "work.py").write_text(
        "import atexit, sys, threading, time\n"
        "from dataclasses import dataclass\n"
        "from runner import Task\n\n\n"
        "@dataclass(frozen=True)\n"
        "class Fails(Task):\n"
        "    retries = 0\n\n"
        "    def run(self) -> None:\n"
        "        raise ValueError\n\n\n"
        "def flow() -> Fails:\n"
        "    atexit.register(print, 'last words')\n"
        "    threading.Thread(target=lambda: (time.sleep(0.5), print('of a thread'))).start()\n"
        "    sys.stdout.write('unfinished ')\n"
        "    return Fails()\n"
    )
    (tmp_path / "pyproject.toml").write_text('[tool.runner]\nmodules = ["work"]\n')
    words = [sys.executable, "-m", "runner", "run", "work:flow", "-q"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("unfinished ")
    assert done.stdout.index("of a thread") < done.stdout.index("last words")
