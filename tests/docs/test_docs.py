"""The documentation is true: its commands are typed, its Python is run, and what it names is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import click
import pytest

from runner import cli, errors
from runner.core.model import TRANSITIONS, Status
from runner.settings import load_settings
from runner.store import codec
from runner.store.shelf import FOLDERS
from tests.docs.made import script
from tests.docs.markdown import ROOT, Command, Page, commands, pages
from tests.docs.session import FILE, Session, alike, fits, is_set_up

PAGES = pages()
BY_NAME = {page.name: page for page in PAGES}
LANGUAGES = {"console", "python", "json", "toml", "mermaid", "text", "sh", "cron", "ini"}
OURS = ("runner/", "jobs/", "tests/", "bench/", "docs/", ".ci/")
VERB_ROW = re.compile(r"^\| `([a-z]+)[ `]", re.MULTILINE)
ENTRY = re.compile(r"^- `([^`]+)`", re.MULTILINE)
CODE_ROW = re.compile(r"^\| (\d+) \|", re.MULTILINE)

MESS = """
import os
from dataclasses import dataclass
from runner import Absent, Input, Output, Task

@dataclass
class Loud(Task):
    output_filepath: Output
    version = 1 + int(os.environ.get("ABSENT", 0))

    def run(self):
        print("loud")
        if self.version > 1:
            return Absent()
        self.output_filepath.write_text("made")

@dataclass
class Fails(Task):
    output_filepath: Output
    retries = 0

    def run(self):
        raise ValueError("always")

@dataclass
class Reads(Task):
    input_filepath: Input
    output_filepath: Output

def mess():
    return [Loud("deep/down/loud.txt"), Fails("fails.txt"), Reads("fails.txt", "reads.txt")]
"""

each_page = pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The home of somebody who has followed the README to its end."""
    session = Session(tmp_path_factory.mktemp("reader"))
    session.follow(BY_NAME["README.md"])
    return session


@pytest.fixture
def session(read: Session, tmp_path: Path) -> Session:
    """A copy of that, for one of the other pages."""
    home = tmp_path / "reader"
    shutil.copytree(read.home, home, symlinks=True)
    copy = Session(home)
    copy.folder = home / read.folder.relative_to(read.home)
    return copy


# -------------------------------------------------------------------------------------------------------- it is run


def test_the_readme_can_be_followed(read: Session) -> None:
    told_to_skip(read)


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name != "README.md" and {"console", "python"} & {b.language for b in page.blocks}],
    ids=lambda page: page.name,
)
def test_a_page_can_be_followed(page: Page, session: Session) -> None:
    session.follow(page)
    told_to_skip(session)


def told_to_skip(session: Session) -> None:
    if session.missed:
        pytest.skip(f"all went well, but jq is not on this machine, and was not run: {'; '.join(session.missed)}")


@each_page
def test_no_command_hides_in_another_kind_of_block(page: Page) -> None:
    for block in page.blocks:
        assert block.language in LANGUAGES, f"{block.place}: {block.language!r}"
        if block.language != "console":
            assert not re.search(r"^\s*\$ ", block.text, re.MULTILINE), f"{block.place}: a command in a block not run"


@each_page
def test_data_in_blocks_is_valid(page: Page, tmp_path: Path) -> None:
    for block in page.blocks:
        if block.language == "json":
            found = json.loads(block.text)
            if "attempts" in found:
                assert codec.decode(block.text.encode(), found["id"]).task == found["task"], block.place
            elif "task" in found:
                assert codec.decode_handed_in(block.text.encode()), block.place
        elif block.language == "toml":
            tomllib.loads(block.text)
            (tmp_path / "pyproject.toml").write_text(block.text, encoding="utf-8")
            load_settings(tmp_path)


# -------------------------------------------------------------------------------------------- what it names is there


@each_page
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        path, _, anchor = link.partition("#")
        assert "://" not in path, f"{page.name}: {link}: what is not in this repository cannot be checked"
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        if anchor:
            assert anchor in Page(target).anchors, f"{page.name}: {link}"


@each_page
def test_paths_are_there(page: Page) -> None:
    of_readers = {name[1] for each in PAGES for block in each.blocks if (name := FILE.match(block.text))}
    for span in page.spans:
        if span.startswith(OURS) and " " not in span:
            path = span.partition("::")[0]
            assert span in of_readers or list(ROOT.glob(path)), f"{page.name}: `{span}`"
        elif span.startswith("state/") and " " not in span and not span.isupper():
            assert span.split("/")[1] in {*FOLDERS, "", "README.md", ".gitignore"}, f"{page.name}: `{span}`"
        elif re.fullmatch(r"[A-Za-z]+\.(md|toml|cfg)|Makefile|\.importlinter", span):
            assert (ROOT / span).exists() or (page.path.parent / span).exists(), f"{page.name}: `{span}`"


def options() -> Iterator[str]:
    """Every option of every verb."""
    context = click.Context(cli.cli)
    every = [cli.cli, *(cli.cli.get_command(context, verb) for verb in cli.cli.list_commands(context))]
    for command in every:
        assert command is not None
        for parameter in command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)
    yield from ("--help", "-h")


@each_page
def test_verbs_and_options_exist(page: Page) -> None:
    verbs = set(cli.cli.list_commands(click.Context(cli.cli)))
    known = set(options())
    typed = [command.words for block in page.blocks if block.language == "console" for command in commands(block)]
    for span in (*page.spans, *typed):
        if span.startswith(("make ", "pip ")):
            is_set_up(Command(page.name, span, ""))
        called = re.match(r"(?:python -m )?runner(?: (?:-C|--state) \S+)* ([a-z]+)\b", span)
        assert not called or called[1] in verbs, f"{page.name}: `{span}`"
        if called or span.startswith("--"):
            for option in re.findall(r"(?<!\S)--?[a-zA-Z][\w-]*", span.removeprefix("python -m ")):
                assert option in known, f"{page.name}: `{span}`: {option}"


# ------------------------------------------------------------------------------------- what it lists is all there is


def test_the_readme_has_the_verbs_that_there_are() -> None:
    page = BY_NAME["README.md"]
    verbs = cli.cli.list_commands(click.Context(cli.cli))
    assert VERB_ROW.findall(page.prose) == verbs


def test_the_readme_has_the_exit_codes_that_there_are() -> None:
    told = {int(code) for code in CODE_ROW.findall(BY_NAME["README.md"].prose)}
    known = [error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")]
    assert told >= set(known)
    assert {0, 3} <= told


def test_the_state_folder_is_told_whole(session: Session) -> None:
    """Every path that a real state holds is an entry of the page, and every folder of the store is one."""
    entries = ENTRY.findall(BY_NAME["docs/state-layout.md"].prose)
    assert set(FOLDERS) <= {entry.partition("/")[0] for entry in entries}
    patterns = [re.sub(r"\b[A-Z]+\b", "*", entry) for entry in entries if "/" in entry]
    make_a_mess(session)
    state = session.folder / "state"
    found = [path.relative_to(state).as_posix() for path in state.rglob("*") if not path.is_dir()]
    full = {path.partition("/")[0] for path in found}
    assert full >= {"inbox", "done", "failed", "blocked", "quarantine", "runs", "logs", "trash", "locks"}
    untold = [path for path in found if not any(fnmatchcase(path, pattern) for pattern in patterns)]
    assert not untold


def make_a_mess(session: Session) -> None:
    """A state with as many kinds of files as a few runs can leave."""
    (session.folder / "jobs" / "mess.py").write_text(MESS, encoding="utf-8")
    (session.folder / "state" / "inbox" / "damaged.json").write_text("{}", encoding="utf-8")
    os.utime(session.folder / "state" / "inbox" / "damaged.json", (0, 0))
    for absent in (0, 1):
        words = f"ABSENT={absent} python -m runner run jobs.mess:mess --workers 1; python -m runner stop"
        session.type(Command("mess", words, ""))
    (session.folder / "state" / "inbox" / ".half").touch()
    session.type(Command("mess", "python -m runner submit jobs.pages:ParsePage input_filepath=x output_filepath=y", ""))


def test_the_readme_shows_the_folders_as_ls_does(read: Session) -> None:
    shown = [
        command.output.split()
        for block in BY_NAME["README.md"].blocks
        if block.language == "console"
        for command in commands(block)
        if command.words == "ls state"
    ]
    assert shown == [sorted(FOLDERS)]
    assert sorted(os.listdir(read.folder / "state")) == sorted(FOLDERS)


def test_every_status_is_told() -> None:
    for name in ("README.md", "docs/state-layout.md", "state/README.md"):
        missing = [status for status in Status if f"`{status}/" not in BY_NAME[name].prose]
        assert not missing, f"{name}: {missing}"


# ------------------------------------------------------------------------------------------------ what it is drawn from


def test_the_diagram_is_that_of_the_table() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert script("make_transitions").drawn(text) == text, "run: python docs/make_transitions.py"
    for (source, step), target in TRANSITIONS.items():
        assert re.search(rf"^    {source} --> {target} : .*\b{step}\b", text, re.MULTILINE), (source, step, target)


def test_a_diagram_that_is_out_of_date_is_seen() -> None:
    module = script("make_transitions")
    old = f"before\n{module.BEGIN}\nsomething old\n{module.END}\nafter\n"
    assert "something old" not in module.drawn(old)
    assert module.drawn(old).startswith("before\n")
    assert module.drawn(old).endswith("\nafter\n")
    with pytest.raises(ValueError, match="has no"):
        module.drawn("a page without a place for it")


def test_decisions_are_numbered_and_told_in_the_same_form() -> None:
    notes = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    assert [note.name[:5] for note in notes] == [f"{number:04}-" for number in range(1, len(notes) + 1)]
    for note in notes:
        text = note.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(note.name[:4])}. "), note.name
        assert [line for line in text.splitlines() if line.startswith("**")], note.name
        for part in ("**Decided:**", "**Why:**", "**Price:**"):
            assert text.count(part) == 1, f"{note.name}: {part}"


# ------------------------------------------------------------------------------------------------- the tests can fail


@pytest.mark.parametrize(
    ("found", "wanted", "fit"),
    [
        ("a b c", "a b c", True),
        ("a b c", "a b", False),
        ("a b c", "a ...", True),
        ("a b c", "... c", True),
        ("c", "... c", True),
        ("a b c", "... b", False),
        ("", "something", False),
    ],
)
def test_words_are_compared(found: str, wanted: str, fit: bool) -> None:
    assert fits(found.split(), wanted.split()) is fit


def test_what_differs_each_time_is_made_alike() -> None:
    one = "[  0.2 s] 0 of 1 done\n[ 11.0 s] 1 of 1 done, 3.1 jobs/s (1 new)\nrun 20261122T020000Z: 1 done in 0.2 s"
    other = "[  0.1 s] 1 of 1 done (1 new)\nrun 20270101T000000Z: 1 done in 14.0 s"
    assert alike(one) == alike(other)
    assert alike(one) != alike(other.replace("1 done in", "1 failed in"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```console\n$ false\n```\n", "its last command fails"),
        ("```console\n$ false\n$ true\n```\n", "the command before .* fails"),
        ("```console\n$ echo one\ntwo\n```\n", "echo one"),
        ("```console\n$ make no-such-target\n```\n", "no-such-target"),
        ("```console\n$ source venv/activate\n```\n", "test.md"),
        ("```python\nprint(1)\n```\n", "file name"),
        ("```python\n# wrong.py\nassert False\n```\n", "AssertionError"),
    ],
)
def test_a_page_that_is_wrong_is_seen(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.markdown.ROOT", tmp_path)
    path = tmp_path / "test.md"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(AssertionError, match=said):
        Session(tmp_path).follow(Page(path))


def test_set_up_commands_are_known_by_their_words() -> None:
    page = BY_NAME["README.md"]
    typed = [c for block in page.blocks if block.language == "console" for c in commands(block)]
    assert {c.words for c in typed if is_set_up(c)} == {"make demo", "make test", "source .venv/bin/activate"}


def test_every_test_that_is_named_is_there() -> None:
    """docs/reliability.md names one for each promise; without a folder it is one of tests/faults/."""
    text = (ROOT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`((?:tests/[\w/]*)?test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 50
    for file, test in named:
        path = ROOT / (file if file.startswith("tests/") else f"tests/faults/{file}")
        assert path.exists(), file
        assert not test or f"\ndef {test}(" in path.read_text(), f"{file}::{test}"
