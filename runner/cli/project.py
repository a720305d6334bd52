"""What every verb knows: where the project is, and where its state, and how to tell people something."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import click


class Project(NamedTuple):
    """`root`: the project's folder, absolute. `state`: its state folder."""

    root: Path
    state: Path


def tell(line: str) -> None:
    """A line to stderr. Whether somebody is there to read it (a lost terminal, a closed pipe) changes no exit code."""
    try:
        click.echo(line, err=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what is in the buffer is tried again at the exit
