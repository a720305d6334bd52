"""The job graph: who is in it, what the lines say, and where it is drawn by task classes."""

from __future__ import annotations

import pytest

from runner.views.gist import Gist, GistResult, gists
from runner.views.graph import Graph, graph
from tests.views.state import Built, id_of


def site(built: Built, pages: int = 3) -> dict[str, str]:
    """One that finds pages, and their texts, which come after them."""
    ids = {"all": id_of("all", "Collect")}
    found = []
    for n in range(pages):
        page = built.put("done", f"{n}.html", found_by=ids["all"])
        text = built.put("failed" if n == 1 else "done", f"{n}.txt", "Parse", after=[page], found_by=ids["all"])
        ids |= {f"page{n}": page, f"text{n}": text}
        found += [page, text]
    built.put("done", "all", "Collect", found=found)
    ids["other"] = built.put("pending", "other", "Other")
    return ids


def look(built: Built, focus: str | None = None, most: int = 60) -> Graph:
    with built.store() as store:
        return graph(gists(store), focus, most)


def lines(found: Graph) -> set[tuple[str, str, bool, int]]:
    return {(line.source, line.target, line.after, line.count) for line in found.lines}


def test_a_small_graph_has_a_box_for_each_job(built: Built) -> None:
    ids = site(built, 2)
    found = look(built)
    assert found.jobs == len(found.boxes) == 6
    assert {box.key: box.statuses for box in found.boxes}[ids["text1"]] == {"failed": 1}
    assert lines(found) == {
        (ids["all"], ids["page0"], False, 1),
        (ids["all"], ids["page1"], False, 1),
        (ids["all"], ids["text0"], False, 1),
        (ids["all"], ids["text1"], False, 1),
        (ids["page0"], ids["text0"], True, 1),
        (ids["page1"], ids["text1"], True, 1),
    }


def test_of_a_large_one_each_task_class_has_a_box(built: Built) -> None:
    site(built, 40)
    found = look(built)
    assert {box.key: (box.jobs, box.statuses, box.job, box.status) for box in found.boxes} == {
        "Collect": (1, {"done": 1}, None, "done"),
        "Fetch": (40, {"done": 40}, None, "done"),
        "Parse": (40, {"done": 39, "failed": 1}, None, "failed"),
        "Other": (1, {"pending": 1}, None, "pending"),
    }
    assert lines(found) == {
        ("Collect", "Fetch", False, 40),
        ("Collect", "Parse", False, 40),
        ("Fetch", "Parse", True, 40),
    }


def test_around_one_job_are_those_before_and_behind_it(built: Built) -> None:
    ids = site(built, 3)
    found = look(built, ids["text2"])
    assert {box.key for box in found.boxes} == {ids["all"], ids["page2"], ids["text2"]}
    found = look(built, ids["page0"])
    assert {box.key for box in found.boxes} == {ids["all"], ids["page0"], ids["text0"]}


def test_the_job_in_the_middle_of_a_large_graph_stands_for_itself(built: Built) -> None:
    ids = site(built, 40)
    found = look(built, ids["all"])
    assert {box.key for box in found.boxes} == {ids["all"], "Fetch", "Parse"}
    assert next(box for box in found.boxes if box.key == ids["all"]).job == ids["all"]


def test_a_file_that_is_no_job_is_a_box_alone(built: Built) -> None:
    id = id_of("x")
    built.file("pending", id).write_text("{")
    (box,) = look(built).boxes
    assert (box.key, box.task, box.statuses) == (id, "Fetch", {"pending": 1})


def test_a_class_that_finds_its_own_kind_has_a_line_to_itself(built: Built) -> None:
    below = [built.put("done", f"{n}", found_by=id_of("top")) for n in range(3)]
    built.put("done", "top", found=below)
    found = look(built, most=2)
    assert lines(found) == {("Fetch", "Fetch", False, 3)}


@pytest.mark.parametrize("count", [2000])
def test_a_long_chain_is_no_matter_of_depth(count: int) -> None:
    jobs = [
        Gist(id=f"Step-{n:016x}", status="done", after=(f"Step-{n - 1:016x}",) if n else (), result=GistResult())
        for n in range(count)
    ]
    assert graph(jobs, jobs[count // 2].id, most=count).jobs == count
