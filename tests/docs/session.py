"""Acts on a page as its reader would: writes its files, types its commands, compares what comes with what stands there.

Output is compared word by word; `...` stands for any words. What differs from time to time (times, run ids, rates) is
made alike first. A command that fails must be followed by `$ echo $?`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from tests.docs.markdown import ROOT, Block, Command, Page, commands

SECONDS = 60
FILE = re.compile(r"# (\S+\.py)\n")  # the first line of a Python block: where it goes
ALIKE = (
    (re.compile(r"\[ *[\d.]+ s\]"), "[TIME]"),
    (re.compile(r"\bin [\d.]+ s\b"), "in TIME"),
    (re.compile(r"\b\d{8}T\d{6}Z\b"), "RUN"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?( UTC|Z)"), "WHEN"),
    (re.compile(r", [\d,.]+ jobs/(s|min)\b"), ""),
)
WARNING = (
    "warning: the state folder lies on ",
    "warning: the project's folder lies on ",
    "warning: state and project lie",
)


@dataclass
class Session:
    """A reader in an empty home. `missed`: commands whose program is not on this machine."""

    home: Path
    folder: Path = field(init=False)
    status: int = 0
    missed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.home

    def follow(self, page: Page) -> None:
        """Everything on a page, in its order."""
        for block in page.blocks:
            match block.language:
                case "console":
                    for command in commands(block):
                        self.type(command)
                case "python":
                    self.write(block)
        assert self.status == 0, f"{page.name}: its last command fails, and nothing there says so"

    def write(self, block: Block) -> None:
        """A Python block goes to the file that its first line names, and must run by itself."""
        named = FILE.match(block.text)
        assert named, f"{block.place}: the first line of a Python block is a comment with its file name"
        path = self.folder / named[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        done = self._run([sys.executable, str(path)])
        assert done.returncode == 0, f"{block.place}: {done.stdout}"

    def type(self, command: Command) -> None:
        """One command."""
        if is_set_up(command):
            return
        program = shlex.split(command.words)[0]
        if program == "jq" and shutil.which("jq") is None:
            self.missed.append(command.words)
            return
        assert self.status == 0 or command.words == "echo $?", f"the command before {command.place} fails: say so"
        where = self.home / ".folder"
        script = f'(exit {self.status})\n{command.words}\nstatus=$?\npwd > "{where}"\nexit $status\n'
        done = self._run(["bash", "-c", script])
        self.status = done.returncode
        self.folder = Path(where.read_text().strip())
        if command.output:
            # Whether this machine's disk has a journal is not what the page is about.
            said = "".join(line for line in done.stdout.splitlines(True) if not line.startswith("warning: "))
            found, wanted = alike(said), alike(command.output)
            assert fits(found.split(), wanted.split()), f"{command.place}: {command.words}\n{done.stdout}"
        elif self.status:
            print(done.stdout)  # pytest shows it, if the test fails for this

    def _run(self, words: list[str]) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        settings = {"HOME": str(self.home), "PATH": path, "NO_COLOR": "1", "COLUMNS": "240"}
        with subprocess.Popen(
            words,
            cwd=self.folder,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                said = process.communicate(timeout=SECONDS)[0]
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # what the shell has started, too
                raise
        return subprocess.CompletedProcess(words, process.returncode, said)


def is_set_up(command: Command) -> bool:
    """Whether a command is about the repository itself: checked against its files, and not carried out here."""
    words = shlex.split(command.words)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    match words:
        case ["make", *targets]:
            for target in targets:
                if "=" in target:
                    variable = re.escape(target.partition("=")[0])
                    assert re.search(rf"^{variable}\s*\??=", makefile, re.MULTILINE), f"{command.place}: {variable}"
                else:
                    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{command.place}: {target}"
        case ["source", script]:
            venv = re.search(r"^VENV := (\S+)$", makefile, re.MULTILINE)
            assert venv, "the Makefile no longer says where the virtual environment is"
            assert script == f"{venv[1]}/bin/activate", command.place
        case ["pip", "install", "-e", what]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            extras = re.fullmatch(r"\.(?:\[(.+)\])?", what)
            assert extras, command.place
            assert set(filter(None, (extras[1] or "").split(","))) <= set(project["optional-dependencies"])
        case _:
            return False
    assert not command.output, f"{command.place}: nobody checks what this prints"
    return True


def alike(text: str) -> str:
    """`text` without what is another each time: of the progress lines in a row, only the last stays."""
    for pattern, instead in ALIKE:
        text = pattern.sub(instead, text)
    lines = [line for line in text.splitlines() if not line.startswith(WARNING)]
    kept = [
        line
        for line, following in zip(lines, [*lines[1:], ""], strict=True)
        if not (line.startswith("[TIME]") and following.startswith("[TIME]"))
    ]
    return "\n".join(kept)


def fits(found: list[str], wanted: list[str]) -> bool:
    """Whether the words are the wanted ones."""
    pattern = "".join(r"(?:[^\x00]+\x00)*" if word == "..." else re.escape(f"{word}\0") for word in wanted)
    return re.fullmatch(pattern, "".join(f"{word}\0" for word in found)) is not None
