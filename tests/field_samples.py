"""A task with a field of every kind, and strategies to make such tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from hypothesis import strategies as st

from runner.task import (
    Hint,
    Task,
)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    BIG = 2


class Word(StrEnum):
    ONE = "one"


@dataclass
class Point:
    x: float
    y: float = 0.0
    file: Path | None = None


@dataclass(frozen=True)
class Tree:
    name: str
    below: list[Tree] = field(default_factory=list)


@dataclass
class Everything(Task):
    text: str
    whole: int
    real: float
    flag: bool
    nothing: None
    path: Path
    day: date
    moment: datetime
    span: timedelta
    colour: Colour
    size: Size
    exact: Decimal
    uid: UUID
    point: Point
    tree: Tree
    texts: list[str]
    pair: tuple[int, str]
    numbers: tuple[int, ...]
    table: dict[str, list[Path]]
    by_number: dict[int, bool]
    by_day: dict[date, Colour]
    number_or_text: int | str | None
    word: Literal["a", "b", 3]
    hint: Hint[int | str] = 0


Text = st.text(st.characters(codec="utf-8"), max_size=8)
PathText = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
Reals = st.floats(allow_nan=False, allow_infinity=False)
Paths = st.builds(Path, PathText)
Zones = st.none() | st.just(UTC) | st.timezones()
Moments = st.datetimes(timezones=Zones, allow_imaginary=False)
Points = st.builds(Point, Reals, Reals, st.none() | Paths)
Trees = st.recursive(
    st.builds(Tree, Text), lambda below: st.builds(Tree, Text, st.lists(below, max_size=3)), max_leaves=6
)
AnyJson = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
Ints = st.integers(-(2**63), 2**64 - 1)

Everythings = st.builds(
    Everything,
    text=Text,
    whole=Ints,
    real=Reals | st.integers(-(2**53), 2**53),
    flag=st.booleans(),
    nothing=st.none(),
    path=Paths,
    day=st.dates(),
    moment=Moments,
    span=st.timedeltas(),
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    exact=st.decimals(allow_nan=False, allow_infinity=False),
    uid=st.uuids(),
    point=Points,
    tree=Trees,
    texts=st.lists(Text, max_size=3),
    pair=st.tuples(Ints, Text),
    numbers=st.lists(Ints, max_size=3).map(tuple),
    table=st.dictionaries(Text, st.lists(Paths, max_size=2), max_size=3),
    by_number=st.dictionaries(Ints, st.booleans(), max_size=3),
    by_day=st.dictionaries(st.dates(), st.sampled_from(Colour), max_size=3),
    number_or_text=st.none() | Ints | Text,
    word=st.sampled_from(["a", "b", 3]),
    hint=Ints | Text,
)

EXAMPLE: dict[str, Any] = {
    "text": "t",
    "whole": 1,
    "real": 1.5,
    "flag": True,
    "nothing": None,
    "path": Path("p"),
    "day": date(2026, 11, 22),
    "moment": datetime(2026, 11, 22, 2, tzinfo=UTC),
    "span": timedelta(hours=1),
    "colour": Colour.RED,
    "size": Size.BIG,
    "exact": Decimal("1.50"),
    "uid": UUID(int=1),
    "point": Point(1.0, 2.0, Path("/project/f")),
    "tree": Tree("a", [Tree("b")]),
    "texts": ["a"],
    "pair": (1, "a"),
    "numbers": (1, 2),
    "table": {"k": [Path("v")]},
    "by_number": {1: True},
    "by_day": {date(2026, 11, 22): Colour.BLUE},
    "number_or_text": None,
    "word": "a",
    "hint": 1,
}
