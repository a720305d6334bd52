"""The JSON form of a field's simplest values: texts, numbers, times, paths. For `fields.py`, which puts them together.

A `Form` is a pair of functions, one that turns a value into JSON and one that turns JSON back. Both are strict, so that
a value which would come back as something else never gets into a job file, and canonical: what `load` gives, `dump`
turns into the same JSON again. This module must not know what a field or a task is, and reads no file.
"""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec

from runner.core.model import Json


class Misfit(TypeError):
    """A value that is not of its type. `where` is the way to it inside its field, such as `[3].name`."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    def inside(self, step: str) -> Misfit:
        """The same error, seen from one level further out."""
        return Misfit(self.message, step + self.where)


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """The JSON form of one type. `dump(value, root)` and `load(json)` raise Misfit."""

    says: str  # the type's name, for messages
    dump: Callable[[Any, str], Json]
    load: Callable[[Json], Any]
    python: tuple[type, ...]  # values of these classes are meant for it: how a union chooses when it dumps
    shapes: frozenset[str]  # what it may look like in JSON: how a union chooses when it loads


def shown(value: object) -> str:
    """A value for a message: short, with its class."""
    if value is None:
        return "None"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__qualname__})"


def misfit(says: str, value: object) -> Misfit:
    return Misfit(f"expected {says}, found {shown(value)}")


SHAPES: Mapping[type, str] = {  # what a JSON value looks like
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "string",
    list: "array",
    dict: "object",
}

# ----------------------------------------------------------------------------------------------------------- paths


def normalised(path: str, root: str) -> str:
    """The one name of a file in job files: relative to `root` if inside it, else absolute. No symlink is followed.

    `path` is what str(Path(...)) gives. A relative path is meant relative to `root`; "" is the working directory.
    """
    if ".." not in path:
        if not path.startswith("/"):
            return path
        if root and path.startswith(root + "/"):
            return path[len(root) + 1 :] or "."
    base = os.path.abspath(root).rstrip("/")
    full = os.path.normpath(os.path.join(base or "/", path))
    if full.startswith("//"):  # POSIX lets two slashes stand; no file of ours has two names
        full = full[1:]
    if full == (base or "/"):
        return "."
    return full[len(base) + 1 :] if full.startswith(base + "/") else full


def dump_path(value: Any, root: str) -> str:
    if not isinstance(value, Path):
        raise misfit("a Path", value)
    text = normalised(str(value), root)
    if not text.isascii():
        check_text(text)
    if "\0" in text:
        raise Misfit(f"no path can hold a NUL: {shown(text)}")
    return text


def load_path(value: Json) -> Path:
    if type(value) is not str or not value or "\0" in value:
        raise misfit("a path", value)
    return Path(value)


def dump_file(value: Any, root: str) -> str:
    text = dump_path(value, root)
    if text == ".":
        raise Misfit(f"expected a file, found {shown(value)}, which is the project's folder")
    return text


PATH = Form("a Path", dump_path, load_path, (Path,), frozenset({"string"}))
FILE = dataclasses.replace(PATH, dump=dump_file)


def make_path(value: Any) -> Any:
    """A str, given for a Path, as a Path; in a list, tuple or dict too. What holds no str comes back as it is."""
    kind = type(value)
    if kind is str:
        return Path(value)
    if kind is list or kind is tuple:
        if any(type(item) is str for item in value):
            return kind(Path(item) if type(item) is str else item for item in value)
    elif kind is dict and any(type(item) is str for item in value.values()):
        return {key: Path(item) if type(item) is str else item for key, item in value.items()}
    return value


# ---------------------------------------------------------------------------------------------------------- leaves


def check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Misfit(f"no JSON can hold a lone surrogate: {shown(text)}") from None


def dump_str(value: Any, root: str) -> str:
    if type(value) is not str:
        if not isinstance(value, str):
            raise misfit("a str", value)
        value = str.__str__(value)  # a subclass, such as the strings that HTML parsers give
    if not value.isascii():
        check_text(value)
    return typing.cast(str, value)


def dump_int(value: Any, root: str) -> int:
    if type(value) is not int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise misfit("an int", value)
        value = int(value)
    if not -(2**63) <= value < 2**64:  # beyond that, JSON readers disagree
        raise Misfit("expected an int of at most 64 bits")
    return typing.cast(int, value)


def dump_float(value: Any, root: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise misfit("a float", value)
    try:
        number = float(value) + 0.0  # which makes -0.0, equal to 0.0, the same number
    except OverflowError:
        raise misfit("a float", value) from None
    if not isfinite(number):
        raise Misfit(f"no JSON can hold {number!r}")
    return number


def dump_decimal(value: Any, root: str) -> str:
    if not isinstance(value, Decimal):
        raise misfit("a Decimal", value)
    if not value.is_finite():
        raise Misfit(f"expected a finite Decimal, found {value}")
    return str(value)


def load_decimal(value: Json) -> Decimal:
    try:
        if type(value) is str or type(value) is int:  # a JSON float has lost the digits that a Decimal is for
            found = Decimal(value)
            if found.is_finite():
                return found
    except (InvalidOperation, ValueError):
        pass
    raise misfit("a Decimal in a string", value)


def dump_datetime(value: Any, root: str) -> str:
    if not isinstance(value, datetime):
        raise misfit("a datetime", value)
    text = datetime.isoformat(value)
    return text[:-6] + "Z" if text.endswith("+00:00") else text


def dump_date(value: Any, root: str) -> str:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise misfit("a date", value)
    return date.isoformat(value)


def dump_timedelta(value: Any, root: str) -> str:
    if not isinstance(value, timedelta):
        raise misfit("a timedelta", value)
    return typing.cast(str, msgspec.to_builtins(timedelta(value.days, value.seconds, value.microseconds)))


def leaf(says: str, kind: type, dump: Callable[[Any, str], Json], load: Callable[[str], Any]) -> Form:
    """A type that is a string in JSON."""

    def strict(value: Json) -> Any:
        if type(value) is str:
            try:
                return load(value)
            except (ValueError, OverflowError):
                pass
        raise misfit(says, value)

    return Form(says, dump, strict, (kind,), frozenset({"string"}))


def exact(says: str, kind: type, dump: Callable[[Any, str], Json], shape: str) -> Form:
    """A type that JSON has itself."""

    def load(value: Json) -> Any:
        return dump(value, "") if type(value) is kind else dump_nothing(value)

    def dump_nothing(value: Json) -> Any:
        raise misfit(says, value)

    return Form(says, dump, load, (kind,), frozenset({shape}))


def same(says: str, kind: type) -> Callable[[Any, str], Json]:
    def dump(value: Any, root: str) -> Json:
        if type(value) is not kind:
            raise misfit(says, value)
        return value

    return dump


def dump_uuid(value: Any, root: str) -> str:
    if not isinstance(value, UUID):
        raise misfit("a UUID", value)
    return str(value)


def load_float(value: Json) -> float:
    if type(value) is not float and type(value) is not int:
        raise misfit("a float", value)
    return dump_float(value, "")


LEAVES: Mapping[Any, Form] = {
    str: exact("a str", str, dump_str, "string"),
    int: exact("an int", int, dump_int, "int"),
    bool: exact("a bool", bool, same("a bool", bool), "bool"),
    type(None): exact("None", type(None), same("None", type(None)), "null"),
    float: Form("a float", dump_float, load_float, (float, int), frozenset({"float"})),
    Path: PATH,
    datetime: leaf("a datetime, such as 2026-11-22T02:00:00Z", datetime, dump_datetime, datetime.fromisoformat),
    date: leaf("a date, such as 2026-11-22", date, dump_date, date.fromisoformat),
    timedelta: leaf(
        "a timedelta, such as PT1H30M or P2D", timedelta, dump_timedelta, lambda text: msgspec.convert(text, timedelta)
    ),
    UUID: leaf("a UUID", UUID, dump_uuid, UUID),
    Decimal: Form("a Decimal", dump_decimal, load_decimal, (Decimal,), frozenset({"string"})),
}
