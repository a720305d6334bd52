"""One sync at a time, beside the loop."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator

import pytest

from runner.syncer import Syncer

Make = Callable[[Callable[[], None]], Syncer]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Syncer] = []

    def make(sync: Callable[[], None]) -> Syncer:
        made.append(Syncer(sync))
        return made[-1]

    yield make
    for syncer in made:
        syncer.close()


def is_readable(syncer: Syncer, seconds: float = 10.0) -> bool:
    return bool(select.select([syncer.fd], [], [], seconds)[0])


def test_the_end_of_a_sync_can_be_waited_for(make: Make) -> None:
    done: list[int] = []
    syncer = make(lambda: done.append(1))
    assert not syncer.busy
    for count in (1, 2, 3):
        syncer.start()
        assert syncer.busy
        assert is_readable(syncer)
        assert syncer.finish()
        assert (len(done), syncer.busy) == (count, False)
        assert not is_readable(syncer, 0)
    assert not syncer.finish()


def test_the_loop_goes_on_meanwhile(make: Make) -> None:
    go = threading.Event()
    syncer = make(lambda: go.wait(10) and None)
    syncer.start()
    assert not syncer.finish()
    assert syncer.busy
    assert not is_readable(syncer, 0.02)
    go.set()
    assert is_readable(syncer)
    assert syncer.finish()


def test_what_a_sync_raises_is_raised_and_stays_so(make: Make) -> None:
    def sync() -> None:
        raise OSError(5, "Input/output error")

    syncer = make(sync)
    syncer.start()
    assert is_readable(syncer)
    with pytest.raises(OSError, match="Input/output error"):
        syncer.finish()
    syncer.start()
    assert is_readable(syncer), "a failed sync does not end the thread"
    with pytest.raises(OSError, match="Input/output error"):
        syncer.finish()


def test_close_waits_for_the_sync_that_is_under_way_and_leaves_nothing() -> None:
    before = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
    threads = threading.active_count()
    done: list[int] = []
    go = threading.Event()

    def sync() -> None:
        go.wait(10)
        done.append(1)

    syncer = Syncer(sync)
    syncer.start()
    threading.Timer(0.02, go.set).start()
    syncer.close()
    assert done == [1]
    assert threading.active_count() <= threads + 1, "but for the timer"
    if before:
        assert set(os.listdir("/proc/self/fd")) <= before | {max(os.listdir("/proc/self/fd"), key=int)}
