"""Builds grammars from other grammars."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tea_llm.grammar.characters import quoted

__all__ = ["excluding", "needed", "prefixed", "through"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|#[^\n]*|(?P<rule>[A-Za-z][\w-]*)', re.ASCII | re.DOTALL)


def prefixed(gbnf: str, prefix: str) -> str:
    """The same grammar with ``prefix`` before each rule name.

    Example:
        >>> prefixed('root ::= "a" b\\nb ::= [b]', "x-")
        'x-root ::= "a" x-b\\nx-b ::= [b]'
    """
    return _TOKEN.sub(lambda match: match[0] if match["rule"] is None else prefix + match[0], gbnf)


def through(name: str, word: str) -> str:
    """Rules for any text that ends with the first ``word``; the first rule is ``name``.

    Example:
        >>> print(through("x", "ab"))
        x ::= [a] x-1 | [^a] x
        x-1 ::= [b] | [a] x-1 | [^ba] x
    """
    return "\n".join(_state(name, word, length) for length in range(len(word)))


def needed(gbnf: str) -> str:
    """The same grammar without the rules that its root does not reach, one rule per line.

    Example:
        >>> needed("root ::= [a] | root [b]\\nc ::= root")
        'root ::= [a] | root [b]\\n'
    """
    rules = dict(line.split(" ::= ", 1) for line in gbnf.splitlines() if line)
    found = ["root"]
    for name in found:  # the list grows during the loop
        used = {match["rule"] for match in _TOKEN.finditer(rules[name])}
        found += sorted(one for one in used if one is not None and one not in found)
    return "".join(f"{name} ::= {rules[name]}\n" for name in found)


def excluding(name: str, words: Iterable[str], unbegun: Iterable[str] = ()) -> str:
    """Rules for any text that contains none of the words; the first rule is ``name``.

    Args:
        name: name of the first rule and prefix of the other names.
        words: non-empty texts.
        unbegun: words whose beginnings may not end a text either.

    Example:
        >>> print(excluding("x", ["ab"], ["ab"]))
        x ::= "" | [a] x-1 | [^a] x
        x-1 ::= [a] x-1 | [^ab] x
    """
    words = sorted(set(words))
    states = sorted(sorted({word[:length] for word in words for length in range(len(word))}), key=len)
    names = {state: _name(name, number) for number, state in enumerate(states)}
    begun = {word[:length] for word in unbegun for length in range(1, len(word))}
    rules = []
    for state in states:
        targets: dict[str, list[str]] = {}
        known = dict.fromkeys(word[0] for word in words) | dict.fromkeys(
            word[len(end)] for end in _ends(state) for word in words if word.startswith(end) and word != end
        )
        for character in known:
            text = state + character
            if not any(text.endswith(word) for word in words):
                target = next(end for end in _ends(text) if end in names)
                targets.setdefault(names[target], []).append(character)
        bodies = [] if begun.intersection(_ends(state)) else ['""']
        bodies += [f"[{_joined(characters)}] {target}" for target, characters in targets.items()]
        rules.append(f"{names[state]} ::= {' | '.join([*bodies, f'[^{_joined(known)}] {name}'])}")
    return "\n".join(rules)


def _ends(text: str) -> list[str]:
    """All suffixes of a text, longest first."""
    return [text[begin:] for begin in range(len(text) + 1)]


def _joined(characters: Iterable[str]) -> str:
    return "".join(map(_escaped, characters))


def _state(name: str, word: str, length: int) -> str:
    """The rule for a text that ends with the first ``length`` characters of ``word`` (Knuth, Morris, Pratt)."""
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
