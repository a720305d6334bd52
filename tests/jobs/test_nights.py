"""From night to night: what is asked for again, what is given up, and when a sitemap is not believed."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pandas
import pytest

import runner
from jobs.scrape import nightly
from tests.jobs.nights import Nights, own, page, rewrite
from tests.jobs.server import FaultServer, answer

GONE = answer(b"", "404 Not Found")


@pytest.fixture
def nights(tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> Nights:
    monkeypatch.chdir(tmp_path)
    return Nights(tmp_path, server)


@pytest.fixture
def second(nights: Nights) -> Nights:
    """The first night is over."""
    first = nights.night()
    assert first.exit_code == 0
    assert nights.asked == sorted(nights.pages)
    assert nights.report() == {"new": sorted(nights.pages), "unchanged": 0}
    return nights


def test_a_quiet_night(second: Nights) -> None:
    assert second.again().exit_code == 0
    assert second.server.asked == [], "nothing at all in the same night"
    before = {path: path.stat() for path in second.folder.glob("data/**/*") if path.is_file()}
    assert second.night().exit_code == 0
    assert second.asked == []
    assert second.report() == {"unchanged": 10}
    after = {path: path.stat() for path in second.folder.glob("data/**/*") if path.is_file()}
    assert {path: (stat.st_ino, stat.st_mtime_ns) for path, stat in after.items()} == {
        path: (stat.st_ino, stat.st_mtime_ns) for path, stat in before.items()
    }


def test_a_new_lastmod(second: Nights) -> None:
    second.add("/1", "2026-11-01", text="other")
    second.pages["/2"] = "2026-11-01"
    second.pages["/3"] = "2026-11-02"
    second.server.routes["/3"] = answer(page(own("/3"), markup="another"))
    second.add("/new", "2026-11-03")
    assert second.night().exit_code == 0
    assert second.asked == ["/1", "/2", "/3", "/new"]
    assert second.report() == {"new": ["/new"], "changed": ["/1"], "markup_only": ["/3"], "unchanged": 8}
    assert "othera" in second.corpus()


VALIDATORS = {  # what the server says, and what it is asked for the next night
    "/1": ('ETag: "a"', ("if-none-match", '"a"')),
    "/2": ('ETag: W/"a"\r\nLast-Modified: x', ("if-none-match", 'W/"a"')),
    "/3": ("Last-Modified: Sun, 01 Nov 2026 00:00:00 GMT", ("if-modified-since", "Sun, 01 Nov 2026 00:00:00 GMT")),
    "/4": ("Last-Modified: yesterday, about noon", ("if-modified-since", "yesterday, about noon")),
}


def test_conditional_requests(nights: Nights) -> None:
    def conditions() -> dict[str, dict[str, str]]:
        """What each page was asked for with."""
        pairs = zip(nights.server.asked, nights.server.headers, strict=True)
        return {path: {k: sent[k] for k in sent if k.startswith("if-")} for path, sent in pairs if path in VALIDATORS}

    for path, (header, _) in VALIDATORS.items():
        nights.pages[path] = ""
        nights.server.routes[path] = answer(page(own(path)), "200 OK", header)
    nights.night()
    for _ in range(2):  # what a 304 leaves out must not be forgotten
        nights.server.routes |= dict.fromkeys(VALIDATORS, b"HTTP/1.1 304 Not Modified\r\n\r\n")
        assert nights.night().exit_code == 0
        assert conditions() == {path: dict([condition]) for path, (_, condition) in VALIDATORS.items()}
        assert nights.report() == {"unchanged": 10}
    nights.server.routes |= {path: answer(page(own(path) + "x")) for path in VALIDATORS}
    assert nights.night().exit_code == 0
    assert nights.report() == {"changed": list(VALIDATORS), "unchanged": 6}
    assert nights.night().exit_code == 0
    assert not any(conditions().values()), "there are no validators any more"


def test_lastmods_of_no_use(nights: Nights) -> None:
    useless = ["", "soon", "2026", "2026-10", "2031-01-01", "2026-13-45", "2026-W40-1"]
    nights.pages |= {f"/{number}": lastmod for number, lastmod in enumerate(useless)}
    nights.night()
    nights.night()
    assert nights.asked == [f"/{number}" for number in range(len(useless))]


def test_one_lastmod_for_all(nights: Nights) -> None:
    nights.pages = dict.fromkeys(nights.pages, "2026-10-01")
    nights.night()
    nights.night()
    assert nights.asked == sorted(nights.pages)
    assert "lastmod is not relied on: 10 of 10 pages have the same lastmod, 2026-10-01" in nights.says()


def test_an_old_page_is_asked_for_whatever_its_lastmod(nights: Nights) -> None:
    nights.more = 'hard_max_age = "3d"'
    nights.night()
    for night in range(3):
        nights.night()
        assert nights.asked == ([] if night < 2 else sorted(nights.pages))
    nights.night()
    assert nights.asked == [], "that was enough for the next three days"


def test_an_audit_finds_a_site_out(second: Nights) -> None:
    second.audit = 1.0
    second.server.routes["/1"] = answer(page("without a word "))
    second.night()
    assert second.asked == sorted(second.pages)
    assert second.report() == {"changed": ["/1"], "unchanged": 9}
    second.audit = 0.0
    for _ in range(2):
        second.night()
        assert second.asked == sorted(second.pages), "its lastmods are not relied on any more"
        assert "1 page(s) changed without a new lastmod in the last 30 days" in second.says()
    sidecar = second.text("/1").with_suffix(".json")
    told = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(told | {"fetched": "2026-10-01T00:00:00+00:00"}, ensure_ascii=False, indent=1) + "\n")
    on_record(second, sidecar)
    second.night()
    second.night()
    assert second.asked == [], "after thirty days they are"


def job_of(nights: Nights, output: Path) -> Path:
    name = str(output.relative_to(nights.folder))
    return next(file for file in nights.folder.glob("state/done/ParsePage-*") if name in file.read_text())


def on_record(nights: Nights, output: Path) -> None:
    """As if a task had written what is in the file now."""
    data, name = output.read_bytes(), str(output.relative_to(nights.folder))
    digest = {"bytes": len(data), "sha256": sha256(data).hexdigest()}
    rewrite(job_of(nights, output), lambda job: job["result"]["outputs"].update({name: digest}))


def test_who_was_found_out_is_not_forgotten_by_a_kill(second: Nights) -> None:
    """Killed when the new text was in place and its record was not: it is parsed again, beside its own sidecar."""
    sidecar = second.text("/1").with_suffix(".json")
    job = job_of(second, sidecar)
    record = job.read_bytes()
    second.audit = 1.0
    second.server.routes["/1"] = answer(page("without a word "))
    second.night()
    told = sidecar.read_bytes()
    assert json.loads(told)["unannounced"] is True
    job.write_bytes(record)
    assert second.again().ran["ParsePage"] == 1
    assert sidecar.read_bytes() == told


# ------------------------------------------------------------------------------------------------- what is not there


def test_not_found_for_two_nights(second: Nights) -> None:
    text = second.text("/1").read_text()
    second.pages["/1"] = "2026-11-01"
    second.server.routes["/1"] = GONE
    assert second.night().exit_code == 0
    assert second.report() == {"missing": ["/1"], "unchanged": 9}
    assert second.again(force_tasks=["FetchPage"]).exit_code == 0
    assert second.text("/1").exists(), "a second time in the same night does not count"
    assert second.night().exit_code == 0
    assert second.asked == ["/1"]
    assert second.report() == {"absent": ["/1"], "unchanged": 9}
    assert not second.text("/1").exists()
    assert not second.raw("/1").exists()
    assert own("/1") + "a" not in second.corpus()
    kept = [path.read_text() for path in second.folder.glob("state/trash/**/*.txt")]
    assert text in kept, "moved aside, not deleted"
    assert second.night().exit_code == 0
    assert second.asked == ["/1"], "it may come back"
    assert second.report() == {"unchanged": 9}
    assert "9 unchanged" in second.says()
    assert "1 absent as before" in second.says()
    second.add("/1", "2026-11-01")
    assert second.night().exit_code == 0
    assert second.report() == {"new": ["/1"], "unchanged": 9}
    assert second.text("/1").read_text() == text


def test_not_found_for_one_night(second: Nights) -> None:
    second.pages["/1"] = "2026-11-01"
    there, second.server.routes["/1"] = second.server.routes["/1"], GONE
    second.night()
    second.server.routes["/1"] = there
    for _ in range(2):
        assert second.night().exit_code == 0
        assert second.report() == {"unchanged": 10}
    assert second.asked == []


def test_gone_for_good(second: Nights) -> None:
    second.pages["/1"] = "2026-11-01"
    second.server.routes["/1"] = answer(b"", "410 Gone")
    assert second.night().exit_code == 0
    assert second.report() == {"absent": ["/1"], "unchanged": 9}
    assert not second.text("/1").exists()


def test_no_longer_listed(second: Nights) -> None:
    del second.pages["/1"], second.pages["/2"]
    second.server.routes["/2"] = GONE
    assert second.night().exit_code == 0
    assert second.asked == ["/1", "/2"], "one confirming request"
    assert second.report() == {"unlisted": ["/1"], "absent": ["/2"], "unchanged": 8}
    assert second.text("/1").exists()
    assert not second.text("/2").exists()
    assert second.night().exit_code == 0
    assert second.asked == []
    assert second.report() == {"unchanged": 9}
    second.pages["/1"] = "2026-10-02"
    assert second.night().exit_code == 0
    assert second.asked == []
    assert second.report() == {"unchanged": 9}


def test_a_page_that_never_was(nights: Nights) -> None:
    nights.pages["/ghost"] = "2026-10-01"
    for night in range(2):
        assert nights.night().exit_code == 0
        assert nights.asked == (sorted(nights.pages) if night == 0 else ["/ghost"])
    assert nights.report() == {"unchanged": 10}


# --------------------------------------------------------------------------------------- a sitemap that is not believed


def test_a_sitemap_that_shrank(second: Nights) -> None:
    for number in range(3):
        del second.pages[f"/{number}"]
    second.pages["/5"] = "2026-11-01"
    second.server.routes["/5"] = answer(b"", "410 Gone")
    second.add("/6", "2026-11-01", text="other")
    for night in range(2):
        assert second.night().exit_code == 1
        assert second.asked == (["/5", "/6"] if night == 0 else ["/5"])
        told = second.report()
        assert told.pop("missing") == ["/5"], "nothing is given up in such a night, whoever says so"
        assert told == ({"changed": ["/6"], "unchanged": 8} if night == 0 else {"unchanged": 9})
        assert "its sitemaps list 7 pages, and listed 10 before" in second.says()
        assert second.text("/1").exists()
    second.more = "max_shrink = 1.0"
    assert second.again().exit_code == 0, "taken at once, not tomorrow"
    assert second.asked == ["/0", "/1", "/2"]
    second.more = ""
    assert second.night().exit_code == 0
    assert second.report() == {"absent": ["/5"], "unchanged": 9}


def test_an_empty_sitemap(second: Nights) -> None:
    pages, second.pages = second.pages, {}
    assert second.night().exit_code == 1
    assert second.report() == {"unchanged": 10}
    assert "No page is given up tonight" in second.says()
    second.pages = pages
    assert second.night().exit_code == 0
    assert second.asked == []
    assert "given up" not in second.says()
    assert list(second.folder.glob("state/failed/*")) == []


def test_a_sitemap_that_is_not_there_any_more(nights: Nights) -> None:
    nights.server.routes["/robots.txt"] = answer(b"Sitemap: /more.xml\n")
    nights.server.routes["/more.xml"] = answer(
        f"<urlset><url><loc>{nights.server.url('/x')}</loc></url></urlset>".encode()
    )
    nights.server.routes["/x"] = answer(page("x"))
    nights.night()
    nights.server.routes["/more.xml"] = answer(b"", "404 Not Found")
    for _ in range(2):
        assert nights.night().exit_code == 1
        assert "a sitemap that was there before cannot be read" in nights.says()
        assert nights.asked == ["/x"], "it has no lastmod"
    nights.server.routes["/robots.txt"] = answer(b"")  # it is not even named any more
    assert nights.night().exit_code == 0
    assert nights.report() == {"unlisted": ["/x"], "unchanged": 10}


def test_no_answer_where_the_sitemap_was(second: Nights) -> None:
    second.server.routes["/robots.txt"] = answer(b"Sitemap: /more.xml\n")
    second.server.routes["/more.xml"] = answer(b"", "500 Broken")
    assert second.night().exit_code == 1
    assert second.asked == []
    assert second.report() == {"unchanged": 10}
    assert "its pages were not asked for: Transient" in second.says()


def test_no_answer_where_nobody_says_that_there_is_a_sitemap(second: Nights) -> None:
    second.server.routes["/sitemap_index.xml"] = answer(b"", "500 Broken")
    second.pages["/1"] = "2026-11-01"
    assert second.night().exit_code == 0
    assert second.asked == ["/1"]
    assert second.report() == {"unchanged": 10}


def on_another_port(nights: Nights, *paths: str) -> FaultServer:
    """Pages of the same site, in a sitemap of their own."""
    other = FaultServer()
    other.routes |= {path: answer(page(own(path))) for path in paths}
    urls = "".join(f"<url><loc>{other.url(path)}</loc></url>" for path in paths)
    nights.server.routes["/robots.txt"] = answer(b"Sitemap: /more.xml\n")
    nights.server.routes["/more.xml"] = answer(f"<urlset>{urls}</urlset>".encode())
    assert nights.night().exit_code == 0
    assert other.asked[0] == "/robots.txt"
    assert sorted(other.asked[1:]) == sorted(paths), "each once, by two workers, in any order"
    return other


def test_another_port_where_nobody_listens_any_more(nights: Nights) -> None:
    other = on_another_port(nights, "/x")
    other.close()
    nights.pages["/1"] = "2026-11-01"
    for asked in (["/1"], []):
        assert nights.night().exit_code == 1
        assert f"there is no robots.txt to be had for {other.url('/x')}" in nights.says()
        assert nights.report() == {"unchanged": 11}, "what cannot be asked for tonight is kept"
        assert nights.asked == asked
    nights.server.routes["/more.xml"] = answer(b"<urlset/>")
    nights.more = "max_shrink = 1.0"
    assert nights.night().exit_code == 0
    assert nights.report() == {"unchanged": 11}, "that it is not listed any more is no reason to lose it"


def test_another_port_in_trouble_for_a_night(nights: Nights) -> None:
    other = on_another_port(nights, "/x", "/y")
    nights.server.routes["/more.xml"] = answer(b"<urlset/>")
    nights.more = "max_shrink = 1.0"
    assert nights.night().exit_code == 0
    assert nights.report() == {"unlisted": [other.url("/x"), other.url("/y")], "unchanged": 10}
    other.routes["/robots.txt"] = answer(b"", "500 Broken")
    assert nights.night().exit_code == 1
    assert nights.asked == [], "it may pass: all is as before, and waits"
    other.routes["/robots.txt"] = answer(b"")
    assert nights.night().exit_code == 0
    assert nights.report() == {"unchanged": 12}
    assert (nights.folder / "data/s/urls.tsv").read_text().count("\tunlisted") == 2
    other.close()


def test_another_port_with_much_of_the_site_where_nobody_listens(nights: Nights) -> None:
    other = on_another_port(nights, "/x", "/y", "/z")
    other.close()
    assert nights.night().exit_code == 1
    assert nights.asked == [], "the site waits"
    assert "its pages were not asked for: Transient" in nights.says()
    assert nights.report() == {"unchanged": 13}


def test_robots_forbid_everything_for_a_night(second: Nights) -> None:
    second.pages = dict.fromkeys(second.pages, "2026-11-01")
    second.server.routes["/robots.txt"] = answer(b"User-agent: *\nDisallow: /\n")
    for _ in range(2):
        assert second.night().exit_code == 1
        assert second.asked == []
        assert second.report() == {"unchanged": 10}
        assert "10 disallowed by robots.txt" in second.says()
    second.again(force=True)
    assert second.asked == [], "not even if forced"
    second.server.routes["/robots.txt"] = answer(b"")
    assert second.night().exit_code == 0
    assert second.asked == sorted(second.pages)


def test_robots_forbid_a_page_from_now_on(second: Nights) -> None:
    second.server.routes["/robots.txt"] = answer(b"User-agent: *\nDisallow: /1\n")
    assert second.night().exit_code == 0
    assert second.asked == []
    assert second.report() == {"unchanged": 9}
    assert second.text("/1").exists(), "what is there stays there"


# ------------------------------------------------------------------------------------------------------------- others


def test_a_page_that_fails(second: Nights) -> None:
    second.pages["/1"] = "2026-11-01"
    second.server.routes["/1"] = answer(b"", "403 Forbidden")
    second.add("/2", "2026-11-01", text="other")
    assert second.night().exit_code == 1
    assert second.asked == ["/1", "/2"], "to ask a second time would not help"
    assert second.report() == {"failed": ["/1"], "changed": ["/2"], "unchanged": 8}
    assert own("/1") + "a" in second.corpus(), "the text of last night"
    assert "othera" in second.corpus()


def test_another_selector_asks_nobody(second: Nights) -> None:
    second.more = 'select = ["p"]\ndrop = ["b"]'
    assert second.again().exit_code == 0
    assert second.server.asked == []
    parsed = [
        job["attempts"][-1]["run"] == max(path.stem for path in second.folder.glob("state/runs/*.json"))
        for path in second.folder.glob("state/done/ParsePage-*.json")
        for job in [json.loads(path.read_bytes())]
    ]
    assert parsed == [True] * 10
    assert second.report() == {"unchanged": 10}


def test_parquet(nights: Nights) -> None:
    nights.settings()
    sites = nights.folder / "sites.toml"
    nights.night()
    sites.write_text("parquet = true\n" + sites.read_text())
    assert runner.run(nightly(sites="sites.toml"), durability="process", workers=1).exit_code == 0
    for place in ("data/corpus", "data/s/corpus"):
        rows = [json.loads(line) for line in (nights.folder / f"{place}.jsonl").read_text().splitlines()]
        assert pandas.read_parquet(nights.folder / f"{place}.parquet").to_dict("records") == rows
