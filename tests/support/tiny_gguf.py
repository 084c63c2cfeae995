"""Writes tiny GGUF models with random weights that llama.cpp loads and runs: one for each kind of memory.

The weights are scaled like a trained network's, so that greedy output varies and depends on the whole context.
Which keys and tensors an architecture needs: ``vendor/llama.cpp/src/models/*.cpp``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from support.tiny_vocab import TinyVocab, bpe_vocab, spm_vocab, wordpiece_vocab

ARCHS = ("llama", "qwen2", "gemma3", "gemma3n", "phi3", "mamba", "bert")
HYBRIDS = ("lfm2", "jamba", "granitehybrid", "falcon-h1", "qwen3next")  # support.tiny_hybrids
N_SWA = 64  # the window of gemma3 and gemma3n
SCRIPT_GAP = 40.0  # how far a scripted token's logit is above all others: certain at any usual temperature

Array = NDArray[Any]
Tensors = dict[str, Array]


@dataclass(frozen=True)
class Shape:
    """The sizes of a tiny model."""

    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    n_vocab: int
    n_ctx_train: int

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    @property
    def n_embd_kv(self) -> int:
        return self.head_dim * self.n_head_kv

    @property
    def n_ff(self) -> int:
        return 2 * self.n_embd


class Weights:
    """Random tensors, each from a generator of its own, so that one more tensor changes no other."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.tensors: Tensors = {}

    def normal(self, name: str, *shape: int, std: float, mean: float = 0.0) -> None:
        """Adds a float32 tensor; the shape is numpy's, the reverse of ggml's."""
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        self.tensors[name] = (mean + std * rng.standard_normal(shape)).astype(np.float32)

    def matrix(self, name: str, n_out: int, n_in: int, gain: float = 1.0) -> None:
        """Adds a weight matrix that keeps the size of what goes through it."""
        self.normal(name, n_out, n_in, std=gain / np.sqrt(n_in))

    def norm(self, name: str, n: int, *, mean: float = 1.0, bias: bool = False) -> None:
        """Adds the scale of a normalisation, and its bias if asked."""
        self.normal(f"{name}.weight", n, std=0.1, mean=mean)
        if bias:
            self.normal(f"{name}.bias", n, std=0.1)


def write_tiny_model(
    path: Path,
    arch: str = "llama",
    *,
    n_layer: int | None = None,
    n_embd: int = 64,
    n_head: int = 4,
    n_head_kv: int = 2,
    n_vocab: int | None = None,
    n_ctx_train: int | None = None,
    seed: int = 0,
    chat_template: str | None = None,
    script: Sequence[int] | None = None,
    overrides: Mapping[str, object] | None = None,
    edit: Callable[[Tensors], None] | None = None,
    tensors_a_file: int = 0,
) -> Path:
    """A tiny model file that loads, tokenizes and generates; same arguments, same bytes.

    Args:
        path: Where to write; parent directories must exist.
        arch: One of ``ARCHS`` or ``HYBRIDS``.
        n_layer: Number of blocks; default 2 (gemma3n: 22, as its first 20 have KV caches and the rest share them).
        n_embd: Width of the model.
        n_head: Attention heads (mamba has none).
        n_head_kv: Key and value heads (bert has as many as ``n_head``).
        n_vocab: Vocabulary size; default: what the tokenizer needs, more are filled up.
        n_ctx_train: Trained context; default 2048 (phi3: 131072 with longrope factors, bert: 512).
        seed: The weights' seed.
        chat_template: Jinja2 source for ``tokenizer.chat_template``; None leaves the key out.
        script: Only for "llama": different token ids that follow each other with certainty, the first one after any
            token that is not among them. The context has no influence then. End it with ``</s>`` (2) to stop.
        overrides: Metadata keys to set, or to delete with None; the value's Python type decides the GGUF type.
        edit: Called with all tensors by name before they are written, to change them in place.
        tensors_a_file: Splits the model into files of so many; 0: one file.

    Returns:
        ``path``, or where it is split the path of the first part.
    """
    vocab = tiny_vocab(arch, n_vocab)
    shape = Shape(
        n_layer=n_layer or {"gemma3n": 22}.get(arch, 2),
        n_embd=n_embd,
        n_head=n_head,
        n_head_kv=n_head_kv,
        n_vocab=len(vocab.tokens),
        n_ctx_train=n_ctx_train or {"phi3": 131072, "bert": 512}.get(arch, 2048),
    )
    make_keys, make_tensors = _makers(arch)
    keys, weights = make_keys(shape), Weights(seed)
    make_tensors(shape, weights)
    tensors = weights.tensors
    if "output.weight" in tensors:
        tensors["output.weight"][sorted(vocab.hidden)] = 0.0  # greedy output is readable and does not end by chance
    if script is not None:
        _follow(script, shape, tensors)
    if edit is not None:
        edit(tensors)
    metadata: dict[str, object] = {"general.architecture": arch, "general.name": "tea-tiny"}
    metadata |= {f"{arch}.{key}": value for key, value in (_common_keys(shape) | keys).items()} | vocab.metadata()
    metadata["tokenizer.chat_template"] = chat_template
    return write_gguf(path, metadata | dict(overrides or {}), tensors, tensors_a_file=tensors_a_file)


def tiny_vocab(arch: str, n_vocab: int | None = None) -> TinyVocab:
    """The vocabulary that ``write_tiny_model`` gives this architecture."""
    if arch not in ARCHS + HYBRIDS:
        raise ValueError(f"arch={arch!r}: tiny models are made for {', '.join(ARCHS + HYBRIDS)}")
    if arch == "bert":
        vocab = wordpiece_vocab()
    elif arch in ("qwen2", "mamba"):
        vocab = bpe_vocab()
    else:
        vocab = spm_vocab(add_space_prefix=not arch.startswith("gemma"))
    if n_vocab is not None:
        vocab.pad_to(n_vocab)
    return vocab


def write_gguf(
    path: Path, metadata: Mapping[str, object], tensors: Tensors | None = None, *, tensors_a_file: int = 0
) -> Path:
    """Writes a GGUF of these keys (None: left out) and tensors; uint8 tensors hold Q4_0 blocks, int8 ones TQ2_0."""
    keys = dict(metadata)
    writer = gguf.GGUFWriter(path, str(keys.pop("general.architecture")), split_max_tensors=tensors_a_file)
    for key, value in keys.items():
        if value is not None:
            writer.add_key_value(key, value, _value_type(value))
    for name, data in (tensors or {}).items():
        raw = {"uint8": gguf.GGMLQuantizationType.Q4_0, "int8": gguf.GGMLQuantizationType.TQ2_0}.get(data.dtype.name)
        writer.add_tensor(name, data if raw is None else data.view(np.uint8), raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return min(path.parent.glob(f"{path.stem}-*")) if tensors_a_file else path


def _makers(arch: str) -> tuple[Callable[[Shape], dict[str, object]], Callable[[Shape, Weights], None]]:
    if arch in HYBRIDS:
        from support import tiny_hybrids  # it builds on this module

        return tiny_hybrids.KEYS[arch], tiny_hybrids.TENSORS[arch]
    return _KEYS[arch], _TENSORS[arch]


def _value_type(value: object) -> gguf.GGUFValueType:
    if type(value) is int and value >= 0:
        return gguf.GGUFValueType.UINT32 if value < 2**32 else gguf.GGUFValueType.UINT64
    return gguf.GGUFValueType.get_type(value)


def _follow(script: Sequence[int], shape: Shape, tensors: Tensors) -> None:
    """Makes each token of the script follow the one before: blocks add nothing, embeddings are orthogonal."""
    if len(set(script)) != len(script) or not 0 < len(script) < shape.n_embd:
        raise ValueError(f"script: 1 to {shape.n_embd - 1} different token ids, not {list(script)}")
    for name, data in tensors.items():
        if name.endswith(("attn_output.weight", "ffn_down.weight")):
            data[:] = 0.0
    tensors["output_norm.weight"][:] = 1.0
    embedding, output = tensors["token_embd.weight"], tensors["output.weight"]
    directions = np.eye(shape.n_embd, dtype=np.float32)
    embedding[:] = directions[len(script)]  # any token that is not in the script
    output[:] = 0.0
    gain = SCRIPT_GAP / np.sqrt(shape.n_embd)  # RMSNorm brings the unit vector to sqrt(n_embd)
    for place, token in enumerate(script):
        embedding[token] = directions[place]
        output[token] = gain * directions[place - 1 if place else len(script)]


def _common_keys(shape: Shape) -> dict[str, object]:
    return {
        "context_length": shape.n_ctx_train,
        "embedding_length": shape.n_embd,
        "block_count": shape.n_layer,
        "vocab_size": shape.n_vocab,
    }


def _attention_keys(shape: Shape) -> dict[str, object]:
    return {
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.head_count_kv": shape.n_head_kv,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.dimension_count": shape.head_dim,
        "rope.freq_base": 10000.0,
    }


def _gemma_keys(shape: Shape) -> dict[str, object]:
    return _attention_keys(shape) | {
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
        "attention.sliding_window": N_SWA,
        "attention.sliding_window_pattern": [layer % 2 == 0 for layer in range(shape.n_layer)],
    }


def _phi3_keys(shape: Shape) -> dict[str, object]:
    return _attention_keys(shape) | {
        "rope.scaling.original_context_length": min(4096, shape.n_ctx_train),
        "rope.scaling.attn_factor": 1.19,
    }


def _mamba_keys(shape: Shape) -> dict[str, object]:
    return {
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": 2 * shape.n_embd,
        "ssm.state_size": 16,
        "ssm.time_step_rank": shape.n_embd // 16,
    }


def _bert_keys(shape: Shape) -> dict[str, object]:
    return {
        "feed_forward_length": shape.n_ff,
        "attention.head_count": shape.n_head,
        "attention.layer_norm_epsilon": 1e-12,
        "attention.causal": False,
        "pooling_type": 1,  # mean
    }


def _ends(shape: Shape, w: Weights, embedding_std: float = 1.0) -> None:
    w.normal("token_embd.weight", shape.n_vocab, shape.n_embd, std=embedding_std)
    w.norm("output_norm", shape.n_embd)
    w.matrix("output.weight", shape.n_vocab, shape.n_embd, gain=4.0)


def _attention(shape: Shape, w: Weights, block: str) -> None:
    w.norm(f"{block}.attn_norm", shape.n_embd)
    w.matrix(f"{block}.attn_q.weight", shape.n_embd, shape.n_embd, gain=2.0)
    w.matrix(f"{block}.attn_k.weight", shape.n_embd_kv, shape.n_embd, gain=2.0)
    w.matrix(f"{block}.attn_v.weight", shape.n_embd_kv, shape.n_embd)
    w.matrix(f"{block}.attn_output.weight", shape.n_embd, shape.n_embd, gain=3.0)


def _feed_forward(shape: Shape, w: Weights, block: str) -> None:
    w.norm(f"{block}.ffn_norm", shape.n_embd)
    w.matrix(f"{block}.ffn_gate.weight", shape.n_ff, shape.n_embd)
    w.matrix(f"{block}.ffn_up.weight", shape.n_ff, shape.n_embd)
    w.matrix(f"{block}.ffn_down.weight", shape.n_embd, shape.n_ff, gain=2.0)


def _llama_tensors(shape: Shape, w: Weights) -> None:
    _ends(shape, w)
    for layer in range(shape.n_layer):
        _attention(shape, w, f"blk.{layer}")
        _feed_forward(shape, w, f"blk.{layer}")


def _qwen2_tensors(shape: Shape, w: Weights) -> None:
    _llama_tensors(shape, w)
    for layer in range(shape.n_layer):
        for name, size in (("q", shape.n_embd), ("k", shape.n_embd_kv), ("v", shape.n_embd_kv)):
            w.normal(f"blk.{layer}.attn_{name}.bias", size, std=0.1)


def _gemma3_tensors(shape: Shape, w: Weights) -> None:
    _ends(shape, w, embedding_std=1 / np.sqrt(shape.n_embd))  # Gemma multiplies embeddings by sqrt(n_embd)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        _attention(shape, w, block)
        _feed_forward(shape, w, block)
        w.norm(f"{block}.attn_q_norm", shape.head_dim, mean=1.5)
        w.norm(f"{block}.attn_k_norm", shape.head_dim)
        w.norm(f"{block}.post_attention_norm", shape.n_embd, mean=2.0)
        w.norm(f"{block}.post_ffw_norm", shape.n_embd)


def _gemma3n_tensors(shape: Shape, w: Weights) -> None:
    n_altup, n_laurel, n_altup_embd = 4, 64, 256  # fixed in llama.cpp's llama-hparams.h
    _gemma3_tensors(shape, w)
    for name in ("altup_proj", "altup_unembd_proj"):
        w.normal(f"{name}.weight", n_altup - 1, shape.n_embd, shape.n_embd, std=1 / np.sqrt(shape.n_embd))
    w.normal("per_layer_token_embd.weight", shape.n_vocab, n_altup_embd * shape.n_layer, std=0.06)
    w.matrix("per_layer_model_proj.weight", n_altup_embd * shape.n_layer, shape.n_embd)
    w.norm("per_layer_proj_norm", n_altup_embd)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        w.matrix(f"{block}.inp_gate.weight", n_altup_embd, shape.n_embd)
        w.matrix(f"{block}.proj.weight", shape.n_embd, n_altup_embd)
        w.norm(f"{block}.post_norm", shape.n_embd)
        w.matrix(f"{block}.laurel_l.weight", n_laurel, shape.n_embd)
        w.matrix(f"{block}.laurel_r.weight", shape.n_embd, n_laurel)
        w.norm(f"{block}.laurel_post_norm", shape.n_embd)
        w.normal(f"{block}.altup_correct_coef.weight", n_altup, n_altup, std=0.1)
        w.normal(f"{block}.altup_correct_scale.weight", shape.n_embd, std=0.1, mean=1.0)
        w.normal(f"{block}.altup_predict_coef.weight", n_altup * n_altup, n_altup, std=0.1)
        w.matrix(f"{block}.altup_router.weight", n_altup, shape.n_embd)
        w.norm(f"{block}.altup_router_norm", shape.n_embd)
    for name, data in w.tensors.items():
        if data.ndim == 2 and data.shape[1] % 32 == 0 and not name.startswith(("token_embd", "output")):
            w.tensors[name] = gguf.quants.quantize(data, gguf.GGMLQuantizationType.Q4_0)  # 2 MB rather than 14


def _phi3_tensors(shape: Shape, w: Weights) -> None:
    _ends(shape, w)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        w.norm(f"{block}.attn_norm", shape.n_embd)
        w.matrix(f"{block}.attn_qkv.weight", shape.n_embd + 2 * shape.n_embd_kv, shape.n_embd, gain=2.0)
        w.matrix(f"{block}.attn_output.weight", shape.n_embd, shape.n_embd, gain=3.0)
        w.norm(f"{block}.ffn_norm", shape.n_embd)
        w.matrix(f"{block}.ffn_up.weight", 2 * shape.n_ff, shape.n_embd)
        w.matrix(f"{block}.ffn_down.weight", shape.n_embd, shape.n_ff, gain=2.0)
    n_factors = shape.head_dim // 2
    w.tensors["rope_factors_short.weight"] = np.linspace(1.0, 1.1, n_factors, dtype=np.float32)
    w.tensors["rope_factors_long.weight"] = np.geomspace(1.0, 64.0, n_factors).astype(np.float32)


def _mamba_tensors(shape: Shape, w: Weights, n_dt: int = 0) -> None:
    n_inner, n_state, n_dt, n_conv = 2 * shape.n_embd, 16, n_dt or shape.n_embd // 16, 4
    _ends(shape, w)
    decay = -np.broadcast_to(np.arange(1, n_state + 1, dtype=np.float32), (n_inner, n_state))  # must be negative
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        w.norm(f"{block}.attn_norm", shape.n_embd)
        w.matrix(f"{block}.ssm_in.weight", 2 * n_inner, shape.n_embd)
        w.normal(f"{block}.ssm_conv1d.weight", n_inner, n_conv, std=1 / np.sqrt(n_conv))
        w.normal(f"{block}.ssm_conv1d.bias", n_inner, std=0.1)
        w.matrix(f"{block}.ssm_x.weight", n_dt + 2 * n_state, n_inner)
        w.matrix(f"{block}.ssm_dt.weight", n_inner, n_dt)
        w.normal(f"{block}.ssm_dt.bias", n_inner, std=0.5, mean=-3.0)  # softplus(-3): remembers about 20 tokens
        w.tensors[f"{block}.ssm_a"] = np.ascontiguousarray(decay)
        w.normal(f"{block}.ssm_d", n_inner, std=0.1, mean=1.0)
        w.matrix(f"{block}.ssm_out.weight", shape.n_embd, n_inner, gain=2.0)


def _bert_tensors(shape: Shape, w: Weights) -> None:
    n = shape.n_embd
    w.normal("token_embd.weight", shape.n_vocab, n, std=1.0)
    w.normal("token_types.weight", 2, n, std=0.1)
    w.normal("position_embd.weight", shape.n_ctx_train, n, std=0.1)
    w.norm("token_embd_norm", n, bias=True)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        for name in ("q", "k", "v", "output"):
            w.matrix(f"{block}.attn_{name}.weight", n, n)
            w.normal(f"{block}.attn_{name}.bias", n, std=0.1)
        w.norm(f"{block}.attn_output_norm", n, bias=True)
        for name, n_out, n_in in (("up", shape.n_ff, n), ("down", n, shape.n_ff)):
            w.matrix(f"{block}.ffn_{name}.weight", n_out, n_in)
            w.normal(f"{block}.ffn_{name}.bias", n_out, std=0.1)
        w.norm(f"{block}.layer_output_norm", n, bias=True)


_KEYS: dict[str, Callable[[Shape], dict[str, object]]] = {
    "llama": _attention_keys,
    "qwen2": _attention_keys,
    "gemma3": _gemma_keys,
    "gemma3n": _gemma_keys,
    "phi3": _phi3_keys,
    "mamba": _mamba_keys,
    "bert": _bert_keys,
}
_TENSORS: dict[str, Callable[[Shape, Weights], None]] = {
    "llama": _llama_tensors,
    "qwen2": _qwen2_tensors,
    "gemma3": _gemma3_tensors,
    "gemma3n": _gemma3n_tensors,
    "phi3": _phi3_tensors,
    "mamba": _mamba_tensors,
    "bert": _bert_tensors,
}
