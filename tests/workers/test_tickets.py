"""Tickets: each is had by one reader, whoever asks first, and in the order given."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator

import pytest

from runner.workers.tickets import Tickets, take


@pytest.fixture
def tickets() -> Iterator[Tickets]:
    tickets = Tickets()
    yield tickets
    tickets.close()


def give(tickets: Tickets, count: int) -> None:
    for _ in range(count):
        tickets.book()
    tickets.give()


def test_a_worker_takes_them_in_order_and_the_scheduler_what_is_left(tickets: Tickets) -> None:
    give(tickets, 5)
    assert [take(tickets.fileno()) for _ in range(2)] == [0, 1]
    assert tickets.take_back() == {2, 3, 4}
    assert tickets.take_back() == set()
    give(tickets, 2)
    assert take(tickets.fileno()) == 5, "those between were taken back"
    assert tickets.take_back() == {6}


def test_more_than_the_socket_has_room_for_are_given_as_some_are_taken(tickets: Tickets) -> None:
    give(tickets, 5000)
    for number in range(3000):
        assert take(tickets.fileno()) == number
        tickets.give()
    assert tickets.take_back() == set(range(3000, 5000))
    tickets.give()
    assert tickets.take_back() == set()
    give(tickets, 1)
    assert take(tickets.fileno()) == 5000


def test_who_waits_for_one_hears_that_the_scheduler_is_gone() -> None:
    tickets = Tickets()
    far = os.dup(tickets.fileno())
    threading.Timer(0.05, tickets.close).start()
    assert take(far) is None
    os.close(far)
    assert take(far) is None, "and where a task has closed it there is nobody, either"


def test_none_is_had_by_two_and_none_is_lost(tickets: Tickets, chance: random.Random) -> None:
    """While a worker takes them, the scheduler takes back all the time."""
    begun: list[int] = []

    def work() -> None:
        while (number := take(tickets.fileno())) is not None and number < 20_000:
            begun.append(number)

    worker = threading.Thread(target=work)
    worker.start()
    back: set[int] = set()
    given = 0
    while given < 20_000:
        count = min(chance.randrange(1, 40), 20_000 - given)
        give(tickets, count)
        given += count
        if chance.random() < 0.5:
            time.sleep(chance.random() * 1e-4)
        taken = tickets.take_back()
        assert not taken & back
        back |= taken
    give(tickets, 1)
    worker.join()
    assert begun == sorted(begun)
    assert len(begun) + len(back) == 20_000
    assert {*begun, *back} == set(range(20_000))
    assert begun
    assert back
