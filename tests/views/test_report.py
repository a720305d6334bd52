"""All there is to tell of a run: by job files made by hand, and by a page that is read back."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from runner.errors import UsageError
from runner.store import codec
from runner.views.report import BUCKETS, MOST_LANES, MOST_WORKERS, RunReport, report
from runner.web.report import page
from tests.views.state import RUN, START, Built, done_attempt, failed_attempt

LATER = "20261123T020000Z"
BEGAN = codec.parse_stamp(START)


def at(seconds: float) -> str:
    return codec.stamp(BEGAN + seconds)


def night(built: Built) -> None:
    """Ten seconds: two jobs at the same time, one that is tried again, and one that fails."""
    built.put("done", "a", attempts=[done_attempt(started=at(0), seconds=4.0)])
    again = [failed_attempt(started=at(1), seconds=1.0), done_attempt(started=at(5), seconds=2.0)]
    built.put("done", "b", attempts=again)
    for name, number in (("c", 17), ("d", 4)):
        error = failed_attempt(message=f"no page {number}", started=at(7), seconds=0.5)
        built.put("failed", name, "Parse", attempts=[error])
    built.put("done", "e", attempts=[done_attempt(run=LATER, started=at(50), seconds=2.0)])
    built.run(ended=at(10), exit=1, admitted=START)


def look(built: Built, run: str | None = None) -> RunReport:
    with built.store() as store:
        return report(store, run)


def test_what_there_is_to_tell(built: Built) -> None:
    night(built)
    found = look(built)
    assert (found.run, found.exit, found.seconds) == (RUN, 1, 10.0)
    assert found.outcomes == {"done": 2, "failed": 3}
    assert found.statuses == {"done": 3, "failed": 2}
    assert [(each.task, each.attempts, each.low, each.median, each.high, each.total) for each in found.durations] == [
        ("Fetch", 3, 1.0, 2.0, 4.0, 7.0),
        ("Parse", 2, 0.5, 0.5, 0.5, 1.0),
    ]
    assert [each.seconds for each in found.slowest] == pytest.approx([4.0, 2.0, 1.0, 0.5, 0.5])
    assert [(each.task, each.jobs, each.attempts, each.succeeded, each.reasons) for each in found.retries] == [
        ("Fetch", 1, 2, 1, {"failed": 1})
    ]


def test_failures_that_differ_in_a_number_are_one_group(built: Built) -> None:
    night(built)
    first, second = look(built).failures
    assert (first.task, first.type, first.attempts, first.final, len(first.ids)) == ("Parse", "ValueError", 2, 2, 2)
    assert (second.task, second.final) == ("Fetch", 0), "it succeeded in the end"


def test_attempts_at_the_same_time_are_on_different_lanes(built: Built) -> None:
    night(built)
    lanes = look(built).lanes
    assert len(lanes) == 2
    for lane in lanes:
        for before, after in zip(lane.bars, lane.bars[1:], strict=False):
            assert before.end <= after.start
    assert sum(bar.count for lane in lanes for bar in lane.bars) == 5


def test_a_worker_has_as_many_lanes_as_it_did_tasks_at_once(built: Built) -> None:
    for n, (worker, start) in enumerate([(11, 0.0), (11, 0.5), (22, 0.6), (11, 0.999999), (None, 0.0)]):
        told = {} if worker is None else {"worker": worker}
        built.put("done", f"{n}", attempts=[done_attempt(started=at(start), seconds=1.0, **told)])
    built.run(ended=at(3))
    lanes = [(lane.worker, [round(bar.start, 3) for bar in lane.bars]) for lane in look(built).lanes]
    assert sorted(lanes) == [("", [0.0]), ("11", [0.0, 1.0]), ("11", [0.5]), ("22", [0.6])]


def test_of_very_many_workers_there_are_as_few_lanes_as_can_be(built: Built) -> None:
    for n in range(MOST_WORKERS + 1):
        built.put("done", f"{n}", attempts=[done_attempt(started=at(n), seconds=0.5, worker=1000 + n)])
    built.run(ended=at(100))
    (lane,) = look(built).lanes
    assert (lane.worker, len(lane.bars)) == ("", MOST_WORKERS + 1)


def test_short_attempts_close_together_are_one_bar(built: Built) -> None:
    for n in range(300):
        built.put("done", f"{n}", attempts=[done_attempt(started=at(n * 0.001), seconds=0.0009)])
    built.run(ended=at(100))
    (lane,) = look(built).lanes
    assert len(lane.bars) < 10
    assert sum(bar.count for bar in lane.bars) == 300


def test_every_attempt_is_in_one_bucket(built: Built) -> None:
    night(built)
    buckets = look(built).buckets
    assert len(buckets) == BUCKETS
    assert (sum(each.done for each in buckets), sum(each.failed for each in buckets)) == (2, 3)
    assert [n for n, each in enumerate(buckets) if each.done] == [48, 84]


def test_a_run_that_was_killed_is_told_as_far_as_it_is_known(built: Built) -> None:
    night(built)
    built.run(LATER)
    found = look(built)
    assert (found.run, found.ended, found.outcomes) == (LATER, None, {"done": 1})
    assert "has not ended" in page(found)


def test_without_a_run_that_is_said(built: Built) -> None:
    with pytest.raises(UsageError, match="there was no run yet"):
        look(built)


# ---------------------------------------------------------------------------------------------------------- the page


class _Read(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_page_needs_no_other_file_and_no_network(built: Built) -> None:
    night(built)
    for tag, attributes in _Read(page(look(built))).tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "base")
        assert not {"src", "href", "action"} & set(attributes)


def test_hostile_words_stay_words_on_the_page(built: Built) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\u202e"
    error = failed_attempt(kind="<b>", message=evil, started=at(1), seconds=0.5)
    error["error"]["traceback"] = evil  # type: ignore[index, call-overload]
    built.put("failed", "a", attempts=[error])
    built.run(target=evil)
    read = _Read(page(look(built)))
    assert not {tag for tag, _ in read.tags} & {"script", "img"}
    assert not [attributes for _, attributes in read.tags if any(name.startswith("on") for name in attributes)]


def test_a_run_of_nothing_has_a_page(built: Built) -> None:
    built.run(ended=at(0.0), exit=0)
    assert "No jobs" in page(look(built))


def test_attempts_of_unknown_length_count_too(built: Built) -> None:
    """A worker that died, a time-out, an input that is not there: nobody noted how long they took."""
    died = failed_attempt("WorkerLost", "killed", started=at(1), seconds=None, outcome="died")
    later = {"run": RUN, "started": at(2), "seconds": 0.5, "outcome": "later", "error": {"type": "RetryLater"}}
    built.put("failed", "a", attempts=[died])
    built.put("done", "b", attempts=[later, done_attempt(started=at(3), seconds=1.0)])
    built.put("failed", "c", attempts=[failed_attempt("MissingInput", "not there", started=None, seconds=None)])
    built.run(ended=at(10), exit=1)
    found = look(built)
    assert found.outcomes == {"died": 1, "later": 1, "done": 1, "failed": 1}
    assert sum(bucket.failed for bucket in found.buckets) == 2, "who was put off has not failed"
    assert {(group.type, group.final) for group in found.failures} == {("WorkerLost", 1), ("MissingInput", 1)}
    assert sum(each.attempts for each in found.durations) == 2


def test_clocks_that_were_put_back(built: Built) -> None:
    built.put("done", "a", attempts=[done_attempt(started=at(-3600), seconds=10.0)])
    built.put("done", "b", attempts=[done_attempt(started=at(50), seconds=10.0)])
    built.run(ended=at(5), exit=0)
    found = look(built)
    assert [each.high for each in found.durations] == [10.0]
    assert (found.seconds, round(found.span)) == (5.0, 60)
    assert all(bar.end <= found.span + 0.001 for lane in found.lanes for bar in lane.bars)


def test_digests_do_not_tell_failures_apart(built: Built) -> None:
    for n, digest in enumerate(("0a1b2c3d4e5f6071", "fedcba9876543210", "1234567890123456")):
        built.put("failed", f"{n}", attempts=[failed_attempt(message=f"digest {digest} is wrong")])
    built.run(ended=at(5), exit=1)
    (group,) = look(built).failures
    assert group.attempts == 3


def test_very_many_things_at_once_are_no_lane_each(built: Built) -> None:
    for n in range(200):
        built.put("done", f"{n}", attempts=[done_attempt(started=at(0), seconds=10.0 + n, worker=1)])
    built.run(ended=at(300), exit=0)
    assert len(look(built).lanes) == MOST_LANES
