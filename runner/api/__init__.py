"""One function per verb: all that a program needs, and all that the command line calls.

`root` is the project's folder (default: the working directory): tasks run there, relative paths mean there. `state` is
the state folder (default: `state` in it). Errors are RunnerErrors, with `exit_code` as the command line has it.
"""

from __future__ import annotations

from runner.api.hand import cancel, invalidate, retry, stop, submit_lines, submit_target
from runner.api.look import changes, explain, plan
from runner.api.new import init
from runner.api.tables import By, attempts, stats
from runner.api.tidy import prune
from runner.api.work import resume, run, run_target

__all__ = [
    "By",
    "attempts",
    "cancel",
    "changes",
    "explain",
    "init",
    "invalidate",
    "plan",
    "prune",
    "resume",
    "retry",
    "run",
    "run_target",
    "stats",
    "stop",
    "submit_lines",
    "submit_target",
]
