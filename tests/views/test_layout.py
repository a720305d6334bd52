"""Where boxes and lines go: nothing on top of another, everything to the right of what it comes after."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.views.layout import Layout, lay_out

SIZE = (60.0, 40.0)


def laid(count: int, edges: set[tuple[int, int]]) -> tuple[Layout, list[tuple[str, str]]]:
    named = [(f"n{a}", f"n{b}") for a, b in sorted(edges)]
    return lay_out({f"n{n}": SIZE for n in range(count)}, named), named


GRAPHS = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        st.just(count), st.sets(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=30)
    )
)


@given(GRAPHS)
def test_no_box_lies_on_another_and_all_lie_within(given_: tuple[int, set[tuple[int, int]]]) -> None:
    layout, _ = laid(*given_)
    boxes = sorted(layout.places.values())
    for n, (x, y) in enumerate(boxes):
        assert 0 <= x <= layout.width - SIZE[0] + 0.01
        assert -0.01 <= y <= layout.height - SIZE[1] + 0.01
        for other_x, other_y in boxes[n + 1 :]:
            assert abs(x - other_x) >= SIZE[0] or abs(y - other_y) >= SIZE[1]


@given(GRAPHS)
def test_every_line_goes_from_box_to_box(given_: tuple[int, set[tuple[int, int]]]) -> None:
    layout, edges = laid(*given_)
    for a, b in edges:
        points = layout.lines.get((a, b)) or layout.lines.get((b, a), [])[::-1]
        if a == b:
            assert not points
            continue
        (xa, ya), (xb, yb) = layout.places[a], layout.places[b]
        assert all(-0.01 <= y <= layout.height + 0.01 for _, y in points), "a picture of that height shows it"
        for (x, y), (end_x, end_y) in (((xa, ya), points[0]), ((xb, yb), points[-1])):
            assert end_x in (x, x + SIZE[0])
            assert end_y == pytest.approx(y + SIZE[1] / 2)


@given(GRAPHS)
def test_without_circles_every_line_goes_to_the_right(given_: tuple[int, set[tuple[int, int]]]) -> None:
    count, edges = given_
    layout, named = laid(count, {(a, b) for a, b in edges if a < b})
    for a, b in named:
        assert layout.places[a][0] + SIZE[0] < layout.places[b][0]


def test_lines_that_need_not_cross_do_not() -> None:
    layout, _ = laid(6, {(0, 5), (1, 4), (2, 3)})
    heights = [layout.places[f"n{n}"][1] for n in range(6)]
    assert sorted(range(3), key=lambda n: heights[n]) == sorted(range(3), key=lambda n: heights[5 - n])


def test_of_nothing_there_is_nothing() -> None:
    assert lay_out({}, []) == Layout(0.0, 0.0, {}, {})


def test_lines_of_a_graph_that_nobody_can_follow_have_no_bends() -> None:
    layout, named = laid(120, {(a, b) for a in range(120) for b in range(a + 1, 120)})
    assert len(layout.lines) == len(named)
    assert {len(points) for points in layout.lines.values()} == {2}
