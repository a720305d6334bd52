"""Draws the table of transitions into docs/design.md: `python docs/make_transitions.py`.

`TRANSITIONS` in runner/core/model.py is the only source, and a test fails when the diagram is not what this makes. It
must not know a status or a step by name, but for where new jobs appear.
"""

from __future__ import annotations

from pathlib import Path

from runner.core.model import TRANSITIONS, Status

PAGE = Path(__file__).with_name("design.md")
BEGIN = "<!-- drawn by docs/make_transitions.py: do not edit -->"
END = "<!-- end of what is drawn -->"


def diagram() -> str:
    """The table as a Mermaid state diagram; steps that lead from one status to the same other share an arrow."""
    arrows: dict[tuple[Status, Status], list[str]] = {}
    for (source, step), target in TRANSITIONS.items():
        arrows.setdefault((source, target), []).append(step)
    lines = ["stateDiagram-v2", f"    [*] --> {Status.PENDING} : create"]
    lines += [f"    {source} --> {target} : {', '.join(steps)}" for (source, target), steps in arrows.items()]
    return "\n".join(lines)


def drawn(page: str) -> str:
    """`page` with the diagram as it should be. Raises ValueError if the page has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE} has no {BEGIN if not begin else END}")
    return f"{before}{BEGIN}\n```mermaid\n{diagram()}\n```\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
