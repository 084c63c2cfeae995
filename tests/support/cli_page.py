"""The page of the command line, made from the commands themselves: ``python tests/support/cli_page.py`` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tea_llm.cli import build_app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_HEAD = """# Command line

`pip install "tea-llm[cli]"`. Made from the commands themselves: `python tests/support/cli_page.py`.
"""


def cli_page() -> str:
    """The page as it should be."""
    import typer.main

    group: Any = typer.main.get_command(build_app())
    return _HEAD + "".join(_section(name, command) for name, command in sorted(group.commands.items()))


def _section(name: str, command: Any) -> str:
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    usage = " ".join(["tea-llm", name, *(["[OPTIONS]"] if options else []), *map(_placeholder, arguments)])
    lines = [f"## {name}", "", _text(command.help), "", "```console", usage, "```", ""]
    rows = [(f"`{_placeholder(argument)}`", argument) for argument in arguments]
    rows += [(f"`{', '.join([*option.opts, *option.secondary_opts])}`", option) for option in options]
    if rows:
        lines += ["| | |", "|---|---|"]
        lines += [
            f"| {label} | {_text(getattr(parameter, 'help', ''))}{_default(parameter)} |" for label, parameter in rows
        ]
    return "\n" + "\n".join(lines).rstrip() + "\n"


def _placeholder(argument: Any) -> str:
    name = (argument.metavar or argument.name).strip("[]").upper()
    return name if argument.required else f"[{name}]"


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", False) and parameter.default not in (None, False, "", ())
    return f" Default: {parameter.default}." if shown and isinstance(parameter.default, (int, float, str)) else ""


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
