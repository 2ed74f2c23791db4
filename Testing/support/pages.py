"""The project's pages in Markdown: their headings, links and code blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "Resources" / "Docs"
README = ROOT / "README.md"

NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
"""Before a block: why it is checked, and not run."""

_FENCE = re.compile(r"(`{3,}|~{3,})\s*([\w+-]*)\s*(.*)")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")


@dataclass(frozen=True)
class Block:
    """A fenced code block. line: of its first line of code, from 1. not_run: why it is not run, else empty."""

    page: Page
    language: str
    code: str
    line: int
    not_run: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A file in Markdown."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").split("\n")

    @cached_property
    def text(self) -> str:
        return "\n".join(self.lines)

    @cached_property
    def _parted(self) -> tuple[list[Block], str]:
        blocks, prose = [], []
        code: list[str] = []
        fence, language, start = "", "", 0
        for number, line in enumerate(self.lines, start=1):
            match = _FENCE.match(line.strip())
            if fence and line.strip() == fence:
                before = next((text for text in reversed(self.lines[: start - 2]) if text.strip()), "")
                reason = NOT_RUN.fullmatch(before.strip())
                blocks.append(Block(self, language, "\n".join(code) + "\n", start, reason[1] if reason else ""))
                fence, code = "", []
            elif fence:
                code.append(line)
            elif match:
                fence, language, start = match[1], match[2], number + 1
            else:
                prose.append(line)
        assert not fence, f"{self}:{start}: the block has no end"
        return blocks, "\n".join(prose)

    @property
    def blocks(self) -> list[Block]:
        return self._parted[0]

    @property
    def prose(self) -> str:
        """All that is in no block."""
        return self._parted[1]

    @cached_property
    def anchors(self) -> set[str]:
        """What links to places in this page may end with: headings, written as GitHub and the site write them."""
        found: set[str] = set()
        for heading in re.findall(r"^#{1,6}\s+(.+?)\s*$", self.prose, re.MULTILINE):
            bare = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
            name = re.sub(r"[^\w\- ]", "", bare.lower()).replace(" ", "-")
            count = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", one) is not None for one in found)
            found.add(f"{name}-{count}" if count else name)
        return found

    @property
    def links(self) -> list[str]:
        """Where its links and pictures lead."""
        return _LINK.findall(re.sub(r"`[^`\n]*`", "", self.prose))


def user_pages() -> list[Page]:
    """Return what users read: the README, and the pages of its folder."""
    return [Page(README), *(Page(path) for path in sorted(DOCS.glob("*.md")))]


def all_pages() -> list[Page]:
    """Return every page of the project."""
    folders = ("PromptSegLib", "Testing", ".github")
    others = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.md"))]
    return [*user_pages(), *map(Page, others)]
