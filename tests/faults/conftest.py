"""Fixtures of the fault tests: the projects and the seed of the acceptance tests."""

from __future__ import annotations

from tests.acceptance.conftest import ROUNDS, new_project, project, seed

__all__ = ["TORTURE", "new_project", "project", "seed"]

TORTURE = ROUNDS > 1  # `make torture`: what takes minutes is done in full
