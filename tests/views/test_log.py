"""A job's log: its parts, its end, and what is added while one looks. Files as workers write them, and others."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from runner.core.model import Status
from runner.errors import UsageError
from runner.views.log import log_tail, read_log, text_of
from tests.views.state import Built

FIRST = "--- run 20261122T020000Z, attempt 1\none\ntwo\n"
SECOND = "--- run 20261123T020000Z, attempt 2\nthree, and half a line"


def put(built: Built, text: str | bytes, status: str = "running") -> str:
    id = built.put(status, "a")
    (built.state / "logs" / f"{id}.log").write_bytes(text.encode() if isinstance(text, str) else text)
    return id


def test_parts_are_those_of_the_attempts(built: Built) -> None:
    id = put(built, FIRST + SECOND)
    with built.store() as store:
        log = read_log(store, id, "running")
    assert [(part.run, part.attempt, part.text) for part in log.parts] == [
        ("20261122T020000Z", 1, "one\ntwo\n"),
        ("20261123T020000Z", 2, "three, and half a line"),
    ]
    assert log.bytes == len(FIRST + SECOND)


def test_one_attempt(built: Built) -> None:
    id = put(built, FIRST + SECOND)
    with built.store() as store:
        assert [part.text for part in read_log(store, id, "running", 1).parts] == ["one\ntwo\n"]
        with pytest.raises(UsageError, match=r"attempt 3 of .* has printed nothing; of these there is something: 1, 2"):
            read_log(store, id, "running", 3)


@pytest.mark.parametrize("text", ["no header at all\n", "\n\n", "--- run x, attempt y\n"])
def test_a_file_that_begins_anywhere_has_a_part_without_a_number(built: Built, text: str) -> None:
    id = put(built, text)
    with built.store() as store:
        (part,) = read_log(store, id, "running").parts
    assert (part.run, part.attempt, part.text) == (None, None, text)


def test_a_job_that_has_printed_nothing_has_no_parts(built: Built) -> None:
    id = built.put("running", "a")
    with built.store() as store:
        log = read_log(store, id, "running")
        assert (log.bytes, log.parts, list(text_of(store, id)), log_tail(store, id)) == (0, [], [], None)


@pytest.mark.parametrize("kind", ["folder", "fifo", "symlink"])
def test_what_is_no_file_is_no_log(built: Built, kind: str) -> None:
    id = built.put("running", "a")
    path = built.state / "logs" / f"{id}.log"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/passwd")
    with built.store() as store:
        assert read_log(store, id, "running").bytes == 0
        assert list(text_of(store, id)) == []


def test_bytes_that_are_no_text_do_no_harm(built: Built) -> None:
    id = put(built, b"\xff\xfe\x00caf\xc3\xa9\n")
    with built.store() as store:
        assert "".join(text_of(store, id)) == "\ufffd\ufffd\x00café\n"


def test_what_a_task_prints_is_no_header(built: Built) -> None:
    id = put(built, FIRST + "--- run x, attempt 1\n--- run 20261122T020000Z, attempt " + "9" * 5000 + "\n")
    with built.store() as store:
        (part,) = read_log(store, id, "running").parts
    assert part.attempt == 1


def test_a_log_that_ends_within_a_letter(built: Built) -> None:
    id = put(built, b"caf\xc3")
    with built.store() as store:
        assert "".join(text_of(store, id)) == "caf\ufffd"


def test_what_is_added_comes_as_it_is_written_until_the_job_is_settled(built: Built) -> None:
    id = put(built, "one\n")
    path = built.state / "logs" / f"{id}.log"

    def writes() -> Iterator[None]:
        with path.open("ab", buffering=0) as file:
            file.write("caf\u00e9"[:-1].encode() + b"\xc3")  # half a letter
            yield
            file.write(b"\xa9\n")
            yield
            file.write(b"last\n")
            built.file("running", id).rename(built.file("done", id))
            yield

    script = writes()
    with built.store() as store:
        found = list(text_of(store, id, follow=True, sleep=lambda seconds: next(script)))
    assert [text for text in found if text] == ["one\n", "caf", "é\n", "last\n"]
    assert "" in found, "whoever waits is told that there is nothing new"


@pytest.mark.parametrize("text", ["", "\n", "one", "one\n", "one\ntwo\n\nthree", FIRST + SECOND, "long\n" * 200_000])
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 100_000])
def test_the_last_lines_are_those_that_tail_shows(built: Built, text: str, lines: int) -> None:
    id = put(built, text)
    path = built.state / "logs" / f"{id}.log"
    shown = subprocess.run(["tail", "-n", str(lines), str(path)], capture_output=True, text=True, check=True).stdout
    with built.store() as store:
        assert "".join(text_of(store, id, lines=lines)) == shown


def test_after_the_last_lines_comes_what_is_added(built: Built) -> None:
    id = put(built, "one\ntwo\n")
    path = built.state / "logs" / f"{id}.log"

    def sleep(seconds: float) -> None:
        path.write_text("one\ntwo\nthree\n")
        built.file("running", id).rename(built.file("done", id))

    with built.store() as store:
        assert "".join(text_of(store, id, lines=1, follow=True, sleep=sleep)) == "two\nthree\n"


def test_another_file_in_its_place_is_shown_from_its_beginning(built: Built) -> None:
    id = put(built, "one\n")
    path = built.state / "logs" / f"{id}.log"

    def sleep(seconds: float) -> None:
        if path.read_text() == "one\n":
            path.with_suffix(".new").write_text("another\n")
            path.with_suffix(".new").rename(path)
        else:
            built.file("running", id).rename(built.file(Status.FAILED, id))

    with built.store() as store:
        assert "".join(text_of(store, id, follow=True, sleep=sleep)) == "one\nanother\n"
