"""``tea-llm inspect``: describes a model file."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import typer

from tea_llm.cli._terminal import print_table, say
from tea_llm.errors import ModelLoadError

if TYPE_CHECKING:
    from tea_llm.inspection import ModelFile

__all__ = ["inspect"]


def inspect(
    model: str = typer.Argument(help="A GGUF file, or the name of a downloaded model.", show_default=False),
    ctx: int = typer.Option(4096, help="Context size in tokens to estimate memory for.", min=1),
    parallel: int = typer.Option(8, help="Concurrent requests to estimate memory for.", min=1),
    cache_type_k: str = typer.Option("f16", help="Type of the KV cache's keys."),
    cache_type_v: str = typer.Option("f16", help="Type of the KV cache's values."),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
) -> None:
    """Describe a GGUF file and estimate the memory it needs, without loading it."""
    from tea_llm.cli.models import model_file
    from tea_llm.inspection import inspect_model

    file = inspect_model(
        model_file(model), n_ctx=ctx, n_parallel=parallel, cache_type_k=cache_type_k, cache_type_v=cache_type_v
    )
    if as_json:
        say(json.dumps(_facts(file), indent=1))
        _fail_if_cut_off(file)
        return
    rows = {
        "file": f"{file.path} ({_size(file.size_bytes)}{f', {file.n_files} parts' if file.n_files > 1 else ''})",
        "name": file.metadata.get("general.name", ""),
        "licence": file.metadata.get("general.license", "not said"),
        "architecture": f"{file.architecture}, {file.n_params / 1e6:.0f} million parameters",
        "types": ", ".join(f"{name} {n / max(1, sum(file.types.values())):.0%}" for name, n in file.types.items()),
        "good for": ", ".join(file.uses) or "its vocabulary alone (Tokenizer)",
        "context": f"{file.number('context_length')} tokens trained",
        "layers": f"{file.number('block_count')}, {file.number('attention.head_count')} heads, embeddings of "
        f"{file.number('embedding_length')}",
        "chat template": "its own" if "tokenizer.chat_template" in file.metadata else "none",
        "memory": _memory(file, ctx),
    }
    print_table(list(rows.items()))
    _fail_if_cut_off(file)


def _fail_if_cut_off(file: ModelFile) -> None:
    if file.missing_bytes:
        raise ModelLoadError(
            f"{file.path} is truncated: {_size(file.missing_bytes)} are missing at its end. Download it again"
        )


def _facts(file: ModelFile) -> dict[str, object]:
    memory = file.memory
    return {
        "path": str(file.path),
        "n_files": file.n_files,
        "size_bytes": file.size_bytes,
        "missing_bytes": file.missing_bytes,
        "n_params": file.n_params,
        "types": dict(file.types),
        "uses": file.uses,
        "memory_bytes": None
        if memory is None
        else {
            "weights": memory.weights,
            "cache": memory.cache,
            "compute": memory.compute,
            "total": memory.total,
        },
        "metadata": {
            key: None if isinstance(value, float) and not math.isfinite(value) else value  # JSON has no NaN
            for key, value in file.metadata.items()
        },
    }


def _memory(file: ModelFile, ctx: int) -> str:
    memory = file.memory
    if memory is None:
        return "not known: this llama.cpp does not load it" if file.uses else "a vocabulary's"
    return (
        f"about {_size(memory.total)} for {ctx} tokens: weights {_size(memory.weights)}, cache "
        f"{_size(memory.cache)}, computing {_size(memory.compute)}"
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:.2f} GB"
