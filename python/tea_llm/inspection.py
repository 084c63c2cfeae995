"""Reads the header of a GGUF file and estimates the memory of the model, for ``tea-llm inspect``."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from tea_llm._log import forward_native_log
from tea_llm._native import IS_NATIVE, _core
from tea_llm.errors import LlmError, ModelLoadError, ModelNotFoundError
from tea_llm.paths import explicit_model_path, model_files

__all__ = ["MemoryEstimate", "ModelFile", "inspect_model", "problem_with"]

logger = logging.getLogger("tea_llm")

_CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl")
_EMBEDDING_ARCHITECTURES = ("bert", "nomic-bert", "jina-bert", "modern-bert", "neo-bert", "eurobert")


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """The estimated memory of a model, in bytes.

    Attributes:
        weights: all tensors; mapped from the file, so that processes share them.
        cache: the KV cache, or the state of a recurrent model, at its full size: a cache that can grow starts small.
        compute: scratch space for one step.
        total: the sum of the three.
    """

    weights: int
    cache: int
    compute: int

    @property
    def total(self) -> int:
        """The sum of the three."""
        return self.weights + self.cache + self.compute


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The facts in the header of a model file.

    Attributes:
        path: path of the first file.
        n_files: number of files of the model.
        size_bytes: total size of the files.
        metadata: all metadata; a long list is shown as ``(type, length)``.
        types: bytes by tensor type, the largest share first.
        n_params: number of weights in all tensors.
        uses: any of ``"generate"``, ``"embed"`` and ``"rerank"``.
        memory: the estimated memory; None: llama.cpp cannot load the file (the log says why), or the file has only a
            vocabulary.
        missing_bytes: bytes missing at the end of a truncated file; 0: the file is complete.
    """

    path: Path
    n_files: int
    size_bytes: int
    metadata: Mapping[str, Any]
    types: Mapping[str, int]
    n_params: int
    uses: tuple[str, ...]
    memory: MemoryEstimate | None
    missing_bytes: int = 0

    @property
    def architecture(self) -> str:
        """The architecture, such as ``"llama"``."""
        return str(self.metadata.get("general.architecture", "unknown"))

    def number(self, key: str, default: int = 0) -> int:
        """A number of the architecture, such as ``context_length``; the largest of a list with one per layer."""
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
    """Reads the header of a model file; the weights are not loaded.

    llama.cpp computes the memory: it lays out the model and a context without allocating them.

    Args:
        path: path of the GGUF file; of the first one, if the model has several.
        n_ctx: context size in tokens to estimate memory for, 1 or more.
        n_parallel: number of concurrent requests, 1 or more; it matters where each has a window or a state of its own.
        cache_type_k: type of the KV cache's keys, as in ``load``.
        cache_type_v: type of the KV cache's values.

    Raises:
        ModelNotFoundError: the file or one of its parts does not exist.
        ModelLoadError: the file is not a GGUF file, or is damaged.
        ValueError: a type is unknown, or a number is below 1.
    """
    for name, type_ in (("cache_type_k", cache_type_k), ("cache_type_v", cache_type_v)):
        if type_ not in _CACHE_TYPES:
            raise ValueError(f"{name}={type_!r} is not one of {', '.join(_CACHE_TYPES)}")
    for name, number in (("n_ctx", n_ctx), ("n_parallel", n_parallel)):
        if number < 1:
            raise ValueError(f"{name}={number} must be 1 or more")
    try:
        files, contents = _parts(explicit_model_path(path))
    finally:
        forward_native_log()
    metadata = contents[0][0]
    types: Counter[str] = Counter()
    for _, tensors, _ in contents:
        for _, type_, _, n_bytes in tensors:
            types[type_] += n_bytes
    size_bytes = sum(file.stat().st_size for file in files)
    pairs = zip(files, contents, strict=True)
    missing = sum(max(0, expected - file.stat().st_size) for file, (_, _, expected) in pairs)
    types_by_size = dict(types.most_common())
    bare = ModelFile(files[0], len(files), size_bytes, metadata, types_by_size, _n_params(contents), (), None, missing)
    uses = _uses(bare)
    memory = None
    if uses and not missing:
        try:
            cache, compute = _core.estimate_memory(
                os.fsencode(files[0]),
                n_ctx=n_ctx,
                n_parallel=n_parallel,
                cache_type_k=cache_type_k,
                cache_type_v=cache_type_v,
            )
            memory = MemoryEstimate(types.total(), cache, compute)
        except LlmError as error:
            logger.warning("cannot estimate the memory: %s", error)
        finally:
            forward_native_log()
    return replace(bare, uses=uses, memory=memory)


def count_weights(path: Path) -> int:
    """The number of weights in all tensors of a model, from the headers of its files; the model is not loaded.

    Raises:
        ModelLoadError: a file is not a GGUF file, or its header is damaged.
        ModelNotFoundError: a part of the model is missing.
    """
    try:
        _, contents = _parts(path)
    finally:
        forward_native_log()
    return _n_params(contents)


def problem_with(path: Path) -> str | None:
    """The problem with a model file that its header shows; None: there is none, or there is no engine to check it."""
    if not IS_NATIVE:
        return None
    try:
        _, _, expected = _core.read_gguf(os.fsencode(path))
    except ModelLoadError:
        return "damaged"
    finally:
        forward_native_log()
    missing = expected - path.stat().st_size
    return f"truncated: {missing / 1e6:.1f} MB of {expected / 1e6:.1f} MB are missing" if missing > 0 else None


def _n_params(contents: Iterable[Any]) -> int:
    return sum(prod(shape) for _, tensors, _ in contents for _, _, shape, _ in tensors)


def _parts(given: Path) -> tuple[list[Path], list[Any]]:
    """The files of a model and the contents of each; ``given`` may be any of them."""
    content = _core.read_gguf(os.fsencode(given))
    n_files = content[0].get("split.count", 1)
    files = model_files(given, n_files if isinstance(n_files, int) else 1)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ModelNotFoundError(f"{given} is one of {len(files)} parts; missing beside it: {', '.join(missing)}")
    return files, [content if file == given else _core.read_gguf(os.fsencode(file)) for file in files]


def _uses(model: ModelFile) -> tuple[str, ...]:
    if model.number("pooling_type") == 4:  # LLAMA_POOLING_TYPE_RANK
        return ("rerank",)
    is_causal = model.metadata.get(f"{model.architecture}.attention.causal", True)
    if not is_causal or model.architecture in _EMBEDDING_ARCHITECTURES or not model.n_params:
        return ("embed",) if model.n_params else ()
    return ("generate", "embed")
