"""`check` names each fault that is planted in a real state, and says what to do; `--repair` deletes nothing.

What a kill may leave, and what was lost of the outputs, are warnings: see test_check_after_kills.py for kills.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.project import Project
from tests.faults.checked import Planted, edit, found, look, made, read, write
from tests.faults.planted import FAULTS, NOBODY, Plant, changed, moved

PRISTINE = {"left running", "quarantine"}  # what there is to say of the state before a fault is planted in it


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    yield from made(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def state(whole: Project, tmp_path: Path) -> Planted:
    return Planted.copy(whole, tmp_path / "project")


def test_a_state_without_faults(state: Planted, struck: Counter[str]) -> None:
    outcome = look(state.root, "--verify")
    assert outcome.code == 0, outcome.out
    report = look(state.root, "--json")
    assert {warning["code"] for warning in found(report, "warnings")} == PRISTINE
    before = state.everything()
    assert look(state.root, "--repair").code == 0
    assert state.everything() == before
    struck["jobs looked at"] += len(list(state.state.glob("*/*-*.json")))


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 40
    assert len({code for _, code, _ in FAULTS.values()}) == 14


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault(state: Planted, name: str, struck: Counter[str]) -> None:
    """Found by one line, which names it and says what to do; mended or left, and nothing is deleted."""
    plant, code, mendable = FAULTS[name]
    named = plant(state)
    before = state.everything()
    outcome = look(state.root)
    assert outcome.code == 1, outcome.out
    report = found(look(state.root, "--json"))
    assert code in {fault["code"] for fault in report}, report
    assert all(fault["do"] for fault in report)
    lines = [line for line in outcome.out.splitlines() if line.startswith("fault: ")]
    assert len(lines) == len(report)
    assert any(named in line and "; to do: " in line for line in lines), f"{named} is not named: {lines}"
    struck[code] += 1

    assert look(state.root, "--repair").code == 1
    assert not before - state.everything(), f"lost: {before - state.everything()}"
    left = {fault["code"] for fault in found(look(state.root, "--json"))}
    assert (code in left) is not mendable, left
    if mendable:
        # A job whose file had got another's name is nowhere: that is for a person to see to.
        assert left <= {"root", "child", "upstream"}, left
        struck["mended"] += 1


def test_of_copies_the_most_advanced_stays(state: Planted, struck: Counter[str]) -> None:
    plant, _, _ = FAULTS["an older copy"]
    name = plant(state)
    done = (state.state / "done" / name).read_bytes()
    assert look(state.root, "--repair").code == 1
    assert (state.state / "done" / name).read_bytes() == done
    assert read(state.state / "quarantine" / name)["result"] is None
    struck["copy"] += 1


def test_of_copies_that_differ_none_stays(state: Planted, struck: Counter[str]) -> None:
    """Which of them is right, nobody can tell."""
    plant, _, _ = FAULTS["a copy that is another job"]
    name = plant(state)
    assert look(state.root, "--repair").code == 1
    assert not list(state.state.glob(f"[dp]*/{name}"))
    assert len(list((state.state / "quarantine").glob(f"*{name}"))) == 2
    struck["copy"] += 1


def test_what_was_not_finished_runs_again_and_keeps_its_record(state: Planted, struck: Counter[str]) -> None:
    plant, _, _ = FAULTS["done by a failure"]
    id = plant(state)
    assert look(state.root, "--repair").code == 1
    job = read(state.state / "pending" / f"{id}.json")
    assert job["retries_from"] == len(job["attempts"])
    assert job["result"]["value"] is not None
    struck["job"] += 1


# ------------------------------------------------------------------------------------------------ no faults, but news


def no_output(make: Callable[[Path], object]) -> Plant:
    """Something happens to an output."""

    def plant(state: Planted) -> str:
        make(state.root / "data" / "site.txt")
        return "data/site.txt"

    return plant


def replaced_by(make: Callable[[Path], object]) -> Plant:
    return no_output(lambda path: (path.unlink(), make(path)))


def in_state(path: str, text: str) -> Plant:
    """A file with this text in the state folder."""

    def plant(state: Planted) -> str:
        (state.state / path).parent.mkdir(exist_ok=True)
        (state.state / path).write_text(text)
        return path

    return plant


def without(*paths: str) -> Plant:
    def plant(state: Planted) -> str:
        for path in paths:
            target = state.state / path
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        return paths[0]

    return plant


def reason_gone(state: Planted) -> str:
    (reason,) = (state.state / "quarantine").glob("*.reason.txt")
    reason.unlink()
    return reason.name.removesuffix(".reason.txt")


def absent_is_there(state: Planted) -> str:
    absent = next(file for file in (state.state / "done").glob("Page-*") if "data/page-1.html" in file.read_text())
    assert read(absent)["result"]["outputs"] == {"data/page-1.html": None}
    (state.root / "data" / "page-1.html").write_text("made by hand")
    return "data/page-1.html"


def upstream_failed(state: Planted) -> str:
    failed = state.file("failed", "Page").stem
    edit(state.file("pending", "Last"), lambda job: job.update(after=[failed]))
    return failed


def staged_left(state: Planted) -> str:
    hash = state.of("data/site.txt").stem[-16:]
    (state.root / "data" / f".site-{hash}-0123abcd.txt").write_text("half")
    return "-0123abcd.txt"


def all_ended(state: Planted) -> str:
    for file in (state.state / "running").iterdir():
        shutil.move(file, state.state / "pending")
    held = state.run("jobs.night:held")
    edit(held, lambda run: run.update(ended=run["start"], exit=0))
    return "pending"


def module_gone(state: Planted) -> str:
    return (
        edit(state.file("pending", "Last"), lambda job: job.update(task="elsewhere.night:Last")) and "elsewhere.night"
    )


def about_to_be(outcome: str) -> Plant:
    attempt = {"run": None, "started": None, "seconds": None, "outcome": outcome}
    return changed("done", "Both", lambda job: job["attempts"].append(attempt))


NEWS: dict[str, tuple[Plant, str | None]] = {
    "an output that is gone": (no_output(Path.unlink), "output"),
    "an empty output": (no_output(lambda path: os.truncate(path, 0)), "output"),
    "a longer output": (no_output(lambda path: path.write_text("longer than it was")), "output"),
    "an output with other bytes": (no_output(lambda path: path.write_text("SITE")), "output"),
    "an output that is a folder": (replaced_by(Path.mkdir), "output"),
    "an output that is a FIFO": (replaced_by(os.mkfifo), "output"),
    "an output that leads nowhere": (replaced_by(lambda path: path.symlink_to("nowhere")), "output"),
    "an absent output that is there": (absent_is_there, "output"),
    "all outputs gone": (lambda state: shutil.rmtree(state.root / "data") or "data/site.txt", "output"),
    "blocked for nothing": (moved("pending", "blocked", "Last"), "to be unblocked"),
    "blocked, and all it needs is done": (
        lambda state: edit(state.file("blocked", "Report"), lambda job: job.update(after=[])), "to be unblocked"
    ),
    "waiting for what failed": (upstream_failed, "to be blocked"),
    "waiting, and no run goes on": (all_ended, "left pending"),
    "cancelled by a hand": (moved("pending", "cancelled", "Last"), "by hand"),
    "about to be superseded": (about_to_be("superseded"), "cut short"),
    "about to be gone": (about_to_be("gone"), "cut short"),
    "a file in tmp/ of a dead writer": (lambda state: in_state("tmp/1-2.3.Site", "{")(state)[:3], "leftover"),
    "what an attempt had staged": (staged_left, "leftover"),
    "no reason in quarantine": (reason_gone, "no reason"),
    "a module that may not run": (module_gone, "module"),
    "a folder that is gone": (lambda state: all_ended(state) and without("running")(state), "folder"),
    "a root in quarantine": (lambda state: moved("done", "quarantine", "New")(state)[:10], "quarantine"),
    "a child moved to the inbox": (moved("failed", "inbox", "Page"), None),
    "a child moved to the inbox, renamed": (
        lambda state: str(shutil.move(state.file("failed", "Page"), state.state / "inbox" / "again.json")), None
    ),
    "no JSON in the inbox": (in_state("inbox/bad.json", "{"), None),
    "a command in the inbox": (in_state("inbox/stop-1.do.json", '{"schema": 1, "verb": "stop"}'), None),
    "notes beside jobs": (in_state("done/notes.txt", "mine"), None),
    "a dot file beside jobs": (in_state("done/.half.json", "{"), None),
    "an odd generation": (in_state("locks/generation", f"{7:020}\n"), None),
    "no number for a generation": (in_state("locks/generation", "many"), None),
    "no lock file": (without("locks/runner.lock"), None),
    "nobody known to have held the lock": (in_state("locks/runner.json", "{"), None),
    "no cache, logs or trash": (without("cache", "logs", "trash"), None),
}  # fmt: skip


@pytest.mark.parametrize("name", NEWS)
def test_no_fault(state: Planted, name: str, struck: Counter[str]) -> None:
    """Exit code 0, with a warning where there is something to know; `--repair` leaves all as it is."""
    plant, code = NEWS[name]
    named = plant(state)
    before = state.everything()
    outcome = look(state.root, "--verify")
    assert outcome.code == 0, outcome.out
    warnings = found(look(state.root, "--verify", "--json"), "warnings")
    said = [warning for warning in warnings if warning["code"] == code]
    if code is None:
        assert {warning["code"] for warning in warnings} <= PRISTINE
    else:
        assert any(named in f"{warning['where']} {warning['what']}" for warning in said)
        assert all(warning["do"] for warning in said)
    struck[code or "nothing to say"] += 1
    assert look(state.root, "--repair").code == 0
    assert state.everything() == before


def test_only_verify_reads_outputs(state: Planted, struck: Counter[str]) -> None:
    (state.root / "data" / "site.txt").write_text("SITE")
    assert "data/site.txt" not in look(state.root).out
    assert "data/site.txt" in look(state.root, "--verify").out
    struck["other bytes"] += 1


def test_damaged_journals_say_nothing(state: Planted, struck: Counter[str]) -> None:
    for journal in (state.state / "runs").glob("*.jsonl"):
        journal.write_bytes(b"\0half a line")
        struck["journals"] += 1
    outcome = look(state.root)
    assert (outcome.code, "runs/" in outcome.out) == (0, False), outcome.out


# ----------------------------------------------------------------------------------------- states that cannot be used


def newer(find: Callable[[Planted], Path]) -> Plant:
    return lambda state: edit(find(state), lambda document: document.update(schema=99)) and "schema 99"


def linked(state: Planted) -> str:
    (state.state / "done").rename(state.root / "elsewhere")
    (state.state / "done").symlink_to(state.root / "elsewhere")
    return "done is no folder of its own"


def a_file(state: Planted) -> str:
    shutil.rmtree(state.state / "blocked")
    (state.state / "blocked").touch()
    return "blocked is no folder of its own"


def writable(path: str) -> Plant:
    return lambda state: (state.state / path).chmod(0o777) or "written by others"


REFUSED: dict[str, Plant] = {
    **{
        f"a newer job in {status}": newer(lambda state, status=status: state.file(status))  # type: ignore[misc]
        for status in ("pending", "running", "done", "failed", "blocked", "cancelled")
    },
    "a newer file of no job's name": lambda state: in_state("running/other-names.json", '{"schema": 99}')(state)[8:13],
    "a newer run": newer(lambda state: state.run("jobs.night:night")),
    "a folder that is a link": linked,
    "a folder that is a file": a_file,
    "a folder for everybody": writable("pending"),
    "a state for everybody": writable("."),
    "no state": lambda state: shutil.rmtree(state.state) or "no state folder",
}


@pytest.mark.parametrize("words", [(), ("--repair",)], ids=["check", "repair"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_state_that_cannot_be_used(state: Planted, name: str, words: tuple[str, ...], struck: Counter[str]) -> None:
    """Exit code 4, and nothing is touched, whatever else is wrong."""
    if state.state.exists():
        write(state.state / "done" / f"{NOBODY}.json", {})
    named = REFUSED[name](state)
    before = state.everything()
    outcome = look(state.root, *words)
    assert outcome.code == 4, outcome.out
    assert named in outcome.said
    assert state.everything() == before
    struck["refused"] += 1
