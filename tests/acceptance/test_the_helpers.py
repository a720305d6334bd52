"""The tests' own tools: a killer that never strikes, a check that finds nothing or an empty site would let all pass."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.acceptance import processes
from tests.acceptance.docs_site import Site
from tests.acceptance.invariants import check_state
from tests.acceptance.project import Project
from tests.faults.test_kills import Ledger


@pytest.mark.nginx
def test_the_site_has_some_hundred_real_pages(site: Site) -> None:
    assert 200 <= len(site.pages) <= 400
    before = site.server.log_size()
    for path in sorted(site.pages)[::40]:
        with urlopen(site.url + path) as answer:
            assert answer.headers["Content-Type"].startswith("text/html")
            assert len(answer.read()) > 200
    with urlopen(f"{site.url}/maps/part-0.xml.gz") as answer:
        assert gzip.decompress(answer.read()).count(b"<loc>") > 50
    seen = site.server.requests(before)
    assert [request.path for request in seen[:-1]] == sorted(site.pages)[::40]
    assert {request.status for request in seen} == {200}


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
