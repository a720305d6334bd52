"""init: what it makes, that it overwrites nothing, and that it makes all or nothing whenever it is cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import runner
from runner import api, templates
from runner.cli import cli
from runner.errors import UsageError
from runner.settings import load_settings
from runner.store.folders import FolderStore

ROOT = Path(runner.__file__).parents[1]
EXAMPLE = {"jobs/__init__.py", "jobs/example.py"}
ALWAYS = {".gitignore", "pyproject.toml", "state/.gitignore", "state/README.md"}


@pytest.fixture(autouse=True)
def _at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNER_STATE", raising=False)
    monkeypatch.chdir(tmp_path)


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, list(words))


def said(*words: str) -> Result:
    result = call(*words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def refused(*words: str) -> str:
    """The one line that is told; nothing is written."""
    before = tree(Path())
    result = call(*words)
    assert isinstance(result.exception, UsageError), (result.output, result.exception)
    assert result.exception.exit_code == 2
    assert tree(Path()) == before
    message = str(result.exception)
    assert "nothing was written" in message
    assert "`python -m runner init FOLDER`" in message
    assert "\n" not in message
    return message


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file with its bytes, every folder."""
    paths = sorted(path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def files(folder: Path) -> set[str]:
    return {name for name, data in tree(folder).items() if data is not None}


# ------------------------------------------------------------------------------------------------------ what is made


def test_a_project_here(tmp_path: Path) -> None:
    result = said("init")
    assert files(tmp_path) == EXAMPLE | ALWAYS == set(result.stdout.splitlines())
    assert "next: `python -m runner run`\nthen: `python -m runner status`\n" in result.stderr
    settings = load_settings(tmp_path)
    assert (settings.target, settings.modules) == ("jobs.example:squares", ("jobs",))
    for name in EXAMPLE | {"state/.gitignore", "state/README.md"}:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_project_elsewhere(tmp_path: Path) -> None:
    result = said("init", "deep/down and out", "--template", "scrape")
    folder = tmp_path / "deep" / "down and out"
    assert files(folder) == set(result.stdout.splitlines())
    assert "next: `python -m runner -C 'deep/down and out' run`\n" in result.stderr
    assert load_settings(folder).target == "jobs.scrape:nightly"
    made = {name.removeprefix("jobs/") for name in files(folder) if name.startswith("jobs/")}
    wanted = {name for name in files(ROOT / "jobs") if not Path(name).name.startswith(".")} - {"example.py"}
    assert made == wanted
    assert (folder / "jobs" / "sites.toml").read_bytes() == (ROOT / "jobs" / "sites.toml").read_bytes()


def test_the_projects_folder_is_named_by_c(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    said("-C", "one", "init")
    said("-C", "one", "init", "two")
    assert files(tmp_path / "one" / "two") == EXAMPLE | ALWAYS
    said("init", str(tmp_path / "three"))
    assert files(tmp_path / "three") == EXAMPLE | ALWAYS


def test_a_state_folder_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = said("--state", "../jobs state", "init", "one")
    assert files(tmp_path / "one") == EXAMPLE | ALWAYS - {"state/.gitignore", "state/README.md"}
    assert files(tmp_path / "jobs state") == {".gitignore", "README.md"}
    assert "../jobs state/README.md" in result.stdout.splitlines()
    assert "`python -m runner -C one --state '../jobs state' run`" in result.stderr
    monkeypatch.setenv("RUNNER_STATE", str(tmp_path / "by variable"))
    result = said("init", "two")
    assert files(tmp_path / "by variable") == {".gitignore", "README.md"}
    assert "`python -m runner -C two run`" in result.stderr


def test_any_umask_makes_a_state_folder_that_can_be_used(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        said("init", "open")
    finally:
        os.umask(before)
    FolderStore(tmp_path / "open" / "state", root=tmp_path / "open").close()
    assert (tmp_path / "open" / "state").stat().st_mode & 0o022 == 0


def test_what_there_is_to_choose_from() -> None:
    assert call("init", "--template", "scrap").exit_code == 2
    with pytest.raises(UsageError, match="there is no template 'scrap'; there is example, scrape"):
        api.init(template="scrap")


# ------------------------------------------------------------------------------------------- what was there before it


def test_a_second_time(tmp_path: Path) -> None:
    said("init")
    assert "pyproject.toml has a [tool.runner]: this is a project" in refused("init")
    assert "this is a project" in refused("init", "--template", "scrape")


def test_what_serves_as_well_is_left_alone(tmp_path: Path) -> None:
    mine = {".gitignore": "mine", "jobs/__init__.py": "mine = 1", "jobs/mine.py": "", "state/README.md": "mine"}
    for name, text in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    result = said("init")
    assert set(result.stdout.splitlines()) == {"jobs/example.py", "pyproject.toml", "state/.gitignore"}
    for name, text in mine.items():
        assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize("text", ["", "[project]\nname = 'mine'\n[tool.other]\nrunner = 1\n"])
def test_a_pyproject_of_something_else(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(text)
    for made in (EXAMPLE | ALWAYS - {"pyproject.toml"}, set()):  # again: it says again what is to be added
        result = said("init")
        assert set(result.stdout.splitlines()) == made
        assert path.read_text() == text
        assert "next: `python -m runner run jobs.example:squares`\n" in result.stderr
        to_add = result.stderr.partition("add to it\n\n")[2].partition("\n\n")[0]
        assert tomllib.loads(to_add)["tool"]["runner"]["target"] == "jobs.example:squares"
    path.write_text(f"{text}\n{to_add}")
    assert load_settings(tmp_path).target == "jobs.example:squares"


def test_a_pyproject_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool")
    assert "pyproject.toml: Expected ']'" in refused("init")
    (tmp_path / "pyproject.toml").write_bytes(b"\xff")
    assert "pyproject.toml: 'utf-8' codec" in refused("init")
    (tmp_path / "pyproject.toml").unlink()
    (tmp_path / "pyproject.toml").mkdir()
    assert "pyproject.toml" in refused("init")


@pytest.mark.parametrize(
    ("there", "words", "told"),
    [
        (["jobs/example.py"], (), "example.py in the way"),
        (["jobs/sites.toml"], ("--template", "scrape"), "sites.toml in the way"),
        (["jobs/scrape"], ("--template", "scrape"), "jobs/scrape in the way"),
        (["jobs"], (), "/jobs in the way"),
        (["jobs.py"], (), "jobs.py in the way"),
        (["state"], (), "/state in the way"),
        (["jobs/example.py", "state"], (), "example.py, {}/state in the way, nothing was written: move them away"),
        (["target"], ("target",), "/target in the way"),
        (["target"], ("target/below",), "/target in the way"),
    ],
)
def test_what_is_in_the_way(there: list[str], words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    assert told.format(tmp_path) in refused("init", *words)


def test_much_in_the_way_is_told_in_one_line(tmp_path: Path) -> None:
    api.init(template="scrape")
    (tmp_path / "pyproject.toml").unlink()
    for path in (tmp_path / "jobs" / "scrape").iterdir():
        path.write_text("mine")
    message = refused("init", "--template", "scrape")
    assert f"and {len(list((tmp_path / 'jobs' / 'scrape').iterdir())) - 3} more in the way" in message


@pytest.mark.parametrize("name", ["jobs/example.py", ".gitignore", "pyproject.toml", "jobs"])
def test_a_link_that_leads_nowhere_is_not_followed(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    assert name in refused("init")
    assert not (tmp_path / "nowhere").exists()


# --------------------------------------------------------------------------------------------------------- cut short

STEPS = ("mkdir", "write_bytes", "rename")
AT = """
import os, signal, sys
from pathlib import Path
step, nth = sys.argv[1], int(sys.argv[2])
real, calls = getattr(Path, step), iter(range(1, 1000))
def cut(*arguments):
    last = next(calls) == nth
    if last and step == "write_bytes":
        arguments = (arguments[0], arguments[1][:7])
    if last and step != "write_bytes":
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*arguments)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(Path, step, cut)
from runner import api
api.init("cut")
"""


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_it_is_completed_by_the_next(step: str, tmp_path: Path) -> None:
    said("init", "whole")
    wanted, killed = tree(tmp_path / "whole"), 0
    for nth in range(1, 100):
        done = subprocess.run([sys.executable, "-c", AT, step, str(nth)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL
        killed += 1
        assert not (tmp_path / "cut" / "pyproject.toml").exists(), "with that, it is a project"
        said("init", "cut")
        assert tree(tmp_path / "cut") == wanted
        subprocess.run(["rm", "-r", tmp_path / "cut"], check=True)
    assert killed == {"mkdir": 3, "write_bytes": 6, "rename": 6}[step]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", STEPS)
def test_failing_at_any_step_it_leaves_nothing(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "mine.py").write_text("mine")
    before = tree(tmp_path)
    real = getattr(Path, step)
    struck = 0
    for nth in range(1, 100):
        calls = iter(range(1, 1000))

        def failing(*arguments: object) -> object:
            if next(calls) == nth:  # noqa: B023
                raise error
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Path, step, failing)
            try:
                api.init()
            except type(error):
                struck += 1
                assert tree(tmp_path) == before
                continue
        break
    assert struck == {"mkdir": 1, "write_bytes": 6, "rename": 6}[step]
    assert files(tmp_path) == EXAMPLE | ALWAYS | {"jobs/mine.py"}


def test_an_installation_that_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "__file__", str(tmp_path / "runner" / "templates" / "__init__.py"))
    with pytest.raises(UsageError, match="lacks the files of a new project: install runner again"):
        api.init("new")
    assert not (tmp_path / "new").exists()
