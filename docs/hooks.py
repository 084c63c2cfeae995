"""What mkdocs needs to show pages that stand elsewhere in the repository: benchmarks and the changelog."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "results/table.png": "benchmarks/results/table.png",
    "results/curves.png": "benchmarks/results/curves.png",
}


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages and their pictures."""
    for name, path in ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links between those pages and the others, as the site has them."""
    for there, here in (
        ("../../benchmarks/README.md", "../benchmarks.md"),
        ("../benchmarks/README.md", "benchmarks.md"),
        ("](../docs/", "]("),
        ("](adr)", "](adr/0001-own-engine.md)"),
    ):
        markdown = markdown.replace(there, here)
    return markdown
