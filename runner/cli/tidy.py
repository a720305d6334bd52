"""The verb that tidies: prune."""

from __future__ import annotations

import click

from runner import api
from runner.cli.paper import paper
from runner.cli.project import Project
from runner.settings import parse_age
from runner.words import moment

_KINDS = ("jobs", "runs", "journals", "logs", "trash")


@click.command()
@click.option(
    "--older", metavar="AGE", default="30d", help="Only what is older: 30d, 12h, 2w (s, m, h, d, w).  [default: 30d]"
)
@click.option("--dry-run", is_flag=True, help="Delete nothing, and say what would be deleted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def prune(project: Project, older: str, dry_run: bool, as_json: bool) -> None:
    """Delete what is old and nobody needs: jobs that are gone, runs that have ended, journals, logs, trash.

    A job is gone when no run's target leads to it any more and nobody handed it in (`list --gone`); its age is that of
    its last attempt. Outputs stay, as does what later runs go by: records of what is up to date, and of the newest run
    of every target. Not beside a live runner, but for --dry-run.

    \b
    Examples:
      runner prune --dry-run
      runner prune --older 2w
      runner prune --older 12h --json | jq -r '.ids[]'
    """
    pruned = api.prune(older=parse_age(older), dry_run=dry_run, state=project.state, root=project.root)
    with paper() as out:
        if as_json:
            out.json(pruned)
            return
        out.say(f"{'would delete' if dry_run else 'deleted'}, of before {moment(pruned.before)}:")
        tallies = [(kind, getattr(pruned, kind)) for kind in _KINDS]
        rows = [[kind, f"{tally.count:,}", f"{tally.bytes:,}"] for kind, tally in tallies]
        out.table(["", "files", "bytes"], rows)
