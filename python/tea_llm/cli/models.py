"""``tea-llm models``: lists the models found here and those that can be downloaded."""

from __future__ import annotations

from pathlib import Path

from tea_llm.cli._terminal import print_table, say

__all__ = ["model_file", "models"]


def models() -> None:
    """List the model files found here and the models that can be downloaded."""
    from tea_llm.catalog import KNOWN_MODELS
    from tea_llm.inspection import problem_with
    from tea_llm.paths import found_models, models_dir, resolve_model_path

    default = resolve_model_path()
    files = list(dict.fromkeys([*([] if default is None else [default]), *found_models()]))
    if files:
        say("Here (* is used when no path is given):")
        print_table(
            [
                ("*" if file == default else " ", file.name, _size(file), file.parent, problem_with(file) or "")
                for file in files
            ]
        )
    else:
        say(f"No model files here. They are looked for in {models_dir()}")
    say("\nFor 'tea-llm pull NAME':")
    rows: list[tuple[object, ...]] = []
    for model in KNOWN_MODELS.values():
        is_here = model.file_name in [file.name for file in files]
        size = "" if model.size_bytes is None else f"{model.size_bytes / 1e6:.1f} MB"
        rows.append((" ", model.name, size, model.licence, "is here" if is_here else ""))
    print_table(rows)


def model_file(name: str) -> str | Path:
    """The path of a downloaded model given by its name or file name; else ``name`` itself."""
    from tea_llm.catalog import KNOWN_MODELS
    from tea_llm.paths import search_dirs

    wanted = name.lower()
    file_names = [
        model.file_name
        for model in KNOWN_MODELS.values()
        if wanted in (model.name, *model.aliases, model.file_name.lower())
    ]
    for directory in search_dirs():
        for file_name in (*file_names, name):
            if (directory / file_name).is_file() and not Path(name).is_file():
                return directory / file_name
    return name


def _size(file: Path) -> str:
    return f"{file.stat().st_size / 1e6:.1f} MB"
