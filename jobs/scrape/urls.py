"""One page, one address, one file name. No request is made here.

Two spellings of an address must not become two pages, and two pages must never share a file.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
SAFE = "%/:@!$&'()*+,;=~-._?"
# Already in normal form: nearly every address of a sitemap is, and a site may have 50,000.
PLAIN = re.compile(
    r"https?://(?![^/]*[^./]{64})[a-z0-9]+([.-][a-z0-9]+)*/([\w~-]+(\.[\w~-]+)*(/[\w~-]+(\.[\w~-]+)*)*/?)?", re.ASCII
)
SLUG_LENGTH = 80
LONGEST = 8_000  # letters; what servers have to take (RFC 9110)
# Where a request would be a letter, a login or a command: browsers do not go there either (WHATWG's Fetch).
FORBIDDEN_PORTS = frozenset(
    {
        *(0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104),
        *(109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515),
        *(526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049),
        *(3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080),
    }
)


def normalise(url: str) -> str | None:
    """The one spelling of an http(s) address: fragment, default port and dot segments gone, host in lower case.

    None for what is no such address, for one with a user's name in it, and for one that no server need take.
    """
    if len(url) > LONGEST:
        return None
    if PLAIN.fullmatch(url):
        return url
    try:
        parts = urlsplit(url.strip())
        host, port = (parts.hostname or "").rstrip("."), parts.port
        host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:  # a bad port, a bad IPv6 address, a name that DNS cannot say (UnicodeError is a ValueError)
        return None
    if parts.scheme not in DEFAULT_PORTS or "@" in parts.netloc or not HOST.fullmatch(host) or port in FORBIDDEN_PORTS:
        return None
    place = host if port in (None, DEFAULT_PORTS[parts.scheme]) else f"{host}:{port}"
    query = f"?{_escaped(parts.query)}" if parts.query else ""
    whole = f"{parts.scheme}://{place}{_without_dots(_escaped(parts.path))}{query}"
    return whole if len(whole) <= LONGEST else None


def _escaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        if match[1] is None:  # a bare % is data
            return "%25"
        char = chr(int(match[1], 16))
        return char if char in UNRESERVED else match[0].upper()

    return quote(ESCAPE.sub(one, text), safe=SAFE, errors="replace")


def _without_dots(path: str) -> str:
    """RFC 3986, 5.2.4. Empty segments stay: to a server `//` may be another page."""
    kept: list[str] = []
    segments = path.split("/")[1:] or [""]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def host_of(url: str) -> str:
    """The host's name, without a port."""
    return urlsplit(url).hostname or ""


def limit_key(url: str) -> str:
    """The runner's key for what a host allows. The port is in it unless it is the usual one: it is another server."""
    return f"host:{urlsplit(url).netloc}"


def file_name(url: str) -> str:
    """A file name (at most 97 bytes of ASCII) for a normalised address: readable, and different for each.

    The readable part alone would be the same for /a/b, /a-b and /a?b, and for every path in another script.
    """
    parts = urlsplit(url)
    readable = re.sub(r"[^0-9a-z]+", "-", unquote(f"{parts.path} {parts.query}").lower()).strip("-")
    digest = hashlib.sha256(url.encode()).hexdigest()[:16]
    return f"{readable[:SLUG_LENGTH].rstrip('-') or 'index'}-{digest}"
