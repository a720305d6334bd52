"""The end of a run, told to a command of the user's: `--notify CMD` gets one JSON document on its stdin.

It is called when all is on disk and the lock is free, also where the run could not start or ended by an error. Whatever
becomes of it changes no exit code.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from runner.cli.project import Project, tell
from runner.errors import RunnerError, StateError, plainly
from runner.patience import end_group
from runner.session import Summary
from runner.store.codec import SCHEMA

PATIENCE = 60.0
"""Seconds that the command may take."""


class Notice(Struct, frozen=True, kw_only=True):
    """What the command is told. `summary` None: there was no run, or an error ended it; then `error` says which."""

    schema: int = SCHEMA
    host: str
    root: str  # the project's folder
    state: str  # its state folder
    verb: str  # run, resume
    exit_code: int
    error: str | None = None
    summary: Summary | None = None


@contextlib.contextmanager
def notice(command: str | None, project: Project, verb: str) -> Iterator[Callable[[Summary | None], None]]:
    """For a `with` around a run: gives whom to tell its summary; errors that leave it are told from here. None: there
    was nothing to do."""

    def tell_of(exit_code: int, **more: Any) -> None:
        if command is not None:
            host, root, state = os.uname().nodename, str(project.root), str(project.state)
            _call(command, Notice(host=host, root=root, state=state, verb=verb, exit_code=exit_code, **more), root)

    try:
        yield lambda summary: tell_of(0 if summary is None else summary.exit_code, summary=summary)
    except RunnerError as error:
        tell_of(error.exit_code, error=str(error))
        raise
    except OSError as error:
        tell_of(StateError.exit_code, error=plainly(error))
        raise
    except KeyboardInterrupt:
        tell_of(3, error="interrupted")
        raise


def _call(command: str, document: Notice, root: str) -> None:
    """Its stdout goes to our stderr: ours is for data. Its process group is ended when it takes too long."""
    data = msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"
    try:
        process = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, stdout=2, cwd=root, process_group=0)
    except OSError as error:
        tell(f"warning: --notify: {plainly(error)}")
        return
    try:
        process.communicate(data, PATIENCE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as why:  # the run is over, and its code is told already
        end_group(process)
        when = "at Ctrl-C" if isinstance(why, KeyboardInterrupt) else f"as it did not end within {PATIENCE:.0f} s"
        tell(f"warning: --notify: the command was killed {when}: {command}")
        return
    if process.returncode:
        tell(f"warning: --notify: the command left with {process.returncode}: {command}")
