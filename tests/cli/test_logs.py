"""`logs` on the command line: all of it, one attempt, its end, and as it grows."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.cli.test_look import ESCAPE, built, call, document, refused, said
from tests.views.state import Built
from tests.workers.support import wait_for

__all__ = ["built"]

FIRST = "--- run 20261122T020000Z, attempt 1\none\ntwo\n"
SECOND = "--- run 20261123T020000Z, attempt 2\nthree\n"


def put(built: Built, text: str, status: str = "failed") -> str:
    id = built.put(status, "a")
    log_of(built, id).write_text(text)
    return id


def log_of(built: Built, id: str) -> Path:
    return built.state / "logs" / f"{id}.log"


def test_all_of_it_one_attempt_and_its_end(built: Built) -> None:
    id = put(built, FIRST + SECOND)
    assert said("logs", id[:-3]) == FIRST + SECOND
    assert said("logs", id, "--attempt", "1") == "one\ntwo\n"
    assert said("logs", id, "-n", "2") == SECOND
    assert said("logs", id, "-f") == FIRST + SECOND, "it has failed: nothing comes any more"
    assert "attempt 3" in str(refused("logs", id, "--attempt", "3"))
    assert "no job's id begins with 'Nobody'" in str(refused("logs", "Nobody"))


def test_as_json(built: Built) -> None:
    id = put(built, FIRST + SECOND)
    found = document("logs", id)
    assert (found["id"], found["status"], found["path"]) == (id, "failed", str(log_of(built, id)))
    assert [part["attempt"] for part in found["parts"]] == [1, 2]


def test_a_job_that_has_printed_nothing(built: Built) -> None:
    id = built.put("done", "a")
    result = call("logs", id)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"{id} has printed nothing\n"


def test_escape_codes_are_shown_not_obeyed(built: Built) -> None:
    text = said("logs", put(built, f"{ESCAPE}]0;owned\x07\ttab\n"))
    assert ESCAPE not in text
    assert "\\x1b]0;owned" in text
    assert "\ttab\n" in text, "what a log is made of stays"


@pytest.mark.parametrize("words", [["-f", "--json"], ["-f", "--attempt", "1"], ["-n", "1", "--json"]], ids=" ".join)
def test_flags_that_do_not_go_together(built: Built, words: list[str]) -> None:
    result = call("logs", put(built, FIRST), *words)
    assert result.exit_code == 2
    assert "leave out" in result.stderr


def test_a_log_is_followed_until_the_job_is_settled(built: Built) -> None:
    id = put(built, FIRST, "running")
    heard: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-m", "runner", "logs", id, "-f", "-n", "1"],
        cwd=built.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        listener = threading.Thread(target=lambda: heard.extend(process.stdout or ()))
        listener.start()
        wait_for("the end of what is there", lambda: heard == ["two\n"])
        with log_of(built, id).open("a") as log:
            log.write("more\n")
        wait_for("what was added", lambda: heard == ["two\n", "more\n"])
        assert process.poll() is None, "the job runs"
        built.file("running", id).rename(built.file("done", id))
        assert process.wait(20) == 0
        listener.join(20)
        assert process.stderr is not None
        assert process.stderr.read() == ""
