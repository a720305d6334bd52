"""What the engine knows of every job."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.core.ledger import Ledger, Node, Phase, Several, output_hash
from runner.core.model import HOPELESS, Proposal, Status, Stored


def job(name: str, path: str) -> str:
    return f"{name}-{output_hash(path)}"


def node(id: str, *after: str, outputs: tuple[str, ...] = (), status: Status = Status.PENDING) -> Node:
    return Node(Stored(id=id, status=status, outputs=outputs), status, after)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"))))
def test_several_names_are_kept_for_each_in_their_order(added: list[tuple[str, str]]) -> None:
    several = Several()
    for name, other in added:
        several.add(name, other)
    for name in "abc":
        expected = [other for one, other in added if one == name]
        assert list(several.get(name)) == expected
        assert list(several.pop(name)) == expected
        assert list(several.get(name)) == []


def test_a_job_that_nothing_touched_is_a_status_and_no_more() -> None:
    ledger = Ledger()
    ledger.load({"Job-1": Status.DONE}, {}, ())
    assert ledger.status("Job-1") is Status.DONE
    assert ledger.node("Job-1") is None
    assert not ledger.is_open("Job-1")
    assert list(ledger.nodes()) == []
    with pytest.raises(KeyError):
        ledger["Job-1"]
    assert ledger.status("Job-2") is None


def test_a_node_is_open_until_it_is_settled() -> None:
    ledger = Ledger()
    one = node("Job-1")
    ledger.add(one)
    for phase in Phase:
        one.phase = phase
        assert ledger.is_open("Job-1") is (phase is not Phase.SETTLED)


def test_what_was_forgotten_is_nowhere() -> None:
    ledger = Ledger()
    ledger.add(node("Job-1", "Job-2"))
    ledger.forget("Job-1")
    ledger.forget("Job-1")
    assert ledger.status("Job-1") is None
    assert list(ledger.readers("Job-2")) == []


@pytest.mark.parametrize("status", [*Status, None])
def test_who_is_hopeless(status: Status | None) -> None:
    ledger = Ledger()
    ledger.load({"Job-1": Status.DONE, **({"Job-2": status} if status else {})}, {}, ())
    reader = node("Job-3", "Job-1", "Job-2")
    for _ in range(2):  # the second time it begins with the one that it found
        assert ledger.hopeless(reader) == ("Job-2" if status is None or status in HOPELESS else None)


def test_the_hopeless_are_looked_for_where_the_last_one_was() -> None:
    ledger = Ledger()
    ledger.load(dict.fromkeys(("Job-1", "Job-3"), Status.FAILED) | {"Job-2": Status.DONE}, {}, ())
    reader = node("Job-4", "Job-1", "Job-2", "Job-3")
    assert ledger.hopeless(reader) == "Job-1"
    ledger.load({"Job-1": Status.DONE}, {}, ())
    assert ledger.hopeless(reader) == "Job-3"
    ledger.load({"Job-1": Status.FAILED, "Job-3": Status.DONE}, {}, ())
    assert ledger.hopeless(reader) == "Job-1", "once round"
    ledger.come_after(reader, ("Job-2",))
    assert ledger.hopeless(reader) is None


def test_who_comes_after_a_job_is_known_before_and_after_it_is_there() -> None:
    ledger = Ledger()
    ledger.add(node("Job-1", "Job-0"))
    ledger.add(node("Job-2", "Job-0", "Job-1"))
    assert [reader.id for reader in ledger.readers("Job-0")] == ["Job-1", "Job-2"]
    ledger.come_after(ledger["Job-1"], ("Job-0", "Job-3"))
    assert [reader.id for reader in ledger.readers("Job-3")] == ["Job-1"]
    assert ledger["Job-1"].after == ("Job-0", "Job-3")
    ledger.add(node("Job-2", "Job-0", "Job-3"))
    assert [reader.id for reader in ledger.readers("Job-0")] == ["Job-1", "Job-2"], "none of them twice"
    assert [reader.id for reader in ledger.readers("Job-3")] == ["Job-1", "Job-2"]


class TestOwners:
    """Whose output a path is."""

    def test_names_tell_who_owns_a_first_output(self) -> None:
        ledger = Ledger()
        ledger.load({job("Fetch", "a"): Status.DONE, job("Parse", "b"): Status.FAILED}, {}, ())
        assert ledger.owners("a") == [job("Fetch", "a")]
        assert ledger.owners("b") == [job("Parse", "b")]
        assert ledger.owners("c") == []

    def test_classes_that_made_the_same_are_told_in_one_order(self) -> None:
        ledger = Ledger()
        names = [f"Class{n}" for n in range(20)]
        ledger.load({job(name, "a"): Status.DONE for name in names}, {}, ())
        assert ledger.owners("a") == [job(name, "a") for name in names]

    def test_an_owner_is_told_once_however_it_is_known(self) -> None:
        ledger = Ledger()
        ledger.load({job("Fetch", "a"): Status.DONE}, dict.fromkeys(("a", "about"), job("Fetch", "a")), ())
        assert ledger.owners("a") == [job("Fetch", "a")]
        assert ledger.owners("about") == [job("Fetch", "a")]

    def test_a_job_owns_its_second_output_as_long_as_it_names_it(self) -> None:
        ledger = Ledger()
        ledger.load({job("Fetch", "a"): Status.DONE}, {"about": job("Fetch", "a")}, ())
        ledger.add(node(job("Fetch", "a"), outputs=("a", "more")))
        assert ledger.owners("about") == []
        assert ledger.owners("more") == [job("Fetch", "a")]
        ledger.own(ledger[job("Fetch", "a")], ("about",))
        assert ledger.owners("about") == [job("Fetch", "a")]
        assert ledger.owners("more") == []

    def test_the_owner_of_a_job_file_that_left_owns_nothing(self) -> None:
        ledger = Ledger()
        ledger.add(node(job("Fetch", "a"), outputs=("a", "about")))
        ledger.forget(job("Fetch", "a"))
        assert ledger.owners("a") == ledger.owners("about") == []

    @pytest.mark.parametrize("dead", [Status.CANCELLED, Status.QUARANTINE])
    def test_who_makes_a_path_is_an_owner_that_can_before_one_that_cannot(self, dead: Status) -> None:
        ledger = Ledger()
        ledger.load({job("Old", "a"): dead, job("New", "a"): Status.FAILED, job("Older", "a"): dead}, {}, ())
        assert ledger.maker("a") == job("New", "a")
        ledger.forget(job("New", "a"))
        assert ledger.maker("a") in (job("Old", "a"), job("Older", "a"))
        assert ledger.maker("b") is None

    def test_a_path_that_is_no_unicode_has_an_owner_too(self) -> None:
        ledger = Ledger()
        ledger.load({job("Fetch", "\udcff"): Status.DONE}, {}, ())
        assert ledger.maker("\udcff") == job("Fetch", "\udcff")


def test_a_proposal_knows_its_finder_and_a_stored_job_does_not() -> None:
    proposal = Proposal(id="Job-1", task="t", params={}, fingerprint="f", found_by="Job-0", depth=3)
    assert Node(proposal, Status.PENDING, ()).found_by == "Job-0"
    assert node("Job-1").found_by is None
