"""The answer formats of a chat template, and grammars that hold a model to them.

llama.cpp's ``common/chat`` finds out from the template how its model writes.
"""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from tea_llm._native import _core
from tea_llm.answers.call_grammar import call_format
from tea_llm.answers.format import AnswerFormat
from tea_llm.answers.parser_repairs import repaired
from tea_llm.errors import GrammarError, TemplateError
from tea_llm.grammar.characters import quoted
from tea_llm.grammar.compose import prefixed, through

if TYPE_CHECKING:
    from tea_llm.chat.template import ChatTemplate

__all__ = ["AnswerFormats"]

logger = logging.getLogger("tea_llm")

_Analyse = Callable[..., "_core.AnswerFormat"]
"""A function that accepts the options of ``ChatFormat.answers``."""

_MAX_KEPT = 64
_PROBE = "x <y> z"


class AnswerFormats:
    """The answer formats of one chat template. Thread-safe.

    Args:
        template: None: a format without one.
    """

    def __init__(self, template: ChatTemplate | None) -> None:
        self._template = template
        self._native = None if template is None else _native_format(template)
        self._lock = Lock()
        self._kept: OrderedDict[str, AnswerFormat | None] = OrderedDict()

    def get(
        self,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        is_required: bool = False,
        constraint: str = "",
        is_json: bool = False,
        variables: Mapping[str, object] | None = None,
    ) -> AnswerFormat | None:
        """The format of answers. None: plain text, or text that matches ``constraint``.

        Args:
            tools: that may be called, in the OpenAI API's form.
            is_required: one must be.
            constraint: GBNF that the text must match; empty: any.
            is_json: what it matches is JSON.
            variables: of the template.

        Raises:
            GrammarError: there is no grammar of such answers.
            ValueError: ``variables`` hold more than JSON has.
        """
        key = json.dumps([tools, is_required, constraint, is_json, variables], sort_keys=True)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        found = self._make(tools, is_required, constraint, is_json, variables or {})
        with self._lock:
            self._kept[key] = found
            if len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
        return found

    def _make(
        self,
        tools: Sequence[Mapping[str, Any]],
        is_required: bool,
        constraint: str,
        is_json: bool,
        variables: Mapping[str, object],
    ) -> AnswerFormat | None:
        analyse = self._analysis(variables)
        plain = None if analyse is None else analyse()
        if tools:
            holds = constraint and not is_required
            answer, constrained = _constrained_grammar(plain, analyse, constraint, is_json) if holds else ("", None)
            describes = self._template is not None and self._template.uses_tools
            answer_format = _format_with_tools(plain, analyse, tools, is_required, answer, describes)
            return replace(answer_format, constrained=constrained)
        if plain is None or _is_plain_text(plain):
            return None
        if not constraint:
            return AnswerFormat(plain)
        grammar, constrained = _constrained_grammar(plain, analyse, constraint, is_json)
        return AnswerFormat(plain, constrained, grammar, plain.generation_prompt)

    def _analysis(self, variables: Mapping[str, object]) -> _Analyse | None:
        """Has llama.cpp analyse the template in the state that the template leaves an answer to begin in."""
        native, template = self._native, self._template
        if native is None or template is None:
            return None
        encoded = {name: json.dumps(value) for name, value in variables.items()}
        begin = _generation_prompt(template, variables)

        def analyse(**options: Any) -> _core.AnswerFormat:
            for how in ({"is_thinking": True}, {"is_thinking": False}, {"generation_prompt": begin}):
                made = native.answers(variables=encoded, **how, **options)
                if made.generation_prompt == begin and (made.grammar or _finds_text(made)):
                    break
            else:
                made = native.answers(variables=encoded, **options)
            return made if "has_schema" in options else repaired(made)

        try:
            plain = analyse()
        except TemplateError as error:
            logger.warning("Reasoning and calls in answers are not told apart: %s", error)
            return None
        ending = _open_reasoning_end(plain)
        if ending and ending in plain.read(ending + _PROBE).content:  # llama.cpp has not found the reasoning
            return _core.ChatFormat(_generic_source(plain), "", "").answers
        return analyse


def _constrained_grammar(
    plain: _core.AnswerFormat | None, analyse: _Analyse | None, gbnf: str, is_json: bool
) -> tuple[str, _core.AnswerFormat | None]:
    """A grammar of the generation prompt, reasoning if any, and a text; and the format of such answers if not plain."""
    renamed = _as_answer_rules(gbnf)
    if plain is None or analyse is None:
        return f"root ::= {_core.ANSWER_RULE}\n{renamed}", None
    if _is_only_text(plain):
        return f"{_rules_before_text(AnswerFormat(plain))}{renamed}", None
    if not is_json:
        raise GrammarError("this model writes more than a text in a chat: grammar and regex are for call() then")
    native = analyse(has_schema=True)
    return native.grammar + renamed, native


def _format_with_tools(
    plain: _core.AnswerFormat | None,
    analyse: _Analyse | None,
    tools: Sequence[Mapping[str, Any]],
    is_required: bool,
    answer: str,
    describes: bool,
) -> AnswerFormat:
    names = frozenset(tool["function"]["name"] for tool in tools)
    calls = None if analyse is None or not describes else call_format(analyse, tools)
    has_own = calls is not None and calls.native.has_calls
    if analyse is None or calls is None or not has_own:
        analyse = _core.ChatFormat(_generic_source(plain), "", "").answers
        calls = call_format(analyse, tools)
        if calls is None:
            raise GrammarError(f"there is no grammar for calls of {', '.join(sorted(names))} (see the log)")
    own, grammar, problems = calls.native, calls.grammar, calls.problems
    if is_required or answer:  # the parser stays the one that takes a text, too
        called = call_format(analyse, tools, is_required=True) or calls
        problems = called.problems
        grammar = called.grammar
        if called.call_grammar and _is_only_text(own):
            grammar = _rules_before_text(AnswerFormat(own)) + _as_answer_rules(called.call_grammar)
    for problem in problems:
        logger.warning("%s", problem)
    if answer:
        grammar = f"root ::= call-root | text-root\n{prefixed(grammar, 'call-')}\n{prefixed(answer, 'text-')}"
    prefix = own.generation_prompt if grammar else ""
    return AnswerFormat(own, None, grammar, prefix, names, is_lenient=not has_own)


def _native_format(template: ChatTemplate) -> _core.ChatFormat | None:
    try:
        return _core.ChatFormat(template.bounded_source, template.bos_token, template.eos_token)
    except TemplateError as error:
        logger.warning("Reasoning and calls in answers are not told apart: %s", error)
        return None


def _generation_prompt(template: ChatTemplate, variables: Mapping[str, object]) -> str:
    messages = [{"role": "user", "content": "Hi"}]
    try:
        whole, begun = (
            template.render_text(messages, add_generation_prompt=adds, extra=variables) for adds in (True, False)
        )
    except TemplateError:
        return ""
    return whole[len(begun) :] if whole.startswith(begun) else ""


def _is_plain_text(native: _core.AnswerFormat) -> bool:
    texts = [_PROBE, *(marker + _PROBE for marker in native.markers)]
    return not native.reasoning_start and all(native.read(text).content == text for text in texts)


def _finds_text(native: _core.AnswerFormat) -> bool:
    """Whether the parser finds a text after the reasoning."""
    read = native.read(_open_reasoning_end(native) + _PROBE)
    return read.state != "stuck" and _PROBE in read.content


def _is_only_text(native: _core.AnswerFormat) -> bool:
    """Whether only the text follows the reasoning."""
    read = native.read(_open_reasoning_end(native) + _PROBE)
    return read.state != "stuck" and read.content == _PROBE


def _open_reasoning_end(native: _core.AnswerFormat) -> str:
    """The text that ends the reasoning which the prompt has begun."""
    answer_format = AnswerFormat(native)
    return answer_format.reasoning_end if answer_format.is_reasoning else ""


def _rules_before_text(answer_format: AnswerFormat) -> str:
    """Rules for the beginning of an answer, up to the text that must match a constraint."""
    native, end = answer_format.native, answer_format.reasoning_end
    prompt, start = native.generation_prompt, native.reasoning_start
    begin = f"{quoted(prompt)} " if prompt else ""
    if not end:
        return f"root ::= {begin}{_core.ANSWER_RULE}\n"
    thought, read = f"{start}{_PROBE}{end}", native.read
    if answer_format.is_reasoning:
        reasoning = "thought space"
    elif read(f"\n{thought}").reasoning:
        reasoning = f"(space {quoted(start)} thought space)?"
    else:
        reasoning = f"({quoted(start)} thought space)?" if read(thought).reasoning else ""
    return (
        f'root ::= {begin}{reasoning} {_core.ANSWER_RULE}\nspace ::= | " " | "\\n" "\\n"?\n{through("thought", end)}\n'
    )


def _as_answer_rules(gbnf: str) -> str:
    """The rules of a grammar for a place inside a larger one."""
    rule = _core.ANSWER_RULE
    return f"{prefixed(gbnf, f'{rule}-')}\n{rule} ::= {rule}-root\n"


def _generic_source(plain: _core.AnswerFormat | None) -> str:
    """A template with calls as ``describe_tools`` asks for them, and with the reasoning of ``plain``."""
    prompt = "" if plain is None else plain.generation_prompt
    reasoning = ""
    if plain is not None and plain.reasoning_start:
        tags = (_literal(plain.reasoning_start), _literal(AnswerFormat(plain).reasoning_end))
        reasoning = f"{{% if m.reasoning_content %}}{{{{ {tags[0]} + m.reasoning_content + {tags[1]} }}}}{{% endif %}}"
    answer_begin = f"{{{{ {_literal(prompt)} }}}}" if prompt else ""
    return (
        "{% if tools %}{{ '<|role|>system\\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}"
        "{% for m in messages %}"
        f"{{% if m.role == 'assistant' %}}{answer_begin}{reasoning}"
        "{% else %}{{ '<|role|>' + m.role + '\\n' }}{% endif %}"
        "{{ m.content }}"
        "{% for call in m.tool_calls %}"
        '{{ \'<tool_call>{"name": "\' + call.function.name + \'", "arguments": \' }}'
        "{{ call.function.arguments | tojson }}{{ '}</tool_call>' }}{% endfor %}"
        "{{ '<|end|>\\n' }}{% endfor %}"
        f"{{% if add_generation_prompt %}}{answer_begin}{{% endif %}}"
    )


def _literal(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
