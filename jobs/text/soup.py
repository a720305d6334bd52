"""The extractor `soup`: the rules of `auto`, but for its menus, by BeautifulSoup. For sites whose selectors need more
of CSS than cssselect knows. Ten times slower; imported only when a site asks for it.

Nothing is taken out of the tree, only passed over: to remove one of many children costs a look at all of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import soupsieve
from bs4 import BeautifulSoup
from bs4.builder._lxml import LXMLTreeBuilder
from bs4.element import NavigableString, PreformattedString, Tag
from lxml import etree

from jobs.text.auto import (
    CHROME,
    CHROME_TAGS,
    ENOUGH_WORDS,
    LONGEST_LANG,
    LONGEST_TITLE,
    PLACES,
    is_permalink,
    one_line,
    whole,
)
from jobs.text.lines import BLOCKS, PIECE, Lines

if TYPE_CHECKING:
    from jobs.text import Rules

XML_DECLARATION = re.compile(
    rb"\s*<\?xml\b[^>]*>"
)  # the library warns of it; to read XHTML as HTML is what browsers do


class _Builder(LXMLTreeBuilder):
    """The library's own reads 256 nested tags and says nothing of the rest, and takes a long comment for text."""

    def default_parser(self, encoding: str | None) -> Any:
        return partial(etree.HTMLParser, huge_tree=True, no_network=True, remove_comments=True, remove_pis=True)

    def feed(self, markup: str | bytes) -> None:
        self.parser = self.parser_for("utf-8")
        etree.fromstring(markup, self.parser)
        whole(self.parser)


def by_soup(utf8: bytes, rules: Rules) -> tuple[Lines, str, str]:
    """Text, title and language of a page."""
    lines = Lines()
    if not utf8 or utf8.isspace():
        return lines, "", ""
    declared = XML_DECLARATION.match(utf8)
    page = BeautifulSoup(utf8[declared.end() :] if declared else utf8, builder=_Builder(), from_encoding="utf-8")
    title = next((title for title in page.find_all("title") if title.find_parent("svg") is None), None)
    lang = page.html.get("lang") or page.html.get("xml:lang") if page.html else None
    dropped = _ids(page, rules.drop)
    unwanted = dropped | _ids(page, (*CHROME_TAGS, *CHROME))
    for part in _places(page, rules.select, dropped, unwanted):
        _read(part, lines, unwanted)
        lines.end_line()
    heading = title.get_text() if title else ""
    return lines, one_line(heading, LONGEST_TITLE), one_line(str(lang or ""), LONGEST_LANG)


def check_css(selector: str) -> None:
    """Raises ValueError for what is no selector."""
    try:
        soupsieve.compile(selector)
    except soupsieve.SelectorSyntaxError as error:
        raise ValueError(f"{selector!r}: {str(error).splitlines()[0]}") from None


def _ids(page: BeautifulSoup, selectors: tuple[str, ...]) -> frozenset[int]:
    found = page.select(", ".join(selectors)) if selectors else []
    return frozenset(id(tag) for tag in found if tag.name not in ("html", "body"))


def _places(
    page: BeautifulSoup, select: tuple[str, ...], dropped: frozenset[int], unwanted: frozenset[int]
) -> list[Tag]:
    if select:
        return _outermost(page, page.select(", ".join(select)), dropped)
    for place in PLACES:
        found = _outermost(page, page.select(place), unwanted)
        if _has_words(found, unwanted):
            return found
    return [page.body] if page.body else []


def _outermost(page: BeautifulSoup, found: list[Tag], without: frozenset[int]) -> list[Tag]:
    """Those within no other, and not within `without`."""
    if not found:
        return []
    wanted = set(map(id, found))
    kept: list[Tag] = []
    open_tags = [iter(page.contents)]
    while open_tags:
        for node in open_tags[-1]:
            if not isinstance(node, Tag) or id(node) in without:
                continue
            if id(node) in wanted:
                kept.append(node)
            else:
                open_tags.append(iter(node.contents))
                break
        else:
            open_tags.pop()
    return kept


def _has_words(parts: list[Tag], unwanted: frozenset[int]) -> bool:
    words = 0
    for event, text in (event for part in parts for event in _walk(part, unwanted)):
        if event == "text":
            words += len(text[:PIECE].split(None, ENOUGH_WORDS + 1))
            if words > ENOUGH_WORDS:
                return True
    return False


def _read(part: Tag, lines: Lines, unwanted: frozenset[int]) -> None:
    for event, text in _walk(part, unwanted):
        if event == "text":
            lines.add(text)
        elif event == "start":
            lines.start(text)
        elif event == "end":
            lines.end(text)
        else:
            lines.end_line()


def _walk(part: Tag, unwanted: frozenset[int]) -> Iterator[tuple[str, str]]:
    """("start", tag), ("end", tag) and ("text", text), and ("break", "") for a block that is unwanted."""
    yield "start", part.name
    open_tags = [(part, iter(part.contents))]
    while open_tags:
        tag, nodes = open_tags[-1]
        for node in nodes:
            if isinstance(node, Tag):
                if id(node) in unwanted:
                    if node.name in BLOCKS:
                        yield "break", ""
                    continue
                if _is_permalink(node):
                    continue
                yield "start", node.name
                open_tags.append((node, iter(node.contents)))
                break
            if isinstance(node, NavigableString) and not isinstance(node, PreformattedString):  # a declaration
                yield "text", str(node)
        else:
            yield "end", tag.name
            open_tags.pop()


def _is_permalink(tag: Tag) -> bool:
    if tag.name != "a" or len(tag.contents) > 1:
        return False
    href = tag.get("href")
    return is_permalink(href if isinstance(href, str) else None, tag.string, len(tag.find_all(True, recursive=False)))
