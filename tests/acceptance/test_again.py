"""Runs on top of what earlier ones left: unfinished, failed, old; parsers and pages that are not what they were."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import processes
from tests.acceptance.project import QUICK, Project
from tests.acceptance.site import ALL, NAMES, PARSES, Site, called


@pytest.fixture
def site(project: Project) -> Site:
    return Site(project)


def wait_for(site: Site, word: str, count: int, process: subprocess.Popen[bytes]) -> None:
    processes.wait_until(f"{count} x {word}", lambda: len(site.lines(word)) >= count or process.poll() is not None)
    assert process.poll() is None, site.project.said()


def texts(site: Site) -> str:
    return "".join(site.read(f"text/{name}.txt") for name in NAMES)


# ----------------------------------------------------------------------------------------------------- unfinished work


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_on_top_of_unfinished_work(new_project: Callable[..., Project], how: signal.Signals) -> None:
    """The new run takes it over, so the old one has ended; what is done is not done again."""
    site = Site(new_project(), pages=8)
    site.project.variables["WORK_SECONDS"] = "0.2"
    site.falls()
    process = site.project.start(*site.target, "--workers", "1")
    wait_for(site, "end", 3, process)
    process.send_signal(how)
    assert process.wait() == (3 if how is signal.SIGINT else -signal.SIGKILL)
    first = site.run
    done = {called(job) for job in site.project.jobs("done")}
    running = {called(job) for job in site.project.jobs("running")}
    assert done
    site.project.variables["WORK_SECONDS"] = "0"
    noted = site.noted
    outcome = site.project.runner(*site.target)
    assert outcome.code == 0, outcome.err
    assert site.run > first
    assert "nothing to resume" in site.project.runner("resume").said, "the old run has ended"
    site.noted = noted
    twice = Counter(site.started) - Counter(set(site.started))
    if site.project.address and how is signal.SIGKILL:  # its worker lives on, and is at what it has
        assert twice.keys() <= running
        assert twice.total() == len(twice)
    else:
        assert twice.total() <= (1 if how is signal.SIGKILL else 0), "nothing twice but what the worker had in hand"
    assert not done & twice.keys()
    assert not site.lines("twice")
    assert site.project.counts() == {"done": 17}
    ended = [record["ended"] for record in site.records()]
    assert all(ended)
    assert site.project.runner("check").code == 0


def test_what_failed_is_tried_again_by_a_new_run_and_not_by_resume(site: Site) -> None:
    site.page("01", "fail\n")
    outcome = site.tonight(code=1)
    assert "RuntimeError: 503 Service Unavailable" in outcome.said
    assert "list --status failed" in outcome.said
    assert site.project.counts() == {"done": 4, "failed": 2}
    assert "text/01.txt" in site.project.error("Merge"), "which nobody came to make"
    site.noted = len(site.log)
    again = site.project.runner("resume")
    assert again.code == 0
    assert "nothing to resume" in again.said
    assert site.started == []
    site.again(code=1)
    assert site.started == ["FindingFetch-01"]
    site.page("01", "text back\n")
    site.again()
    assert site.ran() == ["FindingFetch-01", "Merge", "Parse-01"]
    assert site.changed() == {"new": ["all.txt", "raw/01.html", "text/01.txt"]}


def test_resume_of_an_interrupted_run_leaves_alone_what_failed_in_it(site: Site) -> None:
    site.project.variables["WORK_SECONDS"] = "0.4"
    site.page("00", "fail\n")
    site.falls()
    process = site.project.start(*site.target, "--workers", "1")
    processes.wait_until("a failure", lambda: site.project.count("failed") or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    outcome = site.project.runner("resume")
    assert outcome.code == 1, outcome.err
    assert site.started.count("FindingFetch-00") == 1
    assert site.job("Parse", "01")[0] == site.job("Parse", "02")[0] == "done"
    assert site.changes()["tasks"]["FindingFetch"]["failed"] == 1


@pytest.mark.parametrize("flow", ["found", "rooted"])
def test_the_last_good_output_outlives_a_failure(project: Project, flow: str) -> None:
    """While tonight's attempt runs, and after it failed; who reads it stays as it is."""
    site = Site(project, flow)
    site.tonight()
    before = site.traces()
    site.page("01", "fail\n")
    site.falls()
    project.variables["WORK_SECONDS"] = "0.5"
    process = project.start(*site.target)
    wait_for(site, "start", 1, process)
    while process.poll() is None:
        assert site.read("raw/01.html") == "text 01\nstamp 1\n"
        assert site.read("all.txt") == "text 00\ntext 01\ntext 02\n"
        time.sleep(0.01)
    assert process.returncode == 1, project.said()
    assert {path: trace for path, trace in site.traces().items() if not path.startswith("state/")} == {
        path: trace for path, trace in before.items() if not path.startswith("state/")
    }
    assert project.counts() == {"done": 6, "failed": 1}, "done jobs stay done"
    assert len(site.started) == 3, "and nothing reads what was not made"
    assert site.changed() == {"failed": ["raw/01.html"]}


def test_a_reader_that_runs_whatever_failed_gets_the_last_good_output(project: Project) -> None:
    site = Site(project, "reported")
    site.tonight()
    assert site.read("report.txt") == "text 00\nstamp 1\ntext 01\nstamp 1\ntext 02\nstamp 1\n"
    site.page("00", "text new\n")
    site.page("01", "fail\n")
    site.tonight(code=1)
    assert site.read("report.txt") == "text new\ntext 01\nstamp 1\ntext 02\nstamp 1\n"
    status, job = site.job("Report")
    assert status == "done"
    assert job["attempts"][-1]["stale"] == ["raw/01.html"]
    assert "stale" not in job["attempts"][0]
    assert "raw/01.html" in project.runner("show", job["id"]).out
    site.page("01", "text good\n")
    site.tonight()
    assert "stale" not in site.job("Report")[1]["attempts"][-1]
    assert site.read("report.txt") == "text new\ntext good\ntext 02\nstamp 1\n"


# ------------------------------------------------------------------------------------------------------ judged as of


AGED = """
    import time
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Output, Task
    from jobs.work import note

    @dataclass
    class Aged(Task):
        number: int
        output: Output
        max_age = 3600

        def run(self):
            note(f"start Aged-{self.number}")
            self.output.write_text("made")

    @dataclass
    class Slow(Task):
        output: Output
        priority = 9

        def run(self):
            note("start Slow")
            time.sleep(60 if Path("slow").exists() else 0)
            self.output.write_text("made")

    def aged():
        return [Aged(number, Path(f"aged/{number}")) for number in range(3)]

    def both():
        return [Slow(Path("aged/slow")), *aged()]
"""


def as_if_earlier(project: Project, ago: timedelta) -> None:
    """The newest run began so long ago, and what is done was done 20 minutes before that."""
    start = datetime.now(UTC) - ago
    record = max(project.state.glob("runs/*.json"))
    changed(record, lambda run: run.update(start=stamp(start)))
    for file in project.state.glob("done/*.json"):
        changed(file, lambda job: job["result"].update(checked_at=stamp(start - timedelta(minutes=20))))


def changed(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(file.read_bytes())
    change(document)
    file.write_text(json.dumps(document, indent=2) + "\n")


def stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_a_resume_is_judged_as_of_the_start_of_its_run(site: Site) -> None:
    """The age passes between the start and the resume: nobody is due for that. In a new run they are."""
    project = site.project
    project.module("aged", AGED)
    assert project.runner("run", "jobs.aged:aged", *QUICK).code == 0
    (project.root / "slow").touch()
    process = project.start("run", "jobs.aged:both", "--workers", "1", *QUICK)
    wait_for(site, "start", 4, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (project.root / "slow").unlink()
    as_if_earlier(project, timedelta(minutes=50))  # the run began 50 minutes ago, and its jobs were done 20 before
    site.noted = len(site.log)
    outcome = project.runner("resume")
    assert outcome.code == 0, outcome.err
    assert site.started == ["Slow"], "the age passes after the start of the run"
    site.noted = len(site.log)
    assert project.runner("run", "jobs.aged:both", *QUICK).code == 0
    assert site.started == ["Aged-0", "Aged-1", "Aged-2"]


# --------------------------------------------------------------------------------------------------- another parser


def test_a_new_version_of_the_parser(site: Site) -> None:
    """All pages are parsed again, from disk. Equal texts are merged no more than once."""
    site.tonight()
    site.tasks({"version = 1": "version = 2"})
    site.again()
    assert site.ran() == PARSES
    assert site.lines("previous") == PARSES
    assert site.changed() == {}
    site.again()
    assert site.ran() == []


def test_a_new_selector(site: Site) -> None:
    """A parameter of the parses, which the fetches give: they are asked again, and do not run."""
    site.tonight()
    site.tasks({'SELECTOR = "text"': 'SELECTOR = "stamp"'})
    why = site.project.runner("run", *site.target[1:], "--dry-run")
    assert why.code == 0, why.err
    assert site.started == ALL, "so far"
    site.again()
    assert site.ran() == ["Merge", *PARSES]
    assert site.read("all.txt") == "stamp 1\n" * 3
    assert site.changed() == {"changed": ["all.txt", *(f"text/{name}.txt" for name in NAMES)]}
    explained = site.project.runner("explain", site.id("Parse", "01"))
    assert explained.code == 0, explained.err


def test_a_renamed_parser(site: Site) -> None:
    """Jobs of the old class are superseded by those that make the same files now."""
    site.tonight()
    before = site.traces()
    old = {site.id("Parse", name) for name in NAMES}
    site.tasks({"class Parse(": "class Extract(", "yield Parse(": "yield Extract("})
    site.again()
    assert site.ran() == [f"Extract-{name}" for name in NAMES], "and no fetch; equal texts are not merged again"
    assert site.project.ids("cancelled") == old
    for job in site.project.jobs("cancelled"):
        assert job["attempts"][-1]["outcome"] == "superseded"
        assert site.id("Extract", job["params"]["output"][5:7]) in job["attempts"][-1]["error"]["message"]
    now = site.traces()
    assert all(now[path] == before[path] for path in before if path.endswith((".html", ".txt")))
    site.again()
    assert site.ran() == []
    site.tasks()
    site.again()
    assert site.ran() == PARSES, "and back"
    assert site.project.counts() == {"done": 7, "cancelled": 3}
    assert site.project.runner("check").code == 0


def test_a_class_that_is_gone(site: Site) -> None:
    """Of a module that is healthy: what it has unfinished fails with that reason, what is done stays."""
    project = site.project
    project.module("aged", AGED)
    assert project.runner("run", "jobs.aged:both", *QUICK).code == 0
    handed_in = project.runner("submit", "jobs.aged:Slow", "output=aged/other")
    assert handed_in.code == 0, handed_in.err
    unfinished = handed_in.out.strip()
    project.runner("retry", "--failed", "--wait")  # which takes it in
    assert project.counts() == {"pending": 1, "done": 4}
    (done,) = (job["id"] for job in project.jobs("done", "Slow"))
    before = (project.state / "done" / f"{done}.json").read_bytes()
    project.module("aged", AGED.replace("class Slow", "class Fast"))
    outcome = project.runner("run", "jobs.aged:aged", *QUICK)
    assert outcome.code == 1, outcome.err
    assert "jobs.aged has no Slow" in outcome.said
    assert project.ids("failed") == {unfinished}
    assert "jobs.aged has no Slow" in project.error("Slow")
    assert (project.state / "done" / f"{done}.json").read_bytes() == before
    assert project.runner("run", "jobs.aged:aged", *QUICK).code == 0, "said once: nothing reaches it any more"
    for id in (done, unfinished):
        explained = project.runner("explain", id)
        assert explained.code == 0, explained.err
        assert "jobs.aged has no Slow" in explained.out


# ------------------------------------------------------------------------------------------------------- large batches


MANY = """
    from dataclasses import dataclass
    from pathlib import Path
    from runner import Output, Task

    @dataclass
    class Small(Task):
        output: Output

        def run(self):
            self.output.write_text("made")

    def many():
        return [Small(Path(f"made/{number}")) for number in range(30_000)]
"""


def test_workers_that_die_while_they_look_at_done_jobs_cost_nothing(
    project: Project, record_property: Callable[[str, object], None]
) -> None:
    """In a large run with nothing to do they look at what comes next."""
    project.module("many", MANY)
    assert project.runner("run", "jobs.many:many", *QUICK).code == 0
    before = {path: path.stat().st_ino for path in project.state.glob("done/*")}
    struck = 0
    for _ in range(10):
        process = project.start("run", "jobs.many:many", *QUICK)
        while process.poll() is None:
            (mark,) = (mark for mark, started in project.started.items() if started is process)
            if struck < 20 and any(name.startswith("worker-") for name in project.names("locks")):
                leaves = processes.workers(mark, process.pid)
                struck += sum(processes.kill(leaf) for leaf in leaves if leaf.parent != process.pid)
            time.sleep(0.005)
        assert process.returncode == 0, project.said()
        if struck >= 3:
            break
    assert struck >= 3
    record_property("struck", f"{struck} workers")
    assert {path: path.stat().st_ino for path in project.state.glob("done/*")} == before
    assert project.counts() == {"done": 30_000}
