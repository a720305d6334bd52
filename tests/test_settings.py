"""[tool.runner], --limit and --rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner.core.model import Limit
from runner.errors import UsageError
from runner.settings import Settings, load_settings, overrides, parse_age, parse_pairs, parse_rate


def settings(folder: Path, text: str) -> Settings:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return load_settings(folder)


def test_all_keys_may_be_left_out(tmp_path: Path) -> None:
    assert load_settings(tmp_path) == Settings()
    for text in ("", "[tool]", "[tool.runner]", "[project]\nname = 'x'", "tool = 3"):
        assert settings(tmp_path, text) == Settings()
    assert Settings().modules == ("jobs",)


def test_all_keys(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        """
        [tool.runner]
        target = "jobs.scrape:nightly"
        modules = ["jobs", "more.jobs"]
        workers = 3
        threads = 4
        limits = {"host:*" = 2}
        rates = {"host:*" = "5/s", "other" = 0.5}
        """,
    )
    assert found == Settings(
        target="jobs.scrape:nightly",
        modules=("jobs", "more.jobs"),
        workers=3,
        threads=4,
        limits={"host:*": 2},
        rates={"host:*": "5/s", "other": 0.5},
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tool.runner", "pyproject.toml"),
        ("[tool.runner]\nworker = 3", "no key 'worker'; did you mean workers?"),
        ("[tool.runner]\nxyz = 3", "no key 'xyz'; it has: target, modules,"),
        ("[tool.runner]\nworkers = 'two'", "workers"),
        ("[tool.runner]\nworkers = true", "workers"),
        ("[tool.runner]\nworkers = 0", "workers is 0: at least 1"),
        ("[tool.runner]\nthreads = -1", "threads is -1: at least 1"),
        ("[tool.runner]\nmodules = 'jobs'", "modules"),
        ("[tool]\nrunner = 3", "Expected `object`"),
        ("[tool.runner]\nlimits = {a = 0}", "limit a=0: expected a whole number"),
        ("[tool.runner]\nlimits = {a = 1.5}", "limits"),
        ("[tool.runner]\nrates = {a = 'often'}", "rate a=often: expected starts per time"),
        ("[tool.runner]\nrates = {a = 0}", "rate a=0"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        settings(tmp_path, text)
    assert told in str(caught.value)
    assert "pyproject.toml" in str(caught.value), "the file is named"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"pyproject\.toml"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("rate", "per_second"),
    [
        ("5/s", 5.0),
        ("5", 5.0),
        (5, 5.0),
        (0.5, 0.5),
        ("30/min", 0.5),
        ("30 / m", 0.5),
        ("36/h", 0.01),
        (" 2.5/sec ", 2.5),
    ],
)
def test_rates(rate: float | str, per_second: float) -> None:
    assert parse_rate("key", rate) == pytest.approx(per_second)


@pytest.mark.parametrize("rate", ["", "x", "5/day", "-1", "5/", "/s", "0/s", "1e3", "inf", "nan", -2.0])
def test_what_is_no_rate(rate: float | str) -> None:
    with pytest.raises(UsageError, match="expected starts per time, such as 5/s"):
        parse_rate("key", rate)


def test_overrides_are_what_the_queue_takes() -> None:
    assert overrides({"a": 2, "b": "3"}, {"a": "60/min"}) == [
        ("a", Limit(at_once=2)),
        ("b", Limit(at_once=3)),
        ("a", Limit(per_second=1.0)),
    ]
    for limit in ("0", "-1", "1.5", "", "two"):
        with pytest.raises(UsageError, match=f"limit a={limit}: expected a whole number"):
            overrides({"a": limit}, {})


def test_pairs() -> None:
    assert parse_pairs(("a=1", "b=", "c=x=y"), "argument") == {"a": "1", "b": "", "c": "x=y"}
    for words in (("a",), ("=1",), ("a=1", "a=2")):
        with pytest.raises(UsageError, match="argument"):
            parse_pairs(words, "argument")


@pytest.mark.parametrize(
    ("age", "seconds"), [("30d", 2592000), ("12h", 43200), ("2w", 1209600), ("90m", 5400), ("0s", 0), (" 1.5 h ", 5400)]
)
def test_ages(age: str, seconds: float) -> None:
    assert parse_age(age) == seconds


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "1 month", "1d2h", "1e3s", "nan s"])
def test_ages_that_are_none(age: str) -> None:
    with pytest.raises(UsageError, match="30d"):
        parse_age(age)
