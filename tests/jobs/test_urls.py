from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.scrape.urls import file_name, host_of, limit_key, normalise


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTP://Example.ORG/A", "http://example.org/A"),
        ("https://example.org:443/a", "https://example.org/a"),
        ("http://example.org:80/", "http://example.org/"),
        ("http://example.org:8080/", "http://example.org:8080/"),
        ("http://example.org./a", "http://example.org/a"),
        ("http://example.org/a#part", "http://example.org/a"),
        ("http://example.org/a?", "http://example.org/a"),
        ("http://example.org/a?b=c&d=%7e", "http://example.org/a?b=c&d=~"),
        ("http://example.org/a/./b/../c", "http://example.org/a/c"),
        ("http://example.org/../..", "http://example.org/"),
        ("http://example.org/a/..", "http://example.org/"),
        ("http://example.org/a//b", "http://example.org/a//b"),
        ("http://example.org/%7Ea%2fb", "http://example.org/~a%2Fb"),
        ("http://example.org/100%", "http://example.org/100%25"),
        ("http://example.org/a b", "http://example.org/a%20b"),
        (" http://example.org/a\n", "http://example.org/a"),
        ("http://example.org/é", "http://example.org/%C3%A9"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("http://127.0.0.1:80/", "http://127.0.0.1/"),
        ("http://a_b.example/", "http://a_b.example/"),
    ],
)
def test_one_spelling(url: str, wanted: str) -> None:
    assert normalise(url) == wanted
    assert normalise(wanted) == wanted


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a",
        "a.html",
        "//example.org/a",
        "javascript:alert(1)",
        "mailto:a@example.org",
        "file:///etc/passwd",
        "ftp://example.org/",
        "http:",
        "http://",
        "http:///a",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://example.org:port/",
        "http://example.org:99999/",
        "http://example.org:25/",
        "http://example.org:6667/",
        f"http://example.org/{'a' * 8000}",
        f"http://example.org/{'é' * 1400}",
        "http://exa mple.org/",
        "http://exam\x00ple.org/",
        "http://[::1/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://-/",
    ],
)
def test_no_address(url: str) -> None:
    assert normalise(url) is None


@given(st.text(max_size=40))
def test_normal_form_is_stable(tail: str) -> None:
    for text in (tail, f"http://example.org/{tail}", f"http://{tail}/"):
        url = normalise(text)
        if url is not None:
            assert normalise(url) == url
            assert url.isascii()
            assert url.isprintable()


def test_files_are_told_apart() -> None:
    pages = ["/a/b", "/a-b", "/a?b", "/A/b", "/a/b/", "/%E6%B5%B7", "/%E5%B1%B1", "/", "/?", "/a%2Fb"]
    urls = [normalise(f"http://example.org{page}") or "" for page in pages]
    assert len({file_name(url) for url in urls}) == len(set(urls)) == len(pages) - 1  # "/?" is "/"
    assert file_name("http://example.org/guide/Setup.html").startswith("guide-setup-html-")
    assert file_name("http://example.org/").startswith("index-")


@given(st.text(min_size=1, max_size=3000))
def test_file_names_are_short_and_plain(path: str) -> None:
    url = normalise(f"http://example.org/{path}")
    if url is not None:
        name = file_name(url)
        assert len(name.encode()) <= 97
        assert name.replace("-", "").isalnum()
        assert name.isascii()


def test_hosts() -> None:
    assert host_of("http://example.org:8080/a") == "example.org"
    assert limit_key("http://example.org:8080/a") == "host:example.org:8080"
    assert limit_key("https://example.org/a") == "host:example.org"
