"""A small world for incremental runs: pure task classes, and what a run over them has to make, by the simplest means.

A *wish* is a task as JSON, `{"task": class name, "params": {...}}`, with the wishes of its children inside its params,
or inside the file that it reads as its index. `Oracle` does what a naive build would do: it makes everything that is
reached, in order, in memory, over the files as they are. What is due it tells by comparing the job files of before
the night with that. It knows job files as JSON only, and nothing of the runner's own ways to judge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from runner import Absent, Hint, Input, Output, Task, Unchanged, previous

DAY = 86400.0
GONE = "gone"  # in a source: who reads it, and is `fragile`, is absent
BAD = "bad"  # and who is `brittle` fails
PLAN, ASKED, VALUE, OUTPUT = "params", "hint", "value", "output"  # from what a parent tells its children

Wish = dict[str, Any]
Read = Callable[[str], str | None]
Made = tuple[dict[str, str], dict[str, Any]]  # path -> text, value


# ------------------------------------------------------------------------------------------------------ the tasks


@dataclass
class Leaf(Task):
    """Makes text from its parameters and inputs: all of it, in lower case, or (`fold` 2) nothing of its inputs."""

    output: Output
    more: list[Output] = field(default_factory=list)
    maybe: Input | None = None
    many: list[Input] = field(default_factory=list)
    index: Input | None = None  # the wishes of its children, for VALUE and OUTPUT
    mode: str = PLAN
    plan: str = "[]"  # the same, for PLAN
    asked: Hint[str] = "[]"  # the same, for ASKED
    hint: Hint[str] = ""
    salt: str = ""
    fold: int = 0
    fragile: bool = False
    brittle: bool = False
    lazy: bool = False
    retries = 0

    def run(self) -> Any:
        params = {name: getattr(self, name) for name in ("mode", "hint", "salt", "fold", "fragile", "brittle")}
        inputs = {name: _texts(getattr(self, name, None)) for name in ("plain", "maybe", "many", "index")}
        made = make(type(self), params, inputs)
        if made is None:
            return Absent()
        texts, value = made
        last = previous()
        if self.lazy and last is not None and [Path(path).read_text() for path in last.outputs] == self._all(texts):
            return Unchanged(value)
        for path, text in zip([self.output, *self.more], self._all(texts), strict=True):
            path.write_text(text)
        return value

    def _all(self, texts: tuple[str, str]) -> list[str]:
        return [texts[0], *[texts[1] for _ in self.more]]


@dataclass
class Parent(Leaf):
    """And finds children, as its parameters, a Hint, its value or its output name them."""

    def downstream_tasks(self) -> Iterable[Task]:
        match self.mode:
            case "params":
                text = self.plan
            case "hint":
                text = self.asked
            case "value":
                text = self.value["index"]
            case _:
                text = self.output.read_text().partition("\n")[2]
        return [task_of(wish) for wish in json.loads(text or "[]")]


class Weighing:
    """Due when its Hint is another."""

    weighs = True

    def due(self, last: Any, now: datetime) -> str | None:
        return None if last.hints["hint"] == self.hint else "another hint"  # type: ignore[attr-defined]


@dataclass
class ReadLeaf(Leaf):
    plain: Input = field(kw_only=True)


@dataclass
class ReadParent(Parent):
    plain: Input = field(kw_only=True)


@dataclass
class WeighLeaf(Weighing, Leaf):
    pass


@dataclass
class WeighParent(Weighing, Parent):
    pass


@dataclass
class AgedLeaf(Leaf):
    max_age = 1.5 * DAY


@dataclass
class AgedReadParent(ReadParent):
    max_age = 1.5 * DAY


@dataclass
class DailyLeaf(Leaf):
    """Due in every run."""

    max_age = 0


CLASSES: dict[str, type[Leaf]] = {
    cls.__name__: cls
    for cls in (Leaf, Parent, ReadLeaf, ReadParent, WeighLeaf, WeighParent, AgedLeaf, AgedReadParent, DailyLeaf)
}
PARENTS = [name for name, cls in CLASSES.items() if issubclass(cls, Parent)]


def set_version(cls: type[Leaf], version: int) -> None:
    """As if the module had been edited before this run."""
    cls.version = version
    if "_task_type" in cls.__dict__:
        del cls._task_type  # type: ignore[attr-defined]


def _texts(paths: Any) -> list[str | None]:
    return [
        None if path is None else Path(path).read_text() for path in (paths if isinstance(paths, list) else [paths])
    ]


def make(cls: type[Leaf], params: Mapping[str, Any], inputs: Mapping[str, Any]) -> tuple[tuple[str, str], Any] | None:
    """The texts of the first and of every other output, and the value; None: absent. All that a task depends on.

    Raises ValueError.
    """
    read = [text for texts in inputs.values() for text in texts if text is not None]
    if params["fragile"] and GONE in read:
        return None
    if params["brittle"] and BAD in read:
        raise ValueError(BAD)
    index = inputs["index"][0] or ""
    told = {name: texts for name, texts in inputs.items() if name != "index"}
    hint = params["hint"] if getattr(cls, "weighs", False) else ""
    seen = ["all", "in lower case", "nothing"][params["fold"]]
    text = {"all": json.dumps(told), "in lower case": json.dumps(told).lower(), "nothing": ""}[seen]
    body = sha256(json.dumps([cls.version, params["salt"], hint, text]).encode()).hexdigest()
    body = body[: 4 + int(body[0], 16)]  # so that sizes differ
    first = f"{body}\n{index}" if params["mode"] == OUTPUT else body
    return (first, body[::-1]), {"index": index if params["mode"] == VALUE else "", "body": body}


def task_of(wish: Wish) -> Leaf:
    return CLASSES[wish["task"]](**wish["params"])


# ------------------------------------------------------------------------------------------------------ the oracle


@dataclass
class Expected:
    """What one night has to bring, by output path of the job."""

    wishes: dict[str, Wish] = field(default_factory=dict)  # of all that is reached
    files: dict[str, str | None] = field(default_factory=dict)  # path -> text; None: absent
    due: dict[str, str] = field(default_factory=dict)  # why
    states: dict[str, str] = field(default_factory=dict)  # done, failed or blocked
    absent: set[str] = field(default_factory=set)
    found: dict[str, list[str]] = field(default_factory=dict)  # the children it names, of every parent that is asked


def number(output: str) -> int:
    return int(output.partition("/j")[2])


def id_of(wish: Wish) -> str:
    return f"{wish['task']}-{_sha(wish['params']['output'])[:16]}"


def outputs_of(wish: Wish) -> list[str]:
    params = wish["params"]
    return [params["output"], *params.get("more", [])]


def inputs_of(wish: Wish) -> list[tuple[str, str]]:
    params = wish["params"]
    single = [(name, params[name]) for name in ("plain", "maybe", "index") if params.get(name)]
    return single + [("many", path) for path in params.get("many", [])]


def expect(roots: list[Wish], disk: Mapping[str, str], jobs: Mapping[str, Any], now: float) -> Expected:
    """`disk`: every file, path -> text. `jobs`: the job files as JSON, by id."""
    night = Expected()
    fresh = {wish["params"]["output"]: wish for wish in roots}
    remembered: dict[str, Wish] = {}
    todo = set(fresh)
    while todo:
        output = min(todo, key=number)
        todo.remove(output)
        wish = fresh.get(output) or remembered[output]
        night.wishes[output] = wish
        job = jobs.get(id_of(wish))
        if any(_state(path, night, jobs) in ("failed", "blocked") for _, path in inputs_of(wish)):
            kept = job is not None and job["status"] == "done"  # and not looked at, nor asked
            night.states[output] = "done" if kept else "blocked"
            continue
        reason = _why(wish, job, night, disk, now)
        if reason:
            night.due[output] = reason
        try:
            texts = _make(wish, night, disk)
        except ValueError:
            assert reason, "it would have failed when it was made"
            night.states[output] = "failed"
            continue
        night.states[output] = "done"
        named: dict[str, Wish] = {}
        if texts is None:
            night.absent.add(output)
            night.files |= dict.fromkeys(outputs_of(wish))
            found = ((job and job["result"]) or {}).get("found", ())
            for child in [_wish_of(jobs[id]) for id in found if id in jobs]:
                named[child["params"]["output"]] = remembered[child["params"]["output"]] = child
        else:
            night.files |= dict(zip(outputs_of(wish), [texts[0], *[texts[1]] * 9], strict=False))
            named = {child["params"]["output"]: child for child in _children(wish, night, disk)}
            fresh |= named
            night.found[output] = sorted(map(id_of, named.values()))
        assert all(number(child) > number(output) or child in night.wishes for child in named)
        todo |= named.keys() - night.wishes.keys()
    return night


def _state(path: str, night: Expected, jobs: Mapping[str, Any]) -> str:
    """Of the job that makes it."""
    output = path.partition(".")[0]
    if output in night.states:
        return night.states[output]
    return next((job["status"] for job in jobs.values() if job["params"]["output"] == output), "nowhere")


def _text(path: str, night: Expected, disk: Mapping[str, str]) -> str | None:
    return night.files[path] if path in night.files else disk.get(path)


def _make(wish: Wish, night: Expected, disk: Mapping[str, str]) -> tuple[str, str] | None:
    cls, params = CLASSES[wish["task"]], wish["params"]
    inputs: dict[str, list[str | None]] = {"plain": [None], "maybe": [None], "many": [], "index": [None]}
    for name, path in inputs_of(wish):
        text = _text(path, night, disk)
        if name == "many":
            inputs["many"] += [] if text is None else [text]
        elif text is None and name == "plain":
            return None
        else:
            inputs[name] = [text]
    known = {
        name: params.get(name, getattr(cls, name, None))
        for name in ("mode", "hint", "salt", "fold", "fragile", "brittle")
    }
    made = make(cls, known, inputs)
    return None if made is None else made[0]


def _children(wish: Wish, night: Expected, disk: Mapping[str, str]) -> list[Wish]:
    params = wish["params"]
    if wish["task"] not in PARENTS:
        return []
    match params["mode"]:
        case "params":
            text = params["plan"]
        case "hint":
            text = params["asked"]
        case _:
            text = _text(params["index"], night, disk) or "[]"
    return list(json.loads(text))


def _wish_of(job: Any) -> Wish:
    return {"task": job["task"].partition(":")[2], "params": job["params"]}


INPUTS = ("plain", "maybe", "many", "index")
HINTS = ("hint", "asked")


def _why(wish: Wish, job: Any, night: Expected, disk: Mapping[str, str], now: float) -> str | None:
    """Why the job has to run this night; None: nothing that it depends on differs from its record."""
    if job is None or job["result"] is None or job["status"] != "done":
        return "no record"
    result, cls, params = job["result"], CLASSES[wish["task"]], wish["params"]
    if result["version"] != cls.version:
        return "version"
    own = {name: value for name, value in params.items() if name not in (*INPUTS, *HINTS)}
    if result["params"] != own:
        return "parameters"
    for path, made in result["outputs"].items():
        if made is not None and (path not in disk or len(disk[path]) != made["bytes"]):
            return f"output {path}"
    there = [(name, path) for name, path in inputs_of(wish) if _text(path, night, disk) is not None]
    before = [(name, path) for name, path in inputs_of(job) if path in result["inputs"]]
    if there != before:
        return "list of inputs"
    if result["inputs"] != {path: _sha(_text(path, night, disk) or "") for _, path in there}:
        return "inputs"
    if getattr(cls, "weighs", False) and result["hints"]["hint"] != params["hint"]:
        return "due()"
    if cls.max_age is not None and now - datetime.fromisoformat(result["checked_at"]).timestamp() >= cls.max_age:
        return "max_age"
    return None


def _sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()
