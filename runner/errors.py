"""Every error that leaves this package.

    RunnerError                 what a person can act on; the message says what was found and what to do next
    ├── UsageError              wrong words on the command line, or a target that cannot be had      (exit 2)
    │   └── TargetError         the target's module cannot be imported, or names no task and no flow (exit 2)
    ├── StateError              the state folder cannot be used                                      (exit 4)
    │   └── NewerSchema         it was written by a newer version                                    (exit 4)
    ├── Busy                    another runner, or workers one left behind, are alive on this state  (exit 75)
    ├── BadJobFile              a file is no valid job: it goes to quarantine with this message
    └── Refused                 a batch of jobs cannot be admitted; none of it was
        ├── CycleFound          tasks that wait for each other
        ├── Conflict            two tasks that claim one output, or one job proposed with two sets of parameters
        └── GrowthLimit         chains too deep, or too many jobs: most likely endless
    IllegalTransition           a status change the table does not have: a defect of the runner (AssertionError)

All are picklable: they carry nothing but strings and plain values.
"""

from __future__ import annotations

GO_ON = "nothing was lost: free what is lacking, then `resume`"
"""What to do once the machine does what it should again."""


def plainly(error: Exception) -> str:
    """An error in plain words: an OSError without its number."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    path = error.filename if error.filename2 is None else error.filename2
    return error.strerror if path is None else f"{error.strerror}: {path}"


class RunnerError(Exception):
    """An error a person can act on. `exit_code` is what the command line leaves with."""

    exit_code = 1


class UsageError(RunnerError):
    """Wrong words on the command line, or wrong settings."""

    exit_code = 2


class TargetError(UsageError):
    """The target cannot be imported, or is neither a task nor a flow."""


class StateError(RunnerError):
    """The state folder cannot be used: damaged, unreadable, unsafe, disk full."""

    exit_code = 4


class NewerSchema(StateError):
    """A file in the state folder has a schema number that this version does not know."""


class Busy(RunnerError):
    """Somebody else is alive on this state folder."""

    exit_code = 75


class BadJobFile(RunnerError):
    """A file is not a valid job file; the message has the path of the fault inside it."""


class Refused(RunnerError):
    """A batch of jobs that cannot be admitted; nothing of it was."""


class CycleFound(Refused):
    """Tasks wait for each other. The message names the cycle; `cycle` has its ids, the first one repeated last."""

    def __init__(self, message: str, cycle: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.cycle = cycle


class Conflict(Refused):
    """Two owners of one output, or one job with two sets of parameters, in the same run."""


class GrowthLimit(Refused):
    """A chain, a batch or a run grew past its limit."""


class IllegalTransition(AssertionError):
    """A move that the table of transitions does not have. Nothing was changed."""
