"""What may have become of a page, or of a sitemap, in a later night."""

from __future__ import annotations

from tests.jobs.faults.row import (
    ACCENTS,
    ETAG,
    HERE,
    KNOWN,
    PAGE,
    Routes,
    busy,
    charset,
    night,
    sitemaps,
    status,
    text,
    urlset,
    xml,
)
from tests.jobs.server import OK, answer, redirect, reset, then_close

OTHER = answer(b"<p>Another text.</p>", "200 OK", ETAG)

NIGHTS = [
    night("304", b"HTTP/1.1 304 Not Modified\r\n\r\n", "unchanged", sent={"if-none-match": '"e"'}),
    night(
        "304 by date",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        "unchanged",
        first=answer(PAGE, "200 OK", "Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT"),
        sent={"if-modified-since": "Sun, 01 Nov 2026 00:00:00 GMT"},
    ),
    night(
        "304 by a date that is none",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        "unchanged",
        first=answer(PAGE, "200 OK", "Last-Modified: at noon"),
        sent={"if-modified-since": "at noon"},
    ),
    night(
        "304 by a weak tag",
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        "unchanged",
        first=answer(PAGE, "200 OK", "ETag: W/x"),
        sent={"if-none-match": "W/x"},
    ),
    night("a tag with control characters", KNOWN, "unchanged", first=answer(PAGE, "200 OK", "ETag: a\1b"), sent={}),
    night("304, asked by nothing", b"HTTP/1.1 304 N\r\n\r\n", "permanent", "status 304", first=answer(PAGE), sent={}),
    night("the same bytes", KNOWN, "unchanged", sent={"if-none-match": '"e"'}),
    night(
        "other bytes, the same text",
        answer(PAGE + b"<!-- 2 -->", "200 OK", ETAG),
        "markup only",
        raw=PAGE.decode() + "<!-- 2 -->",
    ),
    night("another text, the same tag", OTHER, "changed", text="Another text.\n"),
    night(
        "another charset, the same bytes",
        charset("koi8-r", ACCENTS.encode()),
        "changed",
        first=charset("utf-8", ACCENTS.encode()),
        text="nц╘ ц═ Orlц╘ans\n",
        charset="koi8-r",
    ),
    night("empty tonight", answer(b""), "no text", raw=""),
    night("404 tonight", status("404 No"), "missing", raw=PAGE.decode()),
    night("404 for two nights", (status("404 No"), status("404 No")), "absent", "status 404", raw=None),
    night("404 for three nights", (status("404 No"),) * 3, "absent", "status 404", raw=None),
    night("404, and back", (status("404 No"), KNOWN), "unchanged", raw=PAGE.decode(), sent={"if-none-match": '"e"'}),
    night("404, then another text", (status("404 No"), OTHER), "changed", text="Another text.\n"),
    night(
        "404, then a failure, then 404", (status("404 No"), status("500 No"), status("404 No")), "absent", "status 404"
    ),
    night("gone, and back", (status("410 Gone"), KNOWN), "new", sent={}),
    night("410 tonight", status("410 Gone"), "absent", "status 410", raw=None),
    night("404 of a page no longer listed", status("404 No"), "absent", "status 404", task={"standing": "unlisted"}),
    night("404 for two doubted nights", (status("404 No"),) * 2, "missing", task={"tombstones": False}),
    night(
        "204 in a doubted night",
        b"HTTP/1.1 204 No\r\n\r\n",
        "missing",
        task={"tombstones": False},
    ),
    night("an image tonight", answer(b"\x89PNG", content_type="image/png"), "absent", "image/png"),
    night("204 tonight", b"HTTP/1.1 204 No\r\n\r\n", "absent", "status 204"),
    night("403 tonight", status("403 No"), "permanent", "status 403", raw=PAGE.decode()),
    night("500 tonight", status("500 No"), "transient", "status 500", raw=PAGE.decode()),
    night("500, and back", (status("500 No"), KNOWN), "unchanged", sent={"if-none-match": '"e"'}),
    night("429 tonight", busy("429 Slow", "9"), "later", "429", raw=PAGE.decode()),
    night(
        "cut tonight",
        then_close(OK + b"Content-Length: 2000\r\n\r\n<p>half"),
        "transient",
        "IncompleteRead",
        raw=PAGE.decode(),
    ),
    night("cut in the head tonight", then_close(OK), "transient", "whose length nobody said", raw=PAGE.decode()),
    night("moved tonight", ({"/": redirect("/a"), "/a": KNOWN},), "changed", url="HERE/a", sent={}),
    night(
        "304 of another address",
        ({"/": redirect("/a"), "/a": b"HTTP/1.1 304 N\r\n\r\n"},),
        "permanent",
        "HERE/a: status 304",
        sent={},
    ),
    night(
        "304 behind a redirect",
        ({"/": redirect("/a"), "/a": b"HTTP/1.1 304 N\r\n\r\n"},),
        "unchanged",
        first={"/": redirect("/a"), "/a": KNOWN},
        url="HERE/a",
        sent={"if-none-match": '"e"'},
    ),
    night("a circle tonight", redirect("/"), "permanent", "more than 5 redirects", raw=PAGE.decode()),
]

PAGES = {f"/{number}": answer(PAGE) for number in range(5)}
ALL = list(PAGES)


def map_of(*paths: str) -> Routes:
    return {"/sitemap.xml": urlset(*(f"{HERE}{path}" for path in paths))}


def dated(*days: str) -> Routes:
    """The pages, and a sitemap with a lastmod for each."""
    urls = (f"<url><loc>{HERE}{path}</loc><lastmod>{day}</lastmod></url>" for path, day in zip(ALL, days, strict=True))
    return PAGES | {"/sitemap.xml": xml(f"<urlset>{''.join(urls)}</urlset>")}


WHOLE = {**map_of(*PAGES), **PAGES}
TROUBLE = {"/sitemap.xml": status("502 No")}
SHORTER = {**map_of(*ALL[:4]), **{path: PAGES[path] for path in ALL[:4]}}  # and the last page is gone
CUT = xml("<urlset>" + "".join(f"<url><loc>{HERE}{path}</loc></url>" for path in ALL[:4]))
FORBIDDEN = {"/robots.txt": text("User-agent: *\nDisallow: /")}
DAYS = [f"2026-10-0{number}" for number in range(1, 6)]
DATED = dated(*DAYS)
DATED_ALL = [f"{path} {day}" for path, day in zip(ALL, DAYS, strict=True)]
FUTURE = dated(*(f"2131-01-0{number}" for number in range(1, 6)))
PLUMBING = ["/robots.txt", "/sitemap.xml", "/sitemap_index.xml"]
UNREAD = "a sitemap .* cannot be read.*: HERE/sitemap.xml"

SITES = [
    sitemaps("a map empty tonight", (WHOLE, WHOLE | map_of()), "doubt", "list 0 pages, and listed 5 before", pages=ALL),
    sitemaps("a map shrunk tonight", (WHOLE, WHOLE | map_of(*ALL[:3])), "doubt", "list 3 pages, and .* 5", pages=ALL),
    sitemaps("a map shorter tonight", (WHOLE, WHOLE | map_of(*ALL[:4])), pages=[*ALL[:4], "/4 unlisted"]),
    sitemaps(
        "pages no longer listed, and gone",
        (WHOLE, SHORTER, SHORTER),
        pages=ALL[:4],
        fetches={"unchanged": 4, "absent": 1},
    ),
    sitemaps("a map not found tonight", (WHOLE, PAGES), "doubt", UNREAD, pages=ALL),
    sitemaps(
        "a map that is a page tonight", (WHOLE, WHOLE | {"/sitemap.xml": answer(PAGE)}), "doubt", UNREAD, pages=ALL
    ),
    sitemaps("a map cut tonight", (WHOLE, WHOLE | {"/sitemap.xml": CUT}), "doubt", UNREAD, pages=ALL),
    sitemaps(
        "a map in trouble tonight",
        (WHOLE, WHOLE | TROUBLE),
        "transient",
        "HERE/sitemap.xml: status 502",
        pages=ALL,
        fetches={"new": 5},
    ),
    sitemaps("a map in trouble, and back", (WHOLE, WHOLE | TROUBLE, WHOLE), pages=ALL, fetches={"unchanged": 5}),
    sitemaps(
        "robots in trouble tonight",
        (WHOLE, WHOLE | {"/robots.txt": reset()}),
        "transient",
        "HERE/robots.txt: ",
        pages=ALL,
        fetches={"new": 5},
    ),
    sitemaps(
        "robots forbid all tonight",
        (WHOLE, WHOLE | FORBIDDEN),
        "doubt",
        "list 0 pages, and .* 5 before .5 disallowed",
        pages=[f"{path} held" for path in ALL],
        fetches={"new": 5},
    ),
    sitemaps(
        "robots forbid a page tonight",
        (WHOLE, WHOLE | {"/robots.txt": text("User-agent: *\nDisallow: /4")}),
        pages=ALL[:4],
        skipped={"disallowed by robots.txt": 1},
    ),
    sitemaps("empty tonight, and back", (WHOLE, WHOLE | map_of(), WHOLE), pages=ALL, fetches={"unchanged": 5}),
    sitemaps(
        "gone in a doubted night",
        (WHOLE, PAGES | {"/0": status("410 Gone")}),
        "doubt",
        UNREAD,
        pages=ALL,
        fetches={"unchanged": 5},
    ),
    sitemaps("lastmods as they were", (DATED, DATED), pages=DATED_ALL, asked=PLUMBING),
    sitemaps(
        "a new lastmod",
        (DATED, dated(*DAYS[:4], "2026-11-01")),
        pages=[*DATED_ALL[:4], "/4 2026-11-01"],
        asked=[*PLUMBING, "/4"],
    ),
    sitemaps("lastmods in the future", (FUTURE, FUTURE), pages=ALL, asked=[*PLUMBING, *ALL]),
]
