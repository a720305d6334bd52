"""What a proposal means for the job it names, and which batches are refused with nothing changed."""

from __future__ import annotations

from typing import Any

import pytest

from runner.core import policy
from runner.core.commands import Bind, Command, Create, Discard, Judge, Launch, Move, Rewish
from runner.core.engine import Engine
from runner.core.events import Cancelled, Failed, Finished, Recovered, Returned, Slots, Submitted
from runner.core.model import Proposal, Status, Step, Stored
from runner.errors import Conflict, CycleFound, GrowthLimit, Refused
from tests.core.direct import id_of, wish


class Rules:
    """An engine, and the commands of its last event."""

    def __init__(self, statuses: dict[str, Status] | None = None, resuming: bool = False, **more: Any) -> None:
        self.engine = Engine(resuming=resuming)
        known = {id_of(path): status for path, status in (statuses or {}).items()}
        unfinished = [
            Stored(id=id, status=status)
            for id, status in known.items()
            if status in (Status.PENDING, Status.RUNNING, Status.BLOCKED)
        ]
        self.out = self.engine.handle(Recovered(known, unfinished, **more), 0.0)

    def do(self, event: Any) -> list[Command]:
        self.out = self.engine.handle(event, 0.0)
        return self.out

    def submit(self, *batch: Proposal, **more: Any) -> list[Command]:
        return self.do(Submitted(list(batch), **more))

    def run(self, path: str, *children: Proposal, end: str = "finish") -> list[Command]:
        """A claimed job comes to its end."""
        id = id_of(path)
        self.do(Returned(id))
        done = Finished(id=id, record="r", children=list(children))
        return self.do(done if end == "finish" else Failed(id=id, record="r"))

    def steps(self) -> list[tuple[str, Step]]:
        return [(move.id, move.step) for move in self.out if isinstance(move, Move)]

    def refuses(self, error: type[Refused], *batch: Proposal, **more: Any) -> str:
        before = [(node.id, node.status, node.phase, node.after) for node in self.engine.ledger.nodes()]
        with pytest.raises(error) as caught:
            self.submit(*batch, **more)
        assert before == [(node.id, node.status, node.phase, node.after) for node in self.engine.ledger.nodes()]
        return str(caught.value)


class TestFate:
    """What becomes of a known job that is proposed again."""

    def test_a_new_one_is_created(self) -> None:
        rules = Rules()
        a, b = wish("a"), wish("b", "a")
        assert rules.submit(a, b) == [Create(a, ()), Create(b, (id_of("a"),))]

    def test_one_in_quarantine_is_created_anew(self) -> None:
        assert Rules({"a": Status.QUARANTINE}).submit(wish("a")) == [Create(wish("a"), ())]

    @pytest.mark.parametrize("resuming", [False, True])
    @pytest.mark.parametrize("by_name", [False, True])
    def test_a_done_one_is_judged_with_its_new_wish(self, resuming: bool, by_name: bool) -> None:
        rules = Rules({"a": Status.DONE}, resuming)
        a = wish("a")
        assert rules.submit(a, by_name=by_name) == [Rewish(a, (), Status.DONE), Judge(a.id)]

    def test_a_done_one_is_judged_once_a_run(self) -> None:
        rules = Rules()
        rules.submit(wish("a"))
        rules.do(Slots(1))
        rules.run("a")
        assert rules.submit(wish("a")) == [Rewish(wish("a"), (), Status.DONE)]

    def test_a_done_one_is_judged_again_when_a_person_names_it(self) -> None:
        rules = Rules()
        rules.submit(wish("a"))
        rules.do(Slots(1))
        rules.run("a")
        assert Judge(id_of("a")) in rules.submit(wish("a"), by_name=True)

    def test_a_done_one_is_judged_again_when_its_finder_wants_something_else(self) -> None:
        rules = Rules()
        rules.submit(wish("a"))
        rules.do(Slots(1))
        rules.run("a")
        assert Judge(id_of("a")) in rules.submit(wish("a", fingerprint="other"))

    @pytest.mark.parametrize(
        ("status", "resuming", "by_name", "steps"),
        [
            (Status.FAILED, False, False, [Step.RETRY]),
            (Status.FAILED, False, True, [Step.RETRY]),
            (Status.FAILED, True, False, [Step.RETRY]),
            (Status.FAILED, True, True, [Step.RETRY]),
            (Status.CANCELLED, False, False, []),
            (Status.CANCELLED, False, True, [Step.RETRY]),
            (Status.CANCELLED, True, False, []),
            (Status.CANCELLED, True, True, [Step.RETRY]),
        ],
    )
    def test_what_failed_or_was_cancelled_is_tried_again_by_a_new_run_or_by_name(
        self, status: Status, resuming: bool, by_name: bool, steps: list[Step]
    ) -> None:
        rules = Rules({"a": status}, resuming)
        assert rules.submit(wish("a"), by_name=by_name)[0] == Rewish(wish("a"), (), status)
        assert [step for _, step in rules.steps()] == steps
        assert rules.engine.finished is (not steps)

    def test_what_failed_in_this_run_is_not_tried_again_when_it_goes_on(self) -> None:
        rules = Rules({"a": Status.FAILED}, resuming=True, failed=frozenset({id_of("a")}))
        rules.submit(wish("a"))
        assert rules.steps() == []
        assert rules.engine.finished

    def test_what_failed_in_this_run_is_not_tried_again_when_it_is_found_again(self) -> None:
        rules = Rules()
        rules.submit(wish("a"))
        rules.do(Slots(1))
        rules.run("a", end="fail")
        rules.submit(wish("a"))
        assert rules.steps() == []
        rules.submit(wish("a"), by_name=True)
        assert rules.steps() == [(id_of("a"), Step.RETRY)]

    def test_what_was_superseded_or_gone_comes_back_when_it_is_found_again(self) -> None:
        rules = Rules({"a": Status.CANCELLED}, revivable=frozenset({id_of("a")}))
        rules.submit(wish("a"))
        assert rules.steps() == [(id_of("a"), Step.RETRY)]

    def test_and_stays_away_when_a_person_cancelled_it_since(self) -> None:
        rules = Rules({"a": Status.CANCELLED}, revivable=frozenset({id_of("a")}))
        rules.submit(wish("a"))
        rules.do(Cancelled((id_of("a"),)))
        rules.submit(wish("a"))
        assert rules.steps() == []

    @pytest.mark.parametrize("resuming", [False, True])
    def test_a_blocked_one_that_comes_after_others_now_is_looked_at_again(self, resuming: bool) -> None:
        rules = Rules(resuming=resuming)
        known = {id_of("bad"): Status.FAILED, id_of("good"): Status.DONE, id_of("a"): Status.BLOCKED}
        stored = Stored(id=id_of("a"), status=Status.BLOCKED, after=(id_of("bad"),))
        rules.do(Recovered(known, [stored]))
        assert rules.steps() == []
        rules.submit(wish("a", "good"))
        assert rules.engine.ledger.status(id_of("a")) is Status.PENDING
        assert rules.engine.claimable == 1

    def test_a_waiting_one_takes_the_new_wish_and_what_it_comes_after(self) -> None:
        rules = Rules({"a": Status.PENDING, "b": Status.PENDING})
        assert rules.submit(wish("a", "b")) == [Rewish(wish("a", "b"), (id_of("b"),), Status.PENDING)]
        assert {command.id for command in rules.do(Slots(9)) if isinstance(command, Launch)} == {id_of("b")}

    def test_a_running_one_takes_the_wish_and_is_judged_in_the_end(self) -> None:
        rules = Rules({"a": Status.PENDING})
        rules.do(Slots(1))
        assert rules.submit(wish("a", fingerprint="other"))[0] == Rewish(
            wish("a", fingerprint="other"), (), Status.RUNNING
        )
        assert Judge(id_of("a")) in rules.run("a")

    def test_a_file_staged_for_a_job_that_is_known_is_discarded(self) -> None:
        rules = Rules({"a": Status.PENDING})
        assert Discard(("tmp",)) in rules.submit(wish("a", staged="tmp"), wish("b", staged="other"))
        assert Discard(("other",)) not in rules.out

    def test_what_two_finders_in_one_run_say_of_the_order_holds_together(self) -> None:
        rules = Rules()
        rules.submit(wish("a"), wish("b"))
        rules.submit(wish("c", "a"))
        rules.submit(wish("c", "b"))
        assert set(rules.engine.ledger[id_of("c")].after) == {id_of("a"), id_of("b")}

    def test_what_an_earlier_run_said_of_the_order_does_not(self) -> None:
        rules = Rules()
        stored = [
            Stored(id=id_of("a"), status=Status.PENDING),
            Stored(id=id_of("b"), status=Status.PENDING, after=(id_of("a"),)),
        ]
        rules.do(Recovered({item.id: item.status for item in stored}, stored))
        rules.submit(wish("b"), wish("a", "b"))
        assert [command.id for command in rules.do(Slots(9)) if isinstance(command, Launch)] == [id_of("b")]
        rules.run("b")
        assert [command.id for command in rules.do(Slots(9)) if isinstance(command, Launch)] == [id_of("a")]


class TestBinding:
    """Who makes what a job reads."""

    def test_an_input_is_bound_to_its_owner_in_whatever_status(self) -> None:
        for status in Status:
            rules = Rules({"a": status}, resuming=True)
            rules.submit(wish("b", reads=("a",)))
            assert rules.engine.ledger[id_of("b")].after == (id_of("a"),)

    def test_an_owner_that_can_make_it_comes_before_one_that_was_cancelled(self) -> None:
        rules = Rules()
        known = {id_of("a", "Old"): Status.CANCELLED, id_of("a", "New"): Status.DONE}
        rules.do(Recovered(known, []))
        rules.submit(wish("b", reads=("a",)))
        assert rules.engine.ledger[id_of("b")].after == (id_of("a", "New"),)

    def test_a_producer_of_the_same_batch_comes_first(self) -> None:
        rules = Rules()
        rules.do(Recovered({id_of("a", "Old"): Status.DONE}, []))
        rules.submit(wish("b", reads=("a",)), wish("a"))
        assert rules.engine.ledger[id_of("b")].after == (id_of("a"),)

    def test_producers_that_turn_up_in_one_batch_are_stored_at_once(self) -> None:
        rules = Rules()
        rules.submit(wish("merge", reads=("a", "b", "c")))
        rules.submit(wish("a"), wish("b"))
        assert [command for command in rules.out if isinstance(command, Bind)] == [
            Bind(id_of("merge"), Status.PENDING, (id_of("a"), id_of("b")))
        ]
        assert rules.out.index(Create(wish("b"), ())) < len(rules.out) - 1, "created before anybody comes after it"

    def test_a_cycle_through_one_that_comes_back_is_a_cycle(self) -> None:
        rules = Rules()
        known = {id_of("a"): Status.CANCELLED, id_of("a", "Heir"): Status.DONE, id_of("b"): Status.DONE}
        rules.do(Recovered(known, [], revivable=frozenset({id_of("a")})))
        rules.refuses(CycleFound, wish("a", "b"), wish("b", "a"))

    def test_a_job_that_reads_its_own_output_is_a_cycle(self) -> None:
        assert "its Input and its Output" in Rules().refuses(CycleFound, wish("a", reads=("a",)))


class TestConflict:
    """One output, one job; one job, one wish."""

    def test_two_jobs_of_a_run_with_one_output(self) -> None:
        rules = Rules()
        rules.submit(wish("a"))
        said = rules.refuses(Conflict, wish("a", name="New", found_by="Finder-1"))
        assert all(word in said for word in (id_of("a"), id_of("a", "New"), "Finder-1", "the run itself", "a is the"))

    def test_a_second_output_counts_as_the_first(self) -> None:
        rules = Rules()
        rules.submit(wish("a", also=("b",)))
        rules.refuses(Conflict, wish("b"))
        rules.refuses(Conflict, wish("c", also=("a",)))

    def test_a_job_that_runs_keeps_its_output(self) -> None:
        rules = Rules({"a": Status.PENDING})
        rules.do(Slots(1))
        rules.refuses(Conflict, wish("a", name="New"))

    def test_two_finders_that_want_one_job_with_other_parameters(self) -> None:
        rules = Rules()
        rules.submit(wish("a", found_by="Finder-1"))
        said = rules.refuses(Conflict, wish("a", found_by="Finder-2", fingerprint="other"))
        assert all(word in said for word in (id_of("a"), "Finder-1", "Finder-2"))

    def test_one_finder_may_change_its_mind(self) -> None:
        rules = Rules()
        rules.submit(wish("a", found_by="Finder-1"))
        other = wish("a", found_by="Finder-1", fingerprint="other")
        assert rules.submit(other) == [Rewish(other, (), Status.PENDING)]

    def test_a_person_s_wish_is_no_conflict(self) -> None:
        rules = Rules()
        rules.submit(wish("a", found_by="Finder-1"))
        rules.submit(wish("a", fingerprint="other"), by_name=True)
        assert rules.engine.ledger[id_of("a")].fingerprint == "other"

    def test_hints_are_no_conflict(self) -> None:
        rules = Rules()
        rules.submit(wish("a", found_by="Finder-1"))
        rules.submit(wish("a", found_by="Finder-2", params={"hint": 1}))
        assert isinstance(rules.out[0], Rewish)


class TestFormerOwners:
    """A class was renamed, or an output moved to another."""

    @pytest.mark.parametrize("status", [Status.PENDING, Status.DONE, Status.FAILED, Status.BLOCKED])
    def test_a_former_owner_is_cancelled_before_the_new_one_is_there(self, status: Status) -> None:
        rules = Rules({"a": status})
        rules.submit(wish("a", name="New"))
        kinds = [(type(command).__name__, getattr(command, "step", "")) for command in rules.out]
        assert kinds == [("Move", Step.CANCEL), ("Create", "")]
        move = rules.out[0]
        assert isinstance(move, Move)
        assert move.change is not None
        assert move.change.attempt is not None
        assert move.change.attempt.outcome == "superseded"
        assert id_of("a", "New") in move.change.attempt.message

    @pytest.mark.parametrize("status", [Status.CANCELLED, Status.QUARANTINE])
    def test_one_that_is_cancelled_already_is_left_alone(self, status: Status) -> None:
        rules = Rules({"a": status})
        assert rules.submit(wish("a", name="New")) == [Create(wish("a", name="New"), ())]

    def test_one_with_several_outputs_is_cancelled_once(self) -> None:
        owner = id_of("a", "Old")
        rules = Rules()
        rules.do(Recovered({owner: Status.DONE}, [], {"a": owner, "about": owner}))
        rules.submit(wish("a", also=("about",)))
        assert rules.steps() == [(owner, Step.CANCEL)]

    def test_one_whose_outputs_are_divided_is_cancelled_once(self) -> None:
        owner = id_of("a", "Old")
        rules = Rules()
        rules.do(Recovered({owner: Status.DONE}, [], {"a": owner, "about": owner}))
        rules.submit(wish("a"), wish("about"))
        assert rules.steps() == [(owner, Step.CANCEL)]

    def test_a_job_of_the_batch_itself_gives_an_output_away(self) -> None:
        owner = id_of("a")
        rules = Rules()
        rules.do(Recovered({owner: Status.DONE}, [], {"about": owner}))
        rules.submit(wish("a"), wish("about"))
        assert rules.steps() == []
        assert rules.engine.ledger.maker("about") == id_of("about")

    def test_a_job_that_gave_an_output_away_in_this_run_is_no_conflict(self) -> None:
        owner = id_of("a")
        rules = Rules()
        rules.do(Recovered({owner: Status.DONE}, [], {"about": owner}))
        rules.submit(wish("a"))
        assert rules.submit(wish("about")) == [Create(wish("about"), ())]

    def test_who_comes_after_the_former_owner_comes_after_the_new_one_first_of_all(self) -> None:
        stored = [
            Stored(id=id_of("a", "Old"), status=Status.PENDING),
            Stored(id=id_of("b"), status=Status.PENDING, after=(id_of("a", "Old"), id_of("c"))),
        ]
        rules = Rules()
        rules.do(Recovered({**{item.id: item.status for item in stored}, id_of("c"): Status.DONE}, stored))
        rules.submit(wish("a"))
        assert rules.out[0] == Bind(id_of("b"), Status.PENDING, (id_of("a"), id_of("c")))
        assert rules.steps() == [(id_of("a", "Old"), Step.CANCEL)], "and is not blocked by one that was cancelled"
        launched = [command.id for command in rules.do(Slots(9)) if isinstance(command, Launch)]
        assert launched == [id_of("a")]
        rules.run("a")
        assert [command.id for command in rules.do(Slots(9)) if isinstance(command, Launch)] == [id_of("b")]

    def test_who_was_blocked_by_the_former_owner_is_so_no_more(self) -> None:
        known = {id_of("a", "Old"): Status.FAILED, id_of("b"): Status.BLOCKED}
        stored = Stored(id=id_of("b"), status=Status.BLOCKED, after=(id_of("a", "Old"),))
        rules = Rules()
        rules.do(Recovered(known, [stored]))
        rules.submit(wish("a"))
        assert (id_of("b"), Step.UNBLOCK) in rules.steps()

    def test_former_owners_that_come_after_each_other(self) -> None:
        stored = [
            Stored(id=id_of("a", "Old"), status=Status.PENDING),
            Stored(id=id_of("b", "Old"), status=Status.PENDING, after=(id_of("a", "Old"),)),
        ]
        rules = Rules()
        rules.do(Recovered({item.id: item.status for item in stored}, stored))
        rules.submit(wish("a"), wish("b", "a"))
        assert rules.steps() == [(item.id, Step.CANCEL) for item in stored]

    def test_a_new_owner_may_come_after_the_former_one_s_place(self) -> None:
        """A job as it stands in its file, proposed again with the one that takes its upstream job's place."""
        stored = Stored(id=id_of("b"), status=Status.PENDING, after=(id_of("a", "Old"),))
        rules = Rules()
        rules.do(Recovered({id_of("a", "Old"): Status.DONE, stored.id: Status.PENDING}, [stored]))
        again = Proposal(id=stored.id, task="", params={}, fingerprint="", after=stored.after, outputs=("b",))
        rules.submit(wish("a"), again)
        assert rules.engine.ledger[stored.id].after == (id_of("a"),)

    def test_one_that_was_superseded_in_this_run_may_be_found_again_once_the_other_is_cancelled(self) -> None:
        rules = Rules({"a": Status.DONE})
        rules.submit(wish("a", name="New"))
        rules.do(Cancelled((id_of("a", "New"),)))
        rules.submit(wish("a"))
        assert rules.steps() == [(id_of("a"), Step.RETRY)]


class TestCycles:
    """Nobody comes to wait for itself."""

    def test_within_a_batch(self) -> None:
        said = Rules().refuses(CycleFound, wish("a", "c"), wish("b", "a"), wish("c", "b"))
        assert "tasks that wait for each other" in said

    def test_a_producer_that_turns_up_and_waits_for_its_reader(self) -> None:
        rules = Rules()
        rules.submit(wish("a", reads=("b",)))
        with pytest.raises(CycleFound) as caught:
            rules.submit(wish("b", "a"))
        assert set(caught.value.cycle) == {id_of("a"), id_of("b")}

    def test_through_jobs_outside_of_the_batch(self) -> None:
        rules = Rules()
        rules.submit(wish("a"), wish("b", "a"), wish("c", "b"))
        rules.refuses(CycleFound, wish("new", "c"), wish("a", "new"))

    @pytest.mark.parametrize("status", [Status.FAILED, Status.DONE])
    def test_through_a_job_that_is_opened_again(self, status: Status) -> None:
        """It was settled when the other came to wait for it."""
        blocked = Stored(id=id_of("b"), status=Status.BLOCKED, after=(id_of("a"), id_of("bad")))
        known = {id_of("a"): status, id_of("bad"): Status.FAILED, id_of("b"): Status.BLOCKED}
        rules = Rules()
        rules.do(Recovered(known, [blocked]))
        rules.refuses(CycleFound, wish("a", "b"))

    def test_through_a_job_that_is_done_and_was_proposed(self) -> None:
        """Else each would make the other due, for ever."""
        rules = Rules()
        rules.submit(wish("a"))
        rules.do(Slots(1))
        rules.run("a")
        rules.submit(wish("b", "a"))
        rules.refuses(CycleFound, wish("a", "b"), by_name=True)

    def test_through_a_job_that_runs(self) -> None:
        rules = Rules()
        rules.submit(wish("a"), wish("b", "a"))
        rules.do(Slots(1))
        rules.refuses(CycleFound, wish("a", "b"))

    def test_an_order_that_was_turned_round_since_the_last_run_is_none(self) -> None:
        stored = [
            Stored(id=id_of("a"), status=Status.PENDING),
            Stored(id=id_of("b"), status=Status.PENDING, after=(id_of("a"),)),
        ]
        rules = Rules()
        rules.do(Recovered({item.id: item.status for item in stored}, stored))
        rules.submit(wish("b"), wish("a", "b"))
        assert len(rules.out) == 2

    def test_the_new_owner_must_not_wait_for_who_waits_for_the_former_one(self) -> None:
        stored = Stored(id=id_of("b"), status=Status.PENDING, after=(id_of("a", "Old"),))
        rules = Rules()
        rules.do(Recovered({id_of("a", "Old"): Status.DONE, stored.id: Status.PENDING}, [stored]))
        rules.refuses(CycleFound, wish("a", "b"))


class TestGrowth:
    """Nothing grows for ever."""

    def test_too_deep(self) -> None:
        rules = Rules()
        rules.submit(wish("a", depth=policy.MAX_DEPTH, found_by="Finder-1"))
        said = rules.refuses(GrowthLimit, wish("b", depth=policy.MAX_DEPTH + 1, found_by=id_of("a")))
        assert f"{id_of('b')} <- {id_of('a')} <- Finder-1" in said

    def test_the_shortest_way_to_a_job_counts(self) -> None:
        """Pages that link to each other find each other again and again, ever deeper."""
        rules = Rules()
        rules.submit(wish("a", depth=1, found_by="Finder-1"))
        rules.submit(wish("a", depth=policy.MAX_DEPTH + 1, found_by="Finder-2"))
        assert rules.out == [Rewish(wish("a", depth=1, found_by="Finder-1"), (), Status.PENDING)], "the first stays"
        rules.submit(wish("a", depth=0, found_by="Finder-3"))
        assert rules.engine.ledger[id_of("a")].depth == 0

    def test_the_way_of_an_earlier_run_does_not_count(self) -> None:
        stored = Stored(id=id_of("a"), status=Status.PENDING, depth=3)
        rules = Rules()
        rules.do(Recovered({stored.id: stored.status}, [stored]))
        rules.submit(wish("a", depth=7, found_by="Finder-1"))
        assert rules.engine.ledger[id_of("a")].depth == 7

    def test_too_many_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(policy, "MAX_CHILDREN", 2)
        rules = Rules()
        rules.submit(wish("a"), wish("b"))
        assert "3 jobs at once" in rules.refuses(GrowthLimit, wish("c"), wish("d"), wish("e"))

    def test_too_many_in_a_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(policy, "MAX_JOBS", 2)
        rules = Rules()
        rules.submit(wish("a"))
        rules.refuses(GrowthLimit, wish("b"), wish("c"))
        rules.submit(wish("b"))
        assert "this run has admitted 2 jobs" in rules.refuses(GrowthLimit, wish("c"))
