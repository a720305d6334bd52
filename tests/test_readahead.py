"""Done jobs that workers look at ahead of time: what is asked of whom, and when what they saw no longer holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.core.events import Continued, Invalidated, Judged, WorkerLost
from runner.core.ledger import Ledger, Node
from runner.core.model import Status, Stored
from runner.readahead import ReadAhead
from runner.store import codec
from runner.store.codec import Brief, JobFile
from runner.workers.port import Looked, Sight
from tests.rig import Rig, id_of, made
from tests.workers.support import write
from tests.workers.tasks import Copied, Noop, Write

pytestmark = pytest.mark.usefixtures("project")


def sight(job: Brief) -> Looked:
    return Looked([Sight(job, Judged(id=job.id, reason=None))])


class Shelf:
    """As much of a Store as is needed."""

    def __init__(self) -> None:
        self.kept: list[Brief] = []

    def keep(self, job: Brief) -> None:
        self.kept.append(job)


class Yard:
    """A ledger with a reader of what another makes, and what was seen of the reader before it entered."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.ledger.load({"Maker-" + "0" * 16: Status.DONE, "Reader-" + "1" * 16: Status.DONE}, {}, ())
        self.shelf: Any = Shelf()
        self.ahead = ReadAhead(self.shelf, self.ledger)
        self.job = Brief(id="Reader-" + "1" * 16, task="jobs:Reader", params={})

    def enters(self, name: str, status: Status = Status.DONE, *after: str) -> Node:
        (id,) = (id for id in ("Maker-" + "0" * 16, "Reader-" + "1" * 16) if id.startswith(name))
        node = Node(Stored(id=id, status=status), status, after)
        self.ledger.add(node)
        return node


def test_what_was_seen_ahead_is_used_once() -> None:
    yard = Yard()
    assert yard.ahead.take([sight(yard.job)]) == []
    assert yard.shelf.kept == [yard.job]
    yard.enters("Reader")
    assert yard.ahead.judged(yard.job) == Judged(id=yard.job.id, reason=None)
    assert yard.ahead.judged(yard.job) is None


def test_it_is_not_used_of_a_file_that_was_read_anew() -> None:
    yard = Yard()
    yard.ahead.take([sight(yard.job)])
    anew = Brief(id=yard.job.id, task=yard.job.task, params={})
    assert yard.ahead.judged(anew) is None


def test_what_comes_when_the_job_has_entered_is_left_alone() -> None:
    """Its file may have been changed since the worker read it."""
    yard = Yard()
    yard.enters("Reader")
    yard.ahead.take([sight(yard.job)])
    assert yard.shelf.kept == []
    assert yard.ahead.judged(yard.job) is None


@pytest.mark.parametrize(
    ("status", "change", "holds"),
    [
        (Status.DONE, "", True),
        (Status.DONE, "changed", False),
        (Status.DONE, "unchanged", False),
        (Status.FAILED, "", False),  # its outputs may have been put into place before that
        (Status.CANCELLED, "", False),
    ],
)
def test_it_holds_as_long_as_none_that_the_job_comes_after_has_run(status: Status, change: str, holds: bool) -> None:
    yard = Yard()
    yard.ahead.take([sight(yard.job)])
    maker = yard.enters("Maker", status)
    maker.change = change
    yard.enters("Reader", Status.DONE, maker.id)
    assert (yard.ahead.judged(yard.job) is not None) is holds


def test_other_outcomes_come_back_in_their_order() -> None:
    yard = Yard()
    lost = [WorkerLost(begun=(), waiting=(), outcome="died", message=str(number)) for number in range(2)]
    assert yard.ahead.take([lost[0], sight(yard.job), lost[1]]) == lost


def test_what_is_never_asked_for_is_forgotten_at_last() -> None:
    yard = Yard()
    yard.ahead.ahead = 3
    for number in range(10):
        yard.ahead.take([sight(Brief(id=f"Job-{number:016x}", task="jobs:Job", params={}))])
    assert len(yard.ahead._judged) <= 4


# ------------------------------------------------------------------------------------------------------- whom it asks


class Asked:
    """An Executor that notes what it is to look at, as long as it has `idle` workers."""

    def __init__(self, idle: int) -> None:
        self.idle = idle
        self.ids: list[tuple[str, ...]] = []

    def look(self, ids: Sequence[str]) -> bool:
        self.idle -= 1
        if self.idle >= 0:
            self.ids.append(tuple(ids))
        return self.idle >= 0


def entering(tasks: Sequence[Any], part: int = 2) -> Rig:
    """A rig with a batch under way, of which `part` jobs have entered."""
    rig = Rig(part=part)
    rig.recover()
    rig.submit(tasks)
    rig.rounds.ahead.least = 0
    return rig


def test_those_that_come_next_are_left_out_and_no_more_is_asked_than_somebody_can_do() -> None:
    writes = [Write(Path(f"{number}.txt")) for number in range(12)]
    rig = Rig()
    rig.work(writes)
    rig.store.close()
    rig = entering(writes)
    ahead, ids = rig.rounds.ahead, [id_of(write) for write in writes]
    ahead.chunk, ahead.lead, ahead.ahead = 3, 2, 8
    asked: Any = Asked(idle=1)
    ahead.send(rig.engine, asked)
    assert asked.ids == [tuple(ids[4:7])], "2 have entered, 2 are left out"
    asked.idle = 9
    ahead.send(rig.engine, asked)
    assert asked.ids == [tuple(ids[4:7]), tuple(ids[7:10])], "8 of the jobs to come, and no more"
    rig.engine.handle(Continued(4), 0.0)
    ahead.entered(4)
    ahead.send(rig.engine, asked)
    assert asked.ids[2:] == [tuple(ids[10:12])]


def test_only_those_that_were_done_before_are_looked_at() -> None:
    known = [Write(Path(f"{number}.txt")) for number in range(0, 12, 2)]
    rig = Rig()
    rig.work(known)
    rig.store.close()
    rig = entering([Write(Path(f"{number}.txt")) for number in range(12)])
    rig.rounds.ahead.lead = 0
    asked: Any = Asked(idle=9)
    rig.rounds.ahead.send(rig.engine, asked)
    assert [id for ids in asked.ids for id in ids] == [id_of(write) for write in known[1:]]


def test_of_a_small_batch_nobody_looks_at_anything() -> None:
    writes = [Write(Path(f"{number}.txt")) for number in range(12)]
    rig = Rig()
    rig.work(writes)
    rig.store.close()
    rig = entering(writes)
    ahead = rig.rounds.ahead
    ahead.least, ahead.lead, ahead.chunk = 10, 0, 4
    asked: Any = Asked(idle=1)
    ahead.send(rig.engine, asked)
    assert asked.ids == [], "10 are to come"
    ahead.least = 9
    ahead.send(rig.engine, asked)
    assert len(asked.ids) == 1
    rig.engine.handle(Continued(4), 0.0)
    ahead.entered(4)
    asked.idle = 9
    ahead.send(rig.engine, asked)
    assert len(asked.ids) == 3, "once a batch was large, it is to its end"


# ---------------------------------------------------------------------------------------------------- in a whole run


def used(rig: Rig) -> list[str]:
    """Notes whose judgement is taken over."""
    judged, ids = rig.rounds.ahead.judged, []

    def noted(job: Brief) -> Judged | None:
        found = judged(job)
        if found is not None:
            ids.append(job.id)
        return found

    rig.rounds.ahead.judged = noted  # type: ignore[method-assign]
    return ids


def test_a_run_reads_no_file_that_was_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = [Write(Path(f"{number}.txt")) for number in range(20)]
    rig = Rig()
    rig.work(writes)
    rig.store.close()
    rig = Rig(run="20261123T020000Z", part=1, ahead=True)
    ids = used(rig)
    read: list[str] = []
    load = rig.store.shelf.load_name
    monkeypatch.setattr(rig.store.shelf, "load_name", lambda folder, name: read.append(name) or load(folder, name))
    rig.recover()
    read.clear()
    rig.submit(writes)
    assert rig.loop.run()
    assert len(ids) > 10
    assert not set(read) & {f"{id}.json" for id in ids}
    assert rig.moves == []


def test_an_output_that_is_gone_is_seen_ahead_too() -> None:
    writes = [Write(Path(f"{number}.txt")) for number in range(20)]
    rig = Rig()
    rig.work(writes)
    rig.store.close()
    Path("19.txt").unlink()
    rig = Rig(run="20261123T020000Z", part=1, ahead=True)
    ids = used(rig)
    assert rig.work(writes)
    assert id_of(writes[19]) in ids
    assert [reply.event.id for reply in rig.replies] == [id_of(writes[19])]
    assert Path("19.txt").read_text() == "text\n"


def test_a_reader_that_was_up_to_date_when_it_was_looked_at_runs_when_its_input_is_made_anew() -> None:
    Path("in.txt").write_text("one")
    batch = [Copied(Path("in.txt"), Path("a.txt")), *(Noop(number) for number in range(9))]
    batch += [Copied(Path("a.txt"), Path("b.txt"))]
    rig = Rig()
    rig.work(batch)
    rig.store.close()
    Path("in.txt").write_text("two")
    rig = Rig(run="20261123T020000Z", part=1, ahead=True)
    ids = used(rig)
    assert rig.work(batch)
    assert Path("b.txt").read_text() == "two"
    assert ids
    assert id_of(batch[-1]) not in ids


def test_invalidated_between_the_look_and_its_turn() -> None:
    """The mark is in a file that was read before."""
    batch = [Write(Path(f"{number}.txt")) for number in range(20)]
    rig = Rig()
    rig.work(batch)
    rig.store.close()
    rig = Rig(run="20261123T020000Z", part=1, ahead=True)
    rig.recover()
    rig.submit(batch)
    ahead, last = rig.rounds.ahead, id_of(batch[-1])
    ahead.send(rig.engine, rig.executor)
    for _ in range(2):
        assert ahead.take(rig.executor.wait(0)) == []
    assert rig.store.shelf.kept(last) is not None
    rig.loop.do(Invalidated((last,)))
    assert rig.store.shelf.kept(last) is None
    assert rig.loop.run()
    assert [reply.event.id for reply in rig.replies] == [last]


def test_another_wish_is_judged_anew() -> None:
    """The worker judged the wish that the file holds."""
    rig = Rig()
    rig.work([Write(Path(f"{number}.txt")) for number in range(20)])
    rig.store.close()
    rig = Rig(run="20261123T020000Z", part=1, ahead=True)
    ids = used(rig)
    batch = [Write(Path(f"{number}.txt"), text="other\n" if number == 19 else "text\n") for number in range(20)]
    assert rig.work(batch)
    assert ids
    assert id_of(batch[19]) not in ids
    assert Path("19.txt").read_text() == "other\n"


def test_a_job_that_was_damaged_is_told_of_by_whoever_reads_it() -> None:
    job: JobFile = made(Write(Path("a.txt")), write())
    Path("state/done", f"{job.id}.json").write_bytes(codec.encode(job)[:-20])
    rig = Rig(run="20261123T020000Z", part=1, ahead=True)
    assert rig.work([*(Noop(number) for number in range(9)), Write(Path("a.txt"))])
    assert rig.counts() == {"done": 10}
    assert [path.name for path in Path("state/quarantine").glob("*.json")] == [f"{job.id}.json"]
