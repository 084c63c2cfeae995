"""``tea-llm doctor``: what this installation can do here, and what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import typer

from tea_llm.cli._terminal import print_table, say

__all__ = ["doctor"]


def doctor(
    workflow: Path | None = typer.Option(
        None, "--settings", help="A workflow whose settings.llm is looked at, too.", show_default=False
    ),
    as_json: bool = typer.Option(False, "--json", help="Print everything, for programs."),
) -> None:
    """Examine installation, CPU, threads, memory, models and API; exit status 1 when something is wrong."""
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
