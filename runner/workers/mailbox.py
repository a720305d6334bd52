"""What threads have for one that waits in a selector."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """`fd` is readable when there is something to take. Once it is closed, what is put is for nobody."""

    def __init__(self) -> None:
        self.fd, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._letters: deque[T] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def put(self, letter: T) -> None:
        """From any thread."""
        with self._lock:
            if not self._closed:
                self._letters.append(letter)
                with suppress(BlockingIOError):  # it is full: so it is readable
                    os.write(self._waker, b".")

    def take(self) -> list[T]:
        """All that is there, in the order in which it was put."""
        with suppress(BlockingIOError):
            while os.read(self.fd, 4096):
                pass
        taken = []
        while self._letters:
            taken.append(self._letters.popleft())
        return taken

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self.fd)
            os.close(self._waker)
