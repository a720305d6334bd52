"""When a group of answers is synced: at once where somebody may wait for it, and else not all the time."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from runner import groupcommit
from runner.core.engine import Engine
from runner.core.events import Failed
from runner.groupcommit import GROUP, GROUP_AGE, GroupCommit
from runner.listeners import Store
from runner.workers.port import Executor, Reply

REPLY = Reply(event=Failed(id="A-1", record="", retry_in=None))
OTHERS_WORK = cast("Engine", SimpleNamespace(busy=1_000, claimable=10, entering=0, checking=0, deferred=0))
OTHERS_WAIT = cast("Engine", SimpleNamespace(busy=1_000, claimable=0, entering=0, checking=0, deferred=0))


class Disk:
    """A store whose syncs take no time."""

    durable = True

    def __init__(self) -> None:
        self.fd = -1
        self.commits = GroupCommit(cast("Store", self), cast("Executor", self), 64)

    def sync(self, outputs: Iterator[str]) -> None:
        pass

    def watch(self, fd: int) -> None:
        self.fd = fd

    def synced(self) -> int:
        """Wait for the sync that was started; how many answers it has made durable."""
        assert select.select([self.fd], [], [], 10)[0]
        return len(self.commits.take())

    def starts(self, engine: Engine) -> bool:
        self.commits.start_sync(engine, hurry=False)
        return bool(self.commits._syncing)


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.commits.close()


def test_while_others_work_answers_gather_for_a_while(disk: Disk) -> None:
    for _ in range(3):
        since = time.monotonic()
        disk.commits.gather(REPLY)
        while not disk.starts(OTHERS_WORK):
            patience = disk.commits.patience(OTHERS_WORK)
            assert patience is not None
            assert patience <= GROUP_AGE
            time.sleep(patience)
        assert time.monotonic() - since >= GROUP_AGE
        assert disk.synced() == 1


def test_who_may_wait_for_an_answer_gets_it_at_once(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupcommit, "GROUP_AGE", 1_000)  # however busy this machine is
    disk.commits.gather(REPLY)
    assert not disk.starts(OTHERS_WORK)
    assert disk.starts(OTHERS_WAIT)


def test_a_large_group_does_not_wait(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groupcommit, "GROUP_AGE", 1_000)
    for _ in range(GROUP):
        disk.commits.gather(REPLY)
    assert disk.starts(OTHERS_WORK)
    assert disk.synced() == GROUP
