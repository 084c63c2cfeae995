"""Nodes that read values of arguments where llama.cpp's parsers read less than templates write.

Where a parameter takes texts and other values, most parsers of llama.cpp read texts alone; and what is in MiniMax M3's
elements is read only if the schema names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from tea_llm.answers.parser_nodes import Nodes
from tea_llm.grammar.characters import char_set, complement

__all__ = ["json_begin", "json_or", "json_value", "python_text", "read_elements"]

_PLACE = re.compile(r"-(teainner\d{5}e(?:-item)*)$")
_KIMI_TYPE_END = "<|sep|>"
_DEEPSEEK_TYPES = ('string="true"', 'string="false"')
_ALL = ("array", "boolean", "null", "number", "object", "string")
_DIGITS = ((ord("0"), ord("9")),)
_HEXADECIMAL = char_set((ord(first), ord(last)) for first, last in ("09", "AF", "af"))


def json_value(nodes: Nodes, kinds: Collection[str]) -> int:
    """A value of some types, as JSON or as Python shows it.

    Args:
        nodes: of the parser, where it is put.
        kinds: JSON schema's names of types; for ``"string"`` there is nothing.

    Returns:
        Index of its node.
    """
    value = nodes.add("choice", children=_json(nodes, kinds))
    return nodes.add("tag", tag="tool-arg-value", child=value)


def json_or(nodes: Nodes, text: int, kinds: Collection[str], close: int, *, closes: bool) -> int:
    """JSON where all up to the mark that ends an argument is JSON of some types; otherwise a text.

    Args:
        nodes: of the parser.
        text: node of the text.
        kinds: as in ``json_value``.
        close: node of the mark.
        closes: the text's node holds it.
    """
    end = close if closes else nodes.add("and", child=close)
    json = nodes.add("sequence", children=[json_value(nodes, kinds), end])
    return nodes.add("choice", children=[nodes.add("atomic", child=json), text])


def json_begin(nodes: Nodes, begin: Sequence[int], kinds: Collection[str]) -> list[int]:
    """The beginning of an argument that says that its value is JSON; empty: arguments do not say that.

    Args:
        nodes: of the parser.
        begin: nodes of the beginning of an argument that is a text.
        kinds: as in ``json_value``.
    """
    words = {*kinds, *(("integer", "number") if {"integer", "number"} & set(kinds) else ())}
    types = [nodes.add("literal", literal=f' type="{word}"') for word in sorted(words)]
    told = [
        nodes.add("choice", children=types)
        if nodes[part].get("delimiters") == [_KIMI_TYPE_END]
        else _copied(nodes, part, *_DEEPSEEK_TYPES)
        for part in begin
    ]
    return told if kinds and any(nodes[new] != nodes[old] for new, old in zip(told, begin, strict=True)) else []


def _copied(nodes: Nodes, index: int, literal: str, other: str) -> int:
    """The same node with another text in a literal below it; itself if it has none such."""
    node = dict(nodes[index])
    if literal in node.get("literal", ""):
        return nodes.add(**{"kind": node.pop("type"), **node, "literal": node["literal"].replace(literal, other)})
    before = nodes.children(index)
    after = [_copied(nodes, child, literal, other) for child in before]
    if before == after:
        return index
    changed = {"children": after} if "children" in node else {"child": after[0]}
    return nodes.add(**{"kind": node.pop("type"), **node, **changed})


def read_elements(nodes: Nodes, rule: int, kinds: Mapping[str, Collection[str]], mark: str) -> None:
    """Reads what is in MiniMax M3's elements where the schema does not say how it is written.

    Args:
        nodes: of the parser.
        rule: of a function.
        kinds: types of such values, by the ends of their rules' names.
        mark: what each tag begins with.
    """
    for index in nodes.inside(rule):
        place = _PLACE.search(nodes[index].get("name", ""))
        found = set(kinds.get(place[1], ())) if place else set()
        if not found & {"array", "object"} and ("string" not in found or len(found) == 1):
            continue
        (tag,) = nodes.tagged(index, "tool-arg-value", "tool-arg-string-value")
        value = _element_value(nodes, found, mark)
        if not nodes.is_tag(tag, "tool-arg-value"):
            nodes.replace(tag, "sequence", children=[value])
            continue
        nodes.wrap(tag, "sequence")
        json = nodes[tag].pop("child")
        end = nodes.add("and", child=nodes.add("literal", literal=mark))
        nodes.replace(tag, "choice", children=[nodes.add("sequence", children=[json, end]), value])


def python_text(nodes: Nodes, quote: str) -> int:
    """A text as Python shows it: with escapes that JSON has not."""
    parts = [nodes.chars(complement(char_set((ord(one), ord(one)) for one in ("\\", quote))))]
    parts += [nodes.add("literal", literal=f"\\{mark}") for mark in "\\'\"/bfnrt"]
    for escape, digits in ((r"\x", 2), (r"\u", 4), (r"\U000", 5), (r"\U0010", 4)):
        children = [nodes.add("literal", literal=escape), nodes.chars(_HEXADECIMAL, count=digits)]
        parts.append(nodes.add("sequence", children=children))
    begin, end = (nodes.add("literal", literal=quote) for _ in range(2))
    return nodes.add("sequence", children=[begin, nodes.some(nodes.add("choice", children=parts)), end])


def _scalars(nodes: Nodes, kinds: Collection[str]) -> list[int]:
    words = {"boolean": ("true", "false", "True", "False"), "null": ("null", "None")}
    found = [nodes.add("literal", literal=one) for kind in words if kind in kinds for one in words[kind]]
    return [*found, _rule(nodes, "number", _number)] if {"integer", "number"} & set(kinds) else found


def _number(nodes: Nodes) -> int:
    def maybe(*children: int) -> int:
        return nodes.some(nodes.add("sequence", children=list(children)), max_count=1)

    def one_of(*literals: str) -> int:
        return nodes.add("choice", children=[nodes.add("literal", literal=literal) for literal in literals])

    digit, sign = nodes.chars(_DIGITS), one_of("-")
    digits = nodes.some(digit, min_count=1)
    whole = nodes.add("choice", children=[one_of("0"), digits])  # a number does not go on behind 0: the rest fails
    fraction = maybe(one_of("."), digits)
    exponent = maybe(one_of("e", "E"), maybe(one_of("+", "-")), digits)
    return nodes.add("sequence", children=[maybe(sign), whole, fraction, exponent])


def _json(nodes: Nodes, kinds: Collection[str]) -> list[int]:
    containers = {"object": _object, "array": _array}
    found = [_rule(nodes, kind, make) for kind, make in containers.items() if kind in kinds]
    return [*found, *_scalars(nodes, kinds)]


def _object(nodes: Nodes) -> int:
    colon = nodes.add("literal", literal=":")
    space = nodes.add("space")
    return _list(nodes, "{}", [_rule(nodes, "text", _text), space, colon, space, _rule(nodes, "value", _value)])


def _array(nodes: Nodes) -> int:
    return _list(nodes, "[]", [_rule(nodes, "value", _value)])


def _list(nodes: Nodes, brackets: str, member: list[int]) -> int:
    begin, end, comma = (nodes.add("literal", literal=literal) for literal in (*brackets, ","))
    space = nodes.add("space")
    more = nodes.some(nodes.add("sequence", children=[space, comma, space, *member]))
    members = nodes.some(nodes.add("sequence", children=[*member, more, space]), max_count=1)
    return nodes.add("sequence", children=[begin, space, members, end])


def _text(nodes: Nodes) -> int:
    return nodes.add("choice", children=[python_text(nodes, quote) for quote in "\"'"])


def _value(nodes: Nodes) -> int:
    return nodes.add("choice", children=[*_json(nodes, _ALL), _rule(nodes, "text", _text)])


def _rule(nodes: Nodes, name: str, make: Callable[[Nodes], int]) -> int:
    """Index of what refers to a rule, which is made once and may hold itself."""
    rule = f"tea-{name}"
    if rule not in nodes.rules:
        nodes.rules[rule] = -1  # while it is made
        nodes.rule(rule, make(nodes))
    return nodes.add("ref", name=rule)


def _element_value(nodes: Nodes, kinds: Collection[str], mark: str) -> int:
    """A value up to the mark that ends it."""
    end = nodes.add("and", child=nodes.add("literal", literal=mark))
    space = nodes.add("space")

    def up_to_end(tag: str, *children: int) -> int:
        value = nodes.add("tag", tag=tag, child=children[0])
        return nodes.add("atomic", child=nodes.add("sequence", children=[value, *children[1:], end]))

    is_text = "string" in kinds
    scalars = _scalars(nodes, kinds)
    choices = [up_to_end("tool-arg-value", nodes.add("choice", children=scalars))] if scalars else []
    for kind, element in (("array", _item), ("object", _member)):
        if kind in kinds:
            inner = nodes.add("sequence", children=[space, _rule(nodes, f"in-{kind}", partial(element, mark=mark))])
            min_count = 1 if is_text or (kind == "array" and "object" in kinds) else 0
            elements = nodes.some(inner, min_count=min_count)
            if kind == "object" and "array" in kinds:  # the first one tells: nothing is read twice
                is_array = nodes.add("sequence", children=[space, nodes.add("literal", literal=f"{mark}<item>")])
                elements = nodes.add("sequence", children=[nodes.add("not", child=is_array), elements])
            choices.append(up_to_end(f"tool-arg-{kind}", elements, space))
    if is_text:
        choices.append(nodes.add("tag", tag="tool-arg-string-value", child=nodes.add("until", delimiters=[mark])))
    return nodes.add("choice", children=choices)


def _item(nodes: Nodes, mark: str) -> int:
    return _element(nodes, mark, "tool-arg-item", nodes.add("literal", literal="item"))


def _member(nodes: Nodes, mark: str) -> int:
    name = nodes.add("until", delimiters=[">"])
    return _element(nodes, mark, "tool-arg", nodes.add("tag", tag="tool-arg-name", child=name))


def _element(nodes: Nodes, mark: str, tag: str, name: int) -> int:
    begin, end, after = (nodes.add("literal", literal=literal) for literal in (f"{mark}<", f"{mark}</", ">"))
    begins_end = nodes.add("not", child=end)
    value = _element_value(nodes, _ALL, mark)  # llama.cpp finds it in no rule of its own
    close = nodes.add("sequence", children=[end, nodes.add("until", delimiters=[">"]), after])
    close = nodes.add("tag", tag="tool-arg-close", child=close)
    return nodes.add(
        "tag", tag=tag, child=nodes.add("sequence", children=[begins_end, begin, name, after, value, close])
    )
