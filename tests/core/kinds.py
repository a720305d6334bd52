"""Tasks to play with: what one reads and makes, as its author wrote it down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from msgspec import Struct

from runner.core.ledger import output_hash
from runner.core.model import Limit


class Kind(Struct, frozen=True, kw_only=True):
    """A task as its author wrote it. Its job makes `outputs[0]`, and perhaps more, from `inputs`."""

    name: str = "Job"
    outputs: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # those of the inputs that it can do without
    limits: dict[str, Limit] = {}
    priority: int = 0
    all_done: bool = False
    finds: bool = False  # it has downstream_tasks()

    @property
    def id(self) -> str:
        return f"{self.name}-{output_hash(self.outputs[0])}"


class Wish(Struct, frozen=True):
    """A kind, with the one parameter that tasks have here besides their paths."""

    kind: Kind
    variant: int = 0

    @property
    def params(self) -> dict[str, Any]:
        return {"inputs": list(self.kind.inputs), "outputs": list(self.kind.outputs), "variant": self.variant}


def kind(path: str, *inputs: str, **more: Any) -> Kind:
    """The task that makes `path`, and perhaps `also`, from `inputs`."""
    return Kind(outputs=(path, *more.pop("also", ())), inputs=inputs, **more)


def fingerprint(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()
