"""An example to begin with: two kinds of tasks, and a flow. `python -m runner run jobs.example:squares` runs it.

Run it again, and nothing is done again. Change the second power below to the third, bump `version`, or delete a file in
data/, and `python -m runner plan jobs.example:squares` says what that leads to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from runner import Input, Output, Task


@dataclass
class Square(Task):
    """A task: its fields are its parameters, and a field that is an Output is a file that it makes."""

    number: int
    output_filepath: Output

    version = 1  # bump it when run() makes something else of the same parameters

    def run(self) -> None:
        self.output_filepath.write_text(f"{self.number**2}\n", encoding="utf-8")


@dataclass
class Total(Task):
    """It runs when its Inputs are there: that other tasks make them is seen by their paths."""

    input_filepaths: list[Input]
    output_filepath: Output

    def run(self) -> None:
        total = sum(int(path.read_text(encoding="utf-8")) for path in self.input_filepaths)
        self.output_filepath.write_text(f"{total}\n", encoding="utf-8")


def squares(last: int = 5) -> list[Task]:
    """A flow: what `run` is given. `python -m runner run jobs.example:squares last=7` gives it its argument."""
    files = {number: Path(f"data/square-{number}.txt") for number in range(1, last + 1)}
    return [
        *(Square(number, file) for number, file in files.items()),
        Total(list(files.values()), Path("data/total.txt")),
    ]
