"""Killed before the N-th file operation, for every N, the scheduler and its workers in turn; then resumed.

In this process: what is killed does nothing more, neither to the disk nor to anybody. `test_kills.py` does it
with real processes.
"""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults import reference
from tests.faults.injected import Fault, charged, has_ended, newest, night, picture, succeeded

pytestmark = [pytest.mark.usefixtures("in_process"), pytest.mark.timeout(600)]


class Nights:
    """Both nights undisturbed, as they are before and after each: what every disturbed one must come to."""

    def __init__(self, folder: Path, durability: str) -> None:
        self.durability = durability
        self.before = [folder / "first", folder / "second"]
        self.after: list[dict[str, Any]] = []
        self.charged: list[Counter[str]] = []
        self.root = folder / "project"
        self.root.mkdir()
        for number, before in enumerate(self.before):
            shutil.copytree(self.root, before)
            reference.falls(number)
            assert night(self.root, resume=False, durability=durability).code == 1, "one page always fails"
            self.after.append(picture(self.root))
            self.charged.append(charged(self.root))

    def begin(self, number: int) -> None:
        """A fresh copy of the project, and the world, as they are before that night."""
        shutil.rmtree(self.root)
        shutil.copytree(self.before[number], self.root)
        reference.falls(number)

    def operations(self, number: int, side: str) -> int:
        """How many file operations an undisturbed night takes."""
        self.begin(number)
        fault = Fault(side)
        night(self.root, resume=False, durability=self.durability, fault=fault)
        return fault.calls

    def disturbed(self, number: int, fault: Fault) -> None:
        """One night with that fault, gone on with until it is over; then it must all be as it would have been."""
        self.begin(number)
        earlier = newest(self.root)
        end = night(self.root, resume=False, durability=self.durability, fault=fault)
        over = False
        for _ in range(3):
            if end.code not in (None, 4):
                break
            done, noted, over = succeeded(self.root), len(reference.SITE.ran), has_ended(self.root)
            resume = newest(self.root) != earlier
            end = night(self.root, resume=resume, durability=self.durability)
            again = done & set(reference.SITE.ran[noted:]) if resume else set()
            assert not again, f"{fault}: done, and done again: {again}"
            if resume and over:
                assert end.code == 0, f"{fault}: exit {end.code}, and there was nothing to resume"
                break
        else:
            raise AssertionError(f"{fault}: exit {end.code}, {end.message}")
        assert over or end.code == 1, f"{fault}: exit {end.code}, {end.message}"
        found = picture(self.root)
        if found != self.after[number]:
            raise AssertionError(f"{fault}: {differences(self.after[number], found)}")
        more = charged(self.root) - self.charged[number]
        assert more.total() <= self.allowed(fault), f"{fault}: attempts were used up: {more}"

    @staticmethod
    def allowed(fault: Fault) -> int:
        """How many attempts a fault may cost: a worker's death one, all else none."""
        dies = fault.error in (None, errno.EMFILE)  # who has no descriptors left is replaced
        return 1 if fault.side == "workers" and dies else 0


def differences(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    keys = [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
    return "; ".join(f"{key}: wanted {wanted.get(key)}, found {found.get(key)}" for key in sorted(keys))


@pytest.mark.parametrize("side", ["scheduler", "workers"])
@pytest.mark.parametrize("number", [0, 1], ids=["night one", "night two"])
@pytest.mark.parametrize("durability", ["process", "power"])
def test_killed_before_every_operation(
    tmp_path: Path, durability: str, number: int, side: str, struck: Counter[str]
) -> None:
    nights = Nights(tmp_path, durability)
    operations = nights.operations(number, side)
    for at in range(1, operations + 1):
        fault = Fault(side, at)
        nights.disturbed(number, fault)
        struck[f"kills of the {side}"] += fault.struck
    assert struck.total() >= operations * 0.95, "sync threads may make a few fewer"
