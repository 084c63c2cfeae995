"""Renders a chat template as Hugging Face transformers does, for comparison with ours.

Set up by hand after ``_cached_compile_jinja_template`` and ``render_jinja_template`` of transformers 5.23.0,
``utils/chat_template_utils.py``: nothing of it but the environment reaches a template. ``generation`` blocks render
their body, as there when no one asks for the assistant's tokens.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["render_reference"]


class _AssistantTracker(Extension):
    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_generation_support"), [], [], body).set_lineno(lineno)

    @jinja2.pass_eval_context
    def _generation_support(self, context: nodes.EvalContext, caller: Callable[[], str]) -> str:
        return caller()


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(
    x: Any, ensure_ascii: Any = False, indent: Any = None, separators: Any = None, sort_keys: Any = False
) -> str:
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


@cache
def _compile(source: str) -> jinja2.Template:
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_AssistantTracker, loopcontrols]
    )
    env.filters["tojson"] = _tojson
    env.globals["raise_exception"] = _raise_exception
    return env.from_string(source)


def render_reference(
    source: str, messages: Sequence[Mapping[str, Any]], *, now: datetime | None = None, **variables: Any
) -> str:
    """The text, or whatever exception the template ends in."""
    plain = [_alias_reasoning(json.loads(json.dumps(message))) for message in messages]
    variables = {"tools": None, "documents": None, "add_generation_prompt": True, **variables}
    if now is not None:
        variables["strftime_now"] = now.strftime
    return _compile(source).render(messages=plain, **variables)


def _alias_reasoning(message: dict[str, Any]) -> dict[str, Any]:
    values = (message.get(key) for key in ("reasoning_content", "thinking", "reasoning"))
    reasoning = next((value for value in values if value is not None), None)
    return message if reasoning is None else {"thinking": reasoning, **message, "reasoning_content": reasoning}
