"""The verbs that look: status, list, show and check. None of them waits for a runner, or is in its way.

They must start quickly: each imports its view when it is called.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from runner.cli.completion import job_ids, run_ids, task_names
from runner.cli.pages import print_report, print_row, print_shown, print_state
from runner.cli.paper import C1, Paper, paper
from runner.cli.project import Project, tell
from runner.core.model import Status
from runner.errors import StateError, UsageError

if TYPE_CHECKING:
    from runner.store.folders import FolderStore
    from runner.views.listing import Row

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@contextmanager
def opened(project: Project) -> Iterator[FolderStore]:
    from runner.views.reading import open_state

    try:
        with open_state(project.state, project.root) as store:
            yield store
    except OSError as error:
        raise StateError(f"{project.state}: {error}") from error


# -------------------------------------------------------------------------------------------------------------- status


@click.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@json_option
@click.pass_obj
def status(project: Project, watch: bool, as_json: bool) -> None:
    """Count jobs by status and task, and say what to do next.

    \b
    Examples:
      runner status
      runner status --watch
      runner status --json | jq .statuses
    """
    from runner.views.status import look

    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other.")
    with paper() as out:
        try:
            before = ""
            while True:
                began = time.monotonic()
                with opened(project) as store:
                    state = look(store, time.time())
                if as_json:
                    following = project.command(*state.next) if state.next else None
                    out.json({**_fields(state), "next": following})
                elif not watch or out.terminal or repr(state) != before:
                    if watch and out.terminal:  # over what stands there: a cleared screen would go into the scrollback
                        out.end = "\x1b[K\n"
                        out.raw("\x1b[H")
                    print_state(out, state, project.command)
                    if watch and out.terminal:
                        out.raw("\x1b[J")
                if not watch:
                    return
                if not out.terminal and repr(state) != before:
                    out.say()
                out.flush()
                before = repr(state)
                time.sleep(max(1.0, 10 * (time.monotonic() - began)))
        except KeyboardInterrupt:
            if not watch:
                raise


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


# ---------------------------------------------------------------------------------------------------------------- list


@click.command("list")
@click.option(
    "--status",
    "statuses",
    multiple=True,
    type=click.Choice([status.value for status in Status]),
    help="Only jobs of this status; may be given again.",
)
@click.option(
    "--task",
    metavar="T",
    shell_complete=task_names,
    help="Only jobs of this class: FetchPage, or jobs.scrape:FetchPage.",
)
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only jobs with this parameter; may be given again.")
@click.option("--gone", is_flag=True, help="Only jobs that no run's target leads to any more; reads every job file.")
@json_option
@click.pass_obj
def list_(
    project: Project, statuses: tuple[str, ...], task: str | None, where: tuple[str, ...], gone: bool, as_json: bool
) -> None:
    """List jobs, each with what matters most about it now.

    \b
    Examples:
      runner list --status failed
      runner list --task FetchPage --where url=https://example.org/
      runner list --gone
      runner list --json | jq -r '.jobs[].id'
    """
    from runner.views.listing import rows

    wanted = None
    if where:
        from runner.settings import parse_pairs

        wanted = parse_pairs(where, "--where")
    with opened(project) as store, paper() as out:
        why = None
        if gone:
            from runner.views.reach import Reach

            why = Reach(store).why
        found = rows(store, statuses=statuses, task=task, where=wanted, gone=why)
        if as_json:
            _print_rows_as_json(out, found)
            return
        count = 0
        for row in found:
            count += 1
            print_row(out, row)
        if not count:
            tell("no such jobs" if statuses or task or where or gone else "no jobs")


def _print_rows_as_json(out: Paper, rows: Iterator[Row]) -> None:
    """One document, a job a line: it may be large, and is written as it comes."""
    import msgspec

    comma = ""
    out.raw('{"schema": 1, "jobs": [')
    for row in rows:
        out.raw(f"{comma}\n{msgspec.json.encode(row).decode().translate(C1)}")
        comma = ","
    out.raw("\n]}\n")


# ---------------------------------------------------------------------------------------------------------------- show


@click.command()
@click.argument("id", shell_complete=job_ids)
@json_option
@click.pass_obj
def show(project: Project, id: str, as_json: bool) -> None:
    """Show one job: its file, its story, the end of its log. ID may be cut to a unique prefix.

    \b
    Examples:
      runner show FetchPage-3f2a
      runner show FetchPage-3f2a --json | jq .job.result
    """
    from runner.views.show import show as look

    with opened(project) as store, paper() as out:
        shown = look(store, id)
        if as_json:
            out.json(shown.document())
        else:
            print_shown(out, shown)


# -------------------------------------------------------------------------------------------------------------- changes


@click.command()
@click.argument("run", required=False, shell_complete=run_ids)
@json_option
@click.pass_obj
def changes(project: Project, run: str | None, as_json: bool) -> None:
    """Say what a run brought, night against night. RUN may be cut to a unique prefix.  [default: the newest]

    new: made for the first time, or back after it was absent. changed: other bytes. unchanged: up to date, or made
    again with the same bytes. absent: there is no output any more. gone: nobody names the job any more.

    \b
    Examples:
      runner changes
      runner changes 20261122
      runner changes --json | jq -r '.jobs[] | select(.change == "changed") | .output'
    """
    from runner.cli.pages import print_changes
    from runner.views.changes import changes as look

    with opened(project) as store, paper() as out:
        found = look(store, run)
        if as_json:
            out.json(found)
        else:
            print_changes(out, found)


# --------------------------------------------------------------------------------------------------------------- check


@click.command()
@click.option("--repair", is_flag=True, help="Mend what can be, with no runner alive. Nothing is deleted.")
@click.option("--verify", is_flag=True, help="Also hash every output.")
@json_option
@click.pass_obj
def check(project: Project, repair: bool, verify: bool, as_json: bool) -> None:
    """Prove that nothing is lost: every guarantee that can be seen from the disk, over the whole state.

    Exit code 1 on a fault, also on one that --repair has mended. An output of a done job that is not there is a
    warning: the job is due. May be used beside a live runner; --repair not.

    \b
    Examples:
      runner check
      runner check --verify
      runner check --repair
    """
    from runner.settings import load_settings

    modules = None
    try:
        modules = load_settings(project.root).modules
    except UsageError as error:
        tell(f"warning: {error}")
    if repair:
        from runner.views.repair import check_and_repair

        try:
            report = check_and_repair(project.state, project.root, verify=verify, modules=modules)
        except OSError as error:
            raise StateError(f"{project.state}: {error}; nothing was lost") from error
    else:
        from runner.views.check import check as look

        with opened(project) as store:
            report = look(store, verify=verify, modules=modules)
    with paper() as out:
        if as_json:
            out.json(report)
        else:
            print_report(out, report)
    if report.faults:
        click.get_current_context().exit(1)
