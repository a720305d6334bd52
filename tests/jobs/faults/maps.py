"""What a sitemap may be."""

from __future__ import annotations

import gzip

from tests.jobs.faults.row import (
    GZIP,
    HERE,
    PAGE,
    Fault,
    Made,
    busy,
    index,
    large,
    made,
    sitemaps,
    status,
    text,
    urlset,
    xml,
)
from tests.jobs.server import OK, Reply, answer, redirect, then_close

GOOD = urlset(f"{HERE}/1")


def bad_map(name: str, reply: Reply | Made, says: str, **more: object) -> Fault:
    """A sitemap that cannot be used, beside one that can."""
    routes = {"/robots.txt": text("Sitemap: /bad\nSitemap: /good"), "/bad": reply, "/good": GOOD}
    return sitemaps(name, routes, "done", f"^HERE/bad: {says}", **more)


def locs(name: str, *entries: str, **skipped: int) -> Fault:
    """A sitemap of these addresses, and a good one. `off_site`: counted as off-site."""
    told = {key.replace("off_", "off-").replace("_", " "): count for key, count in skipped.items()}
    return sitemaps(f"loc: {name}", urlset(*entries, f"{HERE}/1"), skipped=told)


MAPS = [
    sitemaps("a map by its usual name", {"/sitemap_index.xml": index(f"{HERE}/a"), "/a": GOOD}),
    sitemaps(
        "a guess that is a page",
        {"/sitemap.xml": GOOD, "/sitemap_index.xml": answer(PAGE)},
        asked=["/robots.txt", "/sitemap.xml", "/sitemap_index.xml"],
    ),
    sitemaps(
        "a guess in trouble",
        {"/sitemap.xml": GOOD, "/sitemap_index.xml": status("500 No")},
        "done",
        "HERE/sitemap_index.xml: status 500",
    ),
    sitemaps(
        "a guess in trouble, and no other map",
        {"/sitemap_index.xml": status("500 No")},
        "transient",
        "HERE/sitemap_index.xml: status 500",
    ),
    sitemaps(
        "no map",
        {},
        "nothing",
        r"s: no page in any sitemap of HERE/ \(HERE/sitemap.xml: status 404; HERE/sitemap_i.*404\)",
    ),
    sitemaps("an empty map", urlset(), "nothing", r"\(none found\)"),
    sitemaps("gzip, called XML", urlset(f"{HERE}/1", pack=gzip.compress)),
    sitemaps(
        "gzip, and gzip on the wire",
        Made(lambda here: answer(gzip.compress(gzip.compress(f"{here}/1".encode())), "200 OK", GZIP)),
    ),
    sitemaps("XML, called gzip", {"/robots.txt": text("Sitemap: /map.xml.gz"), "/map.xml.gz": GOOD}),
    bad_map(
        "gzip in gzip in a map", urlset(pack=lambda data: gzip.compress(gzip.compress(data))), "neither XML nor a list"
    ),
    bad_map(
        "gzip in a map, cut",
        urlset(f"{HERE}/2", pack=lambda data: gzip.compress(data)[:-9]),
        "compressed data ends in the middle",
    ),
    bad_map(
        "gzip in a map, damaged",
        urlset(f"{HERE}/2", pack=lambda data: gzip.compress(data)[:-8] + bytes(8)),
        "damaged compressed data",
    ),
    bad_map("a zip", made(b"PK\3\4" + bytes(100), content_type="application/zip"), "neither XML nor a list"),
    bad_map("404 of a map", status("404 No"), "status 404"),
    bad_map("403 of a map", status("403 No"), "status 403"),
    bad_map("a page for a map", answer(b"<!DOCTYPE html>" + PAGE), "HTML, no sitemap .the address of a site ends in /"),
    bad_map("another XML", xml(f"<other><url><loc>{HERE}/2</loc></url></other>"), "<other> begins no sitemap"),
    bad_map("nothing in a map", answer(b"\n \n"), "an empty file"),
    bad_map(
        "a map cut at its end",
        xml(f"<urlset><url><loc>{HERE}/2</loc></url></url"),
        "not well-formed: ",
        pages=["/2", "/1"],
    ),
    bad_map(
        "a map broken in the middle",
        xml(f"<urlset><url><loc>{HERE}/2</loc></url><url><loc>{HERE}/3</url></urlset>"),
        "not well-formed: mismatched tag",
        pages=["/2", "/1"],
    ),
    bad_map(
        "a map in no encoding",
        xml(b"<?xml version='1.0' encoding='klingon'?><urlset/>"),
        "not well-formed: unknown encoding",
    ),
    bad_map("a map in rot13", xml(b"<?xml version='1.0' encoding='rot13'?><urlset/>"), "not well-formed: "),
    bad_map(
        "a map that is no UTF-8",
        xml(f"<urlset><url><loc>{HERE}/".encode() + b"\xe9</loc></url></urlset>"),
        "not well-formed: .*invalid token",
    ),
    bad_map(
        "a map that is no Japanese",
        xml(b"<?xml version='1.0' encoding='shift_jis'?><urlset>\x81\xff</urlset>"),
        "not well-formed: .*codec can't decode",
    ),
    bad_map("an entity that nobody declares", xml("<urlset>&e;</urlset>"), "not well-formed: undefined entity"),
    bad_map(
        "a billion laughs",
        xml(
            "<!DOCTYPE u [<!ENTITY a 'ha'>"
            + "".join(f"<!ENTITY {b} '{f'&{a};' * 10}'>" for a, b in zip("abcdefghi", "bcdefghij", strict=True))
            + "]><urlset>&j;</urlset>"
        ),
        "declares entities or the like",
    ),
    bad_map("a map elsewhere", redirect("http://evil.test/map"), "leads to http://evil.test/map"),
    bad_map("a map in a circle", redirect("/bad"), "more than 5 redirects"),
    bad_map("brotli in a map", answer(b"", "200 OK", "Content-Encoding: br"), "content-encoding 'br'"),
    bad_map(
        "a map of 60 MB", then_close(OK + b"Content-Length: 60000000\r\n\r\n"), "60000000 bytes announced, 50000000"
    ),
    sitemaps(
        "502 of a map", {"/sitemap.xml": index(f"{HERE}/a"), "/a": status("502 No")}, "transient", "HERE/a: status 502"
    ),
    sitemaps(
        "429 of a map",
        {"/sitemap.xml": index(f"{HERE}/a"), "/a": busy("429 Slow", "8")},
        "later",
        "HERE/a: status 429",
        seconds=8,
    ),
    sitemaps(
        "a map cut on the wire",
        then_close(OK + b"Content-Length: 2000\r\n\r\n<urlset>"),
        "transient",
        "HERE/sitemap.xml: .*IncompleteRead",
    ),
    sitemaps(
        "gzip on the wire that is none", answer(b"<urlset/>", "200 OK", GZIP), "transient", "HERE/sitemap.xml: damaged"
    ),
    sitemaps(
        "an external document type",
        {
            "/sitemap.xml": xml(
                f"<!DOCTYPE urlset SYSTEM '{HERE}/dtd'>"
                f"<urlset><url><loc>{HERE}/&e;</loc></url><url><loc>{HERE}/1</loc></url></urlset>"
            )
        },
        skipped={"empty": 1},
        asked=["/robots.txt", "/sitemap.xml", "/sitemap_index.xml"],
    ),
    sitemaps(
        "UTF-16 in a map",
        xml(
            f"<?xml version='1.0' encoding='UTF-16'?><urlset><url><loc>{HERE}/é</loc></url></urlset>",
            lambda data: data.decode().encode("utf-16"),
        ),
        pages=["/%C3%A9"],
    ),
    sitemaps(
        "Japanese in a map",
        xml(
            f"<?xml version='1.0' encoding='Shift_JIS'?><urlset><url><loc>{HERE}/灯</loc></url></urlset>",
            lambda data: data.decode().encode("shift_jis"),
        ),
        pages=["/%E7%81%AF"],
    ),
    sitemaps(
        "Russian in a map",
        xml(
            f"<?xml version='1.0' encoding='koi8-r'?><urlset><url><loc>{HERE}/м</loc></url></urlset>",
            lambda data: data.decode().encode("koi8-r"),
        ),
        pages=["/%D0%BC"],
    ),
    sitemaps(
        "a mark and lines before the XML",
        xml(f"\ufeff\n<?xml version='1.0'?><urlset><url><loc>{HERE}/1</loc></url></urlset>"),
    ),
    sitemaps(
        "images and languages",
        urlset(
            f"{HERE}/1",
            more=f"<image:image><image:loc>{HERE}/2</image:loc></image:image><image:loc>{HERE}/3</image:loc>"
            f"<xhtml:link rel='alternate' href='{HERE}/4'/>",
        ),
    ),
    sitemaps(
        "a tag within a loc",
        xml(f"<urlset><url><loc>{HERE}/<b>2</b></loc></url><url><loc>{HERE}/1</loc></url></urlset>"),
        skipped={"empty": 1},
    ),
    sitemaps(
        "RSS",
        xml(
            f"<rss><channel><link>{HERE}/2</link><item><link>{HERE}/1</link>"
            f"<pubDate>Sun, 01 Nov 2026 00:00:00 GMT</pubDate></item></channel></rss>"
        ),
        pages=["/1 Sun, 01 Nov 2026 00:00:00 GMT"],
        says="have the same lastmod",
    ),
    sitemaps(
        "Atom",
        xml(
            f"<feed><link href='{HERE}/2'/>"
            f"<entry><link rel='edit' href='{HERE}/3'/><link href='{HERE}/1'/></entry></feed>"
        ),
    ),
    sitemaps(
        "RDF", xml(f"<r:RDF xmlns:r='r'><channel><link>no</link></channel><item><link>{HERE}/1</link></item></r:RDF>")
    ),
    sitemaps("a list of addresses", text(f"\ufeff{HERE}/1\r\n\r\n{HERE}/é\n"), pages=["/1", "/%C3%A9"]),
    sitemaps(
        "an index of itself",
        {
            "/sitemap.xml": index(f"{HERE}/sitemap.xml", f"{HERE}/a"),
            "/a": index(f"{HERE}/sitemap.xml", f"{HERE}/b", f"{HERE}/b"),
            "/b": GOOD,
        },
        asked=["/robots.txt", "/sitemap.xml", "/sitemap_index.xml", "/a", "/b"],
    ),
    sitemaps("a map that moved", {"/sitemap.xml": redirect("/map"), "/map": GOOD}),
    sitemaps(
        "an index of what was read, by a redirect",
        {"/sitemap.xml": GOOD, "/sitemap_index.xml": redirect("/sitemap.xml")},
        pages=["/1"],
        skipped={},
    ),
    sitemaps(
        "indexes 6 deep",
        {
            "/sitemap.xml": index(f"{HERE}/2"),
            **{f"/{n}": index(f"{HERE}/{n + 1}") for n in range(2, 5)},
            "/5": index(f"{HERE}/6"),
            "/6": GOOD,
            "/sitemap_index.xml": GOOD,
        },
        skipped={"too deep": 1},
    ),
    sitemaps(
        "an index that names none",
        xml("<sitemapindex><sitemap/><sitemap><loc>/a</loc></sitemap></sitemapindex>"),
        "nothing",
        r"\(1 empty; 1 relative\)",
    ),
    sitemaps(
        "the same map twice",
        {"/robots.txt": text("Sitemap: /sitemap.xml\nSitemap: /sitemap.xml"), "/sitemap.xml": GOOD},
        asked=["/robots.txt", "/sitemap.xml", "/sitemap_index.xml"],
    ),
    sitemaps(
        "50,000 pages",
        large(lambda: "".join(f"{HERE}/{n}\n" for n in range(50_000)).encode()),
        pages=50_000,
        hostile=30,
    ),
    sitemaps(
        "50,001 pages",
        large(lambda: "".join(f"{HERE}/{n}\n" for n in range(50_001)).encode()),
        "done",
        "more than 50000 addresses: the rest",
        pages=50_000,
        hostile=30,
    ),
    sitemaps(
        "pages over the limit",
        urlset(*(f"{HERE}/{n}" for n in range(1, 4))),
        constants={"sitemap.SITE_URLS": 1},
        skipped={"over the limit of a site": 2},
    ),
    sitemaps(
        "addresses over the limit",
        urlset(*(f"{HERE}/{'1' * n}" for n in range(1, 4))),
        constants={"sitemap.SITE_LETTERS": 50},
        pages=["/1", "/11"],
        skipped={"over the limit of a site": 1},
    ),
    sitemaps(
        "maps over the limit",
        {"/sitemap.xml": index(*(f"{HERE}/{n}" for n in "abc")), "/a": GOOD},
        "done",
        "more than 3 sitemaps: the rest",
        constants={"sitemap.SITE_SITEMAPS": 3},
    ),
    sitemaps(
        "maps that take too long",
        {"/sitemap.xml": GOOD},
        "nothing",
        "HERE/sitemap.xml: not read to its end: all sitemaps of a site may take -1 s",
        constants={"sitemap.SITE_SECONDS": -1.0},
        asked=["/robots.txt"],
    ),
    locs("empty", "", " ", empty=2),
    sitemaps(
        "loc: none", urlset(f"{HERE}/1", after="<url/><url><lastmod>2026-01-01</lastmod></url>"), skipped={"empty": 2}
    ),
    locs("relative", "/a", "a.html", f"//{HERE[7:]}/a", relative=3),
    locs("elsewhere", "http://evil.test/", off_site=1),
    locs("a script", "javascript:alert(1)", no_http_address=1),
    locs("a file", "file:///etc/passwd", "mailto:x@y", no_http_address=2),
    locs("malformed", "http://[", "http://127.0.0.1:x/", "http://127.0.0.1:25/", malformed=3),
    locs("9,000 letters", f"{HERE}/{'x' * 9000}", malformed=1),
    locs("a login", "http://user:pw@127.0.0.1/", malformed=1),
    locs("a fragment", f"{HERE}/1#a", f"{HERE}/1?", duplicate=2),
    locs("private addresses", "http://10.0.0.1/", "http://[::1]/", "http://2130706433/", off_site=3),
    sitemaps("loc: tabs and lines", urlset(f"{HERE}/a\tb\nc"), pages=["/a%20b%20c"]),
    sitemaps(
        "loc: a port where nobody listens",
        urlset("http://127.0.0.1:2/", *(f"{HERE}/{n}" for n in range(4))),
        "done",
        "http://127.0.0.1:2/robots.txt: .*refused",
        pages=["/0", "/1", "/2", "/3"],
        skipped={"without a robots.txt": 1},
    ),
    sitemaps(
        "loc: half of the site where nobody listens",
        urlset("http://127.0.0.1:2/", f"{HERE}/1"),
        "transient",
        "http://127.0.0.1:2/robots.txt: .*refused",
    ),
    sitemaps(
        "a map where nobody listens",
        {"/robots.txt": text("Sitemap: http://127.0.0.1:2/map\nSitemap: /good"), "/good": GOOD},
        "done",
        "^http://127.0.0.1:2/map: not read, for lack of its robots.txt",
    ),
    sitemaps(
        "lastmod: none of use",
        urlset(*(f"{HERE}/{day}" for day in range(2)), more="<lastmod>soon</lastmod>"),
        pages=["/0", "/1"],
    ),
    sitemaps("lastmod: in the future", urlset(f"{HERE}/1", more="<lastmod>2131-01-01</lastmod>")),
    sitemaps(
        "lastmod: all alike",
        urlset(f"{HERE}/1", f"{HERE}/2", more="<lastmod>2026-01-01</lastmod>"),
        "done",
        "2 of 2 pages have the same lastmod, 2026-01-01",
        pages=["/1 2026-01-01", "/2 2026-01-01"],
    ),
    sitemaps(
        "lastmod: 70 letters", urlset(f"{HERE}/1", more=f"<lastmod>{' 2026-01-01T00:00:00Z':>70}{'x' * 70}</lastmod>")
    ),
]
