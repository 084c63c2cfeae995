"""Templates (``{{ }}``) in a workflow: sandboxed Jinja2 over the state, compiled once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

__all__ = ["Renderer", "TemplateSyntaxError", "compile_condition", "compile_value", "constant", "is_constant"]

Renderer = Callable[[Mapping[str, Any]], Any]
"""Renders a value from the variables of a template; raises ``jinja2.TemplateError`` or the error of a value."""


class _Environment(ImmutableSandboxedEnvironment):
    """Text from the state is data: it is never compiled."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``state.items`` is the key of that name, if it exists, and not the method of dict."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)


def _no_callable(value: Any) -> Any:
    """Rejects functions: without a key ``items``, ``{{ state.items }}`` is a method of dict, which is a mistake."""
    if callable(value) and not isinstance(value, Undefined):
        raise TemplateError(f"the value is a function ({getattr(value, '__name__', 'unnamed')}), not data")
    return value


_environment = _Environment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_no_callable)


def constant(value: Any) -> Renderer:
    """A renderer that always returns ``value``."""
    return lambda _: value


def compile_value(value: Any, names: Collection[str]) -> Renderer:
    """A renderer for a value of a file: strings are templates, also within lists and mappings.

    A string that consists of one expression keeps the expression's type.

    Args:
        value: the value.
        names: the available variables.

    Raises:
        TemplateSyntaxError: a template is invalid or uses an unknown variable.
    """
    if isinstance(value, str):
        return _compile_text(value, names)
    if isinstance(value, Mapping):
        items = {key: compile_value(item, names) for key, item in value.items()}
        return lambda variables: {key: render(variables) for key, render in items.items()}
    if isinstance(value, list):
        renderers = [compile_value(item, names) for item in value]
        return lambda variables: [render(variables) for render in renderers]
    return constant(value)


def is_constant(value: Any) -> bool:
    """Whether a value of a file contains no template."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(map(is_constant, value.values()))
    return not isinstance(value, list) or all(map(is_constant, value))


def compile_condition(source: str, names: Collection[str]) -> Renderer:
    """A renderer for a condition, with or without braces, that returns True or False.

    Args:
        source: the condition.
        names: the available variables.

    Raises:
        TemplateSyntaxError: the expression is invalid or uses an unknown variable.
    """
    expression = _lone_expression(source) if "{{" in source else source
    if expression is None:
        raise TemplateSyntaxError("a condition must be one expression", 1)
    evaluate = _compile_expression(expression)
    _check_names("{{" + expression + "}}", names)
    return lambda variables: bool(evaluate(variables))


def _check_names(source: str, names: Collection[str]) -> None:
    for name in sorted(meta.find_undeclared_variables(_environment.parse(source)) - set(names)):
        raise TemplateSyntaxError(
            f"unknown variable {name!r} (available: {', '.join(names)}): did you mean state.{name}?", 1
        )


def _compile_text(source: str, names: Collection[str]) -> Renderer:
    if is_constant(source):
        return constant(source)
    _check_names(source, names)
    expression = _lone_expression(source)
    if expression is not None:
        return _compile_expression(expression)
    template = _environment.from_string(source)
    return lambda variables: template.render(variables)


def _compile_expression(expression: str) -> Renderer:
    evaluate = _environment.compile_expression(expression, undefined_to_none=False)

    def render(variables: Mapping[str, Any]) -> Any:
        value = evaluate(**variables)
        if isinstance(value, Undefined):
            str(value)  # raises an error that names the undefined variable
            raise TemplateError("the value is undefined")
        return _no_callable(value)

    return render


def _lone_expression(source: str) -> str | None:
    """The expression between the braces, if there is nothing else."""
    text = source.strip()
    if not text.startswith("{{"):
        return None
    body = _environment.parse(text).body
    is_lone = len(body) == 1 and isinstance(body[0], nodes.Output) and len(body[0].nodes) == 1
    if not is_lone or isinstance(body[0].nodes[0], nodes.TemplateData):  # type: ignore[attr-defined]
        return None
    return text[2:-2].strip("-+").strip()
