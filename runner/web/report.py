"""A run's report as one HTML file, which needs no network and no other file."""

from __future__ import annotations

from importlib.resources import files

from markupsafe import Markup

from runner.views.changes import KINDS
from runner.views.report import RunReport
from runner.web.render import colours, render

MOST = 200
"""How many changed jobs of each kind are named."""


def page(report: RunReport) -> str:
    """The file's text."""
    tasks = [each.task for each in report.durations]
    style = Markup(files("runner.web").joinpath("static", "style.css").read_text())
    return render("report.html", report=report, colours=colours(tasks), kinds=KINDS, most=MOST, style=style)
