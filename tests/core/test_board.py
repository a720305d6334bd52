"""Jobs that wait for more than a worker: inputs nobody makes yet, a person's cancel, and what is opened again."""

from __future__ import annotations

import pytest

from runner.core.commands import Move
from runner.core.events import (
    Cancelled,
    Counted,
    Event,
    Failed,
    Judged,
    Lacked,
    Recovered,
    Returned,
    Submitted,
    Withdrawn,
)
from runner.core.model import Attempt, Need, Status, Step, Stored
from runner.errors import CycleFound
from tests.core.direct import Direct, id_of, names, wish
from tests.core.kinds import kind
from tests.core.world import World

A, B = kind("a"), kind("b", "a")


class TestHeld:
    """Inputs that nobody makes yet."""

    X = kind("x", finds=True)

    def test_a_job_waits_for_whoever_turns_up_to_make_its_input(self) -> None:
        world = World([A, B, self.X])
        world.submit([self.X, B])
        world.slots(9)
        world.slots(9)
        assert world.at_work() == {"x"}, "as long as anything else runs"
        world.answer(self.X, found=[A])
        world.drain()
        assert world.moves(B) == [Step.CLAIM, Step.FINISH]
        world.check_end()

    def test_it_fails_and_says_so_when_nothing_else_can_run(self) -> None:
        world = World([B, self.X])
        world.submit([self.X, B])
        world.drain()
        assert world.status(B) is Status.FAILED
        error = world.job(B).attempts[-1]["error"]
        assert error == {
            "type": "MissingInput",
            "message": "input a: nobody makes it, and it is not there",
            "traceback": "",
        }

    def test_it_goes_on_without_an_input_that_is_optional(self) -> None:
        optional = kind("b", "a", optional=("a",))
        world = World([optional])
        world.submit([optional])
        world.drain()
        assert world.status(optional) is Status.DONE

    def test_those_that_can_do_without_go_first_as_they_may_find_what_others_lack(self) -> None:
        optional = kind("y", "nowhere", optional=("nowhere",), finds=True)
        world = World([A, B, optional])
        world.submit([B, optional])
        world.slots(9)
        assert world.at_work() == {"y"}
        world.answer(optional, found=[A])
        world.drain()
        assert world.status(B) is Status.DONE
        assert world.moves(B) == [Step.CLAIM, Step.FINISH]

    def test_the_last_call_hands_out_no_more_than_there_are_places(self) -> None:
        run = Direct(*(wish(path, reads=("nowhere",)) for path in "abcde"))
        assert run.slots(2) == ["claim a", "launch a", "claim b", "launch b"]
        assert run.slots(1) == ["claim c", "launch c"]

    def test_a_reader_is_released_when_the_last_of_what_it_lacks_is_made(self) -> None:
        run = Direct(wish("merge", reads=("a", "b")), wish("x"))
        run.slots()
        run.do(Submitted([wish("a")]))
        assert run.slots() == ["claim a", "launch a"]
        run.finish("a")
        assert run.slots() == [], "b is still lacking, and x runs"
        run.do(Submitted([wish("b")]))
        run.slots()
        run.finish("b")
        assert run.slots() == [f"claim {id_of('merge')}", f"launch {id_of('merge')}"]

    def test_an_input_that_is_gone_when_the_job_starts(self) -> None:
        run = Direct(wish("a", inputs=(Need("source", exists=True),)), wish("x"))
        run.slots()
        assert names(run.do(Returned(id_of("a")), Lacked(id_of("a"), ("source",)))) == ["requeue a"]
        assert run.slots() == []
        run.finish("x")
        assert run.slots() == ["claim a", "launch a"]
        assert names(run.do(Returned(id_of("a")), Lacked(id_of("a"), ("source",)))) == ["fail a"]

    def test_a_maker_that_turned_up_while_the_job_was_with_a_worker_is_waited_for(self) -> None:
        run = Direct(wish("b", reads=("a",)))
        assert run.slots() == ["claim b", "launch b"], "the last call"
        run.do(Submitted([wish("a")]))
        assert names(run.do(Returned(id_of("b")), Lacked(id_of("b"), ("a",))))[-1] == "requeue b"
        assert run.slots() == ["claim a", "launch a"]
        run.finish("a")
        assert run.slots() == ["claim b", "launch b"]

    def test_a_job_whose_maker_failed_is_blocked_by_it_from_then_on(self) -> None:
        """The file must say so: what is blocked is computed anew from the files at every start."""
        reader = Stored(id=id_of("b"), status=Status.PENDING)
        run = Direct()
        run.do(Recovered({reader.id: reader.status, id_of("a"): Status.FAILED}, [reader]))
        run.slots()
        assert names(run.do(Returned(reader.id), Lacked(reader.id, ("a",)))) == ["bind b", "block b"]
        assert run.engine.ledger[reader.id].after == (id_of("a"),)

    def test_a_job_whose_maker_did_not_make_it_says_whose_fault_it_is(self) -> None:
        reader = Stored(id=id_of("b"), status=Status.PENDING)
        run = Direct()
        run.do(Recovered({reader.id: reader.status, id_of("a"): Status.DONE}, [reader]))
        for _ in range(2):
            run.slots()
            commands = run.do(Returned(reader.id), Lacked(reader.id, ("a",)))
        move = commands[-1]
        assert isinstance(move, Move)
        assert move.why == f"input a: {id_of('a')} did not make it"

    def test_a_maker_that_waits_for_its_reader_is_a_cycle(self) -> None:
        reader = Stored(id=id_of("b"), status=Status.PENDING)
        run = Direct()
        run.do(Recovered({reader.id: reader.status}, [reader]))
        run.slots()
        run.do(Submitted([wish("a", "b")]))
        commands = run.do(Returned(reader.id), Lacked(reader.id, ("a",)))
        assert names(commands) == ["fail b", "block a"]
        move = commands[0]
        assert isinstance(move, Move)
        assert "tasks that wait for each other" in move.why

    def test_with_all_done_an_input_that_is_not_there_blocks(self) -> None:
        world = World([A, all_done := kind("b", "a", all_done=True)])
        world.submit([A, all_done])
        world.drain(bad=[A.id])
        assert world.moves(all_done) == [Step.CLAIM, Step.BLOCK]


class TestCancelled:
    """A person wants a job never to run."""

    def test_a_waiting_one_blocks_those_behind_it_at_once(self) -> None:
        run = Direct(wish("a"), wish("b", "a"), wish("c", "b"))
        assert names(run.do(Cancelled((id_of("b"),)))) == ["cancel b", "block c"]
        run.slots()
        run.finish("a")
        assert run.engine.finished

    def test_a_ready_one_does_not_start(self) -> None:
        run = Direct(wish("a"))
        run.do(Cancelled((id_of("a"),)))
        assert run.slots() == []
        assert run.engine.finished

    def test_a_blocked_one_stays_cancelled_when_what_blocked_it_is_tried_again(self) -> None:
        run = Direct(wish("a"), wish("b", "a"))
        run.slots()
        run.fail("a")
        assert names(run.do(Cancelled((id_of("b"),)))) == ["cancel b"]
        run.do(Submitted([wish("a")], True))
        run.slots()
        assert run.finish("a") == ["finish a"]

    def test_one_that_failed_in_an_earlier_run(self) -> None:
        run = Direct()
        run.do(Recovered({id_of("a"): Status.FAILED}, []))
        assert names(run.do(Cancelled((id_of("a"), "Job-0000000000000000")))) == ["cancel a"]

    @pytest.mark.parametrize("status", [Status.DONE, Status.CANCELLED, Status.QUARANTINE])
    def test_one_that_is_done_or_cancelled_or_no_job_is_left_alone(self, status: Status) -> None:
        run = Direct()
        run.do(Recovered({id_of("a"): status}, []))
        assert run.do(Cancelled((id_of("a"),))) == []

    def test_a_running_one_that_succeeds_is_done(self) -> None:
        run = Direct(wish("a"))
        run.slots()
        assert run.do(Cancelled((id_of("a"),))) == []
        assert run.finish("a") == ["finish a"]

    @pytest.mark.parametrize(
        ("event", "steps"),
        [
            (Failed(id=id_of("a"), record="r", retry_in=5.0), ["requeue a", "cancel a"]),
            (Failed(id=id_of("a"), record="r"), ["fail a", "cancel a"]),
            (Lacked(id_of("a"), ("x",)), ["requeue a", "cancel a"]),
        ],
    )
    def test_a_running_one_that_does_not_succeed_is_not_tried_again(self, event: Event, steps: list[str]) -> None:
        run = Direct(wish("a"), wish("b", "a"))
        run.slots()
        run.do(Cancelled((id_of("a"),)))
        assert names(run.do(Returned(id_of("a")), event)) == [*steps, "block b"]
        assert run.engine.finished

    def test_and_neither_when_its_worker_dies(self) -> None:
        run = Direct(*map(wish, "ab"))
        run.slots()
        run.do(Cancelled((id_of("a"), id_of("b"))))
        assert names(run.lose("a", waiting="b")) == ["count a", "requeue b", "cancel b"]
        attempt = Attempt(outcome="died", type="WorkerLost", message="")
        assert names(run.do(Counted(id_of("a"), attempt, 9.0))) == ["requeue a", "cancel a"]

    def test_one_that_waited_in_two_batches_starts_when_it_is_handed_in_again(self) -> None:
        run = Direct(wish("a"), wish("b", "a"))
        run.do(Submitted([wish("b", "a")]))
        run.do(Cancelled((id_of("b"),)))
        run.do(Submitted([wish("b")], True))
        run.slots()
        run.finish("a")
        assert run.slots() == ["claim b", "launch b"]

    def test_what_waited_behind_it_may_be_waited_for_by_what_it_waited_for(self) -> None:
        """The order of a new flow, when a job in the middle of the old one was cancelled."""
        stored = [
            Stored(id=id_of("a"), status=Status.PENDING),
            Stored(id=id_of("b"), status=Status.PENDING, after=(id_of("a"),)),
            Stored(id=id_of("c"), status=Status.PENDING, after=(id_of("b"),), all_done=True),
        ]
        run = Direct()
        run.do(Recovered({item.id: item.status for item in stored}, stored))
        run.do(Cancelled((id_of("b"),)))
        run.do(Submitted([wish("a", "c")]))
        assert run.slots() == ["claim c", "launch c"]


class TestOpenedAgain:
    """A settled job is tried again, or turns out to be due: who comes after it must hear of it."""

    def test_what_it_blocked_waits_for_it(self) -> None:
        run = Direct(wish("a"), wish("b", "a"), wish("c", "b"))
        run.slots()
        run.fail("a")
        assert names(run.do(Submitted([wish("a")], True))) == ["rewish a", "retry a", "unblock b", "unblock c"]
        run.slots()
        run.finish("a")
        assert run.slots() == ["claim b", "launch b"]

    def test_what_another_blocks_as_well_stays_blocked(self) -> None:
        run = Direct(wish("a"), wish("b"), wish("c", "a", "b"))
        run.slots()
        run.fail("a")
        run.fail("b")
        assert names(run.do(Submitted([wish("a")], True))) == ["rewish a", "retry a"]
        assert names(run.do(Submitted([wish("b")], True))) == ["rewish b", "retry b", "unblock c"]
        run.slots()
        run.finish("a")
        assert run.fail("b") == ["fail b", "block c"]

    def test_a_file_moved_back_into_the_inbox_does_the_same(self) -> None:
        run = Direct(wish("a"), wish("b", "a"))
        run.slots()
        run.fail("a")
        run.do(Withdrawn((id_of("a"),)))
        assert names(run.do(Submitted([wish("a")], True))) == ["create a", "unblock b"]
        run.slots()
        run.finish("a")
        assert run.slots() == ["claim b", "launch b"]

    def test_who_waits_for_it_hears_of_it_even_if_the_job_is_refused_then(self) -> None:
        run = Direct()
        stored = [
            Stored(id=id_of("b"), status=Status.PENDING),
            Stored(id=id_of("c"), status=Status.BLOCKED, after=(id_of("a"), id_of("b"))),
            Stored(id=id_of("d"), status=Status.PENDING, after=(id_of("c"),)),
        ]
        run.do(Recovered({id_of("a"): Status.FAILED} | {item.id: item.status for item in stored}, stored))
        assert names(run.do(Withdrawn((id_of("c"),)))) == ["block d"]
        with pytest.raises(CycleFound):
            run.do(Submitted([wish("c", reads=("c",))], True))
        assert run.engine.ledger.status(id_of("c")) is None
        assert run.engine.ledger.status(id_of("d")) is Status.BLOCKED
        assert names(run.do(Submitted([wish("c")], True))) == ["create c", "unblock d"]

    def test_one_that_was_to_start_waits_again(self) -> None:
        run = Direct()
        run.do(Recovered({id_of("a"): Status.DONE}, []), Submitted([wish("b", reads=("a",))]))
        assert run.engine.claimable == 1
        assert names(run.do(Submitted([wish("a")]))) == ["rewish a", "judge a"]
        assert run.slots() == []
        run.do(Judged(id=id_of("a"), reason="it is due"))
        assert run.slots() == ["claim a", "launch a"]
        run.finish("a")
        assert run.slots() == ["claim b", "launch b"]

    def test_one_that_waits_for_its_retry_waits_for_both(self) -> None:
        run = Direct()
        run.do(Recovered({id_of("a"): Status.DONE}, []), Submitted([wish("b", reads=("a",))]))
        run.slots()
        run.fail("b", retry_in=5.0)
        run.do(Submitted([wish("a")]), Judged(id=id_of("a"), reason="it is due"))
        run.now = 9.0
        assert run.slots() == ["claim a", "launch a"]
        run.finish("a")
        assert run.slots() == ["claim b", "launch b"]

    def judged_too_soon(self) -> Direct:
        """`b` was found up to date before `a`, which it reads, was found at all."""
        run = Direct()
        run.do(Recovered({id_of("a"): Status.DONE, id_of("b"): Status.DONE}, []))
        run.do(Submitted([wish("b", reads=("a",))]), Judged(id=id_of("b"), reason=None))
        assert run.engine.finished
        run.do(Submitted([wish("a")]))
        return run

    def test_one_that_was_up_to_date_is_judged_again_when_what_it_reads_has_run(self) -> None:
        run = self.judged_too_soon()
        run.do(Judged(id=id_of("a"), reason="it is due"))
        run.slots()
        assert run.finish("a") == ["finish a", "judge b"]
        assert names(run.do(Judged(id=id_of("b"), reason="input a changed"))) == ["expire b"]

    def test_but_not_when_that_was_up_to_date_or_failed(self) -> None:
        assert self.judged_too_soon().do(Judged(id=id_of("a"), reason=None)) == []
        run = self.judged_too_soon()
        run.do(Judged(id=id_of("a"), reason="it is due"))
        run.slots()
        assert run.fail("a") == ["fail a"]
        assert run.engine.finished

    def test_it_is_judged_once_when_all_that_it_reads_has_settled(self) -> None:
        run = Direct()
        run.do(Recovered({id_of(path): Status.DONE for path in "abc"}, []))
        run.do(Submitted([wish("c", reads=("a", "b"))]), Judged(id=id_of("c"), reason=None))
        run.do(Submitted([wish("a"), wish("b")]))
        run.do(Judged(id=id_of("a"), reason="it is due"), Judged(id=id_of("b"), reason="it is due"))
        run.slots()
        assert run.finish("a") == ["finish a"]
        assert run.finish("b") == ["finish b", "judge c"]

    def test_one_that_has_not_begun_waits_for_the_judgement_of_what_it_reads(self) -> None:
        run = self.judged_too_soon()
        run.do(Submitted([wish("c", reads=("b",), priority=-1)]))
        run.do(Judged(id=id_of("a"), reason="it is due"))
        assert run.slots(1) == ["claim a", "launch a"]
        assert run.finish("a") == ["finish a", "judge b"]
        assert run.slots() == []
        run.do(Judged(id=id_of("b"), reason=None))
        assert run.slots() == ["claim c", "launch c"]

    def test_one_that_was_with_a_worker_is_judged_when_it_comes_back(self) -> None:
        run = Direct()
        run.do(Recovered({id_of("a"): Status.DONE}, []), Submitted([wish("b", reads=("a",))]))
        run.slots()
        run.do(Submitted([wish("a")]), Judged(id=id_of("a"), reason="it is due"))
        run.slots()
        run.finish("a")
        assert run.finish("b") == ["finish b", "judge b"]

    @pytest.mark.parametrize("found_again", [False, True])
    def test_two_that_come_after_each_other_in_two_flows_do_not_go_round(self, found_again: bool) -> None:
        """`b` was taken over from a run in which it read `a`; in this one `a` reads `b`."""
        taken = Stored(id=id_of("b"), status=Status.PENDING, after=(id_of("a"),))
        run = Direct()
        run.do(Recovered({taken.id: taken.status, id_of("a"): Status.DONE}, [taken]))
        run.slots()
        run.finish("b")
        run.do(Submitted([wish("a", reads=("b",))]), Judged(id=id_of("a"), reason="other inputs"))
        run.slots()
        if found_again:
            with pytest.raises(CycleFound):
                run.do(Submitted([wish("b", reads=("a",))]))
        assert run.finish("a") == ["finish a"]
        assert run.engine.finished

    def test_who_read_a_source_is_judged_when_somebody_turned_up_to_make_it(self) -> None:
        world = World([A, B], sources=["a"])
        world.submit([B])
        world.drain()
        world.submit([A])
        world.drain()
        assert world.launches[B.id] == 2
        assert world.job(B).after == (A.id,)
        world.check_end()

    def test_who_went_on_without_an_input_is_judged_when_somebody_turned_up_to_make_it(self) -> None:
        world = World([A, optional := kind("b", "a", optional=("a",))])
        world.submit([optional])
        world.drain()
        world.submit([A])
        world.drain()
        assert world.launches[optional.id] == 2
        world.check_end()
