from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.scrape.sites import Policy
from tests.jobs.server import FaultServer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    server = FaultServer()
    yield server
    server.close()


@pytest.fixture
def policy() -> Policy:
    return Policy(user_agent="runner-scrape/1.0 (+test)", hosts=("127.0.0.1",), allow_private=True)
