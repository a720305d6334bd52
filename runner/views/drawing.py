"""A graph as text in the languages that draw graphs: DOT, Mermaid, SVG. Knows nothing of a state folder.

All words in it come from job files, which others wrote: they are escaped for where they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

from runner.views.graph import Box, Graph, Line
from runner.views.layout import Point, lay_out

FORMATS = ("svg", "dot", "mermaid")

FILLS = {
    "done": "#8fd19e",
    "running": "#7cc4f0",
    "pending": "#d5d9de",
    "failed": "#f19a94",
    "blocked": "#f3cf7a",
    "cancelled": "#ececec",
    "quarantine": "#dcaaf0",
}
"""A status's colour, on light and on dark ground: what is written on it is black."""

_CHAR, _HIGH, _PAD = 7.3, 44.0, 10.0  # of the font, about: a letter's width; a box's height; the room beside the text


def draw(graph: Graph, form: str) -> str:
    """The text of the picture; `form` is one of FORMATS."""
    return _DRAWERS[form](graph)


def draw_linked(graph: Graph, address: Callable[[Box], str]) -> str:
    """As SVG, where each box leads to its address."""
    return _svg(graph, address)


def _label(box: Box) -> tuple[str, str]:
    if box.job is not None:
        return box.task, f"{box.job.rpartition('-')[2][:8]} {box.status}"
    return box.task, ", ".join(f"{count:,} {status}" for status, count in box.statuses.items())


# ----------------------------------------------------------------------------------------------------------------- DOT


def _dot(graph: Graph) -> str:
    lines = ["digraph jobs {", "  rankdir=LR;", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    for box in graph.boxes:
        first, second = map(_dot_text, _label(box))
        bold = ", penwidth=3" if box.job is not None and box.job == graph.focus else ""
        lines.append(f'  "{_dot_text(box.key)}" [label="{first}\\n{second}", fillcolor="{FILLS[box.status]}"{bold}];')
    for line in graph.lines:
        style = "" if line.after else ' [style=dashed, tooltip="found by it"]'
        lines.append(f'  "{_dot_text(line.source)}" -> "{_dot_text(line.target)}"{style};')
    return "\n".join([*lines, "}", ""])


def _dot_text(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text).replace("\\", "\\\\").replace('"', '\\"')


# ------------------------------------------------------------------------------------------------------------- Mermaid


def _mermaid(graph: Graph) -> str:
    number = {box.key: f"n{n}" for n, box in enumerate(graph.boxes)}
    lines = ["flowchart LR"]
    for box in graph.boxes:
        first, second = map(_mermaid_text, _label(box))
        lines.append(f'  {number[box.key]}["{first}<br/>{second}"]:::{box.status}')
    lines += [
        f"  {number[line.source]} {'-->' if line.after else '-.->'} {number[line.target]}" for line in graph.lines
    ]
    used = dict.fromkeys(box.status for box in graph.boxes)
    lines += [f"  classDef {status} fill:{FILLS[status]},stroke:#555,color:#000" for status in used]
    return "\n".join([*lines, ""])


def _mermaid_text(text: str) -> str:
    return "".join(c if c.isalnum() or c in " ,._-:" else f"#{ord(c)};" for c in text)


# ----------------------------------------------------------------------------------------------------------------- SVG

_STYLE = """
text{font:12px sans-serif;fill:#111}.k{font-weight:bold}.b{stroke:#555;stroke-width:1}.f{stroke-width:3}
path{fill:none;stroke:#777;stroke-width:1.4}.d{stroke-dasharray:5 4}#arrow path{fill:#777;stroke:none}
@media(prefers-color-scheme:dark){path{stroke:#aaa}#arrow path{fill:#aaa}}
"""


def _svg(graph: Graph, address: Callable[[Box], str] | None = None) -> str:
    words = {box.key: _label(box) for box in graph.boxes}
    sizes = {key: (max(map(len, both)) * _CHAR + 2 * _PAD, _HIGH) for key, both in words.items()}
    layout = lay_out(sizes, [(line.source, line.target) for line in graph.lines])
    width, height = layout.width + 2 * _PAD, layout.height + 2 * _PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-_PAD:.0f} {-_PAD:.0f} {width:.0f} {height:.0f}">',
        f"<title>{graph.jobs:,} jobs</title><style>{_STYLE}</style>",
        '<marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker>',
    ]
    for line in graph.lines:
        points = layout.lines.get((line.source, line.target)) or layout.lines.get((line.target, line.source), [])[::-1]
        if points:  # else from a box to itself
            parts.append(_path(points, line))
    for box in graph.boxes:
        drawn = _box(box, layout.places[box.key], sizes[box.key], words[box.key], box.job == graph.focus is not None)
        parts += drawn if address is None else [f'<a href="{escape(address(box))}">', *drawn, "</a>"]
    return "\n".join([*parts, "</svg>", ""])


def _path(points: list[Point], line: Line) -> str:
    x, y = points[0]
    curve = f"M{x:.1f} {y:.1f}"
    for to_x, to_y in points[1:]:
        half = (x + to_x) / 2
        curve += f"C{half:.1f} {y:.1f} {half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    says = f"{line.target} {'waits for' if line.after else 'was found by'} {line.source}"
    style = "" if line.after else ' class="d"'
    return f'<path{style} d="{curve}" marker-end="url(#arrow)"><title>{escape(says)}</title></path>'


def _box(box: Box, place: Point, size: Point, words: tuple[str, str], focus: bool) -> Iterator[str]:
    """Filled with the colours of its statuses, as wide as they are many."""
    (x, y), (width, height) = place, size
    title = box.job or f"{box.task}: {box.jobs:,} jobs"
    yield f'<g id="{escape(box.key)}"><title>{escape(title)}</title>'
    at = x
    for status, count in box.statuses.items():
        part = width * count / box.jobs
        yield f'<rect x="{at:.1f}" y="{y:.1f}" width="{part:.1f}" height="{height:.1f}" fill="{FILLS[status]}"/>'
        at += part
    line = "b f" if focus else "b"
    yield f'<rect class="{line}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="none"/>'
    for n, text in enumerate(words):
        bold = ' class="k"' if n == 0 else ""
        yield f'<text{bold} x="{x + _PAD:.1f}" y="{y + 18 + 17 * n:.1f}">{escape(_shown(text))}</text>'
    yield "</g>"


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


_DRAWERS: dict[str, Callable[[Graph], str]] = {"svg": _svg, "dot": _dot, "mermaid": _mermaid}
