"""Reads sites.toml: which sites there are, how they may be asked, and what of their pages is text.

A mistake is told in one line that names the file, the site and the key; nothing is guessed.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from jobs.scrape.decode import codec_of
from jobs.scrape.text import EXTRACTORS, Rules, check_selector
from jobs.scrape.urls import host_of, normalise

ROBOT = "runner-scrape"  # the name that robots.txt can call us by
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SPAN = re.compile(r"(\d{1,4})\s*([hd])")


@dataclass(frozen=True)
class Policy:
    """How a site may be asked. Small, as each fetch carries it."""

    user_agent: str
    hosts: tuple[str, ...]  # that an address, or a redirect, may lead to
    allow_private: bool = False
    concurrency: int = 4
    rate: float | None = None  # requests per second; None: as fast as they come back

    def slowed(self, delay: float) -> Policy:
        """The same, with `delay` seconds (0: none asked for) between two requests."""
        return replace(self, rate=min(self.rate or 1 / delay, 1 / delay)) if delay else self


@dataclass(frozen=True)
class Site:
    """One [[site]] of the file, with defaults filled in."""

    name: str
    start: tuple[str, ...]
    policy: Policy
    rules: Rules = field(default_factory=Rules)
    max_crawl_delay: float = 10.0  # s
    hard_max_age: timedelta = timedelta(days=30)  # from which on a page is fetched, whatever its lastmod says


class _Fault(Exception):
    """A key, and what is wrong with it."""


def load(path: Path) -> list[Site]:
    """The sites of a file. Raises ValueError (one line: file, site, key, problem), or OSError for no file."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML: {error}") from None
    sites: list[Site] = []
    where = ""
    try:
        _known(table, ("contact", "site"))
        contact = _text(table, "contact", required=True)
        agent = f"{ROBOT}/1.0 (+{contact})"
        if not agent.isascii() or not agent.isprintable():
            raise _Fault("contact: only printable ASCII can stand in a User-Agent")
        entries = _of(table, "site", list, "[[site]] tables", [])
        if not entries:
            raise _Fault("site: there is no [[site]] table, so there is nothing to scrape")
        for number, entry in enumerate(entries, 1):
            where = f"site {number}: "
            if not isinstance(entry, dict):
                raise _Fault("expected a [[site]] table")
            site = _site(entry, agent)
            if site.name in {other.name for other in sites}:
                raise _Fault(f"name: {site.name!r} is there twice")
            sites.append(site)
    except _Fault as fault:
        raise ValueError(f"{path}: {where}{fault}") from None
    return sites


def _site(entry: dict[str, Any], agent: str) -> Site:
    rule_keys = tuple(part.name for part in fields(Rules))
    policy_keys = ("allow_private", "allow_hosts", "concurrency", "rate")
    _known(entry, ("name", "start", "max_crawl_delay", "hard_max_age", *policy_keys, *rule_keys))
    name = _text(entry, "name", required=True)
    if not NAME.fullmatch(name):
        raise _Fault(f"name: {name!r} is to be a folder: letters, digits, dot, dash and underscore, please")
    start = tuple(_address(url) for url in _texts(entry, "start"))
    if not start:
        raise _Fault("start: missing: addresses of the site (ending in /) or of its sitemaps")
    hosts = dict.fromkeys([*map(host_of, start), *map(_host, _texts(entry, "allow_hosts"))])
    policy = Policy(
        user_agent=agent,
        hosts=tuple(hosts),
        allow_private=_of(entry, "allow_private", bool, "true or false", False),
        concurrency=int(_number(entry, "concurrency", 4, lambda n: n >= 1 and n == int(n), "a whole number from 1")),
        rate=_number(entry, "rate", None, lambda n: n > 0, "a number above 0 (requests per second)"),
    )
    delay = _number(entry, "max_crawl_delay", 10.0, lambda n: n >= 0, "a number of seconds")
    return Site(name, start, policy, _rules(entry), float(delay), _span(entry, "hard_max_age", timedelta(days=30)))


def _rules(entry: dict[str, Any]) -> Rules:
    encoding = _text(entry, "encoding") or None
    if encoding and codec_of(encoding) is None:
        raise _Fault(f"encoding: {encoding!r} is no encoding of the web")
    extractor = _text(entry, "extractor") or "auto"
    if extractor not in EXTRACTORS:
        raise _Fault(f"extractor: expected {' or '.join(EXTRACTORS)}, found {extractor!r}")
    rules = Rules(tuple(_texts(entry, "select")), tuple(_texts(entry, "drop")), encoding, extractor)
    for key, selectors in (("select", rules.select), ("drop", rules.drop)):
        for selector in selectors:
            try:
                check_selector(selector, extractor)
            except ValueError as error:
                raise _Fault(f"{key}: {error}") from None
    return rules


# --------------------------------------------------------------------------------------------------------- values


def _known(table: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, 1)
            raise _Fault(f"{key}: no such key" + (f"; did you mean {close[0]}?" if close else f" ({', '.join(keys)})"))


def _of(table: dict[str, Any], key: str, kind: type, says: str, default: Any) -> Any:
    value = table.get(key, default)
    if value is not default and type(value) is not kind:
        raise _Fault(f"{key}: expected {says}, found {value!r}")
    return value


def _text(table: dict[str, Any], key: str, *, required: bool = False) -> str:
    value: str = _of(table, key, str, "a text", "").strip()
    if required and not value:
        hint = " (a mail address or a page where a site's owner can reach you)" if key == "contact" else ""
        raise _Fault(f"{key}: missing{hint}")
    return value


def _texts(table: dict[str, Any], key: str) -> list[str]:
    values: list[str] = _of(table, key, list, "a list of texts", [])
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise _Fault(f"{key}: expected a list of texts, found {value!r} in it")
    return values


def _number(table: dict[str, Any], key: str, default: Any, holds: Callable[[float], bool], says: str) -> Any:
    value = table.get(key, default)
    if value is default:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9 or not holds(value):
        raise _Fault(f"{key}: expected {says}, found {value!r}")
    return value


def _span(table: dict[str, Any], key: str, default: timedelta) -> timedelta:
    text = _text(table, key)
    match = SPAN.fullmatch(text)
    if text and not match:
        raise _Fault(f"{key}: expected a time such as '30d' or '36h', found {text!r}")
    return timedelta(hours=int(match[1]) * (24 if match[2] == "d" else 1)) if match else default


def _address(text: str) -> str:
    url = normalise(text)
    if url is None:
        raise _Fault(f"start: {text!r} is no http or https address")
    return url


def _host(text: str) -> str:
    url = normalise(f"http://{text}/")
    if url is None or "/" in text or host_of(url) != text.lower().rstrip("."):
        raise _Fault(f"allow_hosts: {text!r} is no host name (without http:// and port)")
    return host_of(url)
