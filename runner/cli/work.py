"""The verbs that work: run and resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from runner import api
from runner.cli.notice import notice
from runner.cli.project import Project, tell
from runner.session import Summary
from runner.settings import parse_pairs


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
                "--executor",
                type=click.Choice(["local", "dask"]),
                help="Who runs the tasks: processes on this machine, or a Dask cluster.  [default: local]",
            ),
            click.option(
                "--address",
                metavar="URL",
                help="The Dask scheduler's: tcp://10.0.0.1:8786.  [default: a cluster on this machine]",
            ),
            click.option(
                "--durability",
                type=click.Choice(["process", "power"]),
                help="What it must survive. power: also a power cut. process: the death of any process; after a power "
                "cut, files written in the last half minute may be empty, job files and outputs alike.  "
                "[default: power]",
            ),
            click.option("-q", "--quiet", is_flag=True, help="Say nothing but what went wrong."),
            click.option("-v", "--verbose", is_flag=True, help="Say more."),
        )
    ):
        command = option(command)
    return command


def leave_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that say when to leave with work left (exit code 3), and whom to tell; as this command was called, not
    as the run was: `resume` takes none over."""
    for option in reversed(
        (
            click.option(
                "--fail-fast", is_flag=True, help="Leave when a job is out of retries.  [default: keep going]"
            ),
            click.option("--stop-after", metavar="WHEN", help="Leave at 05:30 (local time), or after 3h."),
            click.option(
                "--max-wait",
                metavar="TIME",
                help="Leave when only retry times remain, and the next is further off: 1h.",
            ),
            click.option(
                "--max-jobs", type=click.IntRange(1), metavar="N", help="Leave when so many jobs were started."
            ),
            click.option(
                "--notify", metavar="CMD", help="At the end, give the summary to this shell command, as JSON on stdin."
            ),
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


def _finish(project: Project, summary: Summary, quiet: bool, *, named: bool) -> int:
    if not quiet or summary.exit_code not in (0, 3):
        counts = _listed(summary.counts) or "nothing to do"
        changes = _listed(dict(sorted(summary.changes.items())))
        tell(f"run {summary.run}: {counts}{f' ({changes})' if changes else ''} in {summary.seconds:.1f} s")
        for what, command in _next(project, summary, named):
            tell(f"{what}: `{command}`")
    return summary.exit_code


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if what)


def _next(project: Project, summary: Summary, named: bool) -> Iterator[tuple[str, str]]:
    """What to type next. `named`: a TARGET would have been out of place, or there was one."""
    command = project.command
    if summary.quarantined:
        files = "a file" if summary.quarantined == 1 else f"{summary.quarantined} files"
        yield f"{files} went to quarantine/, why", f"cat {summary.state}/quarantine/*.reason.txt"
    if not (named or summary.counts):
        yield "no TARGET was named; to name one (or `target` under [tool.runner])", command("run", "module:flow")
    elif summary.exit_code == 3:
        yield "to go on with what is left", command("resume")
        yield "what is left", command("status")
        yield "what it brought so far", command("changes")
    elif summary.counts.get("failed") or summary.counts.get("blocked"):
        yield (
            "who did not succeed",
            command("list", "--status", "failed" if summary.counts.get("failed") else "blocked"),
        )
        if summary.failures:
            yield "why, for one of them", command("show", summary.failures[0].id)
        if summary.target is None:
            yield "to try them again", f"{command('retry', '--failed')} && {command('resume')}"
        else:  # not `resume`: what was done before may have to follow from it
            pairs = [f"{key}={value}" for key, value in summary.arguments.items()]
            yield "to try them again", f"{command('retry', '--failed')} && {command('run', summary.target, *pairs)}"
    elif summary.counts:
        yield "what it brought", command("changes")
        yield "how it went", command("report", "-o", "report.html")
        yield "what there is", command("list")


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
        "executor": flags["executor"],
        "address": flags["address"],
        "verbosity": flags["verbose"] - flags["quiet"],
    }


def bounds_of(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags of `leave_options` as `runner.api` takes them."""
    return {name: flags[name] for name in ("fail_fast", "stop_after", "max_wait", "max_jobs")}


@click.command()
@click.argument("target", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE ...]")
@run_options
@leave_options
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
      runner run --executor dask --address tcp://10.0.0.1:8786
      runner run --stop-after 05:30 --max-wait 1h --notify 'mail -s nightly me@example.org'
    """
    if dry_run:
        from runner.cli.why import show_plan

        show_plan(project, target, arguments, flags)
        return
    with notice(flags["notify"], project, "run") as notify:
        target, pairs = target_of(target, arguments)
        summary = api.run_target(target, pairs, **flags_of(project, flags), **bounds_of(flags), **wanted_of(flags))
        code = _finish(project, summary, flags["quiet"], named=summary.target is not None)
        notify(summary)
    click.get_current_context().exit(code)


def target_of(target: str | None, arguments: tuple[str, ...]) -> tuple[str | None, dict[str, str]]:
    """TARGET may be left out."""
    if target is not None and ":" not in target.partition("=")[0] and "=" in target:
        arguments, target = (target, *arguments), None
    return target, parse_pairs(arguments, "argument")


def wanted_of(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: flags[name] for name in ("force", "force_tasks", "adopt", "verify")}


@click.command()
@run_options
@leave_options
@click.pass_obj
def resume(project: Project, /, **flags: Any) -> None:
    """Go on with the newest run that has not ended: after a crash, a kill, a reboot or Ctrl-C.

    No flag and no unlocking is needed. Without such a run: what is pending or in the inbox, as a new run.

    \b
    Examples:
      runner resume
      runner resume --workers 4 --stop-after 05:30
    """
    with notice(flags["notify"], project, "resume") as notify:
        summary = api.resume(**flags_of(project, flags), **bounds_of(flags))
        if summary is None:
            if not flags["quiet"]:
                tell("nothing to resume")
            notify(None)
            return
        code = _finish(project, summary, flags["quiet"], named=True)
        notify(summary)
    click.get_current_context().exit(code)
