"""Pictures and tables on the command line: where they go, and in which form."""

from __future__ import annotations

import io
from pathlib import Path

import pandas
import pytest

from runner import api
from tests.cli.test_look import built, call, document, refused, said
from tests.views.state import RUN, Built, done_attempt, failed_attempt, id_of

__all__ = ["built"]


def two_nights(built: Built) -> None:
    for n, host in enumerate(("a.example", "a.example", "b.example")):
        attempts = [failed_attempt(), done_attempt(seconds=n + 1.0)]
        built.put("done", f"{n}.html", attempts=attempts, params={"url": f"https://{host}/{n}", "filepath": f"{n}"})
    built.put("done", "t", "Parse", params={}, attempts=[done_attempt(run="20261123T020000Z", seconds=0.25)])
    changes = {"Fetch": {"new": 3, "failed": 1}}
    built.run(ended="2026-11-22T02:01:00.000000Z", exit=0, changes=changes)
    built.run("20261123T020000Z", start="2026-11-23T02:00:00.000000Z")


# --------------------------------------------------------------------------------------------------------------- graph


def test_the_graph_goes_to_stdout_or_to_a_file(built: Built) -> None:
    two_nights(built)
    assert said("graph").startswith("<svg ")
    assert said("graph", "--format", "mermaid").startswith("flowchart LR\n")
    result = call("graph", "--format", "dot", "-o", "graph.dot")
    assert (result.exit_code, result.stdout) == (0, "")
    assert Path("graph.dot").read_text().startswith("digraph")
    assert "graph.dot" in result.stderr


def test_the_graph_around_one_job(built: Built) -> None:
    two_nights(built)
    found = document("graph", id_of("t", "Parse")[:8])
    assert found["focus"] == id_of("t", "Parse")
    assert [box["key"] for box in found["boxes"]] == [id_of("t", "Parse")]
    assert "no job's id begins with 'Nobody'" in str(refused("graph", "Nobody"))


def test_a_file_that_cannot_be_written(built: Built) -> None:
    assert "nothing was written" in str(refused("graph", "-o", "nowhere/graph.svg"))


# --------------------------------------------------------------------------------------------------------------- stats


def test_stats_by_task(built: Built) -> None:
    two_nights(built)
    frame = api.stats()
    assert frame.loc["Fetch"].to_dict() == {
        "jobs": 3,
        "attempts": 6,
        "done": 3,
        "failed": 3,
        "total_s": 7.5,
        "mean_s": 1.25,
        "median_s": 0.75,
        "p95_s": 2.75,
        "max_s": 3.0,
    }
    assert frame.loc["Parse", "attempts"] == 1


def test_stats_by_host_run_and_night(built: Built) -> None:
    two_nights(built)
    assert api.stats("host")["jobs"].to_dict() == {"a.example": 2, "b.example": 1}
    assert api.stats("run")["attempts"].to_dict() == {RUN: 6, "20261123T020000Z": 1}
    nights = api.stats("night")
    assert nights.loc[RUN, ["new", "failed", "seconds", "exit"]].to_list() == [3, 1, 60.0, 0]
    assert pandas.isna(nights.loc["20261123T020000Z", "ended"])


@pytest.mark.parametrize("by", ["task", "host", "run", "night"])
@pytest.mark.parametrize("full", [True, False])
def test_stats_in_every_form(built: Built, by: str, full: bool) -> None:
    if full:
        two_nights(built)
    text = said("stats", "--by", by, columns=200)
    csv = pandas.read_csv(io.StringIO(said("stats", "--by", by, "--format", "csv")))
    assert document("stats", "--by", by)["by"] == by
    assert call("stats", "--by", by, "--format", "parquet", "-o", "stats.parquet").exit_code == 0
    parquet = pandas.read_parquet("stats.parquet")
    rows = len(api.stats(by))  # type: ignore[arg-type]
    assert len(csv) == len(parquet) == len(document("stats", "--by", by)["rows"]) == rows
    assert len(text.splitlines()) == (rows + 1 if rows else 0)


def test_stats_on_a_narrow_terminal(built: Built) -> None:
    two_nights(built)
    assert max(map(len, said("stats", columns=40).splitlines())) <= 40


# -------------------------------------------------------------------------------------------------------------- report


def test_a_report_is_one_page(built: Built) -> None:
    two_nights(built)
    assert call("report", RUN[:8], "-o", "report.html").exit_code == 0
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert document("report", RUN)["run"] == RUN


def test_a_report_of_no_run(built: Built) -> None:
    assert "there was no run yet" in str(refused("report"))


def test_a_page_is_there_whole_or_as_it_was(built: Built) -> None:
    two_nights(built)
    Path("report.html").write_text("yesterday's")
    Path("link.html").symlink_to("report.html")
    assert call("report", "-o", "link.html").exit_code == 0
    assert Path("link.html").is_symlink()
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert "nothing was written" in str(refused("report", "-o", "nowhere/report.html"))
    assert not list(Path().glob(".*.part"))
