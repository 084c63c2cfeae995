"""How a model writes the answers to one kind of request: where reasoning, text and calls are."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tea_llm._native import _core
from tea_llm.answers.calls import find_calls
from tea_llm.answers.parts import Parts, begun_parts, ended_parts

__all__ = ["AnswerFormat"]


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """The format of the answers to one kind of request. Immutable.

    Attributes:
        native: llama.cpp's knowledge of it.
        constrained: of the answers that hold to a constraint, where the model writes them in another form.
        grammar: GBNF of all of an answer; empty: any text.
        grammar_prefix: of the prompt, what the grammar begins with.
        tools: names of the functions that may be called.
        is_lenient: JSON that calls one of them is a call, too, where the model has no form of its own.
    """

    native: _core.AnswerFormat
    constrained: _core.AnswerFormat | None = None
    grammar: str = ""
    grammar_prefix: str = ""
    tools: frozenset[str] = frozenset()
    is_lenient: bool = False

    @property
    def reasoning_end(self) -> str:
        """The text that ends reasoning; empty: there is none."""
        return self.native.reasoning_ends[0].strip() if self.native.reasoning_start else ""

    @property
    def is_reasoning(self) -> bool:
        """Whether the prompt has begun the reasoning."""
        prompt, start = self.native.generation_prompt, self.native.reasoning_start
        return bool(start) and prompt.rfind(start) > max(map(prompt.rfind, self.native.reasoning_ends))

    def parse_partial(self, text: str) -> Parts:
        """The parts of an incomplete answer that more text cannot change."""
        ends = self.native.reasoning_ends
        parts = begun_parts(self._read(text), text, shows_open_call=bool(self.grammar), ends=ends)
        return parts._replace(content=_certain_text(parts.content), is_text=False) if self.is_lenient else parts

    def parse(self, text: str, *, is_cut: bool) -> Parts:
        """The parts of a complete answer. All text outside reasoning and calls is content.

        Args:
            text: of the answer.
            is_cut: it was cut off; a call that is not finished is left out then.
        """
        native = self.native
        parts = ended_parts(self._read(text), text, is_cut=is_cut, markers=native.markers, ends=native.reasoning_ends)
        if self.is_lenient:
            parts = parts._replace(content=parts.content.lstrip())
        if self.is_lenient and not parts.calls and self.tools:
            content, calls = find_calls(parts.content, self.tools)
            found = tuple(("", call.name, json.dumps(call.arguments)) for call in calls)
            parts = parts._replace(content=content, calls=found)
        return parts

    def _read(self, text: str) -> _core.AnswerParts:
        if self.constrained is not None:
            read = self.constrained.read(text, searches=False)
            if read.state != "stuck":
                return read
        return self.native.read(text)


def _certain_text(content: str) -> str:
    """The beginning that is certainly text, in a format where JSON may be a call."""
    content = content.lstrip()
    return "" if content[:1] in ("{", "[", "`") else content.partition("<tool_call>")[0].rstrip()
