"""Model files that must raise and never end the process, by the name of what is wrong with them.

What llama.cpp itself does with them differs, and is said for each kind: most are refused with a log line; "aborts" are
a GGML_ASSERT; "crashes" are a segmentation fault.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from support.tiny_gguf import Tensors, write_gguf, write_tiny_model
from support.tiny_vocab import spm_vocab, wordpiece_vocab

Writer = Callable[[Path], Path]
HEADER_BYTES = 24  # magic, version, number of tensors, number of keys


def write_malformed(path: Path, kind: str) -> Path:
    """The broken file of this kind (a key of ``MALFORMED`` or ``POISONED``), written to ``path``."""
    return (MALFORMED | POISONED)[kind](path)


def _raw(data: bytes) -> Writer:
    def write(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return write


def _noise(n_bytes: int) -> bytes:
    return np.random.default_rng(7).bytes(n_bytes)


def _cut(keep: Callable[[bytes], int]) -> Writer:
    """A good model of which only the first ``keep(data)`` bytes are left."""

    def write(path: Path) -> Path:
        data = write_tiny_model(path).read_bytes()
        path.write_bytes(data[: keep(data)])
        return path

    return write


def _changed(**keys: object) -> Writer:
    """A good llama model with these ``llama.*`` keys set, or deleted with None; a dot is written as two underscores."""

    def write(path: Path) -> Path:
        return write_tiny_model(path, overrides={f"llama.{key.replace('__', '.')}": keys[key] for key in keys})

    return write


def _tokenizer(**keys: object) -> Writer:
    def write(path: Path) -> Path:
        return write_tiny_model(path, overrides={f"tokenizer.ggml.{key}": keys[key] for key in keys})

    return write


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _unknown_arch(path: Path) -> Path:
    return write_tiny_model(path, overrides={"general.architecture": "tea-unknown"})


def _vocab_only(path: Path) -> Path:
    """What ``convert_hf_to_gguf.py --vocab-only`` writes: good for ``Tokenizer``, not for ``load``."""
    metadata = {"general.architecture": "llama", "general.name": "tea-tiny-vocab"}
    return write_gguf(path, metadata | spm_vocab().metadata())


def write_vocab_without_bos(path: Path) -> Path:
    """A vocabulary that asks for a BOS token and has none: ``encode(add_special=True)`` aborts in llama.cpp."""
    vocab = wordpiece_vocab()
    vocab.tokens, vocab.types = vocab.tokens[:100], vocab.types[:100]  # the kind's default BOS is 101
    keys = vocab.metadata() | {"tokenizer.ggml.bos_token_id": None, "tokenizer.ggml.cls_token_id": None}
    return write_gguf(path, {"general.architecture": "bert", "general.name": "tea-tiny-vocab"} | keys)


def _repeated_tokens(path: Path) -> Path:
    tokens = spm_vocab().tokens
    return write_tiny_model(path, overrides={"tokenizer.ggml.tokens": [*tokens[:-1], tokens[-2]]})


def _too_few_tokens(path: Path) -> Path:
    vocab = spm_vocab()
    keys = {"tokens": vocab.tokens[:-9], "token_type": vocab.types[:-9], "scores": vocab.scores[:-9]}
    return write_tiny_model(path, overrides={f"tokenizer.ggml.{key}": value for key, value in keys.items()})


def _retyped(name: str, kind: type[np.generic]) -> Writer:
    """A good model with one tensor in another number format."""

    def edit(tensors: Tensors) -> None:
        tensors[name] = tensors[name].astype(kind)

    return lambda path: write_tiny_model(path, edit=edit)


def _filled(name: str, value: float) -> Writer:
    """A good model with one tensor full of one value."""

    def edit(tensors: Tensors) -> None:
        tensors[name][:] = value

    return lambda path: write_tiny_model(path, edit=edit)


def _no_tensors(path: Path) -> Path:
    whole = write_tiny_model(path).read_bytes()
    path.write_bytes(whole[:8] + bytes(8) + whole[16:])
    return path


def _no_tokenizer(path: Path) -> Path:
    names = [*spm_vocab().metadata(), "llama.vocab_size"]
    return write_tiny_model(path, overrides=dict.fromkeys(names))


def _no_vocab(name: str) -> Writer:
    """Models without text say so: of sound, or of what reads embeddings."""
    keys = dict.fromkeys(spm_vocab().metadata()) | {"tokenizer.ggml.model": name}
    return lambda path: write_tiny_model(path, overrides=keys)


# Refused by llama.cpp's loader, or it aborts there.
MALFORMED: dict[str, Writer] = {
    "empty": _raw(b""),
    "noise": _raw(_noise(4096)),
    "magic_then_noise": _raw(b"GGUF" + _noise(4096)),
    "header_then_noise": _raw(b"GGUF\x03\x00\x00\x00" + _noise(4096)),
    "huge_counts": _raw(b"GGUF\x03\x00\x00\x00" + (b"\xff" * 7 + b"\x7f") * 2 + bytes(64)),
    "truncated_header": _cut(lambda _: HEADER_BYTES // 2),
    "truncated_metadata": _cut(lambda data: data.index(b"tokenizer.ggml.tokens") + 500),
    "truncated_tensor_info": _cut(lambda data: data.index(b"blk.1.ffn_norm.weight") + 4),
    "truncated_tensor_data": _cut(lambda data: len(data) // 2),
    "truncated_last_byte": _cut(lambda data: len(data) - 1),
    "directory": _directory,
    "unknown_arch": _unknown_arch,
    "alignment_0": lambda path: write_tiny_model(path, overrides={"general.alignment": 0}),
    "block_count_0": _changed(block_count=0),  # aborts
    "block_count_100000": _changed(block_count=100_000),  # aborts
    "block_count_missing": _changed(block_count=None),
    "block_count_text": _changed(block_count="two"),
    "block_count_too_small": _changed(block_count=1),
    "block_count_too_large": _changed(block_count=3),
    "heads_0": _changed(attention__head_count=0),
    "heads_missing": _changed(attention__head_count=None),
    "heads_kv_0": _changed(attention__head_count_kv=0),
    "heads_huge": _changed(attention__head_count=2**32 - 1),
    "n_embd_0": _changed(embedding_length=0),
    "n_embd_indivisible": _changed(embedding_length=66),
    "n_embd_huge": _changed(embedding_length=2**32 - 1),
    "n_ctx_train_missing": _changed(context_length=None),
    "rope_dimension_wrong": _changed(rope__dimension_count=7),
    "rope_scaling_unknown": _changed(rope__scaling__type="sideways"),  # aborts
    "experts_used_only": _changed(expert_used_count=4),  # aborts
    "experts_too_many": _changed(expert_count=100_000, expert_used_count=2),  # aborts
    "rope_dimension_0": lambda path: write_tiny_model(
        path, "gemma3", overrides={"gemma3.rope.dimension_count": 0}
    ),  # computes for ever
    "nextn_too_large": _changed(nextn_predict_layers=5),  # aborts
    "no_tensors": _no_tensors,
    "no_tokenizer": _no_tokenizer,
    "no_vocab": _no_vocab("no_vocab"),  # aborts when a token is looked at
    "no_vocab_either": _no_vocab("none"),
    "tokenizer_unknown": _tokenizer(model="runes"),
    "pre_tokenizer_unknown": lambda path: write_tiny_model(path, "qwen2", overrides={"tokenizer.ggml.pre": "runes"}),
    "tokens_missing": _tokenizer(tokens=None),
    "tokens_numbers": _tokenizer(tokens=[1, 2, 3]),
    "tokens_repeated": _repeated_tokens,  # aborts
    "tokens_too_few": _too_few_tokens,
    "scores_too_few": _tokenizer(scores=[0.0]),
    "vocab_only": _vocab_only,
}

# Loaded by llama.cpp: it is the context or the first decode that goes wrong, in part on ggml's own worker threads.
POISONED: dict[str, Writer] = {
    "heads_kv_indivisible": lambda path: write_tiny_model(path, n_head_kv=3),  # aborts when the context is created
    "weights_int32": _retyped("blk.0.attn_q.weight", np.int32),  # crashes in the first decode
    "weights_float64": _retyped("blk.0.attn_q.weight", np.float64),  # crashes in the first decode
    "embedding_int32": _retyped("token_embd.weight", np.int32),  # aborts when the context is created
    "norm_float16": _retyped("blk.0.attn_norm.weight", np.float16),  # aborts in the first decode
    "odd_head_size": lambda path: write_tiny_model(path, n_embd=60),  # aborts in the first decode
    "epsilon_negative": _changed(attention__layer_norm_rms_epsilon=-1.0),  # aborts in the first decode
    "weights_nan": _filled("token_embd.weight", np.nan),  # all logits are NaN
    "weights_inf": _filled("output.weight", np.inf),  # all logits are infinite or NaN
    "rope_base_0": _changed(rope__freq_base=0.0),  # all logits are NaN
}
