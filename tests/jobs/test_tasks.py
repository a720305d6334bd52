"""The tasks as the runner sees them, and run as they are, without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.scrape import Alarm, CollectUrls, FetchPage, ParsePage, Policy, Rules, nightly
from jobs.scrape.corpus import MergeCorpus, SiteCorpus, WriteParquet
from jobs.scrape.wire import Permanent, Transient
from runner import Absent, RetryLater, Task
from runner.demo.serve import SiteServer, serve
from runner.task import decode, describe, encode, input_paths, job_id, output_paths, without_hints
from tests.jobs.server import FaultServer, answer, redirect

FETCHED = "2026-11-20T02:00:00+00:00"
ABOUT = {"url": "http://a/b", "fetched": FETCHED}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRAPE_SITES", raising=False)
    return tmp_path


def done(task: Any) -> Any:
    """The value of a task that was run; what the runner would do besides, which is little."""
    for path in output_paths(task, ""):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    value = task.run()
    object.__setattr__(task, "value", value)
    return value


def sites_toml(path: Path, start: str, more: str = "", top: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f'contact = "x@y.z"\n{top}\n[[site]]\nname = "s"\nstart = ["{start}"]\nallow_private = true\n{more}\n'
    )


def collects(sites: str = "", data: str = "data") -> list[CollectUrls]:
    """What the flow gives for each site."""
    return [task for tasks in nightly(sites, data).values() for task in tasks if isinstance(task, CollectUrls)]


def fetch(url: str, policy: Policy) -> FetchPage:
    return FetchPage(url, Path("data/s/raw/p.html"), Path("data/s/raw/p.json"), policy)


def parse(data: bytes, charset: str | None = None, content_type: str = "text/html", **options: Any) -> ParsePage:
    raw = Path("data/s/raw")
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "p.html").write_bytes(data)
    (raw / "p.json").write_text(json.dumps(ABOUT | {"content_type": content_type, "charset": charset}))
    text = Path("data/s/text/p.txt")
    return ParsePage("http://a/", raw / "p.html", raw / "p.json", text, text.with_suffix(".json"), **options)


# ------------------------------------------------------------------------------------------------------- the flow


def test_the_flow_and_where_its_sites_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites_toml(folder / "jobs" / "sites.toml", "http://one.example/")
    sites_toml(folder / "two.toml", "http://two.example/")
    sites_toml(folder / "three.toml", "http://three.example/")
    assert [task.start for task in collects()] == [("http://one.example/",)]
    monkeypatch.setenv("SCRAPE_SITES", "two.toml")
    assert [task.start for task in collects()] == [("http://two.example/",)]
    (task,) = collects(sites="three.toml", data="elsewhere")
    assert (task.start, task.output_filepath) == (("http://three.example/",), Path("elsewhere/s/urls.tsv"))


def test_a_worker_imports_neither_pandas_nor_soup() -> None:
    code = "import jobs.scrape, sys; print([name for name in ('pandas', 'bs4', 'soupsieve') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def every_task(folder: Path) -> list[Task]:
    sites_toml(folder / "sites.toml", "http://a.example/", 'select = ["#x"]\nrate = 2', top="parquet = true")
    (collect,) = collects(sites="sites.toml")
    collect.output_filepath.parent.mkdir(parents=True)
    collect.output_filepath.write_text("http://a.example/b\t2026-11-01\t\nhttp://a.example/c\t\tunlisted\n")
    object.__setattr__(collect, "value", {"crawl_delay": {}, "doubt": "why", "distrusted": None})
    return [collect, *collect.downstream_tasks(), *nightly(sites="sites.toml")]


def test_tasks_can_be_jobs(folder: Path) -> None:
    collect, fetch_b, parse_b, *others = every_task(folder)
    assert [describe(type(task)).name for task in (collect, fetch_b, parse_b)] == [
        *("jobs.scrape:CollectUrls", "jobs.scrape:FetchPage", "jobs.scrape:ParsePage")
    ]
    assert [type(task) for task in others] == [
        *(FetchPage, ParsePage, SiteCorpus, WriteParquet, Alarm, MergeCorpus, WriteParquet)
    ]
    assert len({job_id(task, folder) for task in (collect, fetch_b, parse_b, *others)}) == 10
    for task in (collect, fetch_b, parse_b, *others):
        params = json.loads(json.dumps(encode(task, folder)))
        assert decode(type(task), params, folder) == task
        assert len(json.dumps(params)) < 1000
    assert {path for _, path in input_paths(parse_b, folder)} == set(output_paths(fetch_b, folder))
    assert collect.limits() == fetch_b.limits() == {"host:a.example": (4, 2)}
    assert fetch_b.lastmod == "2026-11-01"  # type: ignore[attr-defined]
    assert others[0].lastmod is None  # type: ignore[attr-defined]
    assert (others[0].standing, others[0].tombstones) == ("unlisted", False)  # type: ignore[attr-defined]
    (waited_for,) = filter(None, nightly(sites="sites.toml").values())
    assert waited_for == [collect], "the corpus of all sites is for the end"


def test_what_is_no_reason_to_ask_again(folder: Path) -> None:
    collect, fetch_b, parse_b, *_ = every_task(folder)
    assert "rules" not in without_hints(describe(CollectUrls), encode(collect, folder)), "no request for new selectors"
    assert set(without_hints(describe(FetchPage), encode(fetch_b, folder))) == {
        "url",
        "output_filepath",
        "about_filepath",
    }
    assert "rules" in without_hints(describe(ParsePage), encode(parse_b, folder))


# --------------------------------------------------------------------------------------------------------- collect


def test_collect(folder: Path, server: FaultServer) -> None:
    urls = "".join(
        f"<url><loc>{server.url(path)}</loc><lastmod>{day}</lastmod></url>"
        for path, day in [("/a", "2026-11-01"), ("/b", "1")]
    )
    server.routes |= {
        "/robots.txt": answer(b"User-agent: *\nCrawl-delay: 0.2\n"),
        "/sitemap.xml": answer(f"<urlset>{urls}<url/></urlset>".encode()),
    }
    sites_toml(folder / "sites.toml", server.url(), "rate = 50")
    (collect,) = collects(sites="sites.toml")
    key = f"host:{server.place}"
    assert done(collect) == {
        "pages": 2,
        "kept": 0,
        "sitemaps": 1,
        "skipped": {"empty": 1},
        "problems": [],
        "crawl_delay": {key: 0.2},
        "distrusted": None,
        "doubt": None,
    }
    lines = [("/sitemap.xml", "", "sitemap"), ("/a", "2026-11-01", ""), ("/b", "", "")]
    assert collect.output_filepath.read_text() == "".join(f"{server.url(a)}\t{b}\t{c}\n" for a, b, c in lines)
    found = list(collect.downstream_tasks())
    assert [type(task) for task in found] == [FetchPage, ParsePage, FetchPage, ParsePage, SiteCorpus, Alarm]
    assert found[0].limits() == {key: (4, 5.0)}, "as slow as robots.txt asks for"
    assert collect.limits() == {key: (4, 50)}


def test_no_page_at_all_is_a_failure(folder: Path, server: FaultServer) -> None:
    sites_toml(folder / "sites.toml", server.url())
    (collect,) = collects(sites="sites.toml")
    with pytest.raises(ValueError, match="s: no page in any sitemap"):
        done(collect)
    server.routes["/robots.txt"] = answer(b"Sitemap: /map\nUser-agent: *\nDisallow: /")
    server.routes["/map"] = answer(server.url("/a").encode())
    with pytest.raises(ValueError, match=r"1 disallowed by robots\.txt"):
        done(collect)
    server.routes["/robots.txt"] = answer(b"", "500 No")
    with pytest.raises(Transient):
        done(collect)


# ----------------------------------------------------------------------------------------------------------- fetch


def test_fetch(folder: Path, server: FaultServer, policy: Policy) -> None:
    data = "<p>é".encode("cp1252")
    server.routes |= {
        "/r": redirect("/a"),
        "/a": answer(data, "200 OK", "ETag: x", content_type="text/html;charset=latin1"),
    }
    task = fetch(server.url("/r"), policy)
    value = done(task)
    about = {"url": server.url("/a"), "content_type": "text/html", "charset": "latin1", "fetched": value["fetched"]}
    assert value == about | {"etag": "x", "last_modified": None}
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(value["fetched"]) < timedelta(minutes=1)
    assert task.output_filepath.read_bytes() == data
    assert json.loads(task.about_filepath.read_text()) == about


@pytest.mark.parametrize(
    "reply",
    [
        *(answer(b"gone", status) for status in ("404 Not Found", "410 Gone")),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        *(answer(b"%PDF", content_type=kind) for kind in ("application/pdf", "image/png", "text/css", "")),
        answer(b"\x7fELF", content_type="application/octet-stream"),
    ],
)
def test_no_page_is_absent(reply: bytes, folder: Path, server: FaultServer, policy: Policy) -> None:
    server.routes["/a"] = reply
    task = fetch(server.url("/a"), policy)
    value = done(task)
    assert isinstance(value, Absent)
    assert value.value["reason"]
    assert not task.output_filepath.exists()
    assert not task.about_filepath.exists()


@pytest.mark.parametrize("kind", ["text/html", "", "application/octet-stream", "application/xhtml+xml", "text/plain"])
def test_what_may_be_a_page(kind: str, folder: Path, server: FaultServer, policy: Policy) -> None:
    server.routes["/a"] = answer(b"<p>x", content_type=kind)
    assert not isinstance(done(fetch(server.url("/a"), policy)), Absent)


@pytest.mark.parametrize(
    ("status", "wanted"), [("403 Forbidden", Permanent), ("500 Error", Transient), ("429 Too Many", RetryLater)]
)
def test_failures(status: str, wanted: type[Exception], folder: Path, server: FaultServer, policy: Policy) -> None:
    server.routes["/a"] = answer(b"", status)
    with pytest.raises(wanted):
        done(fetch(server.url("/a"), policy))


# ----------------------------------------------------------------------------------------------------------- parse


def test_parse(folder: Path) -> None:
    task = parse("<html lang=fr><title>T</title><p>é\xff".encode("cp1252"), "latin1", lastmod="2026-11-01")
    done(task)
    assert task.output_filepath.read_bytes() == "éÿ\n".encode()
    about = json.loads(task.sidecar_filepath.read_text(encoding="utf-8"))
    assert about.pop("raw_sha256") != about.pop("text_sha256")
    assert about == {
        "url": "http://a/",
        "final_url": "http://a/b",
        "title": "T",
        "lang": "fr",
        "fetched": FETCHED,
        "lastmod": "2026-11-01",
        "encoding": "cp1252",
        "bad_bytes": 0,
        "words": 1,
        "extractor": "auto/1",
        "unannounced": False,
    }


def test_parse_by_rules(folder: Path) -> None:
    task = parse("<p>no</p><b>мир</b>".encode("cp1251"), "utf-8", rules=Rules(select=("b",), encoding="windows-1251"))
    done(task)
    assert task.output_filepath.read_text(encoding="utf-8") == "мир\n"


def test_parse_plain_text(folder: Path) -> None:
    task = parse(b"a <b>\n c", content_type="text/plain")
    done(task)
    assert task.output_filepath.read_text() == "a <b>\n c\n"


@pytest.mark.parametrize("data", [b"", b"<html></html>", b"<nav>menu</nav>", b"<script>x</script>", b"\0\0"])
def test_nothing_is_absent(data: bytes, folder: Path) -> None:
    task = parse(data)
    assert done(task) == Absent("no-content")
    assert not task.output_filepath.exists()


# ---------------------------------------------------------------------------------------------------- the demo site


@pytest.fixture
def demo() -> Iterator[tuple[SiteServer, str]]:
    server, url = serve()
    yield server, url
    server.shutdown()
    server.server_close()


def scraped(url: str, folder: Path) -> tuple[CollectUrls, dict[str, Any], dict[str, str]]:
    """The whole pipeline, one task after the other: what was absent, and the texts by path."""
    sites_toml(folder / "sites.toml", url)
    (collect,) = collects(sites="sites.toml")
    done(collect)
    absent: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for task in collect.downstream_tasks():
        if not isinstance(task, FetchPage | ParsePage):
            continue
        path = task.url.removeprefix(url.rstrip("/"))
        if path not in absent:
            value = done(task)
            if isinstance(value, Absent):
                absent[path] = value.value
            elif isinstance(task, ParsePage):
                texts[path] = task.output_filepath.read_text(encoding="utf-8")
    return collect, absent, texts


def test_the_demo_site(folder: Path, demo: tuple[SiteServer, str]) -> None:
    server, url = demo
    collect, absent, texts = scraped(url, folder)
    assert set(absent) == {"/gone.html", "/no-content.html", "/picture.png"}
    assert absent["/no-content.html"] == "no-content"
    assert len(texts) + len(absent) == collect.value["pages"] >= 40
    assert collect.value["problems"] == []
    assert set(collect.value["skipped"]) == {
        *("duplicate", "disallowed by robots.txt", "off-site", "relative", "empty", "no http address")
    }
    assert not [path for path in server.asked if path.startswith("/private/")]
    euro, japanese = (
        "Café “Zur Brücke”, 12 € a night – naïve façade",
        "灯台の守り人は、毎晩ランプに火をともし、海を見ています。",
    )
    for path, text in texts.items():
        if path.startswith("/encodings/") and "accents" not in path:
            assert (japanese if "-j" in path or "jis" in path else euro) in text.splitlines(), path
        assert "\ufffd" not in text
        for chrome in ("Served on loopback", "not text", "margin", "A small site"):
            assert chrome not in text, path
    assert "Café, an accent that stands apart, and one by reference: café" in texts["/encodings/accents-apart.html"]
    assert "\n    while lamp.burns():\n\n        lamp.turn()\n" in texts["/markup/pre.html"]
    assert "Nested: the lighthouse keeper’s lamp.\n" in texts["/markup/inline.html"]
    assert "Place Year\nMill 1702\n" in texts["/markup/table.html"]
    assert "First\nSecond\nThird\nFourth\nFifth\nSixth\n" in texts["/markup/blocks.html"]
    assert "Slash" not in texts["/markup/menu.html"]
    assert "Out of sight" not in texts["/markup/menu.html"]
    assert texts["/moved.html"] == texts["/a/b.html"] != texts["/a-b.html"]
    notes = [text for path, text in texts.items() if path.startswith("/notes/")]
    assert len(set(notes)) == len(notes) == 16


def test_the_demo_site_as_a_program() -> None:
    with subprocess.Popen([sys.executable, "-m", "runner.demo.serve"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        process.terminate()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/")
