"""doit's tasks. `run_once`: done once is done, which is what doit writes into its database.

doit run count=N
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from doit import get_var
from doit.tools import run_once

COUNT = int(get_var("count", 1))


def noop(number: int) -> None:
    pass


def task_noop() -> Iterator[dict[str, Any]]:
    for number in range(COUNT):
        yield {"name": str(number), "actions": [(noop, [number])], "uptodate": [run_once]}
