"""Fixtures of the fault tests: the projects and the seed of the acceptance tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import ROUNDS, new_project, project, seed

__all__ = ["TORTURE", "new_project", "project", "seed"]

TORTURE = ROUNDS > 1  # `make torture`: what takes minutes is done in full


@pytest.fixture
def in_process() -> Iterator[None]:
    """For runs within this process: they change its working directory and, in workers, its output."""
    before = os.getcwd()
    yield
    os.chdir(before)
