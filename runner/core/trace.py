"""Up to date or due, and why: verifying traces (Mokhov, Mitchell, Peyton Jones: Build Systems a la Carte).

What was recorded when a job last succeeded is compared with what is the case now. Whoever asks collects the facts;
nothing here looks at a disk or a clock. mtimes are no facts.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from runner.core.model import Json


class Trace(Struct, frozen=True, kw_only=True):
    """A state of affairs. As recorded: what the last success was made from. As observed: what is the case now."""

    version: Json
    params: Mapping[str, Json]  # Hints and Inputs left out
    inputs: Mapping[str, str]  # path -> sha256
    outputs: Mapping[str, int | None]  # path -> bytes; None: recorded absent, or not there


def reason_to_run(recorded: Trace, observed: Trace, due: str | None) -> str | None:
    """Why a done job must run again, as a phrase; None when it is up to date.

    `due` is what the task's own `due()` says. `observed.outputs` covers the paths that are recorded.
    """
    if recorded.version != observed.version:
        return f"version {recorded.version} -> {observed.version}"
    return (
        _difference("parameter", recorded.params, observed.params)
        or _outputs(recorded.outputs, observed.outputs)
        or _inputs(recorded.inputs, observed.inputs)
        or due
    )


def _difference(what: str, old: Mapping[str, Json], new: Mapping[str, Json]) -> str | None:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            return f"{what} {name} is new: {_short(new[name])}"
        if name not in new:
            return f"{what} {name} is gone: {_short(old[name])}"
        if not _same(old[name], new[name]):
            return f"{what} {name}: {_short(old[name])} -> {_short(new[name])}"
    return None


def _same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are equal to Python, and are not."""
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _outputs(recorded: Mapping[str, int | None], observed: Mapping[str, int | None]) -> str | None:
    for path, size in recorded.items():
        now = observed.get(path)
        if size is None or now == size:
            continue
        return f"output {path} is not there" if now is None else f"output {path} has {now} bytes, not {size}"
    return None


def _inputs(recorded: Mapping[str, str], observed: Mapping[str, str]) -> str | None:
    for path in sorted(recorded.keys() | observed.keys()):
        if path not in recorded:
            return f"input {path} is new"
        if path not in observed:
            return f"input {path} is gone"
        if recorded[path] != observed[path]:
            return f"input {path} changed"
    return None


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
