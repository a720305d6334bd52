"""Whether a page need be asked for again. Pure: the time is passed in, no file is read.

A page whose lastmod is as it was need not be. That holds only for a date that can be read and has been, that tells
pages apart, and whose site was not caught changing pages without a word; and not for ever.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from jobs.scrape.listing import Standing
from jobs.scrape.sites import Policy

NIGHTLY = timedelta(hours=20)  # less than a day: a nightly start must never be a few seconds too early
SAME_SHARE = 0.9  # of the pages; if more have one and the same lastmod, it is the date of the sitemap
SUSPICION = timedelta(days=30)  # for so long a site is not believed that was caught
CLOCKS = timedelta(hours=1)  # a server's clock may be ahead of ours by so much
DATE = re.compile(r"\d{4}-\d\d-\d\d")
DAY = timedelta(days=1)
ZONES = timedelta(hours=12)  # a day without a zone may end so much later than in UTC


def why_due(url: str, lastmod: str | None, standing: Standing, policy: Policy, last: Any, now: datetime) -> str | None:
    """Why a page that was fetched before, with the record `last`, is asked for in the run that began at `now`.

    `lastmod` None: there is none, or none that is relied on.
    """
    before, age = last.hints, now - last.checked_at
    if standing == "held":
        return None
    if standing == "unlisted" and before.get("standing") != "unlisted":
        return "no longer in the sitemap"
    if lastmod and lastmod != before.get("lastmod"):
        return f"lastmod {before.get('lastmod')} -> {lastmod}"
    if age < NIGHTLY:
        return None
    if None in last.outputs.values():
        return "was absent" if standing == "listed" else None
    if last.value.get("missing"):
        return "was not found last night"
    if age >= policy.hard_max_age:
        return f"older than {policy.hard_max_age}"
    if standing == "unlisted":
        return None
    if lastmod is None:
        return "no lastmod to rely on"
    if not conclusive(lastmod, last.checked_at):
        return "changed on the day it was fetched"
    return "audit: does its lastmod tell the truth?" if is_audited(url, now, policy.audit) else None


def is_audited(url: str, now: datetime, share: float) -> bool:
    """Whether a page is asked for in this night though its lastmod says that it need not: one in 1 / `share` is."""
    drawn = hashlib.sha256(f"{url} {now:%Y-%m-%d}".encode()).digest()
    return int.from_bytes(drawn[:6], "big") < share * 2**48


def usable(text: str, now: datetime) -> bool:
    """Whether it is a date (to the day at least) that is not in the future."""
    begin = _begin(text)
    return begin is not None and begin <= now + CLOCKS


def conclusive(text: str, seen: datetime) -> bool:
    """Whether a page that was fetched at `seen`, and has this lastmod still, cannot have changed since by its site's
    word. A bare date is no such word on its own day: the page may have changed again in the evening."""
    begin = _begin(text)
    return begin is not None and seen >= begin + (DAY + ZONES if DATE.fullmatch(text) else timedelta(0))


def why_distrusted(pages: Mapping[str, str], unannounced: int) -> str | None:
    """Why the lastmods of a whole site are not relied on; None if they are.

    `pages`: address -> usable lastmod or "". `unannounced`: pages whose text changed of late without a new lastmod.
    """
    if unannounced:
        return f"{unannounced} page(s) changed without a new lastmod in the last {SUSPICION.days} days"
    if pages:
        lastmod, count = Counter(pages.values()).most_common(1)[0]
        if lastmod and count > SAME_SHARE * len(pages):
            return f"{count} of {len(pages)} pages have the same lastmod, {lastmod}"
    return None


def _begin(text: str) -> datetime | None:
    """W3C's form (sitemaps, Atom) or that of mails (RSS). A year or a month alone says too little."""
    try:
        iso = DATE.match(text) and text[10:11] in ("", "T", " ")
        date = datetime.fromisoformat(text) if iso else parsedate_to_datetime(text)
        return date.astimezone(UTC) if date.tzinfo else date.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
