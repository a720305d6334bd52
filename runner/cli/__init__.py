"""The command line: parse, call `runner.api` or a view, print, leave with the right exit code.

A verb's module is imported only when that verb is called: `status` must not wait for what `run` needs.
"""

from __future__ import annotations

import atexit
import importlib
import os
import sys
from pathlib import Path

import click

from runner.cli.project import Project, tell
from runner.errors import RunnerError, StateError, plainly

_VERBS = {
    "init": ("new", "Make a new project: jobs/, state/, pyproject.toml, ready to run."),
    "run": ("work", "Start a run of TARGET; what is done and up to date is not done again."),
    "plan": ("why", "Say what `run` would do, and why."),
    "resume": ("work", "Go on with the run that was interrupted, whatever interrupted it."),
    "submit": ("hand", "Hand in jobs, also while a runner works."),
    "status": ("look", "Count jobs by status and task, and say what to do next."),
    "list": ("look", "List jobs."),
    "show": ("look", "Show one job: its file, its story, its log."),
    "logs": ("logs", "Show what a job printed, also as it grows."),
    "explain": ("why", "Say why a job runs, waits, was skipped or is blocked."),
    "changes": ("look", "Say what a run brought, night against night."),
    "graph": ("figures", "Draw the job graph, or what is around one job."),
    "report": ("figures", "One HTML page about a run: timeline, failures, graph, changes."),
    "stats": ("figures", "Tables: attempts and their times by task, host or run; night by night."),
    "ui": ("page", "Show it all in a browser, live, with buttons."),
    "retry": ("hand", "Try failed, blocked or cancelled jobs again."),
    "cancel": ("hand", "Have jobs never run."),
    "invalidate": ("hand", "Do not rely any more on what jobs made."),
    "stop": ("hand", "Ask the live runner to finish what runs, and leave."),
    "check": ("look", "Prove that nothing is lost."),
    "prune": ("tidy", "Delete what is old and nobody needs; outputs stay."),
    "completion": ("completion", "Teach a shell to complete our words."),
}


class _Verbs(click.Group):
    """A group that knows its verbs by name, and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        module = importlib.import_module(f"runner.cli.{_VERBS[cmd_name][0]}")
        command = getattr(module, cmd_name if cmd_name != "list" else "list_")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], _VERBS, 1)
            hint = f" Did you mean {close[0]}?" if close else f" Verbs: {', '.join(_VERBS)}."
            raise click.UsageError(f"There is no verb {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, text) for verb, (_, text) in _VERBS.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runner", prog_name="runner")
@click.option("-C", "root", metavar="DIR", default=".", help="The project's folder.  [default: this one]")
@click.option(
    "--state", metavar="DIR", envvar="RUNNER_STATE", default="state", help="The state folder.  [default: state]"
)
@click.pass_context
def cli(ctx: click.Context, root: str, state: str) -> None:
    """Run Python tasks that survive the night: kill anything at any moment, then `resume`.

    \b
    Examples:
      runner run jobs.scrape:nightly      start a run
      runner resume                       go on after whatever ended it
      runner status                       what is done, what is left
    """
    folder = Path(root).absolute()
    if not folder.is_dir():
        raise click.UsageError(f"-C {root}: there is no such folder")
    ctx.obj = Project(folder, folder / state)


def script() -> None:
    """The entry point: `python -m runner`, `runner`. What `main` does, and an end without tidying up the memory.

    To give back object by object what goes with the process takes 20 ms, and longer where a run knew many jobs. All
    else that Python does at its end is done before: threads have ended, and what others registered is called first.
    """
    code: list[int] = []
    atexit.register(_leave, code)
    try:
        main()
    except SystemExit as stop:
        code.append(stop.code if isinstance(stop.code, int) else 0)
        raise


def _leave(code: list[int]) -> None:
    if not code:  # a defect: its traceback is still to come
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # it was closed before we came
                stream.flush()
        except (OSError, ValueError):  # Python will say so, and leave with 120
            return
    os._exit(code[0])


def main() -> None:
    """Parse the command line, do what it says, and exit. The exit codes are those of the contract."""
    try:
        code = cli.main(standalone_mode=False, prog_name=_name())
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        runs = bool({"run", "resume"}.intersection(sys.argv[1:]))
        if runs:
            _say("interrupted; `resume` goes on")
        code = 3 if runs else 130  # as shells have it
    except RunnerError as error:
        _say(str(error))
        code = error.exit_code
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except OSError as error:  # the disk fails, is full, or may not be written to
        _say(f"{plainly(error)}; nothing was lost: see what is wrong there, then try again")
        code = StateError.exit_code
    sys.exit(code if isinstance(code, int) else 0)


def _name() -> str:
    return "python -m runner" if Path(sys.argv[0]).name == "__main__.py" else "runner"


def _say(text: str) -> None:
    tell(f"runner: {text}")
