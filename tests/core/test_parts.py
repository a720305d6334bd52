"""A large batch enters in parts: what happens between them, and what has to wait."""

from __future__ import annotations

import pytest

from runner.core.engine import Engine
from runner.core.events import Asked, Continued, Event, Failed, Finished, Lacked, Recovered, Returned, Slots, Submitted
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
