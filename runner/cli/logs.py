"""The verb that shows what jobs printed: logs."""

from __future__ import annotations

import click

from runner.cli.completion import job_ids
from runner.cli.look import json_option, opened
from runner.cli.paper import paper
from runner.cli.project import Project, tell
from runner.core.model import Status


@click.command()
@click.argument("id", shell_complete=job_ids)
@click.option("-f", "--follow", is_flag=True, help="Go on as it grows, until the job is done, or failed.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    metavar="N",
    help="Only the last N lines of what is there; then, with -f, what comes.",
)
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Only what this attempt printed.")
@json_option
@click.pass_obj
def logs(project: Project, id: str, follow: bool, lines: int | None, attempt: int | None, as_json: bool) -> None:
    """Show what a job printed and logged, all its attempts. ID may be cut to a unique prefix.

    \b
    Examples:
      runner logs FetchPage-3f2a
      runner logs FetchPage-3f2a -f
      runner logs FetchPage-3f2a -f -n 20
      runner logs FetchPage-3f2a --attempt 2
    """
    from runner.views.log import read_log, text_of
    from runner.views.reading import resolve

    if follow and (as_json or attempt is not None):
        raise click.UsageError("--follow shows what every attempt prints, as text: leave out --json and --attempt.")
    if lines is not None and (as_json or attempt is not None):
        raise click.UsageError("--lines counts lines of the whole log: leave out --json and --attempt.")
    with opened(project) as store, paper() as out:
        id, status = resolve(store, id)
        where = "inbox" if status is None else status.value
        if as_json or attempt is not None:
            log = read_log(store, id, where, attempt)
            if as_json:
                out.json(log)
            else:
                for part in log.parts:
                    out.text(part.text)
            return
        if follow and status not in (Status.RUNNING, Status.DONE):
            tell(f"{id} is {where}; Ctrl-C leaves")
        said = False
        for text in text_of(store, id, lines=lines, follow=follow):
            if text:
                said = True
                out.text(text)
            out.flush()
        if not said:
            tell(f"{id} has printed nothing")
