"""One polite GET: every wait and every size has an end, every hop is checked, every answer falls into a class.

an Answer        200, 203, 204: the body comes as an iterator, so that it can go to disk piece by piece
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

import requests
from urllib3.exceptions import HTTPError

from jobs.scrape.sites import Policy
from jobs.scrape.urls import host_of, normalise
from jobs.scrape.wire import (
    CHUNK,
    CONNECT_SECONDS,
    READ_SECONDS,
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
}
CHARSET = re.compile(r"""\bcharset\s*=\s*["']?\s*([^\s"';,]+)""", re.IGNORECASE)


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


@contextmanager
def get(url: str, policy: Policy, *, limit: int = PAGE_BYTES, seconds: float | None = None) -> Iterator[Answer]:
    """The answer to a GET, redirects followed. Raises what the head of this module lists.

    `limit` is in bytes; `seconds` bounds the whole affair, reading the body included (None: TOTAL_SECONDS).
    """
    session = begin(TOTAL_SECONDS if seconds is None else seconds, policy.allow_private)
    hop = url
    for _ in range(REDIRECTS + 1):
        if host_of(hop) not in policy.hosts:
            raise Permanent(url, f"leads to {hop}, whose host is not in allow_hosts")
        with _sent(session, hop, policy.user_agent) as response:
            target = _target(hop, response)
            if target is None:
                _check_status(hop, response)
                yield _answer(hop, response, limit)
                return
            _drain(response)
        hop = normalise(target) or ""
        if not hop:
            raise Permanent(url, f"redirects to {target!r}, which is no http address")
    raise Permanent(url, f"more than {REDIRECTS} redirects, the last to {hop}")


def _sent(session: requests.Session, url: str, user_agent: str) -> requests.Response:
    headers = HEADERS | {"User-Agent": user_agent}
    try:
        return session.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS))
    except requests.exceptions.InvalidURL as error:
        raise Permanent(url, str(error)) from error
    except (requests.RequestException, HTTPError, OSError) as error:
        raise _transient(url, error) from error


def _transient(url: str, error: Exception) -> Transient:
    late = "no whole answer before the total deadline; " if seconds_left() <= 0 else ""
    return Transient(url, f"{late}{type(error).__name__}: {error}")


def _drain(response: requests.Response) -> None:
    """Reads a short body that nobody wants: the connection can then be used again."""
    length = response.headers.get("content-length", "")
    if length.isdecimal() and int(length) <= CHUNK:
        with contextlib.suppress(HTTPError, OSError):
            response.raw.read(CHUNK, decode_content=False)


def _target(url: str, response: requests.Response) -> str | None:
    """Where a redirect leads."""
    if response.status_code not in (301, 302, 303, 307, 308) or "location" not in response.headers:
        return None
    # http.client reads headers as latin-1; who sends bytes beyond ASCII means UTF-8.
    location = response.headers["location"].encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return urljoin(url, location.strip())
    except ValueError:
        return location


def _check_status(url: str, response: requests.Response) -> None:
    status = response.status_code
    if status in (200, 203, 204):
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


def _answer(url: str, response: requests.Response, limit: int) -> Answer:
    headers = response.headers
    content_type = headers.get("content-type", "")
    charset = CHARSET.search(content_type)
    return Answer(
        url=url,
        status=response.status_code,
        content_type=content_type.partition(";")[0].strip().lower(),
        charset=charset[1].lower() if charset else None,
        etag=headers.get("etag"),
        last_modified=headers.get("last-modified"),
        body=_body(url, response, limit),
    )


def _body(url: str, response: requests.Response, limit: int) -> Iterator[bytes]:
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise Permanent(url, f"{announced} bytes announced, {limit} are allowed")
    wire = bounded(_wire(url, response), limit, url)
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        yield from wire
    elif encoding in ("gzip", "x-gzip", "deflate"):
        yield from bounded(inflate(wire, url), limit, url)
    else:
        raise Permanent(url, f"content-encoding {encoding!r}, which we did not ask for")


def _wire(url: str, response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.raw.stream(CHUNK, decode_content=False)
    except (HTTPError, OSError) as error:
        raise _transient(url, error) from error
