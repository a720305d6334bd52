"""The tests' own tools: a killer that never strikes, a check that finds nothing or an empty site would let all pass."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.acceptance import processes
from tests.acceptance.docs_site import NoPages
from tests.acceptance.invariants import check_state
from tests.acceptance.library import SHELVES, Library
from tests.acceptance.project import Project
from tests.acceptance.scraped import unescaped
from tests.acceptance.second_night import planned
from tests.faults.test_kills import Ledger


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    try:
        with planned(tmp_path_factory.mktemp("library"), 1) as plan:
            yield plan.library
    except NoPages as reason:
        pytest.skip(str(reason))


def answer(url: str, **headers: str) -> tuple[int, Message, bytes]:
    """Status, headers and body, by a client that has nothing to do with ours."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, headers=named)) as response:
            return response.status, response.headers, response.read()
    except HTTPError as error:
        return error.code, error.headers, error.read()


@pytest.mark.nginx
@pytest.mark.parametrize("name", [shelf.name for shelf in SHELVES])
def test_the_sites_are_as_they_say(library: Library, name: str) -> None:
    """Their pages, their sitemaps, and above all the headers, by which so much else is judged."""
    shelf, since = library.shelves[name], library.server.log_size()
    first = library.serve("first")[name]
    path, page = next(iter(first.pages.items()))
    status, headers, body = answer(library.url(name) + path)
    assert (status, body) == (200, page.body)
    assert ("etag" in headers, "last-modified" in headers) == {
        "both": (True, True),
        "etag": (True, False),
        "modified": (False, True),
        "none": (False, False),
    }[shelf.validators]
    told = headers.get_content_charset()
    assert told == (shelf.label if shelf.declared in ("header", "bom") else None)
    if shelf.gzip:
        assert gzip.decompress(answer(library.url(name) + path, accept_encoding="gzip")[2]) == page.body
    match, modified = shelf.validator(page)
    conditions = {"if_none_match": match, "if_modified_since": modified}
    sent = {header: value for header, value in conditions.items() if value != "-"}
    stale = {"if_none_match": '"0-0"', "if_modified_since": "Mon, 01 Jan 2001 00:00:00 GMT"}
    assert answer(library.url(name) + path, **sent)[0] == (304 if sent else 200)
    assert answer(library.url(name) + path, **stale)[0] == 200, "what is not the newest is not taken for it"
    logged = library.server.requests(since)[-2]
    assert (unescaped(logged.if_none_match), logged.if_modified_since, logged.site) == (match, modified, name)
    robots = answer(f"{library.url(name)}/robots.txt")[2].decode()
    maps = [line.split()[1] for line in robots.splitlines() if line.startswith("sitemap:")]
    assert len(maps) == bool(shelf.parts)
    for url in [f"{library.url(name)}/maps/part-{part}.xml.gz" for part in range(shelf.parts)] or [
        f"{library.url(name)}/sitemap.xml"
    ]:
        data = answer(url)[2]
        assert b"<loc>" in (gzip.decompress(data) if shelf.parts else data)


@pytest.mark.nginx
def test_the_second_night_is_another(library: Library) -> None:
    first, second = library.nights["first"], library.nights["second"]
    assert 400 <= sum(len(site.pages) for site in first.values()) <= 500
    for name in library.shelves:
        lost = first[name].pages.keys() - second[name].pages.keys()
        library.serve("first")
        assert {answer(library.url(name) + path)[0] for path in lost} <= {200}
        library.serve("second")
        statuses = {answer(library.url(name) + path)[0] for path in lost}
        assert statuses == (set() if library.shelves[name].quiet else {404, 410}), name


def test_a_kill_strikes_one_live_process_and_no_dead_one() -> None:
    child = "import os, time; os.setsid(); time.sleep(60)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    mark = "a kill strikes"
    leader = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, processes.MARK: mark})
    try:
        processes.wait_until("the child is there", lambda: bool(processes.workers(mark, leader.pid)))
        (worker,) = processes.workers(mark, leader.pid)
        assert worker.pid != leader.pid
        assert processes.kill(worker)
        leader.wait(timeout=10)
        assert not processes.kill(worker)
        processes.all_gone(mark)
    finally:
        processes.clear(mark)
        leader.wait()


def put(root: Path, status: str, job_id: str, **fields: Any) -> None:
    result: dict[str, Any] | None = {"outputs": {}, "found": []} if status == "done" else None
    job = {"schema": 1, "id": job_id, "task": "jobs.work:Fetch", "params": {}, "after": [], "result": result, **fields}
    folder = root / "state" / status
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{job_id}.json").write_text(json.dumps(job))


DONE = {"bytes": 4, "sha256": "0"}


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("running", {}),
        ("pending", {"id": "B-1", "after": ["A-1", "Lost-1"]}),
        ("done", {"id": "B-1", "result": {"outputs": {}, "found": ["Lost-1"]}}),
        ("done", {"id": "B-1", "result": {"outputs": {"data/lost.txt": DONE}, "found": []}}),
        ("done", {"id": "B-1", "result": {"outputs": {"data/cut.txt": DONE}, "found": []}}),
    ],
    ids=["in two folders", "an upstream job lost", "a child lost", "an output lost", "an output cut"],
)
def test_the_check_from_outside_finds(tmp_path: Path, status: str, fields: dict[str, Any]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cut.txt").write_text("c")
    put(tmp_path, "done", "A-1")
    assert check_state(tmp_path) == {"A-1": "done"}
    put(tmp_path, status, fields.pop("id", "A-1"), **fields)
    with pytest.raises(AssertionError, match=r"A-1|B-1"):
        check_state(tmp_path)


def test_the_check_from_outside_finds_half_a_file(tmp_path: Path) -> None:
    put(tmp_path, "pending", "A-1")
    file = tmp_path / "state" / "pending" / "A-1.json"
    file.write_text(file.read_text()[:-5])
    with pytest.raises(ValueError, match=r"delimiter|Expecting|property"):
        check_state(tmp_path)


def test_the_ledger_finds_what_is_done_again_or_twice_at_once(tmp_path: Path) -> None:
    project = Project(tmp_path)
    ledger = Ledger(project)
    put(tmp_path, "done", "Fetch-1", params={"name": "x"})
    project.log.write_text("start Fetch-x\nend Fetch-x\n")
    ledger.note_death()
    with project.log.open("a") as log:
        log.write("start Fetch-y\n")
    ledger.check()
    with project.log.open("a") as log:
        log.write("start Fetch-x\n")
    with pytest.raises(AssertionError, match="Fetch-x"):
        ledger.check()
    project.log.write_text("start Fetch-x\ntwice Fetch-x\n")
    with pytest.raises(AssertionError, match="same time"):
        Ledger(project).check()
