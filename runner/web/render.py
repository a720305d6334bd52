"""Templates filled with what views say. Every value is escaped where it stands: others wrote what is in job files."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from runner import words
from runner.views.drawing import FILLS, draw, draw_linked
from runner.views.graph import Box, Graph

PALETTE = ("#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#edc948", "#ff9da7", "#9c755f", "#bab0ac", "#e15759")
"""Colours of task classes: the ten of Tableau."""


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("runner.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        counted=words.counted,
        moment=words.moment,
        span=words.span,
        rate=words.rate,
        number="{:,}".format,
        seconds=_seconds,
        drawn=_drawn,
    )
    environment.globals.update(fills=FILLS)
    return environment


def render(template: str, **values: Any) -> str:
    """The page."""
    return _environment().get_template(template).render(values)


def colours(tasks: list[str]) -> dict[str, str]:
    """Task class -> its colour; the same one each time, as long as there are no more than ten."""
    return {task: PALETTE[n % len(PALETTE)] for n, task in enumerate(sorted(tasks))}


def _drawn(graph: Graph, linked: bool = False) -> Markup:
    return Markup(draw_linked(graph, _address) if linked else draw(graph, "svg"))  # which has escaped what is in it


def _address(box: Box) -> str:
    return f"/jobs?task={quote(box.task)}" if box.job is None else f"/jobs/{quote(box.job)}"


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 60 else words.span(value)
