"""The BERT network in numpy: what the engine's vectors and scores are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class ReferenceBert:
    """A BERT of a GGUF file with F32 tensors.

    Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2018), with the normalization behind
    each half of a block, and token type 0 for all tokens, as llama.cpp has it.
    """

    def __init__(self, path: Path, *, n_head: int = 4, epsilon: float = 1e-12) -> None:
        self._tensors: dict[str, Array] = {
            one.name: np.array(one.data, np.float64) for one in gguf.GGUFReader(path).tensors
        }
        self._n_layer = len({name.split(".")[1] for name in self._tensors if name.startswith("blk.")})
        self._n_head = n_head
        self._epsilon = epsilon

    def hidden(self, tokens: Sequence[int]) -> Array:
        """Shape (tokens, n_embd): the last layer's output."""
        get = self._tensors
        ids = np.asarray(tokens)
        x = get["token_embd.weight"][ids] + get["token_types.weight"][0] + get["position_embd.weight"][: len(ids)]
        x = self._norm("token_embd_norm", x)
        for layer in range(self._n_layer):
            block = f"blk.{layer}"
            attended = self._linear(f"{block}.attn_output", self._attention(block, x))
            x = self._norm(f"{block}.attn_output_norm", x + attended)
            inner = _gelu(self._linear(f"{block}.ffn_up", x))
            x = self._norm(f"{block}.layer_output_norm", x + self._linear(f"{block}.ffn_down", inner))
        return x

    def score(self, tokens: Sequence[int]) -> float:
        """What the classifier makes of the first token."""
        pooled = np.tanh(self._linear("cls", self.hidden(tokens)[:1]))
        return float(self._linear("cls.output", pooled)[0, 0])

    def _attention(self, block: str, x: Array) -> Array:
        q, k, v = (
            self._linear(f"{block}.attn_{name}", x).reshape(len(x), self._n_head, -1).transpose(1, 0, 2)
            for name in "qkv"
        )
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        mixed: Array = (weights @ v).transpose(1, 0, 2).reshape(len(x), -1)
        return mixed

    def _linear(self, name: str, x: Array) -> Array:
        y: Array = x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]
        return y

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._epsilon)
        y: Array = scaled * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]
        return y


def _gelu(x: Array) -> Array:
    y: Array = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return y
