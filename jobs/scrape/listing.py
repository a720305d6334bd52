"""A site's pages from night to night: which are listed, which are not any more, and whether tonight's list is believed.

The file is urls.tsv: address, lastmod (empty: none that can be used), standing. A page that is no longer listed stays
in it until it is known to be gone; what a damaged list leaves out is no less listed for that. To make tonight's file
from tonight's own gives the same again: a night may be killed behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

Standing = Literal["listed", "unlisted", "held"]
"""listed: a sitemap names it. unlisted: none does any more. held: robots.txt forbids it in a night that is doubted, or
is not to be had."""


@dataclass(frozen=True)
class Entry:
    """One page of a site. `lastmod` None: there is none that can be used."""

    url: str
    lastmod: str | None
    standing: Standing = "listed"


@dataclass(frozen=True)
class Listing:
    """All pages of a site, by address, in the order in which they were found; and the sitemaps that named them."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    sitemaps: frozenset[str] = frozenset()

    @classmethod
    def read(cls, path: Path) -> Listing:
        """The listing in a file; an empty one, if there is no file. Raises ValueError."""
        entries, sitemaps, number = {}, set(), 0
        try:
            with path.open(encoding="utf-8") as file:
                for line in file:
                    number += 1
                    url, lastmod, standing = line.rstrip("\n").split("\t")
                    if standing == "sitemap":
                        sitemaps.add(url)
                    elif standing in ("", *get_args(Standing)):
                        entries[url] = Entry(url, lastmod or None, cast(Standing, standing or "listed"))
                    else:
                        raise ValueError(f"{standing!r} is no standing")
        except FileNotFoundError:
            return cls()
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}. Mend that line, or delete the file to begin anew") from None
        return cls(entries, frozenset(sitemaps))

    def write(self, path: Path) -> None:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"{sitemap}\t\tsitemap\n" for sitemap in sorted(self.sitemaps))
            for entry in self.entries.values():
                standing = "" if entry.standing == "listed" else entry.standing
                file.write(f"{entry.url}\t{entry.lastmod or ''}\t{standing}\n")

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    @property
    def listed(self) -> int:
        return sum(entry.standing != "unlisted" for entry in self)


def merged(
    pages: Mapping[str, str],
    sitemaps: Collection[str],
    before: Listing,
    *,
    believed: bool,
    allowed: Callable[[str], bool],
    silent: Callable[[str], bool],
    there: Callable[[str], bool],
) -> Listing:
    """Tonight's pages (address -> lastmod or "") and sitemaps, and what becomes of those that were known before.

    `believed`: a page that the list leaves out is not listed any more. `allowed`: robots.txt lets us ask for a page.
    `silent`: nobody can tell whether it does; so nobody can tell either what the list should have said of the page.
    `there`: its file is there; of an unlisted page whose file is not, nothing is left to look after.
    """
    found = {url: Entry(url, lastmod or None) for url, lastmod in pages.items()}
    for old in before:
        if old.url in found:
            continue
        may_ask, was_listed = allowed(old.url), old.standing != "unlisted"
        if silent(old.url):
            if was_listed or there(old.url):
                found[old.url] = Entry(old.url, old.lastmod, "held")
        elif was_listed and not believed:
            found[old.url] = Entry(old.url, old.lastmod, "listed" if may_ask else "held")
        elif may_ask and there(old.url):
            found[old.url] = Entry(old.url, old.lastmod, "unlisted")
    return Listing(found, frozenset(sitemaps) if believed else before.sitemaps.union(sitemaps))


def why_doubted(
    pages: int, unread: Collection[str], silent: Collection[str], told: str, before: Listing, max_shrink: float
) -> str | None:
    """Why tonight's list is not believed where it leaves pages out; None if it is.

    `unread`: sitemaps that could not be read. `silent`: pages whose robots.txt could not be. `told`: what was wrong
    with them, or with anything else.
    """
    if max_shrink >= 1:
        return None
    if lost := before.sitemaps.intersection(unread):
        problem = f"a sitemap that was there before cannot be read: {_few(lost)}"
    elif silent:
        problem = f"there is no robots.txt to be had for {_few(silent)}"
    elif pages < (1 - max_shrink) * before.listed:
        problem = f"its sitemaps list {pages} pages, and listed {before.listed} before"
    else:
        return None
    because = f" ({told})" if told else ""
    return f"{problem}{because}. If that is as it should be, set max_shrink = 1.0 for one night"


def _few(urls: Collection[str]) -> str:
    return min(urls) + (f" and {len(urls) - 1} more" if len(urls) > 1 else "")
