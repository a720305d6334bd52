"""What a run looks like on a terminal: a table that is kept up to date, under the lines that stay.

Drawn with rich, which is imported for that alone. What it shows is plain text of ours, numbers, and class names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TextIO

from msgspec import Struct

from runner.core.model import Status

_MOST = 12  # task classes that have a row of their own
_BAR = 24  # columns
_NARROW = 70  # columns, below which it is lines of words


class Row(Struct, frozen=True):
    """One class of tasks: how many jobs of it stand where, and jobs a second lately."""

    task: str
    counts: dict[Status, int]
    rate: float

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def settled(self) -> int:
        return self.total - self.counts.get(Status.PENDING, 0) - self.counts.get(Status.RUNNING, 0)


class Screen:
    """A terminal, from the first drawing until `close`."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        # Not as wide as COLUMNS says, which somebody may have exported: the terminal knows, also when it is resized.
        known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self._console = Console(file=stream, highlight=False, _environ=known)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False, transient=True
        )
        self._live.start()

    def show(self, rows: Sequence[Row], below: Sequence[str], lines: Sequence[str]) -> None:
        """Draw anew. `lines` are new ones that stay, above."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        for line in lines:
            self._console.print(Text(line), soft_wrap=True)
        if self._console.width < _NARROW:
            table: Group | Table = Group(*(Text(f"{row.task}: {', '.join(_words(row))}") for row in rows[:_MOST]))
        else:
            table = Table.grid(padding=(0, 2))
            for row in rows[:_MOST]:
                bar = ProgressBar(row.total, row.settled, width=_BAR)
                cells = [
                    Text(f"{row.counts[status]:,} {status.value}" if row.counts.get(status) else "", style=style)
                    for status, style in _STYLES.items()
                ]
                count = Text(f"{row.settled:,} of {row.total:,}", justify="right")
                table.add_row(Text(row.task, style="bold"), bar, count, *cells, _rate(row))
        more = [Text(f"and {len(rows) - _MOST} more classes of tasks")] if len(rows) > _MOST else []
        self._live.update(Group(table, *more, *map(Text, below)), refresh=True)

    def close(self, lines: Sequence[str]) -> None:
        """Leave these lines, and no table."""
        from rich.text import Text

        self._live.stop()
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)


def _words(row: Row) -> Iterator[str]:
    yield f"{row.settled:,} of {row.total:,}"
    for status in _STYLES:
        if row.counts.get(status):
            yield f"{row.counts[status]:,} {status.value}"
    if row.rate:
        yield _rate(row)


def _rate(row: Row) -> str:
    return f"{row.rate:,.1f}/s" if row.rate else ""


_STYLES = {Status.RUNNING: "cyan", Status.FAILED: "red", Status.BLOCKED: "yellow"}
