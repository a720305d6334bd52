"""What takes time, memory or both. Each is met in a process that is measured, with the real limits for bytes."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from tests.jobs.faults.row import GZIP, HTML, LATE, MB, PAGE, QUICK, Fault, large, page, raw_deflate, sitemaps, text
from tests.jobs.server import CHUNKED, OK, answer, chunks, drip, endless

CONNECT = {"wire.CONNECT_SECONDS": 0.4}

BOMB = 100 * MB
HOSTILE = [
    page("endless", endless(OK + HTML + b"\r\n", bytes(65_536)), "permanent", "more than 20000000 bytes", hostile=10),
    page(
        "endless in chunks",
        endless(CHUNKED[:-2] + HTML + b"\r\n", b"10000\r\n" + bytes(65_536) + b"\r\n"),
        "permanent",
        "more than 20000000 bytes",
        hostile=10,
    ),
    page("endless behind its length", endless(answer(PAGE), b"more" * 9999), "new", hostile=10),
    page(
        "endless trailers",
        endless(chunks(PAGE, end=b"0\r\n"), b"A: b\r\n" * 9999),
        "permanent",
        "bytes on the wire",
        hostile=20,
    ),
    page(
        "an endless trailer",
        endless(chunks(PAGE, end=b"0\r\n"), b"b" * 65_536),
        "transient",
        "trailer line exceeded|on the wire",
        hostile=10,
    ),
    page(
        "an endless length of a chunk",
        endless(CHUNKED, b"1" * 65_536),
        "transient",
        "chunk size line|on the wire",
        hostile=10,
    ),
    page(
        "a chunk of -1 bytes, endless",
        endless(CHUNKED + b"-1\r\n", bytes(65_536)),
        "permanent",
        "bytes on the wire",
        hostile=10,
    ),
    page(
        "chunks of 1 byte, endless",
        endless(CHUNKED[:-2] + HTML + b"\r\n", b"1\r\nx\r\n" * 9999),
        "transient",
        LATE,
        hostile=15,
        constants=QUICK,
    ),
    page("an endless header", endless(OK + b"X: ", b"y" * 65_536), "transient", "header line", hostile=10),
    page(
        "103 without end",
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 999),
        "permanent",
        "bytes on the wire",
        hostile=20,
    ),
    page(
        "a bomb of gzip",
        large(lambda: gzip.compress(bytes(BOMB), 1), GZIP),
        "permanent",
        "more than 20000000 bytes",
        hostile=10,
    ),
    page(
        "a bomb of deflate",
        large(lambda: raw_deflate(bytes(BOMB)), "Content-Encoding: deflate"),
        "permanent",
        "more than 20000000",
        hostile=10,
    ),
    page(
        "a bomb of members",
        large(lambda: gzip.compress(bytes(MB)) * 1000, GZIP),
        "permanent",
        "more than 20000000",
        hostile=10,
    ),
    page(
        "members of gzip without end",
        endless(OK + f"{GZIP}\r\n\r\n".encode(), gzip.compress(b"") * 3000),
        "permanent",
        "more than 20000000 bytes",
        hostile=30,
    ),
    page(
        "a bomb in a bomb",
        large(lambda: gzip.compress(gzip.compress(bytes(BOMB), 1), 1), GZIP),
        "absent",
        "no page",
        hostile=10,
    ),
    page(
        "slow body", drip(OK + b"Content-Length: 100000\r\n\r\n", b"x"), "transient", LATE, hostile=15, constants=QUICK
    ),
    page("slow header", drip(OK + b"X: ", b"y"), "transient", LATE, hostile=15, constants=QUICK),
    page("slow status", drip(b"HTTP/1.1 2", b"0"), "transient", LATE, hostile=15, constants=QUICK),
    page("slow length of a chunk", drip(CHUNKED + b"1", b"0"), "transient", LATE, hostile=15, constants=QUICK),
    page("slow 100s", drip(b"", b"HTTP/1.1 100 C\r\n\r\n"), "transient", LATE, hostile=15, constants=QUICK),
    page(
        "slow 404",
        drip(b"HTTP/1.1 404 No\r\nContent-Length: 60000\r\n\r\n", b"x"),
        "absent",
        "status 404",
        hostile=15,
        constants=QUICK,
    ),
    page(
        "slow redirect",
        drip(b"HTTP/1.1 302 F\r\nLocation: /\r\nContent-Length: 60000\r\n\r\n", b"x"),
        "transient",
        LATE,
        hostile=15,
        constants=QUICK,
    ),
    page(
        "slow handshake",
        {},
        "transient",
        "Read timed out",
        start="https://127.0.0.1:PORT/",
        greeting=drip(b"\x16\x03\x03\x40\x00", b"\x02"),
        hostile=15,
        constants=CONNECT,
    ),
    page(
        "20 MB of words",
        large(lambda: b"<p>" + b"ab " * 6_500_000),
        "new",
        raw=19_500_003,
        text=19_500_000,
        hostile=60,
    ),
    page(
        "20 MB of lines beyond Latin",
        large(lambda: "😀\n".encode() + b"abcdefgh\n" * 2_200_000, content_type="text/plain"),
        "new",
        raw=19_800_005,
        text=19_800_005,
        hostile=60,
    ),
    page("a million tags", large(lambda: b"<p>x" * MB), "unparsable", "takes more than .* MB to read", hostile=60),
    sitemaps(
        "a map without end",
        endless(OK + b"\r\n<urlset>", b"<url><loc>x</loc></url>" * 999),
        "nothing",
        "HERE/sitemap.xml: more than 50000000 bytes",
        hostile=20,
    ),
    sitemaps(
        "a slow map",
        drip(OK + b"Content-Length: 9999\r\n\r\n<urlset>", b" "),
        "transient",
        LATE,
        hostile=15,
        constants={"sitemap.SITEMAP_SECONDS": 0.5},
    ),
]


def bomb(name: str, make: Callable[[], bytes], says: str = "", ends: str = "nothing") -> Fault:
    return sitemaps(name, {"/robots.txt": text("Sitemap: /bad"), "/bad": large(make)}, ends, says, hostile=30)


HOSTILE += [
    bomb(
        "a bomb in a map", lambda: gzip.compress(b"<urlset>" + b" " * 90 * MB, 1), "HERE/bad: more than 50000000 bytes"
    ),
    bomb(
        "a bomb in a bomb in a map",
        lambda: gzip.compress(gzip.compress(b"<urlset>" + b" " * 90 * MB, 1), 1),
        "neither XML",
    ),
    bomb(
        "a tag of 40 MB",
        lambda: b"<urlset><url " + b" ".join(b'a%d=""' % n for n in range(3 * MB)) + b"/></urlset>",
        "a tag of more than 500000 bytes",
    ),
    bomb(
        "90,000 tags of 65 attributes",
        lambda: b"<urlset>" + (b"<x " + b" ".join(b'a%d=""' % n for n in range(65)) + b"/>") * 90_000 + b"</urlset>",
        "none found",
    ),
    bomb(
        "a million names",
        lambda: b"<urlset>" + b"".join(b"<url><n%d/></url>" % n for n in range(MB)) + b"</urlset>",
        "more than 10000 names",
    ),
    bomb(
        "a million entities",
        lambda: b"<!DOCTYPE u [" + b"".join(b"<!ENTITY e%d ''>" % n for n in range(MB)) + b"]><urlset/>",
        "declares entities",
    ),
    bomb("a million tags within tags", lambda: b"<urlset>" + b"<url>" * MB, "more than 100 tags within"),
    bomb("a line of 49 MB", lambda: b"http://a/" + b"x" * 49 * MB, "off-site|relative|malformed"),
    bomb(
        "a loc of 40 MB",
        lambda: b"<urlset><url><loc>http://a/" + b"x" * 40 * MB + b"</loc></url></urlset>",
        "1 malformed",
    ),
]
