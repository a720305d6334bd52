"""An error that says of itself that trying again cannot help: one attempt, whatever `retries` says."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runner
from runner import NoRetry, RetryLater
from runner.catalog import Catalog
from runner.core.events import Asked, Failed
from runner.core.model import Status
from runner.store import codec
from runner.store.codec import JobFile
from runner.task import NoRetry as TheSame
from runner.workers.port import Reply
from tests.workers import tasks
from tests.workers.support import Action, Yard, write
from tests.workers.tasks import Finder


class FetchError(Exception):
    """What a user's errors derive from."""


class Permanent(FetchError, NoRetry):
    """One of them that lasts."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(url, status)
        self.status = status

    def __str__(self) -> str:
        return f"{self.args[0]}: {self.status}"


class Undecided(NoRetry, RetryLater):
    """Asks for more time, which cannot help."""


def raises(error: BaseException) -> Action:
    def action(task: Any) -> None:
        raise error

    return action


def failed(yard: Yard, reply: Reply) -> tuple[JobFile, dict[str, Any]]:
    """The file, and the attempt, of a job that is out of retries."""
    attempt = yard.failed(reply)
    assert isinstance(reply.event, Failed)
    assert reply.event.retry_in is None
    job = yard.written(reply.event.record)
    assert job.not_before is None
    assert "retry_in" not in attempt
    assert attempt["final"] is True
    return job, attempt


def test_it_is_tried_once_and_charged(yard: Yard) -> None:
    job, attempt = failed(yard, yard.act(raises(NoRetry("403 Forbidden"))))
    assert (attempt["outcome"], len(job.attempts)) == ("failed", 1)
    assert attempt["error"] == {"type": "NoRetry", "message": "403 Forbidden"}, "its message is all there is to tell"
    assert yard.files() == []


def test_an_error_of_the_user_s_own_is_told_with_its_type_and_traceback(yard: Yard) -> None:
    _, attempt = failed(yard, yard.act(raises(Permanent("https://example.org/a", 403))))
    error = attempt["error"]
    assert (error["type"], error["message"]) == ("Permanent", "https://example.org/a: 403")
    assert "test_noretry.py" in error["traceback"]
    assert "workers/attempt.py" not in error["traceback"]


def test_it_fails_for_good_after_failures_that_were_tried_again(yard: Yard) -> None:
    first = yard.act(raises(RuntimeError("half way")))
    assert isinstance(first.event, Failed)
    assert first.event.retry_in is not None
    tasks.ACTIONS["it"] = raises(NoRetry("too large"))
    job, _ = failed(yard, yard.perform(yard.written(first.event.record)))
    assert ["final" in attempt for attempt in job.attempts] == [False, True]


@pytest.mark.parametrize("base", [NoRetry, Permanent], ids=lambda base: base.__name__)
def test_whatever_comes_first_among_its_bases(yard: Yard, base: type[Exception]) -> None:
    kind = type("Both", (base, RetryLater), {"__init__": lambda self: RetryLater.__init__(self, 5.0, "later")})
    assert failed(yard, yard.act(raises(kind())))[1]["outcome"] == "failed"
    assert failed(yard, yard.act(raises(Undecided(5.0, "later"))))[1]["outcome"] == "failed"


def explicitly(task: Any) -> None:
    raise NoRetry("no length") from KeyError("content-length")


def handled(task: Any) -> None:
    try:
        raise KeyError("content-length")
    except KeyError:
        raise NoRetry("no length")  # noqa: B904


def hidden(task: Any) -> None:
    try:
        raise KeyError("content-length")
    except KeyError:
        raise NoRetry("no length") from None


@pytest.mark.parametrize(("action", "shown"), [(explicitly, True), (handled, True), (hidden, False)])
def test_a_cause_has_its_traceback(yard: Yard, action: Callable[[Any], None], shown: bool) -> None:
    _, attempt = failed(yard, yard.act(action))
    assert ("KeyError: 'content-length'" in attempt["error"].get("traceback", "")) is shown
    assert ("traceback" in attempt["error"]) is shown


@pytest.mark.parametrize("wrap", [lambda error: ExceptionGroup("two", [error, KeyError()]), RuntimeError])
def test_it_is_the_error_itself_that_says_so_and_not_what_it_came_of(
    yard: Yard, wrap: Callable[[Exception], Exception]
) -> None:
    def action(task: Any) -> None:
        raise wrap(NoRetry("403")) from NoRetry("403")

    reply = yard.act(action)
    assert isinstance(reply.event, Failed)
    assert reply.event.retry_in is not None
    assert "final" not in yard.failed(reply)


def test_raised_when_asked_for_children_it_is_a_failure_with_its_files_in_place(yard: Yard) -> None:
    tasks.CHILDREN["it"] = raises(Permanent("https://example.org/map", 410))
    _, attempt = failed(yard, yard.act(write("new"), kind=Finder, output="a.txt"))
    assert attempt["outcome"] == "published"
    assert Path("a.txt").read_text() == "new"
    assert failed(yard, yard.act(lambda task: None, kind=Finder))[1]["outcome"] == "failed", "nothing was put in place"


def test_raised_when_only_asked_it_is_as_any_error(yard: Yard) -> None:
    tasks.CHILDREN["it"] = lambda task: []
    job = yard.finished(yard.act(lambda task: 1, kind=Finder))
    tasks.CHILDREN["it"] = raises(NoRetry("410 Gone"))
    event = yard.perform(job, ask=True).event
    assert isinstance(event, Asked)
    assert event.error == "NoRetry: 410 Gone", "the job is due, and runs"


def test_a_start_that_finds_it_before_its_last_rename_does_not_try_it_again(yard: Yard, tmp_path: Path) -> None:
    """The record is in its place in running/, and whoever was to move it to failed/ was killed."""
    catalog = Catalog(["tests"], tmp_path)
    job, _ = failed(yard, yard.act(raises(NoRetry("403"))))
    assert catalog.stored(job, Status.RUNNING, False).spent
    reply = yard.act(raises(RuntimeError("503")))
    assert isinstance(reply.event, Failed)
    assert not catalog.stored(yard.written(reply.event.record), Status.RUNNING, False).spent


def test_a_person_s_retry_makes_it_count_no_more(yard: Yard, tmp_path: Path) -> None:
    job, _ = failed(yard, yard.act(raises(NoRetry("403"))))
    again = codec.with_attempt(job, None, reset_retries=True)
    assert not Catalog(["tests"], tmp_path).stored(again, Status.PENDING, False).spent


@pytest.mark.parametrize("error", [NoRetry("403", 1), Permanent("https://example.org/a", 403)])
def test_it_is_an_exception_like_any_other(error: NoRetry) -> None:
    """Also where a task hands it from a process of its own to another."""
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.args, str(copy)) == (type(error), error.args, str(error))
    assert NoRetry is TheSame
    assert "NoRetry" in runner.__all__
