from __future__ import annotations

import re
import time
from typing import Any

import pytest
import soupsieve
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from jobs.text import Rules, check_selector, extract
from jobs.text.css import compiled, counts_siblings, matches

PAGE = """<html><body id="top" class="page wide"><div class="a b" id="one" data-x="hello-world" lang="en">
<p class="a">1</p><section><p>2</p><ul class="list-a"><li>3</li><li class="b a">4</li></ul></section></div>
<DIV Class="c"><p>5</p></DIV><p hidden>6</p></body></html>"""


def mine(page: str, *selectors: str) -> list[tuple[str, str]]:
    root: Any = etree.HTML(page)
    return [(element.tag, "".join(element.itertext())) for element in matches(root, selectors)]


def theirs(page: str, selector: str) -> list[tuple[str, str]]:
    return [(tag.name, tag.get_text()) for tag in BeautifulSoup(page, "lxml").select(selector)]


@pytest.mark.parametrize(
    "selector",
    [
        *("p", "*", "#one", ".a", "div.a.b", "div#one.a", "p.a", ".a.b", "body.wide", "#top p"),
        *("div p", "div > p", "div>p", "div section > p", "section li.b", "div *", "body > * > p", ".a .a"),
        *("[hidden]", "p[hidden]", "[data-x]", "[data-x=hello-world]", "[data-x='hello-world']", '[lang="en"]'),
        *("[class~=b]", "[data-x^=hello]", "[data-x$='world']", "[data-x*='o-w']", "[data-x$='a longer one than it']"),
        *("p, li", ".c p , #one > p", "p,p", "P", "DIV", "li, p, div", ".none, #none", '[data-x="a,b"], p'),
        *("p:first-child", "p:last-child", "li:nth-child(2)", "li:nth-last-child(2)", "p:nth-of-type(1)"),
        *("p:only-child", "p:not(.a)", ":not(div):not(p)", "div:has(li)", "div:has(> p)", ":is(p, li).a"),
        *("p + section", "p ~ section", "div + div", "div ~ p", "div + div ~ p", "section p + ul li"),
        *(":root > body", ":scope > body", ":scope > p", "li:empty", "[data-x|=hello]", "[lang=EN i]", "html"),
    ],
)
def test_agrees_with_a_full_implementation(selector: str) -> None:
    assert mine(PAGE, selector) == theirs(PAGE, selector)


def test_several_selectors_are_one_list_in_the_order_of_the_page() -> None:
    assert mine(PAGE, "p", "li", "p.a") == theirs(PAGE, "p, li")


COMPOUNDS = st.sampled_from(["p", "div", "b", ".a", "*", "#x", "div.a", ":not(.a)", "b:first-child", ":has(b)"])
CHAINS = st.lists(st.tuples(st.sampled_from([" ", " > ", " + ", " ~ "]), COMPOUNDS), max_size=4)
TREES = st.recursive(
    st.just(""),
    lambda inside: st.lists(
        st.builds(
            lambda tag, more, inner: f"<{tag}{more}>{inner}</{tag}>",
            st.sampled_from(["div", "b"]),
            st.sampled_from(["", " class=a", " id=x"]),
            inside,
        ),
        max_size=4,
    ).map("".join),
    max_leaves=12,
)


@given(COMPOUNDS, CHAINS, TREES)
def test_any_chain_in_any_tree_finds_what_soupsieve_finds(first: str, rest: list[tuple[str, str]], inside: str) -> None:
    selector = first + "".join(how + compound for how, compound in rest)
    page = f"<html><body><div>{inside}</div></body></html>"
    html: Any = BeautifulSoup(page, "lxml").html
    html.extract()  # or soupsieve 2.10 takes the document for its parent element
    root: Any = etree.HTML(page)
    numbers = {element: number for number, element in enumerate(root.iter())}
    assert [numbers[element] for element in matches(root, (selector,))] == [
        number for number, tag in enumerate([html, *html.find_all(True)]) if soupsieve.match(selector, tag)
    ]


@pytest.mark.parametrize(
    "selector",
    [
        *("", " ", "p::before", "p:no-such", "> p", "p >", "p,", "..a", "a'b", "#", "a]b", ".a p[", "/p", "svg|p"),
        *("p:any-link", "*:first-of-type", "p:nth-child(x)", "p:not(", "{}", "p;", "p{}"),
    ],
)
def test_what_it_cannot_do_is_one_clear_error(selector: str) -> None:
    for check in (compiled, lambda selector: check_selector(selector, "trafilatura")):
        with pytest.raises(ValueError, match=f"^{re.escape(repr(selector))}") as caught:
            check(selector)
        assert str(caught.value).isprintable()


def test_compiled_once() -> None:
    assert compiled("div p.once") is compiled("div p.once")


@pytest.mark.parametrize(
    "selector",
    [
        *("div p", "div > p", "div div div p", ".none .none div p", ".none div > p", "div b, p", "body p", "* * * p"),
        *("div:has(p)", "p:not(div p)", "p:first-child", "p:last-child", "p + p"),
    ],
)
@pytest.mark.parametrize("page", ["<div>" * 1500 + "<p>x</p>" * 8000, "<p>x</p>" * 40_000], ids=["deep", "wide"])
def test_no_page_makes_a_usual_selector_slow(selector: str, page: str) -> None:
    root: Any = etree.fromstring(page, etree.HTMLParser(huge_tree=True))
    started = time.process_time()
    matches(root, (selector,))
    assert time.process_time() - started < 10, "minutes, if each element is compared with each other one"


def test_selectors_that_count_siblings_are_known() -> None:
    for selector in ("li:nth-child(2)", "p ~ p", "p+p", "p:last-of-type", "a:only-child"):
        assert counts_siblings(("b", selector))
    for selector in ("div p", "[class~=a]", "[data-x~='a']", "p:not(.a)"):
        assert not counts_siblings((selector,))
    # And such a page is then read with limits: here well within them.
    assert extract("<p>x</p>" * 10_000, Rules(select=("p:nth-child(5000)",))).text == "x\n"
