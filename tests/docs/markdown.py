"""What a page of the documentation holds, as far as it can be checked: fenced blocks, links, headings, code spans.

Knows as much Markdown as our own pages use, and refuses a fence that is never closed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^(\s*)(`{3,})(\S*)\s*$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(`+)(.+?)\1", re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block. `line`: of its opening fence, from 1."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Command:
    """One `$ command` of a console block, and the output that stands below it."""

    place: str
    words: str
    output: str


class Page:
    """One Markdown file, taken apart. `prose` is what is left without the blocks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.blocks: list[Block] = []
        prose: list[str] = []
        open_at, language, fence, inside = 0, "", "", [""]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = FENCE.match(line)
            if fence and line.strip() == fence:
                self.blocks.append(Block(path, open_at, language, "".join(inside)))
                fence = ""
            elif fence:
                inside.append(f"{line}\n")
            elif found:
                open_at, fence, language, inside = number, found[2], found[3], []
            else:
                prose.append(line)
        assert not fence, f"{path}:{open_at}: this block is never closed"
        self.prose = COMMENT.sub("", "\n".join(prose))

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def links(self) -> list[str]:
        return LINK.findall(self.prose)

    @property
    def spans(self) -> list[str]:
        """What stands between backticks."""
        return [" ".join(text.split()) for _, text in SPAN.findall(self.prose)]

    @property
    def anchors(self) -> set[str]:
        """What its headings can be linked to by, as hosting sites make it of them."""
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(self.prose)}


def commands(block: Block) -> list[Command]:
    """The commands of a console block; a line that ends in a backslash goes on in the next."""
    found: list[Command] = []
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        last = found[-1] if found else None
        if last is not None and last.words.endswith("\\"):
            found[-1] = Command(last.place, f"{last.words[:-1]}{line.strip()}", "")
        elif line.startswith("$ "):
            found.append(Command(f"{block.page.relative_to(ROOT)}:{number}", line[2:].strip(), ""))
        else:
            assert last is not None, f"{block.place}: a console block begins with a `$ command`"
            found[-1] = Command(last.place, last.words, f"{last.output}{line}\n")
    return found


def pages() -> list[Page]:
    """All pages of the documentation, the README first."""
    others = ["CONTRIBUTING.md", "CHANGELOG.md", "state/README.md"]
    paths = [ROOT / "README.md", *(ROOT / name for name in others), *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path) for path in paths]
