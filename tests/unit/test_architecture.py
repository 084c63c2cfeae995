"""docs/architecture.md names every source file."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_page_names_every_source_file() -> None:
    named = {word for code in re.findall(r"`([^`\n]+)`", PAGE) for word in re.findall(r"\w+", code)}
    native = {path.stem for path in (ROOT / "csrc").glob("[!t]*/*.cpp") if not path.name.startswith("py_")}
    python = {path.stem.rpartition("-")[2] for path in (ROOT / "python" / "tea_llm").rglob("*.py")}
    assert sorted((native | python) - named - {"__init__", "__main__", "_version"}) == []


def test_the_page_names_every_room() -> None:
    rooms = {f"csrc/{path.name}" for path in (ROOT / "csrc").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert sorted(room for room in rooms if room not in PAGE) == []
