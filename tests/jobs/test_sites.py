from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

import jobs
from jobs.scrape.sites import Policy, Site, load
from jobs.scrape.text import Rules

SITE = 'name = "a"\nstart = ["http://a.example/"]\n'
ABOVE = 'contact = "me@example.org"\n'


def loaded(tmp_path: Path, text: str) -> list[Site]:
    path = tmp_path / "sites.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_defaults(tmp_path: Path) -> None:
    (site,) = loaded(tmp_path, f"{ABOVE}[[site]]\n{SITE}")
    policy = Policy(user_agent="runner-scrape/1.0 (+me@example.org)", hosts=("a.example",))
    assert site == Site("a", ("http://a.example/",), policy)
    assert (policy.allow_private, policy.concurrency, policy.rate) == (False, 4, None)
    assert site.rules == Rules((), (), None, "auto")
    assert (site.max_crawl_delay, site.hard_max_age) == (10.0, timedelta(days=30))


def test_everything(tmp_path: Path) -> None:
    text = f"""{ABOVE}
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
max_crawl_delay = 0.5
allow_private = true
allow_hosts = ["C.example", "a.example"]
[[site]]
{SITE}
"""
    first, second = loaded(tmp_path, text)
    assert first.start == ("http://a.example/", "https://b.example/maps.xml")
    assert first.policy.hosts == ("a.example", "b.example", "c.example")
    assert (first.policy.concurrency, first.policy.rate, first.policy.allow_private) == (16, 2, True)
    assert first.rules == Rules(("div.a > p", "#b"), (".no",), "Shift_JIS", "soup")
    assert (first.max_crawl_delay, first.hard_max_age) == (0.5, timedelta(hours=36))
    assert second.name == "a"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("contact = ", "not valid TOML: .*at end of document"),
        ("[[site]]\n" + SITE, "contact: missing"),
        ("contact = 5", "contact: expected a text, found 5"),
        ('contact = "mé"', "contact: only printable ASCII"),
        ('contact = "a\\nb"', "contact: only printable ASCII"),
        (ABOVE, "site: there is no"),
        (ABOVE + "site = 5", "site: expected .*tables"),
        (ABOVE + "site = [5]", "site 1: expected"),
        (ABOVE + f"[site]\n{SITE}", "site: expected .*tables"),
        (ABOVE + "contcat = 1", "contcat: no such key; did you mean contact"),
        (ABOVE + f"[[site]]\n{SITE}rtae = 5", "site 1: rtae: no such key; did you mean rate"),
        (ABOVE + f"[[site]]\n{SITE}xyz = 5", "site 1: xyz: no such key .*name, start"),
        (ABOVE + f"[[site]]\n{SITE}[[site]]\n{SITE}", "site 2: name: 'a' is there twice"),
        (ABOVE + '[[site]]\nstart = ["http://a/"]', "site 1: name: missing"),
        (ABOVE + '[[site]]\nname = "../a"\nstart = ["http://a/"]', "name: '../a' is to be a folder"),
        (ABOVE + '[[site]]\nname = "a"', "start: missing"),
        (ABOVE + '[[site]]\nname = "a"\nstart = []', "start: missing"),
        (ABOVE + '[[site]]\nname = "a"\nstart = "http://a/"', "start: expected a list of texts"),
        (ABOVE + '[[site]]\nname = "a"\nstart = [5]', "start: expected a list of texts, found 5"),
        (ABOVE + '[[site]]\nname = "a"\nstart = ["a.example"]', "start: 'a.example' is no http or https address"),
        (ABOVE + '[[site]]\nname = "a"\nstart = ["file:///a"]', "start: 'file:///a' is no"),
        *(
            (ABOVE + f"[[site]]\n{SITE}{line}", says)
            for line, says in [
                ("rate = 0", "rate: expected a number above 0"),
                ("rate = -1", "rate: expected"),
                ("rate = nan", "rate: expected"),
                ("rate = inf", "rate: expected"),
                ("rate = true", "rate: expected"),
                ('rate = "fast"', "rate: expected a number above 0.*'fast'"),
                ("concurrency = 0", "concurrency: expected a whole number from 1"),
                ("concurrency = 1.5", "concurrency: expected"),
                ("max_crawl_delay = -1", "max_crawl_delay: expected"),
                ('hard_max_age = "soon"', "hard_max_age: expected a time such as '30d'"),
                ("hard_max_age = 30", "hard_max_age: expected a text"),
                ('allow_private = "yes"', "allow_private: expected true or false"),
                ('allow_hosts = ["http://b/"]', "allow_hosts: 'http://b/' is no host name"),
                ('allow_hosts = ["b.example:80"]', "allow_hosts: 'b.example:80' is no host name"),
                ('encoding = "zlib"', "encoding: 'zlib' is no encoding"),
                ('extractor = "magic"', "extractor: expected auto or soup, found 'magic'"),
                ('select = ["p:first-child"]', "select: 'p:first-child' is beyond"),
                ('select = [""]', "select: expected a list of texts"),
                ('drop = ["p + p"]', "drop: 'p . p' is beyond"),
                ('drop = ["p:no-such"]\nextractor = "soup"', "drop: 'p:no-such'"),
            ]
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_key(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        loaded(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'sites.toml'}: ")
    assert "\n" not in message


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.toml")


def test_the_file_that_comes_with_it(tmp_path: Path) -> None:
    path = Path(jobs.__file__).with_name("sites.toml")
    (site,) = load(path)
    assert site.name == "demo"
    _, _, example = path.read_text(encoding="utf-8").partition("# [[site]]\n")
    keys = [line.removeprefix("# ") for line in example.splitlines() if " = " in line]
    (site,) = loaded(tmp_path, f"{ABOVE}[[site]]\n" + "\n".join(keys))
    assert site.rules.drop == (".share-buttons", "ul.related")
    plain = Site("", (), Policy("", ()))
    assert site.policy.concurrency == plain.policy.concurrency
    assert (site.max_crawl_delay, site.hard_max_age) == (plain.max_crawl_delay, plain.hard_max_age)


@pytest.mark.parametrize(
    ("rate", "delay", "wanted"),
    [(None, 0.0, None), (5.0, 0.0, 5.0), (None, 2.0, 0.5), (0.1, 2.0, 0.1), (5.0, 2.0, 0.5)],
)
def test_slowed(rate: float | None, delay: float, wanted: float | None) -> None:
    assert Policy("", (), rate=rate).slowed(delay).rate == wanted
