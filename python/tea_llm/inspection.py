"""What a GGUF file says of itself, and about how much memory it would take: for ``tea-llm inspect``."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.paths import explicit_model_path

__all__ = ["MemoryEstimate", "ModelFile", "inspect_model"]

_ELEMENT_BYTES = {
    "f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32, "q4_1": 20 / 32, "q5_0": 22 / 32,
    "q5_1": 24 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
_STEP_TOKENS = 512  # csrc/engine/engine_config.cpp: most_tokens_per_step
_CELL_PADDING = 256
_MOST_LAYERS = 512  # LLAMA_MAX_LAYERS
_FULL_LAYERS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "cohere2": 4, "gpt-oss": 2}
"""Of how many layers one has no sliding window, where the file does not say: src/models/*.cpp in llama.cpp."""
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_EMBEDDING_ARCHITECTURES = ("bert", "nomic-bert", "jina-bert", "modern-bert", "neo-bert", "eurobert")


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """About how much memory a model takes, in bytes.

    Attributes:
        weights: of all tensors; mapped from the file, so that processes share them.
        cache: the KV cache, or the state of a recurrent model, when it is full: it begins small where it can grow.
        compute: scratch space for one step.
        total: of the three.
    """

    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        """Bytes of the three."""
        return self.weights + self.cache + self.compute


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a model file says of itself.

    Attributes:
        path: of the first file.
        n_files: parts of the model.
        size_bytes: of all parts.
        metadata: everything but long lists, which are ``(type, length)``.
        types: bytes by the tensors' type, the largest share first.
        n_params: numbers in all tensors.
        uses: of ``"generate"``, ``"embed"`` and ``"rerank"``.
        memory: about what it takes.
    """

    path: Path
    n_files: int
    size_bytes: int
    metadata: Mapping[str, Any]
    types: Mapping[str, int]
    n_params: int
    uses: tuple[str, ...]
    memory: MemoryEstimate

    @property
    def architecture(self) -> str:
        """Such as ``"llama"``."""
        return str(self.metadata.get("general.architecture", "unknown"))

    def number(self, key: str, default: int = 0) -> int:
        """A number of the architecture, such as ``context_length``; of a list for each layer the largest."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        if isinstance(value, list):
            return max(value, default=default)
        return value if isinstance(value, int) else default


def inspect_model(
    path: str | os.PathLike[str],
    *,
    n_ctx: int = 4096,
    n_parallel: int = 8,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
) -> ModelFile:
    """Reads a model file's header; its weights are not loaded.

    Args:
        path: of a GGUF file; of the first one, if the model has several.
        n_ctx: tokens of context to estimate memory for, 1 or more.
        n_parallel: requests at once, 1 or more; it counts where each has a window or a state of its own.
        cache_type_k: type of the KV cache's keys, as in ``load``.
        cache_type_v: of its values.

    Raises:
        ModelNotFoundError: no such file, or one of its parts is missing.
        ModelLoadError: it is not a GGUF file, or is damaged.
        ValueError: an unknown type, or numbers below 1.
    """
    for name, type_ in (("cache_type_k", cache_type_k), ("cache_type_v", cache_type_v)):
        if type_ not in _ELEMENT_BYTES:
            raise ValueError(f"{name}={type_!r}: one of {', '.join(_ELEMENT_BYTES)}")
    for name, number in (("n_ctx", n_ctx), ("n_parallel", n_parallel)):
        if number < 1:
            raise ValueError(f"{name}={number} must be 1 or more")
    files = _parts(explicit_model_path(path))
    try:
        contents = [_core.read_gguf(os.fsencode(file)) for file in files]
    finally:
        forward_native_log()
    metadata = contents[0][0]
    types: Counter[str] = Counter()
    n_params = 0
    for _, tensors in contents:
        for _, type_, shape, n_bytes in tensors:
            types[type_] += n_bytes
            n_params += prod(shape)
    empty = MemoryEstimate(types.total(), 0, 0)
    size_bytes = sum(file.stat().st_size for file in files)
    bare = ModelFile(files[0], len(files), size_bytes, metadata, dict(types.most_common()), n_params, (), empty)
    uses = _uses(bare)
    per_cell = (_ELEMENT_BYTES[cache_type_k], _ELEMENT_BYTES[cache_type_v])
    memory = MemoryEstimate(
        types.total(),
        _cache_bytes(bare, n_ctx, n_parallel, per_cell) if "generate" in uses else 0,
        _compute_bytes(bare, n_ctx),
    )
    return ModelFile(files[0], len(files), size_bytes, metadata, bare.types, n_params, uses, memory)


def _parts(first: Path) -> list[Path]:
    match = _PART.search(first.name)
    if match is None:
        return [first]
    stem = first.name[: match.start()]
    files = [first.with_name(f"{stem}-{i:05d}-of-{match[2]}.gguf") for i in range(1, int(match[2]) + 1)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelNotFoundError(f"{first} is one of {len(files)} parts, and {', '.join(missing)} is not beside it")
    return files


def _uses(model: ModelFile) -> tuple[str, ...]:
    if model.number("pooling_type") == 4:  # LLAMA_POOLING_TYPE_RANK
        return ("rerank",)
    is_causal = model.metadata.get(f"{model.architecture}.attention.causal", True)
    if not is_causal or model.architecture in _EMBEDDING_ARCHITECTURES or not model.n_params:
        return ("embed",) if model.n_params else ()
    return ("generate", "embed")


def _cache_bytes(model: ModelFile, n_ctx: int, n_parallel: int, element_bytes: tuple[float, float]) -> int:
    """As llama.cpp's ``llama_kv_cache`` and ``llama_memory_recurrent`` make it."""
    n_layers = model.number("block_count")
    if not 0 <= n_layers <= _MOST_LAYERS:
        raise ModelLoadError(f"{model.path} says it has {n_layers} layers, allowed are {_MOST_LAYERS}")
    n_heads = max(1, model.number("attention.head_count", 1))
    head = model.number("embedding_length") // n_heads
    kv_heads = model.metadata.get(f"{model.architecture}.attention.head_count_kv")
    heads = kv_heads if isinstance(kv_heads, list) else [model.number("attention.head_count_kv", n_heads)] * n_layers
    key, value = model.number("attention.key_length", head), model.number("attention.value_length", head)
    cell_bytes = key * element_bytes[0] + value * element_bytes[1]
    cells = _padded(n_ctx)
    total = 0.0
    inner = model.number("ssm.inner_size")
    if inner:  # a state of 32-bit numbers for each sequence, whatever the context
        window = inner + 2 * model.number("ssm.group_count") * model.number("ssm.state_size")
        state = (model.number("ssm.conv_kernel", 1) - 1) * window + inner * model.number("ssm.state_size")
        total += 4.0 * n_layers * state * (n_parallel + 4)
        heads = heads if isinstance(kv_heads, list) else [0] * n_layers
    window = model.number("attention.sliding_window")
    period = model.number("attention.sliding_window_pattern") or _FULL_LAYERS.get(model.architecture, 0)
    window_cells = min(cells, _padded(window * n_parallel + _STEP_TOKENS))
    for layer, n in enumerate(heads):
        is_windowed = window > 0 and period > 0 and layer % period < period - 1
        total += n * cell_bytes * (window_cells if is_windowed else cells)
    return int(total)


def _compute_bytes(model: ModelFile, n_ctx: int) -> int:
    """Roughly: the widest activations of a step, the mask, and 16 MB at most of logits."""
    width = 3 * model.number("feed_forward_length") + 4 * model.number("embedding_length")
    return _STEP_TOKENS * (4 * width + 6 * min(n_ctx, 1 << 20)) + (6 << 20)


def _padded(n_cells: int) -> int:
    return -(-n_cells // _CELL_PADDING) * _CELL_PADDING
