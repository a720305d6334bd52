"""One polite GET: every wait and every size has an end, every hop is checked, every answer falls into a class.

an Answer        200, 203, 204: the body comes as an iterator, so that it can go to disk piece by piece;
                 304, if validators were sent: what is `known` still holds
RetryLater       429, and 503 with Retry-After: the server named a time; the worker is free meanwhile
Transient        time-outs, resets, truncated bodies, 5xx: the runner tries again
Permanent        other 4xx, too large, redirected in circles or to where we may not go: asking again will not help
  Gone           404, 410
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError, LocationParseError

from jobs.scrape.sites import Policy
from jobs.scrape.urls import host_of, normalise
from jobs.scrape.wire import (
    CHUNK,
    Connections,
    Gone,
    Permanent,
    Transient,
    begin,
    bounded,
    inflate,
    seconds_left,
)
from runner import RetryLater

TOTAL_SECONDS = 120.0  # for all hops and the whole body
PAGE_BYTES = 20_000_000  # on the wire, and inflated
REDIRECTS = 5
RETRY_AFTER_CAP = 3600.0  # s
RETRY_AFTER_UNSAID = 60.0  # s, for a 429 that names no time

HEADERS = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "keep-alive",
}
FRAMED = {"content-length", "transfer-encoding"}  # with one of them, a body that is cut is found out
VALIDATOR = re.compile(r"[\x20-\x7e]{1,1000}")  # what can be sent back to the server as it came
CHARSET = re.compile(r"""\bcharset\s*=\s*["']?\s*([^\s"';,]{1,40})""", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What a server said. `body` can be read once, within the `with` block of `get`."""

    url: str  # after redirects
    status: int
    content_type: str  # without parameters, lower case; "" if there was none
    charset: str | None
    etag: str | None
    last_modified: str | None
    body: Iterator[bytes]


@dataclass(frozen=True)
class Known:
    """What came last time, and the server's own words for it. Validators hold for one address only."""

    url: str
    etag: str | None
    last_modified: str | None

    def headers(self, url: str) -> dict[str, str]:
        """For a request that need not be answered by what is known."""
        if url != self.url:
            return {}
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.last_modified} if self.last_modified else {}


@contextmanager
def get(
    url: str,
    policy: Policy,
    *,
    known: Known | None = None,
    limit: int = PAGE_BYTES,
    cut: bool = False,
    seconds: float | None = None,
) -> Iterator[Answer]:
    """The answer to a GET, redirects followed. Raises what the head of this module lists.

    `limit` is in bytes: a longer body is refused, or with `cut` ends about there. `seconds` bounds the whole affair,
    reading the body included (None: TOTAL_SECONDS).
    """
    connections = begin(url, TOTAL_SECONDS if seconds is None else seconds, limit, policy.allow_private)
    hop = url
    for _ in range(REDIRECTS + 1):
        if host_of(hop) not in policy.hosts:
            raise Permanent(url, f"leads to {hop}, whose host is not in allow_hosts")
        conditions = known.headers(hop) if known else {}
        with _sent(connections, hop, HEADERS | {"User-Agent": policy.user_agent} | conditions) as response:
            target = _target(hop, response)
            if target is None:
                _check_status(hop, response, conditional=bool(conditions))
                yield _answer(hop, response, limit, cut)
                return
            _drain(response)
        hop = normalise(target) or ""
        if not hop:
            raise Permanent(url, f"redirects to {target[:200]!r}, which is no address we go to")
    raise Permanent(url, f"more than {REDIRECTS} redirects, the last to {hop}")


def _sent(connections: Connections, url: str, headers: dict[str, str]) -> BaseHTTPResponse:
    try:
        return connections.get(url, headers)
    except LocationParseError as error:
        raise Permanent(url, str(error)) from error
    except (HTTPError, OSError) as error:
        raise _transient(url, error) from error


def _transient(url: str, error: Exception) -> Transient:
    late = "no whole answer before the total deadline; " if seconds_left() <= 0 else ""
    return Transient(url, f"{late}{type(error).__name__}: {error}")


def _drain(response: BaseHTTPResponse) -> None:
    """Reads a short body that nobody wants: the connection can then be used again."""
    length = _announced(response)
    if length is not None and length <= CHUNK:
        with contextlib.suppress(HTTPError, OSError):
            response.read(CHUNK, decode_content=False)


def _target(url: str, response: BaseHTTPResponse) -> str | None:
    """Where a redirect leads."""
    if response.status not in (301, 302, 303, 307, 308) or "location" not in response.headers:
        return None
    # http.client reads headers as latin-1; who sends bytes beyond ASCII means UTF-8.
    location = response.headers["location"].encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return urljoin(url, location.strip())
    except ValueError:
        return location


def _check_status(url: str, response: BaseHTTPResponse, *, conditional: bool) -> None:
    status = response.status
    if status in (200, 203, 204) or (status == 304 and conditional):
        return
    _drain(response)
    retry_after = response.headers.get("retry-after")
    if status == 429 or (status == 503 and retry_after):
        raise RetryLater(
            retry_seconds(retry_after), f"{url}: status {status}, Retry-After: {retry_after or 'not said'}"
        )
    if status in (404, 410):
        raise Gone(url, f"status {status}", status)
    kind = Transient if status >= 500 or status in (408, 425) else Permanent
    raise kind(url, f"status {status} {response.reason or ''}".rstrip(), status)


def retry_seconds(header: str | None) -> float:
    """Seconds to wait by a Retry-After header (a number or a date), at least 1 and at most RETRY_AFTER_CAP."""
    text = (header or "").strip()
    try:
        if text.isdecimal():
            wanted = float(text)
        else:
            date = parsedate_to_datetime(text)
            date = date if date.tzinfo else date.replace(tzinfo=UTC)
            wanted = (date - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        wanted = RETRY_AFTER_UNSAID
    return min(max(wanted, 1.0), RETRY_AFTER_CAP)


def _answer(url: str, response: BaseHTTPResponse, limit: int, cut: bool) -> Answer:
    headers = response.headers
    content_type = headers.get("content-type", "")
    charset = CHARSET.search(content_type)
    return Answer(
        url=url,
        status=response.status,
        content_type=content_type.partition(";")[0].strip().lower()[:100],
        charset=charset[1].lower() if charset else None,
        etag=_validator(headers.get("etag")),
        last_modified=_validator(headers.get("last-modified")),
        body=_body(url, response, limit, cut),
    )


def _validator(header: str | None) -> str | None:
    return header if header and VALIDATOR.fullmatch(header) else None


def _body(url: str, response: BaseHTTPResponse, limit: int, cut: bool) -> Iterator[bytes]:
    announced = _announced(response)
    if announced is not None and announced > limit and not cut:
        raise Permanent(url, f"{announced} bytes announced, {limit} are allowed")
    wire = bounded(_wire(url, response), limit, url, cut=cut)
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from wire
    elif encoding in ("gzip", "x-gzip", "deflate"):
        yield from bounded(inflate(wire, url), limit, url, cut=cut)
    else:
        raise Permanent(url, f"content-encoding {encoding!r}, which we did not ask for")


def _announced(response: BaseHTTPResponse) -> int | None:
    """The length of the body by its head, None for what is no number."""
    length = response.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 20 else None


def _wire(url: str, response: BaseHTTPResponse) -> Iterator[bytes]:
    empty = True
    try:
        for piece in response.stream(CHUNK, decode_content=False):
            empty = False
            yield piece
    except (HTTPError, OSError, ValueError) as error:  # ValueError: the length of a chunk is negative
        raise _transient(url, error) from error
    # Else a head that was cut off, which nothing else tells, would be a page without a word.
    if empty and response.status in (200, 203) and not response.headers.keys() & FRAMED:
        raise Transient(url, "closed before its body began, whose length nobody said")
