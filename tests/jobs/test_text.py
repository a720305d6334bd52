from __future__ import annotations

import time

import pytest

from jobs.text import Rules, check_selector, extract

FILLER = " ".join(f"word{number}" for number in range(25))
BOTH = pytest.mark.parametrize("extractor", ["auto", "soup"])


def text_of(markup: str, extractor: str = "auto", **rules: tuple[str, ...]) -> str:
    return extract(markup, Rules(extractor=extractor, **rules)).text  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize(
    ("markup", "wanted"),
    [
        ("<p>one</p><p>two</p>", "one\ntwo\n"),
        ("<p>li<b>ght<i>house</i></b> <em>kee</em>per</p>", "lighthouse keeper\n"),
        ("<div>a<div>b</div>c<br>d</div>", "a\nb\nc\nd\n"),
        ("<p>  much \n\t space&nbsp;here </p>", "much space here\n"),
        ("<ul><li>a<li>b</ul>", "a\nb\n"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>", "a b\nc\n"),
        ("<pre>\nif x:\n    y()\n\nz</pre>after", "if x:\n    y()\n\nz\nafter\n"),
        ("<pre><code><span>a</span>\n  <b>b</b></code></pre>", "a\n  b\n"),
        ("a<!-- no -->b<script>no</script>c<style>no</style>d", "abcd\n"),
        ("<p>caf&eacute; &amp; &#8364; &lt;tag&gt;</p>", "café & € <tag>\n"),
        ("cafe\u0301 cafe&#769;", "café café\n"),
        ("<p>&#x1F600; 海</p>", "\U0001f600 海\n"),
        ("plain text, no markup", "plain text, no markup\n"),
        ("a\0b", "ab\n"),
        ("<h1>T<small>x</small></h1>", "Tx\n"),
        ("<title>only a title</title>", ""),
        ("", ""),
        ("  \n ", ""),
        ("<!-- only this -->", ""),
        ("<html></html>", ""),
        ("<p>&nbsp;</p>", ""),
    ],
)
def test_lines(markup: str, wanted: str, extractor: str) -> None:
    assert text_of(markup, extractor) == wanted


@BOTH
@pytest.mark.parametrize(
    "chrome",
    [
        *(f"<{tag}>no</{tag}>" for tag in ("nav", "header", "footer", "aside", "form", "template", "noscript")),
        *("<div hidden>no</div>", "<ul role=navigation><li>no</ul>", "<nav><header>no</header></nav>"),
    ],
)
def test_chrome_goes_and_what_is_behind_it_stays(chrome: str, extractor: str) -> None:
    assert text_of(f"<p>a{chrome}b</p><p>c</p>", extractor).replace("\n", "") == "abc"


@BOTH
@pytest.mark.parametrize(
    "place",
    [
        *("<div class='x entry-content'>{}</div>", "<article>{}</article>", "<main>{}</main>"),
        *("<div role=main>{}</div>", "<div id=mw-content-text>{}</div>", "<div id=content>{}</div>"),
        "<div class=content>{}</div>",
    ],
)
def test_places(place: str, extractor: str) -> None:
    assert text_of(f"<p>around {FILLER}</p>{place.format(FILLER)}<p>around</p>", extractor) == FILLER + "\n"


@BOTH
def test_a_place_with_few_words_is_none(extractor: str) -> None:
    assert text_of(f"<article>few words</article><main>{FILLER}</main>", extractor) == FILLER + "\n"
    assert text_of("<article>few words</article><p>others", extractor) == "few words\nothers\n"


@BOTH
def test_all_matches_in_order_and_none_twice(extractor: str) -> None:
    page = f"<article>1 {FILLER}<article>within</article></article><p>no</p><article>2</article>"
    assert text_of(page, extractor) == f"1 {FILLER}\nwithin\n2\n"


def test_menus_go() -> None:
    links = "<a href=x>one</a> <a href=y>two</a>"
    assert text_of(f"<main><p>{FILLER}</p><ul><li>{links}</li></ul><p>See {links}, and more.</p></main>") == (
        f"{FILLER}\nSee one two, and more.\n"
    )


def test_a_page_of_links_is_a_page() -> None:
    assert text_of("<div><p><a href=x>one</a></p></div>") == "one\n"


@BOTH
def test_select_and_drop(extractor: str) -> None:
    page = f"<main>{FILLER}</main><div class=mine>a<i class=not>b</i>c</div><p id=too>d</p><div class=mine>e</div>"
    assert text_of(page, extractor, select=(".mine", "#too"), drop=(".not",)) == "ac\nd\ne\n"
    assert text_of(page, extractor, select=(".none",)) == ""


def test_soup_knows_all_of_css() -> None:
    assert text_of("<p>a</p><p>b</p>", "soup", select=("p:nth-of-type(2)",)) == "b\n"
    check_selector("p:nth-of-type(2)", "soup")
    with pytest.raises(ValueError, match="any-link"):
        check_selector("p:any-link", "auto")
    check_selector("p:any-link", "soup")
    with pytest.raises(ValueError, match="p:no-such"):
        check_selector("p:no-such", "soup")


@BOTH
def test_title_and_language(extractor: str) -> None:
    page = extract("<html lang=de><title> Ein\n Titel </title><p>x", Rules(extractor=extractor))
    assert (page.title, page.lang) == ("Ein Titel", "de")
    page = extract("<p>x", Rules(extractor=extractor))
    assert (page.title, page.lang) == ("", "")


@BOTH
def test_a_declaration_in_the_text_is_not_believed(extractor: str) -> None:
    for head in ('<?xml version="1.0" encoding="koi8-r"?>', '<meta charset="koi8-r">'):
        assert text_of(f"{head}<p>é", extractor) == "é\n"


@BOTH
def test_hidden_body(extractor: str) -> None:
    assert text_of("<body hidden><p>shown by a script</p></body>", extractor) == "shown by a script\n"


def test_tags_that_are_never_closed() -> None:
    assert text_of("<b>" * 1500 + "x<p>after") == "x\nafter\n"


@pytest.mark.parametrize(
    ("markup", "says"),
    [("<div>" * 50_000 + "deep", "cannot be parsed: .*depth"), ("<p>x" * 1_000_000, "more than .* MB")],
)
def test_what_cannot_be_read_to_its_end_is_no_text(markup: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        text_of(markup)


@pytest.mark.parametrize("around", ["article", "div"])
def test_many_places_in_deep_pages_take_no_time(around: str) -> None:
    started = time.monotonic()
    assert text_of(f"<{around}>" * 1500 + "<article>x</article>" * 100_000)
    assert time.monotonic() - started < 20, "ten minutes, if each looked at all that is around it"


def test_plain_text_keeps_its_lines() -> None:
    assert extract("a\n  <b>\n\nc\n", Rules(), plain=True).text == "a\n  <b>\n\nc\n"
    assert extract(" \n\t", Rules(), plain=True).text == ""
