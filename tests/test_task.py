from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Optional

import pytest

from runner.core.ledger import output_hash
from runner.task import (
    CURRENT,
    Absent,
    Context,
    Input,
    Last,
    Output,
    RetryLater,
    Task,
    Unchanged,
    decode,
    describe,
    encode,
    fingerprint,
    identify,
    input_paths,
    job_id,
    only_hints,
    output_paths,
    previous,
    replace_paths,
    with_defaults,
    with_inputs,
    without_hints,
)
from tests.task_samples import ROOT, Fetch, Frozen, FrozenSlotted, Merge, NoFile, Plain, Slotted

# ------------------------------------------------------------------------------------------------------- paths


def test_a_str_given_for_a_path_becomes_one() -> None:
    merge = Merge(["a", Path("b")], output="c", more=["d"], extra="e")  # type: ignore[list-item, arg-type]
    assert merge.inputs == [Path("a"), Path("b")]
    assert (merge.output, merge.extra, merge.more, merge.maybe) == (Path("c"), Path("e"), [Path("d")], None)
    assert FrozenSlotted().output == Path("out/a.txt")
    assert Frozen("o", ("a", "b")).pages == (Path("a"), Path("b"))  # type: ignore[arg-type]


def test_a_list_that_the_user_holds_is_left_alone() -> None:
    mine = ["a"]
    task = Merge(mine, Path("c"))  # type: ignore[arg-type]
    assert mine == ["a"]
    assert task.inputs == [Path("a")]
    paths = [Path("a")]
    assert Merge(paths, Path("c")).inputs is paths


@dataclass
class Computed(Task):
    name: str
    folder: Path = "data"  # type: ignore[assignment]
    output: Output = field(init=False)
    scratch: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.output = str(self.folder / f"{self.name}.txt")  # type: ignore[assignment]
        if not self.name:
            raise ValueError("no name")


def test_post_init_sees_paths_and_may_give_a_str() -> None:
    assert Computed("x", "data").output == Path("data/x.txt")  # type: ignore[arg-type]
    assert Computed("x", folder="data").output == Path("data/x.txt")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Computed("x", Path("data"), "too many")  # type: ignore[call-arg]


def test_a_computed_output_is_stored_and_checked_but_not_given() -> None:
    task = Computed("x", Path("data"))
    params = encode(task, ROOT)
    assert params == {"name": "x", "folder": "data", "output": "data/x.txt"}
    assert decode(Computed, params, ROOT) == task
    with pytest.raises(TypeError, match=r"Computed\.output: is computed, and comes to 'data/x.txt' now"):
        decode(Computed, params | {"output": "data/y.txt"}, ROOT)
    with pytest.raises(TypeError, match="Computed refuses its parameters: ValueError: no name"):
        decode(Computed, {"name": "", "folder": "data"}, ROOT)


def test_relative_paths_stay_relative_and_inner_ones_become_so() -> None:
    task = Fetch("u", Path("/project/data/../data/a.html"))
    params = encode(task, ROOT)
    assert params["filepath"] == "data/a.html"
    assert decode(Fetch, params, ROOT).filepath == Path("data/a.html")
    assert encode(Fetch("u", Path("/elsewhere/a.html")), ROOT)["filepath"] == "/elsewhere/a.html"


def test_input_and_output_paths() -> None:
    task = Merge([Path("a"), Path("/project/b")], Path("c"), None, [Path("d"), Path("e")])
    assert [(info.name, path) for info, path in input_paths(task, ROOT)] == [("inputs", "a"), ("inputs", "b")]
    assert output_paths(task, ROOT) == ["c", "d", "e"]
    assert output_paths(Merge([], Path("c"), Path("x"), [], Path("m")), ROOT) == ["c", "m"]
    assert [path for _, path in input_paths(Merge([], Path("c"), Path("x")), ROOT)] == ["x"]


# ---------------------------------------------------------------------------------------------------- identity


def test_a_job_is_known_by_what_it_makes() -> None:
    one = Fetch("u", Path("data/a.html"))
    assert job_id(one, ROOT) == f"Fetch-{output_hash('data/a.html')}"
    assert job_id(one, ROOT) == job_id(Fetch("other", Path("/project/data/x/../a.html"), "2026"), ROOT)
    assert job_id(one, ROOT) != job_id(Fetch("u", Path("data/b.html")), ROOT)
    merge = Merge([], Path("z"))
    merge.output = None  # type: ignore[assignment]
    with pytest.raises(TypeError, match=r"Merge\.output: expected a Path, found None"):
        job_id(merge, ROOT)


def test_or_else_by_what_it_is() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert job_id(NoFile("a"), ROOT) == job_id(NoFile("a", {}, now), ROOT)
    assert job_id(NoFile("a"), ROOT) != job_id(NoFile("b"), ROOT)
    assert job_id(NoFile("a", {"x": 1, "y": 2}), ROOT) == job_id(NoFile("a", {"y": 2.0, "x": 1.0}), ROOT)
    assert job_id(Plain(), ROOT).startswith("Plain-")


@dataclass
class Optionals(Task):
    first: Output | None = None
    rest: list[Output] = field(default_factory=list)
    last: Optional[Output] = None  # noqa: UP045 - users write it so


def test_the_first_output_that_is_there_counts() -> None:
    assert job_id(Optionals(rest=[Path("r")]), ROOT).endswith(output_hash("r"))
    assert job_id(Optionals(last=Path("l")), ROOT).endswith(output_hash("l"))
    assert job_id(Optionals(), ROOT) == identify(describe(Optionals), {"first": None, "rest": [], "last": None})
    assert output_paths(Optionals(Path("a"), [Path("b")], Path("c")), ROOT) == ["a", "b", "c"]


def test_hints_are_no_part_of_the_fingerprint() -> None:
    type_ = describe(Fetch)
    one, two = (encode(Fetch("u", Path("a"), hint), ROOT) for hint in ("x", None))
    assert fingerprint(type_, one) == fingerprint(type_, two) != fingerprint(type_, one | {"url": "v"})
    assert without_hints(type_, one) == {"url": "u", "filepath": "a"}
    assert only_hints(type_, one) == {"lastmod": "x"}
    assert fingerprint(type_, dict(reversed(one.items()))) == fingerprint(type_, one)


@pytest.mark.parametrize(
    "make",
    [
        lambda text: Fetch(text, Path("a")),
        lambda text: Merge([Path(text)], Path("a")),
        lambda text: Frozen(Path("a"), (Path(text),)),
        lambda text: Slotted(Path("a"), [text]),
        lambda text: NoFile(text, {text: 1.0}),
    ],
)
def test_tasks_serve_as_graph_nodes(make: Callable[[str], Task]) -> None:
    one, same, other = make("x"), make("x"), make("y")
    assert one == same
    assert one != other
    assert one != "x"
    assert hash(one) == hash(same) == hash(job_id(one, ""))
    assert len({one, same, other}) == 2
    assert {one: 1, other: 2}[same] == 1


def test_hints_make_tasks_unequal_but_not_another_job() -> None:
    one, two = Fetch("u", Path("a"), "x"), Fetch("u", Path("a"), "y")
    assert one != two
    assert hash(one) == hash(two)


def test_classes_are_told_apart_and_paths_compared_as_normalised() -> None:
    assert Fetch("u", Path("a")) != Frozen(Path("a"))
    here = Path(os.getcwd())
    assert Fetch("u", Path("b/../a")) == Fetch("u", here / "a")
    assert len({Fetch("u", Path("b/../a")), Fetch("u", here / "a")}) == 1


def test_an_eq_of_the_users_own_is_kept_and_inherited() -> None:
    @dataclass
    class Own(Task):
        output: Output

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own)

    @dataclass
    class Below(Own):
        pass

    assert Own(Path("a")) == Own(Path("b"))
    assert Below(Path("a")) == Own(Path("b"))
    assert hash(Own(Path("a"))) == hash(job_id(Own(Path("a")), ""))


def test_what_cannot_be_stored_cannot_be_hashed_either() -> None:
    with pytest.raises(TypeError, match=r"NoFile\.weights\['a'\]: no JSON can hold nan"):
        hash(NoFile("a", {"a": float("nan")}))


def test_missing_parameters_count_as_their_defaults() -> None:
    assert decode(Fetch, {"url": "u", "filepath": "a"}, ROOT) == Fetch("u", Path("a"))
    with pytest.raises(TypeError, match=r"Fetch\.filepath has no value, and no default"):
        decode(Fetch, {"url": "u"}, ROOT)
    type_ = describe(FrozenSlotted)
    assert with_defaults(type_, {}, ROOT) == {"output": "out/a.txt", "number": 1}
    assert with_defaults(describe(Merge), {"output": "x", "gone": 1}, ROOT) == {
        "output": "x",
        "gone": 1,
        "extra": None,
        "more": [],
        "maybe": None,
    }

    @dataclass
    class Wrong(Task):
        number: int = "x"  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r"Wrong\.number: expected an int, found 'x'"):
        with_defaults(describe(Wrong), {}, ROOT)


# ------------------------------------------------------------------------------------------------------ copies


def test_staging_paths_come_in_a_copy() -> None:
    task = Merge([Path("a")], Path("/project/c"), None, [Path("d"), Path("e")])
    object.__setattr__(task, "value", 5)
    staged = replace_paths(task, ".{}.tmp".format, ROOT)
    assert (staged.output, staged.more, staged.maybe) == (Path(".c.tmp"), [Path(".d.tmp"), Path(".e.tmp")], None)
    assert task.output == Path("/project/c")
    assert task.more == [Path("d"), Path("e")]
    assert staged.inputs == task.inputs
    assert staged.value == 5


@pytest.mark.parametrize("cls", [Frozen, Slotted, FrozenSlotted])
def test_frozen_and_slotted_tasks_can_be_staged(cls: Any) -> None:
    task = cls(Path("out/a.txt"))
    staged = replace_paths(task, {"out/a.txt": "out/.a.txt"}.__getitem__)
    assert staged.output == Path("out/.a.txt")
    assert type(staged) is cls
    assert task.output == Path("out/a.txt")
    assert replace_paths(staged, {"out/.a.txt": "out/a.txt"}.__getitem__) == task
    object.__setattr__(task, "value", {"etag": "x"})
    assert task.value == {"etag": "x"}
    assert copy.copy(task) == task
    assert pickle.loads(pickle.dumps(task)) == task


@dataclass
class Caching(Task):
    output: Output
    extra: str = ""

    def __post_init__(self) -> None:
        self.note = "kept"

    @cached_property
    def folder(self) -> Path:
        return self.output.parent


def test_what_was_cached_from_a_final_path_is_not_taken_along() -> None:
    task = Caching(Path("out/a.txt"))
    assert task.folder == Path("out")
    staged = replace_paths(task, {"out/a.txt": "staging/a.txt"}.__getitem__)
    assert staged.folder == Path("staging")
    assert staged.note == "kept"


@dataclass
class NeedsOne(Task):
    source: Input
    output: Output


def test_absent_inputs() -> None:
    task = Merge([Path("a"), Path("/project/b"), Path("c")], Path("o"), Path("e"))
    left = with_inputs(task, {"b", "c"}, ROOT)
    assert left.inputs == [Path("/project/b"), Path("c")]
    assert left.extra is None
    assert task.extra == Path("e")
    assert with_inputs(task, {"a", "b", "c", "e"}, ROOT) == task
    assert with_inputs(Frozen(Path("o"), (Path("a"), Path("b"))), {"b"}).pages == (Path("b"),)
    plain = NeedsOne(Path("i"), Path("o"))
    assert with_inputs(plain, set()).source == Path("i")
    assert with_inputs(Merge([], Path("o")), set()).extra is None


# --------------------------------------------------------------------------------------- around run() itself


def test_outside_a_worker_a_task_is_an_object_like_any_other(tmp_path: Path) -> None:
    task = Fetch("https://example.org", tmp_path / "a.html")
    assert task.value is None
    assert task.run() == {"etag": "x"}
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == "https://example.org"
    assert previous() is None
    assert list(task.upstream_tasks()) == list(task.limits()) == list(task.downstream_tasks()) == []
    assert Plain().run() is None


def test_max_age_is_the_default_of_due() -> None:
    class Daily(Task):
        max_age = 86400

    class Hourly(Task):
        max_age = timedelta(hours=1)

    then = datetime(2026, 11, 22, 2, tzinfo=UTC)
    last = Last(params={}, hints={}, value=None, outputs={"a": None}, version=1, checked_at=then)
    assert Daily().due(last, then + timedelta(hours=23)) is None
    assert Daily().due(last, then + timedelta(hours=24)) == "older than 1 day, 0:00:00"
    assert Hourly().due(last, then + timedelta(hours=1)) == "older than 1:00:00"
    assert Plain().due(last, then + timedelta(days=999)) is None


def test_previous_asks_the_worker() -> None:
    last = Last(params={}, hints={}, value=5, outputs={}, version=1, checked_at=datetime(2026, 1, 1, tzinfo=UTC))
    token = CURRENT.set(Context(previous=lambda: last))
    try:
        assert previous() is last
    finally:
        CURRENT.reset(token)
    assert previous() is None


def test_what_run_may_return_or_raise() -> None:
    assert Unchanged() == Unchanged(None)
    assert Absent({"status": 404}).value == {"status": 404}
    error = RetryLater(timedelta(minutes=1), "429")
    assert (error.seconds, error.reason, str(error)) == (60.0, "429", "429")
    again = pickle.loads(pickle.dumps(error))
    assert (again.seconds, again.reason) == (60.0, "429")
    assert str(RetryLater(5)) == "again in 5 s"
