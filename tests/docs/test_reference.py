"""docs/reference.md: made from the code, and made anew whenever that changes."""

from __future__ import annotations

import re

import click

import runner
from runner import api, cli
from runner.settings import Settings
from tests.docs.made import DOCS, script

PAGE = (DOCS / "reference.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_code_makes() -> None:
    assert script("make_reference").page() == PAGE, "run: python docs/make_reference.py"


def test_it_has_all_there_is() -> None:
    verbs = cli.cli.list_commands(click.Context(cli.cli))
    assert re.findall(r"^### `([a-z]+)`$", PAGE, re.M) == ["runner", *verbs]
    for name in runner.__all__:
        assert f"runner.{name}" in PAGE
    for name in set(api.__all__) - {"By", *runner.__all__}:
        assert f"runner.api.{name}" in PAGE
    for key in Settings.__struct_fields__:
        assert f"| `{key}` |" in PAGE


def test_every_verb_has_an_example_and_every_flag_says_what_it_does() -> None:
    sections = re.split(r"^### ", PAGE.partition("## Settings")[0], flags=re.M)[2:]
    for section in sections:
        assert "runner " in section.partition("```text")[2].partition("```")[2], section
        for row in re.findall(r"^\| `-.*$", section, re.M):
            assert re.fullmatch(r"\| `[^`]+` \| [A-Z\"0-9].* \|", row), row
