from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scrape.listing import Entry, Listing, merged, why_doubted

URLS = [f"http://a.example/{number}" for number in range(12)]
LASTMODS = st.sampled_from(["", "2026-11-01", "2026-11-02"])
NAMES = st.sets(st.sampled_from(URLS))


def listing(path: Path, text: str) -> Listing:
    path.write_text(text)
    return Listing.read(path)


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "urls.tsv"
    assert Listing.read(path) == Listing()
    entries = [
        Entry("http://a/1", "2026-11-01"),
        Entry("http://a/2", None, "unlisted"),
        Entry("http://a/3", None, "held"),
    ]
    whole = Listing({entry.url: entry for entry in entries}, frozenset({"http://a/map"}))
    whole.write(path)
    assert Listing.read(path) == whole
    assert list(Listing.read(path)) == entries, "in their order"
    assert whole.listed == 2
    assert path.read_text().splitlines()[1:3] == ["http://a/1\t2026-11-01\t", "http://a/2\t\tunlisted"]


@pytest.mark.parametrize("line", ["http://a/2", "http://a/2\t2026-11-01\tlost", "a\tb\tc\td", "\udcff"])
def test_a_file_that_somebody_broke(line: str, tmp_path: Path) -> None:
    path = tmp_path / "urls.tsv"
    path.write_bytes(b"http://a/1\t\t\n" + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(ValueError, match=r"urls\.tsv:[012]: .*delete the file to begin anew"):
        Listing.read(path)


@given(
    before=st.dictionaries(st.sampled_from(URLS), st.sampled_from(["listed", "unlisted", "held"])),
    pages=st.dictionaries(st.sampled_from(URLS), LASTMODS),
    believed=st.booleans(),
    allowed=NAMES,
    silent=NAMES,
    there=NAMES,
)
def test_what_becomes_of_pages(
    before: Any, pages: dict[str, str], believed: bool, allowed: set[str], silent: set[str], there: set[str]
) -> None:
    known = Listing({url: Entry(url, "2026-10-01", standing) for url, standing in before.items()}, frozenset({"old"}))
    how: Any = {"believed": believed, "there": there.__contains__}
    how |= {"allowed": (allowed - silent).__contains__, "silent": silent.__contains__}
    tonight = merged(pages, ["new"], known, **how)
    assert list(tonight)[: len(pages)] == [Entry(url, lastmod or None) for url, lastmod in pages.items()]
    assert tonight.entries.keys() <= pages.keys() | before.keys()
    for url, standing in before.items():
        now = tonight.entries.get(url)
        if url in pages:
            continue
        if url in silent:
            assert (now is not None) == (standing != "unlisted" or url in there), "what cannot be known is no loss"
            assert now is None or now.standing == "held"
        elif not believed and standing != "unlisted":
            assert now is not None, "no page is lost in a night that is not believed"
            assert now.standing == ("listed" if url in allowed else "held"), "nor asked for against robots.txt"
        else:
            assert (now is not None) == (url in allowed and url in there)
            assert now is None or now.standing == "unlisted"
    assert tonight.sitemaps == ({"new"} if believed else {"old", "new"})
    assert merged(pages, ["new"], tonight, **how) == tonight, "killed behind it, the night comes to the same"


def test_when_a_night_is_doubted() -> None:
    ten = Listing({url: Entry(url, None) for url in URLS[:10]}, frozenset({"/a", "/b"}))
    assert why_doubted(8, [], [], "", ten, 0.2) is None
    assert why_doubted(7, [], [], "3 empty", ten, 0.2) == (
        "its sitemaps list 7 pages, and listed 10 before (3 empty). "
        "If that is as it should be, set max_shrink = 1.0 for one night"
    )
    assert why_doubted(7, [], [], "", ten, 0.3) is None
    assert why_doubted(0, [], [], "", ten, 1.0) is None
    assert why_doubted(0, [], [], "", Listing(), 0.2) is None
    assert why_doubted(10, ["/c"], [], "", ten, 0.2) is None
    told = why_doubted(10, ["/b", "/c", "/a"], [], "status 404", ten, 0.2)
    assert told is not None
    assert told.startswith("a sitemap that was there before cannot be read: /a and 1 more (status 404)")
    assert why_doubted(10, ["/b"], [], "", ten, 1.0) is None
    told = why_doubted(10, [], ["http://a/2", "http://a/1"], "refused", ten, 0.2)
    assert told is not None
    assert told.startswith("there is no robots.txt to be had for http://a/1 and 1 more (refused)")
