"""A folder's names at once: what is taken for a job file, and what not, is what is said of each name by itself."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from runner.store import names
from runner.store.codec import MAX_ID_BYTES, is_id
from runner.store.names import job_ids

HASH = "-0123456789abcdef"
LONGEST = "A" * (MAX_ID_BYTES - len(HASH))

good = st.builds(
    "{}-{:016x}.json".format, st.from_regex(r"[0-9A-Za-z_]{1,12}", fullmatch=True), st.integers(0, 2**64 - 1)
)
# Of the characters that names are made of, and of those next to them, so that they come close to being good.
close = st.text(st.sampled_from("Az09_-.fgG \n\r\u2028json/éß٣\x00\udc80"), max_size=24)
classes = st.text(st.sampled_from("Az_0é٣\udc80-.\n"), max_size=8) | st.integers(1, 210).map("A".__mul__)
almost = st.builds(
    str.__add__, classes, st.sampled_from([HASH, HASH.upper(), HASH[:-1], HASH + "0", HASH + "\n", "", HASH + HASH])
)
endings = st.sampled_from([".json", ".json", ".json", ".jso", ".json\n", ".JSON", ".json.json", "", ".reason.txt"])
anything = st.builds(str.__add__, almost | close, endings) | close | good


def one_by_one(folder: Sequence[str]) -> tuple[list[str], list[str]]:
    named = [name for name in folder if name.endswith(".json") and not name.startswith(".")]
    return (
        [name.removesuffix(".json") for name in named if is_id(name.removesuffix(".json"))],
        [name for name in named if not is_id(name.removesuffix(".json"))],
    )


@given(st.lists(good, max_size=20))
def test_a_folder_of_job_files_is_proved_at_once(folder: list[str]) -> None:
    with patch.object(names, "is_id", side_effect=AssertionError("a name was looked at by itself")):
        assert job_ids(folder) == ([name[:-5] for name in folder], [])


@given(st.lists(anything.filter(bool), max_size=6), st.lists(good, max_size=6))
@example([f"{LONGEST}{HASH}.json"], [])
@example([f"A{LONGEST}{HASH}.json"], [])
@example([f"{HASH}.json"], [f"A{HASH}.json"])
@example([f"Größe{HASH}.json", f"{'é' * 99}{HASH}.json"], [])
@example([f"A{HASH}.json\nB{HASH}.json"], [])
@example([f"A{HASH}.json\n", f"B{HASH}"], [f"C{HASH}.json"])
@example([f"A{HASH}", f"B{HASH}.json.json"], [])
@example([f".A{HASH}.json", ".json"], [])
@example([f"A-b{HASH}.json"], [])
def test_names_are_taken_as_each_is_by_itself(odd: list[str], folder: list[str]) -> None:
    for listed in (odd, odd + folder, folder + odd, folder[:1] + odd + folder[1:]):
        assert job_ids(listed) == one_by_one(listed)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("odd", ["", "notes.json", "readme.txt", f"Größe{HASH}.json"])
def test_an_odd_name_has_only_those_beside_it_looked_at(count: int, odd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_TOGETHER", 4)
    folder = [f"A-{number:016x}.json" for number in range(count)] + [odd] * bool(odd)
    asked: list[str] = []
    monkeypatch.setattr(names, "is_id", lambda text: asked.append(text) or is_id(text))
    assert job_ids(folder) == one_by_one(folder)
    assert len(asked) <= 4 * bool(odd)
