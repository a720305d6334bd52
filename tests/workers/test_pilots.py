"""The connections of pilots, in this process: nobody waits for what does not come, and nothing is left behind."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import pytest

from runner.errors import StateError
from runner.workers.exchange import Request, encode
from runner.workers.link import Came, Joined, Left
from runner.workers.pilots import PilotLink, Pool
from tests.acceptance import processes


@pytest.fixture
def link() -> Iterator[PilotLink]:
    with ThreadPoolExecutor(1) as pool:  # its end is that of the pilot
        link = PilotLink(Pool(pool, 1))
        try:
            yield link
        finally:
            began = time.monotonic()
            link.close()
            assert time.monotonic() - began < 5


def join(link: PilotLink) -> None:
    found: list[object] = []
    processes.wait_until("the pilot has joined", lambda: found.extend(link.take()) or found)
    assert found == [Joined("pilot-0", 1)]


def test_who_does_not_know_the_secret_is_not_listened_to(link: PilotLink) -> None:
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        Client(link._server.getsockname(), authkey=b"guessed").send_bytes(b"pilot-9")
    join(link)


def test_who_says_nothing_keeps_nobody_waiting(link: PilotLink) -> None:
    with socket.create_connection(link._server.getsockname()), socket.create_connection(link._server.getsockname()):
        join(link)


@pytest.mark.parametrize("way", [0, 1])
def test_a_pilot_that_loses_one_connection_makes_way_for_another(link: PilotLink, way: int) -> None:
    """The answer is late, or the connection is cut: the pilot ends, and the pool's process is free for the next."""
    join(link)
    before = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        (lines,) = link._lanes.values()
        lines[way].socket.shutdown(socket.SHUT_RDWR)
        link.ask("pilot-0", "x", way, encode(Request(agent="x")), 0.2)
        processes.wait_until("it has left", lambda: Left("pilot-0") in link.take())
        processes.wait_until("another one has joined", lambda: Joined("pilot-0", 1) in link.take())
    processes.wait_until(
        "nothing is left of those before",
        lambda: threading.active_count() <= before[0] and len(os.listdir("/proc/self/fd")) <= before[1],
    )


def test_a_connection_that_is_left_over_disturbs_nobody(link: PilotLink) -> None:
    """Of a pilot that did not get its other one. (Here it comes third: it ends the two, and the next pilot both.)"""
    join(link)
    with Client(link._server.getsockname(), authkey=link._key) as left_over:
        left_over.send_bytes(b"pilot-0")
        processes.wait_until("the first has left", lambda: Left("pilot-0") in link.take())

        def answers() -> bool:
            link.ask("pilot-0", "x", 0, encode(Request(agent="x")), 2.0)
            time.sleep(0.1)
            return any(isinstance(word, Came) for word in link.take())

        processes.wait_until("another one answers", answers)


def test_an_address_that_this_machine_does_not_have() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(StateError, match="is no address of this machine"):
        PilotLink(Pool(pool, 1, host="203.0.113.9"))
