"""What a scraper is to make of a night: whom it asks and how, what it reports, what it keeps. To the last page.

A second opinion: the rules as they were promised, in code of their own. Taken from the product is only what no promise
can tell: which pages an audit draws, and what is text in a page whose encoding is known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tests.acceptance.library import Library, Page, Served, Shelf
from tests.acceptance.second_night import PRIVATE, audit, text_of

NIGHTLY = 20  # h: a page that was asked for less long ago is not asked for again


@dataclass(frozen=True)
class Known:
    """What is known of a page. `page`: as it was fetched; None: it is absent."""

    page: Page | None
    checked: int  # h
    lastmod: str | None = None  # that was relied on
    listed: bool = True
    missing: bool = False  # it was not found last time


@dataclass(frozen=True)
class Asked:
    """A request, as it is to stand in the server's log."""

    path: str
    status: int
    if_none_match: str = "-"
    if_modified_since: str = "-"


@dataclass(repr=False)
class SiteNight:
    """What is to come of one site's night."""

    known: dict[str, Known]
    asked: list[Asked] = field(default_factory=list)
    report: dict[str, list[str]] = field(
        default_factory=lambda: {
            kind: [] for kind in ("new", "changed", "markup_only", "absent", "unlisted", "missing", "failed")
        }
    )
    unchanged: int = 0
    parsed: set[str] = field(default_factory=set)  # pages whose text is made, or made again
    trusted: bool = True

    @property
    def texts(self) -> dict[str, Page]:
        """The pages that are there, and have a text."""
        return {path: known.page for path, known in self.known.items() if known.page and text_of(known.page.source)}


@dataclass(repr=False)
class Forecast:
    """One site over its nights. `caught`: a page was found to have changed under the same lastmod; what that means for
    the others is considered when the sitemaps are read again, the next night."""

    shelf: Shelf
    known: dict[str, Known] = field(default_factory=dict)
    caught: bool = False
    trusted: bool = False
    collected: int = -NIGHTLY  # h

    def night(self, served: Served, hour: int, picked: Callable[[str], bool], *, doubted: bool = False) -> SiteNight:
        """`picked`: for the audit. `doubted`: what the sitemaps leave out is listed, and nothing is given up."""
        listed = {
            path: lastmod or None for path, lastmod in served.readable(self.shelf.parts).items() if path != PRIVATE
        }
        if doubted:
            listed = {path: known.lastmod for path, known in self.known.items() if known.listed} | listed
        if hour - self.collected >= NIGHTLY:
            self.trusted, self.collected = self.shelf.lastmods == "own" and not self.caught, hour
        night = SiteNight({}, trusted=self.trusted)
        for path in [*listed, *(path for path in self.known if path not in listed)]:
            known, is_listed = self.known.get(path), path in listed
            if not is_listed and known is not None and known.page is None:
                continue  # nothing is left to look after
            lastmod = listed[path] if is_listed else known.lastmod if known else None
            visit = Visit(self, night, served, path, hour, is_listed, lastmod if night.trusted else None)
            if known is None or visit.due(known, picked):
                visit.ask(known, doubted)
            else:
                night.known[path] = known
                night.unchanged += known.page is not None
        self.known = night.known
        for paths in night.report.values():
            paths.sort()
        return night


@dataclass
class Visit:
    """One page in one night."""

    forecast: Forecast
    night: SiteNight
    served: Served
    path: str
    hour: int
    listed: bool
    lastmod: str | None

    def due(self, known: Known, picked: Callable[[str], bool]) -> bool:
        """Whether the page is asked for, as it is known."""
        if not self.listed and known.listed:
            return True
        if self.lastmod and self.lastmod != known.lastmod:
            return True
        if self.hour - known.checked < NIGHTLY:
            return False
        if known.page is None or known.missing or self.hour - known.checked >= self.forecast.shelf.hard_max_age:
            return True
        return self.listed and (self.lastmod is None or picked(self.path))

    def ask(self, known: Known | None, doubted: bool) -> None:
        """The request and its answer."""
        old = known.page if known else None
        page = self.served.pages.get(self.path)
        status = self.served.status.get(self.path) or (200 if page else 404)
        conditions = self.forecast.shelf.validator(old) if old else ("-", "-")
        if status == 200 and old and page and conditions != ("-", "-"):
            status = 304 if self.forecast.shelf.validator(page) == conditions else 200
        if status == 500:
            self._failed(known, conditions)
            return
        self.night.asked.append(Asked(self.path, status, *conditions))
        second_chance = doubted or (status == 404 and self.listed and known is not None and not known.missing)
        if page is None or status == 410:
            self._not_found(known, keep=second_chance)
        else:
            self._found(known, page)

    def _failed(self, known: Known | None, conditions: tuple[str, str]) -> None:
        """Asked for three times; what is known of it stays as it is."""
        self.night.asked += [Asked(self.path, 500, *conditions)] * 3
        self._report("failed")
        if known is not None:
            self.night.known[self.path] = known

    def _not_found(self, known: Known | None, *, keep: bool) -> None:
        was_there = known is not None and known.page is not None
        kept = known.page if known and keep else None
        self._know(kept, missing=kept is not None)
        if kept:
            self._report("missing")
        elif was_there or known is None:
            self._report("absent")

    def _found(self, known: Known | None, page: Page) -> None:
        old = known.page if known else None
        self._know(page)
        if old is None or page.body != old.body:
            self.night.parsed.add(self.path)
        if old is None:
            self._report("new")
        elif not self.listed and known and known.listed:
            self._report("unlisted")
        elif text_of(page.source) != text_of(old.source):
            self._report("changed")
            if self.lastmod and known and self.lastmod == known.lastmod:
                self.forecast.caught = True
        elif page.body != old.body:
            self._report("markup_only")
        else:
            self.night.unchanged += 1

    def _know(self, page: Page | None, missing: bool = False) -> None:
        self.night.known[self.path] = Known(page, self.hour, self.lastmod, self.listed, missing)

    def _report(self, kind: str) -> None:
        self.night.report[kind].append(self.path)


def tonight(
    library: Library,
    forecasts: Mapping[str, Forecast],
    start: datetime,
    hour: int,
    served: str,
    doubted: Collection[str] = (),
) -> dict[str, SiteNight]:
    """All sites, in a run that began at `start`, so many hours after the first."""
    return {
        name: forecast.night(
            library.nights[served][name], hour, audit(library, forecast.shelf, start), doubted=name in doubted
        )
        for name, forecast in forecasts.items()
    }
