"""Messages on a stream: a length in 4 bytes, its complement in 4 more, then so many bytes of JSON.

Many frames are read at once, as they lie in the buffer. A frame that is cut by the death of its writer is never seen.
What somebody else has written on the stream is no length with its complement: else one would wait for it for ever.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

_HEAD = struct.Struct(">II")
_ALL = 0xFFFFFFFF
_CHUNK = 1 << 18


def frame(payload: bytes) -> bytes:
    """The payload as it goes over the stream. At most 4 GiB."""
    return _HEAD.pack(len(payload), len(payload) ^ _ALL) + payload


class Frames:
    """Takes a stream apart. `eof` once the other side is gone; `dry` while nothing more has come yet."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.eof = False
        self.dry = False
        self._buffer = bytearray()

    def read(self) -> Iterator[bytes]:
        """The whole frames after one more read of the descriptor (which may block, if it is a blocking one).

        Raises ValueError for what is no frame.
        """
        self.dry = False
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            self.dry = True
            return
        except OSError:  # a reset is an end, too
            chunk = b""
        if not chunk:
            self.eof = True
            return
        buffer = self._buffer
        buffer += chunk
        start = 0
        while len(buffer) - start >= _HEAD.size:
            length, complement = _HEAD.unpack_from(buffer, start)
            if length ^ complement != _ALL:
                raise ValueError("no frame")
            end = start + _HEAD.size + length
            if len(buffer) < end:
                break
            yield bytes(memoryview(buffer)[start + _HEAD.size : end])
            start = end
        del buffer[:start]
