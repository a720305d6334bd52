"""What is named no more, and what is there no more: kept, told, not run; and back when it is found or there again."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.acceptance import processes
from tests.acceptance.project import Project
from tests.acceptance.site import Site


@pytest.fixture
def site(project: Project) -> Site:
    """Page 00 links to 03 and 04; the flow names 00, 01 and 02, whose texts are merged."""
    site = Site(project)
    site.page("00", "text 00\nlinks 03\nlinks 04\n")
    site.page("03", "text 03\n")
    site.page("04", "text 04\nlinks 05\n")
    site.page("05", "text 05\n")
    return site


def gone(site: Site) -> dict[str, str]:
    """What `list --gone` says, by id."""
    listed = site.project.runner("list", "--gone", "--json")
    assert listed.code == 0, listed.err
    return {job["id"]: job["why"] for job in json.loads(listed.out)["jobs"]}


def pages_and_texts(*names: str) -> list[str]:
    return sorted(path for name in names for path in (f"raw/{name}.html", f"text/{name}.txt"))


# ---------------------------------------------------------------------------------------------------------------- gone


def test_a_child_that_is_named_no_more(site: Site) -> None:
    """04 leads to 05: both are gone, are not fetched, and keep their files; on night three they are back."""
    site.tonight()
    lost = {site.id(task, name) for task in ("FindingFetch", "Parse") for name in ("04", "05")}
    before = site.traces()
    site.page("00", "text 00\nlinks 03\n")
    said = site.tonight().said
    assert site.ran() == [f"FindingFetch-{name}" for name in ("00", "01", "02", "03")] + ["Parse-00"]
    assert ": 9 done (" in said, "who is gone is not counted"
    assert site.project.counts() == {"done": 13 - 2 + 2}, "nor deleted"
    assert set(gone(site)) == set(site.record()["gone"]) == lost
    assert gone(site)[site.id("FindingFetch", "04")] == f"gone: {site.id('FindingFetch', '00')} no longer names it"
    assert site.changed() == {"changed": ["raw/00.html"], "gone": pages_and_texts("04", "05")}
    now = site.traces()
    kept = [f"state/done/{id}.json" for id in lost] + pages_and_texts("04", "05")
    assert [now[path] for path in kept] == [before[path] for path in kept]
    assert site.project.runner("check").code == 0

    site.again()
    assert site.ran() == []
    assert site.changed() == {}, "said once"
    assert set(gone(site)) == lost, "but listed as long as it is so"

    site.page("00", "text 00\nlinks 03\nlinks 04\n")
    site.tonight()
    assert site.ran() == [f"FindingFetch-0{number}" for number in range(6)] + ["Parse-00"], "as after any other night"
    assert site.changed() == {"changed": ["raw/00.html"]}
    assert gone(site) == {}
    assert site.record()["gone"] == []


def test_explain_says_that_a_job_is_gone(site: Site) -> None:
    site.tonight()
    site.page("00", "text 00\n")
    site.tonight()
    for status, id in (("done", site.id("Parse", "05")), ("done", site.id("FindingFetch", "04"))):
        explained = site.project.runner("explain", id)
        assert explained.code == 0, explained.err
        assert status in explained.out
        assert "gone" in explained.out


def test_an_unfinished_child_that_is_named_no_more(site: Site) -> None:
    """It goes to cancelled/ as gone, and comes back when it is found again."""
    site.page("04", "fail\n")
    site.project.variables["WORK_RETRIES"] = "1"
    site.tasks({"backoff = 0.01": "backoff = 60"})
    site.falls()
    process = site.project.start(*site.target)
    processes.wait_until("a retry is put off", lambda: site.attempts("failed"))
    process.send_signal(signal.SIGINT)
    assert process.wait() == 3
    assert site.job("FindingFetch", "04")[0] == "pending"
    late = site.id("FindingFetch", "04")

    site.page("00", "text 00\nlinks 03\n")
    site.page("04", "text 04\nlinks 05\n")
    said = site.tonight().said
    status, job = site.job("FindingFetch", "04")
    assert (status, job["attempts"][-1]["outcome"]) == ("cancelled", "gone")
    assert "FindingFetch-04" not in site.started
    assert "cancelled" not in said
    assert site.record()["gone"] == [late]
    assert late in gone(site)
    assert [job["id"] for job in site.changes()["jobs"] if job["change"] == "gone"] == [late]
    assert site.project.runner("check").code == 0

    site.page("00", "text 00\nlinks 03\nlinks 04\n")
    site.tonight()
    assert site.job("FindingFetch", "04")[0] == "done"
    assert site.job("Parse", "05")[0] == "done"
    assert gone(site) == {}
    assert site.project.runner("check").code == 0


def test_a_finder_that_is_up_to_date_and_names_others(site: Site) -> None:
    """It does not run, but is asked: another rule in downstream_tasks() takes effect at once."""
    site.tonight()
    lost = {site.id(task, name) for task in ("FindingFetch", "Parse") for name in ("03", "04", "05")}
    site.tasks({'line.startswith("links ")': 'line.startswith("follow ")'})
    site.again()
    assert site.ran() == []
    assert site.changed() == {"gone": pages_and_texts("03", "04", "05")}
    assert set(gone(site)) == lost
    site.tasks()
    site.again()
    assert site.ran() == []
    assert site.changed() == {}
    assert gone(site) == {}


def test_a_root_that_is_named_no_more(site: Site) -> None:
    site.tonight()
    lost = {site.id(task, "02") for task in ("FindingFetch", "Parse")}
    site.name("00", "01")
    site.tonight()
    assert "FindingFetch-02" not in site.started
    assert site.changed() == {"changed": ["all.txt"], "gone": pages_and_texts("02")}
    assert set(gone(site)) == lost
    site.name("00", "01", "02")
    site.tonight()
    assert site.changed() == {"changed": ["all.txt"]}
    assert gone(site) == {}


# -------------------------------------------------------------------------------------------------------------- absent


@pytest.mark.parametrize("flow", ["found", "rooted"])
def test_a_page_that_is_absent_for_a_night(project: Project, flow: str) -> None:
    site = Site(project, flow)
    fetch = "FindingFetch" if flow == "found" else "Fetch"
    site.tonight()
    site.page("01", None)
    said = site.tonight().said
    assert ": 7 done (" in said
    assert "2 absent" in said
    assert site.started == [f"{fetch}-00", f"{fetch}-01", f"{fetch}-02", "Merge"], "its text is not parsed"
    assert site.changed() == {"absent": pages_and_texts("01"), "changed": ["all.txt"]}
    assert site.read("all.txt") == "text 00\ntext 02\n"
    trash = project.state / "trash" / site.run
    assert sorted(str(path.relative_to(trash)) for path in trash.rglob("*.*")) == pages_and_texts("01")
    assert not any((project.root / path).exists() for path in pages_and_texts("01"))
    assert site.job("Parse", "01")[1]["result"]["outputs"] == {"text/01.txt": None}
    assert (gone(site), site.record()["gone"]) == ({}, []), "absent is not gone"
    checked = project.runner("check", "--json")
    assert (checked.code, json.loads(checked.out)["warnings"]) == (0, [])
    now = site.traces()
    site.again()
    assert (site.started, site.changed(), site.traces()) == ([], {}, now)

    site.tonight()
    assert site.started == [f"{fetch}-00", f"{fetch}-01", f"{fetch}-02"]
    assert site.changed() == {}, "still absent is no change"

    site.page("01", "text is back\n")
    site.tonight()
    assert site.started == [f"{fetch}-00", f"{fetch}-01", f"{fetch}-02", "Merge", "Parse-01"]
    assert site.changed() == {"new": pages_and_texts("01"), "changed": ["all.txt"]}
    assert site.read("all.txt") == "text 00\ntext is back\ntext 02\n"


def test_all_that_an_absent_page_has_found_stays(site: Site) -> None:
    """It is not asked what it finds: those it found last time are not gone, and are judged by the wish they have."""
    site.tonight()
    site.page("00", None)
    site.tasks({"version = 1": "version = 2"})
    site.tonight()
    assert [name for name in site.started if "Parse" in name] == [f"Parse-0{number}" for number in range(1, 6)]
    assert gone(site) == {}
    assert site.changed() == {"absent": pages_and_texts("00"), "changed": ["all.txt"]}
    site.page("00", "text 00\nlinks 03\n")
    site.tonight()
    assert "Parse-00" in site.started
    assert site.changed()["gone"] == pages_and_texts("04", "05"), "against what it found when it was there"


# --------------------------------------------------------------------------------------------------------------- prune


@pytest.mark.parametrize("flow", ["found", "rooted"])
def test_prune_takes_nothing_that_the_next_night_needs(project: Project, flow: str) -> None:
    site = Site(project, flow)
    site.tonight()
    site.page("02", "text 02\nstamp 2\n")
    site.tonight()
    done = site.ran()
    for _ in range(2):
        pruned = project.runner("prune", "--older", "0s")
        assert pruned.code == 0, pruned.err
        site.again()
        assert site.started == []
    site.page("02", "text 02\nstamp 3\n")
    site.tonight()
    assert site.ran() == done
    assert site.lines("previous") == done
    assert project.runner("check").code == 0


def test_prune_forgets_who_is_gone(site: Site) -> None:
    """Its outputs stay; when it is found again it is a new job, that cannot rely on them."""
    site.tonight()
    site.page("00", "text 00\n")
    site.tonight()
    assert len(gone(site)) == 6
    assert site.project.runner("prune", "--older", "0s").code == 0
    assert gone(site) == {}
    assert site.project.counts() == {"done": 7}
    assert Path(site.project.root, "raw/05.html").exists()
    site.page("00", "text 00\nlinks 03\n")
    site.tonight()
    assert {"FindingFetch-03", "Parse-03"} <= set(site.ran())
    assert "FindingFetch-03" not in site.lines("previous")
    assert site.changed() == {"changed": ["raw/00.html"], "new": pages_and_texts("03")}
