from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path

import pytest

import jobs
from jobs.scrape import values
from jobs.scrape.sites import Policy, Site, Sites, load
from jobs.text import EXTRACTORS, Rules
from runner import UsageError

SITE = 'name = "a"\nstart = ["http://a.example/"]\n'
ABOVE = 'contact = "me@example.org"\n'
TWO = f'{ABOVE}[[site]]\n{SITE}[[site]]\nname = "b"\nstart = ["http://b.example/"]\n'


def loaded(tmp_path: Path, text: str) -> Sites:
    path = tmp_path / "sites.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_defaults(tmp_path: Path) -> None:
    found = loaded(tmp_path, f"{ABOVE}[[site]]\n{SITE}")
    (site,) = found
    policy = Policy(user_agent="runner-scrape/1.0 (+me@example.org)", hosts=("a.example",))
    assert found == Sites((site,), parquet=False)
    assert site == Site("a", ("http://a.example/",), policy)
    assert (policy.allow_private, policy.concurrency, policy.rate) == (False, 4, None)
    assert (policy.hard_max_age, policy.audit) == (timedelta(days=30), 0.002)
    assert site.rules == Rules((), (), None, "auto")
    assert (site.max_crawl_delay, site.max_shrink) == (10.0, 0.2)


def test_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "find_spec", lambda name: object())  # whether pyarrow is there is not the question
    text = f"""{ABOVE}
parquet = true
[[site]]
name = "a-1.b_c"
start = ["HTTP://A.example", "https://b.example/maps.xml"]
select = ["div.a > p", "#b"]
drop = [".no"]
encoding = "Shift_JIS"
extractor = "soup"
concurrency = 16
rate = 2
hard_max_age = "36h"
audit = 1
max_crawl_delay = 0.5
max_shrink = 0.0
allow_private = true
allow_hosts = ["C.example", "a.example"]
[[site]]
{SITE}
select = []
drop = []
allow_hosts = []
"""
    found = loaded(tmp_path, text)
    assert found.parquet is True
    first, second = found.sites
    assert first.start == ("http://a.example/", "https://b.example/maps.xml")
    assert first.policy.hosts == ("a.example", "b.example", "c.example")
    assert (first.policy.concurrency, first.policy.rate, first.policy.allow_private) == (16, 2, True)
    assert (first.policy.hard_max_age, first.policy.audit) == (timedelta(hours=36), 1.0)
    assert first.rules == Rules(("div.a > p", "#b"), (".no",), "Shift_JIS", "soup")
    assert (first.max_crawl_delay, first.max_shrink) == (0.5, 0.0)
    assert second == Site("a", ("http://a.example/",), second.policy)


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_extractors(extractor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "find_spec", lambda name: object())
    (site,) = loaded(tmp_path, f'{ABOVE}[[site]]\n{SITE}extractor = "{extractor}"')
    assert site.rules.extractor == extractor


def test_two_sites_may_share_a_host(tmp_path: Path) -> None:
    text = f'{ABOVE}[[site]]\n{SITE}[[site]]\nname = "b"\nstart = ["http://a.example/", "http://a.example/"]'
    first, second = loaded(tmp_path, text)
    assert first.policy.hosts == second.policy.hosts == ("a.example",)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "contact: missing: a mail address"),
        ("contact = ", 1, "not valid TOML: Invalid value, up to the end of the file"),
        (f"{ABOVE}[[site]]\n{SITE}rate = fast\n", 5, "not valid TOML: Invalid value"),
        (f"{ABOVE}[[site]]\n{SITE}name = 'b'\n", 5, "not valid TOML: Cannot overwrite a value"),
        ("\n[[site]]\n" + SITE, 1, "contact: missing"),
        ("\ncontact = ' '", 2, "contact: empty: a mail address"),
        ("\ncontact = 5", 2, "contact: expected a text, found 5"),
        (
            f'\ncontact = "you@example.org"\n[[site]]\n{SITE}',
            2,
            "contact: you@example.org is only the example's: write",
        ),
        ('contact = "mé"', 1, "contact: only printable ASCII"),
        ('contact = "a\\nb"', 1, "contact: only printable ASCII"),
        (f"{ABOVE}parquet = 1", 2, "parquet: expected true or false, found 1"),
        (f"{ABOVE}parquet = 'yes'", 2, "parquet: expected true or false, found 'yes'"),
        (ABOVE, 1, "site: there is no [[site]] table"),
        (f"{ABOVE}\nsite = []", 3, "site: there is no [[site]] table"),
        (f"{ABOVE}\nsite = 5", 3, "site: expected [[site]] tables, found 5"),
        (f"{ABOVE}site = [\n5]", 3, "site: expected a [[site]] table, found 5"),
        (f"{ABOVE}\n[site]\n{SITE}", 3, "site: expected [[site]] tables, found {'name': 'a'"),
        (f"{ABOVE}site.name = 'a'\n", 2, "site: expected [[site]] tables"),
        (f"{ABOVE}contcat = 1", 2, "contcat: no such key; did you mean contact?"),
        (f"{ABOVE}paquet = true", 2, "paquet: no such key; did you mean parquet?"),
        (f"{ABOVE}rate = 5\n[[site]]\n{SITE}", 2, "rate: no such key (contact, parquet, site)"),
        (f'{ABOVE}"a\\nb" = 5', 2, "'a\\nb': no such key (contact"),
        (f'{ABOVE}"" = 5', 2, "'': no such key (contact"),
        (f"{ABOVE}[[site]]\n{SITE}\n[[site]]\n\n{SITE}", 8, "name: 'a' is there already, in line 3"),
        (f"{ABOVE}[[site]]\n{SITE}[[site]]\n{SITE}[[site]]\n{SITE}", 6, "name: 'a' is there already, in line 3"),
        (f'{ABOVE}\n[[site]]  # here\nstart = ["http://a/"]', 3, "name: missing"),
        (f"{TWO}[[site]]\nstart = ['http://a/']", 8, "name: missing"),
        (f'{ABOVE}[[site]]\nname = ""\nstart = ["http://a/"]', 3, "name: empty"),
        (f"{ABOVE}[[site]]\nname = 5", 3, "name: expected a text, found 5"),
        (
            f'{ABOVE}[[site]]\nname = "../a"',
            3,
            "name: expected a folder's name of letters, digits, dot, dash and underscore, found '../a'",
        ),
        (f'{ABOVE}[[site]]\nname = "{"a" * 65}"', 3, "name: expected a folder's name"),
        (
            f'{ABOVE}[[site]]\nname = "corpus.jsonl"',
            3,
            "name: expected a folder's name of letters, digits, dot, dash and underscore, but not corpus.jsonl or",
        ),
        (f'{TWO}[[site]]\n\nname = "c"', 8, "start: missing: addresses of the site"),
        (f'{ABOVE}[[site]]\nname = "a"\nstart = []', 4, "start: empty: addresses"),
        (f'{ABOVE}[[site]]\nname = "a"\nstart = "http://a/"', 4, "start: expected a list of texts, found 'http"),
        (f'{ABOVE}[[site]]\nname = "a"\nstart = [5]', 4, "start: expected a list of texts, found 5 in it"),
        (f'{ABOVE}[[site]]\nname = "a"\nstart = ["a.example"]', 4, "start: 'a.example' is no http or https address"),
        (f'{ABOVE}[[site]]\nname = "a"\nstart = [\n"http://a/",\n"file:///a"]', 6, "start: 'file:///a' is no"),
        (f'{ABOVE}site = [\n{{ name = "a" }}]', 3, "start: missing"),
        (f'{ABOVE}site = [{{ name = "a", start = ["http://a/"], rate = 0 }}]', 2, "rate: expected a number above 0"),
        (f"{TWO}rtae = 5", 8, "rtae: no such key; did you mean rate?"),
        (f"{TWO}xyz = 5", 8, "xyz: no such key (name, start, "),
        (f"{TWO}contact = 'a'", 8, "contact: no such key"),
        (f"{TWO}[site.select]\n", 8, "select: expected a list of texts, found {}"),
        (f"{TWO}rate.limit = 5\n", 8, "rate: expected a number above 0 (requests per second), found {'limit': 5}"),
        *(
            (f"{TWO}\n{line}", 9, says)
            for line, says in [
                ("rate = 0", "rate: expected a number above 0"),
                ("rate = -1", "rate: expected a number above 0 (requests per second), found -1"),
                ("rate = nan", "rate: expected"),
                ("rate = inf", "rate: expected"),
                ("rate = true", "rate: expected a number above 0 (requests per second), found True"),
                ('rate = "fast"', "rate: expected a number above 0 (requests per second), found 'fast'"),
                ("concurrency = 0", "concurrency: expected a whole number from 1, found 0"),
                ("concurrency = -4", "concurrency: expected a whole number from 1, found -4"),
                ("concurrency = 1.5", "concurrency: expected"),
                ("concurrency = inf", "concurrency: expected"),
                ("concurrency = nan", "concurrency: expected"),
                ("max_crawl_delay = -1", "max_crawl_delay: expected a number of seconds, found -1"),
                ("max_crawl_delay = nan", "max_crawl_delay: expected"),
                ('hard_max_age = "soon"', "hard_max_age: expected a time such as '30d' or '36h', found 'soon'"),
                ('hard_max_age = ""', "hard_max_age: expected a time such as"),
                ('hard_max_age = "-1d"', "hard_max_age: expected a time such as"),
                ("hard_max_age = 30", "hard_max_age: expected a text, found 30"),
                ("audit = -0.1", "audit: expected a share from 0 to 1 (0.1 is 10 %), found -0.1"),
                ("audit = 5", "audit: expected a share from 0 to 1 (0.1 is 10 %), found 5"),
                ("audit = nan", "audit: expected"),
                ("audit = true", "audit: expected"),
                ('audit = "1 %"', "audit: expected"),
                ("max_shrink = 20", "max_shrink: expected a share from 0 to 1 (0.1 is 10 %), found 20"),
                ("max_shrink = -inf", "max_shrink: expected"),
                ("max_shrink = []", "max_shrink: expected"),
                ('allow_private = "yes"', "allow_private: expected true or false, found 'yes'"),
                ('allow_hosts = ["http://b/"]', "allow_hosts: 'http://b/' is no host name"),
                ('allow_hosts = ["b.example:80"]', "allow_hosts: 'b.example:80' is no host name"),
                ('encoding = "zlib"', "encoding: 'zlib' is no encoding of the web"),
                ('extractor = "magic"', "extractor: expected auto"),
                ('extractor = "x\\ny"', "extractor: expected auto"),
                ("extractor = 5", "extractor: expected a text, found 5"),
                ('select = ["p::before"]', "select: 'p::before': a pseudo-element"),
                ('select = [""]', "select: expected a list of texts, found '' in it"),
                ('"select" = "p"', "select: expected a list of texts, found 'p'"),
                ('drop = ["p:no-such"]', "drop: 'p:no-such': The pseudo-class"),
                ('drop = ["p:no-such"]\nextractor = "soup"', "drop: 'p:no-such'"),
                (f'encoding = "{"x" * 999}"', "encoding: 'xxx"),
            ]
        ),
        (f'{TWO}drop = [\n  "p",\n\n  "p >",\n]', 11, "drop: 'p >'"),
    ],
)
def test_a_mistake_is_one_line_with_its_place(text: str, line: int, says: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        loaded(tmp_path, text)
    message = str(caught.value).removeprefix(f"{tmp_path / 'sites.toml'}:{line}: ")
    assert message.startswith(says), str(caught.value)
    assert message.isprintable()
    assert len(message) < 300


def test_what_is_to_be_done_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"extractor: expected auto, .*soup.* or [a-z]+, found 'magic'$"):
        loaded(tmp_path, f"{TWO}extractor = 'magic'")
    monkeypatch.setattr(values, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r":2: parquet: pyarrow is not installed: `pip install pyarrow`$"):
        loaded(tmp_path, f"{ABOVE}parquet = true\n[[site]]\n{SITE}")
    with pytest.raises(UsageError, match=r":8: extractor: trafilatura is not installed: `pip install trafilatura`$"):
        loaded(tmp_path, f"{TWO}extractor = 'trafilatura'")


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "none.toml", r"/none\.toml: there is no such file: write it, or name another with SCRAPE_SITES="),
        (tmp_path, ": expected a file, found a folder"),
    ):
        with pytest.raises(UsageError, match=says):
            load(path)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    path = tmp_path / "sites.toml"
    path.write_bytes(b"\xef\xbb\xbf" + ABOVE.encode())
    with pytest.raises(UsageError, match=r"sites\.toml:1: begins with a byte order mark: save it as"):
        load(path)


def test_the_file_that_comes_with_it(tmp_path: Path) -> None:
    path = Path(jobs.__file__).with_name("sites.toml")
    found = load(path)
    (site,) = found
    assert site.name == "demo"
    assert "\n# parquet = false\n" in path.read_text(encoding="utf-8")
    assert found.parquet is False
    _, _, example = path.read_text(encoding="utf-8").partition("# [[site]]\n")
    keys = [line.removeprefix("# ") for line in example.splitlines() if " = " in line]
    (site,) = loaded(tmp_path, f"{ABOVE}[[site]]\n" + "\n".join(keys))
    assert site.rules.drop == (".share-buttons", "ul.related")
    plain = Site("", (), Policy("", ()))
    assert replace(site.policy, user_agent="", hosts=(), rate=None) == plain.policy
    assert (site.max_crawl_delay, site.max_shrink) == (plain.max_crawl_delay, plain.max_shrink)
    shown = {line.partition(" = ")[0] for line in path.read_text(encoding="utf-8").replace("# ", "").splitlines()}
    keys_of_a_site = {part.name for cls in (Site, Policy, Rules) for part in fields(cls)}
    assert keys_of_a_site - shown == {"policy", "rules", "user_agent", "hosts"}


@pytest.mark.parametrize(
    ("rate", "delay", "wanted"),
    [(None, 0.0, None), (5.0, 0.0, 5.0), (None, 2.0, 0.5), (0.1, 2.0, 0.1), (5.0, 2.0, 0.5)],
)
def test_slowed(rate: float | None, delay: float, wanted: float | None) -> None:
    assert Policy("", (), rate=rate).slowed(delay).rate == wanted
