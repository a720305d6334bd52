"""`explain`: the answer for a job in every state, of state folders that real runs have made."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from runner import Input, Output, Task, api
from runner.cli import cli
from runner.core.model import Status
from runner.errors import UsageError
from runner.session import open_session
from runner.store import codec
from runner.store.codec import JobFile
from runner.store.folders import FolderStore
from runner.store.runs import Runs
from runner.task import encode
from runner.views.explain import Explained
from tests import nightly
from tests.nightly import CLASSES, MODULES, OPTIONS, Merge, Notes, Page, Parse, Site, bump, newest, night, raw, text
from tests.rig import id_of
from tests.views.state import Built


@dataclass
class Host(Task):
    """Two at once on a host."""

    number: int

    def limits(self) -> dict[str, int]:
        print("limits() is asked")
        return {"host:x": 2}


@dataclass
class Anyway(Task):
    source: Input
    output: Output
    trigger_rule = "all_done"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RUNNER_STATE", raising=False)
    Path("pyproject.toml").write_text('[tool.runner]\nmodules = ["tests"]\n')
    Path("notes.txt").write_text("notes")
    fresh()
    nightly.SITE = Site(roots=["a"], texts={"a": "a", "b": "b"}, links={"a": ["b"]}, merges=["a", "b"])
    yield tmp_path
    fresh()


def fresh() -> None:
    for cls in CLASSES:
        bump(cls, 1)


@pytest.fixture
def built(project: Path) -> Built:
    return Built(project)


A, B, TEXT = Page("a", raw("a")), Page("b", raw("b")), Parse(raw("a"), text("a"))
NOTES, MERGE = Notes(Path("notes.txt"), Path("notes.out"), text("a")), Merge([text("a"), text("b")], Path("merged.txt"))


def explained(task: Task | str) -> Explained:
    return api.explain(task if isinstance(task, str) else id_of(task), root=Path.cwd(), state=Path.cwd() / "state")


def printed(task: Task | str) -> str:
    result = CliRunner().invoke(cli, ["explain", task if isinstance(task, str) else id_of(task)])
    assert result.exit_code == 0, result.output
    return result.stdout


def put(built: Built, status: str, task: Task, **fields: Any) -> str:
    """A job file of this task, in a folder."""
    name = f"{type(task).__module__}:{type(task).__qualname__}"
    job = JobFile(id=id_of(task), task=name, params=encode(task, os.getcwd()), **fields)
    built.file(status, job.id).write_bytes(codec.encode(job))
    return job.id


def changed(status: str, id: str, **fields: Any) -> None:
    """Edit a job file."""
    path = Path("state", status, f"{id}.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def take_in(project: Path) -> None:
    with open_session(project, project / "state", MODULES, OPTIONS) as session:
        session.take_in()


# ------------------------------------------------------------------------------------------------------------- done


def test_up_to_date_and_what_makes_it_so(project: Path) -> None:
    night(project)
    found = explained(TEXT)
    assert (found.status, found.verdict, found.differences) == ("done", "is up to date", [])
    assert found.same[:4] == ["version 1", "2 parameters", "output text/a.txt: 2 bytes", "input raw/a.json"]
    assert "all as its record says" in printed(TEXT)
    nightly.SITE.texts.pop("a")
    nightly.SITE.due = {"a"}
    night(project)
    assert "output text/a.txt: absent" in explained(TEXT).same


def _shorter() -> None:
    text("a").write_text("x")


@pytest.mark.parametrize(
    ("change", "task", "part", "says"),
    [
        (lambda: bump(Parse, 2), TEXT, "version", "version 1 -> 2"),
        (lambda: text("a").unlink(), TEXT, "output", "output text/a.txt is not there"),
        (_shorter, TEXT, "output", "output text/a.txt has 1 bytes, not 2"),
        (lambda: Path("notes.txt").write_text("other"), NOTES, "input", "input notes.txt changed"),
        (lambda: Path("notes.txt").unlink(), NOTES, "input", "input notes.txt is gone"),
        (lambda: setattr(nightly.SITE, "due", {"a"}), A, "due", "it is said so"),
    ],
)
def test_due_because(project: Path, change: Callable[[], Any], task: Task, part: str, says: str) -> None:
    night(project)
    change()
    found = explained(task)
    assert (found.verdict, found.because) == (f"is due: {says}", ["it runs when a run reaches it"])
    assert [(each.part, each.says) for each in found.differences] == [(part, says)]
    assert says in printed(task)


def test_another_parameter_an_input_more_and_another_order(project: Path) -> None:
    night(project)
    changed("done", id_of(TEXT), params={**encode(TEXT, os.getcwd()), "selector": 3})
    found = explained(TEXT)
    assert [(each.name, each.old, each.new) for each in found.differences] == [("selector", 0, 3)]
    parts = {"output": "merged.txt", "parts": ["text/b.txt", "text/a.txt"]}
    changed("done", id_of(MERGE), params=parts)
    assert explained(MERGE).verdict == "is due: its inputs are the same, in another order or in other fields"
    changed("done", id_of(MERGE), params={**parts, "parts": ["text/a.txt", "text/b.txt", "notes.txt"]})
    assert explained(MERGE).verdict == "is due: input notes.txt is new"
    assert re.search(r"input notes.txt is new \(none -> [0-9a-f]{12}\)", printed(MERGE))


def test_invalidated_and_forced(project: Path) -> None:
    night(project)
    api.invalidate([id_of(TEXT)])
    assert explained(TEXT).because[0].startswith("`invalidate` was handed in, and is not carried out yet: no runner")
    assert not any("handed in" in why for why in explained(A).because)
    take_in(project)
    assert explained(TEXT).verdict == "is due: it was invalidated"
    night(project, cut=0, force_tasks=("Notes",))
    assert explained(NOTES).verdict == "is due: forced", "as of the run that has not ended"
    bump(Page, 2)
    assert [each.part for each in explained(A).differences] == ["version"]


def test_what_was_made_in_the_run_that_goes_on_is_not_due_by_its_age(project: Path) -> None:
    nightly.SITE.due = {"a", "b"}
    night(project, cut=3)
    with FolderStore("state", create=False) as store:
        done = next(id for id, status in store.scan().items() if status is Status.DONE and id.startswith("Page"))
    assert explained(done).verdict == "is up to date"


def test_it_stays_as_it_is_behind_one_that_failed(project: Path) -> None:
    night(project)
    nightly.SITE.broken, nightly.SITE.due = {"a"}, {"a"}
    night(project)
    bump(Parse, 2)
    assert explained(TEXT).because == [f"it is left as it is, because of {id_of(A)}, which failed"]


def test_gone(project: Path) -> None:
    night(project)
    assert all("gone" not in line for task in (A, B, TEXT, NOTES) for line in explained(task).because)
    nightly.SITE.filter = "b"
    night(project)
    why = f"it seems to be gone: {id_of(A)} no longer names it, so no run comes to it (`list --gone` makes certain)"
    assert explained(B).because == [why]
    bump(Page, 2)
    assert (explained(B).verdict, explained(B).because) == ("is due: version 1 -> 2", [why])
    nightly.SITE.roots = []
    night(project)
    assert "no run's target names it" in explained(A).because[0]
    api.run([A], durability="process", workers=1)
    assert explained(A).because == ["it runs when a run reaches it"], "a run without a target names it"


def test_a_class_that_is_gone(project: Path, built: Built) -> None:
    night(project)
    changed("done", id_of(A), task="tests.nightly:Gone")
    assert explained(A).verdict.startswith("is left as it is: ")
    put(built, "pending", Host(1))
    changed("pending", id_of(Host(1)), task="tests.nightly:Gone")
    assert explained(Host(1)).verdict.startswith("will fail: ")
    assert "Gone" in explained(Host(1)).verdict


# ---------------------------------------------------------------------------------------------------------- pending


def test_waits_for_others(built: Built) -> None:
    put(built, "pending", A)
    put(built, "pending", TEXT, after=(id_of(A), "Page-0000000000000000"))
    found = explained(TEXT)
    assert found.verdict == f"waits for {id_of(A)}, which is pending, and for 1 more"
    assert [each.status for each in found.waits_for] == ["pending", "nowhere"]
    assert found.because == ["no runner is alive: `resume` or `run` goes on"]
    put(built, "pending", TEXT, after=("Page-0000000000000000",))
    assert "there is no such job" in explained(TEXT).because[0]


def test_all_done_waits_for_no_one_that_failed(built: Built) -> None:
    Path("raw").mkdir()
    raw("a").write_text("x")
    put(built, "failed", A)
    put(built, "pending", Anyway(raw("a"), Path("any.txt")), after=(id_of(A),))
    assert explained(Anyway(raw("a"), Path("any.txt"))).verdict == "is ready: it waits for a worker"


def test_will_be_tried_again(built: Built) -> None:
    error = {"type": "ValueError", "message": "first line\nno page", "traceback": ""}
    attempts = [
        {"run": "20261122T020000Z", "started": codec.stamp(0), "seconds": 1.0, "outcome": "failed", "error": error}
    ]
    put(built, "pending", A, not_before=codec.stamp(time.time() + 500), attempts=attempts)
    found = explained(A)
    assert re.fullmatch(r"will be tried again in 8 min, at \S+ \S+ UTC: ValueError: first line", found.verdict)
    assert found.not_before
    put(built, "pending", A, not_before=codec.stamp(time.time() - 5), attempts=attempts)
    assert explained(A).verdict == "is ready: it waits for a worker"


def test_held_by_a_limit(built: Built) -> None:
    holders = [put(built, "running", Host(n)) for n in (1, 2)]
    put(built, "pending", Host(3))
    found = explained(Host(3))
    assert found.verdict == "is held by limit host:x: 2 of 2 run already"
    assert [sorted(held.running) for held in found.limits] == [sorted(holders)]
    out = printed(Host(3))
    assert "host:x: 2 at once; Host-" in out
    assert all(id in out for id in holders)
    assert "limits() is asked" not in out, "what a task prints is no data"
    Path("pyproject.toml").write_text('[tool.runner]\nmodules = ["tests"]\nlimits = {"host:*" = 3}\n')
    assert explained(Host(3)).verdict == "is ready: it waits for a worker"


def test_lacks_an_input(built: Built) -> None:
    put(built, "pending", TEXT)
    found = explained(TEXT)
    assert found.verdict == "waits for its input raw/a.json: no job makes it so far, and there is no such file"
    assert found.because[0].startswith("once nothing else can run it fails")


def test_running(built: Built) -> None:
    id = put(built, "running", A)
    assert explained(A).verdict == "was with a worker (attempt 1) when its runner ended"
    built.run()
    built.holder()
    built.journal((2.0, id, "pending", "running", "claim"))
    assert explained(A).verdict == "is with a worker, since 2026-11-22 02:00:02 UTC (attempt 1)"


# ---------------------------------------------------------------------------------- blocked, failed, cancelled, others


def test_blocked_through_a_chain(project: Path) -> None:
    nightly.SITE.broken = {"b"}
    nightly.SITE.merges = []
    night(project)
    chain = [Parse(raw("b"), text("b")), Merge([text("b")], Path("merged.txt"))]
    built = Built(project)
    put(built, "blocked", chain[0], after=(id_of(B),))
    put(built, "blocked", chain[1], after=(id_of(chain[0]),))
    found = explained(chain[1])
    assert found.verdict == f"is blocked by {id_of(B)}, which failed: ValueError: no b"
    assert [each.id for each in found.chain] == [id_of(chain[0]), id_of(B)]
    assert f"{id_of(B)}, failed: ValueError: no b" in printed(chain[1])
    night(project)
    nightly.SITE.broken = set()
    Path("state", "failed", f"{id_of(B)}.json").rename(Path("state", "done", f"{id_of(B)}.json"))
    assert explained(chain[0]).verdict == "is blocked by nobody any more: the next run sees to it"


def test_failed(project: Path) -> None:
    nightly.SITE.broken = {"a"}
    night(project)
    found = explained(A)
    assert found.verdict == "failed after 1 attempt: ValueError: no a"
    assert f"`retry {id_of(A)}`" in found.because[0]


def test_cancelled_by_a_person_superseded_and_gone(project: Path) -> None:
    nightly.SITE.broken = {"a"}
    night(project)
    api.cancel([id_of(A)])
    take_in(project)
    assert "`retry` brings it back" in explained(A).because
    for outcome in ("superseded", "gone"):
        changed("cancelled", id_of(A), attempts=[{"outcome": outcome, "error": {"type": "X", "message": "by B"}}])
        assert (explained(A).verdict, explained(A).because) == (
            "was cancelled: X: by B",
            ["it comes back when it is found"],
        )


def test_quarantine_inbox_and_a_damaged_file(built: Built) -> None:
    id = id_of(A)
    built.file("quarantine", id).write_text("{")
    Path(f"{built.file('quarantine', id)}.reason.txt").write_text("pending/x.json: no JSON\n")
    assert explained(id).verdict == "is no valid job: pending/x.json: no JSON"
    built.file("quarantine", id).rename(built.file("inbox", id))
    assert explained(id).verdict == "was handed in: no runner is alive: `resume` or `run` goes on"
    built.file("inbox", id).rename(built.file("done", id))
    found = explained(id)
    assert found.verdict.startswith("its file is damaged: ")
    assert "quarantine/" in found.because[0]


def test_ids_may_be_cut(project: Path) -> None:
    night(project)
    assert explained(id_of(A)[:9]).id == id_of(A)
    with pytest.raises(UsageError, match="ambiguous"):
        explained("Page-")
    with pytest.raises(UsageError, match="no job's id begins with 'Nobody'"):
        explained("Nobody")


def test_the_document(project: Path) -> None:
    night(project)
    bump(Page, 2)
    result = CliRunner().invoke(cli, ["explain", id_of(A), "--json"])
    document = json.loads(result.stdout)
    assert document.keys() == {
        "schema",
        "id",
        "status",
        "verdict",
        "because",
        "differences",
        "same",
        "waits_for",
        "chain",
        "limits",
        "not_before",
        "last_reason",
    }
    assert document["differences"] == [{"part": "version", "name": "", "old": 1, "new": 2, "says": "version 1 -> 2"}]
    with FolderStore("state", create=False) as store:
        assert Runs(store).ids() == [newest(store).id]
