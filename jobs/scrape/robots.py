"""What a host lets robots do: robots.txt, read once for each host and run.

No rules (any 4xx) allow everything. No answer, or a server in trouble, allows nothing: the exception that `get` raises
then holds the whole site back until it can be asked. But where nobody answers (another port, say, which one address
names), and the site does not start there, it may go on without what lies there: that is told, and left to the caller.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import urljoin

from protego import Protego

from jobs.scrape.fetch import get
from jobs.scrape.sites import ROBOT, Policy
from jobs.scrape.urls import limit_key
from jobs.scrape.wire import Permanent, Transient

ROBOTS_BYTES = 500_000  # what is behind them is not read (RFC 9309 asks for so many)
MOST_SILENT = 5  # hosts and ports where nobody answers: each costs a time-out
LEAST_DELAY = 0.001  # s; 1 / less need not be a number
ROBOT_LINE = re.compile(r"\s*user\s*-?\s*agent(?:\s*:|\s)([^#]*)", re.IGNORECASE)  # as freely as the parser does


class Robots:
    """The robots.txt of each host (and port) that is asked about."""

    def __init__(self, policy: Policy, max_delay: float, start: Collection[str]) -> None:
        """`start`: where the site starts. Without the robots.txt of these, nothing goes."""
        self._policy = policy
        self._max_delay = max_delay
        self._needed = {address_of(url) for url in start}
        self._known: dict[str, Protego | None] = {}  # None: nobody answers
        self.silent: dict[str, Transient] = {}  # of those where nobody answers, the address, and what happened

    def allow(self, url: str) -> bool:
        """Whether a page may be fetched."""
        rules = self._of(url)
        return rules is not None and rules.can_fetch(url, ROBOT)

    def is_silent(self, url: str) -> bool:
        """Whether what holds for a page cannot be known tonight."""
        return self._of(url) is None

    def sitemaps(self, url: str) -> list[str]:
        """What the host of `url` names as its sitemaps, as it spells them."""
        rules = self._of(url)
        return list(rules.sitemaps) if rules else []

    def delay(self, url: str) -> float:
        """Seconds between two requests, at most max_delay; 0 if the host does not say."""
        rules = self._of(url)
        said = min((rules and rules.crawl_delay(ROBOT)) or 0.0, self._max_delay)
        return said if said >= LEAST_DELAY else 0.0

    def delays(self) -> dict[str, float]:
        """The same for every host that was asked about and does say, by the runner's limit key."""
        return {limit_key(address): delay for address in self._known if (delay := self.delay(address))}

    def _of(self, url: str) -> Protego | None:
        address = address_of(url)
        if address not in self._known:
            try:
                self._known[address] = Protego.parse(self._text(address))
            except Transient as error:
                if address in self._needed or error.status is not None or len(self.silent) == MOST_SILENT:
                    raise
                self._known[address], self.silent[address] = None, error
        return self._known[address]

    def _text(self, address: str) -> str:
        data = b""
        try:
            with get(address, self._policy, limit=ROBOTS_BYTES, cut=True) as answer:
                data = b"".join(answer.body)
        except Permanent as error:
            if error.status is None:  # not the server's word: a redirect to another host, a private address
                raise
        # The last line may be cut: half a path would forbid, or allow, too much.
        whole = data if len(data) <= ROBOTS_BYTES else data[:ROBOTS_BYTES].rpartition(b"\n")[0]
        return for_us(whole.decode("utf-8-sig", "replace"))


def address_of(url: str) -> str:
    """Of the robots.txt that holds for a page."""
    return urljoin(url, "/robots.txt")


def for_us(text: str) -> str:
    """The same rules, with one name for all robots that are not us.

    The parser copies the rules of a group for each of its robots: of 500 kB, half names and half rules, it makes 20 GB.
    """
    return "\n".join(map(_for_us, text.splitlines()))


def _for_us(line: str) -> str:
    robot = ROBOT_LINE.match(line)
    names = robot[1].strip().lower() if robot else ""
    if not names:
        return line
    name = names.replace("*", "")
    return f"User-agent: {name or '*'}" if ROBOT.startswith(name) else "User-agent: another"
