"""The verb that makes a project: init."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from runner import api
from runner.cli.paper import paper
from runner.cli.project import Project, tell
from runner.templates import TEMPLATES

_RUNNER = "python -m runner"
_FIRST = {
    "example": "jobs/example.py shows how tasks are written",
    "scrape": "your sites go into jobs/sites.toml: contact, name and start (a demo is in it, and how to try that)",
}


@click.command()
@click.argument("folder", metavar="[DIR]", default=".")
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    default="example",
    help="What is in it: an example of two tasks, or all that scrapes web sites.  [default: example]",
)
@click.pass_obj
def init(project: Project, folder: str, template: str) -> None:
    """Make a new project in DIR, which is made if need be: jobs/, state/, pyproject.toml, ready to run.

    Nothing that is there is overwritten: if something is in the way, that is told, and nothing is written. In a folder
    with a pyproject.toml of its own, this tells what to add to it.

    \b
    Examples:
      runner init
      runner init --template scrape pages
    """
    context = click.get_current_context().find_root()
    state = context.params["state"]
    made = api.init(project.root / folder, template=template, state=state)
    with paper() as out:
        for name in made.made:
            out.say(name)
    shown = _shown(made.folder)
    count = {0: "nothing was left to make", 1: "1 file made"}.get(len(made.made), f"{len(made.made)} files made")
    tell(f"{shown}: {count}; {_FIRST[template]}")
    if made.to_add:
        tell(f"its pyproject.toml is as it was: for a `run` without TARGET, add to it\n\n{made.to_add}")
    words = [] if Path.cwd() == Path(made.folder) else ["-C", shown]
    if context.get_parameter_source("state") is ParameterSource.COMMANDLINE:
        words += ["--state", state]
    there = shlex.join([*_RUNNER.split(), *words])
    tell(f"next: `{there} run{f' {made.target}' if made.to_add else ''}`")
    tell(f"then: `{there} status`")


def _shown(folder: str) -> str:
    """A folder as one would type it here."""
    here = os.path.relpath(folder)
    return folder if here.startswith("..") else here
