"""Up to date or due, and why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from runner.core.trace import Made, Trace, differences

RECORDED = Trace(
    version=1,
    params={"url": "a", "deep": {"list": [1, 2.5, None, "x"]}},
    inputs={"in": "d1"},
    outputs={"out": Made(10), "gone": None},
)


def reasons(recorded: Trace, observed: Trace) -> list[str]:
    return [difference.says for difference in differences(recorded, observed)]


def reason(**changes: Any) -> str | None:
    return next(iter(reasons(RECORDED, replace(RECORDED, **changes))), None)


def test_nothing_changed() -> None:
    assert reason() is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 2}, "version 1 -> 2"),
        ({"params": {**RECORDED.params, "url": "b"}}, "parameter url: 'a' -> 'b'"),
        ({"params": {**RECORDED.params, "more": 1}}, "parameter more is new: 1"),
        ({"params": {"url": "a"}}, "parameter deep is gone: {'list': [1, 2.5, None, 'x']}"),
        ({"outputs": {"out": Made(11), "gone": None}}, "output out has 11 bytes, not 10"),
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
    assert reason(outputs={"out": Made(10), "gone": Made(3)}) is None
    assert reason(outputs={"out": Made(10)}) is None


def test_an_output_of_no_bytes_is_an_output() -> None:
    recorded = replace(RECORDED, outputs={"out": Made(0)})
    assert not reasons(recorded, recorded)
    assert reasons(recorded, replace(recorded, outputs={"out": None})) == ["output out is not there"]


def test_every_reason_is_named_with_what_was_and_what_is() -> None:
    now = replace(RECORDED, version=2, inputs={"in": "d2"}, outputs={})
    found = list(differences(RECORDED, now))
    assert [(each.part, each.name, each.old, each.new) for each in found] == [
        ("version", "", 1, 2),
        ("output", "out", 10, None),
        ("input", "in", "d1", "d2"),
    ]


def test_other_bytes_of_the_same_size_count_where_digests_are_compared() -> None:
    recorded = replace(RECORDED, outputs={"out": Made(3, "d1")})
    assert reasons(recorded, replace(recorded, outputs={"out": Made(3, "d2")})) == [
        "output out holds other bytes than were made"
    ]
    assert not reasons(recorded, recorded)


def test_the_same_inputs_in_another_order_are_a_reason() -> None:
    recorded = replace(RECORDED, wiring="w1")
    assert "order" in reasons(recorded, replace(recorded, wiring="w2"))[0]
    assert not reasons(RECORDED, recorded), "a record of older making does not tell"


def test_a_long_value_is_cut_short() -> None:
    said = reason(params={**RECORDED.params, "url": "b" * 1000})
    assert said is not None
    assert len(said) < 100


@pytest.mark.parametrize(("old", "new"), [(1, True), (1, 1.0), (0, False), ([1], [1.0]), ({"a": 1}, {"a": True})])
def test_what_python_takes_for_equal_is_other_json(old: Any, new: Any) -> None:
    recorded = replace(RECORDED, params={"n": old})
    assert reasons(recorded, replace(recorded, params={"n": new})) == [f"parameter n: {old} -> {new}"]


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
    assert not reasons(recorded, replace(recorded, params={"value": turned(value)}))
