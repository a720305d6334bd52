"""Up to date or due, and why: verifying traces (Mokhov, Mitchell, Peyton Jones: Build Systems a la Carte).

What was recorded when a job last succeeded is compared with what is the case now. Whoever asks collects the facts;
nothing here looks at a disk or a clock. mtimes are no facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from runner.core.model import Json


class Made(Struct, frozen=True):
    """A file that a job made. `sha256` None: only the size counts."""

    bytes: int
    sha256: str | None = None


class Trace(Struct, frozen=True, kw_only=True):
    """A state of affairs. As recorded: what the last success was made from. As observed: what is the case now."""

    version: Json
    params: Mapping[str, Json]  # Hints and Inputs left out
    inputs: Mapping[str, str]  # path -> sha256
    outputs: Mapping[str, Made | None]  # None: recorded absent, or not there
    wiring: str | None = None  # which field has which input; None: the paths tell, or nobody wrote it down


class Difference(Struct, frozen=True, kw_only=True):
    """One thing that is not as it was recorded. `says`: the same as a phrase."""

    part: str  # version, parameter, output, input, or what says that the job is due
    name: str = ""  # of the parameter, or the path
    old: Json = None
    new: Json = None
    says: str


def differences(recorded: Trace, observed: Trace) -> Iterator[Difference]:
    """Why a done job must run again, the plainest reason first.

    `observed.outputs` covers the recorded paths, and those that the job makes by now.
    """
    if recorded.version != observed.version:
        says = f"version {recorded.version} -> {observed.version}"
        yield Difference(part="version", old=recorded.version, new=observed.version, says=says)
    yield from _params(recorded.params, observed.params)
    yield from _outputs(recorded.outputs, observed.outputs)
    yield from _inputs(recorded, observed)


def _params(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Difference]:
    if _same(old, new):
        return
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            says = f"parameter {name} is new: {_short(new[name])}"
        elif name not in new:
            says = f"parameter {name} is gone: {_short(old[name])}"
        elif not _same(old[name], new[name]):
            says = f"parameter {name}: {_short(old[name])} -> {_short(new[name])}"
        else:
            continue
        yield Difference(part="parameter", name=name, old=old.get(name), new=new.get(name), says=says)


def _same(one: Json, other: Json) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are equal to Python, and are not."""
    if type(one) is str:
        return type(other) is str and one == other
    if isinstance(one, Mapping):
        return isinstance(other, Mapping) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _outputs(recorded: Mapping[str, Made | None], observed: Mapping[str, Made | None]) -> Iterator[Difference]:
    for path in observed:
        if path not in recorded:
            yield Difference(part="output", name=path, says=f"output {path} was not made then")
    for path, made in recorded.items():
        now = observed.get(path)
        if made is None or made == now:
            continue
        if now is None:
            yield Difference(part="output", name=path, old=made.bytes, says=f"output {path} is not there")
        elif made.bytes != now.bytes:
            says = f"output {path} has {now.bytes} bytes, not {made.bytes}"
            yield Difference(part="output", name=path, old=made.bytes, new=now.bytes, says=says)
        else:
            says = f"output {path} holds other bytes than were made"
            yield Difference(part="output", name=path, old=made.sha256, new=now.sha256, says=says)


def _inputs(recorded: Trace, observed: Trace) -> Iterator[Difference]:
    old, new = recorded.inputs, observed.inputs
    for path in sorted(old.keys() | new.keys()) if old != new else ():
        if path not in old:
            says = f"input {path} is new"
        elif path not in new:
            says = f"input {path} is gone"
        elif old[path] != new[path]:
            says = f"input {path} changed"
        else:
            continue
        yield Difference(part="input", name=path, old=old.get(path), new=new.get(path), says=says)
    if old.keys() == new.keys() and recorded.wiring and observed.wiring and recorded.wiring != observed.wiring:
        yield Difference(part="input", says="its inputs are the same, in another order or in other fields")


def _short(value: Json) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
