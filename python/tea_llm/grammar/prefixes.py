"""Merges texts by common prefix: thousands of alternatives in one rule would slow down each token."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["one_of"]


def one_of(texts: Iterable[str], spell: Callable[[str], str], either: Callable[[list[str]], str]) -> str:
    """A GBNF body that matches one of the texts and branches character by character.

    Args:
        texts: at least one text; a text may be a prefix of another.
        spell: returns the GBNF of a text.
        either: combines alternatives into one body.

    Example:
        >>> one_of(["no", "none", "yes"], '"{}"'.format, lambda bodies: "(" + " | ".join(bodies) + ")")
        '("no" ("ne" | "") | "yes")'
    """
    nodes: list[dict[str, int]] = [{}]  # child nodes by character
    ends = set()
    for text in texts:
        node = 0
        for character in text:
            if character not in nodes[node]:
                nodes[node][character] = len(nodes)
                nodes.append({})
            node = nodes[node][character]
        ends.add(node)
    written: list[tuple[str, str]] = [("", "")] * len(nodes)  # for each node a text and the body after it
    for number in range(len(nodes) - 1, -1, -1):  # children have higher numbers
        following = [(character + written[node][0], written[node][1]) for character, node in nodes[number].items()]
        if number in ends:
            following.append(("", ""))
        if len(following) == 1:
            written[number] = following[0]
        else:
            written[number] = "", either([_body(text, rest, spell) for text, rest in following])
    return _body(*written[0], spell)


def _body(text: str, rest: str, spell: Callable[[str], str]) -> str:
    return f"{spell(text)} {rest}".rstrip() if text or not rest else rest
