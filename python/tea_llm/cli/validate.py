"""``tea-llm validate``: checks workflow files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tea_llm.cli._terminal import say

__all__ = ["validate"]


def validate(files: Annotated[list[Path], typer.Argument(help="Workflows: YAML files.")]) -> None:
    """Check workflows without running them, and report every problem."""
    from tea_llm.workflow import WorkflowError, check

    def problems_of(file: Path) -> str:
        try:
            check(file)
        except WorkflowError as error:
            return str(error)
        return ""

    reports = {file: problems_of(file) for file in files}
    for file, problems in reports.items():
        say(problems or f"{file}: ok")
    if any(reports.values()):
        raise typer.Exit(1)
