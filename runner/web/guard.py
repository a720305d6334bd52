"""Who may look at the live page, and who may act on it.

It listens on this machine alone, yet every web site that is open in a browser here can send requests to it. So:
- Host must be the address that it listens on: a name that somebody else has point here (DNS rebinding) is refused.
- Who acts shows the token that was printed at the start, which the browser keeps as a cookie that no other site's
  request carries (SameSite=Strict), and the form has a word that was made from it, which no other site knows; and
  Origin, where the browser tells it, must be this page.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every answer says to the browser: run no script but ours, load nothing from elsewhere, show this in no frame."""


class Guard:
    """One live page's token, and its address."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self.cookie = f"runner_token_{port}"  # browsers keep one set for all ports of a host
        self.form_word = hmac.new(self.token.encode(), b"form", hashlib.sha256).hexdigest()
        names = ("127.0.0.1", "localhost")
        self._hosts = {f"{name}:{port}" for name in names} | ({*names} if port == 80 else set())

    def admits(self, headers: Mapping[str, str], method: str) -> bool:
        """Whether the request was meant for this page, by its Host; and by the browser's own word not from another
        site, unless somebody has followed a link from there."""
        followed = method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        ours = headers.get("sec-fetch-site", "none") in ("none", "same-origin")
        return headers.get("host", "").lower() in self._hosts and (ours or followed)

    def knows(self, token: str | None) -> bool:
        """Whether it is the token."""
        return token is not None and _same(token, self.token)

    def knows_word(self, word: str) -> bool:
        """Whether it is what the page's forms carry."""
        return _same(word, self.form_word)

    def may_come(self, headers: Mapping[str, str], cookie: str | None) -> bool:
        """Whether a request that wants to change something comes from a page of ours, by what can be told before it
        is read."""
        origin = headers.get("origin")
        here = origin is None or origin.lower() in {f"http://{host}" for host in self._hosts}
        form = headers.get("content-type", "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
        return here and form and self.knows(cookie)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
