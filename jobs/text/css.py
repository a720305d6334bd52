"""CSS selectors for lxml: cssselect's XPath, put together so that no page makes it take the square of its size.

For what cssselect cannot do there is `extractor = "soup"`, whose library knows more of CSS.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from cssselect import HTMLTranslator, SelectorError, parse
from cssselect.parser import CombinedSelector, Tree
from cssselect.xpath import XPathExpr
from lxml import etree

SIBLINGS = re.compile(r":(nth|first|last|only)|[+~](?!=)")


class _Translator(HTMLTranslator):
    """Without counting all siblings to know the first and the last; and `:scope` is the page."""

    def xpath_first_child_pseudo(self, xpath: XPathExpr) -> XPathExpr:
        return xpath.add_condition("not(preceding-sibling::*[1])")

    def xpath_last_child_pseudo(self, xpath: XPathExpr) -> XPathExpr:
        return xpath.add_condition("not(following-sibling::*[1])")

    def xpath_scope_pseudo(self, xpath: XPathExpr) -> XPathExpr:
        return xpath.add_condition("not(parent::*)")


_TRANSLATOR = _Translator()


def matches(root: Any, selectors: Iterable[str]) -> list[Any]:
    """The elements that match any of the selectors, in the order of the page, none twice."""
    lists = list(found(root, selectors))
    if len(lists) < 2:
        return lists[0] if lists else []
    wanted = {element for elements in lists for element in elements}
    return [element for element in root.iter() if element in wanted]


def found(root: Any, selectors: Iterable[str]) -> Iterator[list[Any]]:
    """For each selector, and each part of it between commas, the elements that match."""
    for find in (find for selector in selectors for find in compiled(selector)):
        elements: Any = find(root)
        if elements:
            yield elements


@lru_cache(maxsize=256)
def compiled(selector: str) -> tuple[etree.XPath, ...]:
    """An XPath for each part between commas. Raises ValueError for what is no selector, or beyond cssselect."""
    try:
        parts = parse(selector)
        if any(part.pseudo_element for part in parts):
            raise ValueError(f"{selector!r}: a pseudo-element is no element of the page")
        finds = tuple(etree.XPath(_xpath(part.parsed_tree)) for part in parts)
        for find in finds:
            find(etree.Element("html"))  # an unknown namespace shows only now
    except (SelectorError, etree.XPathError) as error:
        raise ValueError(f'{selector!r}: {error} (extractor = "soup" knows more of CSS)') from None
    return finds


def _xpath(tree: Tree) -> str:
    own, above = _steps(tree)
    return f"descendant-or-self::{own}{above}"


def _steps(tree: Tree) -> tuple[str, str]:
    """What an element must be itself, and what must stand above it.

    From the right to the left, as browsers do: an element is judged by the nearest that could stand above it. The other
    way round, `div p` would go into each `div` within a `div`, and look for each match among all found before.
    """
    if not isinstance(tree, CombinedSelector):
        return str(_TRANSLATOR.xpath(tree)), ""
    own = str(_TRANSLATOR.xpath(tree.subselector))
    left, above = _steps(tree.selector)
    if tree.combinator == ">":
        return f"{own}[parent::{left}]", f"[parent::*{above}]" if above else ""
    if tree.combinator == "+":
        return f"{own}[preceding-sibling::*[1]/self::{left}]", above
    if tree.combinator == "~":
        return f"{own}[preceding-sibling::{left}]", above
    return own, f"[ancestor::{left}[1]{above}]"


def counts_siblings(selectors: Iterable[str]) -> bool:
    """Whether any looks at what stands beside an element: slow where thousands do, whatever the library."""
    return any(SIBLINGS.search(selector) for selector in selectors)
