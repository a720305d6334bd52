"""Whether done jobs are up to date, and why not, by real files and classes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from runner import Absent
from runner.catalog import Catalog
from runner.core.events import Judged
from runner.store import codec
from runner.store.codec import JobFile
from runner.task import Last, Task
from runner.workers.judge import How, Judge
from tests.rig import RUN, STARTED, Rig, made
from tests.workers import tasks
from tests.workers.tasks import Act, Copied, Finder, Noop, Read, Write

DAY = 24 * 3600.0


pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def catalog(project: Path) -> Catalog:
    return Catalog(["tests"], project)


def changed(monkeypatch: pytest.MonkeyPatch, cls: type[Task], **settings: Any) -> Catalog:
    """A catalog of a later day, when the class has been edited."""
    for name, value in settings.items():
        monkeypatch.setattr(cls, name, value)
    monkeypatch.delattr(cls, "_task_type", raising=False)
    return Catalog(["tests"], Path.cwd())


def write_all(task: Act) -> None:
    for path in (*filter(None, [task.output]), *task.more):
        path.write_text("text")


def judged(catalog: Catalog, job: JobFile, *, run: str = "20261123T020000Z", after: float = DAY, **how: Any) -> Judged:
    return Judge(catalog, How(**how), run=run, started=STARTED + after).judge(codec.brief(job))


def test_a_done_job_is_up_to_date_as_long_as_nothing_has_changed(catalog: Catalog) -> None:
    Path("in.txt").write_text("input")
    for job in (made(Noop(1)), made(Write("a.txt")), made(Copied("in.txt", "b.txt"))):
        assert judged(catalog, job) == Judged(id=job.id, reason=None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda: os.unlink("out.txt"), "output out.txt is not there"),
        (lambda: Path("out.txt").write_text("longer than it was"), "output out.txt has 18 bytes, not 5"),
        (lambda: Path("in.txt").write_text("other"), "input in.txt changed"),
        (lambda: os.unlink("in.txt"), "input in.txt is gone"),
        (lambda: os.unlink("in.txt") or os.mkdir("in.txt"), "input in.txt is gone"),
        (lambda: os.unlink("in.txt") or os.mkfifo("in.txt"), "input in.txt is gone"),
    ],
)
def test_what_has_changed_among_its_files_is_named(catalog: Catalog, change: Callable[[], Any], reason: str) -> None:
    Path("in.txt").write_text("input")
    job = made(Copied("in.txt", "out.txt"))
    change()
    assert judged(catalog, job).reason == reason


def test_mtimes_decide_nothing(catalog: Catalog) -> None:
    Path("in.txt").write_text("input")
    job = made(Copied("in.txt", "out.txt"))
    os.utime("in.txt")
    os.utime("out.txt", (1, 1))
    assert judged(catalog, job).reason is None


def test_another_version_or_parameter_is_named_and_a_hint_is_none(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made(Act("it", output="a.txt"), write_all)
    assert judged(catalog, replace(job, params={**job.params, "hint": "other"})).reason is None
    other = replace(job, params={**job.params, "more": ["b.txt"]})
    assert judged(catalog, other).reason == "parameter more: [] -> ['b.txt']"
    unlike = replace(job, params={**job.params, "name": 3})
    assert "name" in (judged(catalog, unlike).reason or "")
    assert judged(changed(monkeypatch, Act, version=2), job).reason == "version 1 -> 2"


def test_a_parameter_that_the_record_has_not_got_yet_counts_as_its_default(catalog: Catalog) -> None:
    job = made(Write("a.txt"))
    assert job.result is not None
    old = replace(job, params={"output": "a.txt"}, result={**job.result, "params": {"output": "a.txt"}})
    assert judged(catalog, old).reason is None


def test_what_is_recorded_absent_stays_so_until_its_input_is_there(catalog: Catalog) -> None:
    rig = Rig()
    tasks.ACTIONS["it"] = lambda task: Absent()
    Path("there.txt").write_text("x")
    rig.submit([Act("it", output="gone.txt"), Read("gone.txt", "out.txt", many=["there.txt"])])
    assert rig.loop.run()
    jobs = {id: rig.job(id)[1] for id in rig.store.scan()}
    assert len(jobs) == 2
    for job in jobs.values():
        assert judged(catalog, job) == Judged(id=job.id, reason=None)
    (reader,) = [job for id, job in jobs.items() if id.startswith("Read")]
    Path("gone.txt").write_text("back again")
    assert judged(catalog, reader).reason == "input gone.txt is new"


def test_due_is_asked_in_another_run_only(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    job = made(Noop(1))
    asked: list[tuple[float, float]] = []

    def due(self: Noop, last: Last, now: datetime) -> str:
        asked.append((last.checked_at.timestamp(), now.timestamp()))
        return "it is Monday"

    catalog = changed(monkeypatch, Noop, due=due)
    assert judged(catalog, job, run=RUN).reason is None
    assert asked == []
    assert judged(catalog, job).reason == "it is Monday"
    assert asked == [(STARTED, STARTED + DAY)]


def test_max_age_is_reached_at_its_very_second(monkeypatch: pytest.MonkeyPatch) -> None:
    job = made(Noop(1))
    catalog = changed(monkeypatch, Noop, max_age=timedelta(days=1))
    assert judged(catalog, job, after=DAY - 1).reason is None
    assert judged(catalog, job, after=DAY).reason == "older than 1 day, 0:00:00"


def test_a_due_that_raises_or_gives_nonsense_makes_the_job_due(monkeypatch: pytest.MonkeyPatch) -> None:
    job = made(Noop(1))
    catalog = changed(monkeypatch, Noop, due=lambda self, last, now: 1 / 0)
    assert judged(catalog, job).reason == "due() raised ZeroDivisionError: division by zero"
    catalog = changed(monkeypatch, Noop, due=lambda self, last, now: True)
    assert judged(catalog, job).reason == "due() gave True, not a reason or None"


def test_a_finder_is_asked_again_in_another_run_and_its_children_walked_in_the_same(catalog: Catalog) -> None:
    tasks.CHILDREN["it"] = lambda task: [Noop(1), Noop(2)]
    tasks.ACTIONS["it"] = lambda task: None
    rig = Rig()
    (id,) = rig.submit([Finder("it")])
    assert rig.loop.run()
    job = rig.job(id)[1]
    assert job.result is not None
    assert judged(catalog, job) == Judged(id=id, reason=None, asks=True)
    same = judged(catalog, job, run=RUN)
    assert (same.asks, list(same.found)) == (False, job.result["found"])
    absent = replace(job, result={**job.result, "change": "absent"})
    gone = judged(catalog, absent)
    assert (gone.asks, list(gone.found)) == (False, job.result["found"]), "the children it had stay reached"


def test_an_output_that_the_class_has_got_since_is_to_be_made(catalog: Catalog) -> None:
    job = made(Act("it", output="a.txt"), write_all)
    assert job.result is not None
    more = replace(job, params={**job.params, "more": ["b.txt"]})
    more = replace(more, result={**job.result, "params": {**job.result["params"], "more": ["b.txt"]}})
    assert judged(catalog, more).reason == "output b.txt was not made then"


def test_other_bytes_of_the_same_size_are_seen_where_outputs_are_hashed(catalog: Catalog) -> None:
    job = made(Write("a.txt"))
    size = Path("a.txt").stat().st_size
    assert judged(catalog, job, verify=True).reason is None
    Path("a.txt").write_text("x" * size)
    assert judged(catalog, job).reason is None
    assert judged(catalog, job, verify=True).reason == "output a.txt holds other bytes than were made"


def test_what_is_forced_is_due_unless_it_ran_in_this_run(catalog: Catalog) -> None:
    job = made(Noop(1))
    for how in ({"force": True}, {"force_tasks": ["Noop"]}, {"force_tasks": ["tests.workers.tasks:Noop"]}):
        assert judged(catalog, job, **how).reason == "forced"
        assert judged(catalog, job, run=RUN, **how).reason is None
    assert judged(catalog, job, force_tasks=["Other"]).reason is None


def test_what_was_invalidated_is_due_in_the_same_run_too(catalog: Catalog) -> None:
    job = made(Noop(1))
    assert job.result is not None
    spoiled = replace(job, result={**job.result, "invalidated": "2026-11-22T03:00:00Z"})
    assert judged(catalog, spoiled, run=RUN).reason == "it was invalidated"


def test_the_order_of_a_list_of_inputs_counts_and_so_does_the_field(catalog: Catalog) -> None:
    for name in ("1", "2", "3"):
        Path(name).write_text(name)
    job = made(Read("1", "out.txt", many=["2", "3"]))
    assert judged(catalog, job).reason is None
    turned = replace(job, params={**job.params, "many": ["3", "2"]})
    assert "order" in (judged(catalog, turned).reason or "")
    moved = replace(job, params={**job.params, "many": ["2"], "several": ["3"]})
    assert "fields" in (judged(catalog, moved).reason or "")
    twice = replace(job, params={**job.params, "many": ["2", "3", "3"]})
    assert judged(catalog, twice).reason is not None


def test_a_done_job_whose_class_is_gone_is_left_as_it_is(catalog: Catalog) -> None:
    job = replace(made(Noop(1)), task="tests.workers.tasks:Gone")
    assert judged(catalog, job) == Judged(id=job.id, reason=None)


def test_a_record_of_another_s_making_is_due_and_breaks_nothing(catalog: Catalog) -> None:
    job = made(Write("a.txt"))
    assert judged(catalog, replace(job, result=None)).reason == "it has no record of a success"
    odd = {"checked_at": "2026-11-21t02:00:00z", "version": 1, "params": {"output": "a.txt", "text": "text\n"}}
    for result in ({}, {"run": None}, {"outputs": {"a.txt": None}}, {"inputs": {"x": None}, "version": 1}, odd):
        assert judged(catalog, replace(job, result=result)).reason is not None, result


def test_a_default_that_no_longer_fits_its_field_is_a_reason_and_no_end_of_the_run(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = made(Write("a.txt"))
    assert job.result is not None
    old = replace(job, params={"output": "a.txt"}, result={**job.result, "params": {"output": "a.txt"}})
    kind = catalog.kind("tests.workers.tasks:Write")
    fields = tuple(dataclasses.replace(field, default=3) if field.name == "text" else field for field in kind.fields)
    catalog._known["tests.workers.tasks:Write"] = dataclasses.replace(kind, fields=fields)
    assert "text" in (judged(catalog, old).reason or "")
