"""Whole runs, night after night, over random flows: what must run runs, nothing else does, all is right."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.flows import COUNTS, SOURCES, Spec, World, begin, edit, project, run_night, work
from tests.incremental import ASKED, CLASSES, DAY, GONE, OUTPUT, PARENTS, PLAN, VALUE, Expected, set_version
from tests.rig import STARTED

ORDER_OF_LISTS = False
ABSENT_PARENTS = False
EARLY_READERS = False  # readers, from the start, of what is found later
STILL_FILES = False  # a second run leaves job files alone; if off, their bytes
ABANDONED = True  # runs that crash and are not resumed: the next night takes over
NEW_NAMES = False  # an up-to-date parent, asked again, names others

EXAMPLES = int(os.environ.get("INCREMENTAL_EXAMPLES", "60"))
TEXTS = ["a", "A", "b", "B", GONE, "long"]


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
            plain = draw(st.sampled_from([f"src/p{i}", *readable]))
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
                fold=draw(st.integers(0, 2)),
            )
        )
    return begin(*specs, early=EARLY_READERS)


def _readable(specs: list[Spec], root: bool, finders: set[int]) -> list[str]:
    """What may be read by the next job."""
    paths = list(SOURCES)
    for j, spec in enumerate(specs):
        paths += [f"out/j{j}", *[f"out/j{j}.{k}" for k in range(spec.several)]]
    return paths


def _drawn_many(draw: Any, readable: list[str], plain: str | None) -> list[str]:
    choice = [path for path in readable if path != plain and not _for_maybe(path)]
    many = draw(st.lists(st.sampled_from(choice), max_size=3, unique=True)) if choice else []
    return many if ORDER_OF_LISTS else sorted(many)


def _drawn_maybe(draw: Any, readable: list[str], plain: str | None) -> str | None:
    choice = [path for path in readable if path != plain and _for_maybe(path)]
    return draw(st.sampled_from([None, *choice])) if choice else None


def _for_maybe(path: str) -> bool:
    """A path is read by fields of one kind only: see FIELDS."""
    return path.endswith("2")


# ------------------------------------------------------------------------------------------------------ the test


def change(draw: Any, world: World, expected: Expected) -> None:
    """One thing that is another tomorrow."""
    specs = world.specs
    parents = {i: [p for p in range(i) if specs[p].task in PARENTS] for i in range(len(specs))}
    kinds = ["edit", "edit", "touch", "version", "hint", "salt", "root", "found", "found"]
    kinds += ["many", "turn", "maybe", "delete", "resize"]
    kind = draw(st.sampled_from(kinds))
    fit = {"found": lambda i: parents[i], "turn": lambda i: len(specs[i].many) > 1}.get(kind, lambda i: True)
    i = draw(st.sampled_from([i for i in range(len(specs)) if fit(i)] or [0]))
    spec = specs[i]
    match kind:
        case "edit":
            path = draw(st.sampled_from([*SOURCES, f"src/p{i}"]))
            edit(world, path, draw(st.sampled_from(TEXTS)))
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
        case "maybe":
            spec.maybe = _drawn_maybe(draw, _readable(world.specs[:i], spec.root, spec.finders), spec.plain)
        case "delete" | "resize" as how:
            made = sorted(path for path, text in expected.files.items() if text is not None)
            path = draw(st.sampled_from(made)) if made else ""
            if path and os.path.exists(path):
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


@given(st.data())
def nights(data: st.DataObject) -> None:
    with project():
        world = data.draw(worlds())
        for path in world.texts:
            edit(world, path, data.draw(st.sampled_from(TEXTS)))
        expected = run_night(world, 1, data.draw(CRASHES), still=STILL_FILES)
        for number in range(2, 2 + data.draw(st.integers(1, 3))):
            for _ in range(data.draw(st.integers(1, 4))):
                change(data.draw, world, expected)
            if ABANDONED and data.draw(st.integers(0, 2)) == 0:
                run, started = f"202611{number:02d}T010000Z", STARTED + number * DAY - 3600
                work(world.wishes(), run, started, data.draw(CRASHES), end=False)
                for _ in range(data.draw(st.integers(0, 2))):
                    change(data.draw, world, expected)
            expected = run_night(world, number, data.draw(CRASHES), still=STILL_FILES)


def test_every_night_is_right_and_does_no_more_than_it_must(record_property: Any) -> None:
    COUNTS.clear()
    settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))(nights)()
    record_property("struck", ", ".join(f"{count} {what}" for what, count in COUNTS.items()))
