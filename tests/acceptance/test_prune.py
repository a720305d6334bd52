"""Three nights of pages and texts, some of which are dropped: who is gone, and what `prune` does to the next night.

`fetch` finds its `parse` by downstream_tasks(); the flow names the fetches and the merge of all texts.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.prune import Prune
from runner.store.folders import FolderStore
from runner.views.check import check
from runner.views.reach import Reach
from tests.acceptance.invariants import check_state
from tests.acceptance.project import QUICK, Outcome, Project
from tests.store.support import Crash, FaultyFiles

PAGES = 20
BARE, DROPPED = "03", "07"  # a page that has no text any more, and one that the flow does not name any more
FLOW = ("run", "jobs.site:nightly", *QUICK)
SITE = """
    from dataclasses import dataclass
    from pathlib import Path

    from runner import Input, Output, Task

    @dataclass
    class Fetch(Task):
        name: str
        output: Output
        max_age = 0

        def run(self):
            self.output.write_text(Path("site", self.name).read_text())

        def downstream_tasks(self):
            if "no text" not in self.output.read_text():
                yield Parse(self.output, f"text/{self.name}.txt")

    @dataclass
    class Parse(Task):
        input: Input
        output: Output

        def run(self):
            self.output.write_text(self.input.read_text().upper())

    @dataclass
    class Merge(Task):
        texts: list[Input]
        output: Output

        def run(self):
            self.output.write_text("".join(text.read_text() for text in self.texts))

    def nightly():
        pages = {path.name: path.read_text() for path in sorted(Path("site").iterdir())}
        fetches = [Fetch(name, f"raw/{name}.html") for name in pages]
        texts = [f"text/{name}.txt" for name, page in pages.items() if "no text" not in page]
        return [*fetches, Merge(texts, "all.txt")]
"""


def night(project: Project) -> Outcome:
    done = project.runner(*FLOW)
    assert done.code == 0, done.err
    return done


def attempts(project: Project) -> dict[str, int]:
    return {job["id"]: len(job["attempts"]) for job in project.jobs("done")}


def ran(project: Project, before: dict[str, int]) -> dict[str, int]:
    """How many attempts of each class there were since."""
    found: dict[str, int] = {}
    for id, count in attempts(project).items():
        if more := count - before.get(id, 0):
            found[id.partition("-")[0]] = found.get(id.partition("-")[0], 0) + more
    return found


def files(project: Project) -> set[str]:
    return {str(path.relative_to(project.root)) for path in project.root.rglob("*") if path.is_file()}


def gone(project: Project, *words: str) -> dict[str, str]:
    """What `list --gone` says, by id."""
    found = json.loads(project.runner("list", "--gone", "--json", *words).out)
    return {row["id"]: row["why"] for row in found["jobs"]}


def check_all(project: Project) -> None:
    checked = project.runner("check", "--json")
    assert (checked.code, json.loads(checked.out)["warnings"]) == (0, []), checked.out
    check_state(project.root)


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    """After its third night."""
    project = new_project()
    project.module("site", SITE)
    (project.root / "site").mkdir()
    for n in range(PAGES):
        (project.root / "site" / f"{n:02}").write_text(f"page {n}\n")
    night(project)
    first = attempts(project)
    night(project)
    assert ran(project, first) == {"Fetch": PAGES}
    assert gone(project) == {}
    (project.root / "site" / BARE).write_text("no text\n")
    (project.root / "site" / DROPPED).unlink()
    night(project)
    return project


def test_nights(project: Project) -> None:
    assert (project.root / "all.txt").read_text().count("PAGE") == PAGES - 2
    by_output = {job["params"]["output"]: job["id"] for job in project.jobs("done")}
    bare, dropped = by_output[f"raw/{BARE}.html"], by_output[f"raw/{DROPPED}.html"]
    expected = {
        by_output[f"text/{BARE}.txt"]: f"gone: {bare} no longer names it",
        by_output[f"text/{DROPPED}.txt"]: f"gone: so is {dropped}, which found it",
        dropped: "gone: no run's target names it",
    }
    assert gone(project) == expected
    assert gone(project, "--task", "Fetch").keys() == {dropped}
    assert gone(project, "--status", "failed") == {}
    assert gone(project, "--where", f"output=text/{BARE}.txt").keys() == {by_output[f"text/{BARE}.txt"]}
    assert project.runner("list", "--gone").out.count("gone: ") == 3
    check_all(project)

    before, jobs = files(project), attempts(project)
    would = project.runner("prune", "--older", "0s", "--dry-run", "--json")
    assert would.code == 0
    assert set(json.loads(would.out)["ids"]) == set(expected)
    assert files(project) == before
    assert json.loads(project.runner("prune", "--json").out)["ids"] == [], "30 days, if nothing is said"
    done = project.runner("prune", "--older", "0s")
    assert done.code == 0
    assert done.out.splitlines()[2].split()[:2] == ["jobs", "3"]
    assert done.out.splitlines()[3].split()[:2] == ["runs", "2"]
    runs = {name for name in before if name.startswith("state/runs/")}
    newest = max(name for name in runs if name.endswith(".json"))
    went = {f"state/done/{id}.json" for id in expected} | runs - {newest, f"{newest}l"}
    assert before - files(project) == went
    assert gone(project) == {}
    check_all(project)

    night(project)
    assert ran(project, jobs) == {"Fetch": PAGES - 1}, "no text is parsed again, and nothing merged"
    check_all(project)

    jobs = attempts(project)
    (project.root / "site" / BARE).write_text("page 3 is back\n")
    night(project)
    assert ran(project, jobs) == {"Fetch": PAGES - 1, "Parse": 1, "Merge": 1}
    assert gone(project) == {}
    check_all(project)


def test_cut_short_anywhere(project: Project, seed: int, record_property: Callable[[str, object], None]) -> None:
    """After each cut `check` is content and the next night, too: what it need not run it does not run."""
    jobs = attempts(project)
    with FolderStore(project.state, create=False, root=project.root) as store:
        lost = {id for id, _ in Reach(store).gone()}
    cuts: list[Path] = []
    for at in range(1, 200):
        copy = project.root.with_name(f"cut-{at}")
        shutil.copytree(project.root, copy)
        try:
            with FolderStore(copy / "state", root=copy, files=FaultyFiles(at), durability="process") as store:
                Prune(store, 4e9).carry_out()
            break
        except Crash:
            cuts.append(copy)
        check_state(copy)
        with FolderStore(copy / "state", create=False, root=copy) as store:
            assert check(store, modules=["jobs"]).faults == []
    assert len(cuts) >= 8
    for copy in random.Random(seed).sample(cuts, 3):
        again = Project(copy)
        night(again)
        assert ran(again, jobs) == {"Fetch": PAGES - 1}, copy.name
        assert again.runner("prune", "--older", "0s").code == 0
        assert not attempts(again).keys() & lost
        check_all(again)
    record_property("struck", len(cuts))


def test_words_and_locks(new_project: Callable[..., Project]) -> None:
    project = new_project()
    nothing = project.runner("prune")
    assert nothing.code == 4
    assert "no state folder" in nothing.said
    with FolderStore(project.state, root=project.root) as store, store.lock({}):
        busy = project.runner("prune")
        assert busy.code == 75
        assert "another runner is alive" in busy.said
        assert project.runner("prune", "--dry-run").code == 0
    for age in ("30", "soon", "-1d", "1y", ""):
        wrong = project.runner("prune", "--older", age)
        assert wrong.code == 2, age
        assert "30d" in wrong.said
    for age in ("0s", "90m", "1.5 h", "2w"):
        assert project.runner("prune", "--older", age).code == 0, age
