import pickle
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import pytest

from runner.batch import (
    ClassGone,
    FlowFailed,
    ModuleBroken,
    ModuleGone,
    check_target,
    load_class,
    load_target,
    propose,
)
from runner.errors import TargetError, UsageError
from runner.task import describe

ROOT = "/project"

MODULE = """
    from __future__ import annotations

    import os
    from dataclasses import dataclass
    from datetime import date
    from pathlib import Path
    from collections import OrderedDict
    from runner.task import Hint, Input, Output, Task
    from thirdparty import Foreign

    @dataclass
    class FetchPage(Task):
        url: str
        filepath: Output
        day: date | None = None
        tries: int = 1
        flags: list[str] | None = None
        fast: bool = False
        ratio: float = 1.0

        def __post_init__(self):
            if self.tries == 13:
                raise ValueError("unlucky\\nvery")

    class Outer:
        @dataclass
        class Inner(Task):
            output: Output = Path("o")

    class Odd(Task):
        field: object

    def nightly(day: date, *, where: Path | None = None, count: int = 2, plain="x", odd: object = None):
        return [FetchPage(f"{day:%d}-{type(where).__name__}-{plain}-{odd}-{n}", Path(f"{n}")) for n in range(count)]

    def anything(first, **rest):
        yield FetchPage(f"{first} {sorted(rest.items())}", Path("a"))

    def graph():
        return {FetchPage("a", Path("a")): {FetchPage("b", Path("b"))}}

    def nothing(): pass
    def text(): return "abc"
    def one(): return FetchPage("a", Path("a"))
    def broken(): raise KeyError("oops")
    def half():
        yield FetchPage("a", Path("a"))
        raise RuntimeError
    async def later(): return []
    def positional(a, /): return []
    def _helper(): return []
    def refuses():
        from runner import UsageError
        raise UsageError("not today")
    def refuses_late():
        from runner import UsageError
        yield FetchPage("a", Path("a"))
        raise UsageError("not today")

    NUMBER = 5
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the modules `work` and `work.tasks`, and some that are broken, on the search path."""
    before = set(sys.modules)
    files = {
        "thirdparty.py": "from runner.task import Task\nclass Foreign(Task): pass",
        "work/__init__.py": "",
        "work/tasks.py": MODULE,
        "work/syntax.py": "x = 1\ndef (:\n",
        "work/typo.py": "\nimport requsts_\n",
        "work/name.py": "\n\nfrom work.tasks import Missing\n",
        "work/fails.py": "def f():\n    raise ValueError('first\\nsecond')\n\nf()\n",
        "work/leaves.py": "raise SystemExit(3)",
        "work/library.py": "import json\njson.loads('{')\n",
        "other.py": "raise AssertionError('imported')",
        "workshop.py": "raise AssertionError('imported')",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_class_is_found_by_name(project: Path) -> None:
    cls = load_class("work.tasks:FetchPage", ["jobs", "work"])
    assert describe(cls).name == "work.tasks:FetchPage"
    assert load_class("work.tasks:FetchPage", ["work.tasks"]) is cls
    assert describe(load_class("work.tasks:Outer.Inner", ["work"])).name == "work.tasks:Outer.Inner"


@pytest.mark.parametrize("name", ["other:X", "workshop:X", "os:system", "work.tasks:Foreign", "runner.task:Task"])
def test_modules_that_are_not_listed_are_out_of_bounds(project: Path, name: str) -> None:
    with pytest.raises(TargetError, match="is not among the modules whose tasks may run") as caught:
        load_class(name, ["work"])
    assert not isinstance(caught.value, (ModuleBroken, ClassGone))
    assert "add it to `modules`" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["", "work", "work:", ":X", "work..tasks:X", "work.tasks:X()", "../work:X", "work.tasks:X:Y", "work tasks:X"],
)
def test_names_that_are_none(project: Path, name: str) -> None:
    for load in (load_class, lambda name, modules: load_target(name, {}, modules)):
        with pytest.raises(TargetError, match="is no name of a task or flow"):
            load(name, ["work"])


def test_a_class_that_is_gone_from_a_healthy_module(project: Path) -> None:
    with pytest.raises(
        ClassGone, match=r"work\.tasks has no FetchPag; did you mean FetchPage\? It has: FetchPage, Odd"
    ):
        load_class("work.tasks:FetchPag", ["work"])
    for name in ("NUMBER", "nightly", "os", "OrderedDict", "Task", "Outer"):
        with pytest.raises(ClassGone, match="is no Task any more"):
            load_class(f"work.tasks:{name}", ["work"])
    for name in ("os.path", "nightly.x", "Outer.Gone", "date.today.x"):
        with pytest.raises(ClassGone, match="has no"):
            load_class(f"work.tasks:{name}", ["work"])


@pytest.mark.parametrize(
    ("module", "kind", "message"),
    [
        ("gone", ModuleGone, r"there is no module work\.gone"),
        ("gone.deep", ModuleGone, r"there is no module work\.gone"),
        ("tasks.deep", ModuleGone, r"there is no module work\.tasks\.deep"),
        ("syntax", ModuleBroken, r"SyntaxError: .*\n  .*syntax\.py:2"),
        ("typo", ModuleBroken, r"ModuleNotFoundError: No module named 'requsts_'\n  .*typo\.py:2"),
        ("name", ModuleBroken, r"ImportError: cannot import name 'Missing'.*\n  .*name\.py:3"),
        ("fails", ModuleBroken, r"module work\.fails cannot be imported: ValueError: first\n  .*fails\.py:2"),
        ("leaves", ModuleBroken, r"SystemExit: 3\n  .*leaves\.py:1"),
        ("library", ModuleBroken, r"JSONDecodeError: .*\n  .*library\.py:2"),
    ],
)
def test_a_broken_module_is_not_a_class_that_is_gone(
    project: Path, module: str, kind: type[Exception], message: str
) -> None:
    for load in (load_class, lambda name, modules: load_target(name, {}, modules)):
        with pytest.raises(ModuleBroken, match=message) as caught:
            load(f"work.{module}:X", ["work"])
        assert type(caught.value) is kind
        assert len(str(caught.value).splitlines()) <= 2
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_task_from_the_command_line(project: Path) -> None:
    given_ = {
        "url": "5",
        "filepath": "raw/a.html",
        "day": "2026-11-22",
        "tries": "3",
        "flags": '["a"]',
        "fast": "Yes",
        "ratio": "2",
    }
    (task,) = load_target("work.tasks:FetchPage", given_, ["work"])
    expected = type(task)("5", Path("raw/a.html"), date(2026, 11, 22), 3, ["a"], True, 2.0)  # type: ignore[call-arg]
    assert task == expected
    (task,) = load_target("work.tasks:FetchPage", {"url": "", "filepath": "a", "day": "", "flags": "null"}, ["work"])
    assert task == type(task)("", Path("a"))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filepath": None}, r"work\.tasks:FetchPage needs filepath=\.\.\.$"),
        ({"url": None, "filepath": None}, r"needs url=\.\.\., filepath=\.\.\."),
        ({"ur": "u"}, r"has no parameter 'ur'; did you mean url\? It has: url, filepath, day"),
        ({"zzz": "u"}, r"has no parameter 'zzz'\. It has: url"),
        ({"tries": "x"}, r"tries=x: expected an int"),
        ({"tries": "1.5"}, r"tries=1.5: expected an int, found 1.5"),
        ({"tries": '"1"'}, r"expected an int, found '1'"),
        ({"day": "today"}, r"day=today: expected a date, such as 2026-11-22 or None"),
        ({"flags": "a"}, r"flags=a: expected a list or None, written as JSON"),
        ({"flags": "[1]"}, r"flags=\[1\]: expected a str, found 1 \(int\) \(at \[0\]\)"),
        ({"flags": "[" * 5000}, r"flags=.*: expected a list"),
        ({"fast": "perhaps"}, r"fast=perhaps: expected a bool"),
        ({"ratio": "nan"}, r"ratio=nan: expected a float"),
        ({"filepath": ""}, r"filepath=: expected a Path"),
    ],
)
def test_bad_arguments_are_usage_errors(project: Path, arguments: dict[str, str | None], message: str) -> None:
    both = {"url": "u", "filepath": "f"} | arguments
    given_ = {name: value for name, value in both.items() if value is not None}
    for call in (load_target, check_target):
        with pytest.raises(UsageError, match=message) as caught:
            call("work.tasks:FetchPage", given_, ["work"])
        assert type(caught.value) is UsageError


def test_a_flow_with_arguments(project: Path) -> None:
    tasks = list(load_target("work.tasks:nightly", {"day": "2026-11-22", "where": "a/b", "odd": "1"}, ["work"]))
    assert [task.url for task in tasks] == [f"22-{type(Path()).__name__}-x-1-{n}" for n in range(2)]  # type: ignore[attr-defined]
    (task,) = load_target("work.tasks:nightly", {"day": "2026-11-22", "count": "1", "plain": "5"}, ["work"])
    assert task.url == "22-NoneType-5-None-0"  # type: ignore[attr-defined]
    (task,) = load_target("work.tasks:anything", {"first": "1", "b": "2", "a": "x"}, ["work"])
    assert task.url == "1 [('a', 'x'), ('b', '2')]"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("nightly", {}, r"work\.tasks:nightly needs day=\.\.\."),
        ("nightly", {"dya": "x"}, r"has no parameter 'dya'; did you mean day\?"),
        ("nightly", {"day": "x"}, r"day=x: expected a date"),
        ("graph", {"x": "1"}, r"has no parameter 'x'; it takes none"),
        ("positional", {}, r"positional-only parameter a"),
        ("Odd", {}, r"Odd\.field: annotated like a field"),
        ("nigthly", {}, r"module work\.tasks has no nigthly; did you mean nightly\? It has: .*FetchPage, .*nightly"),
        ("NUMBER", {}, r"work\.tasks:NUMBER is neither a Task nor a flow .*but 5"),
        ("OrderedDict", {}, r"is neither a Task nor a flow"),
        ("Task", {}, r"is neither a Task nor a flow"),
    ],
)
def test_bad_targets(project: Path, target: str, arguments: dict[str, str], message: str) -> None:
    for call in (load_target, check_target):
        with pytest.raises(UsageError, match=message):
            call(f"work.tasks:{target}", arguments, ["work"])


def test_what_a_flow_may_give(project: Path) -> None:
    graph = load_target("work.tasks:graph", {}, ["work"])
    assert isinstance(graph, Mapping)
    assert len(propose(graph, root=ROOT)) == 2
    assert len(list(load_target("work.tasks:one", {}, ["work"]))) == 1
    for name, message in {
        "nothing": "gave None; a flow returns tasks, yields them, or gives a graph",
        "text": "gave 'abc'",
        "later": "is async; a flow is a plain function",
    }.items():
        with pytest.raises(TargetError, match=message):
            load_target(f"work.tasks:{name}", {}, ["work"])


def test_a_flow_that_raises(project: Path) -> None:
    for target, arguments, message in (
        ("broken", {}, r"work\.tasks:broken raised KeyError: 'oops'\n  .*tasks\.py:\d+$"),
        ("half", {}, r"work\.tasks:half raised RuntimeError\n  .*tasks\.py:\d+$"),
        ("FetchPage", {"url": "u", "filepath": "f", "tries": "13"}, r"raised ValueError: unlucky\n  .*tasks\.py:\d+$"),
    ):
        check_target(f"work.tasks:{target}", arguments, ["work"])
        with pytest.raises(FlowFailed, match=message) as caught:
            list(load_target(f"work.tasks:{target}", arguments, ["work"]))
        assert caught.value.__cause__ is not None
    for name in ("refuses", "refuses_late"):  # what was given is wrong: no fault of the flow's, and no place in it
        with pytest.raises(UsageError, match=r"^not today$"):
            list(load_target(f"work.tasks:{name}", {}, ["work"]))


def test_tasks_of_such_a_module_become_proposals(project: Path) -> None:
    proposals = propose(load_target("work.tasks:nightly", {"day": "2026-11-22"}, ["work"]), root=ROOT)
    assert {proposal.task for proposal in proposals} == {"work.tasks:FetchPage"}
    assert load_class(proposals[0].task, ["work"]).__name__ == "FetchPage"
