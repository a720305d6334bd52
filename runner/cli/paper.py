"""How the look verbs write to stdout: plain aligned text, colour on a terminal only, no traceback when a reader leaves.

What comes from job files, logs or file names was written by others, and may hold escape codes that a terminal would
obey: all of it is written with control characters made visible. Must not know what is shown.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from runner.errors import StateError

_CODES = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1}
_STATUS = {"running": "cyan", "done": "green", "failed": "red", "blocked": "yellow", "quarantine": "red"}
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
C1 = {code: f"\\u{code:04x}" for code in range(127, 160)}
"""For str.translate: control codes that JSON lets stand, and a terminal obeys."""

_DEFAULT_WIDTH = 80


class Mark(NamedTuple):
    """Text in a colour, where colour is wanted."""

    text: str
    colour: str


class _Left(Exception):
    """Whoever read our output has gone: `| head` has seen enough."""


class Paper:
    """Where text goes: stdout. `width` in columns; `cut`: the width that lines may be shortened to, None: never."""

    def __init__(self) -> None:
        self._stream = sys.stdout
        self.terminal = self._stream is not None and self._stream.isatty()
        self._colour = self.terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self.end = "\n"  # of a line
        self.width = shutil.get_terminal_size((_DEFAULT_WIDTH, 24)).columns
        self.cut = self.width if self.terminal or os.environ.get("COLUMNS") else None

    def say(self, *parts: str | Mark) -> None:
        """One line."""
        self.raw("".join(self._part(part) for part in parts) + self.end)

    def _part(self, part: str | Mark) -> str:
        if isinstance(part, str):
            return part.translate(_CONTROL)
        text = part.text.translate(_CONTROL)
        return f"\x1b[{_CODES[part.colour]}m{text}\x1b[0m" if self._colour and part.colour in _CODES else text

    def text(self, text: str) -> None:
        """Lines, or parts of lines, as others wrote them."""
        self.raw(self._part(text))

    def raw(self, text: str) -> None:
        """Text as it is. What the encoding of stdout lacks is written as an escape."""
        if self._stream is None:  # it was closed before we began
            return
        encoding = self._stream.encoding or "utf-8"
        with self._heard():
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def bytes(self, data: bytes) -> None:
        """A file's contents."""
        if self._stream is not None:
            with self._heard():
                self._stream.flush()
                self._stream.buffer.write(data)
                self._stream.buffer.flush()

    def flush(self) -> None:
        if self._stream is not None:
            with self._heard():
                self._stream.flush()

    @contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._lost(error) from error

    def _lost(self, error: OSError) -> Exception:
        with suppress(OSError, ValueError):  # or Python says so once more when it flushes at its exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return _Left() if isinstance(error, BrokenPipeError) else StateError(f"stdout: {error.strerror}")

    def json(self, document: Any) -> None:
        """One JSON document."""
        import msgspec

        try:
            data = msgspec.json.encode(document)
        except UnicodeEncodeError:  # a file name that is not UTF-8: escaped, as in text
            import json

            escapes = {code: f"\\\\u{code:04x}" for code in range(0xD800, 0xE000)}
            data = (
                json.dumps(msgspec.to_builtins(document, enc_hook=_raw), ensure_ascii=False).translate(escapes).encode()
            )
        self.raw(msgspec.json.format(data, indent=2).decode().translate(C1) + "\n")

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns, the first to the left, the others to the right; below each other where they are too wide."""
        lines = [head, *rows]
        widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
        if self.cut is None or sum(widths) + 2 * (len(head) - 1) <= self.cut:
            for number, line in enumerate(lines):
                cells = [line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))]
                for n in range(1, len(cells)):
                    cells[n] = "  " + cells[n]
                marks = [Mark(c, _STATUS.get(h, "")) if number == 0 else c for c, h in zip(cells, head, strict=True)]
                self.say(*marks)
            return
        label = max(len(name) for name in head[1:])
        for line in rows:
            self.say(line[0])
            room = max((len(cell) for cell in line[1:]), default=0)
            for name, cell in zip(head[1:], line[1:], strict=True):
                if cell:
                    self.say("  ", Mark(name.ljust(label), _STATUS.get(name, "")), "  ", cell.rjust(room))


def _raw(value: Any) -> Any:
    """Of a job file that is given as it is: its JSON."""
    import json

    return json.loads(bytes(value))


def status_mark(status: str, width: int = 0) -> Mark:
    """A status in its colour."""
    return Mark(status.ljust(width), _STATUS.get(status, ""))


@contextmanager
def paper() -> Iterator[Paper]:
    """Stdout, for a `with` that ends when nobody reads it any more. Raises StateError if it cannot be written to."""
    found = Paper()
    try:
        yield found
        found.flush()
    except _Left:
        pass
