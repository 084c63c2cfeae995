"""Tiny models whose layers are of two kinds: attention, and a recurrent state. For ``support.tiny_gguf``.

Each kind of state of llama.cpp is among them: a short convolution (lfm2), Mamba (jamba), Mamba 2 in layers of its own
(granitehybrid) and beside attention in every layer (falcon-h1), and gated delta nets (qwen3next).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from support.tiny_gguf import Shape, Weights, _attention, _attention_keys, _ends, _feed_forward, _mamba_tensors

N_STATE, N_CONV, N_GROUP, N_SSM_HEAD = 16, 4, 2, 4
N_EXPERT = 2


def _is_attention(layer: int) -> bool:
    return layer % 2 == 1


def _mixed_keys(shape: Shape) -> dict[str, object]:
    heads = [shape.n_head_kv if _is_attention(layer) else 0 for layer in range(shape.n_layer)]
    return _attention_keys(shape) | {"attention.head_count_kv": heads}


def _state_keys(shape: Shape) -> dict[str, object]:
    return {
        "ssm.conv_kernel": N_CONV,
        "ssm.inner_size": 2 * shape.n_embd,
        "ssm.state_size": N_STATE,
        "ssm.time_step_rank": N_SSM_HEAD,
        "ssm.group_count": N_GROUP,
    }


def _lfm2_keys(shape: Shape) -> dict[str, object]:
    return _mixed_keys(shape) | {"shortconv.l_cache": 3}


def _jamba_keys(shape: Shape) -> dict[str, object]:
    return _mixed_keys(shape) | _state_keys(shape) | {"ssm.group_count": None}


def _granite_keys(shape: Shape) -> dict[str, object]:
    return _mixed_keys(shape) | _state_keys(shape)


def _falcon_keys(shape: Shape) -> dict[str, object]:
    return _attention_keys(shape) | _state_keys(shape)


def _qwen3next_keys(shape: Shape) -> dict[str, object]:
    keys = _attention_keys(shape) | _state_keys(shape)
    return keys | {
        "full_attention_interval": 2,
        "ssm.inner_size": N_STATE * N_SSM_HEAD,
        "expert_count": N_EXPERT,
        "expert_used_count": 1,
        "expert_feed_forward_length": shape.n_ff,
        "expert_shared_feed_forward_length": shape.n_ff,
        "attention.key_length": shape.head_dim,
        "attention.value_length": shape.head_dim,
    }


def _head_norms(shape: Shape, w: Weights, block: str) -> None:
    w.norm(f"{block}.attn_q_norm", shape.head_dim)
    w.norm(f"{block}.attn_k_norm", shape.head_dim)


def _lfm2_tensors(shape: Shape, w: Weights) -> None:
    n = shape.n_embd
    _ends(shape, w)
    w.tensors["token_embd_norm.weight"] = w.tensors.pop("output_norm.weight")
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        if _is_attention(layer):
            _attention(shape, w, block)
            _head_norms(shape, w, block)
        else:
            w.norm(f"{block}.attn_norm", n)
            w.normal(f"{block}.shortconv.conv.weight", n, 3, std=0.5)
            w.matrix(f"{block}.shortconv.in_proj.weight", 3 * n, n)
            w.matrix(f"{block}.shortconv.out_proj.weight", n, n)
        _feed_forward(shape, w, block)


def _jamba_tensors(shape: Shape, w: Weights) -> None:
    _mamba_tensors(shape, w, n_dt=N_SSM_HEAD)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        for name, n in (("dt", N_SSM_HEAD), ("b", N_STATE), ("c", N_STATE)):
            w.norm(f"{block}.ssm_{name}_norm", n)
        if _is_attention(layer):
            for name in [name for name in w.tensors if name.startswith(f"{block}.")]:
                del w.tensors[name]
            _attention(shape, w, block)
        _feed_forward(shape, w, block)


def _mamba2(shape: Shape, w: Weights, block: str) -> None:
    n_inner = 2 * shape.n_embd
    n_conv = n_inner + 2 * N_GROUP * N_STATE
    w.norm(f"{block}.attn_norm", shape.n_embd)
    w.matrix(f"{block}.ssm_in.weight", n_inner + n_conv + N_SSM_HEAD, shape.n_embd)
    w.normal(f"{block}.ssm_conv1d.weight", n_conv, N_CONV, std=1 / np.sqrt(N_CONV))
    w.normal(f"{block}.ssm_conv1d.bias", n_conv, std=0.1)
    w.normal(f"{block}.ssm_dt.bias", N_SSM_HEAD, std=0.5, mean=-3.0)
    w.normal(f"{block}.ssm_a", N_SSM_HEAD, 1, std=0.1, mean=-1.0)
    w.normal(f"{block}.ssm_d", N_SSM_HEAD, 1, std=0.1, mean=1.0)
    w.normal(f"{block}.ssm_norm.weight", N_GROUP, n_inner // N_GROUP, std=0.1, mean=1.0)
    w.matrix(f"{block}.ssm_out.weight", shape.n_embd, n_inner, gain=2.0)


def _granite_tensors(shape: Shape, w: Weights) -> None:
    _ends(shape, w)
    for layer in range(shape.n_layer):
        (_attention if _is_attention(layer) else _mamba2)(shape, w, f"blk.{layer}")
        _feed_forward(shape, w, f"blk.{layer}")


def _falcon_tensors(shape: Shape, w: Weights) -> None:
    _ends(shape, w)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        _attention(shape, w, block)
        _mamba2(shape, w, block)
        _feed_forward(shape, w, block)
        w.tensors[f"{block}.ffn_norm"] = w.tensors.pop(f"{block}.ffn_norm.weight")  # llama.cpp names it so


def _qwen3next_tensors(shape: Shape, w: Weights) -> None:
    n, n_key, n_value = shape.n_embd, N_STATE * N_GROUP, N_STATE * N_SSM_HEAD
    _ends(shape, w)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        if _is_attention(layer):
            _attention(shape, w, block)
            w.matrix(f"{block}.attn_q.weight", 2 * n, n, gain=2.0)  # with a gate
            _head_norms(shape, w, block)
        else:
            w.norm(f"{block}.attn_norm", n)
            w.matrix(f"{block}.attn_qkv.weight", 2 * n_key + n_value, n)
            w.matrix(f"{block}.attn_gate.weight", n_value, n)
            w.normal(f"{block}.ssm_conv1d.weight", 2 * n_key + n_value, N_CONV, std=1 / np.sqrt(N_CONV))
            w.normal(f"{block}.ssm_dt.bias", N_SSM_HEAD, std=0.5, mean=-3.0)
            w.normal(f"{block}.ssm_a", N_SSM_HEAD, std=0.1, mean=-1.0)
            w.matrix(f"{block}.ssm_ba.weight", 2 * N_SSM_HEAD, n)
            w.norm(f"{block}.ssm_norm", N_STATE)
            w.matrix(f"{block}.ssm_out.weight", n, n_value, gain=2.0)
        w.norm(f"{block}.post_attention_norm", n)
        w.matrix(f"{block}.ffn_gate_inp.weight", N_EXPERT, n)
        w.normal(f"{block}.ffn_gate_inp_shexp.weight", n, std=0.1)
        for name, n_out, n_in in (("gate", shape.n_ff, n), ("up", shape.n_ff, n), ("down", n, shape.n_ff)):
            w.normal(f"{block}.ffn_{name}_exps.weight", N_EXPERT, n_out, n_in, std=1 / np.sqrt(n_in))
            w.matrix(f"{block}.ffn_{name}_shexp.weight", n_out, n_in)


KEYS: dict[str, Callable[[Shape], dict[str, object]]] = {
    "lfm2": _lfm2_keys,
    "jamba": _jamba_keys,
    "granitehybrid": _granite_keys,
    "falcon-h1": _falcon_keys,
    "qwen3next": _qwen3next_keys,
}
TENSORS: dict[str, Callable[[Shape, Weights], None]] = {
    "lfm2": _lfm2_tensors,
    "jamba": _jamba_tensors,
    "granitehybrid": _granite_tensors,
    "falcon-h1": _falcon_tensors,
    "qwen3next": _qwen3next_tensors,
}
