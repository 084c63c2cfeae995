"""What mkdocs needs for pages that stand elsewhere in the repository (benchmarks, the changelog) and for diagrams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.utils import get_relative_url
from pymdownx.superfences import fence_code_format

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "results/table.png": "benchmarks/results/table.png",
    "results/curves.png": "benchmarks/results/curves.png",
}
# `make docs` puts mermaid here. The site has its own copy, because the theme would fetch one from elsewhere.
MERMAID = ROOT / "build/docs/package"
DIAGRAMS = {"assets/mermaid/mermaid.min.js": "dist/mermaid.min.js", "assets/mermaid/LICENSE": "LICENSE"}


def on_config(config: Any) -> Any:
    """Draws diagrams where mermaid is at hand; elsewhere they stay text."""
    if MERMAID.is_dir():
        fence = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}
        config.mdx_configs["pymdownx.superfences"] = {"custom_fences": [fence]}
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages, their pictures and the script that draws diagrams."""
    added = {name: ROOT / path for name, path in ELSEWHERE.items()}
    if MERMAID.is_dir():
        added |= {name: MERMAID / path for name, path in DIAGRAMS.items()}
    for name, path in added.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
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


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Loads mermaid (3 MB) on the pages that have a diagram, before the theme looks for it."""
    if '<pre class="mermaid">' not in html:
        return html
    script = get_relative_url("assets/mermaid/mermaid.min.js", page.url)
    return f'{html}\n<script src="{script}"></script>'
