"""Renders a model's own chat template, and distinguishes the template's text from the text of the messages.

The environment is that of Hugging Face transformers (5.x, ``utils/chat_template_utils.py``), the reference that models
are published against, extended by features that only llama.cpp accepts: ``append``, ``pop``, iterators as JSON. Two
additions are invisible to a template: the compiled code writes the template's own strings as trusted ``Text``, and
joins pieces with ``provenance.concat``. All else (messages, tools, results of filters) is untrusted; see
``provenance.Text``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from traceback import walk_tb
from typing import Any

from jinja2 import TemplateError as JinjaError
from jinja2 import TemplateSyntaxError, meta, nodes, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import FILTERS
from jinja2.nodes import EvalContext
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter
from jinja2.utils import Namespace

from tea_llm.chat.bounded import bounded
from tea_llm.chat.provenance import SafeText, Text, concat, format_text, runs, shown_as, trusted
from tea_llm.errors import TemplateError

__all__ = ["ChatTemplate"]

_ROLES = frozenset({"assistant", "developer", "function", "ipython", "model", "system", "tool", "user"})
"""Role names that may become part of a control token: Phi-4 writes ``'<|' + message['role'] + '|>'``."""

_REASONING_KEYS = ("reasoning_content", "thinking", "reasoning")
_OWN_VARIABLES = frozenset({"add_generation_prompt", "messages", "tools"})


class ChatTemplate:
    """A compiled chat template. Thread-safe: rendering changes nothing in it.

    Args:
        source: Jinja source.
        bos_token: text of the token that begins a prompt; part of the scaffold.
        eos_token: text of the token that ends an answer; part of the scaffold.

    Attributes:
        variables: names that the template reads and does not set itself.
        uses_tools: whether ``tools`` is one of them.

    Raises:
        TemplateError: the source is not valid; contains Jinja's message and the line.

    Example:
        >>> template = ChatTemplate("{{ bos_token }}{{ messages[0].content | trim }}", bos_token="<s>")
        >>> template.render([{"role": "user", "content": " <s>Hi "}])
        [('<s>', True), ('<s>Hi', False)]
    """

    def __init__(self, source: str, *, bos_token: str = "", eos_token: str = "") -> None:
        self.bos_token = bos_token
        self.eos_token = eos_token
        self._tokens = {"bos_token": trusted(bos_token), "eos_token": trusted(eos_token)}
        try:
            environment = _environment()
            self.bounded_source = bounded(source, environment)
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
            self.uses_tools = "tools" in self.variables
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise TemplateError(f"chat template, line {error.lineno}: {error.message}") from error
        except Exception as error:  # for example, nesting too deep for Jinja or Python
            raise TemplateError(f"chat template: {type(error).__name__}: {error}") from error

    def render(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        now: datetime | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> list[tuple[str, bool]]:
        """The prompt in runs that distinguish scaffold from content.

        Args:
            messages: JSON-like dicts; the template gets copies. Reasoning under one of the names
                ``reasoning_content``, ``thinking`` and ``reasoning`` is seen under the others, as in transformers.
            tools: JSON-like definitions in the OpenAI form.
            add_generation_prompt: end with the opening of the assistant's answer.
            now: the time for ``strftime_now``; None: the local time.
            extra: further variables for the template, such as ``{"enable_thinking": False}``.

        Returns:
            ``(text, is_scaffold)`` pairs, longest runs, none empty. Scaffold is the text written by the template,
            including bos_token, eos_token and the usual role names; each character from anything else in the
            arguments is content, whatever the template did to it.

        Raises:
            TemplateError: the template refused the messages or failed; contains its message and the line.
            TypeError: a value is not JSON-like.
            ValueError: ``extra`` contains the name of another argument.
        """
        clash = _OWN_VARIABLES.intersection(extra or ())
        if clash:
            raise ValueError(f"extra must not contain {', '.join(sorted(clash))}: use the argument of that name")
        variables = {
            "strftime_now": lambda format: (now or datetime.now()).strftime(format),  # noqa: A006
            "documents": None,
            **self._tokens,
            **{name: _plain(value, f"extra[{name!r}]") for name, value in (extra or {}).items()},
            "messages": _GivenList(_message(message, f"messages[{index}]") for index, message in enumerate(messages)),
            "tools": None if tools is None else _plain(tools, "tools"),
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return runs(self._template.render(variables))
        except Exception as error:
            raise _template_error(error) from error

    def render_text(
        self,
        messages: Sequence[Mapping[str, object]],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        add_generation_prompt: bool = True,
        now: datetime | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> str:
        """The result of ``render`` as one text."""
        parts = self.render(messages, tools=tools, add_generation_prompt=add_generation_prompt, now=now, extra=extra)
        return "".join(text for text, _ in parts)


class _CodeGenerator(CodeGenerator):
    """Writes the template's own strings as trusted ``Text``; needs ``optimized=False``, which folds no others."""

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802
        if isinstance(node.value, str):
            self.write(f"environment.trusted({node.value!r})")
        else:
            super().visit_Const(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        if frame.eval_ctx.autoescape or frame.eval_ctx.volatile:
            super().visit_Concat(node, frame)
            return
        self.write("environment.concat(map(str, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write(")))")

    def _output_const_repr(self, group: Iterable[object]) -> str:
        return f"environment.trusted({''.join(map(str, group))!r})"


@shown_as(list)
class _GivenList(list[Any]):
    """A list in the arguments, which a template cannot change; it may change its own lists, as Kimi's template does."""


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _CodeGenerator
    concat = staticmethod(concat)
    trusted = staticmethod(trusted)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        changes_own = type(obj) is list and attr in ("append", "pop")
        return changes_own or super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        plain = super().wrap_str_format(value)
        if plain is None or value.__name__ != "format" or not isinstance(value.__self__, Text):
            return plain

        def wrapper(*args: object, **kwargs: object) -> str:
            return format_text(value.__self__, SandboxedFormatter(self), plain(*args, **kwargs), args, kwargs)

        return wrapper


class _Generation(Extension):
    """``{% generation %}``: marks the assistant's text for training; here it only renders its body."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        block = nodes.CallBlock(self.call_method("_render"), [], [], body)
        block.set_lineno(line)
        return block

    def _render(self, caller: Callable[[], str]) -> str:
        return caller()


@shown_as(dict)
class _Dict:
    """The global ``dict`` without the attributes of the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        return dict.fromkeys(*args)


@shown_as(Namespace)
class _Namespace(Namespace):
    """The global ``namespace`` without private attributes."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # as in Jinja, so that ``namespace(self=1)`` works
        attributes = dict(*args[1:], **kwargs)
        for name in attributes:
            _check_attribute(name)
        Namespace.__init__(args[0], attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_attribute(name)
        Namespace.__setitem__(self, name, value)


def _check_attribute(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot have an attribute {name!r}: use a name without a leading underscore")


def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, optimized=False, extensions=[_Generation, loopcontrols]
    )
    environment.filters.update(tojson=_tojson, join=_join, safe=SafeText)
    environment.globals.update(raise_exception=_raise_exception, dict=_Dict(), namespace=_Namespace)
    return environment


def _tojson(
    x: object, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_listed
    )


def _listed(value: object) -> list[object]:
    """Converts the results of filters like ``map``, which are lists in llama.cpp."""
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


@pass_eval_context
def _join(context: EvalContext, value: Any, d: Any = "", attribute: Any = None) -> Any:
    return FILTERS["join"](context, value, Text(d) if type(d) is str else d, attribute)


def _raise_exception(message: str) -> None:
    raise JinjaError(message)


def _template_error(error: Exception) -> TemplateError:
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == "<template>"]
    where = f"chat template, line {lines[-1]}" if lines else "chat template"
    kind = "" if isinstance(error, JinjaError) else f"{type(error).__name__}: "
    return TemplateError(f"{where}: {kind}{error}")


def _message(message: Mapping[str, object], where: str) -> dict[str, object]:
    if not isinstance(message, Mapping):
        raise TypeError(f"{where} must be a dict, not {type(message).__name__}")
    plain: dict[str, object] = {key: _plain(value, f"{where}[{key!r}]") for key, value in message.items()}
    reasoning = next((plain[key] for key in _REASONING_KEYS if plain.get(key) is not None), None)
    if reasoning is not None:
        plain = {"thinking": reasoning, **plain, "reasoning_content": reasoning}
    role = plain.get("role")
    if isinstance(role, str) and role in _ROLES:
        plain["role"] = trusted(role)
    return plain


def _plain(value: object, where: str) -> object:
    """A copy in plain types, with all text untrusted: no object with its own methods enters the sandbox."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return Text(str.__str__(value))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {_plain(key, where): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return _GivenList(_plain(item, f"{where}[{index}]") for index, item in enumerate(value))
    raise TypeError(f"{where} must be text, a number, a bool, None, a list or a dict, not {type(value).__name__}")
