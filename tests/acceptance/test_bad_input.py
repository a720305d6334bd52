"""Bad input gets a clear error and the promised exit code, by the real command line; nothing good is lost by it."""

from __future__ import annotations

import os

import pytest

from tests.acceptance.project import QUICK, Project
from tests.acceptance.samples import GOOD, good_still_works, run, says, write_bad


@pytest.fixture
def project(project: Project) -> Project:
    project.module("good", GOOD)
    return project


# ---------------------------------------------------------------------------------------- refused before anything moves


def refused(project: Project, code: int, target: str, *words: str) -> str:
    """A target that nothing is done for. There is state already, and it stays as it is."""
    run(project, 0, "jobs.good:good")
    before = project.snapshot()
    outcome = project.runner("run", target, *words, *QUICK)
    assert outcome.code == code, outcome.err
    assert project.snapshot() == before, "nothing was to be moved"
    assert len(outcome.err.strip().splitlines()) <= 12, f"not one or two plain lines: {outcome.err}"
    good_still_works(project)
    return outcome.said


@pytest.mark.parametrize("annotation", ["set[str]", "object", "list[bytes]"])
def test_unsupported_field_type(project: Project, annotation: str) -> None:
    write_bad(
        project,
        f"""
    @dataclass
    class Odd(Task):
        name: str
        strange: {annotation}

        def run(self):
            pass

    def flow():
        return Odd("a", None)
    """,
    )
    says(refused(project, 2, "jobs.bad:flow"), "Odd", "strange")


def test_two_tasks_with_one_output(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        return [Good(Path("data/x.txt"), "one"), Copy(Path("data/y.txt"), Path("data/./x.txt"))]
    """,
    )
    says(refused(project, 2, "jobs.bad:flow"), "Good", "Copy", "data/x.txt")


def test_one_job_with_two_sets_of_parameters(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        return [Good(Path("data/x.txt"), "one"), Good(Path("data/x.txt"), "two")]
    """,
    )
    says(refused(project, 2, "jobs.bad:flow"), "Good-", "one", "two")


def test_a_cycle_by_paths(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        a, b, c = (Path(f"data/{name}.txt") for name in "abc")
        return [Copy(a, b), Copy(b, c), Copy(c, a)]
    """,
    )
    says(refused(project, 2, "jobs.bad:flow"), "wait for each other", "Copy-", " -> ")


def test_a_cycle_in_a_graph(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        one, two = Good(Path("data/1.txt")), Good(Path("data/2.txt"))
        return {one: {two}, two: {one}}
    """,
    )
    says(refused(project, 2, "jobs.bad:flow"), "wait for each other", "Good-", " -> ")


def test_a_task_that_reads_its_own_output(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        return Copy(Path("data/a.txt"), Path("data/a.txt"))
    """,
    )
    says(refused(project, 2, "jobs.bad:flow"), "data/a.txt")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("jobs.nowhere:flow", ["jobs.nowhere"]),
        ("jobs.good:nothing", ["nothing", "jobs.good"]),
        ("jobs.good", ["jobs.good"]),
        ("jobs.good:Path", ["Path"]),
    ],
)
def test_unknown_target(project: Project, target: str, parts: list[str]) -> None:
    says(refused(project, 2, target), *parts)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["output_filepath=data/x.txt", "txet=hello"], ["txet", "text"]),
        (["text=hello"], ["output_filepath"]),
        (["output_filepath=data/x.txt", "hello"], ["hello"]),
    ],
)
def test_unknown_or_missing_key(project: Project, words: list[str], parts: list[str]) -> None:
    says(refused(project, 2, "jobs.good:Good", *words), *parts)


def test_a_value_that_does_not_fit(project: Project) -> None:
    write_bad(
        project,
        """
    def flow(count: int):
        return [Good(Path(f"data/{n}.txt")) for n in range(count)]
    """,
    )
    says(refused(project, 2, "jobs.bad:flow", "count=many"), "count", "many")


def test_unknown_option_or_verb(project: Project) -> None:
    assert project.runner("run", "jobs.good:good", "--no-such-option").code == 2
    assert project.runner("no-such-verb").code == 2


def test_a_state_folder_that_cannot_be(project: Project) -> None:
    for verb in (("run",), ("submit", "jobs.good:good"), ("status",), ("check",)):
        outcome = project.runner("--state", "pyproject.toml/state", *verb)
        assert outcome.code == 4, outcome.err
        assert "pyproject.toml/state" in outcome.said
        assert len(outcome.err.splitlines()) <= 2, outcome.err


def test_no_target_and_no_state(project: Project) -> None:
    """Without a target: what is unfinished and in the inbox. Nothing there is no fault."""
    assert project.runner("run").code == 0


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("def flow(:\n    pass\n", ["SyntaxError", "broken.py", "1"]),
        ("import no_such_module_anywhere\n", ["no_such_module_anywhere", "broken.py"]),
        ("\nraise RuntimeError('not today')\n", ["RuntimeError", "not today", "broken.py"]),
    ],
)
def test_a_module_that_cannot_be_imported(project: Project, text: str, parts: list[str]) -> None:
    project.module("broken", text)
    says(refused(project, 2, "jobs.broken:flow"), *parts)


def test_a_flow_that_raises(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        raise LookupError("no list of sites")
    """,
    )
    run(project, 0, "jobs.good:good")
    outcome = project.runner("run", "jobs.bad:flow", *QUICK)
    assert outcome.code in (1, 2)
    says(outcome.said, "LookupError", "no list of sites", "bad.py")
    good_still_works(project)


# --------------------------------------------------------------------------------------------- found while it runs


def test_an_input_nobody_makes(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        return [Good(Path("data/good.txt")), Copy(Path("data/nobody.txt"), Path("data/copy.txt")),
                Copy(Path("data/copy.txt"), Path("data/copy2.txt"))]
    """,
    )
    run(project, 1)
    assert project.counts() == {"done": 1, "failed": 1, "blocked": 1}
    (failed,) = project.jobs("failed")
    assert failed["params"]["input_filepath"] == "data/nobody.txt"
    says(project.error("Copy"), "data/nobody.txt")
    source = project.root / "data" / "nobody.txt"
    source.write_text("somebody\n")
    run(project, 0)
    assert (project.root / "data" / "copy2.txt").read_text() == "somebody\n"


@pytest.mark.parametrize(
    ("children", "parts"),
    [
        (
            "return [Copy(Path('data/a'), Path('data/b')), Copy(Path('data/b'), Path('data/a'))]",
            ["wait for each other", "Copy-"],
        ),
        ("return [Good(Path('data/x')), Copy(Path('data/found.txt'), Path('data/x'))]", ["data/x"]),
        ("return [Lister({1, 2})]", ["Lister", "numbers"]),
        ("return 5", ["tasks", "5"]),
        ("raise KeyError('no children today')", ["no children today"]),
    ],
    ids=["cycle", "one output twice", "unsupported field", "no tasks", "raises"],
)
def test_children_that_cannot_be(project: Project, children: str, parts: list[str]) -> None:
    """The job that proposes them fails, before any of them is admitted; the new file stays."""
    write_bad(
        project,
        f"""
    @dataclass
    class Lister(Task):
        numbers: set

        def run(self):
            pass

    @dataclass
    class Parent(Finder):
        def downstream_tasks(self):
            {children}

    def flow():
        return [Parent(Path("data/found.txt")), Good(Path("data/good.txt"))]
    """,
    )
    run(project, 1)
    assert project.counts() == {"done": 1, "failed": 1}
    says(project.error("Parent"), *parts)
    (failed,) = project.jobs("failed")
    assert failed["attempts"][-1]["outcome"] == "published", "it failed after its outputs were in place, and says so"
    assert (project.root / "data" / "found.txt").exists()


def test_endless_growth_is_caught(project: Project) -> None:
    write_bad(
        project,
        """
    @dataclass
    class Endless(Task):
        number: int
        retries = 0

        def run(self):
            pass

        def downstream_tasks(self):
            return [Endless(self.number + 1)]

    def flow():
        return [Endless(0), Good(Path("data/good.txt"))]
    """,
    )
    outcome = project.runner("run", "jobs.bad:flow", *QUICK, seconds=100)
    assert outcome.code == 1, outcome.err
    (failed,) = project.jobs("failed")
    error = failed["attempts"][-1]["error"]
    says(error["message"], "deep", "Endless-")
    assert 900 <= failed["params"]["number"] <= 1100
    assert (project.root / "data" / "good.txt").exists()


FAULTS = {
    "raises": ("raise ValueError('a clear word')", ["ValueError", "a clear word"]),
    "exits": ("import sys; sys.exit(3)", ["SystemExit"]),
    "kills its worker": ("import os; os.kill(os.getpid(), 9)", ["died"]),
    "leaves without a word": ("import os; os._exit(0)", ["died"]),
    "returns no JSON": ("self.output_filepath.write_text('x'); return object()", ["JSON"]),
    "returns NaN": ("self.output_filepath.write_text('x'); return float('nan')", ["JSON"]),
    "forgets an output": ("pass", ["data/fault.txt"]),
    "is interrupted": ("raise KeyboardInterrupt", ["KeyboardInterrupt"]),
    "returns its staging path": ("self.output_filepath.write_text('x'); return str(self.output_filepath)", ["staging"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_task_that_misbehaves(project: Project, fault: str) -> None:
    """It fails, its reason is in its file, its last good output is untouched, and the others are done."""
    code, parts = FAULTS[fault]
    write_bad(
        project,
        f"""
    @dataclass
    class Fault(Task):
        output_filepath: Output
        retries = 0

        def run(self):
            {code}

    def flow():
        return [Fault(Path("data/fault.txt")), Copy(Path("data/fault.txt"), Path("data/after.txt")),
                *(Good(Path(f"data/good/{{n}}.txt")) for n in range(10))]
    """,
    )
    (project.root / "data").mkdir()
    (project.root / "data" / "fault.txt").write_text("last good")
    run(project, 1, "jobs.bad:flow", "--workers", "2")
    assert project.counts() == {"done": 10, "failed": 1, "blocked": 1}
    (failed,) = project.jobs("failed")
    attempt = failed["attempts"][-1]
    says(f"{attempt['outcome']} {attempt['error']['type']} {attempt['error']['message']}", *parts)
    assert (project.root / "data" / "fault.txt").read_text() == "last good"
    left = [str(file) for file in (project.root / "data").iterdir() if file.name.startswith(".")]
    assert not left or fault in ("kills its worker", "leaves without a word"), f"staging files left: {left}"


def test_a_task_that_prints_a_megabyte(project: Project) -> None:
    write_bad(
        project,
        """
    import os, sys

    @dataclass
    class Loud(Task):
        output_filepath: Output

        def run(self):
            print("x" * 1_000_000)
            print("y" * 1_000_000, file=sys.stderr)
            os.write(1, b"z")  # past sys.stdout: not a job's own any more, but it must do no harm
            self.output_filepath.write_text("said")

    def flow():
        return Loud(Path("data/loud.txt"))
    """,
    )
    outcome = project.runner("run", "jobs.bad:flow", *QUICK)
    assert outcome.code == 0, outcome.err[-1000:]
    assert len(outcome.out) + len(outcome.err) < 20_000, "what jobs print belongs into their logs"
    (loud,) = project.jobs("done")
    assert any(loud["id"] in name for name in project.names("logs"))


def test_retries_are_counted_on_disk_and_then_end(project: Project) -> None:
    write_bad(
        project,
        """
    @dataclass
    class Never(Task):
        name: str
        retries = 2
        backoff = 0.01

        def run(self):
            raise RuntimeError("never")

    def flow():
        return Never("x")
    """,
    )
    run(project, 1)
    (failed,) = project.jobs("failed")
    assert [attempt["outcome"] for attempt in failed["attempts"]] == ["failed"] * 3
    assert project.runner("resume").code in (0, 1)
    assert len(project.jobs("failed")[0]["attempts"]) == 3, "resume does not try again what failed"


def test_mv_to_the_inbox_is_a_retry(project: Project) -> None:
    write_bad(
        project,
        """
    def flow():
        return [Copy(Path("data/source.txt"), Path("data/copy.txt")),
                Copy(Path("data/copy.txt"), Path("data/copy2.txt"))]
    """,
    )
    run(project, 1)
    assert project.counts() == {"failed": 1, "blocked": 1}
    (project.root / "data").mkdir(exist_ok=True)
    (project.root / "data" / "source.txt").write_text("there now\n")
    (name,) = project.names("failed")
    os.rename(project.state / "failed" / name, project.state / "inbox" / name)
    assert project.runner("run", *QUICK).code == 0
    assert (project.root / "data" / "copy2.txt").read_text() == "there now\n"
