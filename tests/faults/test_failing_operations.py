"""Every file operation fails, once and from then on, with every error that a disk has: no job is to blame, exit 4, and
once the disk is well again `resume` goes on.
"""

from __future__ import annotations

import errno
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.conftest import TORTURE
from tests.faults.injected import ERRORS, Fault
from tests.faults.test_crash_points import Nights

pytestmark = [pytest.mark.usefixtures("in_process"), pytest.mark.timeout(3600 if TORTURE else 600)]


@pytest.mark.parametrize("side", ["scheduler", "workers"])
@pytest.mark.parametrize("number", [0, 1], ids=["night one", "night two"])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_every_operation_fails(
    tmp_path: Path, durability: str, number: int, side: str, seed: int, struck: Counter[str]
) -> None:
    """In `make torture` each operation with each error; else every third, with one of them."""
    nights = Nights(tmp_path, durability)
    operations = nights.operations(number, side)
    chance = random.Random(seed)
    kinds = [(error, lasts) for error in ERRORS for lasts in (False, True)]
    step = 1 if TORTURE else 3
    tried = 0
    for at in range(1 + chance.randrange(step), operations + 1, step):
        for error, lasts in kinds if TORTURE else [chance.choice(kinds)]:
            fault = Fault(side, at, error, lasts)
            nights.disturbed(number, fault)
            tried += 1
            struck[errno.errorcode[error]] += min(1, fault.struck)
    assert struck.total() >= tried * 0.9, "a sync thread may make a few operations less"
