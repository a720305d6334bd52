"""What ends a run early: how much is done by then, and that nothing of it has to be done again."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from runner.bounds import Bounds, parse_stop
from runner.errors import UsageError
from tests.rig import Rig, id_of
from tests.workers import tasks
from tests.workers.tasks import Act, Hasty, Noop, Once

pytestmark = pytest.mark.usefixtures("project")

NOON = time.mktime((2026, 11, 22, 12, 0, 0, 0, 0, -1))


def bounded(found: Any, places: int = 4, **bounds: Any) -> tuple[bool, dict[str, int]]:
    rig = Rig(bounds=Bounds(**bounds), places=places)
    return rig.work(found), rig.counts()


@pytest.mark.parametrize("most", [1, 3, 9])
def test_so_many_jobs_are_started_and_no_more(most: int) -> None:
    complete, counts = bounded([Noop(number) for number in range(10)], max_jobs=most)
    assert (complete, counts) == (False, {"pending": 10 - most, "done": most})


def test_a_run_whose_last_job_reaches_the_bound_is_complete() -> None:
    assert bounded([Noop(number) for number in range(10)], max_jobs=10) == (True, {"done": 10})


@pytest.mark.parametrize("new", [0, 1])
def test_what_only_has_to_be_looked_at_is_no_work_that_is_left(new: int) -> None:
    assert bounded([Noop(number) for number in range(50)])[0]
    rig = Rig(bounds=Bounds(max_jobs=1))
    rig.recover()
    assert rig.work([Noop(number) for number in range(50 + new)])
    assert rig.counts() == {"done": 50 + new}


def test_a_failure_that_only_lacked_its_rename_does_not_fail_fast(project: Path) -> None:
    tasks.ACTIONS["never"] = lambda task: 1 / 0
    assert bounded([Once("never")]) == (True, {"failed": 1})
    id = id_of(Once("never"))
    Path("state", "failed", f"{id}.json").rename(Path("state", "running", f"{id}.json"))
    rig = Rig(bounds=Bounds(fail_fast=True))
    rig.recover()
    assert rig.work([Noop(number) for number in range(10)])
    assert rig.counts() == {"failed": 1, "done": 10}


def test_a_retry_is_a_start_of_its_own() -> None:
    tasks.ACTIONS["never"] = lambda task: 1 / 0
    rig = Rig(bounds=Bounds(max_jobs=2))
    assert not rig.work([Hasty("never")])
    assert rig.outcomes(id_of(Hasty("never"))) == ["failed", "failed"]
    assert rig.counts() == {"pending": 1}


def test_the_first_final_failure_ends_a_run_that_is_to_fail_fast() -> None:
    tasks.ACTIONS["never"] = lambda task: 1 / 0
    complete, counts = bounded([Once("never"), *map(Noop, range(10))], places=2, fail_fast=True)
    assert not complete
    assert counts["failed"] == 1
    assert counts["pending"] >= 8


def test_what_ran_beside_the_failure_is_finished_and_counts(project: Path) -> None:
    tasks.ACTIONS["never"] = lambda task: 1 / 0
    complete, counts = bounded([Once("never"), Noop(1)], fail_fast=True)
    assert (complete, counts) == (True, {"done": 1, "failed": 1})


def test_a_failure_that_is_tried_again_ends_nothing() -> None:
    tries: list[int] = []

    def second(task: Any) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("not yet")

    tasks.ACTIONS["second"] = second
    assert bounded([Hasty("second")], fail_fast=True) == (True, {"done": 1})


def test_a_run_leaves_when_its_time_is_over() -> None:
    rig = Rig(bounds=Bounds(stop_at=time.time() - 1), places=1)
    assert not rig.work([Noop(number) for number in range(10)])
    assert rig.counts()["pending"] > 0


def test_a_run_does_not_wait_for_a_retry_that_is_too_far_off() -> None:
    tasks.ACTIONS["never"] = lambda task: 1 / 0
    began = time.monotonic()
    complete, counts = bounded([Act("never"), Noop(1)], max_wait=5.0)  # it is tried again after 7.5 s at the least
    assert (complete, counts) == (False, {"pending": 1, "done": 1})
    assert time.monotonic() - began < 5


def test_a_run_waits_for_a_retry_that_is_near() -> None:
    tasks.ACTIONS["never"] = lambda task: 1 / 0
    assert bounded([Hasty("never")], max_wait=5.0) == (True, {"failed": 1})


def test_a_run_that_left_goes_on_later_with_what_is_left() -> None:
    assert bounded([Noop(number) for number in range(10)], max_jobs=4) == (False, {"pending": 6, "done": 4})
    rig = Rig(resuming=True)
    rig.recover()
    assert rig.loop.run()
    assert len(rig.replies) == 6
    assert rig.counts() == {"done": 10}


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("3h", 3 * 3600),
        ("90m", 5400),
        ("12:01", 60),
        ("12:00", 86400),
        ("5:30", 17.5 * 3600),
        ("23:59", 11.983333 * 3600),
    ],
)
def test_when_it_is_to_stop(text: str, after: float) -> None:
    assert parse_stop(text, NOON) == pytest.approx(NOON + after, abs=2)


@pytest.mark.parametrize("text", ["", "24:00", "12:60", "half past five", "3", "-3h", "12:00:00"])
def test_what_is_no_time_to_stop(text: str) -> None:
    with pytest.raises(UsageError):
        parse_stop(text, NOON)


@pytest.mark.parametrize(
    ("start", "stop", "after"),
    [
        ("2026-10-25T00:15:00+00:00", "02:30", 15 * 60),  # 02:15 in summer
        ("2026-10-25T00:45:00+00:00", "02:30", 45 * 60),  # 02:45 in summer: it comes once more
        ("2026-10-25T01:15:00+00:00", "02:30", 15 * 60),  # 02:15 in winter
        ("2026-10-25T01:45:00+00:00", "02:30", 86400 - 15 * 60),
        ("2026-03-29T00:15:00+00:00", "02:30", 75 * 60),  # 01:15, and there is no 02:30: 03:30 is meant
        ("2026-03-29T00:15:00+00:00", "03:30", 75 * 60),
    ],
)
def test_when_clocks_are_put_back_or_forward(
    monkeypatch: pytest.MonkeyPatch, start: str, stop: str, after: float
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        now = datetime.fromisoformat(start).timestamp()
        assert parse_stop(stop, now) - now == after
    finally:
        monkeypatch.undo()
        time.tzset()
