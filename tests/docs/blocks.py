"""The fenced blocks of the Markdown pages, and what it means that a real output is like the one on the page."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
GENERATED = "<!-- Made by `make generate`; edits here are lost. -->"
TOLERANCE = 0.05
"""Of confidences: processors differ in their last digits, and a freshly trained model in more."""

_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line} ({self.language or 'no language'})"


def pages() -> list[Path]:
    """Every Markdown page of the repository that people write."""
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "tools" / "README.md"]
    return sorted(page for page in found if GENERATED not in page.read_text())


def blocks(page: Path) -> list[Block]:
    """The page's blocks in order."""
    text = page.read_text()
    return [Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in _FENCE.finditer(text)]


def links(page: Path) -> list[str]:
    """The targets of the page's links, blocks and code left out."""
    return _LINK.findall(_CODE.sub("", _FENCE.sub("", page.read_text())))


def missing(expected: str, output: str) -> str | None:
    """The first line of `expected` that does not come, in order, in `output`; `…` stands for any text."""
    lines = iter([_squeezed(line) for line in output.splitlines()])
    for line in expected.splitlines():
        wanted = re.compile(".*".join(re.escape(part) for part in _squeezed(line).split("…")))
        if wanted.pattern and not any(wanted.match(found) for found in lines):
            return line
    return None


def _squeezed(line: str) -> str:
    return " ".join(line.split())


def unlike(expected: Any, found: Any, path: str = "") -> str | None:
    """Where a JSON answer differs from the one on the page. "…" stands for any string or number; fractions may differ a
    little."""
    if isinstance(expected, dict) and isinstance(found, dict):
        if set(expected) != set(found):
            return f"{path}: {sorted(set(expected) ^ set(found))}"
        return next((where for key in expected if (where := unlike(expected[key], found[key], f"{path}.{key}"))), None)
    if isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            return f"{path}: {len(found)} items"
        pairs = enumerate(zip(expected, found, strict=True))
        return next((where for i, (a, b) in pairs if (where := unlike(a, b, f"{path}[{i}]"))), None)
    if expected == "…" and isinstance(found, (str, int, float)):
        return None
    if isinstance(expected, float) and isinstance(found, float):
        return None if path.endswith("_time") or abs(expected - found) <= TOLERANCE else f"{path}: {found}"
    return None if expected == found and type(expected) is type(found) else f"{path}: {json.dumps(found)}"
