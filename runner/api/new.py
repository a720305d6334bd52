"""The verb that makes a project, for programs. It writes all of it or nothing, and over nothing that is there."""

from __future__ import annotations

import os
import tomllib
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec import Struct

from runner.api.common import StrPath, places
from runner.errors import UsageError
from runner.templates import SETTINGS, STATE, TEMPLATES, files_of, settings_of

# Where there is one already, it serves as well as ours.
AS_GOOD = (".gitignore", "jobs/__init__.py", *STATE)
ELSEWHERE = "or name another folder: `python -m runner init FOLDER`"


class Made(Struct, frozen=True, kw_only=True):
    """A project that was made. `made`: its new files, as seen from `folder`."""

    folder: str
    target: str
    made: list[str]
    to_add: str | None  # the settings, for a pyproject.toml that was there and has none


def init(folder: StrPath = ".", *, template: str = "example", state: StrPath = "state") -> Made:
    """Make `folder` a project. Raises UsageError if it is one, or if other files are in the way of that.

    What is there already as it should be is left alone, so a second call completes what a kill cut short.
    """
    root, state_folder = places(folder, state)
    if template not in TEMPLATES:
        raise UsageError(f"there is no template {template!r}; there is {', '.join(TEMPLATES)}")
    own = _own_settings(root)
    wanted: dict[Path, bytes] = {}
    obstacles: dict[Path, None] = {}
    if (root / "jobs.py").exists() and not (root / "jobs").exists():  # no import would find it any more
        obstacles[root / "jobs.py"] = None
    for name, data in files_of(template).items():
        if name == SETTINGS and own:
            continue
        path = state_folder / Path(name).name if name in STATE else root / name
        obstacle = _obstacle(path, data, name in AS_GOOD)
        if obstacle:
            obstacles[obstacle] = None
        elif not os.path.lexists(path):
            wanted[path] = data
    if obstacles:
        first = ", ".join(str(path) for path in list(obstacles)[:3])
        more = f" and {len(obstacles) - 3} more" if len(obstacles) > 3 else ""
        them = "them" if len(obstacles) > 1 else "it"
        raise UsageError(f"{first}{more} in the way, nothing was written: move {them} away, {ELSEWHERE}")
    _write(wanted)
    return Made(
        folder=str(root),
        target=TEMPLATES[template].target,
        made=[os.path.relpath(path, root) for path in wanted],
        to_add=settings_of(template) if own else None,
    )


def _own_settings(root: Path) -> bool:
    """Whether there is a pyproject.toml, of something else than the runner. Raises UsageError if it is the runner's."""
    path = root / SETTINGS
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {})
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}; nothing was written: mend it, {ELSEWHERE}") from error
    if isinstance(found, dict) and "runner" in found:
        raise UsageError(f"{path} has a [tool.runner]: this is a project, nothing was written; run it, {ELSEWHERE}")
    return True


def _obstacle(path: Path, data: bytes, as_good: bool) -> Path | None:
    """What keeps the file from being written, or from being right as it is."""
    for parent in path.parents:
        if os.path.lexists(parent):
            if not parent.is_dir():
                return parent
            break
    if not os.path.lexists(path) or (path.is_file() and (as_good or path.read_bytes() == data)):
        return None
    return path


def _write(wanted: dict[Path, bytes]) -> None:
    """All of the files; where that fails, none."""
    with ExitStack() as undo:
        for path, data in wanted.items():
            for parent in reversed([parent for parent in path.parents if not parent.exists()]):
                parent.mkdir(0o755)  # whatever the umask: a state folder that others may write to would be refused
                undo.callback(_without_trace, parent.rmdir)
            half = path.with_name(f".{path.name}.half")  # a kill leaves no half file under a name that counts
            undo.callback(_without_trace, half.unlink)
            half.write_bytes(data)
            half.rename(path)
            undo.callback(_without_trace, path.unlink)
        undo.pop_all()


def _without_trace(remove: object) -> None:
    assert callable(remove)
    with suppress(OSError):
        remove()
