"""Dask's task, in a module of its own: so its workers import it, and it does not travel with each task."""

from __future__ import annotations


def noop(number: int) -> int:
    return number
