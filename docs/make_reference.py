"""Writes docs/reference.md from the code: `python docs/make_reference.py`. A test fails when it is not what this makes.

Verbs, flags and their words are the command line's own; settings, fields and the rest are docstrings and comments of
the modules that people import.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import click

import runner
from runner import api, cli, fields
from runner.api.common import Flags
from runner.outcome import Last
from runner.settings import Settings

PAGE = Path(__file__).with_name("reference.md")


def page() -> str:
    """The text of the page."""
    return "\n".join(
        [
            "# Reference",
            "",
            "Made from the code by `docs/make_reference.py`. What all of it is for: [the README](../README.md).",
            "",
            "## Verbs",
            "",
            *_verbs(),
            "## Settings",
            "",
            "`[tool.runner]` in `pyproject.toml`; every key may be left out.",
            "",
            *_settings(),
            "## From Python",
            "",
            *_names(runner.__all__, runner, "runner"),
            "### Verbs, for programs",
            "",
            "`**flags` are those of the command line:",
            "",
            *_flags(),
            *_names([name for name in api.__all__ if name not in ("By", "run", "resume")], api, "runner.api"),
        ]
    )


def _verbs() -> Iterator[str]:
    context = click.Context(cli.cli, info_name="runner")
    yield from _command(cli.cli, context, "runner")
    for verb in cli.cli.list_commands(context):
        command = cli.cli.get_command(context, verb)
        assert command is not None
        yield from _command(command, click.Context(command, info_name=verb, parent=context), verb)


def _command(command: click.Command, context: click.Context, name: str) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"### `{name}`"
    yield ""
    yield "```text"
    yield f"{context.command_path.strip()} {usage}"
    yield "```"
    yield ""
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\n")
    yield from [text.strip(), ""]
    if examples:
        yield from ["```text", *(line.removeprefix("  ") for line in examples.rstrip().splitlines()[1:]), "```", ""]
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options:
        yield from ["| flag | |", "|---|---|"]
        for option in options:
            names = ", ".join(option.opts)
            value = "" if option.is_flag else f" {option.make_metavar(context)}"
            says = re.sub(r"\s+", " ", option.help or "")
            yield f"| `{_cell(names + value)}` | {_cell(says)} |"
        yield ""


def _settings() -> Iterator[str]:
    yield from ["| key | value | default | |", "|---|---|---|---|"]
    for name, kind, default, says in _fields(Settings):
        yield f"| `{name}` | {_TOML[kind]} | {_cell(_default(default))} | {says} |"
    yield ""


_TOML = {
    "str | None": "string",
    "tuple[str, ...]": "list of strings",
    "int | None": "whole number",
    "dict[str, int]": "table of whole numbers",
    "dict[str, float | str]": "table of strings",
}


def _default(text: str) -> str:
    if text == "None":
        return ""
    if text.startswith("field("):
        return "`{}`"
    return f"`{json.dumps(ast.literal_eval(text))}`"


def _fields(found: type) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and comment of what stands in a class's body."""
    pattern = r"^    (\w+): ([^=#\n]+?)(?: = (.*?))?(?:  # (.*))?$"
    for name, kind, default, says in re.findall(pattern, inspect.getsource(found), re.M):
        if not name.startswith("_"):
            yield name, kind.removeprefix("ClassVar[").removesuffix("]") if "ClassVar" in kind else kind, default, says


def _names(names: list[str], module: object, path: str) -> Iterator[str]:
    for name in sorted(names, key=str.lower):
        found = getattr(module, name)
        yield f"#### `{path}.{name}{_signature(found)}`"
        yield ""
        yield _said_of(name, found)
        yield ""
        if found is runner.Task:
            yield from _task()


def _said_of(name: str, found: object) -> str:
    if inspect.isclass(found) or inspect.isfunction(found):
        return inspect.cleandoc(found.__doc__ or "").strip()
    text = inspect.getsource(fields)  # a name for a type has no docstring of its own: the string after it is
    return re.search(rf"^{name}: TypeAlias = [^\n]*\n\"\"\"(.*?)\"\"\"$", text, re.M | re.S)[1]  # type: ignore[index]


def _task() -> Iterator[str]:
    yield from ["| setting | type | default | |", "|---|---|---|---|"]
    for name, kind, default, says in _fields(runner.Task):
        yield f"| `{name}` | `{_cell(kind)}` | `{default}` | {_cell(says)} |"
    yield ""
    for name, method in vars(runner.Task).items():
        if inspect.isfunction(method) and not name.startswith("_"):
            yield f"- `{name}{_signature(method)}`: {' '.join((method.__doc__ or '').split())}"
    yield from ["", "What `due()` and `previous()` tell of last time has", ""]
    for name, kind, _, says in _fields(Last):
        yield f"- `{name}: {kind}`" + (f": {says}" if says else "")
    yield ""


def _flags() -> Iterator[str]:
    yield from ["| name | type | |", "|---|---|---|"]
    for name, kind, _, says in _fields(Flags):
        yield f"| `{name}` | `{_cell(kind)}` | {_cell(says)} |"
    yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _signature(found: object) -> str:
    if not inspect.isfunction(found):
        return ""
    whole = inspect.signature(found)
    bare = [
        each if each.annotation is each.empty else each.replace(annotation=_Words(each.annotation))
        for each in whole.parameters.values()
        if each.name != "self"
    ]
    return str(whole.replace(parameters=bare, return_annotation=_Words(whole.return_annotation)))


class _Words:
    """An annotation as it stands in the source."""

    def __init__(self, text: object) -> None:
        self._text = text

    def __repr__(self) -> str:
        return str(self._text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
