"""Tiny model files with a key of their metadata missing, of another type, empty or huge; and what is done with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf

from support.tiny_gguf import write_tiny_model

USE = """
from tea_llm.inspection import inspect_model

def inspect(path):
    inspect_model(path)

def tokenize(path):
    tokenizer = tea_llm.Tokenizer(path)
    tokenizer.decode(tokenizer.encode("Hello, world 1 2 3"))
    tokenizer.encode("<s>Hello</s>", parse_special=True)

def generate(path):
    with tea_llm.load(path, n_threads=1) as llm:
        llm.call("Hello", max_tokens=2)
        llm.call("Hello", max_tokens=2, regex="[a-z]+")

def chat(path):
    with tea_llm.load(path, n_threads=1, n_parallel=2) as llm:
        llm.chat([{"role": "user", "content": "Hello"}], max_tokens=2)

def embed(path):
    with tea_llm.load(path, n_threads=1) as llm:
        llm.embed(["Hello", "world"])

STEPS = (inspect, tokenize, generate, chat, embed)
"""

MISSING = None
EMPTY: tuple[Any, ...] = ("", 0, 0.0)
OTHER_TYPES: tuple[Any, ...] = ("text", 7, -7, 0.5, True, [1, 2], ["a", "b"], [0.5], [True, False])
HUGE: tuple[Any, ...] = (2**31 - 1, 2**32 - 1, 2**63 - 1, -(2**31), 1e38, float("nan"), "x" * 100_000)
VALUES: tuple[Any, ...] = (MISSING, *EMPTY, *OTHER_TYPES, *HUGE)


OPTIONAL = (
    "{arch}.attention.causal", "{arch}.attention.key_length", "{arch}.attention.scale",
    "{arch}.attention.sliding_window",
    "{arch}.attn_logit_softcapping", "{arch}.expert_count", "{arch}.expert_used_count", "{arch}.logit_scale",
    "{arch}.nextn_predict_layers", "{arch}.pooling_type", "{arch}.rope.dimension_sections", "{arch}.rope.freq_scale",
    "{arch}.rope.scaling.factor", "{arch}.rope.scaling.original_context_length", "{arch}.rope.scaling.type",
    "general.alignment", "general.file_type", "general.quantization_version", "split.count", "split.no",
    "split.tensors.count", "tokenizer.chat_template", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_sep_token", "tokenizer.ggml.add_space_prefix", "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.cls_token_id", "tokenizer.ggml.eog_token_ids", "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id", "tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.mask_token_id",
    "tokenizer.ggml.merges", "tokenizer.ggml.padding_token_id", "tokenizer.ggml.pre",
    "tokenizer.ggml.precompiled_charsmap", "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.seperator_token_id", "tokenizer.ggml.suppress_tokens", "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.unknown_token_id",
)  # fmt: skip
"""Keys that llama.cpp reads where they are there, and that the tiny models do not all have."""


def keys_of(path: Path, arch: str) -> list[str]:
    """The keys of a model file, and those that could be there."""
    there = [name for name in gguf.GGUFReader(path).fields if not name.startswith("GGUF.")]
    return sorted({*there, *(name.format(arch=arch) for name in OPTIONAL)})


def write_odd(path: Path, arch: str, changes: Mapping[str, object]) -> Path:
    """The tiny model of this architecture with these keys, or without those that are None."""
    return write_tiny_model(path, arch, overrides=changes)
