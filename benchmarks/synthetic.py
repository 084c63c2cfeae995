"""Models in the shapes of real ones with random weights: speed depends on shapes and types, not on values."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import tea_llm
from support.tiny_vocab import bpe_vocab


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama; with experts, of a Mixtral-like one."""

    n_layer: int
    n_embd: int
    n_ff: int
    n_head: int
    n_head_kv: int
    n_vocab: int = 128256
    n_expert: int = 0
    n_expert_used: int = 0


SHAPES = {
    "synthetic-1b": Shape(16, 2048, 8192, 32, 8),  # Llama 3.2 1B
    "synthetic-3b": Shape(28, 3072, 8192, 24, 8),  # Llama 3.2 3B
    "synthetic-moe": Shape(12, 1024, 1024, 16, 4, n_vocab=48000, n_expert=16, n_expert_used=4),
}


def synthetic(name: str, file_type: str, directory: Path) -> Path:
    """The file of a model such as ``synthetic-1b`` in ``file_type``; written and quantized once."""
    target = directory / f"{name}.{file_type}.gguf"
    if not target.exists():
        half = directory / f"{name}.f16.gguf"
        if not half.exists():
            part = half.with_suffix(".part")
            _write(SHAPES[name], name, part)
            part.rename(half)
        if file_type != "f16":
            tea_llm.quantize(half, target, file_type)
    return target


def _write(shape: Shape, name: str, path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(8192)
    writer.add_embedding_length(shape.n_embd)
    writer.add_block_count(shape.n_layer)
    writer.add_feed_forward_length(shape.n_ff)
    writer.add_head_count(shape.n_head)
    writer.add_head_count_kv(shape.n_head_kv)
    writer.add_rope_dimension_count(shape.n_embd // shape.n_head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.n_vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    if shape.n_expert:
        writer.add_expert_count(shape.n_expert)
        writer.add_expert_used_count(shape.n_expert_used)
    vocab = bpe_vocab()  # a byte-level one, as Llama 3 has: OpenVINO reads no other
    vocab.pad_to(shape.n_vocab)
    writer.add_tokenizer_model(vocab.model)
    writer.add_tokenizer_pre(str(vocab.keys["pre"]))
    writer.add_token_list(vocab.tokens)
    writer.add_token_types(vocab.types)
    writer.add_token_merges(vocab.keys["merges"])
    end = vocab.keys["eos_token_id"]
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    some = np.random.default_rng(1).standard_normal(1 << 20, dtype=np.float32)

    def add(tensor: str, *dimensions: int) -> None:
        if len(dimensions) == 1:
            writer.add_tensor(tensor, np.ones(dimensions, np.float32))
            return
        scale = np.float32(dimensions[-1] ** -0.5)
        writer.add_tensor(tensor, np.resize((scale * some).astype(np.float16), dimensions))

    n_kv = shape.n_embd // shape.n_head * shape.n_head_kv
    experts = (shape.n_expert,) if shape.n_expert else ()
    suffix = "_exps" if shape.n_expert else ""
    add("token_embd.weight", shape.n_vocab, shape.n_embd)
    add("output_norm.weight", shape.n_embd)
    for layer in range(shape.n_layer):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm.weight", shape.n_embd)
        add(f"{block}.attn_q.weight", shape.n_embd, shape.n_embd)
        add(f"{block}.attn_k.weight", n_kv, shape.n_embd)
        add(f"{block}.attn_v.weight", n_kv, shape.n_embd)
        add(f"{block}.attn_output.weight", shape.n_embd, shape.n_embd)
        add(f"{block}.ffn_norm.weight", shape.n_embd)
        if shape.n_expert:
            add(f"{block}.ffn_gate_inp.weight", shape.n_expert, shape.n_embd)
        add(f"{block}.ffn_gate{suffix}.weight", *experts, shape.n_ff, shape.n_embd)
        add(f"{block}.ffn_up{suffix}.weight", *experts, shape.n_ff, shape.n_embd)
        add(f"{block}.ffn_down{suffix}.weight", *experts, shape.n_embd, shape.n_ff)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
