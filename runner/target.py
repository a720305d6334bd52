"""From names to Python objects: the task classes in job files, the targets of runs. For `batch.py`, which exports it.

Only modules on the list of the settings are imported, and nothing but a Task or a flow is ever called: a job file
must not be able to run anything else. Errors tell a module that is broken from a class that is gone from a healthy
one, since only the second lets jobs fail. This module changes no search path and keeps nothing.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
import sysconfig
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from runner.errors import GrowthLimit, RunnerError, TargetError, UsageError
from runner.fields import Unsupported, form_of
from runner.scalars import Form, Misfit, shown
from runner.task import Task, describe

Found: TypeAlias = Task | Iterable[Task] | Mapping[Task, Iterable[Task]]
"""What a flow, or `downstream_tasks()`, may give."""

MOST_ROOTS = 10_000_000
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


class ModuleBroken(TargetError):
    """A module cannot be imported."""


class ModuleGone(ModuleBroken):
    """There is no such module."""


class ClassGone(TargetError):
    """The module is healthy, but has no Task of that name."""


class FlowFailed(TargetError):
    """The user's flow, or a task's constructor, raised an exception (the `__cause__`)."""


def load_class(name: str, modules: Sequence[str]) -> type[Task]:
    """The task class `name`, "package.module:Class". `modules`: those that may be imported, with all below them.

    Raises ModuleBroken (ModuleGone if there is none), ClassGone, or a plain TargetError for what is not allowed.
    """
    module_name, attribute = split(name)
    check_allowed(module_name, modules, name)
    module = load_module(module_name)
    found = look_up(module, attribute)
    if found is None:
        raise ClassGone(f"{name}: module {module_name} has no {attribute}{instead(attribute, tasks_of(module))}")
    if not is_task(found):
        raise ClassGone(f"{name} is no Task any more, but {shown(found)}")
    check_allowed(found.__module__, modules, name)
    return found  # type: ignore[no-any-return]


def load_target(
    target: str, arguments: Mapping[str, str], modules: Sequence[str]
) -> Iterable[Task] | Mapping[Task, Any]:
    """The tasks of a run: "module:Task" made from KEY=VALUE strings, or what "module:flow" gives, called with them.

    Raises UsageError for unknown, missing or unfit arguments, TargetError for a target that cannot be had, FlowFailed
    if the user's code raises.
    """
    call = prepare(target, arguments, modules)
    try:
        found = call()
        if isinstance(found, Task):
            return [found]
        if isinstance(found, Mapping):
            return found
        if isinstance(found, Iterable) and not isinstance(found, (str, bytes)):
            return one_by_one(found, target)
    except RunnerError:
        raise
    except Exception as error:
        raise FlowFailed(f"{target} raised {told(error)}") from error
    if inspect.iscoroutine(found):
        found.close()
        raise TargetError(f"{target} is async; a flow is a plain function that returns tasks")
    raise TargetError(f"{target} gave {shown(found)}; a flow returns tasks, yields them, or gives a graph of them")


def one_by_one(found: Iterable[Task], target: str) -> Iterator[Task]:
    """What a flow gives, as it gives it: a million tasks need not be there at once. Raises FlowFailed, GrowthLimit."""
    try:
        for number, task in enumerate(found):
            if number >= MOST_ROOTS:
                raise GrowthLimit(f"{target} gave more than {MOST_ROOTS:,} tasks: most likely it never ends")
            yield task
    except RunnerError:
        raise
    except Exception as error:
        raise FlowFailed(f"{target} raised {told(error)}") from error


def check_target(target: str, arguments: Mapping[str, str], modules: Sequence[str]) -> None:
    """Everything that `load_target` checks before it calls the target. Raises as it does."""
    prepare(target, arguments, modules)


def check_class(name: str, modules: Sequence[str]) -> None:
    """Whether `name`, "module:Class" or the name alone, is a task class. Raises UsageError, TargetError."""
    if ":" in name:
        load_class(name, modules)
        return
    known: dict[str, None] = {}
    classes = list(Task.__subclasses__())
    for cls in classes:  # it grows
        classes += cls.__subclasses__()
        if any(f"{cls.__module__}.".startswith(f"{allowed}.") for allowed in modules):
            known[cls.__name__] = None
    if name not in known:
        later = "if its module is imported only later, write module:Class"
        raise UsageError(f"no task class {name!r} is imported ({later}){instead(name, list(known))}")


def prepare(target: str, arguments: Mapping[str, str], modules: Sequence[str]) -> Callable[[], Any]:
    """The target, ready to be called."""
    module_name, attribute = split(target)
    check_allowed(module_name, modules, target)
    module = load_module(module_name)
    found = look_up(module, attribute)
    if found is None:
        names = tasks_of(module) + flows_of(module)
        raise TargetError(f"module {module_name} has no {attribute}{instead(attribute, names)}")
    if is_task(found):
        values = task_arguments(target, found, arguments)
    elif isinstance(found, type) or not callable(found):
        raise TargetError(f"{target} is neither a Task nor a flow (a function that returns tasks), but {shown(found)}")
    else:
        values = flow_arguments(target, found, arguments)
    return lambda: found(**values)


# ---------------------------------------------------------------------------------------------------------- modules


def split(name: str) -> tuple[str, str]:
    module, _, attribute = name.partition(":")
    if not _DOTTED.fullmatch(module) or not _DOTTED.fullmatch(attribute):
        raise TargetError(f"{name!r} is no name of a task or flow; write module:name, such as jobs.scrape:nightly")
    return module, attribute


def check_allowed(module: str, modules: Sequence[str], name: str) -> None:
    if not any(module == allowed or module.startswith(allowed + ".") for allowed in modules):
        raise TargetError(
            f"{name}: module {module} is not among the modules whose tasks may run ({', '.join(modules) or 'none'}); "
            "add it to `modules` under [tool.runner] in pyproject.toml"
        )


def load_module(name: str) -> types.ModuleType:
    """Imports a module. Raises ModuleGone or ModuleBroken."""
    try:
        if name not in sys.modules:
            importlib.invalidate_caches()  # it may have been written a moment ago
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise ModuleGone(f"there is no module {error.name}; is the project's folder the right one?") from error
        raise ModuleBroken(f"module {name} cannot be imported: {told(error)}") from error
    except (Exception, SystemExit) as error:
        raise ModuleBroken(f"module {name} cannot be imported: {told(error)}") from error


def told(error: BaseException) -> str:
    """An error in one or two lines: type and message; file and line."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{type(error).__name__}: {error.msg}\n  {error.filename}:{error.lineno}"
    library = (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    own = [frame for frame in frames if not frame.filename.startswith(library) and frame.filename != __file__]
    message = (str(error).splitlines() or [""])[0][:300]
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return f"{text}\n  {own[-1].filename}:{own[-1].lineno}" if own else text


def look_up(module: types.ModuleType, attribute: str) -> Any:
    """A module's attribute, or a class inside a class; None if there is none."""
    found: Any = module
    for part in attribute.split("."):
        if found is not module and not isinstance(found, type):  # no way through one module into another
            return None
        found = getattr(found, part, None)
    return found


def is_task(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, Task) and found is not Task


def tasks_of(module: types.ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if is_task(value) and belongs(value, module)]


def flows_of(module: types.ModuleType) -> list[str]:
    return [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and belongs(value, module) and not name.startswith("_")
    ]


def belongs(found: Any, module: types.ModuleType) -> bool:
    """Whether something was defined in a module or below it, not just imported there from elsewhere."""
    return f"{found.__module__}.".startswith(f"{module.__name__}.")


def instead(name: str, names: Sequence[str]) -> str:
    """What there is instead of `name`, the likeliest first."""
    close = difflib.get_close_matches(name, names, 1)
    guess = f"; did you mean {close[0]}?" if close else "."
    return f"{guess} It has: {', '.join(names)}" if names else guess


# -------------------------------------------------------------------------------------------------------- arguments


def task_arguments(target: str, cls: type[Task], given: Mapping[str, str]) -> dict[str, Any]:
    try:
        fields = [field for field in describe(cls).fields if field.init]
    except TypeError as error:
        raise TargetError(str(error)) from error
    check_names(target, given, [field.name for field in fields], [field.name for field in fields if field.required])
    return {field.name: converted(field.name, given[field.name], field.form) for field in fields if field.name in given}


def flow_arguments(target: str, flow: Callable[..., Any], given: Mapping[str, str]) -> dict[str, Any]:
    try:
        signature = inspect.signature(flow)
    except (TypeError, ValueError) as error:
        raise TargetError(f"{target} cannot be called: {error}") from error
    named: dict[str, inspect.Parameter] = {}
    open_ended = False
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            named[name] = parameter
        elif parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty:
            raise TargetError(f"{target} has the positional-only parameter {name}, which nobody can give by name")
        open_ended |= parameter.kind is parameter.VAR_KEYWORD
    required = [name for name, parameter in named.items() if parameter.default is parameter.empty]
    check_names(target, given, [*named, *given] if open_ended else list(named), required)
    hints = annotations_of(flow)
    values: dict[str, Any] = {}
    for name, text in given.items():
        try:
            form = form_of(hints[name]) if name in named and name in hints else None
        except Unsupported:  # the runner never stores it, so it may be anything: the flow gets the text
            form = None
        values[name] = converted(name, text, form) if form is not None else text
    return values


def annotations_of(flow: Callable[..., Any]) -> dict[str, Any]:
    try:
        return inspect.get_annotations(inspect.unwrap(flow), eval_str=True)
    except Exception:  # not resolvable, or no plain function: then there is nothing to convert by
        return {}


def check_names(target: str, given: Mapping[str, str], names: Sequence[str], required: Sequence[str]) -> None:
    """Raises UsageError for arguments that are unknown or missing."""
    for name in given:
        if name not in names:
            takes = instead(name, names) if names else "; it takes none"
            raise UsageError(f"{target} has no parameter {name!r}{takes}")
    missing = [name for name in required if name not in given]
    if missing:
        raise UsageError(f"{target} needs {', '.join(f'{name}=...' for name in missing)}")


def converted(name: str, text: str, form: Form) -> Any:
    """A value from the command line: as it stands if its type is a string in JSON, else read as JSON."""
    if "string" in form.shapes:
        try:
            return form.load(text)
        except Misfit:
            pass
    if "bool" in form.shapes and text.lower() in WORDS:
        return WORDS[text.lower()]
    if "null" in form.shapes and text.lower() in ("", "none", "null"):
        return None
    try:
        return form.load(msgspec.json.decode(text))
    except Misfit as error:
        place = f" (at {error.where})" if error.where else ""
        raise UsageError(f"{name}={text}: {error.message}{place}") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        as_json = ", written as JSON" if form.shapes & {"array", "object"} else ""
        raise UsageError(f"{name}={text}: expected {form.says}{as_json}") from None


WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
