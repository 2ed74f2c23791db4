"""Takes the repository's pages into the site from where they lie, and sends links to all else to the repository."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[3]
PAGES = ("Resources/Docs/*.md", "PromptSegLib/**/*.md", "Testing/*.md", ".github/*.md")
PICTURES = ("Resources/Screenshots/*.png", "PromptSeg/Resources/Icons/PromptSeg.png")
REPOSITORY = "https://github.com/SlicerPromptSeg/SlicerPromptSeg"

_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")


def on_config(config: Any) -> Any:
    """Put pages that stand nowhere in the navigation, such as a new task's, where it says `tasks`."""
    (tasks,) = (section for section in config.nav if isinstance(section, dict) and "Tasks" in section)
    named = set(re.findall(r"'([^']+\.md)'", str(config.nav)))
    pages = sorted(ROOT.glob("Resources/Docs/*.md"))
    tasks["Tasks"] = [name for page in pages if (name := page.relative_to(ROOT).as_posix()) not in named]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add pages and pictures under their paths in the repository, so that links between them hold."""
    for pattern in (*PAGES, *PICTURES):
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File(name, str(ROOT), config.site_dir, False, dest_uri=_place(name)))
    return files


def _place(name: str) -> str:
    """Where a file lies in the site: pages of tasks at its top, as what is looked for most."""
    if not name.endswith(".md"):
        return name
    page = name.removeprefix("Resources/Docs/").removesuffix(".md").removeprefix(".").lower()
    return f"{page}.html"


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links to files that are no pages lead to the repository."""
    folder = posixpath.dirname(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        parts = urlsplit(match[1])
        target = posixpath.normpath(posixpath.join(folder, parts.path))
        if parts.scheme or not parts.path or files.get_file_from_path(target) or not (ROOT / target).exists():
            return match[1]
        return f"{REPOSITORY}/blob/main/{target}"

    return _LINK.sub(lead, markdown)
