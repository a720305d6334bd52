"""What is known of a task class: its fields, its settings, what it overrides. For `task.py`, which exports it.

`task_type(cls, base)` reads a class once and says in a TypeError, naming class and field, what cannot be. It must not
make a task, nor call one.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass
from datetime import timedelta
from math import isfinite
from typing import Any, ClassVar, Final, get_origin

from runner.fields import Kind, Unsupported, file_form, form_of, holds_paths, placed, resolve, stored_fields
from runner.scalars import Form, make_path, shown

SETTINGS: Final = ("version", "max_age", "retries", "backoff", "timeout", "priority", "trigger_rule")
METHODS: Final = ("run", "limits", "upstream_tasks", "downstream_tasks", "due")
TRIGGER_RULES: Final = ("all_success", "all_done")


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of a task class."""

    name: str
    kind: Kind
    many: bool  # list[Input] and the like
    optional: bool  # ... | None
    type: Any  # as annotated
    default: Any  # dataclasses.MISSING: required. A default factory's value is made anew by each use
    form: Form
    paths: bool  # a str in it means a Path
    init: bool  # False: computed by __post_init__

    @property
    def required(self) -> bool:
        return self.init and self.default is MISSING

    def default_value(self) -> Any:
        value = self.default() if isinstance(self.default, Factory) else self.default
        return make_path(value) if self.paths else value


@dataclass(frozen=True, slots=True)
class Factory:
    """A field's default_factory."""

    make: Callable[[], Any]

    def __call__(self) -> Any:
        return self.make()


@dataclass(frozen=True, slots=True)
class PathPlan:
    """Where a class' constructor takes Paths."""

    names: frozenset[str]
    takes: tuple[bool, ...]  # of each of the constructor's positional parameters, whether it is one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """All that is known of a task class. Times are seconds."""

    cls: type[Any]  # a Task
    name: str  # "jobs.scrape:FetchPage"
    fields: tuple[FieldInfo, ...]
    inputs: tuple[FieldInfo, ...]
    outputs: tuple[FieldInfo, ...]
    computed: tuple[FieldInfo, ...]  # not given to the constructor
    hints: frozenset[str]
    untraced: frozenset[str]  # Hints and Inputs: not compared as parameters
    asks: bool  # these four: its class has a method of its own
    limited: bool
    has_upstream: bool
    has_due: bool
    version: int
    retries: int
    backoff: float
    timeout: float | None
    max_age: float | None
    priority: int
    all_done: bool
    path_plan: PathPlan | None

    @property
    def wired(self) -> bool:
        """Whether the list of its input files does not tell which field has which of them."""
        return len(self.inputs) > 1 or any(field.many for field in self.inputs)

    def needs(self, field: FieldInfo) -> bool:
        """Whether a job does not start as long as a file of this Input is neither there nor recorded as absent."""
        return not (self.all_done if field.many else field.optional)

    def field(self, name: str) -> FieldInfo | None:
        return next((field for field in self.fields if field.name == name), None)


def own_annotations(cls: type) -> dict[str, Any]:
    try:
        return inspect.get_annotations(cls)
    except NameError:  # evaluated late (Python 3.14) and not there yet: task_type() will see the fields
        return {}


def check_free(cls: type, name: str) -> None:
    """Raises TypeError if a field's name means something else to the runner."""
    if name in SETTINGS:
        raise TypeError(f"{cls.__qualname__}.{name}: a setting is a plain class attribute; write it without annotation")
    if name in METHODS or name == "value":
        raise TypeError(f"{cls.__qualname__}.{name}: the runner uses this name itself; give the field another one")


def task_type(cls: type[Any], base: type) -> TaskType:
    """Everything about `cls`, a subclass of `base` (Task). Raises TypeError, naming class and field."""
    name = f"{cls.__module__}:{cls.__qualname__}"
    fields = fields_of(cls, base, name)

    def own(method: str) -> bool:
        return getattr(cls, method) is not getattr(base, method)

    rule = cls.trigger_rule
    if rule not in TRIGGER_RULES:
        raise TypeError(f"{name}.trigger_rule: expected {' or '.join(TRIGGER_RULES)}, found {shown(rule)}")
    return TaskType(
        cls=cls,
        name=name,
        fields=fields,
        inputs=tuple(field for field in fields if field.kind == "input"),
        computed=tuple(field for field in fields if not field.init),
        outputs=tuple(field for field in fields if field.kind == "output"),
        hints=frozenset(field.name for field in fields if field.kind == "hint"),
        untraced=frozenset(field.name for field in fields if field.kind in ("hint", "input")),
        asks=own("downstream_tasks"),
        limited=own("limits"),
        has_upstream=own("upstream_tasks"),
        has_due=own("due"),
        version=whole(cls, name, "version"),
        retries=whole(cls, name, "retries", least=0),
        backoff=seconds(cls, name, "backoff"),
        timeout=seconds_or_none(cls, name, "timeout"),
        max_age=seconds_or_none(cls, name, "max_age"),
        priority=whole(cls, name, "priority"),
        all_done=rule == "all_done",
        path_plan=plan_of(cls, fields),
    )


def whole(cls: type, name: str, setting: str, least: int | None = None) -> int:
    value = getattr(cls, setting)
    if type(value) is not int or (least is not None and value < least):
        raise TypeError(
            f"{name}.{setting}: expected an int{'' if least is None else f' >= {least}'}, found {shown(value)}"
        )
    return value


def seconds(cls: type, name: str, setting: str) -> float:
    value = getattr(cls, setting)
    number = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not isfinite(number) or number < 0:
        raise TypeError(f"{name}.{setting}: expected seconds or a timedelta, not below 0, found {shown(value)}")
    if setting == "timeout" and number == 0:
        raise TypeError(f"{name}.timeout: expected more than 0 seconds, or None for no bound")
    return float(number)


def seconds_or_none(cls: type, name: str, setting: str) -> float | None:
    return None if getattr(cls, setting) is None else seconds(cls, name, setting)


def plan_of(cls: type, fields: tuple[FieldInfo, ...]) -> PathPlan | None:
    names = frozenset(field.name for field in fields if field.paths)
    if not names:
        return None
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return PathPlan(names, tuple(parameter.name in names for parameter in parameters if parameter.kind in kinds))


def fields_of(cls: type, base: type, name: str) -> tuple[FieldInfo, ...]:
    """The fields that are stored. Raises TypeError."""
    try:
        listed = {field.name: field for field in stored_fields(cls)} if dataclasses.is_dataclass(cls) else {}
    except Unsupported as error:
        raise TypeError(f"{name}: {error}") from None
    try:
        hints = resolve(cls)
    except Unsupported as error:
        raise TypeError(f"{name}{culprit(listed.values(), error)}: {error}") from error
    for klass in cls.__mro__:
        if issubclass(klass, base) and klass is not base:
            check_decorated(klass, hints, listed.keys(), name)
    made = []
    for field in listed.values():
        check_free(cls, field.name)
        try:
            info = field_info(field, hints[field.name])
        except Unsupported as error:
            raise TypeError(f"{name}.{field.name}: {error}") from None
        if info is not None:
            made.append(info)
    return tuple(made)


def check_decorated(klass: type, hints: dict[str, Any], listed: Iterable[str], name: str) -> None:
    """Raises TypeError for what looks like a field in the class body, but never became one."""
    for attribute in own_annotations(klass):
        hint = hints.get(attribute)
        no_field = hint is ClassVar or get_origin(hint) is ClassVar or hint is dataclasses.KW_ONLY
        if attribute not in listed and not no_field:
            raise TypeError(
                f"{name}.{attribute}: annotated like a field, but no @dataclass has made it one: "
                f"write @dataclass above class {klass.__qualname__}, or annotate it as ClassVar[...]"
            )


def culprit(fields: Iterable[dataclasses.Field[Any]], error: Unsupported) -> str:
    """The field whose annotation could not be resolved, as far as that can be told."""
    unknown = getattr(error.__cause__, "name", None)
    for field in fields:
        if unknown and isinstance(field.type, str) and re.search(rf"\b{re.escape(unknown)}\b", field.type):
            return f".{field.name}"
    return ""


def field_info(field: dataclasses.Field[Any], hint: Any) -> FieldInfo | None:
    """A field as the runner sees it; None for one that is computed and no file. Raises Unsupported."""
    kind, many = placed(hint)
    is_file = kind in ("input", "output")
    if not field.init and not is_file:
        return None
    form = file_form(hint, many) if is_file else form_of(hint)
    default = field.default
    if default is MISSING and field.default_factory is not MISSING:
        default = Factory(field.default_factory)
    return FieldInfo(
        name=field.name,
        kind=kind,
        many=many,
        optional="null" in form.shapes,
        type=hint,
        default=default,
        form=form,
        paths=holds_paths(hint),
        init=field.init,
    )
