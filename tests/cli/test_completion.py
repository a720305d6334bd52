"""Completion as shells do it: a real bash is asked what it would offer; zsh and fish get a script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_look import built, call
from tests.views.state import Built, id_of

__all__ = ["built"]

SCRIPT = r"""
    eval "$(runner completion bash)" || exit 9
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    _runner_completion runner
    printf '%s\n' "${COMPREPLY[@]}"
"""


def offered(*words: str, cwd: Path) -> list[str]:
    """What bash offers where the cursor stands at the end of the last word."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    found = subprocess.run(
        ["bash", "-c", SCRIPT, "bash", "runner", *words],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.returncode, found.stderr) == (0, "")
    return found.stdout.split()


def test_bash_completes_verbs_flags_and_values(built: Built) -> None:
    assert {"status", "stop"} <= set(offered("st", cwd=built.root))
    assert offered("list", "--wh", cwd=built.root) == ["--where"]
    assert offered("run", "--durability", "pow", cwd=built.root) == ["power"]


def test_bash_completes_ids(built: Built) -> None:
    for name in ("a", "b", "c"):
        built.put("done" if name == "a" else "failed", name)
    ids = sorted(id_of(name) for name in ("a", "b", "c"))
    assert offered("show", "Fe", cwd=built.root) == ids
    assert offered("explain", ids[0][:12], cwd=built.root) == [ids[0]]
    assert offered("retry", ids[0], "Fetch-", cwd=built.root) == ids
    assert offered("show", "Parse", cwd=built.root) == []


def test_bash_completes_runs_and_task_classes(built: Built) -> None:
    built.put("done", "a")
    built.put("done", "b", "Parse")
    built.run("20261122T020000Z")
    assert offered("changes", "2026", cwd=built.root) == ["20261122T020000Z"]
    assert offered("report", "", cwd=built.root) == ["20261122T020000Z"]
    assert offered("list", "--task", "P", cwd=built.root) == ["Parse"]


def test_the_state_that_is_named_is_looked_into(built: Built) -> None:
    built.put("done", "a")
    assert offered("-C", str(built.root), "show", "Fe", cwd=built.root.parent) == [id_of("a")]
    assert offered("--state", "elsewhere", "show", "Fe", cwd=built.root) == []  # and no error in the middle of a line


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script(built: Built, shell: str) -> None:
    found = call("completion", shell)
    assert (found.exit_code, found.stderr) == (0, "")
    assert "_RUNNER_COMPLETE" in found.stdout
    if (reader := shutil.which(shell)) is not None:
        assert subprocess.run([reader, "-n"], input=found.stdout, text=True, timeout=20).returncode == 0


def test_a_shell_that_we_do_not_know(built: Built) -> None:
    found = call("completion", "tcsh")
    assert found.exit_code == 2
    assert "bash" in found.stderr
