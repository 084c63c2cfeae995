"""``tea-llm rm``: removes a model."""

from __future__ import annotations

from pathlib import Path

import typer

from tea_llm._shown import shown
from tea_llm.cli._terminal import say
from tea_llm.hub import receipts

__all__ = ["rm"]


def rm(
    name: str = typer.Argument(help="A downloaded model that 'tea-llm models' lists.", show_default=False),
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask for confirmation."),
) -> None:
    """Remove a downloaded model and the remains of unfinished downloads of it."""
    from tea_llm.catalog import KNOWN_MODELS, find_model
    from tea_llm.errors import ModelNotFoundError
    from tea_llm.paths import cache_dirs

    known = {word.lower() for model in KNOWN_MODELS.values() for word in (model.name, *model.aliases)}
    file_name = find_model(name).file_name if name.lower() in known else name
    if Path(file_name).name != file_name:
        raise ValueError(f"{name!r} is a path: give the name of a model in {_either(cache_dirs())}")
    is_model = file_name.lower().endswith(".gguf")
    targets = {directory / file_name: _files_of(directory / file_name) for directory in cache_dirs() if is_model}
    files = [file for there in targets.values() for file in there]
    if not files:
        raise ModelNotFoundError(f"no model {name!r} in {_either(cache_dirs())}: see 'tea-llm models'")
    n_bytes = sum(file.stat().st_size for file in files)
    names_shown = shown(", ".join(str(target) for target, there in targets.items() if there), one_line=True)
    if not yes:
        typer.confirm(f"Remove {names_shown} ({n_bytes / 1e6:.1f} MB)?", abort=True)
    for file in files:
        file.unlink()
    say(f"removed {names_shown}")


def _files_of(target: Path) -> list[Path]:
    """The model file and the files kept beside it, if they exist."""
    beside = [f".{target.name}.part", f".{target.name}.part.json"]
    files = [target, *map(target.with_name, beside), receipts.path_of(target)]
    return [file for file in files if file.is_file()]


def _either(directories: list[Path]) -> str:
    return " or ".join(map(str, directories))
