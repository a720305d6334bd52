"""File names, a whole folder of them at once: which are job files, and of which jobs. Must not touch the disk.

A state may hold a million jobs, and every start and every look takes all their names: to ask `codec.is_id` of each
takes longer than to list the folder. So some thousands of them are looked at together, as a text with a name a line,
and only where that does not prove all of these at once is each one looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters, digits

from runner.store.codec import MAX_ID_BYTES, is_id

_TOGETHER = 4096  # more would not stay in the processor's cache
_WORD = f"{ascii_letters}{digits}_".encode()
_HEX_AS_0 = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_ENDING = b"-0000000000000000.json\n"
_LEAST = len("A-0123456789abcdef")


def job_ids(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The ids of job files of these names, and the names that are to be of job files, and hold no id.

    What does not end in .json, or begins with a dot, is in neither.
    """
    ids: list[str] = []
    others: list[str] = []
    for start in range(0, len(names), _TOGETHER):
        part = names[start : start + _TOGETHER]
        found = _all_of(part)
        if found is not None:
            ids += found
            continue
        for name in part:
            if name[-5:] == ".json" and name[0] != ".":
                if is_id(name[:-5]):
                    ids.append(name[:-5])
                else:
                    others.append(name)
    return ids, others


def _all_of(names: Sequence[str]) -> list[str] | None:
    """The ids of job files, if it is plain that all of the names are of such."""
    text = "\n".join((*names, ""))
    if not (text.isascii() and _end_in_hashes(text.encode(), len(names))):
        return None
    ids = text.split(".json\n")
    ids.pop()
    lengths = set(map(len, ids))
    return ids if min(lengths) >= _LEAST and max(lengths) <= MAX_ID_BYTES else None


def _end_in_hashes(lines: bytes, count: int) -> bool:
    """Whether there are so many lines, each of word characters, a dash, 16 hex digits and .json, and of nothing else.

    Apart from its word characters each has one dash, one dot and its end, in this order; and each has that ending.
    """
    return lines.translate(None, _WORD) == b"-.\n" * count and lines.translate(_HEX_AS_0).count(_ENDING) == count
