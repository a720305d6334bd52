"""Fixtures of the tests of the workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.support import Yard


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Yard:
    """A project in a temporary folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return Yard(tmp_path)
