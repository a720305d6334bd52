"""What a monitoring system asks for: numbers in Prometheus' text form, version 0.0.4."""

from __future__ import annotations

from contextlib import suppress

from runner.errors import BadJobFile
from runner.store import codec
from runner.views.status import State


def metrics(now: State) -> str:
    """The numbers of the state, and of the live run or the newest one."""
    lines = ["# HELP runner_jobs Jobs by task class and status.", "# TYPE runner_jobs gauge"]
    for task, counts in now.tasks.items():
        for status, count in counts.items():
            lines.append(f'runner_jobs{{task="{_escaped(task)}",status="{status}"}} {count}')
    _gauge(lines, "runner_inbox_files", "Files that are to be taken up.", now.inbox)
    _gauge(lines, "runner_quarantine_files", "Files that are no valid job.", now.quarantine)
    _gauge(lines, "runner_alive", "Whether a runner works on this state.", int(now.runner is not None))
    if now.run is not None:
        run = now.run
        _moment(lines, "runner_run_start_seconds", "Start of the newest run.", run.start)
        _gauge(lines, "runner_run_finished_jobs", "Jobs that ran and succeeded in it.", run.finished)
        _moment(lines, "runner_run_end_seconds", "When it ended.", run.ended)
        if run.exit is not None and 0 <= run.exit < 256:
            _gauge(lines, "runner_run_exit_code", "The code that it left with last.", run.exit)
        if run.rate is not None:
            _gauge(lines, "runner_run_jobs_per_second", "Over the last minute.", run.rate)
    return "\n".join([*lines, ""])


def _moment(lines: list[str], name: str, says: str, stamp: str | None) -> None:
    with suppress(BadJobFile):  # a record may say anything
        if stamp is not None:
            _gauge(lines, name, says, codec.parse_stamp(stamp))


def _gauge(lines: list[str], name: str, says: str, value: float) -> None:
    lines += [f"# HELP {name} {says}", f"# TYPE {name} gauge", f"{name} {value:.17g}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
