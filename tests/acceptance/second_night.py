"""What happens to the sites between two nights: pages change, move, vanish and come, a few per cent of each kind.

By a seed, and on paper only: from a site as it was to the site as it will be, and a list of what became of whom. What a
scraper is to make of it is told in forecast.py.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from html import escape
from itertools import islice
from pathlib import Path

from jobs.scrape.freshness import is_audited
from jobs.text import Rules, extract
from tests.acceptance.library import SHELVES, Library, Page, Served, Shelf, opened, sources

HOUR = 3600
FIRST = 1_672_531_200  # 2023: the dates of what was there in the first night, in seconds since the epoch
SECOND = 1_704_067_200  # 2024
OPENING = re.compile(r"<(?:p|li|dd|td|div)\b[^>]*>")
PRIVATE = "/private/secret.html"  # robots.txt forbids it


@dataclass
class Events:
    """Kind -> paths."""

    modified: list[str] = field(default_factory=list)  # another text, and another lastmod
    markup: list[str] = field(default_factory=list)  # other bytes and another lastmod, the same text
    touched: list[str] = field(default_factory=list)  # another lastmod, the same bytes
    silent: list[str] = field(default_factory=list)  # another text, the same lastmod
    deleted: list[str] = field(default_factory=list)  # 404, and listed with another lastmod
    lost: list[str] = field(default_factory=list)  # 404, and listed as if nothing had happened
    gone: list[str] = field(default_factory=list)  # 410, and listed with another lastmod
    dropped: list[str] = field(default_factory=list)  # 404, and no longer listed
    unlisted: list[str] = field(default_factory=list)  # no longer listed, and still there
    added: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)  # listed, and never were there


def share(pages: int, per_cent: float) -> int:
    return max(1, round(pages * per_cent / 100))


def lastmod(shelf: Shelf, year: int, number: int) -> str:
    """In the forms in which sites write it."""
    if shelf.lastmods == "none":
        return ""
    if shelf.lastmods == "same":
        return f"{year}-06-01"
    day = f"{year}-{1 + number % 12:02}-{1 + number % 28:02}"
    return day if number % 2 else f"{day}T{number % 24:02}:30:00+02:00"


def first_night(shelf: Shelf, seed: int) -> tuple[Served, Mapping[str, Page]]:
    """The site as it begins, and two pages that it has not yet."""
    chance = random.Random(f"{seed} {shelf.name}")
    pages = {
        path: shelf.page(source, number, FIRST + number * HOUR)
        for number, (path, source) in enumerate(sources(shelf).items())
    }
    later = {path: pages.pop(path) for path in chance.sample(sorted(pages), 1 if shelf.quiet else 2)}
    listed = {path: lastmod(shelf, 2023, number) for number, path in enumerate(pages)}
    listed["/doc/was-never-here.html"] = lastmod(shelf, 2023, len(listed))
    listed[PRIVATE] = lastmod(shelf, 2023, len(listed))
    hidden = Page("", b"<title>Secret</title><p>Not for robots.</p>", FIRST)
    return Served({**pages, PRIVATE: hidden}, listed), later


def second_night(
    shelf: Shelf, before: Served, later: Mapping[str, Page], seed: int, picked: Callable[[str], bool]
) -> tuple[Served, Events]:
    """`picked`: pages that an audit asks for tonight. Some of them change without a new lastmod, as do others."""
    chance = random.Random(f"{seed} {shelf.name} second night")
    change = Change(shelf, before)
    free = sorted(before.pages.keys() - {PRIVATE})
    chance.shuffle(free)
    few = share(len(free), 3)
    for path in take(free, 2 * few, change.can_be_marked):
        change.mark(path)
    for path in take(free, few):
        change.touch(path)
    if shelf.quiet:
        return change.result()
    for path in take(free, 2 * few, change.can_be_modified):
        change.modify(path, chance)
    if shelf.audit:
        caught, quiet = (list(filter(want, free)) for want in (picked, lambda path: not picked(path)))
        for some in (caught, quiet):
            for path in take(some, 1, change.can_be_modified):
                free.remove(path)
                change.modify(path, chance, silently=True)
    for vanish in (change.delete, change.lose, change.give_up, change.drop, change.unlist):
        for path in take(free, few):
            vanish(path)
    for path, page in later.items():
        change.add(path, page)
    change.add("/doc/was-not-here-either.html", None)
    return change.result()


def take(free: list[str], most: int, fits: Callable[[str], bool] = lambda _: True) -> list[str]:
    """Takes pages off the list."""
    taken = list(islice((path for path in free if fits(path)), most))
    for path in taken:
        free.remove(path)
    return taken


class Change:
    """A site on its way from one night to the next."""

    def __init__(self, shelf: Shelf, before: Served) -> None:
        self.shelf = shelf
        self.pages, self.listed = dict(before.pages), dict(before.listed)
        self.status: dict[str, int] = {}
        self.events = Events()
        self.number = {path: number for number, path in enumerate(before.pages)}
        if shelf.lastmods == "same":  # the site was made anew as a whole
            self.listed = {path: lastmod(shelf, 2024, 0) for path in self.listed}

    def result(self) -> tuple[Served, Events]:
        return Served(self.pages, self.listed, self.status), self.events

    def can_be_modified(self, path: str) -> bool:
        return self._with_sentence(path, "Some words.") is not None

    def can_be_marked(self, path: str) -> bool:
        return "</head>" in self.pages[path].source

    def modify(self, path: str, chance: random.Random, *, silently: bool = False) -> None:
        """A sentence more, of the page's own words: so it is in its language, and like no other page's."""
        words = text_of(self.pages[path].source).split()
        sentence = " ".join(word[:12] for word in chance.sample(words, min(len(words), 16)))
        changed = self._with_sentence(path, f"{sentence} {chance.randrange(10**6)}")
        assert changed is not None, path
        self._replace(path, changed)
        if silently:
            self.events.silent.append(path)
        else:
            self._announce(path)
            self.events.modified.append(path)

    def mark(self, path: str) -> None:
        before = self.pages[path].source
        changed = before.replace("</head>", '<meta name="revision" content="2"></head>', 1)
        assert changed != before, path
        assert text_of(changed) == text_of(before), path
        self._replace(path, changed)
        self._announce(path)
        self.events.markup.append(path)

    def touch(self, path: str) -> None:
        self._replace(path, self.pages[path].source)
        self._announce(path)
        self.events.touched.append(path)

    def delete(self, path: str) -> None:
        del self.pages[path]
        self._announce(path)
        self.events.deleted.append(path)

    def lose(self, path: str) -> None:
        del self.pages[path]
        self.events.lost.append(path)

    def give_up(self, path: str) -> None:
        del self.pages[path]
        self.status[path] = 410
        self._announce(path)
        self.events.gone.append(path)

    def drop(self, path: str) -> None:
        del self.pages[path], self.listed[path]
        self.events.dropped.append(path)

    def unlist(self, path: str) -> None:
        del self.listed[path]
        self.events.unlisted.append(path)

    def add(self, path: str, page: Page | None) -> None:
        if page is not None:
            self.pages[path] = page
            self.events.added.append(path)
        else:
            self.events.ghosts.append(path)
        self.listed[path] = lastmod(self.shelf, 2024, len(self.listed))

    def _replace(self, path: str, source: str) -> None:
        number = self.number[path]
        self.pages[path] = self.shelf.page(source, number, SECOND + number * HOUR)

    def _announce(self, path: str) -> None:
        self.listed[path] = lastmod(self.shelf, 2024, self.number[path])

    def _with_sentence(self, path: str, sentence: str) -> str | None:
        """The page's markup with a sentence more, about the middle of its text. None: there is no place for it."""
        source = self.pages[path].source
        places = [match.end() for match in OPENING.finditer(source)]
        places.sort(key=lambda place: abs(place - len(source) // 2))
        for place in places[:: max(1, len(places) // 20)]:
            changed = f"{source[:place]}{escape(sentence)} {source[place:]}"
            if sentence in text_of(changed):
                return changed
        return None


@lru_cache(maxsize=5_000)
def text_of(source: str) -> str:
    """What a page's markup says, whatever its encoding was."""
    return extract(source, Rules()).text


# --------------------------------------------------------------------------------------------------- both together


@dataclass(repr=False)
class Plan:
    """The sites with their first two nights, ready to be served; and what becomes of whom."""

    library: Library
    events: dict[str, Events] = field(default_factory=dict)


@contextmanager
def planned(folder: Path, seed: int, shelves: Sequence[Shelf] = SHELVES) -> Iterator[Plan]:
    """With nginx running. Raises NoPages. The second night is meant for today: it has a share in what is audited."""
    with opened(folder, shelves) as library:
        today, plan = datetime.now(UTC), Plan(library)
        first, second = {}, {}
        for shelf in shelves:
            first[shelf.name], later = first_night(shelf, seed)
            second[shelf.name], plan.events[shelf.name] = second_night(
                shelf, first[shelf.name], later, seed, audit(library, shelf, today)
            )
        library.add("first", first)
        library.add("second", second)
        yield plan


def audit(library: Library, shelf: Shelf, start: datetime) -> Callable[[str], bool]:
    """Which pages a run that begins then asks for though nothing speaks for it."""
    return lambda path: is_audited(library.url(shelf.name) + path, start, shelf.audit)
