"""A large batch enters in parts: what happens between them, and what has to wait."""

from __future__ import annotations

import pytest

from runner.core.engine import Engine
from runner.core.events import (
    Asked,
    Cancelled,
    Continued,
    Event,
    Failed,
    Finished,
    Invalidated,
    Judged,
    Lacked,
    Recovered,
    Returned,
    Slots,
    Submitted,
    TakenOver,
)
from runner.core.model import Proposal, Status, Stored
from runner.errors import Conflict, CycleFound
from tests.core.direct import id_of, names, wish


class Parts:
    """An engine that lets two jobs enter at a time."""

    def __init__(self, *batch: Proposal) -> None:
        self.engine = Engine(part=2)
        self.first = self.do(Submitted(list(batch))) if batch else []

    def do(self, *events: Event) -> list[str]:
        return names([command for event in events for command in self.engine.handle(event, 0.0)])

    def finish(self, path: str, *children: Proposal) -> list[str]:
        return self.do(Returned(id_of(path)), Finished(id=id_of(path), record="r", children=list(children) or None))


def test_workers_begin_before_all_of_it_is_there() -> None:
    run = Parts(wish("a"), wish("b"), wish("c"), wish("d"), wish("e"))
    assert run.first == ["create a", "create b"]
    assert run.do(Slots(9)) == ["claim a", "launch a", "claim b", "launch b"]
    assert run.do(Continued(1)) == ["create c"]
    assert run.do(Continued(9)) == ["create d", "create e"]
    assert not run.engine.entering


def test_a_run_is_not_finished_before_all_of_it_is_there() -> None:
    run = Parts(wish("a"), wish("b"), wish("c"))
    run.do(Slots(9))
    run.finish("a")
    run.finish("b")
    assert run.engine.entering
    assert not run.engine.finished
    assert run.do(Continued(1), Slots(1)) == ["create c", "claim c", "launch c"]
    run.finish("c")
    assert run.engine.finished


def test_a_parent_is_done_after_the_last_of_its_children_has_come() -> None:
    run = Parts(wish("a"))
    run.do(Slots(1))
    assert run.finish("a", wish("b"), wish("c"), wish("d", "b"), wish("e")) == ["create b", "create c"]
    assert run.do(Slots(1)) == ["claim b", "launch b"]
    assert run.finish("b") == ["finish b"]
    assert run.do(Continued(1)) == ["create d"]
    assert run.do(Continued(1)) == ["create e", "finish a"]


def test_what_finds_others_waits_meanwhile_and_then_goes_on() -> None:
    run = Parts(wish("a"), wish("b"))
    run.do(Slots(2))
    run.finish("a", wish("c"), wish("d"), wish("e"))
    assert run.finish("b", wish("x"), wish("y"), wish("z")) == []
    assert run.do(Continued(1)) == ["create e", "finish a"], "and it is seen that this one has entered"
    assert (run.engine.entering, run.engine.deferred) == (0, 1)
    assert run.do(Continued(0)) == ["create x", "create y"]
    assert run.do(Continued(1)) == ["create z", "finish b"]


def test_a_job_that_lacks_an_input_waits_meanwhile_for_its_maker_to_come() -> None:
    run = Parts(wish("a"), wish("b"))
    run.do(Slots(2))
    run.finish("a", wish("c"), wish("d"), wish("e"))
    assert run.do(Returned(id_of("b")), Lacked(id_of("b"), ("e",))) == []
    assert run.do(Continued(1), Continued(0)) == ["create e", "finish a", "bind b", "requeue b"]


def test_a_job_that_lacks_inputs_comes_after_their_makers_when_the_last_part_has_come() -> None:
    run = Parts(wish("a", finds=True), wish("x"))
    run.do(Slots(2))
    assert run.do(Returned(id_of("x")), Lacked(id_of("x"), ("b", "y"))) == ["requeue x"]
    assert run.finish("a", *map(wish, "bcdey")) == ["create b", "create c"]
    assert run.do(Slots(9)) == ["claim b", "launch b", "claim c", "launch c"], "x waits, and nobody waits for that"
    assert run.finish("b") == ["finish b"]
    assert run.do(Slots(9)) == []
    assert run.do(Continued(2)) == ["create d", "create e"]
    assert run.do(Continued(2)) == ["create y", "bind x", "finish a"]
    assert run.engine.ledger[id_of("x")].after == (id_of("b"), id_of("y"))
    assert run.do(Slots(9)) == [f"{word} {path}" for path in "dey" for word in ("claim", "launch")]
    assert run.finish("y") == ["finish y"]
    assert run.do(Slots(9)) == ["claim x", "launch x"]


def test_a_job_that_lacks_what_came_with_the_first_part_does_not_start_before_it_is_made() -> None:
    run = Parts(wish("a", finds=True), wish("x"))
    run.do(Slots(2), Returned(id_of("x")), Lacked(id_of("x"), ("b",)))
    assert run.finish("a", *map(wish, "bcdey")) == ["create b", "create c"]
    assert run.do(Slots(9)) == ["claim b", "launch b", "claim c", "launch c"]
    assert run.do(Continued(9)) == ["create d", "create e", "create y", "bind x", "finish a"]
    assert run.do(Slots(9)) == [f"{word} {path}" for path in "dey" for word in ("claim", "launch")]
    run.finish("b")
    assert run.do(Slots(9)) == ["claim x", "launch x"]


def test_a_maker_may_fail_before_one_that_lacks_its_output_comes_after_it() -> None:
    run = Parts(wish("a", finds=True), wish("x"))
    run.do(Slots(2), Returned(id_of("x")), Lacked(id_of("x"), ("b", "y")))
    run.finish("a", *map(wish, "bcdey"))
    run.do(Slots(9))
    assert run.do(Returned(id_of("b")), Failed(id=id_of("b"), record="r")) == ["fail b"]
    assert run.do(Continued(9))[-2:] == ["bind x", "finish a"]
    run.do(Slots(9))
    assert [word for path in "cdey" for word in run.finish(path)][-1] == "block x"
    assert run.engine.finished


def test_what_might_start_with_an_older_wish_or_before_its_maker_is_judged_lets_a_batch_enter_whole() -> None:
    run = Parts()
    left = Stored(id=id_of("d"), status=Status.PENDING, after=(id_of("e"),))
    run.do(Recovered({id_of("d"): Status.PENDING, id_of("e"): Status.DONE}, [left]))
    assert len(run.do(Submitted([wish("a"), wish("b"), wish("c"), wish("d")]))) == 4
    run = Parts()
    run.do(Recovered({id_of("d"): Status.PENDING, id_of("e"): Status.DONE}, [left]))
    assert run.do(Submitted([wish("a"), wish("b"), wish("c"), wish("e")]))[-1] == "judge e"
    assert run.do(Slots(9)) == [word for path in "abc" for word in (f"claim {path}", f"launch {path}")]


def test_what_is_tried_again_enters_whole() -> None:
    run = Parts()
    run.do(Recovered({id_of("c"): Status.FAILED}, []))
    assert run.do(Submitted([wish("a"), wish("b"), wish("c")]))[-1] == "retry c"


def test_failures_count_at_once_for_what_is_still_to_come() -> None:
    run = Parts(wish("a"), wish("b"), wish("c", "a"))
    run.do(Slots(9), Returned(id_of("a")))
    assert run.do(Failed(id=id_of("a"), record="r")) == ["fail a"]
    assert run.do(Continued(1)) == ["create c", "block c"]


def test_a_batch_is_refused_before_any_of_it_has_entered() -> None:
    run = Parts(wish("a"))
    for batch, error in (
        ([wish("b"), wish("c"), wish("d"), wish("a", name="Heir")], Conflict),
        ([wish("b", "e"), wish("c"), wish("d"), wish("e", "b")], CycleFound),
    ):
        with pytest.raises(error):
            run.do(Submitted(batch))
        assert not run.engine.entering
        assert run.engine.ledger.status(id_of("b")) is None


def test_what_waits_for_a_later_one_enters_with_it() -> None:
    run = Parts(wish("a", "d"), wish("b"), wish("c"), wish("d"))
    assert run.first == ["create a", "create b", "create c", "create d"]


def test_an_up_to_date_parent_is_settled_after_the_last_of_its_children() -> None:
    run = Parts()
    run.do(Recovered({id_of("a"): Status.DONE}, []), Submitted([wish("a")]))
    children = [wish("b"), wish("c"), wish("d")]
    assert run.do(Asked(id=id_of("a"), children=children)) == []  # nobody has asked: it is only being judged
    assert not run.engine.finished


def test_what_is_to_come_can_be_written_ahead() -> None:
    run = Parts(wish("a"), wish("b"), wish("c"), wish("d", "a"), wish("e"))
    assert names(list(run.engine.upcoming(0, 2))) == ["create c", "create d"]
    assert [create.after for create in run.engine.upcoming(1, 2)] == [(id_of("a"),)]
    assert names(list(run.engine.upcoming(2, 9))) == ["create e"]
    run.do(Continued(2))
    assert names(list(run.engine.upcoming(0, 9))) == ["create e"]


def test_one_that_names_nobody_does_not_come_between() -> None:
    run = Parts()
    run.do(Recovered({id_of("a"): Status.DONE, id_of("b"): Status.DONE}, []), Submitted([wish("a"), wish("b")]))
    run.do(Judged(id=id_of("a"), reason=None, asks=True), Judged(id=id_of("b"), reason=None, asks=True), Slots(2))
    run.do(Asked(id=id_of("a"), children=[wish("c"), wish("d"), wish("e")]))
    run.do(Asked(id=id_of("b"), children=[]))
    run.do(Continued(1))
    assert [run.engine.ledger[id_of(path)].open for path in "ab"] == [False, False]


# ------------------------------------------------------------------------------------------------ checked in steps


def stepwise(*batch: Proposal) -> Parts:
    """An engine that takes few steps of a check at a time."""
    run = Parts()
    run.engine = Engine(part=2, checked=5)
    run.first = run.do(Submitted(list(batch)))
    return run


def test_what_a_job_has_found_is_checked_while_others_work() -> None:
    run = stepwise(wish("a"), wish("b"))
    run.do(Slots(2))
    assert run.finish("a", wish("c"), wish("d"), wish("e")) == []
    assert run.engine.checking
    assert run.engine.entering
    assert list(run.engine.upcoming(0, 9)) == [], "it may still be refused"
    assert run.finish("b") == ["finish b"], "and nobody waits for that"
    assert run.do(Continued(5)) == []
    assert run.do(Continued(20)) == ["create c", "create d"]
    assert not run.engine.checking
    assert run.do(Continued(1)) == ["create e", "finish a"]


def test_a_batch_that_is_refused_after_some_steps_fails_its_finder() -> None:
    run = stepwise(wish("a"), wish("b"))
    run.do(Slots(2))
    children = [wish("c"), wish("d"), wish("e"), wish("b", name="Heir")]
    assert run.finish("a", *children) == []
    assert run.do(Continued(50)) == ["discard", "fail a"]
    assert not run.engine.entering
    assert run.finish("b", wish("x")) == ["create x", "finish b"], "and the next one comes"


def test_a_job_that_began_while_the_one_that_is_to_make_its_output_was_checked_is_not_superseded() -> None:
    left = Stored(id=id_of("e", "Old"), status=Status.PENDING, outputs=("e",))
    run = stepwise()
    run.do(Recovered({left.id: Status.PENDING}, [left]), Submitted([wish("a", priority=1)]))
    run.do(Slots(1))
    children = [wish("c"), wish("d"), wish("e")]
    assert run.finish("a", *children) == []
    claimed = run.do(Slots(1))
    assert [word.partition(" ")[0] for word in claimed] == ["claim", "launch"]
    assert run.do(Continued(50)) == ["discard", "fail a"], "it would supersede what runs"


# --------------------------------------------------------------------------------------------- taken over in parts


def pending(path: str, *after: str, **more: object) -> Stored:
    fields = {"outputs": (path,), "after": tuple(map(id_of, after)), **more}
    return Stored(id=id_of(path), status=Status.PENDING, **fields)  # type: ignore[arg-type]


def left_behind(*jobs: Stored, **others: Status) -> Parts:
    """An engine that knows of these jobs their names, and what they come after."""
    run = Parts()
    statuses = {**{job.id: job.status for job in jobs}, **{id_of(path): status for path, status in others.items()}}
    waiting = {job.id: job.after for job in jobs if job.after}
    run.do(Recovered(statuses, [], waiting=waiting), Submitted([]))
    return run


def test_what_is_left_is_open_before_it_is_taken_over() -> None:
    a, b = pending("a"), pending("b", "a")
    run = left_behind(a, b)
    assert (run.engine.left, run.engine.finished) == (2, False)
    assert run.engine.census.tally() == {Status.PENDING: 2}
    run.do(TakenOver([b]))
    assert run.do(Slots(9)) == [], "it comes after one that nobody has looked into"
    run.do(TakenOver([a]))
    assert run.engine.left == 0
    assert run.do(Slots(9)) == ["claim a", "launch a"]
    run.finish("a")
    assert run.do(Slots(9)) == ["claim b", "launch b"]


def test_what_was_proposed_or_cancelled_before_is_not_taken_over() -> None:
    run = left_behind(pending("a"), pending("b"), pending("c", "b"))
    run.do(Submitted([wish("a", params={"new": 1}, fingerprint="new")]), Cancelled((id_of("b"),)))
    assert run.engine.left == 1
    assert run.do(TakenOver([pending("a"), pending("b"), pending("c", "b")])) == ["block c"]
    assert run.engine.ledger[id_of("a")].fingerprint == "new"


def test_one_that_is_damaged_or_gone_blocks_who_comes_after_it() -> None:
    run = left_behind(pending("a"), pending("b", "a"), pending("c"), pending("d", "c"))
    assert run.do(TakenOver([pending("b", "a")], damaged=(id_of("a"),))) == ["block b"]
    assert run.do(TakenOver([pending("d", "c")], lost=(id_of("c"),))) == ["block d"]
    assert run.engine.finished


def test_who_came_after_a_former_owner_comes_after_the_new_one() -> None:
    old = pending("a")
    run = left_behind(pending("b", "a"), a=Status.DONE)
    run.do(Submitted([wish("a", name="Heir")]))
    assert run.engine.ledger.status(old.id) is Status.CANCELLED
    run.do(TakenOver([pending("b", "a")]))
    assert run.engine.ledger[id_of("b")].after == (id_of("a", "Heir"),)


def test_a_batch_that_would_wait_for_itself_through_what_is_left_is_refused() -> None:
    run = left_behind(pending("b", "a"), a=Status.DONE)
    for batch in ([wish("a", "b")], [wish("a", "b", name="Heir")]):
        with pytest.raises(CycleFound):
            run.do(Submitted(batch))
    assert run.engine.left == 1


def test_jobs_that_wait_for_each_other_fail_when_nothing_else_can_run() -> None:
    a, b, c = pending("a", "b"), pending("b", "a"), pending("c")
    run = left_behind(a, b, c)
    run.do(TakenOver([a]), TakenOver([b]), TakenOver([c]))
    assert run.do(Slots(9)) == ["claim c", "launch c"]
    run.finish("c")
    run.do(Slots(9))
    assert run.engine.finished
    assert {run.engine.ledger.status(job.id) for job in (a, b)} == {Status.FAILED}


def test_a_root_that_is_taken_over_is_named_by_that() -> None:
    run = left_behind(pending("a"), pending("b"))
    run.do(TakenOver([pending("a", named=True), pending("b")]))
    assert [run.engine.ledger[id_of(path)].proposed for path in "ab"] == [True, False]


def test_nothing_is_certain_before_all_roots_are_named_again() -> None:
    run = Parts()
    statuses = {id_of("a"): Status.DONE, id_of("b"): Status.DONE}
    run.do(Recovered(statuses, []))
    assert run.do(Submitted([wish("b", "a")], more=True)) == ["rewish b"], "one that it comes after may still be named"
    assert run.do(Slots(9)) == []
    assert run.do(Submitted([wish("a")])) == ["rewish a", "judge a"]


def test_a_person_does_not_rely_on_one_that_is_left() -> None:
    run = left_behind(pending("a"))
    assert run.do(Invalidated((id_of("a"),))) == ["distrust a"]
    run.do(TakenOver([pending("a")]))
    assert run.do(Slots(9)) == ["claim a", "launch a"]
