"""Task classes that several tests use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

from runner.task import (
    Hint,
    Input,
    Output,
    Task,
    TaskMeta,
)

ROOT = "/project"


@dataclass
class Fetch(Task):
    url: str
    filepath: Output
    lastmod: Hint[str | None] = None

    def run(self) -> dict[str, str]:
        self.filepath.write_text(self.url, encoding="utf-8")
        return {"etag": "x"}


@dataclass
class Merge(Task):
    inputs: list[Input]
    output: Output
    extra: Input | None = None
    more: list[Output] = field(default_factory=list)
    maybe: Output | None = None


@dataclass(frozen=True)
class Frozen(Task):
    output: Output
    pages: tuple[Input, ...] = ()


@dataclass(slots=True)
class Slotted(Task):
    output: Output
    many: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FrozenSlotted(Task):
    output: Output = "out/a.txt"  # type: ignore[assignment]
    number: int = 1


@dataclass
class NoFile(Task):
    name: str
    weights: dict[str, float] = field(default_factory=dict)
    seen: Hint[datetime | None] = None


class Plain(Task):
    version = 3


def one_field(hint: Any, **options: Any) -> type[Task]:
    made = TaskMeta("Made", (Task,), {"__annotations__": {"one": hint}, "__module__": "tests.task_samples", **options})
    return cast("type[Task]", dataclass(made))
