"""Which blocks of text say again what an earlier one has said. Told by fingerprints: no text is held, or read twice.

Two blocks are exact duplicates when they are the same words: letters, marks and digits after NFKC and case folding,
each digit a 0; whatever else there is parts words, and in scripts without spaces each character is one. They are near
duplicates when the Jaccard similarity of their sets of word shingles is `SIMILAR` or more. Candidates for that come
from MinHash and banding (LSH): of each block, `BANDS * ROWS` minima are kept, a byte each (b-bit minwise hashing), and
who shares all bytes of a band with an earlier block is compared with it, shingle by shingle. A block goes only for
the sake of one that stays.

All is done on arrays of code points, many blocks at once; nothing depends on Python's hash(), on chance or on where a
chunk ends. To be imported where it is used: numpy takes 0.1 s and 15 MB.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self
from unicodedata import category, name, normalize

import numpy as np
from numpy.typing import NDArray

SIMILAR = 0.8  # the share of common shingles, of all shingles of two blocks, that makes them near duplicates
SHINGLE = 3  # words
FEWEST_WORDS = 8  # of a block that can be a near duplicate: in shorter ones, one other word is another meaning
BANDS, ROWS = 8, 4  # of two blocks with a similarity of 0.8, 98.5 % share a band; with 0.9, 99.98 %; with 0.4, 19 %
MINIMA = BANDS * ROWS
ALIKE = 18  # fewer equal minima than these of 32 are chance: 0.8 has 25.6, and fewer than 18 once in 2,000 times
CROWD = 64  # a bucket's blocks that others are compared with: a bound for sites that say one thing in 10,000 ways

BOILERPLATE = 0.3  # what stands in a larger share of the groups is boilerplate ...
FEWEST_GROUPS = 3  # ... if these are as many

CHUNK = 1 << 19  # characters at a time: their arrays fit into a processor's cache
LONGEST = 1 << 20  # characters of a block that are looked at: so many tell it from any other
UNSPACED = ("CJK ", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI ", "LAO ", "KHMER ", "MYANMAR ")  # names of characters
PARTS, ALONE, UNKNOWN = 0, 1 << 31, 0xFFFFFFFF  # in the table of code points: between words; a word by itself

Bytes = NDArray[np.uint8]
Codes = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Numbers = NDArray[np.int64]


class Verdict(IntEnum):
    """What becomes of a block."""

    KEPT = 0
    BLANK = 1  # no word in it
    BOILERPLATE = 2
    EXACT_DUPLICATE = 3
    NEAR_DUPLICATE = 4


# ---------------------------------------------------------------------------------------------------------- hashes

ODD = 0x9E3779B97F4A7C15


def mixed(values: Hashes) -> Hashes:
    """Each bit of a value to all bits of its hash (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class Powers:
    """One hash for each run of values, the same wherever in the array it stands: a polynomial modulo 2^64."""

    def __init__(self) -> None:
        self._up = self._down = np.ones(0, np.uint64)

    def hashes(self, values: Hashes | Codes, starts: Numbers) -> Hashes:
        """`starts`: where each run begins, ascending; it ends where the next one begins."""
        if len(values) > len(self._up):
            self._up, self._down = (
                np.multiply.accumulate(np.full(len(values), base, np.uint64)) for base in (ODD, pow(ODD, -1, 1 << 64))
            )
        scaled = np.multiply(values, self._up[: len(values)], dtype=np.uint64)
        return mixed(np.add.reduceat(scaled, starts) * self._down[starts])


SEEDS = mixed(np.arange(1, 2 * MINIMA + 1, dtype=np.uint64) * np.uint64(ODD)).astype(np.uint32)
FACTORS, TERMS = SEEDS[:MINIMA] | np.uint32(1), SEEDS[MINIMA:]


def signatures(shingles: Hashes, starts: Numbers) -> Bytes:
    """MinHash: a row of `MINIMA` bytes for each run of shingles."""
    upper = (shingles >> np.uint64(32)).astype(np.uint32)
    found = np.empty((len(starts), MINIMA), np.uint32)
    permuted = np.empty_like(upper)
    for number in range(MINIMA):
        np.multiply(upper, FACTORS[number], out=permuted)
        permuted += TERMS[number]
        found[:, number] = np.minimum.reduceat(permuted, starts)
    return (found * np.uint32(ODD & 0xFFFFFFFF) >> np.uint32(24)).astype(np.uint8)


# ----------------------------------------------------------------------------------------------------------- words


def folded(block: str) -> str:
    """Case, compatible forms and soft hyphens folded; all that is left to do goes character by character."""
    return normalize("NFKC", block).casefold().replace("\xad", "")


def code(char: str) -> int:
    """A character as part of a word: `PARTS` if it is none, above `ALONE` if it is a word by itself."""
    kind = category(char)
    if kind[0] not in "LMN":
        return PARTS
    if kind == "Nd":
        return ord("0")
    return ord(char) | ALONE if name(char, "").startswith(UNSPACED) else ord(char)


class Chunk:
    """Some blocks: their words and shingles, as hashes."""

    def __init__(self, blocks: Sequence[str], table: Codes, powers: Powers) -> None:
        texts = [block.lower() if block.isascii() else folded(block) for block in blocks]
        codes = coded(" ".join(texts), table)
        at = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1)
        firsts = word_starts(codes)
        ends = np.searchsorted(firsts, at)  # of each block, counted in words
        self.counts = np.diff(ends, prepend=0)
        self.digests = np.zeros(len(texts), np.uint64)
        self.wordy = self.counts >= FEWEST_WORDS
        sizes = self.counts[self.wordy] - (SHINGLE - 1)
        self.starts = np.cumsum(sizes) - sizes  # of each block's shingles
        self.shingles = np.zeros(0, np.uint64)
        if len(firsts):
            words = powers.hashes(codes & np.uint32(ALONE - 1), firsts)
            some = self.counts > 0
            self.digests[some] = powers.hashes(words, (ends - self.counts)[some])
            self.shingles = self._shingles(words, ends)

    def _shingles(self, words: Hashes, ends: Numbers) -> Hashes:
        """Those of the blocks with enough words, one block's after the other's."""
        inside = np.repeat(self.wordy, self.counts)
        for back in range(1, SHINGLE):
            inside[ends[self.wordy] - back] = False
        (at,) = np.nonzero(inside)
        found = words[at]
        for step in range(1, SHINGLE):
            found = found * np.uint64(ODD) + words[at + step]
        return mixed(found)


def coded(text: str, table: Codes) -> Codes:
    """`code` of each character. The table is filled as characters turn up."""
    points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    codes: Codes = table[points]
    new = codes == UNKNOWN
    if new.any():
        for point in np.unique(points[new]).tolist():
            table[point] = code(chr(point))
        codes = table[points]
    return codes


def word_starts(codes: Codes) -> Numbers:
    """Where words begin."""
    starts = codes != PARTS
    after = starts[:-1].copy()  # a word goes on behind these, unless one of the two is a word by itself
    alone = codes >= ALONE
    after &= ~(alone[:-1] | alone[1:])
    starts[1:] &= ~after
    return np.flatnonzero(starts)


# -------------------------------------------------------------------------------------------------------- verdicts


class Fingerprints:
    """Of all blocks, group after group (a group: a page, or a site). The first of a kind is the one that stays."""

    def __init__(self, folder: Path) -> None:
        """`folder`: where there is room for a nameless file of 8 bytes a word."""
        self._shingles = TemporaryFile(dir=folder)  # noqa: SIM115
        self._table = np.full(0x110000, UNKNOWN, np.uint32)
        self._powers = Powers()
        self._waiting: list[str] = []
        self._characters = 0
        self._sizes: list[int] = []  # of the groups, in blocks
        self._counts, self._digests, self._signatures = bytearray(), bytearray(), bytearray()  # they grow in place

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._shingles.close()

    def add(self, blocks: Iterable[str]) -> None:
        """The blocks of the next group."""
        self._sizes.append(0)
        for block in blocks:
            self._sizes[-1] += 1
            self._waiting.append(block[:LONGEST])
            self._characters += len(self._waiting[-1]) + 1
            if self._characters >= CHUNK:
                self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        chunk = Chunk(self._waiting, self._table, self._powers)
        self._waiting, self._characters = [], 0
        self._counts += chunk.counts.astype(np.uint32).tobytes()
        self._digests += chunk.digests.tobytes()
        if len(chunk.shingles):
            self._signatures += signatures(chunk.shingles, chunk.starts).tobytes()
            self._shingles.write(chunk.shingles.tobytes())

    def verdicts(self, *, boilerplate: bool) -> bytes:
        """A `Verdict` for each block. `boilerplate`: whether what stands in many groups goes from all of them.

        To be asked once: what is not needed any more is let go on the way.
        """
        self._flush()
        self._shingles.flush()
        counts = np.frombuffer(self._counts, np.uint32)
        if not len(counts):
            return b""
        groups = np.repeat(np.arange(len(self._sizes), dtype=np.int32), self._sizes)
        found = exact(np.frombuffer(self._digests, np.uint64), groups, len(self._sizes) if boilerplate else None)
        self._digests = bytearray()
        found[counts == 0] = Verdict.BLANK
        (wordy,) = np.nonzero(counts >= FEWEST_WORDS)
        alive = found[wordy] == Verdict.KEPT
        places = np.zeros(len(wordy) + 1, np.int64)
        np.cumsum(counts[wordy] - (SHINGLE - 1), out=places[1:])
        signed = np.frombuffer(self._signatures, np.uint8).reshape(-1, MINIMA)[alive]
        self._signatures = bytearray()
        wordy = wordy[alive]
        near = Near(self._shingles.fileno(), places[:-1][alive], places[1:][alive], signed, groups[wordy])
        found[wordy[near.found()]] = Verdict.NEAR_DUPLICATE
        return found.tobytes()


def counted(verdicts: bytes) -> dict[str, Any]:
    """How many blocks stay, and how many do not, by reason."""
    reasons = [verdict for verdict in Verdict if verdict != Verdict.KEPT]
    return {
        "rows": verdicts.count(Verdict.KEPT),
        "left_out": {reason.name.lower(): verdicts.count(reason) for reason in reasons},
    }


def exact(digests: Hashes, groups: NDArray[np.int32], of: int | None) -> Bytes:
    """Exact duplicates and, if `of` how many groups is told, boilerplate."""
    order = np.argsort(digests, kind="stable")
    first = np.ones(len(order), bool)
    first[1:] = np.diff(digests[order]) != 0
    found = np.zeros(len(order), np.uint8)
    found[order[~first]] = Verdict.EXACT_DUPLICATE
    if of is not None:
        (starts,) = np.nonzero(first)
        other = first.copy()  # another group than the one before
        other[1:] |= np.diff(groups[order]) != 0
        spread = np.add.reduceat(other, starts, dtype=np.int64)
        common = (spread / of > BOILERPLATE) & (spread >= FEWEST_GROUPS)
        found[order[np.repeat(common, np.diff(starts, append=len(order)))]] = Verdict.BOILERPLATE
    return found


class Near:
    """Near duplicates among blocks of different groups, each told by its number."""

    def __init__(self, shingles: int, starts: Numbers, ends: Numbers, signatures: Bytes, groups: NDArray[np.int32]):
        """`shingles`: a file of them; `starts` and `ends`: which of them are a block's."""
        self._file, self._starts, self._ends = shingles, starts, ends
        self._signatures, self._groups = signatures, groups

    def found(self) -> list[int]:
        """Those that are similar to an earlier one that is not found itself."""
        before = self._earlier()
        gone = bytearray(len(before))
        links = before.data  # plain ints, and no copies
        for number in np.flatnonzero((before >= 0).any(axis=1)).tolist():
            crowd: set[int] = set()
            for band in range(BANDS):
                other = links[number, band]
                if other >= 0 and gone[other]:  # those behind it skip it in one step, for it did the same
                    other = links[number, band] = links[other, band]
                for _ in range(CROWD):
                    if other < 0:
                        break
                    crowd.add(other)
                    other = links[other, band]
            if crowd and self._similar(number, np.fromiter(crowd, np.int64, len(crowd))):
                gone[number] = 1
        return np.flatnonzero(np.frombuffer(gone, np.uint8)).tolist()

    def _earlier(self) -> NDArray[np.int32]:
        """Of each block and band, the block before it in the same bucket, or -1."""
        keys = self._signatures.view(np.uint32)  # four rows of a byte
        before = np.full(keys.shape, -1, np.int32)
        for band in range(BANDS):
            column = keys[:, band]
            order = np.argsort(column, kind="stable").astype(np.int32)
            (same,) = np.nonzero(np.diff(column[order]) == 0)
            before[order[same + 1], band] = order[same]
        return before

    def _similar(self, number: int, crowd: Numbers) -> bool:
        crowd = crowd[self._groups[crowd] != self._groups[number]]
        equal = (self._signatures[crowd] == self._signatures[number]).sum(axis=1)
        likely = crowd[equal >= ALIKE].tolist()
        mine = self._set(number) if likely else set()
        for other in sorted(likely):
            theirs = self._set(other)
            common = len(mine & theirs)
            if common / (len(mine) + len(theirs) - common) >= SIMILAR:
                return True
        return False

    def _set(self, number: int) -> set[int]:
        start, end = int(self._starts[number]), int(self._ends[number])
        data = os.pread(self._file, 8 * (end - start), 8 * start)
        return set(np.frombuffer(data, np.uint64).tolist())
