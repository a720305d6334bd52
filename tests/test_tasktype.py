from __future__ import annotations

from dataclasses import KW_ONLY, InitVar, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, cast

import pytest

from runner.core.ledger import output_hash
from runner.task import (
    Input,
    Last,
    Output,
    Task,
    TaskMeta,
    decode,
    describe,
    encode,
    job_id,
)
from tests.task_samples import ROOT, Fetch, Frozen, Merge, NoFile, one_field


def test_what_describe_says_about_fields() -> None:
    fields = {each.name: each for each in describe(Merge).fields}
    assert {name: (each.kind, each.many, each.optional) for name, each in fields.items()} == {
        "inputs": ("input", True, False),
        "output": ("output", False, False),
        "extra": ("input", False, True),
        "more": ("output", True, False),
        "maybe": ("output", False, True),
    }
    assert [each.name for each in fields.values() if each.required] == ["inputs", "output"]
    assert fields["more"].default_value() == []
    assert fields["more"].default_value() is not fields["more"].default_value()
    assert describe(Merge) is describe(Merge)
    assert describe(Fetch).hints == {"lastmod"}
    assert describe(Fetch).name == "tests.task_samples:Fetch"
    assert describe(Frozen).inputs[0].many


def test_fields_without_a_dataclass() -> None:
    class Forgotten(Task):
        url: str

    with pytest.raises(TypeError, match=r"Forgotten\.url: annotated like a field, but no @dataclass has made it one"):
        encode(Forgotten(), ROOT)

    class Below(Fetch):
        more: int = 0

    with pytest.raises(TypeError, match=r"Below\.more: .*above class .*Below"):
        describe(Below)


def test_class_variables_and_keyword_only_fields_are_no_trouble() -> None:
    @dataclass
    class Fine(Task):
        shared: ClassVar[dict[str, int]] = {}
        url: str
        _: KW_ONLY
        output: Output = Path("o")

    assert encode(Fine("u", output="x"), ROOT) == {"url": "u", "output": "x"}  # type: ignore[arg-type]
    assert decode(Fine, {"url": "u"}, ROOT).output == Path("o")


def test_init_vars_cannot_be_stored() -> None:
    @dataclass
    class Once(Task):
        url: str
        secret: InitVar[str] = "x"

    @dataclass
    class Part:
        secret: InitVar[str] = "x"

    with pytest.raises(TypeError, match=r"Once: .*\.secret is an InitVar"):
        describe(Once)
    with pytest.raises(TypeError, match=r"Made\.one: .*\.secret is an InitVar"):
        describe(one_field(Part))


@dataclass
class Marked:
    file: Input


def test_markers_are_for_the_task_itself() -> None:
    with pytest.raises(TypeError, match=r"Made\.one: Input, Output and Hint are for the fields of a task itself"):
        describe(one_field(Marked))


def test_a_field_of_a_dataclass_mixin_may_not_be_a_setting_either() -> None:
    @dataclass
    class Mixin:
        retries: int = 5

    @dataclass
    class Mixed(Mixin, Task):
        pass

    with pytest.raises(TypeError, match=r"Mixed\.retries: a setting is a plain class attribute"):
        describe(Mixed)


# --------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize("name", ["version", "max_age", "retries", "backoff", "timeout", "priority", "trigger_rule"])
def test_annotating_a_setting_is_a_type_error(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Made\.{name}: a setting is a plain class attribute"):
        TaskMeta("Made", (Task,), {"__annotations__": {name: "int"}, name: 5})


@pytest.mark.parametrize("name", ["run", "limits", "upstream_tasks", "downstream_tasks", "due", "value"])
def test_names_that_the_runner_uses_are_no_fields(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Made\.{name}: the runner uses this name"):
        TaskMeta("Made", (Task,), {"__annotations__": {name: "int"}})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "2"),
        ("version", True),
        ("retries", -1),
        ("retries", 1.5),
        ("backoff", "1"),
        ("backoff", -1),
        ("backoff", None),
        ("timeout", 0),
        ("timeout", float("nan")),
        ("timeout", timedelta(-1)),
        ("max_age", "1d"),
        ("max_age", True),
        ("priority", None),
        ("trigger_rule", "one_success"),
        ("trigger_rule", None),
        ("trigger_rule", []),
    ],
)
def test_bad_settings_are_type_errors(name: str, value: object) -> None:
    cls = TaskMeta("Made", (Task,), {name: value})
    with pytest.raises(TypeError, match=rf"Made\.{name}: expected"):
        describe(cast("type[Task]", cls))


def test_settings_as_describe_gives_them() -> None:
    class Set(Task):
        version = 4
        max_age = timedelta(days=1)
        retries = 0
        backoff = timedelta(seconds=3)
        timeout = 5
        priority = -1
        trigger_rule = "all_done"

        def limits(self) -> list[str]:
            return ["a"]

        def due(self, last: Last, now: datetime) -> str | None:
            return None

    type_ = describe(Set)
    assert (type_.version, type_.max_age, type_.retries, type_.backoff) == (4, 86400.0, 0, 3.0)
    assert (type_.timeout, type_.priority, type_.all_done) == (5.0, -1, True)
    assert (type_.limited, type_.has_due, type_.asks, type_.has_upstream) == (True, True, False, False)
    plain = describe(NoFile)
    assert (plain.version, plain.max_age, plain.retries, plain.backoff) == (1, None, 2, 1.0)
    assert (plain.timeout, plain.priority, plain.all_done, plain.limited, plain.has_due) == (
        None,
        0,
        False,
        False,
        False,
    )


# ------------------------------------------------------------------------------------------------ inheritance


@dataclass
class Base(Task):
    name: str
    output: Output

    def downstream_tasks(self) -> list[Task]:
        return []


@dataclass
class Derived(Base):
    source: Input = Path("s")
    version = 2


class Renamed(Base):
    priority = 7


def test_task_classes_can_be_inherited() -> None:
    task = Derived("n", "o", "i")  # type: ignore[arg-type]
    assert encode(task, ROOT) == {"name": "n", "output": "o", "source": "i"}
    assert decode(Derived, encode(task, ROOT), ROOT) == task
    assert describe(Derived).asks
    assert describe(Derived).version == 2
    assert describe(Base).version == 1
    assert describe(Renamed).priority == 7
    assert Renamed("n", "o").output == Path("o")  # type: ignore[arg-type]
    assert describe(Renamed) is not describe(Base)
    assert Renamed("n", Path("o")) != Base("n", Path("o"))
    assert job_id(Renamed("n", Path("o")), ROOT) == f"Renamed-{output_hash('o')}"


def test_a_constructor_of_the_users_own() -> None:
    @dataclass(init=False)
    class Own(Task):
        output: Output

        def __init__(self, name: str = "", output: Path | str = "") -> None:
            self.output = output or f"data/{name}"  # type: ignore[assignment]

    assert Own("x").output == Path("data/x")
    assert decode(Own, encode(Own("x"), ROOT), ROOT) == Own("x")
