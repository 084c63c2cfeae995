"""``tea-llm rm``: remove a model."""

from __future__ import annotations

from pathlib import Path

import typer

from tea_llm._shown import shown
from tea_llm.cli._terminal import say

__all__ = ["rm"]


def rm(
    name: str = typer.Argument(help="A model that 'tea-llm models' lists as here.", show_default=False),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Remove a model from ~/.cache/tea/models, and what is left of unfinished downloads of it."""
    from tea_llm.catalog import KNOWN_MODELS, find_model
    from tea_llm.errors import ModelNotFoundError
    from tea_llm.paths import models_dir

    directory = models_dir()
    names = {word.lower() for model in KNOWN_MODELS.values() for word in (model.name, *model.aliases)}
    file_name = find_model(name).file_name if name.lower() in names else name
    if Path(file_name).name != file_name:
        raise ValueError(f"{name!r} is a path: rm removes models of {directory} only, by their names")
    files = [directory / file_name, directory / f".{file_name}.part", directory / f".{file_name}.part.json"]
    there = [file for file in files if file.is_file()]
    if not there or not file_name.lower().endswith(".gguf"):
        raise ModelNotFoundError(f"no model {name!r} in {directory}: 'tea-llm models' lists what is there")
    n_bytes = sum(file.stat().st_size for file in there)
    if not yes:
        typer.confirm(shown(f"Remove {directory / file_name} ({n_bytes / 1e6:.1f} MB)?", one_line=True), abort=True)
    for file in there:
        file.unlink()
    say(f"removed {directory / file_name}", one_line=True)
