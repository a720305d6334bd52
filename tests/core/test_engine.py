"""The walk of a job, and what comes between."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from runner.core.commands import Command, Count, Discard, Launch, Move, Walk
from runner.core.events import Asked, Counted, Finished, Judged, Recovered, Retried, Returned, Slots, Submitted
from runner.core.model import Attempt, Limit, Proposal, Status, Step, Stored
from tests.core.direct import Direct, id_of, names, wish
from tests.core.kinds import Kind, Wish, kind
from tests.core.world import Crash, World

A, B, C = kind("a"), kind("b", "a"), kind("c", "b")


class TestWalk:
    """From pending to its end."""

    def test_a_job_is_moved_before_it_is_launched_and_its_readers_come_after_it(self) -> None:
        run = Direct(wish("a"), wish("b", "a"))
        assert run.slots() == ["claim a", "launch a"]
        assert run.slots() == []
        assert run.finish("a", deliver=((".a", "a"),)) == ["deliver a", "finish a"]
        assert run.slots() == ["claim b", "launch b"]
        assert not run.engine.finished
        run.finish("b")
        assert run.engine.finished

    def test_children_are_there_before_their_parent_is_done(self) -> None:
        run = Direct(wish("a"))
        run.slots()
        assert run.finish("a", wish("b"), wish("c", "b")) == ["create b", "create c", "finish a"]

    def test_a_child_may_read_what_its_parent_made(self) -> None:
        run = Direct(wish("a"))
        run.slots()
        run.finish("a", wish("b", reads=("a",)))
        assert run.slots() == ["claim b", "launch b"]

    def test_no_more_are_launched_than_there_are_places(self) -> None:
        run = Direct(*map(wish, "abcde"))
        assert run.engine.claimable == 5
        assert run.slots(2) == ["claim a", "launch a", "claim b", "launch b"]
        assert run.engine.busy == 2
        assert set(run.engine.with_workers()) == {id_of("a"), id_of("b")}
        assert run.slots(0) == []

    def test_a_failure_blocks_all_that_come_after_it_at_once(self) -> None:
        run = Direct(wish("a"), wish("b", "a"), wish("c", "b"), wish("d"))
        run.slots()
        assert run.fail("a") == ["fail a", "block b", "block c"]
        assert not run.engine.finished
        run.finish("d")
        assert run.engine.finished

    def test_a_job_that_wants_all_done_runs_after_a_failure(self) -> None:
        run = Direct(wish("a"), wish("b", "a", all_done=True), wish("c", "b"))
        run.slots()
        assert run.fail("a") == ["fail a"]
        assert run.slots() == ["claim b", "launch b"]

    def test_a_long_chain_is_blocked_without_recursion(self) -> None:
        run = Direct(*(wish(f"{n}", *([f"{n - 1}"] if n else [])) for n in range(5000)))
        run.slots()
        assert len(run.fail("0")) == 5000
        assert run.engine.finished

    def test_a_retry_waits_for_its_time(self) -> None:
        run = Direct(wish("a"))
        run.slots()
        assert run.fail("a", retry_in=10.0) == ["requeue a"]
        assert run.slots() == []
        assert run.engine.next_time() == 10.0
        run.now = 10.0
        assert run.slots() == ["claim a", "launch a"]

    def test_a_person_may_cut_the_waiting_short(self) -> None:
        run = Direct(wish("a"))
        run.slots()
        run.fail("a", retry_in=10.0)
        run.do(Retried((id_of("a"), "Job-0000000000000000")))
        assert run.slots() == ["claim a", "launch a"]

    def test_limits_are_free_as_soon_as_the_worker_is_through(self) -> None:
        run = Direct(*(wish(path, limits={"one": Limit(1)}) for path in "ab"))
        assert run.slots() == ["claim a", "launch a"]
        run.do(Returned(id_of("a")))
        assert run.slots() == ["claim b", "launch b"]

    def test_the_tally_counts_what_the_run_reached(self) -> None:
        blocked = Stored(id=id_of("x"), status=Status.BLOCKED, after=(id_of("y"),))
        run = Direct()
        run.do(Recovered({blocked.id: blocked.status, id_of("z"): Status.DONE}, [blocked]))
        run.do(Submitted([wish("a"), wish("b", "a")]))
        run.slots()
        run.fail("a")
        assert run.engine.census.tally() == {Status.FAILED: 1, Status.BLOCKED: 1}


class TestRefusal:
    """A job that proposes what cannot be."""

    def test_it_fails_as_published_with_what_it_made_in_place(self) -> None:
        run = Direct(wish("a"), wish("b", "a"))
        run.slots()
        id = id_of("a")
        children = [wish("c", "d", staged="one"), wish("d", "c", staged="two"), wish("e")]
        commands = run.do(Returned(id), Finished(id=id, record="r", deliver=((".a", "a"),), children=children))
        assert names(commands) == ["deliver a", "discard", "fail a", "block b"]
        assert Discard(("r", "one", "two")) in commands
        move = next(command for command in commands if isinstance(command, Move))
        assert move.change is not None
        assert move.change.attempt is not None
        assert (move.change.attempt.outcome, move.change.attempt.type) == ("published", "CycleFound")
        assert all(run.status(path) is None for path in "cde")

    def test_one_that_was_only_asked_is_due(self) -> None:
        run = Direct()
        run.do(Recovered({id_of("a"): Status.DONE}, []), Submitted([wish("a")]))
        run.do(Judged(id=id_of("a"), reason=None, asks=True))
        assert run.slots() == ["launch a"]
        children = [wish("c", "d", staged="one"), wish("d", "c")]
        assert names(run.do(Returned(id_of("a")), Asked(id=id_of("a"), children=children))) == ["discard", "expire a"]


class TestLostWorkers:
    """Deaths, and who is charged."""

    def test_the_one_it_had_begun_is_charged(self) -> None:
        run = Direct(*map(wish, "ab"))
        run.slots()
        commands = run.lose("a", waiting="b")
        attempt = Attempt(outcome="died", type="WorkerLost", message="its worker died")
        assert commands[0] == Count(id_of("a"), attempt)
        assert names(commands)[1:] == ["requeue b"]
        assert run.slots() == ["claim b", "launch b"]
        assert names(run.do(Counted(id_of("a"), attempt, 5.0))) == ["requeue a"]
        assert run.engine.next_time() == 5.0

    def test_one_that_is_out_of_retries_fails(self) -> None:
        run = Direct(wish("a"))
        run.slots()
        run.lose("a")
        attempt = Attempt(outcome="died", type="WorkerLost", message="")
        assert names(run.do(Counted(id_of("a"), attempt, None))) == ["fail a"]

    def test_those_that_shared_it_are_tried_again_alone_at_no_cost(self) -> None:
        run = Direct(*map(wish, "abc"))
        run.slots()
        commands = run.lose("a", "b", waiting="c")
        assert names(commands) == ["requeue a", "requeue b", "requeue c"]
        assert all(
            command.change.attempt.outcome == "interrupted"
            for command in commands
            if isinstance(command, Move) and command.change and command.change.attempt
        )
        launches = {command.id: command.alone for command in run.do(Slots(9)) if isinstance(command, Launch)}
        assert launches == {id_of("a"): True, id_of("b"): True, id_of("c"): False}
        run.finish("a")
        assert names(run.lose("b")) == ["count b"], "the one that dies alone is charged"

    def test_suspects_keep_to_their_limits(self) -> None:
        run = Direct(*(wish(path, limits={"two": Limit(2)}) for path in "abcd"))
        run.slots()
        run.lose("a", "b")
        assert run.slots(1) == ["claim c", "launch c"], "it has waited longer"
        assert run.slots() == ["claim d", "launch d"]
        run.finish("c")
        assert run.slots() == ["claim a", "launch a"]
        run.finish("a")
        run.finish("d")
        assert run.slots() == ["claim b", "launch b"]

    def test_a_timeout_is_charged_to_the_guilty_one_alone(self) -> None:
        run = Direct(*map(wish, "abc"))
        run.slots()
        assert names(run.lose("a", "b", waiting="c", outcome="timeout", guilty="b")) == [
            "requeue a",
            "count b",
            "requeue c",
        ]
        assert not any(command.alone for command in run.do(Slots(9)) if isinstance(command, Launch))

    def test_an_interruption_is_charged_to_nobody(self) -> None:
        run = Direct(*map(wish, "ab"))
        run.slots()
        assert names(run.lose("a", waiting="b", outcome="interrupted")) == ["requeue a", "requeue b"]
        assert not any(command.alone for command in run.do(Slots(9)) if isinstance(command, Launch))

    def asked(self, *paths: str) -> Direct:
        run = Direct()
        run.do(Recovered({id_of(path): Status.DONE for path in paths}, []), Submitted([*map(wish, paths)]))
        run.do(*(Judged(id=id_of(path), reason=None, asks=True) for path in paths))
        assert run.slots() == [f"launch {path}" for path in paths]
        return run

    def test_a_job_that_was_asked_is_due_if_it_died_of_that(self) -> None:
        run = self.asked("a")
        assert names(run.lose("a")) == []
        assert run.do(Slots(1)) == [Launch(id_of("a"), ask=True, alone=True)], "it is asked once more"
        assert names(run.lose("a")) == ["expire a"]

    @pytest.mark.parametrize(("outcome", "alone"), [("interrupted", False), ("died", True)])
    def test_a_job_that_was_asked_beside_others_is_asked_again(self, outcome: str, alone: bool) -> None:
        run = self.asked("a", "b")
        assert run.lose("a", "b", outcome=outcome) == []
        assert run.do(Slots(9)) == [Launch(id_of(path), ask=True, alone=alone) for path in "ab"]
        assert run.do(Returned(id_of("a")), Asked(id=id_of("a"), children=[])) == []
        assert run.status("a") is Status.DONE

    def test_a_job_that_was_to_be_asked_is_asked_by_another(self) -> None:
        run = self.asked("a")
        assert run.lose(waiting="a") == []
        assert run.slots() == ["launch a"]


class TestDoneBefore:
    """What an earlier run has done."""

    def run(self, *batch: Proposal) -> Direct:
        run = Direct()
        run.do(Recovered({proposal.id: Status.DONE for proposal in batch}, []), Submitted(list(batch)))
        return run

    def test_it_is_judged_when_what_it_comes_after_is_settled(self) -> None:
        run = Direct()
        run.do(Recovered({id_of(path): Status.DONE for path in "ab"}, []))
        assert names(run.do(Submitted([wish("a"), wish("b", "a")]))) == ["rewish a", "rewish b", "judge a"]
        assert names(run.do(Judged(id=id_of("a"), reason=None))) == ["judge b"]

    def test_it_stays_done_when_what_it_comes_after_fails_tonight(self) -> None:
        run = self.run(wish("a"), wish("b", "a"))
        run.do(Judged(id=id_of("a"), reason="it is due"))
        run.slots()
        assert run.fail("a") == ["fail a"]
        assert run.engine.finished
        assert run.status("b") is Status.DONE

    def test_one_that_finds_children_is_asked_for_them_again(self) -> None:
        run = self.run(wish("a"))
        run.do(Judged(id=id_of("a"), reason=None, asks=True))
        assert run.do(Slots(1)) == [Launch(id_of("a"), ask=True)]
        assert names(run.do(Returned(id_of("a")), Asked(id=id_of("a"), children=[wish("b")]))) == ["create b"]
        assert run.status("a") is Status.DONE

    def test_one_that_need_not_be_asked_has_its_children_of_last_time_proposed(self) -> None:
        run = self.run(wish("a"))
        assert run.do(Judged(id=id_of("a"), reason=None, found=("Job-1", "Job-2"))) == [
            Walk(("Job-1", "Job-2"), id_of("a"))
        ]
        assert not run.engine.finished
        run.do(Asked(id=id_of("a"), children=[]))
        assert run.engine.finished

    def test_one_that_cannot_tell_is_due(self) -> None:
        run = self.run(wish("a"))
        run.do(Judged(id=id_of("a"), reason=None, asks=True))
        run.slots()
        assert names(run.do(Returned(id_of("a")), Asked(id=id_of("a"), children=[], error="boom"))) == ["expire a"]

    def test_one_that_is_wished_for_anew_while_it_is_asked_is_judged_again_and_asked_once(self) -> None:
        run = self.run(wish("a"))
        run.do(Judged(id=id_of("a"), reason=None, asks=True))
        run.slots()
        assert names(run.do(Submitted([wish("a", fingerprint="other")], True))) == ["rewish a"]
        assert run.engine.busy == 1
        assert names(run.do(Returned(id_of("a")), Asked(id=id_of("a"), children=[]))) == ["judge a"]

    def test_one_that_is_wished_for_anew_while_it_is_judged_is_judged_with_the_new_wish(self) -> None:
        run = self.run(wish("a"))
        assert names(run.do(Submitted([wish("a", fingerprint="other")], True))) == ["rewish a"]
        assert run.do(Judged(id=id_of("a"), reason=None)) == []
        assert run.engine.finished

    def test_one_that_is_due_waits_for_inputs_that_nobody_makes(self) -> None:
        run = self.run(wish("b", reads=("a",)))
        run.do(Submitted([wish("x")]))
        run.do(Judged(id=id_of("b"), reason="input a is gone"))
        assert run.slots() == ["claim x", "launch x"]
        run.finish("x", wish("a"))
        assert run.slots() == ["claim a", "launch a"]

    def test_an_answer_about_a_job_that_was_superseded_meanwhile_is_nothing(self) -> None:
        stored = Stored(id=id_of("a", "Old"), status=Status.PENDING)
        for answer in (
            Judged(id=stored.id, reason="it is due"),
            Judged(id=stored.id, reason=None, asks=True),
            Asked(id=stored.id, children=[wish("x")]),
        ):
            run = Direct()
            run.do(Recovered({stored.id: Status.PENDING, id_of("b"): Status.DONE}, [stored]))
            run.slots()
            run.do(Submitted([wish("b")]), Returned(stored.id), Finished(id=stored.id, record="r"))
            run.do(Submitted([wish("a")]))
            assert run.engine.ledger.status(stored.id) is Status.CANCELLED
            assert run.do(answer) == []


class TestWishedAnew:
    """A running job is proposed again."""

    def test_with_other_parameters_it_is_judged_in_the_end(self) -> None:
        world = World([A, B])
        world.submit([A, B])
        world.slots(9)
        world.hand_in([Wish(A, 1)])
        world.answer(A)
        assert world.judging
        world.drain()
        assert world.launches == {A.id: 2, B.id: 1}
        world.check_end()

    def test_if_it_fails_its_next_attempt_has_the_new_wish(self) -> None:
        world = World([A])
        world.submit([A])
        world.slots(9)
        world.hand_in([Wish(A, 1)])
        world.answer(A, "failed")
        world.drain()
        assert world.launches == {A.id: 2}
        assert world.job(A).result["params"] == {"variant": 1}  # type: ignore[index]
        world.check_end()


class TestRecovered:
    """What the last runner left."""

    def recovered(self, *stored: Stored, **more: Status) -> tuple[Direct, list[Command]]:
        run = Direct(resuming=True)
        known = {item.id: item.status for item in stored} | {id_of(path): status for path, status in more.items()}
        return run, run.do(Recovered(known, stored))

    def stored(self, path: str, status: Status, *after: str, **more: Any) -> Stored:
        return Stored(id=id_of(path), status=status, after=tuple(map(id_of, after)), **more)

    def test_what_ran_goes_back_with_a_note_and_starts(self) -> None:
        run, commands = self.recovered(self.stored("a", Status.RUNNING))
        assert names(commands) == ["requeue a"]
        move = commands[0]
        assert isinstance(move, Move)
        assert move.change is not None
        assert move.change.attempt is not None
        assert move.change.attempt.outcome == "interrupted"
        assert run.slots() == ["claim a", "launch a"]

    def test_what_lacked_only_its_last_rename_is_done(self) -> None:
        run, commands = self.recovered(
            self.stored("a", Status.RUNNING, finished=True), self.stored("b", Status.PENDING, "a")
        )
        assert names(commands) == ["finish a"]
        assert run.slots() == ["claim b", "launch b"]

    def test_what_had_used_up_its_retries_fails(self) -> None:
        run, commands = self.recovered(
            self.stored("a", Status.RUNNING, spent=True), self.stored("b", Status.PENDING, "a")
        )
        assert names(commands) == ["fail a", "block b"]
        assert run.engine.finished

    def test_and_is_tried_again_by_a_new_run_that_finds_it(self) -> None:
        run = Direct()
        run.do(Recovered({id_of("a"): Status.PENDING}, [self.stored("a", Status.PENDING, spent=True)]))
        assert names(run.do(Submitted([wish("a")]))) == ["rewish a", "retry a"]

    def test_what_can_never_run_fails_and_says_why(self) -> None:
        problem = Attempt(outcome="failed", type="ClassGone", message="its class is gone")
        _, commands = self.recovered(self.stored("a", Status.PENDING, problem=problem))
        move = commands[0]
        assert isinstance(move, Move)
        assert (move.step, move.why) == (Step.FAIL, "its class is gone")

    def test_what_waits_for_a_time_goes_on_waiting(self) -> None:
        run, _ = self.recovered(self.stored("a", Status.PENDING, delay=10.0))
        assert run.slots() == []
        assert run.engine.next_time() == 10.0

    def test_what_is_blocked_is_computed_anew_both_ways(self) -> None:
        _, commands = self.recovered(
            self.stored("b", Status.BLOCKED, "a"),
            self.stored("d", Status.PENDING, "c"),
            self.stored("e", Status.BLOCKED, "c"),
            a=Status.DONE,
            c=Status.FAILED,
        )
        assert sorted(names(commands)) == ["block d", "unblock b"]

    def test_what_is_blocked_by_what_waits_now_waits_too_in_whatever_order_they_are_found(self) -> None:
        _, commands = self.recovered(
            self.stored("d", Status.BLOCKED, "c"),
            self.stored("c", Status.BLOCKED, "b"),
            self.stored("b", Status.BLOCKED, "a"),
            self.stored("a", Status.PENDING),
        )
        assert names(commands) == ["unblock b", "unblock c", "unblock d"]

    def test_what_another_blocks_as_well_stays_where_it_is(self) -> None:
        run, commands = self.recovered(
            self.stored("c", Status.BLOCKED, "a", "b"), self.stored("a", Status.PENDING), b=Status.FAILED
        )
        assert commands == []
        run.slots()
        run.finish("a")
        assert run.engine.finished
        assert run.engine.census.tally() == {Status.DONE: 1}, "what this run did not reach does not count"

    def test_what_comes_after_a_job_that_is_nowhere_is_blocked(self) -> None:
        _, commands = self.recovered(self.stored("b", Status.PENDING, "a"))
        assert names(commands) == ["block b"]
        move = commands[0]
        assert isinstance(move, Move)
        assert move.why == f"{id_of('a')} is not there"

    def test_cycles_made_by_hand_fail_and_the_others_go_on(self) -> None:
        run, commands = self.recovered(
            self.stored("a", Status.PENDING, "b"),
            self.stored("b", Status.BLOCKED, "a"),
            self.stored("c", Status.PENDING, "c"),
            self.stored("d", Status.PENDING, "c"),
            self.stored("e", Status.PENDING),
        )
        assert sorted(names(commands)) == ["block d", "fail a", "fail b", "fail c", "unblock b"]
        assert run.slots() == ["claim e", "launch e"]

    def test_a_million_done_jobs_are_a_million_names(self) -> None:
        run = Direct()
        run.do(Recovered({f"Job-{n:016x}": Status.DONE for n in range(1000)}, []))
        assert list(run.engine.ledger.nodes()) == []
        assert run.engine.finished


class TestCrash:
    """A crash between any two commands of one event, and the run goes on."""

    @pytest.mark.parametrize("torn", [False, True])
    @pytest.mark.parametrize("after", range(8))
    def test_while_a_parent_finishes(self, after: int, torn: bool) -> None:
        parent = kind("a", finds=True)
        world = World([parent, B, C])
        world.submit([parent])
        world.slots(1)
        world.work(parent.id, found=[B, C])
        self.crash(world, after, torn)
        if world.status(parent) is not Status.DONE:
            world.slots(1)
            world.answer(parent, found=[B, C])
        world.drain()
        assert {world.status(each) for each in (parent, B, C)} == {Status.DONE}
        assert world.launches[B.id] == world.launches[C.id] == 1
        world.check_end()

    @pytest.mark.parametrize("after", range(8))
    def test_while_an_owner_is_superseded(self, after: int) -> None:
        parent, heir = kind("p", finds=True, priority=1), Kind(name="Heir", outputs=("a",))
        world = World([parent, A, heir, B])
        world.submit([A, B])
        world.start([parent])
        world.slots(1)
        world.work(parent.id, found=[heir])
        self.crash(world, after)
        if world.status(parent) is not Status.DONE:
            world.slots(1)
            world.answer(parent, found=[heir])
        world.drain()
        assert [world.status(each) for each in (parent, A, heir, B)] == [
            Status.DONE,
            Status.CANCELLED,
            Status.DONE,
            Status.DONE,
        ]
        assert world.job(B).after == (heir.id,)
        assert world.launches[heir.id] == world.launches[B.id] == 1
        world.check_end()

    def crash(self, world: World, after: int, torn: bool = False) -> None:
        world.crash_in, world.torn = after, torn
        with suppress(Crash):
            world.commit()
        world.resume()
        world.check()


def test_events_that_order_nothing() -> None:
    run = Direct()
    assert run.slots() == []
    assert run.engine.finished
    assert run.engine.next_time() is None
    assert run.do(Submitted([])) == []
