"""The small rules with numbers in them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core import policy

ids = st.text(min_size=1, max_size=20)


@given(ids, st.integers(1, 200), st.floats(0, 1e9))
def test_a_backoff_doubles_up_to_an_hour_give_or_take_a_quarter(id: str, failures: int, base: float) -> None:
    middle = min(base * 2.0 ** min(failures - 1, 30), policy.MAX_BACKOFF)
    wait = policy.backoff(id, failures, base)
    assert middle * 0.75 <= wait <= middle * 1.25
    assert wait == policy.backoff(id, failures, base), "the same after a restart"


def test_jobs_that_failed_together_are_not_tried_again_together() -> None:
    waits = {policy.backoff(f"Job-{n}", 1, 60.0) for n in range(100)}
    assert len(waits) > 50


def test_a_backoff_grows_with_every_failure_on_the_whole() -> None:
    waits = [policy.backoff("Job-1", failures, 1.0) for failures in range(1, 10, 2)]
    assert all(one < other for one, other in pairwise(waits))


@pytest.mark.parametrize(("failures", "retries", "again"), [(1, 0, False), (1, 1, True), (2, 1, False), (3, 5, True)])
def test_a_job_is_tried_again_as_often_as_it_has_retries(failures: int, retries: int, again: bool) -> None:
    wait = policy.retry_in("Job-1", failures, retries, 2.0)
    assert (wait is not None) == again
    assert wait is None or wait > 0.0


def test_a_job_may_put_itself_off_twenty_times() -> None:
    assert policy.put_off(20, 100.0, 60.0) == 60.0
    assert policy.put_off(21, 100.0, 60.0) is None


def test_a_job_may_put_itself_off_for_a_day() -> None:
    day = 24 * 3600.0
    assert policy.put_off(2, 50.0, day - 50.0) == day - 50.0
    assert policy.put_off(2, 50.0, day - 49.9) is None
    assert policy.put_off(1, 0.0, float("inf")) is None


@pytest.mark.parametrize("seconds", [-5.0, 0.0, float("nan")])
def test_a_job_is_never_put_off_into_the_past(seconds: float) -> None:
    assert policy.put_off(1, 0.0, seconds) == 0.0


def test_what_uses_up_a_retry() -> None:
    assert {"failed", "published", "died", "timeout"} == policy.CHARGED
