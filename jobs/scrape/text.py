"""A page's markup to its text: which part of it counts, and where its lines end.

`auto` works on lxml, and costs about a millisecond a page: what is chrome on any site goes, then the first of the
usual places for content that holds more than a few words counts, without its lists of links. A site may name its own
places (`select`) and its own chrome (`drop`). `soup` does the same with BeautifulSoup: far slower, but all of CSS.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lxml import etree

from jobs.scrape.css import compiled

CHROME = (
    *("script", "style", "template", "noscript", "nav", "header", "footer", "aside", "form"),
    *("[hidden]", "[role=navigation]"),
)
PLACES = (".entry-content", "article", "main", "[role=main]", "#mw-content-text", "#content", ".content")
ENOUGH_WORDS = 20  # more than these make a place the content
LINK_SHARE = 0.8  # a block with more of its letters in links is a menu
MOST_TAGS = 400_000  # some 150 MB as a tree
LINKABLE = ("div", "section", "ul", "ol", "dl", "table", "p")  # blocks that may be one

# Tags that end a line of text; all others stand within one.
BLOCKS = frozenset(
    {
        *("html", "head", "title", "body", "main", "article", "section", "nav", "aside", "header", "footer", "address"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "hgroup", "p", "div", "pre", "blockquote", "center", "hr", "br"),
        *("ul", "ol", "li", "menu", "dir", "dl", "dt", "dd", "figure", "figcaption", "details", "summary", "dialog"),
        *("table", "caption", "thead", "tbody", "tfoot", "tr", "form", "fieldset", "legend", "select", "optgroup"),
        *("option", "frameset", "frame"),
    }
)
CELLS = frozenset({"td", "th"})  # they stand in one line, but their words are two


@dataclass(frozen=True)
class Rules:
    """What of a site's pages is text: CSS selectors, an encoding that is known better, the extractor."""

    select: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    encoding: str | None = None
    extractor: str = "auto"


@dataclass(frozen=True)
class Extract:
    """The text, a line for each block, and what the page says of itself. All in NFC."""

    text: str
    title: str
    lang: str


def extract(markup: str, rules: Rules, *, plain: bool = False) -> Extract:
    """The text of a page, "" if there is none. `plain`: there is no markup in it.

    Raises ValueError for a page that cannot be read to its end.
    """
    if markup.count("<") > MOST_TAGS:
        raise ValueError(f"more than {MOST_TAGS} tags: too much to be held in memory")
    clean = markup.replace("\0", "")  # a parser would stop there
    text, title, lang = (plain_text(clean), "", "") if plain else EXTRACTORS[rules.extractor](clean, rules)
    # Accents may come taken apart, also by character references: phrases must compare equal all the same.
    text, title = (part if part.isascii() else unicodedata.normalize("NFC", part) for part in (text, title))
    return Extract(text, " ".join(title.split()), lang.strip())


def check_selector(selector: str, extractor: str) -> None:
    """Raises ValueError for a selector that the extractor would not understand."""
    if extractor == "auto":
        compiled((selector,))
    else:
        from jobs.scrape.soup import check_css

        check_css(selector)


class Lines:
    """Text as it comes, put into lines: a block ends one, a tag within a line does not, `pre` keeps its own."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._line: list[str] = []
        self._pre = 0
        self.add = self._line.append

    def start(self, tag: str) -> None:
        if tag in BLOCKS:
            self.end_line()
            self._pre += tag == "pre"
        elif tag in CELLS:
            self.add(" ")

    def end(self, tag: str) -> None:
        if tag in BLOCKS:
            self.end_line()
            self._pre -= tag == "pre"
        elif tag in CELLS:
            self.add(" ")

    def end_line(self) -> None:
        if not self._line:
            return
        text = "".join(self._line)
        self._line.clear()
        if self._pre:
            self._lines += [line.rstrip() for line in text.strip("\r\n").splitlines()]
        elif words := text.split():
            self._lines.append(" ".join(words))

    def text(self) -> str:
        """Lines that end in a newline each; "" if no line has a word."""
        self.end_line()
        text = "\n".join(self._lines).strip("\n")
        return text + "\n" if text and not text.isspace() else ""


def plain_text(text: str) -> str:
    """A text without markup, its lines kept."""
    lines = Lines()
    lines.start("pre")
    lines.add(text)
    lines.end("pre")
    return lines.text()


# ------------------------------------------------------------------------------------------------------------ auto


def by_lxml(markup: str, rules: Rules) -> tuple[str, str, str]:
    """Text, title and language. The extractor `auto`."""
    root = parsed(markup)
    if root is None:
        return "", "", ""
    title = next(root.iter("title"), None)
    heading = "".join(title.itertext()) if title is not None else ""
    for element in compiled(CHROME + rules.drop)(root):
        if element.tag not in ("html", "body"):
            _remove(element)
    parts = _places(root, markup, rules.select)
    menus = frozenset() if rules.select else frozenset(menu for part in parts for menu in _menus(part))
    text = _text(parts, menus)
    if not text and menus:  # a page that is all links is a page all the same
        text = _text(parts)
    return text, heading, root.get("lang", "")


def parsed(markup: str) -> Any:
    """The root element, None if there is no markup at all. Raises ValueError if the parser gave up half way."""
    # Fed as UTF-8, whatever it was: then the parser has no declaration to believe. "Huge" is what nests 256 tags,
    # as old pages that never close theirs do.
    parser = etree.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=True)
    data = markup.encode("utf-8", "replace")
    try:
        root = etree.fromstring(data, parser) if data.strip() else None
    except etree.ParserError:  # nothing but comments
        return None
    last: Any = parser.error_log.last_error
    if last is not None and last.level_name == "FATAL":  # the rest of the page was not read; nobody else would say so
        raise ValueError(f"cannot be parsed: {last.message}")
    return root


def _remove(element: Any) -> None:
    """Takes an element out of its tree; the text behind it stays."""
    parent, tail = element.getparent(), element.tail
    if parent is None:
        return
    if tail:
        before = element.getprevious()
        if before is not None:
            before.tail = (before.tail or "") + tail
        else:
            parent.text = (parent.text or "") + tail
    parent.remove(element)


def _places(root: Any, markup: str, select: Sequence[str]) -> list[Any]:
    """The elements whose text counts, in the order of the page, none within another."""
    if select:
        return _outermost(compiled(tuple(select))(root))
    for place in PLACES:
        if place[0] in ".#[" and place.strip(".#[]").rpartition("=")[2] not in markup:
            continue  # the common case, for a tenth of the cost
        found = _outermost(compiled((place,))(root))
        if _has_words(found):
            return found
    body = root.find("body")
    return [] if body is None else [body]


def _has_words(elements: Iterable[Any]) -> bool:
    words = 0
    for text in (text for element in elements for text in element.itertext()):
        words += len(text.split())
        if words > ENOUGH_WORDS:  # nearly always at once
            return True
    return False


def _outermost(elements: list[Any]) -> list[Any]:
    if len(elements) < 2:
        return elements
    kept: list[Any] = []
    inside: set[Any] = set()
    for element in elements:
        if element not in inside:
            kept.append(element)
            inside.update(element.iter())
    return kept


def _menus(part: Any) -> Iterator[Any]:
    """Blocks below `part` that are nearly all links."""
    if part.find(".//a") is None:
        return
    letters: dict[Any, int] = {}
    linked: dict[Any, int] = {}
    for element in reversed(list(part.iter())):  # children before their parents
        own, links = _letters(element.text), 0
        for child in element:
            own += letters[child] + _letters(child.tail)
            links += linked[child]
        letters[element] = own
        linked[element] = own if element.tag == "a" else links
    for element in part.iter(*LINKABLE):
        if element is not part and linked[element] > LINK_SHARE * letters[element]:
            yield element


def _letters(text: str | None) -> int:
    return len(text) if text and not text.isspace() else 0


def _text(parts: Iterable[Any], without: frozenset[Any] = frozenset()) -> str:
    lines = Lines()
    for part in parts:
        # An iterator, not recursion: pages nest as deep as they like.
        walk = etree.iterwalk(part, events=("start", "end"))
        for event, element in walk:
            if event == "start":
                lines.start(element.tag)
                if element in without:
                    walk.skip_subtree()
                elif element.text:
                    lines.add(element.text)
            else:
                lines.end(element.tag)
                if element.tail and element is not part:
                    lines.add(element.tail)
        lines.end_line()
    return lines.text()


# ------------------------------------------------------------------------------------------------------ all of them


def by_soup(markup: str, rules: Rules) -> tuple[str, str, str]:
    """Text, title and language. Only sites that ask for it pay for its import."""
    from jobs.scrape.soup import by_soup

    return by_soup(markup, rules)


EXTRACTORS: dict[str, Callable[[str, Rules], tuple[str, str, str]]] = {"auto": by_lxml, "soup": by_soup}
