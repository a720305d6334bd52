"""Text as it comes out of a page, put into lines: UTF-8, NFC, no space at the end of any.

It knows no parser. It holds no more than one block beside what is written, and looks at a long one piece by piece:
twenty megabytes of words in one list would be half a gigabyte.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Tags that end a line of text; all others stand within one.
BLOCKS = frozenset(
    {
        *("html", "head", "title", "body", "main", "article", "section", "nav", "aside", "header", "footer", "address"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "hgroup", "p", "div", "pre", "blockquote", "center", "hr", "br"),
        *("ul", "ol", "li", "menu", "dir", "dl", "dt", "dd", "figure", "figcaption", "details", "summary", "dialog"),
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "form", "fieldset", "legend", "select", "optgroup"),
        *("option", "frameset", "frame", "search", "listing", "xmp", "plaintext"),
    }
)
CELLS = frozenset({"td", "th"})  # they stand in one line, but their words are two
KEPT = frozenset({"pre", "listing", "xmp", "plaintext"})  # with their own lines

PIECE = 1 << 16  # characters looked at at once
MOST_ACCENTS = 1024  # on one letter; to sort them takes the square of their number
ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"  # what str.splitlines() takes for the end of a line
LINE = re.compile(rf"[^{ENDS}]*(?:\r\n|[{ENDS}]|\Z)")
WORD = re.compile(r"\S+")


class Lines:
    """A block ends a line, a tag within a line does not, `pre` keeps its own."""

    def __init__(self) -> None:
        self.words = 0
        self._text = bytearray()
        self._line: list[str] = []
        self._kept = 0
        self.add = self._line.append

    def start(self, tag: str) -> None:
        if tag in BLOCKS:
            if tag == "br" and self._kept:
                self.add("\n")
                return
            if self._line:
                self.end_line()
            self._kept += tag in KEPT
        elif tag in CELLS:
            self.add(" ")

    def end(self, tag: str) -> None:
        if tag in BLOCKS:
            if tag == "br" and self._kept:
                return
            if self._line:
                self.end_line()
            self._kept -= tag in KEPT
        elif tag in CELLS:
            self.add(" ")

    def mark(self) -> tuple[int, int]:
        """Where a block that has just started begins: for `cut`."""
        return len(self._text), self.words

    def cut(self, mark: tuple[int, int]) -> None:
        """Forget all that came since `mark`."""
        self._line.clear()
        del self._text[mark[0] :]
        self.words = mark[1]

    def text(self) -> bytes:
        """Lines that end in a newline each; empty if no line has a word."""
        self.end_line()
        return bytes(self._text)

    def end_line(self) -> None:
        """What comes now stands in a line of its own."""
        text = "".join(self._line)
        self._line.clear()
        if self._kept:
            self._keep(text)
        elif len(text) > PIECE:
            self._fold(text)
        elif words := text.split():
            self._write(" ".join(words), len(words))

    def _fold(self, text: str) -> None:
        """One line of a long text: each white space becomes a blank."""
        before = len(self._text)
        gap = False  # whether white space came since the last word
        for piece in pieces(text, PIECE):
            words = piece.split()
            if words:
                gap = (gap or piece[0].isspace()) and len(self._text) > before
                self.words -= len(self._text) > before and not gap  # the last word goes on
                self._write(" " * gap + " ".join(words), len(words), end="")
                gap = piece[-1].isspace()
            else:
                gap = True
        if len(self._text) > before:
            self._text += b"\n"

    def _keep(self, text: str) -> None:
        """All lines of a text, but for empty ones before the first and behind the last."""
        empty, first = 0, True
        for match in LINE.finditer(text):
            start, end = match.span()
            while end > start and text[end - 1].isspace():
                end -= 1
            if start == end:
                empty += 1
                continue
            self._text += b"\n" * (0 if first else empty)
            empty, first = 0, False
            if end - start <= PIECE:
                line = text[start:end]
                self._write(line, len(line.split()))
            else:
                self.words += sum(1 for _ in WORD.finditer(text, start, end))
                for piece in pieces(text, PIECE, start, end):
                    self._write(piece, 0, end="")
                self._text += b"\n"

    def _write(self, text: str, words: int, end: str = "\n") -> None:
        self._text += (nfc(text) + end).encode("utf-8", "replace")
        self.words += words


def plain_text(text: str) -> Lines:
    """A text without markup, its lines kept."""
    lines = Lines()
    lines.start("pre")
    lines.add(text)
    lines.end("pre")
    return lines


def nfc(text: str) -> str:
    """The text in NFC. Raises ValueError for a letter with a thousand accents."""
    if text.isascii():
        return text
    if len(text) <= MOST_ACCENTS:
        return unicodedata.normalize("NFC", text)
    return "".join(unicodedata.normalize("NFC", piece) for piece in pieces(text, MOST_ACCENTS))


def pieces(text: str, size: int, start: int = 0, stop: int | None = None) -> Iterator[str]:
    """The text from `start` to `stop` in pieces of `size` or less, none of which begins with what may combine with
    the letter before it.
    """
    stop = len(text) if stop is None else stop
    while stop - start > size:
        end = start + size
        while _combines(text[end]):
            end -= 1
            if end == start:
                raise ValueError(f"more than {size} accents on one letter: no text")
        yield text[start:end]
        start = end
    yield text[start:stop]


def _combines(char: str) -> bool:
    """Whether NFC may join it with what is before it: marks, and the later letters of a Hangul syllable."""
    return char > "\u02ff" and (unicodedata.category(char)[0] == "M" or "\u1160" <= char <= "\u11ff")
