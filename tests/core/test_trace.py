"""Up to date or due, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.trace import Trace, reason_to_run

RECORDED = Trace(
    version=1,
    params={"url": "a", "deep": {"list": [1, 2.5, None, "x"]}},
    inputs={"in": "d1"},
    outputs={"out": 10, "gone": None},
)


def reason(due: str | None = None, **changes: Any) -> str | None:
    return reason_to_run(RECORDED, replace(RECORDED, **changes), due)


def test_nothing_changed() -> None:
    assert reason() is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 2}, "version 1 -> 2"),
        ({"params": {**RECORDED.params, "url": "b"}}, "parameter url: 'a' -> 'b'"),
        ({"params": {**RECORDED.params, "more": 1}}, "parameter more is new: 1"),
        ({"params": {"url": "a"}}, "parameter deep is gone: {'list': [1, 2.5, None, 'x']}"),
        ({"outputs": {"out": 11, "gone": None}}, "output out has 11 bytes, not 10"),
        ({"outputs": {"out": None, "gone": None}}, "output out is not there"),
        ({"outputs": {}}, "output out is not there"),
        ({"inputs": {"in": "d2"}}, "input in changed"),
        ({"inputs": {}}, "input in is gone"),
        ({"inputs": {"in": "d1", "more": "d"}}, "input more is new"),
    ],
)
def test_why_a_job_is_due(changes: dict[str, Any], why: str) -> None:
    assert reason(**changes) == why


def test_an_output_recorded_absent_may_be_there_or_not() -> None:
    assert reason(outputs={"out": 10, "gone": 3}) is None
    assert reason(outputs={"out": 10}) is None


def test_an_output_of_no_bytes_is_an_output() -> None:
    recorded = replace(RECORDED, outputs={"out": 0})
    assert reason_to_run(recorded, recorded, None) is None
    assert reason_to_run(recorded, replace(recorded, outputs={"out": None}), None) == "output out is not there"


def test_what_the_task_itself_says_comes_last() -> None:
    assert reason("older than a day") == "older than a day"
    assert reason("older than a day", inputs={}) == "input in is gone"


def test_a_long_value_is_cut_short() -> None:
    said = reason(params={**RECORDED.params, "url": "b" * 1000})
    assert said is not None
    assert len(said) < 100


@pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), (0, False), ([1], [1.0]), ({"a": 1}, {"a": True})])
def test_what_python_takes_for_equal_is_other_json(old: Any, new: Any) -> None:
    recorded = replace(RECORDED, params={"n": old})
    assert reason_to_run(recorded, replace(recorded, params={"n": new}), None) == f"parameter n: {old} -> {new}"


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(json)
def test_a_value_is_the_same_as_itself_in_whatever_order_its_keys_come(value: Any) -> None:
    def turned(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: turned(part[key]) for key in reversed(part)}
        return tuple(map(turned, part)) if isinstance(part, list) else part

    recorded = replace(RECORDED, params={"value": value})
    assert reason_to_run(recorded, replace(recorded, params={"value": turned(value)}), None) is None
