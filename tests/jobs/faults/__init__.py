"""The table of faults: what servers say, by mistake or on purpose, and what has to come of it. One row each.

A row's outcome, or the way through the code that leads to it, is no other row's: test_faults.py compares them.
"""

from __future__ import annotations

from tests.jobs.faults.answers import KINDS, STATUS
from tests.jobs.faults.bodies import BODIES, HEADS
from tests.jobs.faults.hostile import HOSTILE
from tests.jobs.faults.maps import MAPS
from tests.jobs.faults.nights import NIGHTS, SITES
from tests.jobs.faults.places import INWARDS, REDIRECTS
from tests.jobs.faults.robots import ROBOTS
from tests.jobs.faults.row import Fault

FAULTS: tuple[Fault, ...] = (
    *(*BODIES, *HEADS, *STATUS, *KINDS, *REDIRECTS, *INWARDS, *NIGHTS, *SITES, *ROBOTS, *MAPS, *HOSTILE),
)
