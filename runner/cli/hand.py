"""The verbs that hand something in: submit, retry, cancel, invalidate and stop. They return when it is on disk."""

from __future__ import annotations

from typing import BinaryIO

import click

from runner import api
from runner.cli.completion import job_ids
from runner.cli.project import Project, tell
from runner.settings import parse_pairs

_wait = click.option(
    "--wait", is_flag=True, help="Return when it has been carried out: without a live runner, at once."
)


@click.command()
@click.argument("target", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE ...]")
@click.option("--file", "file", type=click.File("rb"), metavar="JOBS.jsonl", help="One job a line (- for stdin).")
@click.pass_obj
def submit(project: Project, /, target: str | None, arguments: tuple[str, ...], file: BinaryIO | None) -> None:
    """Hand in the jobs of TARGET, or those in a file of JSON lines with "task" and "params".

    A live runner takes them up at once, otherwise the next `run` or `resume`. Prints their ids, once they are on disk.

    \b
    Examples:
      runner submit jobs.scrape:FetchPage url=https://example.org/ filepath=a.html
      runner submit --file jobs.jsonl
    """
    if target is not None and file is None:
        ids = api.submit_target(target, parse_pairs(arguments, "argument"), root=project.root, state=project.state)
    elif file is not None and target is None:
        ids = api.submit_lines(file.read(), root=project.root, state=project.state)
    else:
        raise click.UsageError("Give a TARGET, or --file; not both, not neither.")
    for id in ids:
        click.echo(id)


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID ...]", shell_complete=job_ids)
@click.option("--failed", is_flag=True, help="All failed jobs.")
@_wait
@click.pass_obj
def retry(project: Project, /, ids: tuple[str, ...], failed: bool, wait: bool) -> None:
    """Try jobs again: failed, blocked or cancelled ones, and those that wait for a retry time.

    A live runner takes them up at once, otherwise the next `run` or `resume`. Ids may be cut to a unique prefix.

    \b
    Examples:
      runner retry FetchPage-3f2a
      runner retry --failed && runner resume
    """
    if not ids and not failed:
        raise click.UsageError("Name jobs, or say --failed.")
    done = api.retry(ids, failed=failed, wait=wait, state=project.state, root=project.root)
    if not done:
        tell("no job has failed")
    _say(done)


@click.command()
@click.argument("ids", nargs=-1, metavar="ID ...", required=True, shell_complete=job_ids)
@_wait
@click.pass_obj
def cancel(project: Project, /, ids: tuple[str, ...], wait: bool) -> None:
    """Have jobs never run, until they are retried or handed in by name.

    What runs is not stopped, only not tried again. Ids may be cut to a unique prefix.

    \b
    Examples:
      runner cancel FetchPage-3f2a ParsePage-0d11
      runner cancel FetchPage-3f2a --wait
    """
    _say(api.cancel(ids, wait=wait, state=project.state, root=project.root))


@click.command()
@click.argument("ids", nargs=-1, metavar="ID ...", required=True, shell_complete=job_ids)
@click.option("--downstream", is_flag=True, help="Also all that comes after these, or was found by them, and so on.")
@_wait
@click.pass_obj
def invalidate(project: Project, /, ids: tuple[str, ...], downstream: bool, wait: bool) -> None:
    """Do not rely any more on what jobs made: they are done again when a run reaches them next.

    They start from nothing: inside them, previous() is None. Their outputs stay until there are new ones, and what
    comes out equal makes nobody else due. Ids may be cut to a unique prefix.

    \b
    Examples:
      runner invalidate FetchPage-3f2a
      runner invalidate --downstream FetchPage-3f2a
    """
    said = api.invalidate(ids, downstream=downstream, wait=wait, state=project.state, root=project.root)
    _say(said)


def _say(said: list[tuple[str, str]]) -> None:
    for id, text in said:
        click.echo(f"{id}\t{text}")


@click.command()
@click.pass_obj
def stop(project: Project, /) -> None:
    """Ask the live runner to finish what runs, and leave (exit code 3 there). `resume` goes on later.

    \b
    Examples:
      runner stop
    """
    tell(api.stop(state=project.state))
