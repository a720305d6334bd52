"""TOML for messages: what a file says, and in which line it says it.

tomllib tells a position only of what it cannot read. The line of a key is found by reading beginnings of the file, the
shortest that holds it being the one that ends there; so tomllib remains the only one that knows the language.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Key: TypeAlias = Sequence[str | int]
"""Where a value stands: ("site", 0, "start", 1) is the second start of the first site."""

# What may lack where a beginning ends within a list or a long string.
ENDS = ("", "\n]", '\n"""', "\n'''", "\n]]")
POSITION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


class BadFile(ValueError):
    """A file that is no TOML. One line: FILE, or FILE:LINE, and what to do."""


class Document:
    """A TOML file: its `table`, and `line(key)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = _text(path)
        self.table = _parsed(path, self._text)

    def line(self, key: Key) -> int:
        """The line, counted from 1, in which what stands at `key` begins; without it, the table that lacks it."""
        while key and not _holds(self.table, key):
            key = key[:-1]
        if not key:
            return 1
        lines = self._text.split("\n")

        def holds(length: int) -> bool | None:
            beginning = "\n".join(lines[:length])
            for end in ENDS:
                try:
                    return _holds(tomllib.loads(beginning + end), key)
                except ValueError:
                    continue
            return None

        return _first(holds, len(lines))


def _first(holds: Callable[[int], bool | None], most: int) -> int:
    """The least length that holds, by halving. None of `holds`: this length tells nothing, look at another."""
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        for length in (*range(middle, low, -1), *range(middle + 1, high)):
            there = holds(length)
            if there is not None:
                low, high = (low, length) if there else (length, high)
                break
        else:  # one statement from low on
            break
    return low + 1


def _holds(found: Any, key: Key) -> bool:
    for part in key:
        try:
            found = found[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _text(path: Path) -> str:
    """The text of the file. Raises BadFile, FileNotFoundError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise BadFile(f"{path}: expected a file, found a folder") from None
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror}") from None
    if data.startswith(b"\xef\xbb\xbf"):
        raise BadFile(f'{path}:1: begins with a byte order mark: save it as "UTF-8", not "UTF-8 with BOM"')
    try:
        return data.decode().replace("\r\n", "\n")  # as tomllib does
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x}"
        raise BadFile(f"{path}:{line}: not UTF-8 ({found}): save it in that encoding") from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise BadFile(f"{path}: not valid TOML: lists or tables too deep in each other") from None
    except ValueError as error:  # a TOMLDecodeError, but for a number of thousands of digits
        said = str(error)
        position = POSITION.search(said)
        if position is None:
            raise BadFile(f"{path}: not valid TOML: {said.splitlines()[0][:100]}") from None
        line = int(position[1] or text.rstrip().count("\n") + 1)
        where = "" if position[1] else ", up to the end of the file"
        raise BadFile(f"{path}:{line}: not valid TOML: {said[: position.start()]}{where}") from None
