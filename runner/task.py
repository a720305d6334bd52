"""What a user writes: Task, its settings and markers; and what the runner reads from it: its parameters and identity.

`describe(cls)` is all that is known of a task class, made once. `encode` and `decode` are the way of a task into a job
file and back. A job is known by what it makes: `job_id` hashes the first Output path, or else the parameters. Paths
have one spelling everywhere, that of `normalised`. This module runs no task and touches no file; outside a worker a
task is a plain dataclass whose `run()` may simply be called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import msgspec

from runner.core.ledger import nature_hash, output_hash
from runner.core.model import Json
from runner.fields import Hint, Input, Output
from runner.outcome import CURRENT, Absent, Context, Last, NoRetry, RetryLater, Unchanged, previous
from runner.scalars import Misfit, make_path, normalised, shown
from runner.tasktype import FieldInfo, PathPlan, TaskType, check_free, own_annotations, task_type

__all__ = [
    "CURRENT",
    "Absent",
    "Context",
    "FieldInfo",
    "Hint",
    "Input",
    "Last",
    "NoRetry",
    "Output",
    "RetryLater",
    "Task",
    "TaskMeta",
    "TaskType",
    "Unchanged",
    "decode",
    "describe",
    "encode",
    "fingerprint",
    "identify",
    "input_paths",
    "job_id",
    "normalised",
    "only_hints",
    "output_paths",
    "previous",
    "replace_paths",
    "wiring",
    "with_defaults",
    "with_inputs",
    "without_hints",
]

T = TypeVar("T")
AnyTask = TypeVar("AnyTask", bound="Task")


# ------------------------------------------------------------------------------------------------------------ tasks


def taken(value: Any, is_path: bool) -> Any:
    """An argument, as a field takes it."""
    return make_path(value) if is_path else value


class TaskMeta(type):
    """Makes a str that is given for a Path a Path, before and after the dataclass' own `__init__`."""

    def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T:
        plan = path_plan(cls)
        if plan is None:
            plain: T = type.__call__(cls, *args, **kwargs)
            return plain
        if args:
            args = (*map(taken, args, plan.takes), *args[len(plan.takes) :])
        for name in plan.names if kwargs else ():
            if name in kwargs:
                kwargs[name] = make_path(kwargs[name])
        task: T = type.__call__(cls, *args, **kwargs)
        for name in plan.names:  # defaults, and what __post_init__ has set
            value = getattr(task, name, None)
            if not isinstance(value, Path) and (path := make_path(value)) is not value:
                object.__setattr__(task, name, path)
        return task


class Task(metaclass=TaskMeta):
    """Base of all tasks. Subclasses are dataclasses (`@dataclass`) with a `run()`.

    Settings are plain class attributes, without annotation. Times are seconds or timedeltas.
    """

    version: ClassVar[int] = 1  # bump it, and done jobs are due
    max_age: ClassVar[float | timedelta | None] = None  # due again when the last success is that old
    retries: ClassVar[int] = 2  # attempts after the first one
    backoff: ClassVar[float | timedelta] = 1.0  # before the first retry; doubled for each further one
    timeout: ClassVar[float | timedelta | None] = None  # an attempt that takes longer is ended, and has failed
    priority: ClassVar[int] = 0  # the higher, the sooner
    trigger_rule: ClassVar[str] = "all_success"  # or "all_done": also when some upstream job failed
    value: ClassVar[Any] = None  # in downstream_tasks(): what run() returned
    _no_parameter: ClassVar[str] = "a task is no parameter: take its Output's path as an Input, or use upstream_tasks()"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in own_annotations(cls):
            check_free(cls, name)
        # In the class' own dict, so that @dataclass leaves them alone, and frozen makes no difference.
        if "__eq__" not in cls.__dict__:
            type.__setattr__(cls, "__eq__", cls.__eq__)
        if "__hash__" not in cls.__dict__:
            type.__setattr__(cls, "__hash__", cls.__hash__)
        elif cls.__dict__["__hash__"] is None:  # Python's answer to an __eq__ of its own
            type.__setattr__(cls, "__hash__", Task.__hash__)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(self) is not type(other):
            return NotImplemented
        return _canonical(encode(self, "")) == _canonical(encode(other, ""))

    def __hash__(self) -> int:
        return hash(job_id(self, ""))

    def run(self) -> Any:
        """Does the work. May return a small JSON value, Unchanged or Absent. By itself: nothing to do."""

    def limits(self) -> Iterable[str] | Mapping[str, Any]:
        """Keys of the limits to respect, or {key: jobs at once} or {key: (jobs at once, starts per second)}.

        Of what the jobs that are ready or running say of one key, the strictest holds.
        """
        return ()

    def upstream_tasks(self) -> Iterable[Task]:
        """Tasks to wait for, beyond those that make the Inputs."""
        return ()

    def downstream_tasks(self) -> Iterable[Task] | Mapping[Task, Iterable[Task]]:
        """Tasks found by running this one: an iterable, or a graph, {task: {tasks it waits for}}."""
        return ()

    def due(self, last: Last, now: datetime) -> str | None:
        """Why this task, done with the record `last`, must run again at `now`; None if it need not."""
        if self.max_age is None:
            return None
        limit = self.max_age if isinstance(self.max_age, timedelta) else timedelta(seconds=self.max_age)
        return f"older than {limit}" if now - last.checked_at >= limit else None


# -------------------------------------------------------------------------------------------- classes and parameters


def describe(cls: type[Task]) -> TaskType:
    """All that is known of a task class. Raises TypeError, naming class and field, for what cannot be a job."""
    found: TaskType | None = cls.__dict__.get("_task_type")
    if found is None or found.cls is not cls:  # dataclass(slots=True) copies a class' dict into a new class
        found = task_type(cls, Task)
        type.__setattr__(cls, "_task_type", found)
    return found


def path_plan(cls: type[Any]) -> PathPlan | None:
    try:
        return describe(cls).path_plan
    except TypeError:  # said when the task is made into a job; until then it is a plain object
        return None


def encode(task: Task, root: Path | str) -> dict[str, Json]:
    """The parameters of a task as JSON, paths as `normalised`. Raises TypeError, naming class and field."""
    base = str(root)
    type_ = describe(type(task))
    try:
        return {field.name: field.form.dump(getattr(task, field.name), base) for field in type_.fields}
    except (AttributeError, Misfit, RecursionError):  # once more, to tell which field it was
        return {field.name: _dump(type_, field, task, base) for field in type_.fields}


def _dump(type_: TaskType, field: FieldInfo, task: Task, root: str) -> Json:
    try:
        return field.form.dump(getattr(task, field.name), root)
    except AttributeError:
        raise TypeError(f"{type_.name}.{field.name} has no value") from None
    except (Misfit, RecursionError) as error:
        raise _unfit(type_, field, error) from None


def _unfit(type_: TaskType, field: FieldInfo, error: Exception) -> TypeError:
    if isinstance(error, Misfit):
        return TypeError(f"{type_.name}.{field.name}{error.where}: {error.message}")
    return TypeError(f"{type_.name}.{field.name} holds itself, or is nested too deep")


def decode(cls: type[AnyTask], params: Mapping[str, Json], root: Path | str) -> AnyTask:
    """The task that `encode` gave `params` for. A missing parameter counts as its default.

    Raises TypeError, naming class and field, when they do not fit the class any more. Relative paths stay relative.
    """
    type_ = describe(cls)
    arguments = {}
    missing = []
    for field in type_.fields:
        if field.name not in params:
            missing.append(field)
            continue
        try:
            if field.init:
                arguments[field.name] = field.form.load(params[field.name])
        except (Misfit, RecursionError) as error:
            raise _unfit(type_, field, error) from None
    if len(type_.fields) - len(missing) < len(params):
        name = next(name for name in params if type_.field(name) is None)
        raise TypeError(f"{type_.name} has no field {name!r}")
    for field in missing:
        if field.required:
            raise TypeError(f"{type_.name}.{field.name} has no value, and no default")
    try:
        task = cls(**arguments)
    except Exception as error:  # __post_init__ is the user's
        raise TypeError(f"{type_.name} refuses its parameters: {type(error).__name__}: {error}") from error
    for field in type_.computed:
        if field.name in params:
            found = _dump(type_, field, task, str(root))
            if found != params[field.name]:
                raise TypeError(
                    f"{type_.name}.{field.name}: is computed, and comes to {found!r} now; it was {params[field.name]!r}"
                )
    return task


def with_defaults(type_: TaskType, params: Mapping[str, Json], root: Path | str) -> dict[str, Json]:
    """`params` of an older record, with the defaults of what is missing, as far as there are any. Unknown ones stay.

    Raises TypeError, naming class and field, for a default that does not fit its field.
    """
    complete = dict(params)
    for field in type_.fields:
        if field.name not in params and field.init and not field.required:
            try:
                complete[field.name] = field.form.dump(field.default_value(), str(root))
            except Misfit as error:
                raise _unfit(type_, field, error) from None
    return complete


def without_hints(type_: TaskType, params: Mapping[str, Json]) -> dict[str, Json]:
    """`params` without the Hints."""
    return {name: value for name, value in params.items() if name not in type_.hints}


def only_hints(type_: TaskType, params: Mapping[str, Json]) -> dict[str, Json]:
    """The Hints among `params`."""
    return {name: value for name, value in params.items() if name in type_.hints}


# ------------------------------------------------------------------------------------------------------- identity

_canonical = msgspec.json.Encoder(order="sorted").encode


def short_hash(data: bytes) -> str:
    return sha256(data).hexdigest()[:16]


def fingerprint(type_: TaskType, params: Mapping[str, Json]) -> str:
    """16 hex digits that tell whether two wishes for one job are the same: of its parameters, Hints left out."""
    if not type_.outputs:  # then they are in its id
        return identify(type_, params)[-16:]
    return short_hash(_canonical(without_hints(type_, params) if type_.hints else params))


def identify(type_: TaskType, params: Mapping[str, Json]) -> str:
    """The id of the job with these parameters: known by what it makes, or else by what it is."""
    for field in type_.outputs:
        for path in paths_in(params.get(field.name)):
            return f"{type_.cls.__name__}-{output_hash(path)}"
    return f"{type_.cls.__name__}-{nature_hash(type_.name, without_hints(type_, params) if type_.hints else params)}"


def job_id(task: Task, root: Path | str) -> str:
    """The id of a task's job. Raises TypeError as `encode` does, but looks at no more fields than it must."""
    base = str(root)
    type_ = describe(type(task))
    for field in type_.outputs:
        for path in paths_in(_dump(type_, field, task, base)):
            return f"{type_.cls.__name__}-{output_hash(path)}"
    return identify(type_, encode(task, base))


def paths_in(value: Json) -> list[str]:
    """The paths in the JSON of an Input or Output field. Raises TypeError for what cannot be one."""
    if isinstance(value, str):
        return [value]
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(path, str) for path in value):
        return value
    raise TypeError(f"expected a path, or a list of paths, found {shown(value)}")


def input_paths(task: Task, root: Path | str) -> list[tuple[FieldInfo, str]]:
    """Every Input path, `normalised`, with its field. Raises TypeError as `encode` does."""
    type_ = describe(type(task))
    return [(field, path) for field in type_.inputs for path in paths_in(_dump(type_, field, task, str(root)))]


def wiring(type_: TaskType, params: Mapping[str, Json], there: Collection[str]) -> str:
    """16 hex digits that tell which Input field has which of the files that are there, in which order."""
    wired = [
        [field.name, [path for path in paths_in(params.get(field.name)) if path in there]] for field in type_.inputs
    ]
    return short_hash(_canonical(wired))


def output_paths(task: Task, root: Path | str) -> list[str]:
    """Every Output path, `normalised`. Raises TypeError as `encode` does."""
    type_ = describe(type(task))
    return [path for field in type_.outputs for path in paths_in(_dump(type_, field, task, str(root)))]


# --------------------------------------------------------------------------------------------------------- copies


def replace_paths(task: AnyTask, place: Callable[[str], str], root: Path | str = "") -> AnyTask:
    """A copy whose Output fields hold `place(normalised path)`: where to write until the files are put in place.

    `root` "" is the working directory. `__post_init__` is not called: it might compute the final path again. Raises
    TypeError as `encode` does.
    """
    base, type_ = str(root), describe(type(task))
    values: dict[str, Any] = {}
    for field in type_.outputs:
        paths = [Path(place(path)) for path in paths_in(_dump(type_, field, task, base))]
        if paths:
            values[field.name] = type(getattr(task, field.name))(paths) if field.many else paths[0]
    return changed(task, values)


def with_inputs(task: AnyTask, there: Collection[str], root: Path | str = "") -> AnyTask:
    """A copy whose `Input | None` fields are None and whose `list[Input]` are shorter, where a file is not in `there`.

    A plain Input stays as it is. `there` holds `normalised` paths.
    """

    def is_there(path: Path) -> bool:
        return normalised(str(path), str(root)) in there

    values = {}
    for field in describe(type(task)).inputs:
        value = getattr(task, field.name)
        if value is None:
            continue
        if field.many:
            values[field.name] = type(value)(path for path in value if is_there(path))
        elif field.optional and not is_there(value):
            values[field.name] = None
    return changed(task, values)


def changed(task: AnyTask, values: Mapping[str, Any]) -> AnyTask:
    """A copy with other field values, frozen or not, with slots or not."""
    cls = type(task)
    copy = object.__new__(cls)
    state = {**vars(task), **values}
    for name in getattr(cls, "__dataclass_fields__", ()):  # with slots=True they are not in vars()
        if name not in state and hasattr(task, name):
            state[name] = getattr(task, name)
    for name, value in state.items():
        if not isinstance(getattr(cls, name, None), functools.cached_property):  # it may hold a path that changes now
            object.__setattr__(copy, name, value)
    return copy
