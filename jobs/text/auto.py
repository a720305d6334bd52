"""The extractor `auto`: what is chrome on any site goes, then the first of the usual places for content that holds
more than a few words counts, without its lists of links. A site may name its own places (`select`), which count
wherever they stand, and its own chrome (`drop`).

On lxml, and without any step that takes the square of a page's size. What goes is passed over, not removed: libxml2
joins the texts around a removed element, each time from the start.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from lxml import etree

from jobs.text.css import found, matches
from jobs.text.lines import BLOCKS, PIECE, Lines, nfc

if TYPE_CHECKING:
    from jobs.text import Rules

CHROME_TAGS = ("script", "style", "template", "noscript", "nav", "header", "footer", "aside", "form")
CHROME = ("[hidden]", "[role=navigation]")
PLACES = (".entry-content", "article", "main", "[role=main]", "#mw-content-text", "#content", ".content")
ENOUGH_WORDS = 20  # more than these make a place the content
LINK_SHARE = 0.8  # a block with more of its letters in links is a menu
LINKABLE = frozenset({"div", "section", "ul", "ol", "dl", "table", "p"})  # blocks that may be one
PERMALINKS = frozenset({"", "#", "§", "¶", "⚓", "🔗", "\u200b"})  # texts of links to the heading they stand in
# What an element is renamed to that is no text; a parsed tag has no capitals.
DROPPED, DROPPED_BLOCK = "DROPPED", "DROPPED-BLOCK"
UNREAD = {tag: tag in BLOCKS for tag in CHROME_TAGS} | {DROPPED: False, DROPPED_BLOCK: True}  # whether one ends a line

LONGEST_TITLE = 1000
LONGEST_LANG = 100


def by_lxml(utf8: bytes, rules: Rules) -> tuple[Lines, str, str]:
    """Text, title and language."""
    root = parsed(utf8, etree.HTMLParser, deep=True)
    if root is None:
        return Lines(), "", ""
    title, lang = about(root)
    parts = selected(root, rules) if rules.select else _places(root, utf8, rules)
    lines = Lines()
    if read(parts, lines, menus=bool(rules.select)) and not lines.words:
        read(parts, lines, menus=True)  # a page that is all links is a page all the same
    return lines, title, lang


def parsed(utf8: bytes, parser: type[etree.HTMLParser], *, deep: bool) -> Any:
    """The root element, None if there is no markup at all. `deep`: more than 256 tags may be open, as on old pages
    that never close theirs. Raises ValueError if the parser gave up half way.
    """
    if not utf8 or utf8.isspace():
        return None
    # It is UTF-8, whatever the page says of itself.
    reader = parser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=deep)
    try:
        root = etree.fromstring(utf8, reader)
    except etree.ParserError:  # nothing but comments
        return None
    except etree.XMLSyntaxError as error:
        whole(reader)
        raise ValueError(f"cannot be parsed: {error}") from None
    whole(reader)
    return root


def whole(parser: Any) -> None:
    """Raises ValueError if the parser did not read the page to its end; it would not say so itself."""
    last = parser.error_log.last_error
    if last is not None and last.level_name == "FATAL":
        if last.type_name == "ERR_NO_MEMORY":
            raise MemoryError
        raise ValueError(f"cannot be parsed: {last.message}")


def about(root: Any) -> tuple[str, str]:
    """Title and language. Raises ValueError as `nfc` does."""
    title = next((title for title in root.iter("title") if next(title.iterancestors("svg"), None) is None), None)
    text = "".join(title.itertext()) if title is not None else ""
    return one_line(text, LONGEST_TITLE), one_line(root.get("lang") or root.get("xml:lang") or "", LONGEST_LANG)


def one_line(text: str, longest: int) -> str:
    return nfc(" ".join(text[: 10 * longest].split())[:longest].rstrip())


def selected(root: Any, rules: Rules) -> list[Any]:
    """What the site has selected, wherever it stands; of what is nested only the outer."""
    wanted = matches(root, rules.select)
    drop(root, rules.drop)
    parts = _outermost(root, wanted, (DROPPED, DROPPED_BLOCK))
    for part in parts:
        drop(part, CHROME)
    return parts


def drop(part: Any, selectors: Iterable[str]) -> None:
    """Renames all within a part that is no text."""
    for element in chain.from_iterable(list(found(part, selectors))):
        if element is not part and element.tag not in ("html", "body"):
            element.tag = DROPPED_BLOCK if element.tag in BLOCKS else DROPPED


def _places(root: Any, utf8: bytes, rules: Rules) -> list[Any]:
    """The elements whose text counts, in the order of the page, none within another."""
    drop(root, (*CHROME, *rules.drop))
    for place in PLACES:
        if place[0] in ".#[" and place.strip(".#[]").rpartition("=")[2].encode() not in utf8:
            continue  # the common case, for a tenth of the cost
        parts = _outermost(root, matches(root, (place,)), UNREAD)
        if _has_words(parts):
            return parts
    body = root.find("body")
    return [] if body is None else [body]


def _outermost(root: Any, elements: list[Any], without: Collection[str]) -> list[Any]:
    """Those that are in no other, and not in an element of these tags."""
    if len(elements) < 2:  # the common case
        return [e for e in elements if e.tag not in without and next(e.iterancestors(*without), None) is None]
    kept: list[Any] = []
    wanted = frozenset(elements)
    walk = etree.iterwalk(root, events=("start",))
    for _, element in walk:
        if element.tag in without:
            walk.skip_subtree()
        elif element in wanted:
            kept.append(element)
            walk.skip_subtree()
    return kept


def _has_words(parts: Iterable[Any]) -> bool:
    words = 0
    for part in parts:
        walk = etree.iterwalk(part, events=("start", "end"))
        for event, element in walk:
            if event == "start" and element.tag in UNREAD and element is not part:
                walk.skip_subtree()
            elif text := element.text if event == "start" else element.tail if element is not part else None:
                words += len(text[:PIECE].split(None, ENOUGH_WORDS + 1))
                if words > ENOUGH_WORDS:  # nearly always at once
                    return True
    return False


def read(parts: Sequence[Any], lines: Lines, *, menus: bool) -> bool:
    """Adds the text of the parts to the lines. Without `menus`, blocks below a part that are nearly all links are
    left out; whether there were any.
    """
    left_out = False
    for part in parts:
        outer: list[tuple[int, int, tuple[int, int]]] = []
        letters, linked, mark = 0, 0, (0, 0)  # of the element that is open
        # An iterator, not recursion: pages nest as deep as they like.
        walk = etree.iterwalk(part, events=("start", "end"))
        for event, element in walk:
            tag = element.tag
            if event == "start":
                outer.append((letters, linked, mark))
                letters = linked = 0
                if tag in UNREAD and element is not part:
                    if UNREAD[tag]:
                        lines.end_line()
                    walk.skip_subtree()
                    continue
                lines.start(tag)
                if tag in LINKABLE:
                    mark = lines.mark()
                elif tag == "a" and is_permalink(element.get("href"), element.text, len(element)):
                    walk.skip_subtree()
                    continue
                text = element.text
            else:
                lines.end(tag)
                if tag == "a":
                    linked = letters
                elif not menus and linked > LINK_SHARE * letters and tag in LINKABLE and element is not part:
                    lines.cut(mark)
                    left_out = True
                before, linked_before, mark = outer.pop()
                letters += before
                linked += linked_before
                text = element.tail if element is not part else None
            if text:
                lines.add(text)
                if not text.isspace():
                    letters += len(text)
        lines.end_line()
    return left_out


def is_permalink(href: str | None, text: str | None, children: int) -> bool:
    """Whether a link is but the sign behind a heading that shows the heading's address."""
    return href is not None and href[:1] == "#" and not children and (text or "").strip() in PERMALINKS
