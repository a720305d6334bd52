"""The verbs that give pictures and tables: graph, report, stats."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from runner.cli.completion import job_ids, run_ids
from runner.cli.look import json_option, opened
from runner.cli.paper import Paper, paper
from runner.cli.project import Project, tell
from runner.errors import StateError, UsageError, plainly
from runner.store.codec import SCHEMA
from runner.words import moment

if TYPE_CHECKING:
    from pandas import DataFrame

_output = click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write it there.  [default: stdout]"
)


def _write(data: bytes, output: Path | None) -> None:
    if output is None:
        with paper() as out:
            out.bytes(data)
        return
    try:
        if output.exists() and not output.is_file():  # /dev/stdout, a pipe
            output.write_bytes(data)
        else:
            _replace(output, data)
    except OSError as error:
        raise StateError(f"{plainly(error)}: nothing was written") from error
    tell(f"{output}: {len(data):,} bytes")


def _replace(output: Path, data: bytes) -> None:
    """Put a whole file there, or leave the one that is: a web server may be showing it."""
    target = output.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(data)
        with suppress(FileNotFoundError):
            part.chmod(target.stat().st_mode & 0o777)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@click.command()
@click.argument("id", required=False, shell_complete=job_ids)
@click.option(
    "--format",
    "form",
    type=click.Choice(["svg", "dot", "mermaid"]),
    default="svg",
    help="What is written.  [default: svg]",
)
@_output
@json_option
@click.pass_obj
def graph(project: Project, id: str | None, form: str, output: Path | None, as_json: bool) -> None:
    """Draw the job graph; with ID, what that job depends on, and what depends on it. A large one by task classes.

    Whole lines: waits for it. Dashed ones: was found by it.

    \b
    Examples:
      runner graph -o graph.svg
      runner graph ParsePage-3f2a --format dot | dot -Tpng > job.png
      runner graph --format mermaid
    """
    from runner.views.drawing import draw
    from runner.views.gist import gists
    from runner.views.graph import graph as look
    from runner.views.reading import resolve

    with opened(project) as store:
        found = look(gists(store), None if id is None else resolve(store, id)[0])
    if as_json:
        with paper() as out:
            out.json(found)
    else:
        _write(draw(found, form).encode(), output)


@click.command()
@click.argument("run", required=False, shell_complete=run_ids)
@_output
@json_option
@click.pass_obj
def report(project: Project, run: str | None, output: Path | None, as_json: bool) -> None:
    """One HTML page about a run, alive or not: timeline, throughput, failures, retries, durations, graph, changes.

    It needs no network and no other file. RUN may be cut to a unique prefix.  [default: the newest]

    \b
    Examples:
      runner report -o report.html
      runner report 20261122 -o night.html
      runner report --json | jq '.failures[].type'
    """
    from runner.views.report import report as look

    with opened(project) as store:
        found = look(store, run)
    if as_json:
        with paper() as out:
            out.json(found)
        return
    if output is None and sys.stdout.isatty():
        raise click.UsageError("The page is for a browser, and no text for a terminal: name a file with -o.")
    from runner.web.report import page

    _write(page(found).encode("utf-8", "backslashreplace"), output)


@click.command()
@click.option(
    "--by", type=click.Choice(["task", "host", "run", "night"]), default="task", help="A row for each.  [default: task]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "csv", "parquet"]),
    default="text",
    help="What is written.  [default: text]",
)
@_output
@json_option
@click.pass_obj
def stats(project: Project, by: str, form: str, output: Path | None, as_json: bool) -> None:
    """Tables: how many attempts there were, how they ended, and how long they took; or what each night brought.

    \b
    Examples:
      runner stats
      runner stats --by host
      runner stats --by night --format csv > nights.csv
    """
    from runner import api

    frame = api.stats(cast(api.By, by), state=project.state, root=project.root)
    for problem in frame.attrs.get("problems", ()):
        tell(f"warning: {problem}")
    if as_json:
        with paper() as out:
            rows = json.loads(frame.reset_index().to_json(orient="records", date_format="iso"))
            out.json({"schema": SCHEMA, "by": by, "rows": rows})
    elif form == "text" and output is None:
        with paper() as out:
            _print_table(out, frame)
    else:
        _write(_encoded(frame, form, output), output)


def _print_table(out: Paper, frame: DataFrame) -> None:
    if frame.empty:
        tell("nothing has run yet" if frame.index.name != "host" else "no task has a parameter that is an address")
        return
    rows = [
        [str(name), *map(_cell, values)]
        for name, values in zip(frame.index, frame.itertuples(index=False), strict=True)
    ]
    out.table([str(frame.index.name), *map(str, frame.columns)], rows)


def _cell(value: Any) -> str:
    import pandas

    if pandas.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return moment(value.isoformat()) if isinstance(value, datetime) else str(value)


def _encoded(frame: DataFrame, form: str, output: Path | None) -> bytes:
    if form == "text":
        return (frame.to_string() + "\n").encode()
    if form == "csv":
        return frame.to_csv().encode()
    if output is None and sys.stdout.isatty():
        raise click.UsageError("Parquet is no text for a terminal: name a file with -o.")
    buffer = io.BytesIO()
    try:
        frame.to_parquet(buffer)
    except ImportError as error:
        raise UsageError("Parquet needs pyarrow: pip install pyarrow") from error
    return buffer.getvalue()
