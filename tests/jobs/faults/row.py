"""What a row of the table of faults is, and the words it is written in."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

from tests.jobs.server import Reply, answer

HERE = "http://HERE"  # the server's address, in whatever is `Made`
PAGE = b"<html><title>T</title><p>A page, and a good one.</p></html>"
TEXT = "A page, and a good one.\n"
ACCENTS = "<p>né à Orléans</p>"
ETAG = 'ETag: "e"'
GZIP = "Content-Encoding: gzip"
HTML = b"Content-Type: text/html\r\n"
KNOWN = answer(PAGE, "200 OK", ETAG)
MB = 1_000_000
LATE = "no whole answer before the total deadline"
QUICK = {"fetch.TOTAL_SECONDS": 0.7}

Door = Literal["page", "night", "robots", "sitemaps"]


@dataclass(frozen=True)
class Made:
    """An answer that is made when it is needed: it names the server's own address, or is large."""

    make: Callable[[str], Reply]  # of the server's address


Routes = Mapping[str, Reply | Made]


@dataclass(frozen=True)
class Fault:
    """What a server may say, through which door it is met, and what has to come of it.

    page        FetchPage and ParsePage, which know nothing yet
    night       the same in a later night: they know what the nights before have brought
    robots      CollectUrls, where the fault lies in robots.txt
    sitemaps    CollectUrls, where it lies in a sitemap

    `ends`, for pages: as the runner's record has it (new, changed, unchanged, absent), or
        markup only     other bytes, the same text
        no text         there is a page, but no text
        unparsable      there is a page, and its parse has failed
        missing         not there, and kept for a night
    `ends`, for sites: done, or
        doubt           done, but what is missing is not given up
        nothing         there is no page at all: an error
    `ends`, for both:
        transient       failed; the runner will try again
        later           the server named a time: `seconds`
        permanent       failed; the runner will not try again
    """

    name: str
    door: Door
    nights: tuple[Routes, ...]  # what the server says, night by night
    ends: str  # the last of them
    says: str = ""  # a pattern, in what the user is told; "": nothing at all is told
    wanted: Mapping[str, Any] = field(default_factory=dict)  # more of what is to come of it: see meeting.py
    hostile: float | None = None  # the seconds in which it must be over; met in a process whose memory is measured
    constants: Mapping[str, Any] = field(default_factory=dict)  # of jobs.scrape, for this fault: "fetch.TOTAL_SECONDS"
    policy: Mapping[str, Any] = field(default_factory=dict)
    task: Mapping[str, Any] = field(default_factory=dict)  # parameters of FetchPage
    start: str = "/"  # what is asked for; PORT in it is the server's
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # host -> addresses; one more each time: "a, b"
    tls: Literal["", "unknown", "trusted"] = ""  # the server's certificate, if it speaks TLS
    greeting: Reply | None = None  # said before any request


def fault(door: Door, name: str, nights: tuple[Routes, ...], ends: str, says: str, more: dict[str, Any]) -> Fault:
    """Whatever is no field of Fault is wanted of the outcome."""
    own = {key: more.pop(key) for key in list(more) if key in Fault.__dataclass_fields__}
    return Fault(name, door, nights, ends, says, more, **own)


def page(name: str, reply: Reply | Made | Routes, ends: str, says: str = "", **more: Any) -> Fault:
    routes: Routes = reply if isinstance(reply, Mapping) else {"/": reply}
    whole = {"raw": PAGE.decode(), "text": TEXT} if ends == "new" else {}
    return fault("page", name, (routes,), ends, says, {**whole, **more})


def night(name: str, replies: Reply | tuple[Reply | Routes, ...], ends: str, says: str = "", **more: Any) -> Fault:
    """`replies`: of the nights after the first one, in which a good page was fetched; or, with `first`, of all."""
    later = replies if isinstance(replies, tuple) else (replies,)
    all_nights = (more.pop("first", KNOWN), *later)
    nights = tuple(reply if isinstance(reply, Mapping) else {"/": reply} for reply in all_nights)
    text = None if ends in ("absent", "no text") else TEXT
    return fault("night", name, nights, ends, says, {"text": text, **more})


def robots(name: str, reply: Reply | Made | str, ends: str = "done", says: str = "", **more: Any) -> Fault:
    """A site of the pages /1 and /no, if robots.txt lets us have them."""
    said = text(reply) if isinstance(reply, str) else reply
    routes = {"/robots.txt": said, "/sitemap.xml": urlset(f"{HERE}/1", f"{HERE}/no"), **more.pop("routes", {})}
    pages = {"pages": ["/1", "/no"]} if ends == "done" else {}
    return fault("robots", name, (routes,), ends, says, {**pages, **more})


def sitemaps(
    name: str, reply: Reply | Made | Routes | tuple[Routes, ...], ends: str = "done", says: str = "", **more: Any
) -> Fault:
    nights = reply if isinstance(reply, tuple) else (reply if isinstance(reply, Mapping) else {"/sitemap.xml": reply},)
    whole = {"pages": ["/1"], "skipped": {}} if ends == "done" else {}
    if ends == "doubt":
        whole = {"alarm": True}
    return fault("sitemaps", name, nights, ends, says, {**whole, **more})


# ------------------------------------------------------------------------------------------------------- answers


def text(body: str, **more: Any) -> Made:
    return made(body.encode(), content_type="text/plain", **more)


def made(body: bytes, pack: Callable[[bytes], bytes] = bytes, **more: Any) -> Made:
    """`pack`: what is done to the body, once the server's address is in it."""
    return Made(lambda here: answer(pack(body.replace(HERE.encode(), here.encode())), **more))


def urlset(*locs: str, more: str = "", after: str = "", pack: Callable[[bytes], bytes] = bytes) -> Made:
    """A sitemap. `more`: what stands beside each loc; `after`: what comes last."""
    urls = "".join(f"<url><loc>{escape(loc)}</loc>{more}</url>" for loc in locs)
    space = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'
    return made(f"<urlset {space}>{urls}{after}</urlset>".encode(), pack, content_type="application/xml")


def index(*locs: str) -> Made:
    maps = "".join(f"<sitemap><loc>{loc}</loc></sitemap>" for loc in locs)
    return made(f"<sitemapindex>{maps}</sitemapindex>".encode(), content_type="application/xml")


def xml(body: str | bytes, pack: Callable[[bytes], bytes] = bytes) -> Made:
    return made(body.encode() if isinstance(body, str) else body, pack, content_type="application/xml")


def large(make: Callable[[], bytes], *headers: str, **more: Any) -> Made:
    """An answer whose body is not held in the table."""
    return Made(lambda here: answer(make().replace(HERE.encode(), here.encode()), "200 OK", *headers, **more))


def redirect_to(target: str, status: str = "302 Found") -> Made:
    """`target` may say HERE or PORT."""

    def make(here: str) -> Reply:
        return answer(
            b"moved", status, f"Location: {target.replace(HERE, here).replace('PORT', here.rpartition(':')[2])}"
        )

    return Made(make)


def status(line: str, *headers: str) -> Reply:
    return answer(b"a body", line, *headers)


def busy(line: str, header: str) -> Reply:
    return answer(b"", line, f"Retry-After: {header}")


def charset(label: str, body: bytes) -> Reply:
    return answer(body, content_type=f"text/html; charset={label}")


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()
