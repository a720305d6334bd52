"""The extractor `trafilatura`: that library finds what of a page is text, by rules and statistics that grew on news
sites and blogs. Twenty times slower than `auto`; imported only when a site asks for it (pip install trafilatura).

`select` leaves it only what the site has selected, `drop` takes away before it looks. Title and language are those of
the other extractors.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from lxml import etree

from jobs.text.auto import CHROME_TAGS, DROPPED, DROPPED_BLOCK, about, drop, parsed, read, selected
from jobs.text.lines import Lines

if TYPE_CHECKING:
    from jobs.text import Rules

try:
    from lxml.html import HtmlElement, HTMLParser
    from trafilatura import bare_extraction
except ImportError as error:
    raise ValueError(f'extractor = "trafilatura" needs its library: pip install trafilatura ({error})') from error

# Its tags, where they are others than HTML's.
TAGS = {"head": "h1", "item": "li", "list": "ul", "quote": "blockquote", "row": "tr", "cell": "td", "lb": "br"}

logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # a page without text is no error


def by_trafilatura(utf8: bytes, rules: Rules) -> tuple[Lines, str, str]:
    """Text, title and language of a page."""
    lines = Lines()
    root = parsed(utf8, HTMLParser, deep=False)  # the library copies at each level what is below
    if root is None:
        return lines, "", ""
    title, lang = about(root)
    if rules.select:
        root = _page_of(selected(root, rules))
        etree.strip_elements(root, *CHROME_TAGS, with_tail=False)
    else:
        drop(root, rules.drop)
    etree.strip_elements(root, DROPPED, DROPPED_BLOCK, with_tail=False)
    _keep_lines(root)
    body = _body(root)
    if body is not None:
        for element in body.iter(etree.Element):
            if element.tag == "code" and (element.text or "").endswith("\n"):
                element.tag = "pre"
            else:
                element.tag = TAGS.get(element.tag, element.tag)
        read([body], lines, menus=True)
    return lines, title, lang


def _page_of(parts: list[Any]) -> Any:
    root = HtmlElement()
    root.tag = "html"
    body = etree.SubElement(root, "body")
    for part in parts:
        part.tail = None
        if part.tag in ("html", "body"):
            part.tag = "div"
        body.append(part)
    return root


def _keep_lines(root: Any) -> None:
    """Gives each `pre` the form in which the library takes it for code, whose lines it keeps."""
    for pre in list(root.iter("pre")):
        for br in pre.iter("br"):
            br.text = "\n"
        text = "".join(pre.itertext())
        pre.clear(keep_tail=True)
        etree.SubElement(pre, "span").text = text.rstrip() + "\n"


def _body(root: Any) -> Any:
    """The text as a tree, None if there is none. Raises ValueError for whatever goes wrong in there."""
    try:
        found: Any = bare_extraction(root, include_comments=False)
    except MemoryError:
        raise
    except Exception as error:  # of a page, not of ours: it is a heap of rules, and any may stumble
        raise ValueError(f"trafilatura stumbled: {type(error).__name__}: {error}") from error
    return found["body"] if isinstance(found, dict) else found and found.body
