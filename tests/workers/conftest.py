"""Fixtures of the tests of the workers."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers.support import Yard


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Yard]:
    """A project in a temporary folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    yard = Yard(tmp_path)
    yield yard
    yard.close()


@pytest.fixture
def chance() -> random.Random:
    return random.Random(os.environ["RUNNER_TEST_SEED"])
