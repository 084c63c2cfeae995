"""Mends llama.cpp's parsers where they do not read what the template itself writes.

Its analysis of a template sees one call where two would tell, or takes an id of its own for a part of the form.
"""

from __future__ import annotations

import re

from tea_llm._native import _core
from tea_llm.answers.argument_values import python_text
from tea_llm.answers.parser_nodes import Nodes

__all__ = ["repaired"]

_MADE_UP_ID = re.compile(r"call0000\d")
_SOLAR_CONTENT, _SOLAR_THOUGHT = "<|content|>", "<|think|>"


def repaired(native: _core.AnswerFormat) -> _core.AnswerFormat:
    """The format with a parser that reads more, or the format itself."""
    nodes = Nodes(native.parser)
    repairs = [_free_ids(nodes), _separate_ids(nodes), _join_calls(nodes), _begin_text(nodes, native.generation_prompt)]
    repairs += [_read_python(nodes), _end_cdata(nodes)]
    if _SOLAR_CONTENT in native.markers:
        repairs.append(_begin_solar(nodes, native.generation_prompt))
    return native.with_parser(nodes.saved) if any(repairs) else native


def _free_ids(nodes: Nodes) -> bool:
    """Solar's calls begin with an id: any, where llama.cpp waits for the one that it rendered."""
    found = [index for index, node in enumerate(nodes) if _MADE_UP_ID.search(node.get("literal", ""))]
    for index in found:
        before, after = _MADE_UP_ID.split(nodes[index]["literal"], maxsplit=1)
        child = nodes.add("tag", tag="tool-id", child=nodes.add("until", delimiters=[after]))
        children = [nodes.add("literal", literal=before), child, nodes.add("literal", literal=after)]
        nodes.replace(index, "sequence", children=children)
    return bool(found)


def _separate_ids(nodes: Nodes) -> bool:
    """Mistral's calls have an id between name and arguments; llama.cpp has the mark of the arguments before it, too."""
    marks: set[int] = set()
    for rule in nodes.rules.values():
        opened = {inner for tag in nodes.tagged(rule, "tool-open") for inner in nodes.inside(tag)}
        ids = [nodes[tag]["child"] for tag in nodes.tagged(rule, "tool-id") if tag not in opened]
        ends = {end for child in ids for end in nodes[child].get("delimiters", ())}
        marks |= {index for index in opened if nodes[index].get("literal") in ends}
    for index in marks:
        nodes.replace(index, "epsilon")
    return bool(marks)


def _join_calls(nodes: Nodes) -> bool:
    """Several calls in a row need no comma, where they are in no list: llama.cpp has made it up."""
    lists = [index for index, node in enumerate(nodes) if node["type"] == "sequence" and _is_list(nodes, index)]
    in_lists = {inner for index in lists for inner in nodes.inside(index)}
    changed = False
    for index, node in enumerate(list(nodes)):
        more = nodes[node["child"]] if node["type"] == "repetition" else {}
        if index in in_lists or more.get("type") != "sequence" or not nodes.tagged(more["children"][-1], "tool-name"):
            continue
        for place, child in enumerate(more["children"]):
            if nodes[child].get("literal") in (",", ", "):
                more["children"][place] = nodes.add("repetition", child=child, min_count=0, max_count=1)
                changed = True
    return changed


def _is_list(nodes: Nodes, sequence: int) -> bool:
    return any(nodes[child].get("literal", "").rstrip().endswith("[") for child in nodes.children(sequence))


def _begin_text(nodes: Nodes, prompt: str) -> bool:
    """Command R+ may write a text before its calls; llama.cpp waits for the mark of texts, which the prompt has."""
    calls = [index for index in nodes.rules.values() if nodes[index]["trigger"]]
    found = False
    for node in list(nodes):
        children = node.get("children", ())
        if not calls or len(children) != 3 or not nodes.is_tag(children[1], "content"):
            continue
        begin, text, end = children
        mark = nodes[begin].get("literal", "")
        if not mark.strip() or not prompt.endswith(mark):
            continue
        found = True
        nodes.replace(begin, "epsilon")
        nodes[nodes[text]["child"]]["delimiters"].append(nodes.literal(calls[0]))
        nodes.wrap(end, "repetition", min_count=0, max_count=1)
    return found


def _read_python(nodes: Nodes) -> bool:
    """Templates with arguments one by one write values as Python shows them: llama.cpp makes JSON of what is read."""
    if not any(node.get("tag") == "tool-arg-value" or node.get("name") == "gemma4-null" for node in nodes):
        return False
    for rule, words in (("json-bool", ("True", "False")), ("json-null", ("None",))):
        if rule in nodes.rules:
            _or_else(nodes, rule, *(nodes.add("literal", literal=word) for word in words))
    for rule in ("json-string", "python-string"):
        if rule in nodes.rules:
            _or_else(nodes, rule, *(python_text(nodes, quote) for quote in "\"'"))
    return True


def _or_else(nodes: Nodes, rule: str, *more: int) -> None:
    node = nodes[nodes.rules[rule]]
    node["child"] = nodes.add("choice", children=[node["child"], *more])


def _end_cdata(nodes: Nodes) -> bool:
    """MiniCPM5 ends a text that it quotes with two marks; the first one alone may be a part of it."""
    texts = [node for node in nodes if node.get("delimiters") == ["]]>"] and node["type"] == "until"]
    for node in texts:
        node["delimiters"] = ["]]></param>"]
    return bool(texts)


def _begin_solar(nodes: Nodes, prompt: str) -> bool:
    """Solar marks texts and thoughts at their beginning."""
    thought = nodes.add("tag", tag="reasoning", child=nodes.add("until", delimiters=["<|end|>"]))
    marks = [_SOLAR_THOUGHT, "<|end|>", "<|begin|>assistant"]
    begin, *ends = (nodes.add("literal", literal=mark) for mark in marks)
    parts = [nodes.add("sequence", children=[begin, thought, *ends]), nodes.add("literal", literal=_SOLAR_CONTENT)]
    optional = [nodes.add("repetition", child=part, min_count=0, max_count=1) for part in parts]
    nodes.root = nodes.add("sequence", children=[nodes.add("literal", literal=prompt), *optional, nodes.root])
    return True
