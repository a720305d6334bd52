from __future__ import annotations

import pytest
from bs4 import BeautifulSoup
from lxml import etree

from jobs.scrape.css import compiled, to_xpath

PAGE = """<html><body id="top" class="page wide"><div class="a b" id="one" data-x="hello-world" lang="en">
<p class="a">1</p><section><p>2</p><ul class="list-a"><li>3</li><li class="b a">4</li></ul></section></div>
<DIV Class="c"><p>5</p></DIV><p hidden>6</p></body></html>"""


@pytest.mark.parametrize(
    "selector",
    [
        *("p", "*", "#one", ".a", "div.a.b", "div#one.a", "p.a", ".a.b", "body.wide", "#top p"),
        *("div p", "div > p", "div>p", "div section > p", "section li.b", "div *", "body > * > p", ".a .a"),
        *("[hidden]", "p[hidden]", "[data-x]", "[data-x=hello-world]", "[data-x='hello-world']", '[lang="en"]'),
        *("[class~=b]", "[data-x^=hello]", "[data-x$='world']", "[data-x*='o-w']", "[data-x$='a longer one than it']"),
        *("p, li", ".c p , #one > p", "p,p", "P", "DIV"),
    ],
)
def test_agrees_with_a_full_implementation(selector: str) -> None:
    mine = compiled((selector,))(etree.HTML(PAGE))
    theirs = BeautifulSoup(PAGE, "lxml").select(selector)
    assert [(e.tag, "".join(e.itertext())) for e in mine] == [(tag.name, tag.get_text()) for tag in theirs]


@pytest.mark.parametrize(
    "selector",
    [
        "",
        " ",
        "p:first-child",
        "p::before",
        "p + p",
        "p ~ p",
        "> p",
        "p >",
        "p,",
        "..a",
        "a'b",
        "[x='\"']",
        "#",
        "a]b",
        ".a p[",
        "/p",
    ],
)
def test_the_rest_of_css_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match="soup"):
        to_xpath(selector)
