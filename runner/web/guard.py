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
        self._hosts = {f"{host}:{port}" for host in ("127.0.0.1", "localhost")}

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether the request was meant for this page, by its Host."""
        return headers.get("host", "").lower() in self._hosts

    def knows(self, token: str | None) -> bool:
        """Whether it is the token."""
        return token is not None and hmac.compare_digest(token.encode(), self.token.encode())

    def may_act(self, headers: Mapping[str, str], cookie: str | None, word: str | None) -> bool:
        """Whether a request that changes something comes from a page of ours."""
        origin = headers.get("origin")
        here = origin is None or origin.lower() in {f"http://{host}" for host in self._hosts}
        right = word is not None and hmac.compare_digest(word.encode(), self.form_word.encode())
        return here and right and self.knows(cookie)
