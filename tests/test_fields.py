from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NewType
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings

from runner.task import (
    Hint,
    Input,
    Output,
    Task,
    decode,
    encode,
    job_id,
    normalised,
)
from tests.field_samples import EXAMPLE, AnyJson, Colour, Everything, Everythings, PathText, Point, Tree, Word
from tests.task_samples import ROOT, Fetch, NoFile, one_field

TWICE = datetime(1995, 10, 22, 1, tzinfo=ZoneInfo("Europe/London"))  # an hour that there was two times


@given(Everythings)
@example(Everything(**EXAMPLE | {"moment": TWICE, "point": Point(1.0, 2.0)}))
@settings(deadline=None)
def test_a_task_comes_back_from_json_as_it_was(task: Everything) -> None:
    params = encode(task, ROOT)
    read = msgspec.json.decode(msgspec.json.encode(params))
    assert read == params
    again = decode(Everything, read, ROOT)
    assert encode(again, ROOT) == params
    assert again == task
    assert hash(again) == hash(task)
    assert job_id(again, ROOT) == job_id(task, ROOT)
    relative = {name: getattr(again, name) for name in ("path", "point", "table")}
    assert dataclasses.replace(task, **relative) == again  # paths may be spelled otherwise, all else is equal
    for each in dataclasses.fields(task):
        if each.name not in relative:
            if each.name == "moment":  # in such an hour none equals that of another zone (PEP 495)
                assert again.moment - task.moment == timedelta(0)
            else:
                assert getattr(again, each.name) == getattr(task, each.name)
            assert type(getattr(again, each.name)) is type(getattr(task, each.name)) or each.name == "real"


@given(PathText)
@settings(deadline=None)
def test_normalised_is_what_the_file_system_would_make_of_it(text: str) -> None:
    path = str(Path(text))
    once = normalised(path, ROOT)
    assert normalised(str(Path(once)), ROOT) == once
    assert os.path.normpath(os.path.join(ROOT, once)) == "/" + os.path.normpath(os.path.join(ROOT, path)).lstrip("/")
    assert not once.startswith(ROOT + "/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.txt", "a/b.txt"),
        ("a/../b.txt", "b.txt"),
        ("/project/a/b.txt", "a/b.txt"),
        ("/project/a/../../project/b.txt", "b.txt"),
        ("../project/b.txt", "b.txt"),
        ("../other/b.txt", "/other/b.txt"),
        ("/projects/b.txt", "/projects/b.txt"),
        ("/project", "."),
        ("//project/a", "a"),
        ("..b/c..d", "..b/c..d"),
    ],
)
def test_paths_have_one_spelling(path: str, expected: str) -> None:
    assert normalised(path, ROOT) == expected


def test_the_root_may_be_the_root_of_all_and_relative() -> None:
    assert normalised("/a/b", "/") == "a/b"
    assert normalised(os.path.join(os.getcwd(), "x", "y"), "") == "x/y"
    assert normalised(os.path.join(os.getcwd(), "x", "y"), ".") == "x/y"


# -------------------------------------------------------------------------------------------------- misfits


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", 5, r"Everything\.text: expected a str, found 5 \(int\)"),
        ("text", None, r"\.text: expected a str, found None"),
        ("text", "\ud800", r"\.text: no JSON can hold a lone surrogate"),
        ("text", b"x", r"\.text: expected a str, found b'x' \(bytes\)"),
        ("whole", True, r"\.whole: expected an int, found True \(bool\)"),
        ("whole", 1.0, r"\.whole: expected an int, found 1.0 \(float\)"),
        ("whole", 2**64, r"\.whole: expected an int of at most 64 bits"),
        ("whole", "1", r"\.whole: expected an int, found '1' \(str\)"),
        ("real", float("nan"), r"\.real: no JSON can hold nan"),
        ("real", float("inf"), r"\.real: no JSON can hold inf"),
        ("real", 10**400, r"\.real: expected a float"),
        ("real", False, r"\.real: expected a float, found False"),
        ("flag", 1, r"\.flag: expected a bool, found 1"),
        ("nothing", 0, r"\.nothing: expected None, found 0"),
        ("path", 5, r"\.path: expected a Path, found 5"),
        ("path", Path("a\0b"), r"\.path: no path can hold a NUL"),
        ("path", Path("a\udc80"), r"\.path: no JSON can hold a lone surrogate"),
        ("day", datetime(2026, 1, 1), r"\.day: expected a date, found datetime"),
        ("moment", date(2026, 1, 1), r"\.moment: expected a datetime"),
        ("span", 5, r"\.span: expected a timedelta"),
        ("colour", "red", r"\.colour: expected a Colour, found 'red'"),
        ("size", 1, r"\.size: expected a Size, found 1"),
        ("exact", Decimal("NaN"), r"\.exact: expected a finite Decimal"),
        ("exact", 1.5, r"\.exact: expected a Decimal"),
        ("uid", "x", r"\.uid: expected a UUID"),
        ("point", Tree("x"), r"\.point: expected a Point"),
        ("point", Point("x"), r"\.point\.x: expected a float, found 'x'"),  # type: ignore[arg-type]
        ("tree", Tree("x", [Tree("y"), Tree("z", [Tree(5)])]), r"\.tree\.below\[1\]\.below\[0\]\.name: expected a str"),  # type: ignore[arg-type]
        ("texts", "abc", r"\.texts: expected a list, found 'abc'"),
        ("texts", {"a"}, r"\.texts: expected a list, found {'a'} \(set\)"),
        ("texts", ["a", 5], r"\.texts\[1\]: expected a str, found 5"),
        ("pair", (1, "a", 2), r"\.pair: expected a tuple of 2"),
        ("pair", (1, 2), r"\.pair\[1\]: expected a str, found 2"),
        ("table", {"a": [Path("b"), 5]}, r"\.table\['a'\]\[1\]: expected a Path, found 5"),
        ("table", {5: []}, r"\.table\[5\]: expected a str, found 5"),
        ("by_number", {"1": True}, r"\.by_number\['1'\]: expected an int"),
        ("number_or_text", 1.5, r"\.number_or_text: expected an int or a str or None, found 1.5"),
        ("number_or_text", True, r"\.number_or_text: expected an int, found True"),
        ("word", "c", r"\.word: expected one of 'a', 'b', 3, found 'c'"),
        ("word", 3.0, r"\.word: expected one of 'a', 'b', 3, found 3.0"),
        ("hint", None, r"\.hint: expected an int or a str, found None"),
    ],
)
def test_a_misfit_names_class_and_field(name: str, value: object, message: str) -> None:
    task = Everything(**(EXAMPLE | {name: value}))
    with pytest.raises(TypeError, match=message) as caught:
        encode(task, ROOT)
    assert "field_samples:Everything." in str(caught.value)


def test_the_json_is_what_a_person_would_write() -> None:
    assert encode(Everything(**EXAMPLE), ROOT) == {
        "text": "t",
        "whole": 1,
        "real": 1.5,
        "flag": True,
        "nothing": None,
        "path": "p",
        "day": "2026-11-22",
        "moment": "2026-11-22T02:00:00Z",
        "span": "PT3600S",
        "colour": "red",
        "size": 2,
        "exact": "1.50",
        "uid": "00000000-0000-0000-0000-000000000001",
        "point": {"x": 1.0, "y": 2.0, "file": "f"},
        "tree": {"name": "a", "below": [{"name": "b", "below": []}]},
        "texts": ["a"],
        "pair": [1, "a"],
        "numbers": [1, 2],
        "table": {"k": ["v"]},
        "by_number": {"1": True},
        "by_day": {"2026-11-22": "blue"},
        "number_or_text": None,
        "word": "a",
        "hint": 1,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 5),
        ("text", "\ud800"),
        ("whole", 1.0),
        ("whole", "1"),
        ("whole", True),
        ("whole", 2**70),
        ("real", "1.5"),
        ("real", float("inf")),
        ("flag", 1),
        ("path", 5),
        ("path", ""),
        ("path", "a\0"),
        ("day", "yesterday"),
        ("moment", "2026-13-01"),
        ("span", "an hour"),
        ("span", "P9999999999D"),
        ("colour", "green"),
        ("colour", 1),
        ("size", "1"),
        ("size", 9),
        ("size", True),
        ("exact", 1.5),
        ("exact", "NaN"),
        ("exact", "x"),
        ("uid", "x"),
        ("point", {}),
        ("point", {"x": 1, "z": 1}),
        ("point", {"x": "1"}),
        ("point", [1]),
        ("tree", {"name": "x", "below": [{}]}),
        ("texts", "abc"),
        ("texts", [1]),
        ("pair", [1]),
        ("pair", "ab"),
        ("table", []),
        ("table", {"a": [1]}),
        ("by_number", {"01": True}),
        ("by_number", {"x": True}),
        ("by_number", {"9" * 20: True}),
        ("by_day", {"x": "red"}),
        ("number_or_text", 1.5),
        ("word", True),
        ("word", []),
        ("strange", 1),
    ],
)
def test_a_record_that_no_longer_fits_is_a_type_error(name: str, value: object) -> None:
    params = encode(Everything(**EXAMPLE), ROOT)
    with pytest.raises(TypeError, match=rf"field_samples:Everything.*{name}"):
        decode(Everything, params | {name: value}, ROOT)


@given(AnyJson)
@settings(deadline=None)
def test_any_json_for_any_field_fits_or_is_a_type_error(value: object) -> None:
    params = encode(Everything(**EXAMPLE), ROOT)
    for name in params:
        try:
            task = decode(Everything, params | {name: value}, ROOT)
        except TypeError:
            continue
        once = encode(task, ROOT)
        assert encode(decode(Everything, once, ROOT), ROOT) == once


def test_subclasses_of_str_and_float_become_plain() -> None:
    class Link(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "something else"

    class Number(float):
        pass

    params = encode(NoFile(Link("a"), {Link("b"): Number(2)}), ROOT)
    assert params == {"name": "a", "weights": {"b": 2.0}, "seen": None}
    assert type(params["name"]) is str
    assert encode(NoFile(Word.ONE), ROOT)["name"] == "one"
    assert str(encode(NoFile("a", {"x": -0.0}), ROOT)["weights"]) == "{'x': 0.0}"
    assert encode(NoFile("a", {"x": 1}), ROOT)["weights"] == {"x": 1.0}


def test_two_keys_that_become_one_are_refused() -> None:
    @dataclass
    class Keys(Task):
        by_path: dict[Path, int]

    with pytest.raises(TypeError, match=r"Keys\.by_path\[.*'/project/a'\)\]: this key is there twice"):
        encode(Keys({Path("a"): 1, Path("/project/a"): 2}), ROOT)


def test_a_value_that_holds_itself_is_refused() -> None:
    tree = Tree("a")
    tree.below.append(tree)
    with pytest.raises(TypeError, match=r"Everything\.tree holds itself"):
        encode(Everything(**(EXAMPLE | {"tree": tree})), ROOT)
    deep: dict[str, Any] = {"name": "x"}
    for _ in range(5000):
        deep = {"name": "x", "below": [deep]}
    with pytest.raises(TypeError, match=r"Everything\.tree holds itself, or is nested too deep"):
        decode(Everything, encode(Everything(**EXAMPLE), ROOT) | {"tree": deep}, ROOT)


def test_the_folder_of_the_project_is_no_file() -> None:
    for path in ("", ".", "/project", "a/.."):
        with pytest.raises(TypeError, match=r"Fetch\.filepath: expected a file"):
            encode(Fetch("u", Path(path)), ROOT)


# ------------------------------------------------------------------------------------------- what a field can be

Url = NewType("Url", str)


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (object, "object is no type that a field can have"),
        (Any, "Any is no type that a field can have"),
        (set[str], "no type that a field can have"),
        (bytes, "bytes is no type that a field can have"),
        (Callable[[], None], "no type that a field can have"),
        (list, r"list must say what is in it, such as list\[str\]"),
        (dict, "dict must say what is in it"),
        (list[object], "object is no type"),
        (Fetch, "a task is no parameter"),
        (list[Fetch], "a task is no parameter"),
        (str | Path, "a str and a Path in one union look the same in JSON"),
        (Point | Tree, "a Point and a Tree in one union look the same in JSON"),
        (dict[bool, int], "the keys of a dict must be strings in JSON, or int; a bool is not"),
        (dict[str | None, int], "the keys of a dict"),
        (Literal[b"x"], "a Literal can hold str, int, bool and None"),
        (Enum("Odd", {"A": (1, 2)}), "the values of the Enum Odd must be str or int"),
        (Enum("Empty", {}), "the values of the Enum Empty"),
        (dict[str, Input], r"Input goes outside, as Input, list\[Input\]"),
        (list[list[Output]], "Output goes outside"),
        (list[Input | None], "Input goes outside"),
        (Input | int | None, "Input goes outside"),
        (list[Hint[str]], r"Hint goes outside, as Hint\[...\]"),
        (Hint[Input], "one of Input, Output and Hint, and once"),
        (tuple[Input, Output], "one of Input, Output and Hint, and once"),
        (tuple[Input, int], "Input goes outside"),
        ("Unheard", "the annotations of Made cannot be resolved: name 'Unheard' is not defined"),
        ([1], "cannot be resolved|no type"),
    ],
)
def test_other_types_are_refused_by_class_and_field(hint: Any, message: str) -> None:
    cls = one_field(hint)
    task = cls("x")  # type: ignore[call-arg]
    for _ in range(2):
        with pytest.raises(TypeError, match=message) as caught:
            encode(task, ROOT)
        assert str(caught.value).startswith("tests.task_samples:Made.one: ")


@pytest.mark.parametrize(
    ("hint", "value", "json"),
    [
        (Url, "u", "u"),
        (None, None, None),
        (int | float, 1, 1),
        (float | int, 1, 1),
        (float | None, 1, 1.0),
        (int | float, 1.5, 1.5),
        (Hint[int] | None, None, None),
        (Hint[list[str]], ["a"], ["a"]),
        (list[Input] | None, None, None),
        (list[Input] | None, [Path("a")], ["a"]),
        (tuple[Output, ...], (Path("a"),), ["a"]),
        (list[Path] | None, ["a"], ["a"]),
        (dict[str, Path], {"k": "a"}, {"k": "a"}),
        (list[int], (1, 2), [1, 2]),
        (tuple[int, ...], [1, 2], [1, 2]),
        (dict[Colour, int], {Colour.RED: 1}, {"red": 1}),
        (dict[UUID, int], {UUID(int=0): 1}, {str(UUID(int=0)): 1}),
        (Literal["a", None, True], True, True),
        (Word, Word.ONE, "one"),
        (date | int, 5, 5),
        (Point | None, Point(1.0), {"x": 1.0, "y": 0.0, "file": None}),
        (list[dict[str, tuple[int, date | None]]], [{"a": (1, None)}], [{"a": [1, None]}]),
    ],
)
def test_these_are_taken(hint: Any, value: Any, json: Any) -> None:
    cls = one_field(hint)
    params = encode(cls(value), ROOT)  # type: ignore[call-arg]
    assert params == {"one": json}
    assert type(params["one"]) is type(json)
    assert encode(decode(cls, params, ROOT), ROOT) == params
