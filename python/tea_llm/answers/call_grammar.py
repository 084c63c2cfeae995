"""Grammars of function calls in every format: names that cannot collide, arguments that fit their schemas.

llama.cpp is asked about neutral functions, whose names and parameters occur nowhere else. In the nodes of the parser
that it gives they are found again: they get the real names, and for the grammar our own rules of their arguments. In
all forms llama.cpp marks names, arguments and values with the same tags.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tea_llm._native import _core
from tea_llm.answers.argument_values import json_begin, json_or, json_value, read_elements
from tea_llm.answers.call_texts import CallTexts
from tea_llm.answers.parser_nodes import Nodes
from tea_llm.errors import GrammarError, TemplateError
from tea_llm.grammar.characters import quoted
from tea_llm.grammar.combine import Schema
from tea_llm.grammar.compose import needed, prefixed
from tea_llm.grammar.elements import Elements, shape_of
from tea_llm.grammar.gemma import GemmaRules
from tea_llm.grammar.parameters import Parameter, Parameters, kinds_in
from tea_llm.grammar.rules import Rules
from tea_llm.grammar.schema import schema_to_gbnf
from tea_llm.grammar.texts import text_to_gbnf

__all__ = ["CallFormat", "call_format"]

logger = logging.getLogger("tea_llm")

_PLACEHOLDER = re.compile(r"tea(?:inner(\d{5})|(?:tool|value)(\d{5})(?:x(\d{5}))?)e")
_NAME_CHARACTER = {
    "pattern": "[A-Za-z0-9_-]",
    "ranges": [{"start": ord(first), "end": ord(last)} for first, last in ("AZ", "az", "09", "__", "--")],
    "negated": False,
    "min_count": 1,
    "max_count": 1,
}
_MAX_BYTES = 3 << 20
"""Limit of all rules together: the engine accepts 4 MiB."""
_VALUES = ("tool-arg-value", "tool-arg-string-value")
_SPACE_ESCAPED = ("\\\\/ bfnrt]", "\\\\/bfnrt]")  # llama.cpp's grammar of strings has it, its parser has not
_ELEMENT_MARK = "]<]minimax[>["
_CONSTRAINT = '((" "? "<|constrain|>" | " ") [A-Za-z0-9_-]+)?'


@dataclass(frozen=True, slots=True)
class CallFormat:
    """How a model calls some functions.

    Attributes:
        native: reads answers.
        grammar: GBNF of all of an answer; empty: there is none.
        call_grammar: GBNF of its calls alone.
        problems: what the grammars do not enforce.
    """

    native: _core.AnswerFormat
    grammar: str
    call_grammar: str
    problems: tuple[str, ...] = ()


def call_format(
    ask: Callable[..., _core.AnswerFormat], tools: Sequence[Mapping[str, Any]], *, is_required: bool = False
) -> CallFormat | None:
    """The format of calls; None: llama.cpp finds none.

    Args:
        ask: gives llama.cpp's format for options of ``ChatFormat.answers``.
        tools: functions in the OpenAI API's form.
        is_required: an answer must be a call.
    """
    functions = [tool["function"] for tool in tools]
    signatures = [Parameters(function.get("parameters")) for function in functions]
    for is_exact in (True, False):
        neutral = [_neutral(number, signature, is_exact) for number, signature in enumerate(signatures)]
        inner: list[str] = []
        free: dict[str, frozenset[str]] = {}
        try:
            native = ask(tools=json.dumps(neutral), is_required=is_required)
            if _ELEMENT_MARK in native.parser:
                neutral = [
                    _with_elements(one, signature, inner, free)
                    for one, signature in zip(neutral, signatures, strict=True)
                ]
                native = ask(tools=json.dumps(neutral), is_required=is_required)
        except TemplateError as error:  # some templates do not support lists of types
            logger.log(logging.DEBUG if is_exact else logging.WARNING, "llama.cpp finds no form of calls: %s", error)
            continue
        if not native.has_calls:
            return CallFormat(native, "", "")
        return _Writer(native, [function["name"] for function in functions], signatures, inner, free).format()
    return None


def _neutral(number: int, signature: Parameters, is_exact: bool) -> dict[str, Any]:
    """A function with a name and parameters that occur nowhere else, all optional, and of the same types.

    What it must hold is for the grammar: the parser shall read calls that lack something, too.
    """
    properties = {
        _parameter(number, index): {"type": parameter.wire_type(is_exact=is_exact), "description": ""}
        for index, parameter in enumerate(signature.all)
    }
    parameters = {"type": "object", "properties": properties, "required": []}
    return {"type": "function", "function": {"name": _tool(number), "description": "", "parameters": parameters}}


def _with_elements(
    neutral: dict[str, Any], signature: Parameters, inner: list[str], free: dict[str, frozenset[str]]
) -> dict[str, Any]:
    """The same with what is in its parameters.

    Args:
        neutral: a neutral function.
        signature: of the real one.
        inner: names of properties within, in the order of their placeholders; new ones are put there.
        free: by their places in the parser, the types of values whose elements the schema does not name; as ``inner``.
    """

    def properties_of(signature: Parameters, depth: int) -> dict[str, Any]:
        found = {}
        for one in signature.all:
            placeholder = f"teainner{len(inner):05}e"
            inner.append(one.name)
            found[placeholder] = schema_of(one.schema, depth + 1, placeholder)
        return found

    def schema_of(schema: Any, depth: int, place: str) -> dict[str, Any]:
        kind, one = shape_of(schema, signature.document, depth)
        if kind in ("", "string"):
            free[place] = kinds_in(schema, signature.document)
        if kind == "object":
            properties = properties_of(Parameters(one, signature.document), depth)
            return {"type": "object", "properties": properties, "required": []}
        if kind == "array":
            return {"type": "array", "items": schema_of(one["items"], depth + 1, f"{place}-item")}
        return {"type": kind or "object"}

    parameters = {"type": "object", "properties": properties_of(signature, 0), "required": []}
    return {**neutral, "function": {**neutral["function"], "parameters": parameters}}


def _tool(number: int) -> str:
    return f"teatool{number:05}e"


def _parameter(number: int, index: int) -> str:
    return f"teavalue{number:05}x{index:05}e"


class _Writer:
    """Changes a parser of neutral functions into one of the real ones, and writes the rules that its grammar needs."""

    def __init__(
        self,
        native: _core.AnswerFormat,
        names: Sequence[str],
        signatures: Sequence[Parameters],
        inner: Sequence[str],
        free: Mapping[str, frozenset[str]],
    ) -> None:
        self._native = native
        self._inner = inner
        self._free = free
        self._nodes = Nodes(native.parser)
        self._texts = CallTexts(self._nodes, names)
        self._names = names
        self._signatures = signatures
        self._rules: list[str] = []
        self._bytes_left = _MAX_BYTES
        self._roots: dict[str, str] = {}  # the first rules of grammars
        self._unheld: list[str] = []

    def format(self) -> CallFormat:
        problems = []
        for number, name in enumerate(self._names):
            self._unheld = []
            self._tool(number)
            if self._unheld:
                problems.append(
                    f"The arguments of {name} are not held to all of their schema: {'; '.join(self._unheld)}"
                )
        self._rename()
        is_open = not self._native.grammar and not self._texts.keep_calls_out()
        self._texts.part()
        native = self._native.with_parser(self._nodes.saved)
        grammar, calls = (gbnf.replace(*_SPACE_ESCAPED) for gbnf in (native.grammar, native.call_grammar))
        rules = "".join(f"{rule.rstrip()}\n" for rule in (*self._rules, *self._texts.rules))
        if is_open:
            problems = [
                f"Calls of {', '.join(self._names)} are not held to their schemas: they have no mark to begin with"
            ]
        return CallFormat(native, "" if is_open else grammar + rules, calls + rules, tuple(problems))

    # --- names

    def _rename(self) -> None:
        for node in self._nodes:
            if "literal" in node:
                node["literal"] = self._real(node["literal"])
            elif "delimiters" in node:
                node["delimiters"] = [self._real(one) for one in node["delimiters"]]

    def _real(self, text: str) -> str:
        return _PLACEHOLDER.sub(self._real_name, text)

    def _real_name(self, match: re.Match[str]) -> str:
        inner, number, index = match.groups()
        if inner is not None:
            return self._inner[int(inner)]
        return self._names[int(number)] if index is None else self._signatures[int(number)].all[int(index)].name

    def _tool(self, number: int) -> None:
        rules = [index for name, index in self._nodes.rules.items() if name.endswith(f"tool-{_tool(number)}")]
        if len(rules) != 1:
            self._unheld.append("the form of its calls is not known")
            return
        (rule,) = rules
        for tag in self._nodes.tagged(rule, "tool-name"):
            self._end_name(self._nodes.children(tag)[0])
        for index in self._nodes.inside(rule):
            if self._nodes[index]["type"] == "repetition" and self._is_constraint(index):
                self._nodes.wrap(index, "gbnf", grammar=_CONSTRAINT)
        signature = self._signatures[number]
        wholes = [tag for tag in self._nodes.tagged(rule, "tool-args") if not self._nodes.tagged(tag, "tool-arg")]
        kinds = [self._nodes[self._nodes[tag]["child"]] for tag in wholes]
        if kinds and all(kind["type"] == "schema" for kind in kinds):
            self._hold_object(f"call-{number}", wholes, signature, Rules)
        elif kinds and all(kind.get("name") == "gemma4-dict" for kind in kinds):
            self._hold_object(f"call-{number}", wholes, signature, GemmaRules)
        elif _ELEMENT_MARK in self._native.parser:
            self._hold_elements(number, rule, signature)
        elif self._nodes.tagged(rule, "tool-arg"):
            self._hold_arguments(number, rule, signature)
            self._texts.end_with_space(rule)
        elif signature.all:
            self._unheld.append("this model's form of arguments is not known")

    def _end_name(self, literal: int) -> None:
        """Nothing that could be more of a name may follow it: ``get`` is not the beginning of ``get_it``."""
        name = self._nodes.add("literal", literal=self._nodes[literal]["literal"])
        more = self._nodes.add("not", child=self._nodes.add("chars", **_NAME_CHARACTER))
        self._nodes.replace(literal, "sequence", children=[name, more])

    def _is_constraint(self, index: int) -> bool:
        """gpt-oss may write a word behind a function's name, which llama.cpp takes without a gap."""
        inner = self._nodes[self._nodes[index]["child"]]
        kinds = [self._nodes[child] for child in inner.get("children", ())]
        return bool(kinds) and kinds[0]["type"] == "space" and kinds[-1].get("pattern") == _NAME_CHARACTER["pattern"]

    # --- arguments

    def _hold_object(self, prefix: str, tags: Sequence[int], signature: Parameters, spelling: type[Rules]) -> None:
        """Arguments that are one object."""
        gbnf = self._attempt(lambda: signature.object_gbnf(spelling))
        gbnf = gbnf or signature.loose_gbnf(spelling)
        root = self._put(gbnf, f"{prefix}-arguments-")
        for tag in tags:
            self._nodes[tag]["child"] = self._nodes.add("gbnf", child=self._nodes[tag]["child"], grammar=root)

    def _hold_arguments(self, number: int, rule: int, signature: Parameters) -> None:
        """Arguments that are written one by one."""
        container = self._container(rule)
        prefix = f"call-{number}"
        written: dict[int, str] = {}
        for tag in self._nodes.tagged(container, "tool-arg"):
            index = self._index_of(tag)
            if index not in written:
                written[index] = f"{prefix}-{index}"
                self._hold_argument(written[index], tag, signature.all[index], signature)
                self._nodes.name(tag, written[index])
        between = self._nodes.inside(container, until="tool-arg")
        has_commas = any(self._nodes[index]["type"] == "literal" for index in between)
        gap = "space " if any(self._nodes[index]["type"] == "space" for index in between) else ""
        members = [(written[index], parameter) for index, parameter in enumerate(signature.all) if index in written]
        if has_commas:
            self._nodes.wrap(container, "repetition", min_count=0, max_count=1)
            self._list(prefix, members)
        else:
            body = " ".join(f"({gap}{name}){'' if one.is_required else '?'}" for name, one in members)
            self._rules.append(f"{prefix}-arguments ::= {body}")
        self._nodes.wrap(container, "gbnf", grammar=f"{prefix}-arguments")
        self._unheld += signature.more

    def _hold_elements(self, number: int, rule: int, signature: Parameters) -> None:
        """Arguments that are elements, and hold others."""
        if self._nodes.tagged(rule, "tool-arg"):
            read_elements(self._nodes, rule, self._free, _ELEMENT_MARK)
            prefix = f"call-{number}-arguments-"
            self._rules.append(prefixed(Elements(_ELEMENT_MARK, self._attempt).gbnf(signature), prefix))
            self._nodes.wrap(self._container(rule), "gbnf", grammar=f"{prefix}root")
            self._unheld += signature.more

    def _list(self, prefix: str, members: Sequence[tuple[str, Parameter]]) -> None:
        """Rules of arguments with commas between."""
        alone: list[str] = [""]
        rest = ""
        for place in range(len(members) - 1, -1, -1):
            name, parameter = members[place]
            begun = f"{name} {rest}".rstrip()
            alone = [begun] if parameter.is_required else [begun, *alone]
            optional = "" if parameter.is_required else "?"
            self._rules.append(f'{prefix}-from-{place} ::= ("," space {name}){optional} {rest}')
            rest = f"{prefix}-from-{place}"
        self._rules.append(f"{prefix}-arguments ::= {' | '.join(alone)}")

    def _hold_argument(self, prefix: str, tag: int, parameter: Parameter, signature: Parameters) -> None:
        """Puts a rule of its own in the place of an argument's value."""
        nodes = self._nodes
        parts = nodes[nodes[tag]["child"]]["children"]
        place = next(place for place, part in enumerate(parts) if nodes.tagged(part, *_VALUES))
        tags = {nodes[index]["tag"] for index in nodes.tagged(parts[place], *_VALUES)}
        ends = [close for part in parts[place:] for close in nodes.tagged(part, "tool-arg-close")]
        end = self._real(nodes.literal(ends[0]))
        closes = ends[0] in nodes.inside(parts[place])
        takes_json = "tool-arg-value" in tags
        if "tool-arg-string-value" in tags:
            others = frozenset() if takes_json else parameter.kinds - {"string"}
            told = json_begin(nodes, parts[:place], others)
            if told:
                argument = (*told, ends[0])
                self._hold_told(tag, argument, others, f"{prefix}-json-", parameter.schema, signature.document)
            elif others:
                takes_json = True
                text = nodes.rule(f"{prefix}-text", parts[place])
                parts[place] = json_or(nodes, text, others, ends[0], closes=closes)
            gbnf = self._attempt(
                lambda: text_to_gbnf(parameter.schema, signature.document, end=end, takes_json=takes_json)
            )
            if gbnf is None and others and not told:
                parts[place] = nodes.add("gbnf", child=parts[place], grammar=f"{prefix}-text")
            if gbnf is None:
                return
        else:
            gbnf = self._attempt(lambda: schema_to_gbnf(parameter.schema, signature.document))
            gbnf = gbnf or schema_to_gbnf(True)
            if "python-or-json-value" in nodes.rules:
                gbnf = gbnf.replace("boolean ::= ", 'boolean ::= "True" | "False" | ').replace(
                    "\nnull ::= ", '\nnull ::= "None" | '
                )
        grammar = self._put(gbnf, f"{prefix}-value-") + (f" {quoted(end)}" if closes and end else "")
        parts[place] = nodes.add("gbnf", child=parts[place], grammar=grammar)

    def _hold_told(
        self, tag: int, argument: Sequence[int], kinds: Collection[str], rule: str, schema: Any, document: Schema
    ) -> None:
        """Puts an argument whose form says that its value is JSON beside that whose form says that it is a text."""
        *begin, close = argument
        of_kinds = {"type": sorted(kinds)}
        gbnf = self._attempt(lambda: schema_to_gbnf({"allOf": [schema, of_kinds]}, document))
        value = json_value(self._nodes, kinds)
        held = self._nodes.add("gbnf", child=value, grammar=self._put(gbnf or schema_to_gbnf(of_kinds), rule))
        told = self._nodes.add("sequence", children=[*begin, held, close])
        self._nodes[tag]["child"] = self._nodes.add("choice", children=[told, self._nodes[tag]["child"]])

    def _put(self, gbnf: str, prefix: str) -> str:
        """The name of the first rule of a grammar, which is put among the rules once."""
        gbnf = needed(gbnf)
        if gbnf not in self._roots:
            self._rules.append(prefixed(gbnf, prefix))
            self._bytes_left -= len(self._rules[-1])
            self._roots[gbnf] = f"{prefix}root"
        return self._roots[gbnf]

    def _container(self, rule: int) -> int:
        """The node that holds all arguments of a call and nothing else."""
        here = rule
        while self._nodes.tagged(here, "tool-name"):
            here = next(child for child in self._nodes.children(here) if self._nodes.tagged(child, "tool-arg"))
        return here

    def _index_of(self, tag: int) -> int:
        """Which parameter an argument is for."""
        (name,) = self._nodes.tagged(tag, "tool-arg-name")
        return int(_PLACEHOLDER.findall(self._nodes.literal(name))[0][2])

    def _attempt(self, write: Callable[[], str | None]) -> str | None:
        try:
            gbnf = write()
            if gbnf is not None and len(gbnf) > self._bytes_left:
                raise GrammarError("the grammar would become too large")
        except GrammarError as error:
            self._unheld.append(str(error))
            return None
        return gbnf
