"""The verbs that work: run and resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from runner import api
from runner.cli.project import Project
from runner.session import Summary
from runner.settings import parse_pairs

_RUNNER = "python -m runner"


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that `run` and `resume` share."""
    for option in reversed(
        (
            click.option(
                "--workers", type=click.IntRange(1), metavar="N", help="Worker processes.  [default: processors]"
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


def _asked(command: Callable[..., Any]) -> Callable[..., Any]:
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


def _finish(summary: Summary, quiet: bool) -> int:
    if not quiet:
        counts = ", ".join(f"{count:,} {status}" for status, count in summary.counts.items()) or "nothing to do"
        click.echo(f"run {summary.run}: {counts} in {summary.seconds:.1f} s", err=True)
    for line in _next(summary):
        click.echo(line, err=True)
    return summary.exit_code


def _next(summary: Summary) -> Iterator[str]:
    """What to type next, if anything."""
    if summary.quarantined:
        files = "a file" if summary.quarantined == 1 else f"{summary.quarantined} files"
        yield f"{files} went to quarantine/; why: `cat {summary.state}/quarantine/*.reason.txt`"
    if summary.exit_code == 3:
        yield f"work is left: `{_RUNNER} resume` goes on"
    elif summary.counts.get("failed") or summary.counts.get("blocked"):
        yield f"some jobs did not succeed. Why: `{_RUNNER} list --status failed`"
        yield f"To try them again: `{_RUNNER} retry --failed`, then `{_RUNNER} resume`"
    if not summary.counts and summary.target is None:
        yield f"no TARGET was named: `{_RUNNER} run module:flow`, or `target` under [tool.runner] in pyproject.toml"


def _arguments(project: Project, flags: dict[str, Any]) -> dict[str, Any]:
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
@_options
@_asked
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
        _plan(project, target, arguments, flags)
        return
    target, pairs = _target(target, arguments)
    summary = api.run_target(target, pairs, **_arguments(project, flags), **_wanted(flags))
    click.get_current_context().exit(_finish(summary, flags["quiet"]))


@click.command()
@click.argument("target", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE ...]")
@_options
@_asked
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def plan(project: Project, /, target: str | None, arguments: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Say what `run` would do with the same arguments, and why. Runs no task, writes nothing, needs no lock.

    What will run: due as far as is known now, and certain to be asked for (as long as nothing fails). What is expected
    to run: due, if the job that found it last time finds it again. What may run: it reads what will be made anew. Whom
    nobody has found so far cannot be told. The flow is called, and so is downstream_tasks() of what is up to date.

    \b
    Examples:
      runner plan
      runner plan jobs.scrape:nightly --force-task ParsePage
      runner plan --json | jq '.will[].id'
    """
    _plan(project, target, arguments, flags, as_json=as_json)


def _plan(
    project: Project, target: str | None, arguments: tuple[str, ...], flags: dict[str, Any], *, as_json: bool = False
) -> None:
    from runner.cli.pages import print_plan
    from runner.cli.paper import paper

    target, pairs = _target(target, arguments)
    found = api.plan(target, pairs, **_arguments(project, flags), **_wanted(flags))
    with paper() as out:
        if as_json:
            out.json(found)
        else:
            print_plan(out, found)


def _target(target: str | None, arguments: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """TARGET may be left out."""
    if target is not None and ":" not in target.partition("=")[0] and "=" in target:
        arguments, target = (target, *arguments), None
    return target, parse_pairs(arguments, "argument")


def _wanted(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: flags[name] for name in ("force", "force_tasks", "adopt", "verify")}


@click.command()
@_options
@click.pass_obj
def resume(project: Project, /, **flags: Any) -> None:
    """Go on with the newest run that has not ended: after a crash, a kill, a reboot or Ctrl-C.

    No flag and no unlocking is needed. Without such a run: what is pending or in the inbox, as a new run.
    """
    summary = api.resume(**_arguments(project, flags))
    if summary is None:
        click.echo("nothing to resume", err=True)
        return
    click.get_current_context().exit(_finish(summary, flags["quiet"]))
