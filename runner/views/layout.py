"""Where the boxes and lines of a picture of a graph go: in layers from left to right. Knows sizes, not what they mean.

As K. Sugiyama, S. Tagawa and M. Toda do it ("Methods for visual understanding of hierarchical system structures",
1981): lines that close a circle are turned round; each box is put in the layer behind the last of those before it;
lines that pass layers get a bend in each; the order within a layer is by the mean of the neighbours', swept to and fro;
and boxes move towards their neighbours as far as there is room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

_SWEEPS = 8
_MOST_BENDS = 2_000  # of all lines; where there would be more, lines are straight: nobody can follow one
_ACROSS, _ALONG = 18.0, 64.0  # between two boxes of a layer, and between two layers

Point = tuple[float, float]


class Layout(NamedTuple):
    """`places`: the upper left corner of each box. `lines`: for each edge its points, from box to box."""

    width: float
    height: float
    places: dict[str, Point]
    lines: dict[tuple[str, str], list[Point]]


def lay_out(sizes: Mapping[str, Point], edges: Iterable[tuple[str, str]]) -> Layout:
    """`sizes`: width and height of each box, in the order in which equals are put; `edges` between two of them."""
    given = dict.fromkeys(edge for edge in edges if edge[0] != edge[1])
    forward = _without_circles(list(sizes), given)
    layer = _layers(list(sizes), forward)
    plain = sum(layer[b] - layer[a] for a, b in forward) > _MOST_BENDS
    chains = {(a, b): [(a, layer[a]), (b, layer[b])] if plain else _chain((a, b), layer) for a, b in forward}
    boxes = dict(sizes)
    for chain in chains.values():
        for bend, number in chain[1:-1]:
            boxes[bend], layer[bend] = (0.0, 0.0), number
    links = [(a, b) for chain in chains.values() for (a, _), (b, _) in pairwise(chain)]
    columns = _order(boxes, layer, links)
    middles = _middles(columns, boxes, links)
    lefts, x = [], 0.0
    for column in columns:
        lefts.append(x)
        x += max((boxes[name][0] for name in column), default=0.0) + _ALONG
    top = min((middles[name] - boxes[name][1] / 2 for name in boxes), default=0.0)
    places = {name: (lefts[layer[name]], middles[name] - boxes[name][1] / 2 - top) for name in sizes}
    lines = {}
    for edge, turned in forward.items():
        names = [name for name, _ in chains[edge]]
        points = [
            (places[names[0]][0] + boxes[names[0]][0], middles[names[0]] - top),
            *(
                (lefts[layer[name]] + _widest(columns[layer[name]], boxes) / 2, middles[name] - top)
                for name in names[1:-1]
            ),
            (places[names[-1]][0], middles[names[-1]] - top),
        ]
        lines[(edge[1], edge[0]) if turned else edge] = points[::-1] if turned else points
    height = max((middles[name] + boxes[name][1] / 2 for name in boxes), default=0.0) - top
    return Layout(max(0.0, x - _ALONG), height, places, lines)


def _widest(column: Sequence[str], boxes: Mapping[str, Point]) -> float:
    return max((boxes[name][0] for name in column), default=0.0)


def _without_circles(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[tuple[str, str], bool]:
    """The edges with those turned round that close a circle, and whether they are. An edge and its reverse are one."""
    below: dict[str, list[str]] = {name: [] for name in names}
    for a, b in edges:
        below[a].append(b)
    state: dict[str, int] = {}  # 1: on the way, 2: through
    found: dict[tuple[str, str], bool] = {}
    for start in names:
        if start in state:
            continue
        state[start] = 1
        path = [(start, iter(below[start]))]
        while path:
            name, following = path[-1]
            other = next(following, None)
            if other is None:
                state[name] = 2
                path.pop()
            elif state.get(other) == 1:
                found.setdefault((other, name), True)
            else:
                found[name, other] = False
                if other not in state:
                    state[other] = 1
                    path.append((other, iter(below[other])))
    return found


def _layers(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Behind the last of those before it; and who has nobody before it, right before the first of those behind it."""
    from graphlib import TopologicalSorter

    before: dict[str, list[str]] = {name: [] for name in names}
    behind: dict[str, list[str]] = {name: [] for name in names}
    for a, b in edges:
        before[b].append(a)
        behind[a].append(b)
    layer: dict[str, int] = {}
    for name in TopologicalSorter(before).static_order():
        layer[name] = max((layer[other] + 1 for other in before[name]), default=0)
    for name in names:
        if not before[name] and behind[name]:
            layer[name] = min(layer[other] for other in behind[name]) - 1
    return layer


def _chain(edge: tuple[str, str], layer: Mapping[str, int]) -> list[tuple[str, int]]:
    """The edge's ends and, for each layer that it passes, a bend."""
    a, b = edge
    bends = [(f"{a}\n{b}\n{number}", number) for number in range(layer[a] + 1, layer[b])]
    return [(a, layer[a]), *bends, (b, layer[b])]


def _order(boxes: Mapping[str, Point], layer: Mapping[str, int], links: Iterable[tuple[str, str]]) -> list[list[str]]:
    columns: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for name in boxes:
        columns[layer[name]].append(name)
    left: dict[str, list[str]] = {name: [] for name in boxes}
    right: dict[str, list[str]] = {name: [] for name in boxes}
    for a, b in links:
        right[a].append(b)
        left[b].append(a)
    rank = {name: float(n) for column in columns for n, name in enumerate(column)}
    for sweep in range(_SWEEPS):
        toward = left if sweep % 2 == 0 else right
        for column in columns if sweep % 2 == 0 else reversed(columns):
            column.sort(key=lambda name: _mean([rank[other] for other in toward[name]], rank[name]))
            rank.update((name, float(n)) for n, name in enumerate(column))
    return columns


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _middles(
    columns: Sequence[Sequence[str]], boxes: Mapping[str, Point], links: Iterable[tuple[str, str]]
) -> dict[str, float]:
    """How far down the middle of each box is."""
    near: dict[str, list[str]] = {name: [] for name in boxes}
    for a, b in links:
        near[a].append(b)
        near[b].append(a)
    middles: dict[str, float] = {}
    for column in columns:
        y = 0.0
        for name in column:
            middles[name] = y + boxes[name][1] / 2
            y += boxes[name][1] + _ACROSS
    for _ in range(_SWEEPS):
        for column in columns:
            wished = [_mean([middles[other] for other in near[name]], middles[name]) for name in column]
            middles.update(zip(column, _apart(column, wished, boxes), strict=True))
    return middles


def _apart(column: Sequence[str], wished: Sequence[float], boxes: Mapping[str, Point]) -> list[float]:
    """As near to what is wished as the room between them allows (least squares: pool adjacent violators)."""
    offsets, y = [], 0.0
    for name in column:
        offsets.append(y + boxes[name][1] / 2)
        y += boxes[name][1] + _ACROSS
    pools: list[tuple[float, int]] = []  # sums and numbers of those that stick together
    for wish, offset in zip(wished, offsets, strict=True):
        total, count = wish - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            more, others = pools.pop()
            total, count = total + more, count + others
        pools.append((total, count))
    found = [total / count for total, count in pools for _ in range(count)]
    return [shift + offset for shift, offset in zip(found, offsets, strict=True)]
