"""What an earlier runner left is taken over in parts, and roots are named again in parts, while workers are busy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec.structs import replace

from runner.batch import propose
from runner.core.events import Submitted
from runner.errors import CycleFound
from runner.store import codec
from runner.store.codec import JobFile
from runner.task import Task
from tests.rig import RUN, Rig, id_of, made
from tests.workers import tasks
from tests.workers.tasks import Act, Finder, Gather, Hasty, Noop, Once, Read, Sleep, Write

MANY = 300  # jobs: a few parts


def files_of(tasks: Iterable[Task]) -> list[JobFile]:
    return [codec.new_file(proposal, proposal.after) for proposal in propose(tasks, root=Path.cwd())]


def left(*tasks: Task, rig: Rig | None = None) -> Rig:
    """A runner that comes upon these in pending/, as a killed one left them."""
    rig = rig or Rig(part=4)
    for job in files_of(tasks):
        rig.put("pending", job)
    rig.recover()
    return rig


def test_the_first_jobs_start_before_the_others_are_looked_into(project: Path) -> None:
    rig = left(*map(Noop, range(MANY)))
    to_come: list[int] = []
    rig.executor.before_start = lambda order: to_come.append(rig.engine.left)
    assert rig.engine.left == MANY
    assert rig.loop.run()
    assert to_come[0] > MANY / 2
    assert rig.counts() == {"done": MANY}
    assert rig.engine.census.tally() == {"done": MANY}


def test_no_more_than_enough_is_taken_over_while_all_workers_are_busy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.loop.ENOUGH", 10)
    rig = left(*map(Noop, range(MANY)), rig=Rig(part=4, places=1))
    most = 0

    def look() -> None:
        nonlocal most
        most = max(most, rig.engine.claimable)

    rig.executor.while_waiting = look
    assert rig.loop.run()
    assert 10 <= most < 20


def test_who_waits_for_one_that_nobody_has_looked_into_waits(project: Path) -> None:
    class_first = Sleep(1, 0.0, Path("first.txt"))  # of the same priority, and any of them may be taken over first
    readers = [Read(Path("first.txt"), Path(f"{number}.txt")) for number in range(20)]
    rig = left(class_first, *readers, rig=Rig(part=1))
    order: list[str] = []
    rig.executor.before_start = lambda each: order.append(each.id)
    assert rig.loop.run()
    assert order[0] == id_of(class_first)
    assert rig.counts() == {"done": 21}


@dataclass
class Urgent(Task):
    number: int
    priority = 5

    def run(self) -> None:
        pass


def test_higher_priorities_are_taken_over_first(project: Path) -> None:
    rig = left(*map(Noop, range(50)), Urgent(1), rig=Rig(part=1, places=1))
    order: list[str] = []
    rig.executor.before_start = lambda each: order.append(each.id)
    assert rig.loop.run()
    assert order[0] == id_of(Urgent(1))


@pytest.mark.parametrize(
    "task",
    [
        Act("two files", Path("one.txt"), [Path("other.txt")]),
        Read(Path("nobody.txt"), Path("out.txt")),
        Gather([Path("nobody.txt")], Path("out.txt")),
    ],
    ids=["several outputs", "an input that nobody makes", "a list of them"],
)
def test_what_its_name_does_not_tell_is_known_at_once(project: Path, task: Task) -> None:
    rig = left(task, *map(Noop, range(3)))
    assert rig.engine.left == 3
    assert rig.engine.ledger.node(id_of(task)) is not None


def test_so_is_what_has_to_wait_or_is_not_tried_again(project: Path) -> None:
    rig = Rig()
    note = {"run": RUN, "started": codec.stamp(0.0), "seconds": 0.1, "outcome": "failed"}
    (late,) = files_of([Hasty("late")])
    rig.put("pending", codec.with_attempt(late, note, now=4e9, retry_in=60.0))
    (spent,) = files_of([Once("spent")])
    rig.put("pending", codec.with_attempt(spent, note))
    (again,) = files_of([Noop(2)])
    rig.put("pending", codec.with_attempt(again, note))
    (gone,) = files_of([Noop(1)])
    rig.put("pending", replace(gone, task="tests.workers.tasks:Nowhere"))
    rig.recover()
    assert rig.engine.left == 1
    assert rig.engine.ledger.node(again.id) is None
    assert rig.job(spent.id)[0] == "failed"
    assert rig.job(gone.id)[0] == "failed"
    assert rig.engine.next_time() is not None


def test_a_damaged_file_is_put_aside_when_its_turn_comes(project: Path) -> None:
    rig = Rig(part=1)
    good, bad = files_of([Noop(1), Noop(2)])
    rig.put("pending", good)
    text = codec.encode(bad).replace(b'"submitted": false', b'"submitted": "perhaps"')
    Path(rig.store.path, "pending", f"{bad.id}.json").write_bytes(text)
    rig.recover()
    assert rig.engine.left == 2, "a glance does not tell"
    assert rig.loop.run()
    assert rig.counts() == {"done": 1, "quarantine": 1}
    assert rig.backlog.damaged == 1
    assert "submitted" in Path(rig.store.path, "quarantine", f"{bad.id}.json.reason.txt").read_text()


def test_one_that_a_person_took_away_is_missed_by_nobody(project: Path) -> None:
    rig = left(Noop(1), Noop(2))
    Path(rig.store.path, "pending", f"{id_of(Noop(1))}.json").unlink()
    assert rig.loop.run()
    assert rig.counts() == {"done": 1}


def test_one_that_is_proposed_meanwhile_is_not_taken_over(project: Path) -> None:
    rig = left(*map(Noop, range(8)))
    rig.submit(map(Noop, range(8)))
    assert rig.engine.left == 0
    assert rig.loop.run()
    assert rig.counts() == {"done": 8}
    assert len(rig.replies) == 8


def test_what_is_left_when_the_run_is_stopped_stays_and_is_counted(project: Path) -> None:
    rig = left(*map(Noop, range(MANY)), rig=Rig(part=4, places=1))
    rig.executor.while_waiting = lambda: rig.loop.stop("test") if len(rig.replies) >= 5 else None
    assert not rig.loop.run()
    done = rig.counts()["done"]
    assert rig.counts() == {"done": done, "pending": MANY - done}
    assert rig.engine.census.tally() == {"done": done, "pending": MANY - done}


def test_the_roots_of_a_run_that_goes_on_are_named_again_in_parts(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = made(Write(Path("0.txt")))
    Path("0.txt").unlink()
    rig = Rig(part=2, resuming=True)
    roots = [Write(Path(f"{number}.txt")) for number in range(20)]
    for job in files_of(roots[10:]):
        rig.put("pending", job)
    asked: list[int] = []

    def dropped() -> Iterable[str]:
        asked.append(len(rig.replies))
        return ()

    rig.recover()
    monkeypatch.setattr(rig.backlog, "_first", 1)
    rig.backlog.name_again([*map(id_of, roots[10:]), lost.id], dropped)
    assert rig.loop.run()
    assert len(asked) == 1
    assert Path("0.txt").exists(), "a root that was done is judged again"
    assert rig.counts() == {"done": 11}
    assert all(node.proposed for node in rig.engine.ledger.nodes())


def test_a_root_that_what_was_found_since_stands_against_keeps_the_run_from_ending_and_nobody_else(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a file that was handed in meanwhile, which reads what the root makes, and makes what the root may read."""
    Path("source.txt").write_text("there")
    late = made(Read(Path("source.txt"), Path("late.txt"), maybe=Path("there.txt")))
    others = [made(Noop(number)) for number in range(4)]
    rig = Rig(part=1, resuming=True)
    rig.recover()
    monkeypatch.setattr(rig.backlog, "_first", 1)
    rig.backlog.name_again([others[0].id, late.id, *(job.id for job in others[1:])], tuple)
    proposals = propose([Read(Path("late.txt"), Path("there.txt"))], root=project)
    rig.loop.do(Submitted(proposals, by_name=True))
    with pytest.raises(CycleFound):
        rig.loop.run()
    assert rig.job(proposals[0].id)[0] == "done"
    assert all(rig.engine.ledger[job.id].proposed for job in others)


def test_a_run_whose_roots_are_all_settled_ends(project: Path) -> None:
    rig = Rig(part=2, resuming=True)
    rig.recover()
    rig.backlog.name_again([], tuple)
    assert rig.loop.run()


def test_children_that_are_left_are_found_again_by_their_parent(project: Path) -> None:
    tasks.CHILDREN["nothing"] = lambda task: [Noop(number) for number in range(50)]
    rig = left(Finder("nothing"), *map(Noop, range(40)), rig=Rig(part=1))
    assert rig.loop.run()
    assert rig.counts() == {"done": 51}
    assert len(rig.replies) == 51


def test_what_was_dropped_before_it_was_taken_over_does_not_run(project: Path) -> None:
    tasks.CHILDREN["nothing"] = lambda task: [Noop(1), Noop(2)]
    rig = Rig()
    rig.submit([Finder("nothing")])
    assert rig.loop.run()
    tasks.CHILDREN["nothing"] = lambda task: [Noop(2)]
    rig.store.close()
    rig = Rig(run="20261123T020000Z")
    Path("state/done", f"{id_of(Noop(1))}.json").unlink()
    for job in files_of([Noop(1), *map(Noop, range(10, 50))]):
        rig.put("pending", job)
    rig.recover()
    rig.executor.places = 1
    rig.submit([Finder("nothing")])
    assert rig.loop.run()
    assert rig.job(id_of(Noop(1)))[0] == "cancelled"
