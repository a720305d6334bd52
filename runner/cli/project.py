"""What every verb knows: where the project is, and where its state, and how to tell people something."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import NamedTuple

import click


class Project(NamedTuple):
    """`root`: the project's folder, absolute. `state`: its state folder."""

    root: Path
    state: Path

    def command(self, *words: str) -> str:
        """A command of ours as it has to be typed here."""
        where: list[str] = []
        if str(self.root) != os.getcwd():
            where += ["-C", str(self.root)]
        named = os.environ.get("RUNNER_STATE")
        if self.state != self.root / "state" and (not named or self.root / named != self.state):
            where += ["--state", str(self.state)]
        return shlex.join(["python", "-m", "runner", *where, *words])


def tell(line: str) -> None:
    """A line to stderr. Whether somebody is there to read it (a lost terminal, a closed pipe) changes no exit code."""
    try:
        click.echo(line, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what is in the buffer is tried again at the exit
