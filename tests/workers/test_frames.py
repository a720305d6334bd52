"""Messages on a stream, however they are cut."""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from runner.workers.frames import Frames, frame


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        try:
            os.close(fd)
        except OSError:
            continue


def test_frames_come_out_as_they_went_in(pipe: tuple[int, int]) -> None:
    messages = [b"", b"one", b"x" * 10_000, b'{"a": 1}\n']
    os.write(pipe[1], b"".join(map(frame, messages)))
    assert list(Frames(pipe[0]).read()) == messages


def test_a_frame_that_is_cut_waits_for_its_rest(pipe: tuple[int, int]) -> None:
    frames = Frames(pipe[0])
    data = frame(b"hello") + frame(b"world")
    found = []
    for byte in data:
        os.write(pipe[1], bytes([byte]))
        found.append(list(frames.read()))
    assert [each for each in found if each] == [[b"hello"], [b"world"]]
    assert found[len(frame(b"hello")) - 1] == [b"hello"], "not before it is whole, and not after"


def test_many_frames_in_one_read(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], frame(b"x") * 1000)
    assert list(Frames(pipe[0]).read()) == [b"x"] * 1000


def test_a_frame_of_many_megabytes(pipe: tuple[int, int]) -> None:
    message = random.Random(1).randbytes(20 << 20)
    frames = Frames(pipe[0])
    data = memoryview(frame(message))

    def write() -> None:
        done = 0
        while done < len(data):
            done += os.write(pipe[1], data[done:])

    writer = threading.Thread(target=write)
    writer.start()
    found: list[bytes] = []
    while not found:
        found += frames.read()
    writer.join()
    assert found == [message]


def test_what_was_cut_by_the_death_of_its_writer_is_never_seen(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], frame(b"whole") + frame(b"half of it")[:-3])
    os.close(pipe[1])
    frames = Frames(pipe[0])
    assert list(frames.read()) == [b"whole"]
    assert not frames.eof
    assert list(frames.read()) == []
    assert frames.eof


@pytest.mark.parametrize("garbage", [b"garbage without a head", b"short", bytes(8), b"\xff" * 8])
def test_what_somebody_else_has_written_is_no_frame(pipe: tuple[int, int], garbage: bytes) -> None:
    """Nor does one wait for the rest of it: what it has in place of a length may be any number."""
    frames = Frames(pipe[0])
    os.write(pipe[1], frame(b"one") + garbage + frame(b"two"))
    with pytest.raises(ValueError, match="no frame"):
        list(frames.read())


def test_a_stream_with_nothing_more_to_read_is_dry_and_not_at_its_end(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[0], False)
    frames = Frames(pipe[0])
    assert list(frames.read()) == []
    assert (frames.dry, frames.eof) == (True, False)
    os.write(pipe[1], frame(b"more"))
    assert list(frames.read()) == [b"more"]
    assert not frames.dry


def test_a_reset_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(b"last words"))
        ours.sendall(b"never read")
        theirs.close()  # with something unread: the kernel resets the stream
        frames = Frames(ours.fileno())
        assert list(frames.read()) == [b"last words"]
        assert list(frames.read()) == []
        assert frames.eof
