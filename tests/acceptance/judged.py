"""What was found, held against what was to come of a night. Each check names the pages that are wrong."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.acceptance.forecast import SiteNight
from tests.acceptance.library import Library, Page
from tests.acceptance.scraped import Night, raw, text
from tests.acceptance.second_night import text_of

Expected = Mapping[str, SiteNight]  # by site


def check_requests(night: Night, expected: Expected) -> None:
    """Each page that is to be asked for, once, with the right validators and to the right answer; and no other."""
    for name, site in expected.items():
        asked, wanted = night.asked(name), Counter(site.asked)
        many, missing = sorted(map(str, asked - wanted)), sorted(map(str, wanted - asked))
        assert asked == wanted, f"{name}: too many: {many}; missing: {missing}"


def check_report(library: Library, night: Night, expected: Expected) -> None:
    """All that it says of pages, and how many."""
    assert night.report.keys() == expected.keys()
    for name, site in expected.items():
        told = night.report[name]
        for kind, paths in site.report.items():
            wanted = sorted(library.url(name) + path for path in paths)
            assert sorted(told[kind]) == wanted, f"{name}: {kind}: {told[kind]}, not {wanted}"
    for name, site in expected.items():
        told = night.report[name]
        counts = {kind: len(paths) for kind, paths in site.report.items()} | {"unchanged": site.unchanged}
        assert told["counts"] == counts, f"{name}: {told['counts']}, not {counts}"


def check_files(library: Library, night: Night, expected: Expected) -> None:
    """Every file below data/: of each page that is there its bytes and its text, and nothing else."""
    wanted = {"corpus.jsonl"}
    found = {path: file.data for path, file in night.after.items()}
    for name, site in expected.items():
        wanted |= {f"{name}/corpus.jsonl", f"{name}/urls.tsv"}
        for path, known in site.known.items():
            if known.page is not None:
                file = raw(library, name, path)
                wanted |= {f"{file}.html", f"{file}.json"}
                assert found.get(f"{file}.html") == known.page.body, f"{name}{path}: not as it was served"
        for path, page in site.texts.items():
            file = text(library, name, path)
            wanted |= {f"{file}.txt", f"{file}.json"}
            assert found.get(f"{file}.txt", b"").decode() == text_of(page.source), f"{name}{path}: another text"
            check_sidecar(library, name, path, page, json.loads(found[f"{file}.json"]))
    many, missing = sorted(found.keys() - wanted), sorted(wanted - found.keys())
    assert found.keys() == wanted, f"too many: {many}; missing: {missing}"


def check_sidecar(library: Library, name: str, path: str, page: Page, sidecar: dict[str, Any]) -> None:
    shelf, where = library.shelves[name], f"{name}{path}: {sidecar}"
    assert sidecar["url"] == sidecar["final_url"] == library.url(name) + path, where
    assert (sidecar["encoding"] in shelf.codecs, sidecar["bad_bytes"]) == (True, 0), where
    assert sidecar["words"] == len(text_of(page.source).split()), where
    assert datetime.fromisoformat(sidecar["fetched"]).tzinfo is not None, where


def check_corpora(library: Library, night: Night, expected: Expected) -> None:
    """Rows of nearly all pages that have a text (some are all boilerplate), and of no others."""
    merged: dict[str, set[str]] = {name: set() for name in expected}
    for row in map(json.loads, night.after["corpus.jsonl"].data.splitlines()):
        merged[row["site"]].add(row["url"])
        assert row["text"].strip(), row
    for name, site in expected.items():
        there = {library.url(name) + path for path in site.texts}
        own = {json.loads(line)["url"] for line in night.after[f"{name}/corpus.jsonl"].data.splitlines()}
        assert own <= there, f"{name}: rows of pages that are not there: {own - there}"
        assert merged[name] <= own, f"{name}: rows that its own corpus has not: {merged[name] - own}"
        assert len(own) >= 0.8 * len(there), f"{name}: only {len(own)} of {len(there)} pages have a row"
