"""The verbs that work: run and resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from runner import api
from runner.cli.project import Project, tell
from runner.session import Summary
from runner.settings import parse_pairs

_RUNNER = "python -m runner"


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that `run` and `resume` share."""
    for option in reversed(
        (
            click.option(
                "--workers",
                type=click.IntRange(1),
                metavar="N",
                help="Most worker processes.  [default: processors]",
            ),
            click.option("--threads", type=click.IntRange(1), metavar="M", help="Tasks at once in each.  [default: 1]"),
            click.option("--limit", "limits", multiple=True, metavar="KEY=N", help="At most N jobs at once: host:*=2."),
            click.option(
                "--rate", "rates", multiple=True, metavar="KEY=N/s", help="At most N starts a second: host:*=5/s."
            ),
            click.option(
                "--durability",
                type=click.Choice(["process", "power"]),
                help="What it must survive. power: also a power cut. process: the death of any process; after a power "
                "cut, files written in the last half minute may be empty, job files and outputs alike.  "
                "[default: power]",
            ),
            click.option("-q", "--quiet", is_flag=True, help="No progress, only errors."),
            click.option("-v", "--verbose", is_flag=True, help="Say more."),
        )
    ):
        command = option(command)
    return command


def due_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of `run` that say what is to be done anyway, and what is relied on."""
    for option in reversed(
        (
            click.option(
                "--force", is_flag=True, help="Do again all that the run reaches; what reads it, if it changed."
            ),
            click.option(
                "--force-task", "force_tasks", multiple=True, metavar="NAME", help="Do again the jobs of this class."
            ),
            click.option(
                "--adopt",
                is_flag=True,
                help="Take over outputs that are there without a record, instead of making them.",
            ),
            click.option("--verify", is_flag=True, help="Hash the outputs of what is done, not only compare sizes."),
        )
    ):
        command = option(command)
    return command


def _finish(summary: Summary, quiet: bool, *, named: bool) -> int:
    if not quiet:
        counts = ", ".join(f"{count:,} {status}" for status, count in summary.counts.items()) or "nothing to do"
        tell(f"run {summary.run}: {counts} in {summary.seconds:.1f} s")
    for line in _next(summary, named):
        tell(line)
    return summary.exit_code


def _next(summary: Summary, named: bool) -> Iterator[str]:
    """What to type next, if anything. `named`: a TARGET would have been out of place, or there was one."""
    if summary.quarantined:
        files = "a file" if summary.quarantined == 1 else f"{summary.quarantined} files"
        yield f"{files} went to quarantine/; why: `cat {summary.state}/quarantine/*.reason.txt`"
    if summary.exit_code == 3:
        yield f"work is left: `{_RUNNER} resume` goes on"
    elif summary.counts.get("failed") or summary.counts.get("blocked"):
        yield f"some jobs did not succeed. Why: `{_RUNNER} list --status failed`"
        yield f"To try them again: `{_RUNNER} retry --failed`, then `{_RUNNER} resume`"
    if not (named or summary.counts):
        yield f"no TARGET was named: `{_RUNNER} run module:flow`, or `target` under [tool.runner] in pyproject.toml"


def flags_of(project: Project, flags: dict[str, Any]) -> dict[str, Any]:
    """The flags as `runner.api` takes them."""
    return {
        "root": project.root,
        "state": project.state,
        "workers": flags["workers"],
        "threads": flags["threads"],
        "limits": parse_pairs(flags["limits"], "--limit"),
        "rates": parse_pairs(flags["rates"], "--rate"),
        "durability": flags["durability"],
        "verbosity": flags["verbose"] - flags["quiet"],
    }


@click.command()
@click.argument("target", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE ...]")
@run_options
@due_options
@click.option("--dry-run", is_flag=True, help="Only say what would be done, as `plan` does.")
@click.pass_obj
def run(project: Project, /, target: str | None, arguments: tuple[str, ...], dry_run: bool, **flags: Any) -> None:
    """Start a run of TARGET, `module:Task` or `module:flow`, with KEY=VALUE as its arguments.

    Without a TARGET: the one in pyproject.toml, [tool.runner] target; without that, what is unfinished and in the
    inbox. What is done and up to date is skipped; what earlier runs left unfinished is taken over.

    \b
    Examples:
      runner run
      runner run jobs.scrape:nightly --workers 2 --threads 8
      runner run jobs.scrape:FetchPage url=https://example.org/ filepath=a.html
      runner run --force-task ParsePage
    """
    if dry_run:
        from runner.cli.why import show_plan

        show_plan(project, target, arguments, flags)
        return
    target, pairs = target_of(target, arguments)
    summary = api.run_target(target, pairs, **flags_of(project, flags), **wanted_of(flags))
    click.get_current_context().exit(_finish(summary, flags["quiet"], named=summary.target is not None))


def target_of(target: str | None, arguments: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """TARGET may be left out."""
    if target is not None and ":" not in target.partition("=")[0] and "=" in target:
        arguments, target = (target, *arguments), None
    return target, parse_pairs(arguments, "argument")


def wanted_of(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: flags[name] for name in ("force", "force_tasks", "adopt", "verify")}


@click.command()
@run_options
@click.pass_obj
def resume(project: Project, /, **flags: Any) -> None:
    """Go on with the newest run that has not ended: after a crash, a kill, a reboot or Ctrl-C.

    No flag and no unlocking is needed. Without such a run: what is pending or in the inbox, as a new run.
    """
    summary = api.resume(**flags_of(project, flags))
    if summary is None:
        tell("nothing to resume")
        return
    click.get_current_context().exit(_finish(summary, flags["quiet"], named=True))
