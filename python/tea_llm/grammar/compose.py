"""Grammars put together from others."""

from __future__ import annotations

import re

from tea_llm.grammar.characters import quoted

__all__ = ["prefixed", "through"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|#[^\n]*|(?P<rule>[A-Za-z][\w-]*)', re.ASCII | re.DOTALL)


def prefixed(gbnf: str, prefix: str) -> str:
    """The same grammar with ``prefix`` before the name of each rule.

    Example:
        >>> prefixed('root ::= "a" b\\nb ::= [b]', "x-")
        'x-root ::= "a" x-b\\nx-b ::= [b]'
    """
    return _TOKEN.sub(lambda match: match[0] if match["rule"] is None else prefix + match[0], gbnf)


def through(name: str, word: str) -> str:
    """Rules for any text up to the first ``word``, and that; ``name`` is the first one.

    Example:
        >>> print(through("x", "ab"))
        x ::= [a] x-1 | [^a] x
        x-1 ::= [b] | [a] x-1 | [^ba] x
    """
    return "\n".join(_state(name, word, length) for length in range(len(word)))


def _state(name: str, word: str, length: int) -> str:
    """The rule for when the text ends with the first ``length`` characters of ``word`` (Knuth, Morris, Pratt)."""
    alternatives: list[str] = []
    leading = [word[length]]
    for character in [word[length], *dict.fromkeys(word)]:
        if character in leading and len(alternatives) > 0:
            continue
        text = word[:length] + character
        n = next(n for n in range(len(text), -1, -1) if text.endswith(word[:n]))
        if n:
            leading.append(character)
            alternatives.append(f"[{_escaped(character)}]" + ("" if n == len(word) else f" {_name(name, n)}"))
    others = "".join(map(_escaped, dict.fromkeys(leading)))
    return f"{_name(name, length)} ::= {' | '.join([*alternatives, f'[^{others}] {name}'])}"


def _name(name: str, length: int) -> str:
    return f"{name}-{length}" if length else name


def _escaped(character: str) -> str:
    escaped = quoted(character)[1:-1]
    return f"\\{character}" if character in "^]-[" else escaped
