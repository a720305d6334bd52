"""What a person says against the records: force, invalidate, cancel, adopt, verify."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance import processes
from tests.acceptance.project import Project
from tests.acceptance.site import ALL, FETCHES, NAMES, PARSES, Site


@pytest.fixture
def site(project: Project) -> Site:
    return Site(project)


def outputs(site: Site) -> dict[str, tuple[object, ...]]:
    return {path: trace for path, trace in site.traces().items() if not path.startswith("state/")}


def live(site: Site, held: str) -> subprocess.Popen[bytes]:
    """A run that is at the job `held`, and does not come to an end with it until it is `let_go`."""
    site.falls()
    (site.project.root / f"gate-{held}").touch()
    process = site.project.start(*site.target, "--workers", "1")
    processes.wait_until(f"{held} has begun", lambda: held in site.started or process.poll() is not None)
    assert process.poll() is None, site.project.said()
    return process


def let_go(site: Site, held: str) -> None:
    (site.project.root / f"gate-{held}").unlink()


def ended(site: Site, process: subprocess.Popen[bytes], code: int = 0) -> None:
    assert process.wait(timeout=60) == code, site.project.said()
    checked = site.project.runner("check")
    assert checked.code == 0, checked.out


# --------------------------------------------------------------------------------------------------------------- force


def test_force(site: Site) -> None:
    """All that is reached runs, with previous(); equal bytes keep their files. Not so when nobody says it."""
    site.tonight()
    before = outputs(site)
    site.again("--force")
    assert site.ran() == site.lines("previous") == ALL
    assert outputs(site) == before
    assert site.changed() == {}
    site.again()
    assert site.ran() == []


def test_force_survives_an_interruption(site: Site) -> None:
    """`resume` goes on with it, and does nothing twice."""
    site.tonight()
    site.noted = len(site.log)
    site.project.variables["WORK_SECONDS"] = "0.2"
    process = site.project.start(*site.target, "--force", "--workers", "1")
    processes.wait_until("two are done", lambda: len(site.lines("end")) >= 2 or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 3
    outcome = site.project.runner("resume")
    assert outcome.code == 0, outcome.err
    assert site.ran() == site.started == ALL


@pytest.mark.parametrize("name", ["Parse", "jobs.nights:Parse"])
def test_force_task(site: Site, name: str) -> None:
    """Only that class; who reads it, if it changed."""
    site.tonight()
    site.again("--force-task", name)
    assert site.ran() == site.lines("previous") == PARSES
    site.tasks({'f"{line}\\n" for': 'f"+{line}\\n" for'})
    site.again()
    assert site.ran() == [], "the code of a task is not looked at"
    site.again("--force-task", name)
    assert site.ran() == ["Merge", *PARSES]
    assert site.read("all.txt") == "+text 00\n+text 01\n+text 02\n"


def test_force_task_of_no_class(site: Site) -> None:
    site.tonight()
    outcome = site.again("--force-task", "Parze", code=2)
    assert "Parze" in outcome.said
    assert site.project.counts() == {"done": 7}


# ---------------------------------------------------------------------------------------------------------- invalidate


def test_invalidate(site: Site) -> None:
    """It starts from nothing; what comes out equal keeps its file, and makes nobody else due."""
    site.tonight()
    before = outputs(site)
    id = site.id("Parse", "01")
    said = site.project.runner("invalidate", id[:9])
    assert (said.code, said.out) == (0, f"{id}\twill be made anew\n"), said.err
    assert site.read("text/01.txt") == "text 01\n", "until there is a new one"
    taken_in = site.project.runner("resume")
    assert (taken_in.code, site.started) == (0, ALL), "so far: nobody has reached it"
    assert "TARGET" not in taken_in.said, "none was to be named"
    site.again()
    assert site.ran() == ["Parse-01"]
    assert site.lines("previous") == []
    assert outputs(site) == before
    assert site.changed() == {}
    site.again("--force")
    assert site.lines("previous") == ALL, "and then it may be relied on again"


def test_invalidate_downstream(site: Site) -> None:
    site.tonight()
    said = site.project.runner("invalidate", "--downstream", "--wait", site.id("FindingFetch", "01"))
    assert said.code == 0, said.err
    ids = {site.id("FindingFetch", "01"), site.id("Parse", "01"), site.id("Merge")}
    assert {line.split("\t")[0] for line in said.out.splitlines()} == ids
    assert site.project.names("inbox") == set(), "carried out"
    for id in ids:
        assert "it was invalidated" in site.project.runner("explain", id).out
    assert site.project.counts() == {"done": 7}
    site.again()
    assert site.ran() == ["FindingFetch-01", "Merge", "Parse-01"]
    assert site.lines("previous") == []


@pytest.mark.parametrize("wait", [False, True])
def test_invalidate_beside_a_live_runner(site: Site, wait: bool) -> None:
    """What this run has found up to date already is made anew by it."""
    site.tonight()
    id, before = site.id("Parse", "00"), outputs(site)
    process = live(site, held="FindingFetch-02")
    flags = ("--wait",) if wait else ()
    said = site.project.runner("invalidate", *flags, id)
    assert said.code == 0, said.err
    if wait:
        assert site.project.names("inbox") == set()
    let_go(site, "FindingFetch-02")
    ended(site, process)
    assert site.ran() == [*FETCHES, "Parse-00"]
    assert "Parse-00" not in site.lines("previous")
    assert outputs(site) == before
    site.again()
    assert site.ran() == []


def test_invalidate_what_runs(site: Site) -> None:
    """What its worker is making is not to be relied on either: once more, from nothing."""
    site.tonight()
    name = "FindingFetch-00"
    process = live(site, held=name)
    id = site.id(*name.split("-"))
    said = site.project.runner("invalidate", id, "--wait")
    assert said.code == 0, said.err
    assert id in site.project.ids("running")
    let_go(site, name)
    ended(site, process)
    assert site.ran() == sorted([*FETCHES, name])
    assert site.lines("previous").count(name) == 1, "the first time"
    site.again()
    assert site.ran() == []


def test_wishes_about_nobody(site: Site) -> None:
    site.tonight()
    for verb in ("invalidate", "cancel", "retry"):
        outcome = site.project.runner(verb, "Nobody")
        assert outcome.code == 2, verb
        assert "no job's id begins with 'Nobody'" in outcome.said
        assert site.project.runner(verb).code == 2
        ambiguous = site.project.runner(verb, "Parse")
        assert ambiguous.code == 2
        assert "ambiguous" in ambiguous.said
    assert site.project.names("inbox") == set()


def test_retry_of_a_root_that_is_named_no_more(site: Site) -> None:
    """A person named it, so the next run tries it, whoever else names it."""
    site.page("02", "fail\n")
    site.tonight(code=1)
    id = site.id("FindingFetch", "02")
    site.page("02", "text 02\n")
    site.name("00", "01")
    said = site.project.runner("retry", id)
    assert said.out == f"{id}\twas failed, will be tried again\n"
    site.again()
    assert "FindingFetch-02" in site.started


# -------------------------------------------------------------------------------------------------------------- cancel


@pytest.mark.parametrize("wait", [False, True])
def test_cancel_beside_a_live_runner(site: Site, wait: bool) -> None:
    """What has not begun never will, though later runs name it; what it would have made blocks its readers."""
    site.flow = "rooted"
    process = live(site, held="Fetch-00")
    id = site.id("Fetch", "02")
    said = site.project.runner("cancel", id, *(("--wait",) if wait else ()))
    told = "is cancelled, or is not tried again if it runs" if wait else "will be cancelled"
    assert (said.code, said.out) == (0, f"{id}\t{told}\n"), said.err
    if wait:
        assert site.project.ids("cancelled") == {id}
    processes.wait_until("the runner has taken it in", lambda: not site.project.names("inbox"))
    let_go(site, "Fetch-00")
    ended(site, process, 1)
    assert site.project.counts() == {"done": 4, "cancelled": 1, "blocked": 2}
    assert "Fetch-02" not in site.started
    site.tonight(code=1)
    assert site.project.ids("cancelled") == {id}
    assert "Fetch-02" not in site.started
    assert "cancelled" in site.project.runner("explain", site.id("Parse", "02")).out
    if wait:
        back = site.project.runner("retry", id)
    else:
        back = site.project.runner("submit", "jobs.nights:Fetch", "name=02", "output=raw/02.html", "night=2")
    assert back.code == 0, back.err
    site.again()
    assert site.ran() == ["Fetch-02", "Merge", "Parse-02"]


def test_cancel_what_runs(site: Site) -> None:
    """It is not stopped: what it makes counts."""
    process = live(site, held="FindingFetch-00")
    id = site.id("FindingFetch", "00")
    said = site.project.runner("cancel", id, "--wait")
    assert said.out == f"{id}\tis cancelled, or is not tried again if it runs\n"
    assert id in site.project.ids("running")
    let_go(site, "FindingFetch-00")
    ended(site, process)
    assert site.project.counts() == {"done": 7}


def test_cancel_without_a_live_runner(site: Site) -> None:
    site.page("01", "fail\n")
    site.tonight(code=1)
    id = site.id("FindingFetch", "01")
    said = site.project.runner("cancel", id, "--wait")
    assert said.code == 0, said.err
    assert site.project.ids("cancelled") == {id}
    again = site.project.runner("cancel", id, site.id("Parse", "00"))
    assert again.code == 0
    assert "is cancelled: nothing to cancel" in again.out
    assert "is done: nothing to cancel" in again.out
    site.tonight(code=1)
    assert "FindingFetch-01" not in site.started


# --------------------------------------------------------------------------------------------------------------- adopt


def made_by_hand(site: Site) -> None:
    for name in NAMES:
        for path, text in ((f"raw/{name}.html", f"text hand {name}\n"), (f"text/{name}.txt", f"text hand {name}\n")):
            (site.project.root / path).parent.mkdir(exist_ok=True)
            (site.project.root / path).write_text(text)


def test_adopt(site: Site) -> None:
    """Hashed, not made: and asked for its children, which are adopted too. What is not there is made."""
    made_by_hand(site)
    site.tonight("--adopt")
    assert site.started == ["Merge"]
    assert site.read("all.txt") == "text hand 00\ntext hand 01\ntext hand 02\n"
    assert site.project.counts() == {"done": 7}
    assert site.project.runner("check", "--verify").code == 0
    site.again()
    assert site.started == []
    site.tonight()
    assert site.started == site.lines("previous") == ALL, "the next night it is as if they had been made"


def test_without_adopt_they_are_made(site: Site) -> None:
    """The merge may have been quicker than those who make what it reads: then it is made once more."""
    made_by_hand(site)
    site.tonight()
    assert [name for name in site.started if name != "Merge"] == [*FETCHES, *PARSES]
    assert "Merge" in site.started
    assert set(site.lines("previous")) <= {"Merge"}
    assert site.read("all.txt") == "text 00\ntext 01\ntext 02\n"


# -------------------------------------------------------------------------------------------------------------- verify


def test_verify(site: Site) -> None:
    """Other bytes of the same size: seen only if somebody looks."""
    site.tonight()
    path = Path(site.project.root, "text/01.txt")
    stat = path.stat()
    path.write_text("TEXT 01\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert site.project.runner("check").code == 0
    checked = site.project.runner("check", "--verify", "--json")
    assert "text/01.txt" in json.dumps(json.loads(checked.out)["warnings"])
    site.again("--verify")
    assert site.ran() == ["Parse-01"]
    assert site.read("text/01.txt") == "text 01\n"
    assert site.lines("previous") == [], "what is not whole is not to be relied on"
    site.again("--verify")
    assert site.ran() == []


def test_without_verify_it_passes_for_what_was_made(site: Site) -> None:
    """But whoever reads it sees other bytes."""
    site.tonight()
    Path(site.project.root, "text/01.txt").write_text("TEXT 01\n")
    site.again()
    assert site.ran() == ["Merge"]
    assert site.read("all.txt") == "text 00\nTEXT 01\ntext 02\n"
    Path(site.project.root, "all.txt").write_text("text 00\ntext 01\ntext 02\n")
    site.again()
    assert site.ran() == []
    site.again("--verify")
    assert site.ran() == ["Merge", "Parse-01"]
    assert site.read("all.txt") == "text 00\ntext 01\ntext 02\n"
