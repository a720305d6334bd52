"""What is promised, beside what was found: one line for each bar, by which `python -m bench` makes its last table."""

from __future__ import annotations

PREFIX = "bar: "


def met(
    what: str, found: float, bar: float, striven: float | None = None, *, unit: str = " x", least: bool = False
) -> bool:
    """Print whether `found` is at most `bar` (`least`: at least); whether it is. `striven`: what would be better."""
    reached = found >= bar if least else found <= bar
    bound = "at least" if least else "at most"
    better = "" if striven is None else f" (striven for: {striven:g})"
    verdict = "met" if reached else "MISSED"
    print(f"{PREFIX}{what}: {found:.2f}{unit}, {bound} {bar:g}{better}: {verdict}", flush=True)
    return reached
