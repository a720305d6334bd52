"""What a task's fields may hold: type annotations, compiled into Forms. For `task.py`; all others import from there.

`form_of(type)` puts the Forms of `scalars.py` together for lists, tuples, dicts, unions, Enums and dataclasses, and
refuses every other type, and unions whose members could not be told apart in JSON. `placed(type)` finds the markers
Input, Output and Hint. Types are checked when a Form is made, values when it is used. This module must not know what
a task is, and reads no file.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, get_args, get_origin

from runner.core.model import Json
from runner.scalars import FILE, LEAVES, SHAPES, Form, Misfit, misfit, shown

T = TypeVar("T")
Kind: TypeAlias = Literal["param", "hint", "input", "output"]


@dataclasses.dataclass(frozen=True, slots=True)
class Marker:
    """What `Input`, `Output` and `Hint` leave in an annotation."""

    kind: Kind


Input: TypeAlias = Annotated[Path, Marker("input")]
"""The type of a field that is a file to read. Who makes it comes first. Also `Input | None` and `list[Input]`."""

Output: TypeAlias = Annotated[Path, Marker("output")]
"""The type of a field that is a file to make. While `run()` works it is a staging path, put in place afterwards."""

Hint: TypeAlias = Annotated[T, Marker("hint")]
"""`Hint[T]`: the type of a field that is advice. It makes no other job, nor by itself a reason to run again."""


class Unsupported(TypeError):
    """No field can be of this type."""


# ------------------------------------------------------------------------------------------------------- annotations


def union_members(hint: Any) -> tuple[Any, ...] | None:
    """The members of a union, None for anything else."""
    return get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else None


def markers(hint: Any) -> Iterator[Marker]:
    """Every marker anywhere in an annotation."""
    if get_origin(hint) is Annotated:
        yield from (extra for extra in hint.__metadata__ if isinstance(extra, Marker))
        yield from markers(hint.__origin__)
    elif get_origin(hint) is not Literal:
        for argument in get_args(hint):
            yield from markers(argument)


def placed(hint: Any) -> tuple[Kind, bool]:
    """The kind of a field so annotated, and whether it is many files. Raises Unsupported for a marker out of place."""
    found = list(markers(hint))
    if len(found) > 1:
        raise Unsupported("a field is one of Input, Output and Hint, and once")
    if not found:
        return "param", False
    many = False
    members = union_members(hint)
    if members is not None and NoneType in members:
        rest = [member for member in members if member is not NoneType]
        hint = rest[0] if len(rest) == 1 else hint
    kind = found[0].kind
    arguments = get_args(hint)
    if kind != "hint" and (
        (get_origin(hint) is list and arguments)
        or (get_origin(hint) is tuple and len(arguments) == 2 and arguments[1] is Ellipsis)
    ):
        many = True
        hint = arguments[0]
    if get_origin(hint) is not Annotated or found[0] not in hint.__metadata__:
        name = kind.capitalize()
        allowed = (
            f"{name}[...]" if kind == "hint" else f"{name}, list[{name}], tuple[{name}, ...] or one of them | None"
        )
        raise Unsupported(f"{name} goes outside, as {allowed}")
    return kind, many


def holds_paths(hint: Any) -> bool:
    """Whether a str in a field of this type can only mean a Path: Path, and list, tuple, dict of Path, or None."""
    while get_origin(hint) is Annotated:
        hint = hint.__origin__
    arguments = get_args(hint)
    members = union_members(hint)
    if members is not None:
        rest = [member for member in members if member is not NoneType]
        return len(rest) == 1 and holds_paths(rest[0])
    match get_origin(hint), arguments:
        case (origin, (inner,)) if origin is list:
            return is_path(inner)
        case (origin, (inner, end)) if origin is tuple and end is Ellipsis:
            return is_path(inner)
        case (origin, (_, inner)) if origin is dict:
            return is_path(inner)
    return is_path(hint)


def is_path(hint: Any) -> bool:
    return hint is Path or (get_origin(hint) is Annotated and hint.__origin__ is Path)


# ------------------------------------------------------------------------------------------------------------ forms


def form_of(hint: Any, open_classes: dict[type, Form] | None = None) -> Form:
    """The Form of a type without markers. Raises Unsupported. `open_classes`: dataclasses whose Form is being made."""
    making = {} if open_classes is None else open_classes
    while isinstance(hint, typing.NewType):
        hint = hint.__supertype__
    if hint is None:
        hint = NoneType
    try:
        if hint in LEAVES:
            return LEAVES[hint]
    except TypeError:  # an annotation need not be hashable
        raise Unsupported(f"{hint!r} is no type that a field can have") from None
    members = union_members(hint)
    if members is not None:
        return union_form([form_of(member, making) for member in members])
    origin = get_origin(hint)
    if origin is Annotated:
        return form_of(hint.__origin__, making)
    if origin is Literal:
        return literal_form(get_args(hint))
    if origin in (list, tuple, dict) and get_args(hint):
        return container_form(origin, get_args(hint), making)
    if hint in (list, tuple, dict, typing.List, typing.Tuple, typing.Dict):  # noqa: UP006 - they are what is looked for
        raise Unsupported(f"{type_name(hint)} must say what is in it, such as list[str] or dict[str, int]")
    if isinstance(hint, type) and origin is None:
        if issubclass(hint, Enum):
            return enum_form(hint)
        if hasattr(hint, "_no_parameter"):
            raise Unsupported(hint._no_parameter)
        if dataclasses.is_dataclass(hint):
            return making[hint] if hint in making else dataclass_form(hint, making)
    raise Unsupported(
        f"{type_name(hint)} is no type that a field can have: str, int, float, bool, None, Path, date, datetime, "
        "timedelta, Enum, Decimal, UUID, list, tuple, dict, dataclasses"
    )


def file_form(hint: Any, many: bool) -> Form:
    """The Form of a field that is marked as Input or Output and found to be well `placed`."""
    members = union_members(hint) or (hint,)
    rest = next(member for member in members if member is not NoneType)
    form = array_form(get_origin(rest), FILE) if many else FILE
    return form if len(members) == 1 else union_form([form, LEAVES[NoneType]])


def type_name(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def union_form(forms: list[Form]) -> Form:
    by_shape: dict[str, Form] = {}
    by_class: dict[type, Form] = {}
    for form in forms:
        for shape in form.shapes:
            if shape in by_shape:
                raise Unsupported(f"{by_shape[shape].says} and {form.says} in one union look the same in JSON")
            by_shape[shape] = form
        by_class.setdefault(form.python[0], form)
    for form in forms:
        for kind in form.python:
            by_class.setdefault(kind, form)
    if "float" in by_shape:
        by_shape.setdefault("int", by_shape["float"])
    says = " or ".join(form.says for form in forms)

    def dump(value: Any, root: str) -> Json:
        form = by_class.get(type(value))
        if form is None:
            form = next((form for kind, form in by_class.items() if isinstance(value, kind)), None)
        if form is None:
            raise misfit(says, value)
        return form.dump(value, root)

    def load(value: Json) -> Any:
        form = by_shape.get(SHAPES.get(type(value), ""))
        if form is None:
            raise misfit(says, value)
        return form.load(value)

    return Form(says, dump, load, tuple(by_class), frozenset().union(*(form.shapes for form in forms)))


def literal_form(values: tuple[Any, ...]) -> Form:
    for value in values:
        if type(value) not in (str, int, bool, NoneType):
            raise Unsupported(f"a Literal can hold str, int, bool and None, not {shown(value)}")
    says = "one of " + ", ".join(map(repr, values))
    kinds = tuple(dict.fromkeys(type(value) for value in values))
    allowed = {(type(value), value) for value in values}

    def load(value: Json) -> Any:
        if type(value) not in kinds or (type(value), value) not in allowed:
            raise misfit(says, value)
        return value

    return Form(says, lambda value, root: load(value), load, kinds, frozenset(SHAPES[kind] for kind in kinds))


def enum_form(kind: type[Enum]) -> Form:
    kinds = {type(member.value) for member in kind}
    if not kinds <= {str, int} or not kinds:
        raise Unsupported(f"the values of the Enum {kind.__qualname__} must be str or int")
    says = f"a {kind.__qualname__}"

    def dump(value: Any, root: str) -> Json:
        if not isinstance(value, kind):
            raise misfit(says, value)
        return value.value

    def load(value: Json) -> Any:
        try:
            if type(value) in kinds:
                return kind(value)
        except ValueError:
            pass
        raise misfit(f"{says} ({', '.join(repr(member.value) for member in kind)})", value)

    return Form(says, dump, load, (kind,), frozenset(SHAPES[value] for value in kinds))


def container_form(origin: Any, arguments: tuple[Any, ...], making: dict[type, Form]) -> Form:
    if origin is dict:
        return dict_form(form_of(arguments[0], making), form_of(arguments[1], making))
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is Ellipsis):
        return fixed_form([form_of(argument, making) for argument in arguments])
    return array_form(origin, form_of(arguments[0], making))


def each(turn: Callable[..., Any], values: Iterable[Any], *rest: Any) -> list[Any]:
    """`turn(value, *rest)` of every value; a Misfit says at which."""
    turned: list[Any] = []
    try:
        for value in values:
            turned.append(turn(value, *rest))  # noqa: PERF401 - the error wants to know how far it got
    except Misfit as error:
        raise error.inside(f"[{len(turned)}]") from None
    return turned


def array_form(kind: type[list[Any]] | type[tuple[Any, ...]], item: Form) -> Form:
    """list[X] and tuple[X, ...]. Each takes the other's values: in JSON they are one."""
    says = f"a {kind.__name__}"

    def dump(value: Any, root: str) -> Json:
        if not isinstance(value, (list, tuple)):
            raise misfit(says, value)
        return each(item.dump, value, root)

    def load(value: Json) -> Any:
        if type(value) is not list:
            raise misfit(says, value)
        return kind(each(item.load, value))

    return Form(says, dump, load, (kind, tuple, list), frozenset({"array"}))


def fixed_form(items: list[Form]) -> Form:
    """tuple[X, Y]."""
    says = f"a tuple of {len(items)}"

    def check(value: Any, allowed: tuple[type, ...]) -> None:
        if type(value) not in allowed or len(value) != len(items):
            raise misfit(says, value)

    def dump(value: Any, root: str) -> Json:
        check(value, (tuple, list))
        return each(lambda pair: pair[0].dump(pair[1], root), zip(items, value, strict=True))

    def load(value: Json) -> Any:
        check(value, (list,))
        return tuple(each(lambda pair: pair[0].load(pair[1]), zip(items, value, strict=True)))

    return Form(says, dump, load, (tuple, list), frozenset({"array"}))


def dict_form(key: Form, item: Form) -> Form:
    """dict[K, V]. JSON has only strings for keys: an int becomes one, all else must be one already."""
    if key.shapes == {"int"}:
        key = text_of_int(key)
    if key.shapes != {"string"}:
        raise Unsupported(f"the keys of a dict must be strings in JSON, or int; {key.says} is not")

    def turn(value: Any, keys: Callable[..., Any], items: Callable[..., Any], *rest: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise misfit("a dict", value)
        turned: dict[Any, Any] = {}
        for name, inner in value.items():
            try:
                name_turned = keys(name, *rest)
                if name_turned in turned:
                    raise Misfit("this key is there twice, in two spellings")
                turned[name_turned] = items(inner, *rest)
            except Misfit as error:
                raise error.inside(f"[{name!r}]") from None
        return turned

    return Form(
        "a dict",
        lambda value, root: turn(value, key.dump, item.dump, root),
        lambda value: turn(value, key.load, item.load),
        (dict,),
        frozenset({"object"}),
    )


def text_of_int(form: Form) -> Form:
    """An int's Form as the key of a JSON object."""

    def load(value: Json) -> Any:
        if type(value) is not str or not re.fullmatch("0|-?[1-9][0-9]{0,19}", value):
            raise misfit("an int in a string", value)
        return form.load(int(value))

    return Form(form.says, lambda value, root: str(form.dump(value, root)), load, form.python, frozenset({"string"}))


def dataclass_form(kind: type, making: dict[type, Form]) -> Form:
    """A dataclass inside a task. It may hold itself, as trees do: its Form is there before its fields' Forms are."""
    says = f"a {kind.__qualname__}"
    parts: dict[str, tuple[Form, bool]] = {}

    def dump(value: Any, root: str) -> Json:
        if type(value) is not kind:  # a subclass would come back as its base
            raise misfit(says, value)
        turned = {}
        for name, (form, _) in parts.items():
            try:
                turned[name] = form.dump(getattr(value, name), root)
            except Misfit as error:
                raise error.inside(f".{name}") from None
        return turned

    def load(value: Json) -> Any:
        if type(value) is not dict:
            raise misfit(says, value)
        strange = [name for name in value if name not in parts]
        missing = [name for name, (_, required) in parts.items() if required and name not in value]
        if strange or missing:
            raise Misfit(f"{says} has no field {strange[0]!r}" if strange else f"{says} needs the field {missing[0]!r}")
        turned = {}
        for name, inner in value.items():
            try:
                turned[name] = parts[name][0].load(inner)
            except Misfit as error:
                raise error.inside(f".{name}") from None
        return kind(**turned)

    form = making[kind] = Form(says, dump, load, (kind,), frozenset({"object"}))
    hints = resolve(kind)
    if any(True for hint in hints.values() for _ in markers(hint)):
        raise Unsupported(f"Input, Output and Hint are for the fields of a task itself, not of {kind.__qualname__}")
    for field in stored_fields(kind):
        if field.init:
            required = field.default is MISSING and field.default_factory is MISSING
            parts[field.name] = (form_of(hints[field.name], making), required)
    return form


def stored_fields(kind: type) -> tuple[dataclasses.Field[Any], ...]:
    """The fields of a dataclass. Raises Unsupported if it has an InitVar, whose value nobody keeps."""
    for name, field in getattr(kind, "__dataclass_fields__", {}).items():
        if "INITVAR" in str(field._field_type):
            raise Unsupported(f"{kind.__qualname__}.{name} is an InitVar, whose value cannot be stored")
    return dataclasses.fields(kind)


def resolve(kind: type) -> dict[str, Any]:
    """The annotations of a class and its bases, markers included. Raises Unsupported, naming what is not known."""
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception as error:  # annotations in strings are expressions: anything may happen
        raise Unsupported(f"the annotations of {kind.__qualname__} cannot be resolved: {error}") from error
