"""What every verb knows: where the project is, and where its state."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Project(NamedTuple):
    """`root`: the project's folder, absolute. `state`: its state folder."""

    root: Path
    state: Path
