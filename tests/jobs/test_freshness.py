from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.scrape.freshness import conclusive, is_audited, usable, why_distrusted, why_due
from jobs.scrape.sites import Policy
from runner.task import Last

NOW = datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
URL = "http://a.example/1"
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-21", "2026-11-21T10:00:00Z", "2026-11-21T10:00+05:30", "2026-11-21 10:00", "2026-11-22T02:59:00Z"),
        *("2026-11-21T10:00:00.123456789Z", "Sat, 21 Nov 2026 10:00:00 GMT", "Sat, 21 Nov 2026 10:00:00 +0100"),
        *("0001-01-01", "2026-11-22"),
    ],
)
def test_dates_of_use(text: str) -> None:
    assert usable(text, NOW)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "2026", "2026-11", "20261121", "2026-W47-6", "2026-11-31", "2026-11-21Tmorning"),
        *("2026-11-23", "2026-11-22T03:01:00Z", "Mon, 23 Nov 2026 10:00:00 GMT", "9999-12-31", "2026-11-21T25:00:00Z"),
        *("0001-01-01T00:00:00+23:00", "\ud800", "2026-11-21Z", "１２３４-11-21", "0", "-1"),
    ],
)
def test_dates_of_no_use(text: str) -> None:
    assert not usable(text, NOW)


@pytest.mark.parametrize(
    ("lastmod", "seen", "wanted"),
    [
        ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00+00:00", True),
        ("2026-11-20T10:00:00Z", "2026-11-20T09:59:59+00:00", False),
        ("2026-11-20T10:00:00+02:00", "2026-11-20T08:00:00+00:00", True),
        ("2026-11-20", "2026-11-20T23:59:00+00:00", False),
        ("2026-11-20", "2026-11-21T11:59:00+00:00", False),  # it is still the 20th somewhere
        ("2026-11-20", "2026-11-21T12:00:00+00:00", True),
        ("nonsense", "2026-11-21T12:00:00+00:00", False),
    ],
)
def test_a_date_is_no_word_on_its_own_day(lastmod: str, seen: str, wanted: bool) -> None:
    assert conclusive(lastmod, datetime.fromisoformat(seen)) is wanted


def test_whom_not_to_rely_on() -> None:
    def pages(same: int, other: int = 0, none: int = 0) -> dict[str, str]:
        values = ["2026-11-01"] * same + [f"2026-10-{n + 1:02}" for n in range(other)] + [""] * none
        return {str(number): value for number, value in enumerate(values)}

    assert why_distrusted({}, 0) is None
    assert why_distrusted(pages(18, 2), 0) is None, "90 % are not more than 90 %"
    assert why_distrusted(pages(19, 2), 0) == "19 of 21 pages have the same lastmod, 2026-11-01"
    assert why_distrusted(pages(1, 0, 20), 0) is None, "where most have none, it is asked anyway"
    assert why_distrusted(pages(2, 9), 1) == "1 page(s) changed without a new lastmod in the last 30 days"


def due(ago: timedelta, lastmod: str | None = "2026-09-01", standing: Any = "listed", **more: Any) -> str | None:
    """Of a page that was done so long ago, with lastmod 2026-09-01 and listed; `more`: what its record says."""
    last = Last(
        params={},
        hints={"lastmod": more.pop("had", "2026-09-01"), "standing": more.pop("stood", "listed")},
        value=more.pop("value", {}),
        outputs={"a": more.pop("made", {"bytes": 1})},
        version=1,
        checked_at=NOW - ago,
    )
    policy = Policy("agent", ("a.example",), audit=more.pop("audit", 0.0))
    assert not more
    return why_due(URL, lastmod, standing, policy, last, NOW)


def test_why_a_page_is_asked_for() -> None:
    assert due(DAY) is None
    assert due(timedelta(hours=1), lastmod="2026-09-02") == "lastmod 2026-09-01 -> 2026-09-02"
    assert due(timedelta(hours=1), had=None) == "lastmod None -> 2026-09-01"
    assert due(timedelta(hours=19), lastmod=None) is None
    assert due(timedelta(hours=21), lastmod=None) == "no lastmod to rely on"
    assert due(timedelta(hours=19), made=None) is None
    assert due(DAY, made=None) == "was absent"
    assert due(DAY, made=None, standing="unlisted", stood="unlisted") is None
    assert due(timedelta(hours=1), standing="unlisted") == "no longer in the sitemap"
    assert due(DAY, standing="unlisted", stood="unlisted", lastmod=None) is None
    assert due(40 * DAY, standing="unlisted", stood="unlisted") == "older than 30 days, 0:00:00"
    assert due(DAY, value={"missing": 1}) == "was not found last night"
    assert due(timedelta(hours=1), value={"missing": 1}) is None
    assert due(30 * DAY) == "older than 30 days, 0:00:00"
    assert due(29 * DAY) is None
    assert due(40 * DAY, standing="held", lastmod="2026-09-02") is None
    assert due(DAY, lastmod="2026-11-21", had="2026-11-21") == "changed on the day it was fetched"
    assert due(DAY, audit=1.0) == "audit: does its lastmod tell the truth?"


def test_audits_are_a_share_of_the_pages_and_other_ones_each_night() -> None:
    def drawn(now: datetime, share: float) -> set[int]:
        return {number for number in range(20_000) if is_audited(f"http://a/{number}", now, share)}

    first = drawn(NOW, 0.01)
    assert 140 < len(first) < 260
    assert drawn(NOW + timedelta(hours=3), 0.01) == first, "a night is a day of the calendar"
    assert len(first & drawn(NOW + DAY, 0.01)) < 20
    assert first < drawn(NOW, 0.1)
    assert drawn(NOW, 0.0) == set()
    assert len(drawn(NOW, 1.0)) == 20_000
