"""WordPiece as BERT's models were trained with it. llama.cpp's differs: it takes marks away that change a word."""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tea_llm import _core

__all__ = ["WordPiece"]

_MAX_CHARACTERS = 100
_N_WORDS_KEPT = 1 << 16

# Ranges of code points that are younger than the reference's tables (Unicode 8): all are letters to it.
_YOUNG = """
5c8-5c9 61d-61d 7fd-7fd 890-8e2 9fd-9fe a76-a76 afa-aff b53-b55 c04-c3c c77-c77 c84-c84 d00-d00 d3b-d3c d81-d81 eba-eba
ece-ece 180f-1886 1abf-1af0 1b4e-1b4f 1b7d-1b7f 1df6-1dfb 2e43-2e63 a82c-a82c a8c5-a8c5 a8ff-a8ff a9bd-a9bd 10d24-10f89
11070-11074 110c2-110cd 111cf-111cf 1123e-11241 1133b-1133b 113bb-1145e 11660-1166c 116b9-116b9 1182f-11fff 12ff1-13455
1611e-1612f 16d6d-16f4f 16fe2-16fe4 1cf00-1d128 1d25b-1d25c 1e000-1e6f5 1e944-1e95f
"""
_YOUNG_FIRST, _YOUNG_LAST = ([int(pair.split("-")[end], 16) for pair in _YOUNG.split()] for end in (0, 1))
_CHANGED = {"\u166d": "Po", "\u1734": "Mn", "\U000111c9": "Po", "\U0001171e": "Mn"}
"""Categories that later versions of Unicode changed."""


class WordPiece:
    """Text to the token ids of a WordPiece vocabulary. Thread-safe.

    Source: ``BertNormalizer``, ``BertPreTokenizer`` and ``WordPiece`` of Hugging Face's ``tokenizers``, with which
    models are trained and published.

    Args:
        model: with a vocabulary of this kind. It is not kept.
    """

    def __init__(self, model: _core.Model) -> None:
        texts = [text.decode("utf-8", "replace") for text in model.token_texts()]
        self._first = {text[1:]: token for token, text in enumerate(texts) if text.startswith("\u2581")}
        self._later = {text: token for token, text in enumerate(texts) if not text.startswith("\u2581")}
        self._longest = max(map(len, texts), default=0)
        self._unknown = int(model.metadata("tokenizer.ggml.unknown_token_id") or 100)  # BERT's
        ends = model.encode("", add_special=True, parse_special=False)
        n_begin = int(model.adds_bos and model.bos in ends[:1])
        self._begin, self._end = ends[:n_begin], ends[n_begin:]
        self._control = {text.decode("utf-8", "replace"): token for token, text, _, _ in model.control_tokens()}
        self._control_pattern = re.compile("|".join(map(re.escape, sorted(self._control, key=len, reverse=True))))
        self._lowers = model.metadata("tokenizer.ggml.normalizer.lowercase") != b"false"
        strips = model.metadata("tokenizer.ggml.normalizer.strip_accents")
        self._strips_accents = strips == b"true" or (not strips and self._lowers)
        self._apart = _Characters(self._set_apart)
        self._tokens_of = lru_cache(_N_WORDS_KEPT)(self._cut)

    def encode(
        self, text: str, *, add_special: bool, parse_special: bool, check: Callable[[], object] | None = None
    ) -> list[int]:
        """As ``Model.encode``."""
        if check is not None:
            check()  # once: this is Python, and fast
        tokens = list(self._begin) if add_special else []
        position = 0
        for found in self._control_pattern.finditer(text) if parse_special and self._control else ():
            tokens += self._encode(text[position : found.start()])
            tokens.append(self._control[found[0]])
            position = found.end()
        tokens += self._encode(text[position:])
        return tokens + self._end if add_special else tokens

    def _encode(self, text: str) -> list[int]:
        text = text.translate(_CLEAN)
        if self._strips_accents:
            text = unicodedata.normalize("NFD", text)
        return [token for word in text.translate(self._apart).split() for token in self._tokens_of(word)]

    def _set_apart(self, character: str) -> str:
        """A clean text's character without accents, in lower case, and apart if it is punctuation."""
        category = _category(character)
        if self._strips_accents and category == "Mn":
            return ""
        if self._lowers:
            character = character.lower()
        is_ascii_symbol = character.isascii() and character.isprintable() and not character.isalnum()
        return f" {character} " if is_ascii_symbol or category.startswith("P") else character

    def _cut(self, word: str) -> tuple[int, ...]:
        """The longest pieces that there are, from the left."""
        tokens: list[int] = []
        begin = 0
        pieces = self._first
        while begin < len(word) <= _MAX_CHARACTERS:
            ends = range(min(len(word), begin + self._longest), begin, -1)
            end = next((end for end in ends if word[begin:end] in pieces), begin)
            if end == begin:
                break
            tokens.append(pieces[word[begin:end]])
            begin, pieces = end, self._later
        return tuple(tokens) if begin == len(word) else (self._unknown,)


class _Characters(dict[int, str]):
    """What ``str.translate`` makes of each character, by a rule that is asked once for each."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        return self.setdefault(code, self._rule(chr(code)))


def _clean(character: str) -> str:
    """White space becomes a space, control characters go, and ideographs are words of their own."""
    code = ord(character)
    category = _category(character)
    if category.startswith("Z") or character in "\t\n\r":
        return " "
    if category in ("Cc", "Cf", "Co") or character == "\ufffd":
        return ""
    is_ideograph = 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2A6DF
    is_ideograph = is_ideograph or 0x2A700 <= code <= 0x2B81F or 0x2B920 <= code <= 0x2CEAF
    is_ideograph = is_ideograph or 0xF900 <= code <= 0xFAFF or 0x2F800 <= code <= 0x2FA1F
    return f" {character} " if is_ideograph else character


_CLEAN = _Characters(_clean)


def _category(character: str) -> str:
    """The general category in Unicode 8; of younger characters ``"Lo"``, as good as any letter's."""
    index = bisect.bisect_right(_YOUNG_FIRST, ord(character)) - 1
    if index >= 0 and ord(character) <= _YOUNG_LAST[index]:
        return "Lo"
    return _CHANGED.get(character) or unicodedata.category(character)
