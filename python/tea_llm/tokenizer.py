"""``Tokenizer``: the vocabulary of a model file."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from tea_llm._check import check_text
from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.paths import explicit_model_path

__all__ = ["Encode", "Tokenizer", "encoder_of"]


class Tokenizer:
    """Converts text to token ids and back, with the vocabulary of a GGUF file. Does not read weights. Thread-safe.

    Args:
        path: path of a model file, or of a file with only a vocabulary.

    Raises:
        ModelNotFoundError: the file does not exist.
        ModelLoadError: llama.cpp cannot read the file.

    Example:
        >>> tokenizer = Tokenizer(path)  # doctest: +SKIP
        >>> tokenizer.decode(tokenizer.encode("Hello"))  # doctest: +SKIP
        'Hello'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._model = _core.Model.load(os.fsencode(explicit_model_path(path)), vocab_only=True)
        finally:
            forward_native_log()
        self._encode = encoder_of(self._model)

    @property
    def n_vocab(self) -> int:
        """Number of tokens; ids are 0 to ``n_vocab - 1``."""
        return self._model.n_vocab

    def encode(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The token ids of a text.

        Args:
            text: any text.
            add_special: add BOS and EOS tokens, as the model expects them.
            parse_special: convert texts of control tokens, such as ``<|im_end|>``, to those tokens.

        Raises:
            TypeError: ``text`` is not a string.
            ValueError: ``text`` contains a lone surrogate.
            InferenceError: llama.cpp cannot tokenize it.
        """
        return self._encode(check_text("text", text), add_special=bool(add_special), parse_special=bool(parse_special))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, the inverse of ``encode``. Invalid UTF-8 becomes U+FFFD.

        Raises:
            TypeError: an id is not an integer.
            ValueError: an id is not in the vocabulary.
        """
        return decode(self._model, tokens)

    def __repr__(self) -> str:
        return f"Tokenizer(n_vocab={self.n_vocab})"


class Encode(Protocol):
    """``Tokenizer.encode`` for a checked text. ``check`` is called regularly, and may raise."""

    def __call__(
        self, text: str, *, add_special: bool, parse_special: bool, check: Callable[[], object] | None = None
    ) -> list[int]: ...


def encoder_of(model: _core.Model) -> Encode:
    """The encoder of a loaded model: llama.cpp's, or our own if llama.cpp's differs from the reference."""
    if model.metadata("tokenizer.ggml.model") != b"bert":
        return model.encode
    from tea_llm.wordpiece import WordPiece

    return WordPiece(model).encode


def decode(model: _core.Model, tokens: Sequence[int]) -> str:
    """``Tokenizer.decode`` for a loaded model."""
    return model.decode(check_tokens(model, tokens)).decode("utf-8", "replace")


def check_tokens(model: _core.Model, tokens: Sequence[int]) -> list[int]:
    """Token ids as a list of ints.

    Raises:
        TypeError: the ids are not a sequence of integers.
        ValueError: an id is not in the vocabulary.
    """
    if isinstance(tokens, (str, bytes)):
        raise TypeError(f"tokens must be a list of integers, not {type(tokens).__name__}")
    checked = []
    for index, token in enumerate(tokens):
        try:
            number = operator.index(token)
        except TypeError:
            raise TypeError(f"tokens[{index}] must be an integer, not {type(token).__name__} ({token!r})") from None
        if not 0 <= number < model.n_vocab:
            raise ValueError(f"tokens[{index}]={number} is not in the vocabulary: ids are 0 to {model.n_vocab - 1}")
        checked.append(number)
    return checked
