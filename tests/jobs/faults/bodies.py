"""How the bytes of an answer may come: heads, lengths, chunks, codings."""

from __future__ import annotations

import gzip

from tests.jobs.faults.row import ACCENTS, GZIP, HTML, MB, PAGE, page, raw_deflate, status
from tests.jobs.server import CHUNKED, OK, answer, chunks, drip, reset, silent, then_close

LENGTH = f"Content-Length: {len(PAGE)}\r\n".encode()
SILENCE = {"wire.READ_SECONDS": 1.0}

BODIES = [
    page("gzip", answer(gzip.compress(PAGE), "200 OK", GZIP), "new"),
    page("two members of gzip", answer(gzip.compress(PAGE[:20]) + gzip.compress(PAGE[20:]), "200 OK", GZIP), "new"),
    page("garbage behind gzip", answer(gzip.compress(PAGE) + b"garbage", "200 OK", GZIP), "new"),
    page("raw deflate", answer(raw_deflate(PAGE), "200 OK", "Content-Encoding: deflate"), "new"),
    page("gzip, cut", answer(gzip.compress(PAGE)[:-5], "200 OK", GZIP), "transient", "ends in the middle"),
    page("gzip that is none", answer(PAGE, "200 OK", GZIP), "transient", "damaged"),
    page(
        "gzip with a wrong checksum",
        answer(gzip.compress(PAGE)[:-8] + bytes(8), "200 OK", GZIP),
        "transient",
        "damaged.*incorrect data check",
    ),
    page("brotli", answer(PAGE, "200 OK", "Content-Encoding: br"), "permanent", "content-encoding 'br'"),
    page("zstd", answer(PAGE, "200 OK", "Content-Encoding: zstd"), "permanent", "content-encoding 'zstd'"),
    page("a coding nobody knows", answer(PAGE, "200 OK", "Content-Encoding: x"), "permanent", "content-encoding 'x'"),
    page("gzip twice", answer(PAGE, "200 OK", "Content-Encoding: gzip, gzip"), "permanent", "'gzip, gzip'"),
    page("chunked", chunks(PAGE[:9], PAGE[9:]), "new"),
    page("chunked, with a length", chunks(PAGE).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 1), "new"),
    page("cut within a chunk", then_close(CHUNKED + b"44c\r\n" + PAGE), "transient", "IncompleteRead"),
    page("cut between chunks", then_close(chunks(PAGE, end=b"")), "transient", "ended prematurely"),
    page("cut behind a chunk's length", then_close(CHUNKED + b"44c\r\n"), "transient", "IncompleteRead"),
    page("a chunk's length is no number", chunks(PAGE, end=b"soon\r\n"), "transient", "InvalidChunkLength"),
    page("a chunk's length is -5", chunks(PAGE, end=b"-5\r\n"), "transient", "ValueError: read length"),
    page("no length", then_close(OK + HTML + b"\r\n" + PAGE), "new"),
    page("HTTP/1.0", then_close(b"HTTP/1.0 200 OK\r\n" + HTML + b"\r\n" + PAGE), "new"),
    page(
        "a length too small",
        answer(PAGE).replace(LENGTH, b"Content-Length: 40\r\n"),
        "new",
        raw=PAGE.decode()[:40],
        text="A page, and a g\n",
    ),
    page("a length too large", then_close(OK + b"Content-Length: 2000\r\n\r\n" + PAGE), "transient", "IncompleteRead"),
    page(
        "a length too large, and open",
        drip(OK + b"Content-Length: 2000\r\n\r\n" + PAGE, b"", every=0.05),
        "transient",
        "Read timed out",
        constants=SILENCE,
    ),
    page("a length below zero", then_close(OK + HTML + b"Content-Length: -5\r\n\r\n" + PAGE), "new"),
    page(
        "a length of 5,000 digits",
        then_close(OK + HTML + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + PAGE),
        "new",
    ),
    page("a length twice, alike", answer(PAGE, "200 OK", LENGTH.decode().strip()), "new"),
    page(
        "a length twice, not alike",
        answer(PAGE, "200 OK", "Content-Length: 5"),
        "transient",
        "Content-Length contained multiple unmatching values",
    ),
    page(
        "a large length", then_close(OK + b"Content-Length: 20000001\r\n\r\n"), "permanent", "20000001 bytes announced"
    ),
    page("empty", answer(b""), "no text", raw="", text=None),
    page("NULs in it", answer(PAGE.replace(b"page", b"pa\0ge")), "new", raw=PAGE.replace(b"page", b"pa\0ge").decode()),
    page(
        "tags within tags",
        answer(b"<b>" * 5000 + b"deep"),
        "unparsable",
        "Excessive depth",
        raw=15_004,
    ),
]

HEADS = [
    page("no answer", then_close(b""), "transient", "RemoteDisconnected"),
    page("no HTTP", then_close(b"no HTTP at all\r\n\r\n"), "transient", "BadStatusLine.'no HTTP at all"),
    page("HTTP/0.9", then_close(PAGE), "transient", "BadStatusLine.'<html>"),
    page("a mail server", {}, "transient", "BadStatusLine.'220 mail", greeting=b"220 mail.test ESMTP\r\n"),
    page("HTTP/2.0", then_close(b"HTTP/2.0 200 OK\r\n\r\n" + PAGE), "transient", "UnknownProtocol"),
    page("status 99", status("99 Low"), "transient", "BadStatusLine.'HTTP/1.1 99"),
    page("status in words", status("fine"), "transient", "BadStatusLine.'HTTP/1.1 fine"),
    page("no reason", then_close(b"HTTP/1.1 404\r\n\r\n"), "absent", "^HERE/: status 404$"),
    page("100 and 103 first", b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: </a>\r\n\r\n" + answer(PAGE), "new"),
    page("101", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "permanent", "status 101 Switching"),
    page("cut in the head", then_close(OK + b"Content-Le"), "transient", "whose length nobody said"),
    page("cut behind a length", then_close(OK + b"Content-Length: 2000"), "transient", "IncompleteRead.0 bytes read"),
    page("10,000 headers", then_close(OK + b"X: y\r\n" * 10_000 + b"\r\n"), "transient", "got more than 100 headers"),
    page("a header of 1 MB", then_close(OK + b"X: " + b"y" * MB + b"\r\n\r\n"), "transient", "header line"),
    page("a status line of 1 MB", then_close(b"HTTP/1.1 200 " + b"y" * MB + b"\r\n\r\n"), "transient", "status line"),
    page(
        "90 cookies",
        {
            "/": answer(b"", "302 Found", "Location: /a", *(f"Set-Cookie: c{n}={'x' * 3000}" for n in range(90))),
            "/a": answer(PAGE),
        },
        "new",
        url="HERE/a",
    ),
    page("a header without a colon", then_close(OK + b"broken\r\n" + HTML + b"\r\n" + PAGE), "new", content_type=""),
    page(
        "a folded header",
        answer(ACCENTS.encode("cp1252"), content_type="text/html;\r\n charset=latin1"),
        "new",
        raw=ACCENTS,
        text="né à Orléans\n",
        charset="latin1",
    ),
    page(
        "a content type of 60 kB",
        answer(PAGE, content_type="text/html" + "x" * 60_000),
        "new",
        content_type="text/html" + "x" * 91,
    ),
    page("reset at once", reset(), "transient", "Connection reset"),
    page("reset in the head", reset(OK + b"Content-Le"), "transient", "Connection reset"),
    page("reset in the body", reset(OK + b"Content-Length: 2000\r\n\r\n" + PAGE), "transient", "Connection reset"),
    page("nobody listens", {}, "transient", "cannot connect: .*refused", start="http://127.0.0.1:CLOSED/"),
    page(
        "no such host",
        {},
        "transient",
        "cannot be resolved",
        start="http://site.test:PORT/",
        policy={"hosts": ("site.test",)},
        names={"site.test": ("",)},
    ),
    page("silent", silent(), "transient", "Read timed out", constants=SILENCE),
]
