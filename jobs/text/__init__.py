"""A page's markup to its text, by the extractor that its site names.

`auto` (auto.py) works on lxml and costs a millisecond or two a page. `soup` (soup.py) does nearly the same with
BeautifulSoup: far slower, but with more of CSS. `trafilatura` (readable.py) finds the text by itself. What a page may
cost is bounded: one that could take much is read in a process of its own (apart.py).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

from jobs.text.auto import by_lxml
from jobs.text.css import compiled, counts_siblings
from jobs.text.lines import Lines, plain_text

# In bytes. A tree takes up to sixty times as many, and 60,000 attributes in one tag seven seconds.
LARGE = 1 << 16  # from here on one page at a time
HUGE = {"auto": 3 << 17, "soup": 3 << 17, "trafilatura": 1 << 17}  # from here on in a process of its own

_large = threading.Lock()


@dataclass(frozen=True)
class Rules:
    """What of a site's pages is text: CSS selectors, an encoding that is known better, the extractor."""

    select: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    encoding: str | None = None
    extractor: str = "auto"


@dataclass(frozen=True)
class Extract:
    """The text in UTF-8, a line for each block, and what the page says of itself. All in NFC."""

    utf8: bytes
    title: str
    lang: str
    words: int

    @property
    def text(self) -> str:
        return self.utf8.decode()


def extract(markup: str | bytes, rules: Rules, *, plain: bool = False) -> Extract:
    """The text of a page (bytes: in UTF-8), "" if there is none. `plain`: there is no markup in it.

    Raises ValueError for a page that cannot be read to its end.
    """
    utf8 = markup.encode("utf-8", "replace") if isinstance(markup, str) else markup
    if len(utf8) >= HUGE[rules.extractor] or (len(utf8) >= LARGE and counts_siblings(rules.select + rules.drop)):
        from jobs.text.apart import extract_apart

        return extract_apart(utf8, rules, plain)
    with _large if len(utf8) >= LARGE else nullcontext():
        return extract_here(utf8, rules, plain)


def extract_here(utf8: bytes, rules: Rules, plain: bool) -> Extract:
    """The same, whatever it costs."""
    clean = utf8.replace(b"\0", b"")  # a parser would stop there
    if plain:
        lines, title, lang = plain_text(clean.decode("utf-8", "replace")), "", ""
    else:
        lines, title, lang = EXTRACTORS[rules.extractor](clean, rules)
    return Extract(lines.text(), title, lang, lines.words)


def check_selector(selector: str, extractor: str) -> None:
    """Raises ValueError for a selector that the extractor would not understand."""
    if extractor == "soup":
        from jobs.text.soup import check_css

        check_css(selector)
    else:
        compiled(selector)


def _by_soup(utf8: bytes, rules: Rules) -> tuple[Lines, str, str]:
    from jobs.text.soup import by_soup  # only sites that ask for it pay for its import

    return by_soup(utf8, rules)


def _by_trafilatura(utf8: bytes, rules: Rules) -> tuple[Lines, str, str]:
    from jobs.text.readable import by_trafilatura

    return by_trafilatura(utf8, rules)


EXTRACTORS: dict[str, Callable[[bytes, Rules], tuple[Lines, str, str]]] = {
    "auto": by_lxml,
    "soup": _by_soup,
    "trafilatura": _by_trafilatura,
}
