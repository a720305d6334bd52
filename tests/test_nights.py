"""Inputs that are not there, in whole runs, night after night: absence spreads, what may be missing is None."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner import Absent
from tests.rig import Rig, files, id_of
from tests.workers import tasks
from tests.workers.tasks import Copied, Gather, Once, Read, Write

pytestmark = pytest.mark.usefixtures("project")


def second_night(first: Rig) -> Rig:
    first.store.close()
    return Rig(run="20261123T020000Z")


def test_with_all_done_a_reader_runs_beside_a_failed_producer_with_what_there_is(project: Path) -> None:
    makers = [Once("one", output="one.txt"), Once("two", output="two.txt")]
    reader = Gather(["one.txt", "two.txt", "three.txt"], "all.txt")
    found = [reader, *makers, Once("fail", output="three.txt")]
    for name in ("one", "two"):
        tasks.ACTIONS[name] = lambda task: task.output.write_text(f"<{task.name}>")
    rig = Rig()
    assert rig.work(found)
    assert rig.counts() == {"done": 3, "failed": 1}
    assert Path("all.txt").read_text() == "<one><two>"
    assert "stale" not in rig.job(id_of(reader))[1].attempts[-1]
    Path("one.txt").unlink()
    tasks.ACTIONS["one"] = lambda task: 1 / 0
    tasks.ACTIONS["two"] = lambda task: task.output.write_text("<new>")
    Path("two.txt").unlink()
    rig = second_night(rig)
    assert rig.work(found)
    assert Path("all.txt").read_text() == "<new>"


def test_what_is_of_last_night_is_noted_as_stale(project: Path) -> None:
    maker, reader = Once("it", output="one.txt", hint=""), Gather(["one.txt"], "all.txt")
    tasks.ACTIONS["it"] = lambda task: task.output.write_text("old")
    rig = Rig()
    assert rig.work([maker, reader])
    tasks.ACTIONS["it"] = lambda task: 1 / 0
    rig = second_night(rig)
    Path("state/done", f"{id_of(maker)}.json").rename(Path("state/failed", f"{id_of(maker)}.json"))
    Path("all.txt").unlink()
    assert rig.work([maker, reader])
    assert Path("all.txt").read_text() == "old"
    assert rig.job(id_of(reader))[1].attempts[-1]["stale"] == ["one.txt"]


def test_with_all_done_a_plain_input_that_is_not_there_blocks(project: Path) -> None:
    rig = Rig()
    assert rig.work([Once("fail", output="a.txt"), Copied("a.txt", "b.txt")])
    assert rig.counts() == {"failed": 1, "blocked": 1}


def test_an_input_that_may_be_missing_is_none_once_nobody_else_can_make_it(project: Path) -> None:
    rig = Rig()
    reader = Read("a.txt", "out.txt", maybe="nobody.txt")
    assert rig.work([Write("a.txt"), reader])
    assert Path("out.txt").read_text() == "text\n-"
    rig = second_night(rig)
    Path("nobody.txt").write_text("somebody")
    assert rig.work([Write("a.txt"), reader])
    assert Path("out.txt").read_text() == "text\nsomebody"


def test_a_plain_input_that_nobody_makes_fails_the_job_when_nothing_else_can_run(project: Path) -> None:
    rig = Rig()
    (id,) = rig.submit([Copied("nobody.txt", "out.txt")])
    assert rig.loop.run()
    status, job = rig.job(id)
    assert status == "failed"
    assert "nobody.txt" in job.attempts[-1]["error"]["message"]


def test_absence_spreads_blocks_nobody_and_ends_when_the_page_is_back(project: Path) -> None:
    pages = [Once("gone", output="1.html"), Once("there", output="2.html")]
    texts = [Read("1.html", "1.txt"), Read("2.html", "2.txt")]
    corpus = Read("2.txt", "corpus.txt", many=["1.txt", "2.txt"])
    tasks.ACTIONS["gone"] = tasks.ACTIONS["there"] = lambda task: task.output.write_text("<page>")
    rig = Rig()
    assert rig.work([*pages, *texts, corpus])
    whole = Path("corpus.txt").read_text()

    tasks.ACTIONS["gone"] = lambda task: Absent()
    rig = second_night(rig)
    Path("1.html").unlink()
    assert rig.work([*pages, *texts, corpus])
    assert rig.counts() == {"done": 5}
    assert Path("corpus.txt").read_text() != whole
    assert files() == ["2.html", "2.txt", "corpus.txt"], "what became absent went to trash/"
    assert Path("state/trash/20261123T020000Z/1.txt").exists()
    assert rig.job(id_of(texts[0]))[1].result["change"] == "absent"  # type: ignore[index]
