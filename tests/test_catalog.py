"""What job files mean by their classes: unfinished jobs for the rule book, and known ones proposed again."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.catalog import Catalog
from runner.core.model import Limit, Status
from runner.errors import TargetError
from runner.store import codec
from tests.rig import made
from tests.workers.tasks import Act, Rated, Write

DAY = 24 * 3600.0


pytestmark = pytest.mark.usefixtures("project")


@pytest.fixture
def catalog(project: Path) -> Catalog:
    return Catalog(["tests"], project)


# ----------------------------------------------------------------------------------------------------- the classes


def test_a_class_is_looked_up_once_and_so_is_its_absence(catalog: Catalog, project: Path) -> None:
    assert catalog.kind("tests.workers.tasks:Noop") is catalog.kind("tests.workers.tasks:Noop")
    for name, error in (
        ("tests.workers.tasks:Gone", TargetError),
        ("tests.no.such:Task", TargetError),
        ("os.path:join", TargetError),
    ):
        for _ in range(2):
            with pytest.raises(error):
                catalog.kind(name)


def test_a_time_out_is_told_and_none_for_a_class_that_cannot_be_had(catalog: Catalog) -> None:
    assert catalog.timeout("tests.workers.tasks:Limited") == 0.3
    assert catalog.timeout("tests.workers.tasks:Noop") is None
    assert catalog.timeout("tests.workers.tasks:Gone") is None


def test_outputs_are_those_of_the_class_or_else_of_the_record(catalog: Catalog) -> None:
    job = made(Act("it", output="a.txt", more=["b.txt", "c.txt"]), lambda task: write_all(task))
    assert catalog.outputs(job) == ("a.txt", "b.txt", "c.txt")
    gone = replace(job, task="tests.workers.tasks:Gone")
    assert catalog.outputs(gone) == ("a.txt", "b.txt", "c.txt")
    assert catalog.outputs(replace(gone, result=None)) == ()
    assert catalog.outputs(replace(job, params={"name": "it", "more": 3}, result=None)) == ()


def write_all(task: Act) -> None:
    for path in (*filter(None, [task.output]), *task.more):
        path.write_text("text")


# -------------------------------------------------------------------------------------------------- unfinished jobs


def test_an_unfinished_job_is_told_with_what_its_class_says(catalog: Catalog) -> None:
    job = replace(codec.JobFile(id="x-0123456789abcdef", task="", params={}), task="tests.workers.tasks:Rated")
    job = replace(job, params={"name": "it", "output": "a.txt", "more": ["b.txt"]}, not_before="2026-11-22T02:00:00Z")
    stored = catalog.stored(job, Status.PENDING, False)
    assert (stored.outputs, stored.limits) == (("a.txt", "b.txt"), {"key": Limit(None, 3.0)})
    assert stored.delay == 0.0
    assert (stored.spent, stored.problem, stored.all_done) == (False, None, False)
    gather = replace(job, task="tests.workers.tasks:Gather", params={"many": [], "output": "o.txt"})
    assert catalog.stored(gather, Status.PENDING, False).all_done


def test_retries_are_counted_since_they_last_began_and_only_where_they_were_charged(catalog: Catalog) -> None:
    outcomes = ["failed", "failed", "failed", "done", "failed", "interrupted", "later", "died"]
    job = codec.JobFile(
        id="Noop-0123456789abcdef",
        task="tests.workers.tasks:Noop",
        params={"number": 1},
        attempts=[{"outcome": outcome} for outcome in outcomes],
        retries_from=4,
    )
    assert not catalog.stored(job, Status.PENDING, False).spent
    once_more = replace(job, attempts=[*job.attempts, {"outcome": "timeout"}])
    assert catalog.stored(once_more, Status.PENDING, False).spent


def test_a_job_that_can_never_run_has_its_problem_with_it(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    job = codec.JobFile(id="Rated-0123456789abcdef", task="tests.workers.tasks:Rated", params={"name": "it"})
    for changes, told in (
        ({"task": "tests.workers.tasks:Gone"}, "has no Gone"),
        ({"params": {"name": 3}}, "name"),
        ({"params": {}}, "has no value"),
    ):
        problem = catalog.stored(replace(job, **changes), Status.PENDING, False).problem
        assert problem is not None
        assert told in problem.message
        assert problem.outcome == "failed"
    monkeypatch.setattr(Rated, "limits", lambda self: 1 / 0)
    problem = catalog.stored(job, Status.PENDING, False).problem
    assert problem is not None
    assert "limits() of tests.workers.tasks:Rated raised ZeroDivisionError" in problem.message
    assert catalog.stored(job, Status.RUNNING, True).problem is None, "it is finished: nobody has to run it"


def test_a_known_job_is_proposed_as_it_stands(catalog: Catalog) -> None:
    job = made(Write("a.txt"))
    job = replace(job, after=("Noop-0123456789abcdef",), found_by="Finder-0123456789abcdef", depth=3, submitted=True)
    proposal = catalog.proposal(job, Status.DONE)
    assert (proposal.id, proposal.params, proposal.outputs) == (job.id, job.params, ("a.txt",))
    assert (proposal.after, proposal.found_by, proposal.depth, proposal.submitted) == (
        job.after,
        job.found_by,
        3,
        True,
    )
    with pytest.raises(TargetError):
        catalog.proposal(replace(job, task="tests.workers.tasks:Gone"), Status.DONE)


# --------------------------------------------------------------------------------------------------- up to date, or due


@pytest.mark.parametrize("output", [5, True, [1, 2], [None], [["a.txt"]]])
def test_what_is_no_path_fails_its_job_and_no_other(catalog: Catalog, output: object) -> None:
    job = codec.JobFile(id="Write-0123456789abcdef", task="tests.workers.tasks:Write", params={"output": output})
    problem = catalog.stored(job, Status.PENDING, False).problem
    assert problem is not None
    assert "expected a path" in problem.message
    reads = codec.JobFile(id="Act-0123456789abcdef", task="tests.workers.tasks:Act", params={"source": output})
    problem = catalog.stored(reads, Status.PENDING, False).problem
    assert problem is not None
    assert "expected a path" in problem.message
