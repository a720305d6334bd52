"""The bundled site: some forty small pages, made anew each time and always the same, each with its own difficulty.

What is awkward about real sites is here once: encodings that are declared well, badly or not at all, text in nested
tags and in `pre`, a page that is gone, one without content, one that takes its time, addresses that differ in a sign,
and sitemaps with a bit of everything. The names of the pages say what to look for.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape

TOPICS = (
    *("harbour", "lighthouse", "orchard", "railway", "observatory", "library", "mill", "bridge", "market", "garden"),
    *("quarry", "ferry", "bakery", "workshop", "museum", "theatre"),
)
SENTENCES = (
    "The {0} stands where the old road from the {1} comes down to the water.",
    "Nobody remembers who built the {0}, but the {1} was paid for by subscription in a single winter.",
    "On market days one could hear the {1} from the {0}, and on Sundays the other way round.",
    "A clerk wrote down every wagon that passed the {0}; his books lie in the {1} to this day.",
    "When the {1} burned, the people of the {0} came with buckets, ladders and a barrel of cider.",
    "Visitors are told that the {0} closes at five, which has not been true since the {1} got its clock.",
)
SLOW_SECONDS = 1.5
DAY = "2026-11-{:02}"


@dataclass(frozen=True)
class Page:
    """What the server says to one path."""

    body: bytes
    content_type: str = "text/html; charset=utf-8"
    status: int = 200
    seconds: float = 0.0  # before it answers
    headers: dict[str, str] = field(default_factory=dict)


def make_site(base: str) -> dict[str, Page]:
    """Every path (with its query) of the site whose address is `base`, without a slash at the end."""
    site = dict(odd_pages()) | dict(notes())
    plain = [path for path in site if not path.startswith("/notes/")]
    listed = [f"{base}{path}" for path in plain]
    listed += [f"{base}/gone.html", f"{base}/about.html#history", f"{base.replace('http', 'HTTP', 1)}/about.html"]
    listed += [f"{base}/private/diary.html", "https://elsewhere.example/page.html", "/relative.html", "", "mailto:x@y"]
    maps = ("pages.xml", "notes.xml.gz", "index.xml")  # the last is itself: whoever follows it runs in a circle
    site |= {
        "/private/diary.html": Page(page("Diary", ["Not for robots."])),
        "/robots.txt": text_file(f"User-agent: *\nDisallow: /private/\n\nSITEMAP: {base}/maps/index.xml\n"),
        "/maps/index.xml": xml_file(
            "sitemapindex", [f"<sitemap><loc>{base}/maps/{name}</loc></sitemap>" for name in maps]
        ),
        "/maps/pages.xml": urlset(listed),
    }
    packed = gzip.compress(urlset([f"{base}{path}" for path in site if path.startswith("/notes/")]).body, mtime=0)
    site["/maps/notes.xml.gz"] = Page(packed, "application/octet-stream")
    return site


# --------------------------------------------------------------------------------------------------------- pages


def page(title: str, blocks: list[str], head: str = "", lang: str = "en") -> bytes:
    """A page in UTF-8 with a menu and a footer, which are no part of its text. Blocks that are no markup become <p>."""
    inside = "\n".join(block if block.startswith("<") else f"<p>{block}</p>" for block in blocks)
    menu = "".join(f'<li><a href="/notes/{number:02}-{topic}.html">{topic}</a></li>' for number, topic in numbered())
    return f"""<!DOCTYPE html>
<html lang="{lang}">
<head>{head}<title>{escape(title)} - A small site</title><style>p {{ margin: 1em }}</style></head>
<body>
<header>A small site</header>
<nav><ul>{menu}</ul></nav>
<main>
<h1>{escape(title)}</h1>
{inside}
</main>
<footer>Served on loopback, for practice.</footer>
<script>console.log("not text")</script>
</body>
</html>
""".encode()


def numbered() -> list[tuple[int, str]]:
    return list(enumerate(TOPICS, 1))


def sentences(number: int) -> list[str]:
    """Three sentences that no other number has."""
    names = [TOPICS[(number + step) % len(TOPICS)] for step in (0, 7, 14, 5)]
    return [SENTENCES[(number + i) % len(SENTENCES)].format(names[i], names[i + 1]) for i in range(3)]


def notes() -> Iterator[tuple[str, Page]]:
    """Plain pages, which are most of any site."""
    for number, topic in numbered():
        opening = f"Note {number} of {len(TOPICS)}, on the <a href='/about.html'><b>{topic}</b></a>."
        yield f"/notes/{number:02}-{topic}.html", Page(page(f"The {topic}", [opening, *sentences(number)]))


def encoded(text: str, codec: str, charset: str = "", meta: str = "", lang: str = "en") -> Page:
    """A page in another encoding, named by the HTTP header, by a meta tag, by both or by nobody."""
    head = f'<meta charset="{meta}">' if meta else ""
    body = page(text.split(",")[0], [text, *(sentences(len(text)) if lang == "en" else [])], head, lang)
    return Page(body.decode().encode(codec), f"text/html; charset={charset}" if charset else "text/html")


def odd_pages() -> Iterator[tuple[str, Page]]:
    """The others: each is one thing that happens on real sites."""
    euro, japanese = (
        "Café “Zur Brücke”, 12 € a night – naïve façade",
        "灯台の守り人は、毎晩ランプに火をともし、海を見ています。",
    )
    yield "/", Page(page("Welcome", ["This site is small, but nothing on it is easy.", *sentences(0)]))
    yield "/about.html", Page(page("About", ["Forty pages, made by a program, always the same.", *sentences(40)]))
    yield "/encodings/windows-1252-by-header.html", encoded(euro, "cp1252", charset="windows-1252")
    yield "/encodings/windows-1252-by-meta.html", encoded(euro, "cp1252", meta="windows-1252")
    yield "/encodings/windows-1252-said-to-be-latin-1.html", encoded(euro, "cp1252", charset="ISO-8859-1")
    yield "/encodings/windows-1252-unsaid.html", encoded(euro, "cp1252")
    yield "/encodings/shift-jis-by-meta.html", encoded(japanese, "cp932", meta="Shift_JIS", lang="ja")
    yield "/encodings/shift-jis-by-header.html", encoded(japanese, "cp932", charset="x-sjis", lang="ja")
    yield "/encodings/euc-jp-by-meta.html", encoded(japanese, "euc_jp", meta="euc-jp", lang="ja")
    yield "/encodings/utf-8-by-meta.html", encoded(euro, "utf-8", meta="utf-8")
    yield "/encodings/utf-8-unsaid.html", encoded(euro, "utf-8")
    yield "/encodings/utf-8-with-bom.html", encoded(euro, "utf-8-sig")
    yield "/encodings/utf-16-with-bom.html", encoded(euro, "utf-16")
    yield "/encodings/header-against-meta.html", encoded(euro, "utf-8", charset="utf-8", meta="windows-1252")
    accents = "Cafe\u0301, an accent that stands apart, and one by reference: cafe&#769;"
    yield "/encodings/accents-apart.html", Page(page("Accents", [accents, *sentences(13)]))
    yield from odd_markup()
    yield "/a/b.html", Page(page("Slash", ["Its address is a, slash, b.", *sentences(50)]))
    yield "/a-b.html", Page(page("Dash", ["Its address is a, dash, b.", *sentences(51)]))
    yield "/a.html?b=1&c=2", Page(page("Query", ["Its address has a query.", *sentences(52)]))
    yield "/caf%C3%A9.html", Page(page("Café", ["Its address is not ASCII.", *sentences(53)]))
    yield "/%E6%B5%B7.html", Page(page("海", ["海のそばの小さな町の話です。"], lang="ja"))
    yield "/slow.html", Page(page("Slow", ["This page takes its time.", *sentences(54)]), seconds=SLOW_SECONDS)
    yield "/moved.html", Page(b"", status=301, headers={"Location": "/a/b.html"})
    packed = gzip.compress(page("Packed", ["This page comes gzipped.", *sentences(55)]), mtime=0)
    yield "/packed.html", Page(packed, headers={"Content-Encoding": "gzip"})
    yield "/no-content.html", Page(b"<html><body><nav><a href='/'>Home</a></nav><script>run()</script></body></html>")
    yield "/picture.png", Page(b"\x89PNG\r\n\x1a\n", "image/png")


def odd_markup() -> Iterator[tuple[str, Page]]:
    code = "def keeper(lamp):\n    while lamp.burns():\n\n        lamp.turn()"
    listing = f"<pre>\n{code}\n</pre>"
    yield "/markup/pre.html", Page(page("Listing", ["A listing keeps its lines:", listing, *sentences(20)]))
    inline = "Nested: <em>the <b>light<i>house</i></b> kee<span>per</span></em>&rsquo;s <code>lamp</code>."
    yield "/markup/inline.html", Page(page("Inline", [inline, *sentences(21)]))
    table = "<table><tr><th>Place</th><th>Year</th></tr><tr><td>Mill</td><td>1702</td></tr></table>"
    yield "/markup/table.html", Page(page("Table", [table, *sentences(22)]))
    blocks = "<div>First<div>Second</div>Third<br>Fourth<ul><li>Fifth<li>Sixth</ul></div>"
    yield "/markup/blocks.html", Page(page("Blocks", [blocks, *sentences(23)]))
    menu = "<div><a href='/a-b.html'>Dash</a> <a href='/a/b.html'>Slash</a></div>"
    yield "/markup/menu.html", Page(page("Menu", [menu, "<p hidden>Out of sight.</p>", *sentences(24)]))
    unclosed = b"<title>Unclosed</title><p>No head, no body,<p>and <b>nothing is closed<p>" + sentences(25)[0].encode()
    yield "/markup/unclosed.html", Page(unclosed)


# ---------------------------------------------------------------------------------------------------------- files


def text_file(text: str) -> Page:
    return Page(text.encode(), "text/plain; charset=utf-8")


def xml_file(root: str, entries: list[str]) -> Page:
    inside = "\n".join(entries)
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<{root} xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
{inside}
</{root}>
"""
    return Page(text.encode(), "application/xml")


def urlset(urls: list[str]) -> Page:
    image = "<image:image><image:loc>https://elsewhere.example/picture.png</image:loc></image:image>"
    return xml_file(
        "urlset",
        [
            f"<url><loc>{escape(url)}</loc><lastmod>{DAY.format(number % 28 + 1)}</lastmod>{image}</url>"
            for number, url in enumerate(urls)
        ],
    )
