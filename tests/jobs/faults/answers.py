"""What an answer may say of itself: its status, its type, its encoding."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.jobs.faults.row import ACCENTS, GZIP, PAGE, busy, charset, page, status
from tests.jobs.server import OK, answer, then_close


def date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


STATUS = [
    page("204", b"HTTP/1.1 204 No Content\r\n\r\n", "absent", "status 204"),
    page("205", status("205 Reset Content"), "permanent", "status 205"),
    page("206", status("206 Partial Content", "Content-Range: bytes 0-5/99"), "permanent", "status 206"),
    page("300", status("300 Multiple Choices", "Location: /a"), "permanent", "status 300"),
    page("304 that nobody asked for", b"HTTP/1.1 304 Not Modified\r\n\r\n", "permanent", "status 304"),
    page("400", status("400 Bad Request"), "permanent", "status 400 Bad Request"),
    page("401", status("401 Unauthorized", "WWW-Authenticate: Basic"), "permanent", "status 401 Unauthorized"),
    page("403", status("403 Forbidden"), "permanent", "status 403 Forbidden"),
    page("404", status("404 Not Found"), "absent", "status 404"),
    page("407", status("407 Proxy Authentication Required"), "permanent", "status 407 Proxy"),
    page("408", status("408 Request Timeout"), "transient", "status 408"),
    page("410", status("410 Gone"), "absent", "status 410"),
    page("451", status("451 Unavailable For Legal Reasons"), "permanent", "status 451 Unavailable"),
    page("500", status("500 Internal Server Error"), "transient", "status 500 Internal"),
    page("500 with Retry-After", busy("500 Error", "9"), "transient", "status 500 Error"),
    page("503", status("503 Service Unavailable"), "transient", "status 503 Service"),
    page("999", status("999 Denied"), "transient", "status 999 Denied"),
    page("503, for a while", busy("503 Busy", "9"), "later", "status 503, Retry-After: 9", seconds=9),
    page("429", answer(b"", "429 Slow Down"), "later", "status 429, Retry-After: not said", seconds=60),
    page("429, for a while", busy("429 Slow Down", "7"), "later", "Retry-After: 7", seconds=7),
    page("429, until a date", busy("429 Slow Down", date(3000)), "later", "Retry-After: .* GMT"),
    page(
        "429, until a date that is over", busy("429 Slow Down", "Sun Nov  1 00:00:00 1994"), "later", "1994", seconds=1
    ),
    page("429, for a year", busy("429 Slow Down", "31536000"), "later", "31536000", seconds=3600),
    page("429, for 400 digits", busy("429 Slow Down", "9" * 400), "later", "9{400}", seconds=3600),
    page("429, soon", busy("429 Slow Down", "soon"), "later", "Retry-After: soon", seconds=60),
    page("429, until month 99", busy("429 Slow Down", "Sun, 99 Nov 2026 99:00:00 GMT"), "later", "Sun, 99", seconds=60),
    page("429, for -5 s", busy("429 Slow Down", "-5"), "later", "Retry-After: -5", seconds=60),
]

KINDS = [
    page("forbidden tonight", answer(PAGE), "permanent", "robots.txt forbids it", task={"standing": "held"}, asked=[]),
    page("an image", answer(b"\x89PNG", content_type="image/png"), "absent", "content type 'image/png'"),
    page("no type, no page", answer(b"\x7fELF", content_type=""), "absent", "content type ''"),
    page("no type, a page", answer(PAGE, content_type=""), "new", content_type=""),
    page(
        "a type for anything",
        answer(PAGE, content_type="application/octet-stream"),
        "new",
        content_type="application/octet-stream",
    ),
    page(
        "a type in capitals",
        answer(PAGE, content_type="TEXT/Html;CHARSET=UTF-8"),
        "new",
        content_type="text/html",
        charset="utf-8",
    ),
    page("text, not markup", answer(PAGE, content_type="text/plain"), "new", text=PAGE.decode() + "\n"),
    page(
        "a PDF of 30 MB",
        then_close(OK + b"Content-Type: application/pdf\r\nContent-Length: 30000000\r\n\r\n%PDF"),
        "absent",
        "application/pdf",
    ),
    page(
        "an image called HTML",
        answer(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"),
        "absent",
        "no page",
    ),
    page(
        "gzip in gzip",
        answer(gzip.compress(gzip.compress(PAGE)), "200 OK", GZIP),
        "absent",
        "no page",
    ),
    page(
        "a charset nobody knows",
        charset("klingon", ACCENTS.encode()),
        "new",
        raw=ACCENTS,
        text="né à Orléans\n",
        charset="klingon",
    ),
    page("the charset zip", charset("zip", ACCENTS.encode()), "new", raw=ACCENTS, text="né à Orléans\n", charset="zip"),
    page(
        "the charset rot13",
        charset("rot13", ACCENTS.encode()),
        "new",
        raw=ACCENTS,
        text="né à Orléans\n",
        charset="rot13",
    ),
    page("no charset, UTF-8", answer(ACCENTS.encode()), "new", raw=ACCENTS, text="né à Orléans\n", charset=None),
    page(
        "no charset, windows-1252",
        answer(ACCENTS.encode("cp1252")),
        "new",
        raw=ACCENTS,
        text="né à Orléans\n",
        charset=None,
    ),
    page(
        "the wrong charset",
        charset("utf-8", ACCENTS.encode("cp1252")),
        "new",
        raw=ACCENTS,
        text="n\ufffd \ufffd Orl\ufffdans\n",
        bad_bytes=3,
    ),
    page("a charset of 9,000 letters", charset("x" * 9000, PAGE), "new", charset="x" * 40),
    page(
        "a mark against the charset",
        charset("koi8-r", b"\xef\xbb\xbf" + ACCENTS.encode()),
        "new",
        raw="\ufeff" + ACCENTS,
        text="né à Orléans\n",
    ),
    page(
        "UTF-16 without a mark",
        charset("utf-16le", ACCENTS.encode("utf-16-le")),
        "new",
        raw=ACCENTS.encode("utf-16-le").decode("latin-1"),
        text="né à Orléans\n",
    ),
    page(
        "meta says UTF-16",
        answer(b"<meta charset=utf-16>" + PAGE),
        "new",
        raw="<meta charset=utf-16>" + PAGE.decode(),
        charset=None,
    ),
    page(
        "meta too late",
        answer(b" " * 1024 + b"<meta charset=koi8-r><p>\xcd\xc9\xd2"),
        "new",
        raw=" " * 1024 + "<meta charset=koi8-r><p>\xcd\xc9\xd2",
        text="\xcd\xc9\xd2\n",
    ),
    page(
        "meta in time",
        answer(b"<meta charset=koi8-r><p>\xcd\xc9\xd2"),
        "new",
        raw="<meta charset=koi8-r><p>\xcd\xc9\xd2",
        text="мир\n",
    ),
]
