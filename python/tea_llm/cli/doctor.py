"""``tea-llm doctor``: reports the state of this installation and its problems."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from tea_llm.cli._terminal import print_table, say

__all__ = ["doctor"]


def doctor(
    workflow: Path | None = typer.Option(
        None, "--settings", help="A workflow file; its settings.llm is checked, too.", show_default=False
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the report as JSON."),
) -> None:
    """Check installation, CPU, threads, memory, models and API; exit with status 1 if there is a problem."""
    from tea_llm.diagnosis import diagnose
    from tea_llm.settings import LlmSettings

    checks = diagnose(None if workflow is None else LlmSettings.from_yaml(workflow))
    problems = [check for check in checks if check.problem is not None]
    if as_json:
        say(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        print_table([(f"{'!' if check in problems else ' '} {check.name}", check.summary) for check in checks])
        for check in problems:
            say(f"\n{check.name}: {check.problem}")
    if problems:
        raise typer.Exit(1)
