"""What a run looks like on a terminal: a table that is kept up to date, under the lines that stay.

Drawn with rich, which is imported for that alone. What it shows is plain text of ours, numbers, and class names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from msgspec import Struct

from runner.core.model import Status

_MOST = 12  # task classes that have a row of their own
_BAR = 24  # columns
_NARROW = 70  # columns, below which there are no bars


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

        self._console = Console(file=stream, highlight=False)
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
        table = Table.grid(padding=(0, 2))
        wide = self._console.width >= _NARROW
        for row in rows[:_MOST]:
            bar = [ProgressBar(row.total, row.settled, width=_BAR)] if wide else []
            words = [Text(f"{row.settled:,} of {row.total:,}", justify="right")]
            words += [
                Text(f"{row.counts[status]:,} {status.value}" if row.counts.get(status) else "", style=style)
                for status, style in _STYLES.items()
            ]
            table.add_row(Text(row.task, style="bold"), *bar, *words, Text(f"{row.rate:,.1f}/s" if row.rate else ""))
        more = [Text(f"and {len(rows) - _MOST} more classes of tasks")] if len(rows) > _MOST else []
        self._live.update(Group(table, *more, *map(Text, below)), refresh=True)

    def close(self, lines: Sequence[str]) -> None:
        """Leave these lines, and no table."""
        from rich.text import Text

        self._live.stop()
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)


_STYLES = {Status.RUNNING: "cyan", Status.FAILED: "red", Status.BLOCKED: "yellow"}
