"""What a new project consists of: the repository's own jobs/ and state/README.md, which a wheel carries beside this.

For `init` and for the demonstration. It reads, writes nothing, and imports none of what it hands out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from runner.errors import UsageError

SETTINGS = "pyproject.toml"
IGNORED = "__pycache__/\n/.venv/\n/data/\n"


class Template(NamedTuple):
    """`target`: what `run` runs. `parts`: files and folders of the repository."""

    target: str
    parts: tuple[str, ...]


TEMPLATES = {
    "example": Template("jobs.example:squares", ("jobs/__init__.py", "jobs/example.py")),
    "scrape": Template("jobs.scrape:nightly", ("jobs/__init__.py", "jobs/scrape", "jobs/text", "jobs/sites.toml")),
}
STATE = ("state/.gitignore", "state/README.md")


def settings_of(template: str) -> str:
    """The settings of a project, as they stand in its pyproject.toml."""
    return f"""\
[tool.runner]
target = "{TEMPLATES[template].target}"  # of a `run` without TARGET
modules = ["jobs"]  # whose tasks a job file may name
"""


def files_of(template: str) -> dict[str, bytes]:
    """Every file of a new project by its path, `pyproject.toml` last: with that, it is one."""
    source = _source()
    names = [name for part in (*TEMPLATES[template].parts, *STATE) for name in _files(source, part)]
    found = {name: (source / name).read_bytes() for name in names}
    return {".gitignore": IGNORED.encode(), **found, SETTINGS: settings_of(template).encode()}


def _source() -> Path:
    """The folder that has jobs/ and state/: this one in a wheel, else the repository."""
    here = Path(__file__).parent
    for folder in (here, here.parents[1]):
        if all((folder / part).exists() for template in TEMPLATES.values() for part in template.parts):
            return folder
    raise UsageError(f"{here} lacks the files of a new project: install runner again")


def _files(source: Path, part: str) -> Iterator[str]:
    path = source / part
    if path.is_file():
        yield part
    elif path.is_dir() and path.name != "__pycache__":
        for name in sorted(entry.name for entry in path.iterdir() if not entry.name.startswith(".")):
            yield from _files(source, f"{part}/{name}")
