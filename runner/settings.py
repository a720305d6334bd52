"""The project's settings: `[tool.runner]` in its pyproject.toml. Reads that one file, and nothing else."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from runner.core.model import Limit
from runner.core.queue import Override
from runner.errors import UsageError

FILE = "pyproject.toml"
LEAST_LEASE = 2.0
"""Seconds. Workers on a cluster are spoken with three times as often."""

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*(s|sec|m|min|h))?")
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_AGES = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SECONDS = {None: 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """`[tool.runner]`; every key may be left out."""

    target: str | None = None  # what `run` runs when none is named: "module:flow" or "module:Task"
    modules: tuple[str, ...] = ("jobs",)  # packages whose tasks may run, whatever a job file says
    workers: int | None = None  # processes, at the most; none named: as many as there are processors
    threads: int | None = None  # tasks at once in each; none named: 1
    limits: dict[str, int] = field(default_factory=dict)  # {"host:*" = 2}: jobs at once
    rates: dict[str, float | str] = field(default_factory=dict)  # {"host:*" = "5/s"}: starts per time
    lease: str | None = None  # how long workers on a cluster may go unheard before they are given up; none named: "30s"


def load_settings(root: Path) -> Settings:
    """The settings of the project in `root`; the defaults, if there is no such file or table. Raises UsageError."""
    try:
        document = tomllib.loads((root / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{root / FILE}: {error}") from error
    table: Any = document.get("tool", {})
    table = table.get("runner", {}) if isinstance(table, dict) else {}
    if isinstance(table, dict):
        unknown = sorted(set(table) - set(Settings.__struct_fields__))
        if unknown:
            close = get_close_matches(unknown[0], Settings.__struct_fields__, 1)
            known = f"did you mean {close[0]}?" if close else f"it has: {', '.join(Settings.__struct_fields__)}"
            raise UsageError(f"{FILE}: [tool.runner] has no key {unknown[0]!r}; {known}")
    try:
        settings = msgspec.convert(table, Settings)
    except msgspec.ValidationError as error:
        raise UsageError(f"{FILE}: [tool.runner]: {error}") from error
    for name, least in (("workers", 1), ("threads", 1)):
        value = getattr(settings, name)
        if value is not None and value < least:
            raise UsageError(f"{FILE}: [tool.runner] {name} is {value}: at least {least}")
    try:
        if settings.lease is not None and parse_age(settings.lease) < LEAST_LEASE:
            raise UsageError(f"lease is {settings.lease}: at least {LEAST_LEASE:.0f}s")
        overrides(settings.limits, settings.rates)
    except UsageError as error:
        raise UsageError(f"{FILE}: [tool.runner]: {error}") from None
    return settings


def overrides(limits: Mapping[str, int | str], rates: Mapping[str, float | str]) -> list[Override]:
    """`--limit` and `--rate`, or the settings of that name, as the queue takes them. Raises UsageError."""
    found: list[Override] = []
    for pattern, at_once in limits.items():
        text = str(at_once)
        if not text.isdecimal() or int(text) < 1:
            raise UsageError(f"limit {pattern}={at_once}: expected a whole number of jobs at once, at least 1")
        found.append((pattern, Limit(at_once=int(text))))
    for pattern, rate in rates.items():
        found.append((pattern, Limit(per_second=parse_rate(pattern, rate))))
    return found


def parse_rate(pattern: str, rate: float | str) -> float:
    """Starts per second: 5, "5/s", "30/min", "100/h". Raises UsageError."""
    match = _RATE.fullmatch(str(rate).strip())
    per_second = float(match[1]) / _SECONDS[match[2]] if match else 0.0
    if per_second <= 0:
        raise UsageError(f"rate {pattern}={rate}: expected starts per time, such as 5/s, 30/min or 100/h")
    return per_second


def parse_age(text: str) -> float:
    """Seconds in an age: "30d", "12h", "2w", "90m", "0s". Raises UsageError."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is no length of time: expected a number and a unit, such as 30d, 12h or 2w (s, m, h, d, w)"
        )
    return float(match[1]) * _AGES[match[2]]


def parse_pairs(words: tuple[str, ...], what: str) -> dict[str, str]:
    """KEY=VALUE words as a dict. Raises UsageError."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UsageError(f"{what} {word!r}: expected KEY=VALUE")
        if key in pairs:
            raise UsageError(f"{what} {key} is given twice")
        pairs[key] = value
    return pairs
