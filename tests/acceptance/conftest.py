"""Fixtures of the acceptance tests: a seed, and projects."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.project import Project

ROUNDS = int(os.environ.get("RUNNER_TEST_ROUNDS", "1"))  # `make torture` raises it


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.acceptance)
            if not Path("/proc/self/stat").exists():
                item.add_marker(pytest.mark.skip(reason="these tests look at processes through /proc (Linux)"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """One seed a test, from the run's; printed where a test fails."""
    base = os.environ["RUNNER_TEST_SEED"]
    print(f"RUNNER_TEST_SEED={base}")
    return random.Random(f"{base} {request.node.name}").randrange(2**32)


@contextmanager
def projects(folder: Path, address: str = "") -> Iterator[Callable[..., Project]]:
    """Makes projects in the folder; whatever they started is ended in the end. `address`: see Project."""
    made: list[Project] = []

    def make(name: str = "project", settings: str = "") -> Project:
        made.append(Project(folder / name, settings, address=address))
        return made[-1]

    yield make
    for project in made:
        project.close()


@pytest.fixture
def new_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    with projects(tmp_path) as make:
        yield make


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    return new_project()
