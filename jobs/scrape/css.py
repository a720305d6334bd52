"""CSS selectors for lxml, as XPath that is compiled once. The part of CSS that a sites.toml needs, and no more.

For the rest there is `extractor = "soup"`, whose library knows all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from lxml import etree

COMPOUND = re.compile(
    r"(?P<tag>[\w-]+|\*)|#(?P<id>[\w-]+)|\.(?P<cls>[\w-]+)"
    r"""|\[\s*(?P<attr>[\w-]+)\s*(?:(?P<op>[~^$*]?=)\s*(?P<quote>["']?)(?P<value>[^"'\]]*)(?P=quote)\s*)?\]"""
)
COMBINATOR = re.compile(r"\s*(?P<child>>)\s*|\s+")
TESTS = {
    "=": "@{a}='{v}'",
    "~=": "contains(concat(' ',normalize-space(@{a}),' '),' {v} ')",
    "^=": "starts-with(@{a},'{v}')",
    "$=": "substring(@{a},string-length(@{a})-string-length('{v}')+1)='{v}'",
    "*=": "contains(@{a},'{v}')",
}


@lru_cache(maxsize=256)
def compiled(selectors: tuple[str, ...]) -> Callable[[Any], list[Any]]:
    """A function that finds the elements in the order of the page. Raises ValueError as `to_xpath` does."""
    find: Any = etree.XPath("|".join(map(to_xpath, selectors)))

    def elements(root: Any) -> list[Any]:
        found: list[Any] = find(root)
        return found

    return elements


def to_xpath(selector: str) -> str:
    """CSS to XPath: tag, #id, .class, [attribute], [attribute=value], descendants, children and commas.

    Raises ValueError for the rest of CSS.
    """
    return "|".join(_one(part.strip()) for part in selector.split(","))


def _one(selector: str) -> str:
    """One selector without commas: steps, each an axis, a tag and tests."""
    path, axis, tag, tests, at = "", "descendant-or-self::", "", "", 0
    while at < len(selector):
        if match := COMPOUND.match(selector, at):
            if match["tag"] and (tag or tests):
                raise _unknown(selector)
            tag = match["tag"].lower() if match["tag"] else tag
            tests += _test(match)
        elif (match := COMBINATOR.match(selector, at)) and (tag or tests):
            path += f"{axis}{tag or '*'}{tests}/"
            axis, tag, tests = "child::" if match["child"] else "descendant::", "", ""
        else:
            raise _unknown(selector)
        at = match.end()
    if not tag and not tests:
        raise _unknown(selector)
    return f"{path}{axis}{tag or '*'}{tests}"


def _test(match: re.Match[str]) -> str:
    if match["id"]:
        return f"[@id='{match['id']}']"
    if match["cls"]:
        return "[" + TESTS["~="].format(a="class", v=match["cls"]) + "]"
    if match["op"]:
        return "[" + TESTS[match["op"]].format(a=match["attr"].lower(), v=match["value"]) + "]"
    return f"[@{match['attr'].lower()}]" if match["attr"] else ""


def _unknown(selector: str) -> ValueError:
    return ValueError(f'{selector!r} is beyond what `auto` knows of CSS (extractor = "soup" knows all of it)')
