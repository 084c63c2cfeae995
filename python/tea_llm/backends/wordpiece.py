"""What llama.cpp's WordPiece does not do as the reference does."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["with_hangul_apart", "without_long_words"]

_MOST_CHARACTERS = 100
_SYLLABLES = re.compile("[\uac00-\ud7a3]+")
_LONG = re.compile(rf"[^\s]{{{_MOST_CHARACTERS + 1},}}")


def with_hangul_apart(text: str) -> str:
    """The text with its Korean syllables as their letters: part of the reference's NFD, and not of llama.cpp's.

    Example:
        >>> len(with_hangul_apart("\\uc11c\\uc6b8"))
        5
    """
    return _SYLLABLES.sub(lambda found: unicodedata.normalize("NFD", found[0]), text)


def without_long_words(text: str) -> list[str]:
    """The texts between words of more than 100 characters, which the reference takes as one unknown token each.

    Source: ``max_input_chars_per_word`` of transformers' ``WordpieceTokenizer``, behind its ``BasicTokenizer``, which
    parts words at white space, at punctuation and around CJK characters.

    Example:
        >>> without_long_words("a " + "b" * 101 + ", c")
        ['a ', ', c']
    """
    pieces = [""]
    position = 0
    for run in _LONG.finditer(text):  # few texts have any
        begin = run.start()
        for end in range(run.start(), run.end() + 1):
            if end == run.end() or _parts_words(text[end]):
                if _length(text[begin:end]) > _MOST_CHARACTERS:
                    pieces[-1] += text[position:begin]
                    pieces.append("")
                    position = end
                begin = end + 1
    pieces[-1] += text[position:]
    return pieces


def _length(word: str) -> int:
    """As the reference counts, which has taken accents and control characters away before."""
    plain = unicodedata.normalize("NFD", word.lower())
    return sum(unicodedata.category(character) not in ("Mn", "Cc", "Cf") for character in plain)


def _parts_words(character: str) -> bool:
    code = ord(character)
    is_ascii_symbol = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    is_cjk = 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2CEAF
    is_cjk = is_cjk or 0xF900 <= code <= 0xFAFF or 0x2F800 <= code <= 0x2FA1F
    return is_ascii_symbol or is_cjk or unicodedata.category(character).startswith("P")
