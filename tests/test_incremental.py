"""Whole runs, night after night, over random flows: what must run runs, nothing else does, all is right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flows import COUNTS, SOURCES, Cut, Spec, World, begin, edit, maker_of, project, read_jobs, run_night, work
from tests.incremental import ASKED, BAD, CLASSES, DAY, GONE, OUTPUT, PARENTS, PLAN, VALUE, Expected, id_of, set_version
from tests.rig import STARTED

# What the random flows may have in them. What is off has a defect below it, and can be switched on once that is mended.
ABANDONED = True  # runs that crash and are not resumed: the next night takes over
FAILURES = True  # tasks that fail, and block others
FORGOTTEN = True  # job files that were deleted by hand
RENAMES = True  # classes that get another name, so that jobs are superseded
ABSENT_PARENTS = True  # parents that have found children, and return Absent
DROPPED_UNFINISHED = True  # any change behind a run that was cut short: also what drops its unfinished jobs
EARLY_READERS = True  # readers, known from the start, of what is found later
LATE_MAKERS = True  # the same in nights with a crash
NEW_NAMES = True  # parents that are up to date and name other children when asked
ORDER_OF_LISTS = True  # a list[Input] in another order
RETRIED_BY_RESUME = True  # crashes in a night before which something had failed
SAME_FILES = True  # a file that comes to a job by another field, or twice
STILL_FILES = True  # a second run does not touch a job file, not even to put it right again

EXAMPLES = int(os.environ.get("INCREMENTAL_EXAMPLES", "0"))
"""More of them, and others each time: INCREMENTAL_EXAMPLES=3000 python -m pytest -n 0 --timeout 0 (this file)."""

FAMILIES = [
    ["Leaf", "WeighLeaf", "AgedLeaf", "DailyLeaf", "Parent", "WeighParent"],
    ["ReadLeaf", "ReadParent", "AgedReadParent"],
]
TEXTS = ["a", "A", "b", "B", GONE, GONE, "long"]


# -------------------------------------------------------------------------------------------------- drawing it


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(3, 8))
    specs: list[Spec] = []
    for i in range(count):
        task = draw(st.sampled_from(sorted(CLASSES) + PARENTS if i < count - 2 else sorted(CLASSES)))
        parents = [p for p in range(i) if specs[p].task in PARENTS]
        finders = set(draw(st.lists(st.sampled_from(parents), max_size=2))) if parents else set()
        root = not finders or draw(st.integers(0, 5)) == 0
        readable = _readable(specs, root, finders)
        plain = None
        if "Read" in task:
            safe = ABSENT_PARENTS or task not in PARENTS
            choice = [path for path in readable if safe or not _may_be_absent(specs, path)]
            plain = draw(st.sampled_from([f"src/p{i}", *choice]))
        specs.append(
            Spec(
                task=task,
                several=draw(st.sampled_from([0, 0, 1])),
                root=root,
                finders=finders,
                many=_drawn_many(draw, readable, plain),
                maybe=_drawn_maybe(draw, readable, plain),
                plain=plain,
                mode=draw(st.sampled_from([PLAN, VALUE, OUTPUT, *([ASKED] * 3 if NEW_NAMES else [])])),
                lazy=draw(st.booleans()),
                fragile=draw(st.booleans()) and (ABSENT_PARENTS or task not in PARENTS),
                brittle=FAILURES and draw(st.booleans()),
                fold=draw(st.integers(0, 2)),
            )
        )
    return begin(*specs, early=EARLY_READERS)


def _may_be_absent(specs: list[Spec], path: str | None) -> bool:
    maker = maker_of(path or "")
    return maker is not None and (specs[maker].fragile or _may_be_absent(specs, specs[maker].plain))


def _readable(specs: list[Spec], root: bool, finders: set[int]) -> list[str]:
    """What may be read by the next job."""
    paths = list(SOURCES)
    for j, spec in enumerate(specs):
        paths += [f"out/j{j}", *[f"out/j{j}.{k}" for k in range(spec.several)]]
    return paths


def _drawn_many(draw: Any, readable: list[str], plain: str | None) -> list[str]:
    choice = [path for path in readable if SAME_FILES or (path != plain and not _for_maybe(path))]
    many = draw(st.lists(st.sampled_from(choice), max_size=3, unique=not SAME_FILES)) if choice else []
    return many if ORDER_OF_LISTS else sorted(many)


def _drawn_maybe(draw: Any, readable: list[str], plain: str | None) -> str | None:
    choice = [path for path in readable if SAME_FILES or (path != plain and _for_maybe(path))]
    return draw(st.sampled_from([None, *choice])) if choice else None


def _for_maybe(path: str) -> bool:
    """Whether fields of one file may have it: the others are for lists."""
    return path.endswith("2")


# ------------------------------------------------------------------------------------------------------ the test


def change(draw: Any, world: World, expected: Expected, only: Sequence[str] = ()) -> None:
    """One thing that is another tomorrow."""
    specs = world.specs
    parents = {i: [p for p in range(i) if specs[p].task in PARENTS] for i in range(len(specs))}
    kinds = ["edit", "edit", "touch", "version", "hint", "salt", "root", "found", "found"]
    kinds += ["many", "turn", "maybe", "delete", "resize"]
    kinds += ["rename"] * RENAMES + ["forget"] * FORGOTTEN
    kind = draw(st.sampled_from(only or kinds))
    fit = {"found": lambda i: parents[i], "turn": lambda i: len(specs[i].many) > 1}.get(kind, lambda i: True)
    i = draw(st.sampled_from([i for i in range(len(specs)) if fit(i)] or [0]))
    spec = specs[i]
    match kind:
        case "edit":
            path = draw(st.sampled_from([*SOURCES, f"src/p{i}"]))
            edit(world, path, draw(st.sampled_from(TEXTS + [BAD] * FAILURES)))
        case "touch":
            os.utime(draw(st.sampled_from(SOURCES)), (1, 1))
        case "version":
            cls = CLASSES[spec.task]
            set_version(cls, cls.version + 1)
        case "hint":
            spec.hint += "h"
        case "salt":
            spec.salt += "s"
        case "root":
            spec.root = not spec.root
        case "found":
            if parents[i]:
                spec.finders ^= {draw(st.sampled_from(parents[i]))}
        case "many":
            spec.many = _drawn_many(draw, _readable(world.specs[:i], spec.root, spec.finders), spec.plain)
        case "turn":
            spec.many = spec.many[::-1] if ORDER_OF_LISTS else spec.many
        case "rename":
            family = next(family for family in FAMILIES if spec.task in family)
            spec.task = draw(st.sampled_from(family))
        case "forget":
            for path in Path("state/done").glob(f"*-{id_of({'task': '', 'params': {'output': f'out/j{i}'}})[1:]}.json"):
                path.unlink()
        case "maybe":
            spec.maybe = _drawn_maybe(draw, _readable(world.specs[:i], spec.root, spec.finders), spec.plain)
        case "delete" | "resize" as how:
            made = sorted(path for path, text in expected.files.items() if text is not None)
            path = draw(st.sampled_from(made)) if made else ""
            safe = BAD not in world.texts.values()  # or it might not be made again
            if path and os.path.exists(path) and safe:
                if how == "delete":
                    os.unlink(path)
                else:
                    Path(path).write_text(Path(path).read_text() + "!")


CRASHES = st.lists(
    st.one_of(
        st.tuples(st.just("files"), st.integers(1, 80)),
        st.tuples(st.sampled_from(["before", "after"]), st.integers(1, 6)),
    ),
    max_size=2,
)


def crashes(data: st.DataObject) -> list[Cut]:
    failed = any(job["status"] in ("failed", "blocked") for job in read_jobs().values())
    if (EARLY_READERS and not LATE_MAKERS) or (failed and not RETRIED_BY_RESUME):
        return []
    return data.draw(CRASHES)


@given(st.data())
def nights(data: st.DataObject) -> None:
    with project():
        world = data.draw(worlds())
        for path in world.texts:
            edit(world, path, data.draw(st.sampled_from(TEXTS + [BAD] * FAILURES)))
        expected = run_night(world, 1, crashes(data), still=STILL_FILES)
        for number in range(2, 2 + data.draw(st.integers(1, 3))):
            for _ in range(data.draw(st.integers(1, 4))):
                change(data.draw, world, expected)
            if ABANDONED and data.draw(st.integers(0, 2)) == 0:
                run, started = f"202611{number:02d}T010000Z", STARTED + number * DAY - 3600
                work(world.wishes(), run, started, data.draw(CRASHES), end=False)
                for _ in range(data.draw(st.integers(0, 2))):
                    change(data.draw, world, expected, () if DROPPED_UNFINISHED else ("version", "hint", "touch"))
            expected = run_night(world, number, crashes(data), still=STILL_FILES)


def test_every_night_is_right_and_does_no_more_than_it_must(record_property: Any) -> None:
    COUNTS.clear()
    quiet = list(HealthCheck)
    settings(max_examples=EXAMPLES or 350, derandomize=not EXAMPLES, deadline=None, suppress_health_check=quiet)(
        nights
    )()
    record_property("struck", ", ".join(f"{count} {what}" for what, count in COUNTS.items()))


# ------------------------------------------------------------ what was wrong once, each by the smallest flow there is


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_up_to_date_parent_is_recorded_to_have_found_what_it_names_now(folder: Path) -> None:
    world = begin(Spec("Parent", mode=ASKED), found_by(0), found_by(0))
    run_night(world, 1)
    world.specs[1].finders.clear()
    run_night(world, 2)


def test_children_of_an_absent_parent_are_judged(folder: Path) -> None:
    world = begin(Spec("Parent", fragile=True, many=["src/0"]), found_by(0, many=["src/1"]))
    run_night(world, 1)
    edit(world, "src/0", GONE)
    edit(world, "src/1", "b")
    run_night(world, 2)


def test_a_child_of_an_absent_parent_follows_the_new_owner_of_what_it_reads(folder: Path) -> None:
    """Its own file still names the former one, tonight and in the nights to come."""
    world = begin(Spec("Parent", fragile=True, many=["src/0"]), Spec("Leaf"), found_by(0, many=["src/1", "out/j1"]))
    run_night(world, 1)
    edit(world, "src/0", GONE)
    edit(world, "src/1", "b")
    world.specs[1].task = "AgedLeaf"
    run_night(world, 2)
    edit(world, "src/1", "c")
    run_night(world, 3)


def test_a_job_whose_list_is_in_another_order_is_due(folder: Path) -> None:
    world = begin(Spec("Leaf", many=["src/0", "src/1"]))
    edit(world, "src/1", "b")
    run_night(world, 1)
    world.specs[0].many.reverse()
    run_night(world, 2)


def test_a_job_is_due_that_gets_the_same_file_by_another_field(folder: Path) -> None:
    world = begin(Spec("Leaf", many=["src/2"]))
    run_night(world, 1)
    world.specs[0].many, world.specs[0].maybe = [], "src/2"
    run_night(world, 2)


def test_a_job_is_due_that_gets_the_same_file_twice(folder: Path) -> None:
    world = begin(Spec("Leaf", many=["src/0"]))
    run_night(world, 1)
    world.specs[0].many *= 2
    run_night(world, 2)


def test_a_reader_that_is_due_anyway_waits_for_what_will_be_found(folder: Path) -> None:
    world = begin(Spec("Parent"), found_by(0, many=["src/0"]), Spec("AgedLeaf", many=["out/j1"]))
    run_night(world, 1)
    edit(world, "src/0", "b")
    set_version(CLASSES["AgedLeaf"], 2)
    run_night(world, 2)


def test_a_reader_is_not_due_when_what_it_reads_was_lost_and_is_made_again(folder: Path) -> None:
    world = begin(Spec("Parent"), found_by(0), Spec("Leaf", many=["out/j1"]))
    run_night(world, 1)
    Path("out/j1").unlink()
    run_night(world, 2)


@pytest.mark.parametrize("cut", [("before", 1), ("after", 1), ("files", 21)])
def test_after_a_crash_a_job_still_waits_for_what_will_be_found(folder: Path, cut: Cut) -> None:
    run_night(begin(Spec("Parent"), found_by(0), Spec("Leaf", maybe="out/j1")), 1, [cut])


def test_a_job_is_judged_again_when_a_source_it_read_is_made(folder: Path) -> None:
    world = begin(Spec("Parent"), found_by(), Spec("ReadLeaf", plain="out/j1"))
    edit(world, "out/j1", "by hand")
    run_night(world, 1)
    world.specs[1].finders = {0}
    run_night(world, 2)


@pytest.mark.parametrize("cut", [("before", 1), ("after", 1), ("files", 3)])
def test_after_a_crash_a_job_is_judged_again_when_a_source_it_read_is_made(folder: Path, cut: Cut) -> None:
    world = begin(Spec("Parent"), found_by(), Spec("ReadLeaf", plain="out/j1"))
    edit(world, "out/j1", "by hand")
    run_night(world, 1)
    world.specs[1].finders = {0}
    run_night(world, 2, [cut])


@pytest.mark.parametrize("cut", [("before", 1), ("after", 1), ("files", 3)])
def test_after_a_crash_what_failed_the_night_before_is_tried_again(folder: Path, cut: Cut) -> None:
    world = begin(Spec("Parent"), found_by(0, brittle=True, many=["src/0"]))
    edit(world, "src/0", BAD)
    run_night(world, 1)
    edit(world, "src/0", "b")
    world.specs[0].salt = "s"
    run_night(world, 2, [cut])


def test_a_parent_that_was_cut_short_and_dropped_is_no_party_to_a_conflict(folder: Path) -> None:
    world = begin(Spec("Parent"), Spec("Parent"), found_by(0, 1))
    run_night(world, 1)
    world.specs[0].salt = "s"
    work(world.wishes(), "20261102T010000Z", STARTED + 1.5 * DAY, [("before", 1)], end=False)
    world.specs[0].root, world.specs[2].salt = False, "s"
    run_night(world, 2)


def test_a_second_run_leaves_the_file_of_a_root_alone_that_is_found_too(folder: Path) -> None:
    run_night(begin(Spec("Parent"), Spec("Leaf", finders={0})), 1, still=True)


def found_by(*finders: int, **fields: Any) -> Spec:
    return Spec("Leaf", root=False, finders=set(finders), **fields)
