"""The vocabulary: the one table of transitions, and what crosses the wire."""

from __future__ import annotations

import msgspec
import pytest

from runner.core.events import Asked, Failed, Finished, Lacked
from runner.core.model import (
    FLOW_ORDER,
    HOPELESS,
    TRANSITIONS,
    UNFINISHED,
    Limit,
    Need,
    Proposal,
    Status,
    Step,
    transition,
)
from runner.errors import IllegalTransition


def reachable(start: Status) -> set[Status]:
    found = {start}
    while more := {target for (source, _), target in TRANSITIONS.items() if source in found} - found:
        found |= more
    return found


def test_every_status_but_quarantine_is_reached_from_pending_and_leads_back_to_it() -> None:
    moved = set(Status) - {Status.QUARANTINE}
    assert reachable(Status.PENDING) == moved
    assert all(Status.PENDING in reachable(status) for status in moved)


def test_nothing_moves_what_lies_in_quarantine() -> None:
    assert not any(Status.QUARANTINE in (source, target) for (source, _), target in TRANSITIONS.items())


def test_a_job_is_done_only_by_finishing_and_runs_only_by_being_claimed() -> None:
    ways = {
        target: {key for key, to in TRANSITIONS.items() if to is target} for target in (Status.DONE, Status.RUNNING)
    }
    assert ways[Status.DONE] == {(Status.RUNNING, Step.FINISH)}
    assert ways[Status.RUNNING] == {(Status.PENDING, Step.CLAIM)}


def test_every_transition_changes_the_status() -> None:
    assert all(source is not target for (source, _), target in TRANSITIONS.items())


def test_anything_but_what_is_in_quarantine_can_be_cancelled_once() -> None:
    can = {source for source, step in TRANSITIONS if step is Step.CANCEL}
    assert can == set(Status) - {Status.QUARANTINE, Status.CANCELLED}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("step", Step)
def test_a_step_that_is_not_in_the_table_is_an_error_that_names_the_job(status: Status, step: Step) -> None:
    if (status, step) in TRANSITIONS:
        assert transition("Job-1", status, step) is TRANSITIONS[status, step]
        return
    with pytest.raises(IllegalTransition, match=f"^Job-1: a {status} job cannot {step}$"):
        transition("Job-1", status, step)


def test_a_scan_reads_every_folder_and_forward_moves_run_with_it() -> None:
    assert sorted(FLOW_ORDER) == sorted(Status)
    forward = (Step.CLAIM, Step.FINISH, Step.FAIL, Step.BLOCK, Step.CANCEL)
    for (source, step), target in TRANSITIONS.items():
        if step in forward:
            assert FLOW_ORDER.index(source) < FLOW_ORDER.index(target)


def test_what_is_unfinished_and_what_is_hopeless() -> None:
    assert set(Status) - {Status.DONE} == UNFINISHED | HOPELESS
    assert {Status.BLOCKED} == UNFINISHED & HOPELESS


@pytest.mark.parametrize(
    "event",
    [
        Finished(id="Job-1", record="r", deliver=((".a", "a"),), trash=("b",), children=None),
        Finished(id="Job-1", record="r", children=[]),
        Failed(id="Job-1", record="r", retry_in=12.5),
        Lacked("Job-1", ("a", "b")),
        Asked(
            id="Job-1",
            children=[
                Proposal(
                    id="Job-2",
                    task="m:C",
                    params={"n": 1},
                    fingerprint="f",
                    after=("Job-3",),
                    inputs=(Need("a", True),),
                    outputs=("o",),
                    limits={"k": Limit(2, 0.5)},
                    found_by="Job-1",
                    depth=3,
                    staged="tmp",
                )
            ],
        ),
    ],
)
def test_what_a_worker_answers_comes_over_the_wire_as_it_is(event: Finished | Failed | Lacked | Asked) -> None:
    wire = msgspec.json.encode(event)
    assert msgspec.json.decode(wire, type=Finished | Failed | Lacked | Asked) == event
