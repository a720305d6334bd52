"""The verbs that say why: plan and explain. They import the project's jobs, as a run does, and change nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import click

from runner import api
from runner.cli.completion import job_ids
from runner.cli.pages import print_explained, print_plan
from runner.cli.paper import paper
from runner.cli.project import Project
from runner.cli.work import due_options, flags_of, leave_options, run_options, target_of, wanted_of


@click.command()
@click.argument("target", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE ...]")
@run_options
@leave_options
@due_options
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def plan(project: Project, /, target: str | None, arguments: tuple[str, ...], as_json: bool, **flags: Any) -> None:
    """Say what `run` would do with the same arguments, and why. Runs no task, writes nothing, needs no lock.

    What will run: due as far as is known now, and certain to be asked for (as long as nothing fails). What is expected
    to run: due, if the job that found it last time finds it again. What may run: it reads what will be made anew. Whom
    nobody has found so far cannot be told. The flow is called, and so is downstream_tasks() of what is up to date. When
    `run` would leave, and whom it would tell, makes no difference here.

    \b
    Examples:
      runner plan
      runner plan jobs.scrape:nightly --force-task ParsePage
      runner plan --json | jq '.will[].id'
    """
    show_plan(project, target, arguments, flags, as_json=as_json)


def show_plan(
    project: Project, target: str | None, arguments: tuple[str, ...], flags: dict[str, Any], *, as_json: bool = False
) -> None:
    target, pairs = target_of(target, arguments)
    with _only_looking():
        found = api.plan(target, pairs, **flags_of(project, flags), **wanted_of(flags))
    with paper() as out:
        if as_json:
            out.json(found)
        else:
            print_plan(out, found)


@click.command()
@click.argument("id", shell_complete=job_ids)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def explain(project: Project, id: str, as_json: bool) -> None:
    """Say why a job runs, waits, was skipped or is blocked, and what changed since last time. ID may be cut.

    \b
    Examples:
      runner explain ParsePage-3f2a
      runner explain ParsePage-3f2a --json | jq .differences
    """
    with _only_looking():
        found = api.explain(id, root=project.root, state=project.state)
    with paper() as out:
        if as_json:
            out.json(found)
        else:
            print_explained(out, found)


@contextlib.contextmanager
def _only_looking() -> Iterator[None]:
    """Code of the user's is called: what it prints is no data, and its import leaves no __pycache__ behind."""
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.dont_write_bytecode = before
