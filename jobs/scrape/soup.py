"""The extractor `soup`: the rules of `auto`, but for its menus, by BeautifulSoup. For sites whose selectors need all
of CSS. Ten times slower; imported only when a site asks for it.
"""

from __future__ import annotations

import re

import soupsieve
from bs4 import BeautifulSoup, Tag
from bs4.element import PreformattedString

from jobs.scrape.text import CHROME, ENOUGH_WORDS, PLACES, Lines, Rules

XML_DECLARATION = re.compile(r"\s*<\?xml\b[^>]*>")  # the library warns of it; to read XHTML as HTML is what browsers do


def by_soup(markup: str, rules: Rules) -> tuple[str, str, str]:
    """Text, title and language of a page."""
    page = BeautifulSoup(XML_DECLARATION.sub("", markup, count=1), "lxml")
    title = page.title.get_text() if page.title else ""
    lang = page.html.get("lang") if page.html else None
    for tag in page.select(", ".join(CHROME + rules.drop)):
        if tag.name not in ("html", "body") and not tag.decomposed:
            tag.decompose()
    lines = Lines()
    for part in _places(page, rules.select):
        _add(part, lines)
    return lines.text(), title, str(lang or "")


def check_css(selector: str) -> None:
    """Raises ValueError for what is no selector."""
    try:
        soupsieve.compile(selector)
    except soupsieve.SelectorSyntaxError as error:
        raise ValueError(f"{selector!r}: {str(error).splitlines()[0]}") from None


def _places(page: BeautifulSoup, select: tuple[str, ...]) -> list[Tag]:
    for place in [", ".join(select)] if select else PLACES:
        found = page.select(place)
        taken = {id(tag) for tag in found}
        outermost = [tag for tag in found if taken.isdisjoint(map(id, tag.parents))]
        if select or sum(len(tag.get_text(" ").split()) for tag in outermost) > ENOUGH_WORDS:
            return outermost
    return [page.body] if page.body else []


def _add(part: Tag, lines: Lines) -> None:
    lines.start(part.name)
    open_tags = [part]
    for node in part.descendants:
        while node.parent is not open_tags[-1]:
            lines.end(open_tags.pop().name)
        if isinstance(node, Tag):
            lines.start(node.name)
            open_tags.append(node)
        elif not isinstance(node, PreformattedString):  # comments, declarations
            lines.add(str(node))
    for tag in reversed(open_tags):
        lines.end(tag.name)
    lines.end_line()
