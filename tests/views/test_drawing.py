"""Pictures as text: that other programs can read them, and that no word of a job's gets out of where it stands."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from runner.views.drawing import FORMATS, draw
from runner.views.graph import Box, Graph, Line

EVIL = '"]; x [label="</text><script>alert(1)</script>&\n--> "'


def example(task: str = "Fetch", key: str = "Fetch") -> Graph:
    return Graph(
        focus=None,
        jobs=4,
        boxes=[
            Box(
                key="Collect-0123456789abcdef", task="Collect", job="Collect-0123456789abcdef", statuses={"running": 1}
            ),
            Box(key=key, task=task, job=None, statuses={"done": 2, "failed": 1}),
        ],
        lines=[Line(source="Collect-0123456789abcdef", target=key, after=False, count=3)],
    )


def test_svg_is_xml_with_a_box_and_a_line_for_each() -> None:
    root = ElementTree.fromstring(draw(example(), "svg"))
    names = [each.tag.rpartition("}")[2] for each in root.iter()]
    assert names.count("g") == 2
    text = "".join(root.itertext())
    assert "2 done, 1 failed" in text
    assert "Fetch was found by Collect-0123456789abcdef" in text


def test_dot_and_mermaid_say_the_same() -> None:
    assert '"Collect-0123456789abcdef" -> "Fetch" [style=dashed' in draw(example(), "dot")
    mermaid = draw(example(), "mermaid")
    assert mermaid.startswith("flowchart LR\n")
    assert "n0 -.-> n1" in mermaid


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_words_stay_words(form: str) -> None:
    text = draw(example(EVIL, EVIL), form)
    if form == "svg":
        root = ElementTree.fromstring(text)
        assert not [each for each in root.iter() if each.tag.endswith("script")]
    elif form == "dot":
        bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', text)
        assert "script" not in bare
        assert bare.count("\n") == draw(example(), "dot").count("\n")
    else:
        assert "<script" not in text
        assert text.count("\n") == draw(example(), "mermaid").count("\n")


@pytest.mark.parametrize("form", FORMATS)
def test_of_no_jobs_there_is_an_empty_picture(form: str) -> None:
    assert draw(Graph(focus=None, jobs=0, boxes=[], lines=[]), form)
