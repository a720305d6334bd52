"""Jug's tasks, for as many processes as are started.

jug execute jugfile.py N
"""

from __future__ import annotations

import sys

from jug import TaskGenerator


@TaskGenerator
def noop(number: int) -> None:
    pass


for number in range(int(sys.argv[1])):
    noop(number)
