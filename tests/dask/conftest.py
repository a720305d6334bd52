"""The acceptance tests once more, with `--executor dask`: their projects run on a cluster of real processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import projects, seed
from tests.acceptance.project import Project
from tests.clusters import Cluster

__all__ = ["seed"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With two workers, for all tests."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster")).start()
    try:
        for _ in range(2):
            cluster.add_worker(1)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def new_project(tmp_path: Path, cluster: Cluster) -> Iterator[Callable[..., Project]]:
    with projects(tmp_path, cluster.address) as make:
        yield make


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    return new_project()
