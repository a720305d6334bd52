"""Values of a table that a person wrote: what has the wrong type or range is a Fault, which knows its place.

Nothing is guessed or converted: a number in quotes is no number.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

SPAN = re.compile(r"(\d{1,4})\s*([hd])")


class Fault(Exception):
    """What is wrong, and where: `key` leads there from the table that is looked at."""

    def __init__(self, says: str, *key: str | int) -> None:
        super().__init__(says)
        self.key = key


def shown(value: Any) -> str:
    """A value in a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class Table:
    """A table as tomllib gives it. Every method raises Fault; a key that is not there gives the default."""

    def __init__(self, found: dict[str, Any], keys: Sequence[str]) -> None:
        """`keys`: those it may have."""
        self.found = found
        for key in found:
            if key not in keys:
                close = difflib.get_close_matches(key, keys, 1)
                told = key if key.isprintable() and key else repr(key)
                instead = f"; did you mean {close[0]}?" if close else f" ({', '.join(keys)})"
                raise Fault(f"{told}: no such key{instead}", key)

    def _value(self, key: str, kind: type, says: str, default: Any) -> Any:
        value = self.found.get(key, default)
        if value is not default and type(value) is not kind:
            raise Fault(f"{key}: expected {says}, found {shown(value)}", key)
        return value

    def flag(self, key: str) -> bool:
        return bool(self._value(key, bool, "true or false", False))

    def tables(self, key: str) -> list[Any]:
        found: list[Any] = self._value(key, list, f"[[{key}]] tables", [])
        return found

    def text(self, key: str, *, needed: str | None = None) -> str:
        """Without spaces around it. `needed`: it must be there, and what it is for."""
        value: str = self._value(key, str, "a text", "").strip()
        if needed is not None and not value:
            raise Fault(f"{key}: {'empty' if key in self.found else 'missing'}: {needed}", key)
        return value

    def texts(self, key: str, read: Callable[[str], str], *, needed: str | None = None) -> tuple[str, ...]:
        """A list, each of it as `read` gives it (or raises ValueError)."""
        kept = []
        for number, value in enumerate(self._value(key, list, "a list of texts", [])):
            if not isinstance(value, str) or not value.strip():
                raise Fault(f"{key}: expected a list of texts, found {shown(value)} in it", key, number)
            try:
                kept.append(read(value))
            except ValueError as error:
                raise Fault(f"{key}: {str(error).splitlines()[0]}", key, number) from None
        if needed is not None and not kept:
            raise Fault(f"{key}: {'empty' if key in self.found else 'missing'}: {needed}", key)
        return tuple(kept)

    def number(self, key: str, default: float | None, holds: Callable[[float], bool], says: str) -> Any:
        value = self.found.get(key, default)
        if value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9 or not holds(value):
            raise Fault(f"{key}: expected {says}, found {shown(value)}", key)
        return value

    def share(self, key: str, default: float) -> float:
        return float(self.number(key, default, lambda n: 0 <= n <= 1, "a share from 0 to 1 (0.1 is 10 %)"))

    def span(self, key: str, default: timedelta) -> timedelta:
        text = self.text(key)
        match = SPAN.fullmatch(text)
        if key in self.found and not match:
            raise Fault(f"{key}: expected a time such as '30d' or '36h', found {shown(text)}", key)
        return timedelta(hours=int(match[1]) * (24 if match[2] == "d" else 1)) if match else default


def installed(package: str, key: str) -> None:
    """A package that the value of a key takes. Better told now than in the middle of the night."""
    if find_spec(package) is None:
        raise Fault(f"{key}: {package} is not installed: `pip install {package}`", key)
