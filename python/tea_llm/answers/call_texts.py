"""Texts around calls: what the grammar of an answer takes for text must not be a call to the parser.

A call that the grammar takes for text would not be held to anything; one that only the grammar takes would be lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tea_llm.answers.parser_nodes import Nodes
from tea_llm.grammar.characters import in_text
from tea_llm.grammar.compose import excluding
from tea_llm.grammar.language import automaton_rules, except_for
from tea_llm.grammar.regex import regex_language

__all__ = ["CallTexts"]

_FUNCTIONARY_MARK = ">>>"


class CallTexts:
    """Changes the nodes of a parser so that its grammar tells texts from calls as the parser does.

    Args:
        nodes: of the parser.
        names: of the functions.

    Attributes:
        rules: that the grammar needs.
    """

    def __init__(self, nodes: Nodes, names: Sequence[str]) -> None:
        self.rules: list[str] = []
        self._nodes = nodes
        self._names = names

    def part(self) -> None:
        """Changes what needs no knowledge of single calls."""
        self._part_texts()
        self._join_calls()
        self._separate_calls()

    def keep_calls_out(self) -> bool:
        """Keeps calls that are JSON without a mark out of the text before them; False: the form is another one."""
        texts = [index for index, ends in self._texts("content") if ends == {"{"}]
        if not texts:
            return False
        names = "|".join(map(re.escape, self._names))
        call = rf'\{{\s*("type"\s*:\s*"function"\s*,\s*)?"name"\s*:\s*"({names})"'
        rules = automaton_rules(except_for(regex_language(call, is_search=True)), in_text, "call-text-")
        self.rules += [f"{name} ::= {body}" for name, body in rules.items()]
        for index in texts:
            self._put_rule(index, "call-text-0")
        return True

    def end_with_space(self, rule: int) -> None:
        """Reads a call's end behind white space, where the grammar allows that and llama.cpp's parser does not."""
        for tag in self._nodes.tagged(rule, "tool-close"):
            ahead = self._nodes[self._nodes[tag]["child"]]
            if ahead["type"] == "and" and self._nodes[ahead["child"]]["type"] == "literal":
                ahead["child"] = self._nodes.add("sequence", children=[self._nodes.add("space"), ahead["child"]])

    def _part_texts(self) -> None:
        """Keeps calls out of texts beside each other, where llama.cpp's grammar may take one for the end of the first
        and the beginning of the second: they would not be held to anything."""
        thoughts, contents = self._texts("reasoning"), self._texts("content")
        marks = {mark for _, ends in thoughts for mark in ends if any(mark in others for _, others in contents)}
        scan = self._nodes.rules.get("scan-to-toolcall")  # Gemma 4's texts and thoughts follow each other
        if scan is not None:
            marks |= set(self._nodes[self._nodes[scan]["child"]]["delimiters"])
            self._hold_text(scan, None)
        for index, ends in contents:
            if marks and not marks & ends:  # behind the calls
                self._hold_text(index, ends | marks if self._is_in_calls(index) else None)
        for index, ends in [*thoughts, *(contents if scan is not None else ())]:
            if marks & ends:
                self._hold_text(index, ends, unbegun=marks)

    def _texts(self, tag: str) -> list[tuple[int, set[str]]]:
        """The texts of a kind that end before one of some marks: their nodes and the marks."""
        return [
            (index, set(self._nodes[node["child"]]["delimiters"]))
            for index, node in enumerate(self._nodes)
            if node.get("tag") == tag and self._nodes[node["child"]]["type"] == "until"
        ]

    def _is_in_calls(self, index: int) -> bool:
        triggers = [rule for rule in self._nodes.rules.values() if self._nodes[rule].get("trigger")]
        return any(index in self._nodes.inside(trigger) for trigger in triggers)

    def _hold_text(self, tag: int, words: Iterable[str] | None, unbegun: Iterable[str] = ()) -> None:
        """Gives a text rules of its own in the grammar: as ``excluding``; None: there is no text."""
        name = f"call-text-{tag}"
        self.rules.append(f'{name} ::= ""' if words is None else excluding(name, words, unbegun))
        self._put_rule(tag, name)

    def _put_rule(self, tag: int, name: str) -> None:
        self._nodes[tag]["child"] = self._nodes.add("gbnf", child=self._nodes[tag]["child"], grammar=name)

    def _join_calls(self) -> None:
        """Leaves one rule for all calls of an answer: llama.cpp's grammar of calls would take a part of it as well."""
        for index in self._nodes.rules.values():
            if self._nodes[index]["trigger"]:
                for inner in self._nodes.inside(index)[1:]:
                    if "trigger" in self._nodes[inner]:
                        self._nodes[inner]["trigger"] = False

    def _separate_calls(self) -> None:
        """Puts functionary's mark before each call behind another one or a text, as its template does."""
        calls = self._nodes.rules.get("tools")
        if calls is None or not any(node.get("delimiters") == [_FUNCTIONARY_MARK] for node in self._nodes):
            return
        calls_in_text = [f"{_FUNCTIONARY_MARK}{name}\n" for name in self._names]
        for index, ends in self._texts("content"):
            self._hold_text(index, ends or calls_in_text, unbegun=ends)
        for node in list(self._nodes):
            if node["type"] == "sequence" and calls in node["children"][1:]:
                place = node["children"].index(calls)
                node["children"].insert(place, self._nodes.add("literal", literal=_FUNCTIONARY_MARK))
        first = self._nodes[self._nodes[calls]["child"]]["child"]
        more = self._nodes.add("sequence", children=[self._nodes.add("literal", literal=_FUNCTIONARY_MARK), first])
        rest = self._nodes.add("repetition", child=more, min_count=0, max_count=-1)
        self._nodes[calls]["child"] = self._nodes.add("sequence", children=[first, rest])
