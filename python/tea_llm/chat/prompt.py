"""Turns messages into token ids: selects the template, renders it, and keeps contents from becoming control tokens."""

from __future__ import annotations

import difflib
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tea_llm._check import check_path
from tea_llm.chat.formats import CHAT_FORMATS, format_parts
from tea_llm.chat.messages import check_messages
from tea_llm.chat.tools import describe_tools, text_of
from tea_llm.chat.traces import check_traces, render_open
from tea_llm.types import Message

if TYPE_CHECKING:
    from tea_llm import _core
    from tea_llm.chat.dialect import Dialect
    from tea_llm.chat.template import ChatTemplate

__all__ = ["ChatPrompt", "Runs"]

logger = logging.getLogger("tea_llm")

Runs = list[tuple[str, bool]]
"""A rendered prompt as ``(text, is_scaffold)`` pairs: scaffold is written by the template, the rest by messages."""


class ChatPrompt:
    """The prompt format of one model.

    The template is the first of: ``chat_template``, the named ``chat_format``, the file's own template, the named
    format of the file name's family, plain. Thread-safe.

    Args:
        model: the loaded model.
        chat_format: ``"chatml"``, ``"gemma"``, ``"plain"`` or None.
        chat_template: Jinja source, or the path of a file with it, or None.
        family_format: the format that the file's name suggests, or None.

    Raises:
        TemplateError: the template given is not valid Jinja.
        ValueError: the format is unknown, or both a format and a template are given.
    """

    def __init__(
        self,
        model: _core.Model,
        *,
        chat_format: str | None = None,
        chat_template: str | os.PathLike[str] | None = None,
        family_format: str | None = None,
    ) -> None:
        if chat_format is not None and chat_template is not None:
            raise ValueError("chat_format and chat_template exclude each other: give one of them")
        if chat_format is not None and chat_format not in CHAT_FORMATS:
            raise ValueError(f"chat_format={chat_format!r} is not one of {', '.join(map(repr, CHAT_FORMATS))}")
        self._model = model
        self._control = _ControlTokens(model)
        self._template: ChatTemplate | None = None
        self._warned: set[str] = set()
        own = model.chat_template.decode("utf-8", "replace")
        self.format: str
        self.source: Literal["argument", "model", "file name", "default"]
        if chat_template is not None:
            self.format, self.source = "template", "argument"
            self._template = self._compile(_template_source(chat_template))
        elif chat_format is not None:
            self.format, self.source = chat_format, "argument"
        elif own:
            self.format, self.source = "template", "model"
            self._own = own  # compiled when first used: a broken template must not prevent loading the model
        elif family_format is not None:
            self.format, self.source = family_format, "file name"
        else:
            self.format, self.source = "plain", "default"

    def render(
        self,
        messages: Iterable[Message],
        *,
        tools: Sequence[Mapping[str, object]] | None = None,
        template: str | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
        now: datetime | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> Runs:
        """The prompt of a conversation, in runs. If the template does not support tools, messages describe them.

        ``now`` and ``extra`` are those of ``ChatTemplate.render``.

        Raises:
            TemplateError: the template is not valid, refuses the messages or drops one of them.
            TypeError: a message has the wrong type.
            ValueError: a message is not valid, ``extra`` is given without a template, or there is no text to continue.
        """
        checked = check_messages(messages, joins_parts=False)
        dialect = self._dialect if template is None else _dialect(self._compile(template))
        if dialect is None and extra:
            raise ValueError(f"template_kwargs need a chat template, which the format {self.format!r} does not have")
        if dialect is not None:
            self._check_variables(dialect.template, extra or {})
        now = now or datetime.now()  # the same for every rendering

        def write(messages: Sequence[Mapping[str, Any]], *, asks: bool = False) -> Runs:
            if dialect is None:
                return format_parts(describe_tools(messages, tools or ()), self.format, add_generation_prompt=asks)
            adapted, given = dialect.adapt(messages, tools or ())
            return dialect.template.render(adapted, tools=given, add_generation_prompt=asks, now=now, extra=extra)

        if continue_final_message:
            _check_continued(checked[-1])
            write_all = partial(render_open, render=write)
        else:
            write_all = partial(write, asks=add_generation_prompt)
        runs = write_all(checked)
        if dialect is not None:
            check_traces(checked, runs, write_all)
        return runs

    def warn(self, what: str, message: str) -> None:
        """Logs a warning, once for each ``what``."""
        if what not in self._warned:
            self._warned.add(what)
            logger.warning("%s", message)

    def _check_variables(self, template: ChatTemplate, extra: Mapping[str, object]) -> None:
        for name in extra.keys() - template.variables:
            near = difflib.get_close_matches(str(name), template.variables, n=1)
            hint = f": did you mean {near[0]!r}?" if near else ""
            self.warn(f"variable {name}", f"template_kwargs: the chat template does not use {name!r}{hint}")

    def encode(
        self, runs: Runs, *, trusts_contents: bool = False, check: Callable[[], object] | None = None
    ) -> list[int]:
        """The token ids of a rendered prompt, with one BOS if the model expects it.

        Only scaffold becomes control tokens; the same text in a message stays text, unless contents are trusted.
        ``check`` is called from time to time while a long text is tokenized, and may raise.
        """
        tokens = self._encode_text([(text, True) for text, _ in runs] if trusts_contents else runs, check)
        if self._model.adds_bos and self._model.bos >= 0 and tokens[:1] != [self._model.bos]:
            tokens.insert(0, self._model.bos)
        return tokens

    def _encode_text(self, runs: Runs, check: Callable[[], object] | None) -> list[int]:
        text = "".join(piece for piece, _ in runs)
        matches = self._control.find(text, runs)
        if all(match.is_trusted for match in matches):
            return self._model.encode(text, add_special=False, parse_special=True, check=check)
        # A message contains the text of a control token. The text between the template's own control tokens, where
        # the tokenizer starts afresh anyway, is tokenized without parsing control tokens.
        tokens: list[int] = []
        begin = 0
        for match in matches:
            if not match.is_trusted or match.begin < begin:
                continue
            piece = text[begin : match.begin]
            tokens += self._encode_plain(piece.rstrip() if match.strips_left else piece, check)
            tokens.append(match.token)
            begin = match.end
            if match.strips_right:
                begin += len(text[begin:]) - len(text[begin:].lstrip())
        return tokens + self._encode_plain(text[begin:], check)

    def _encode_plain(self, text: str, check: Callable[[], object] | None) -> list[int]:
        return self._model.encode(text, add_special=False, parse_special=False, check=check) if text else []

    @property
    def template(self) -> ChatTemplate | None:
        if self._template is None and self.source == "model":
            self._template = self._compile(self._own)
        return self._template

    @cached_property
    def _dialect(self) -> Dialect | None:
        compiled = self.template
        return None if compiled is None else _dialect(compiled)

    def _compile(self, source: str) -> ChatTemplate:
        from tea_llm.chat.template import ChatTemplate  # imports jinja2, which only chats need

        model = self._model
        texts = {token: text.decode("utf-8", "replace") for token, text, _, _ in model.control_tokens()}
        return ChatTemplate(source, bos_token=texts.get(model.bos, ""), eos_token=texts.get(model.eos, ""))


def _dialect(template: ChatTemplate) -> Dialect:
    from tea_llm.chat.dialect import Dialect

    return Dialect(template)


def _check_continued(message: Mapping[str, Any]) -> None:
    if message["role"] != "assistant" or "tool_calls" in message or not text_of(message["content"]).strip():
        raise ValueError(
            "continue_final_message needs an assistant message with text at the end, but the last message "
            f"is of role {message['role']!r}{' and has no text' if message['role'] == 'assistant' else ''}"
        )


def _template_source(given: str | os.PathLike[str]) -> str:
    """The Jinja source: ``given`` itself, or the contents of the file it names."""
    text = check_path("chat_template", given)
    is_path = isinstance(given, os.PathLike) or ("{" not in text and "\n" not in text)
    if not is_path:
        return text
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f"chat_template={given!r} is neither a Jinja template nor an existing file")
    return path.read_text(encoding="utf-8")


class _Match:
    """A control token's text inside a prompt. Trusted: the template wrote all of it."""

    __slots__ = ("begin", "end", "is_trusted", "strips_left", "strips_right", "token")

    def __init__(self, begin: int, end: int, is_trusted: bool, entry: tuple[int, bool, bool]) -> None:
        self.begin = begin
        self.end = end
        self.is_trusted = is_trusted
        self.token, self.strips_left, self.strips_right = entry


class _ControlTokens:
    """Finds the texts of a model's control tokens in a prompt."""

    def __init__(self, model: _core.Model) -> None:
        self._entries: dict[str, tuple[int, bool, bool]] = {}
        for token, text, strips_left, strips_right in model.control_tokens():
            self._entries.setdefault(text.decode("utf-8", "replace"), (token, strips_left, strips_right))
        longest_first = sorted(self._entries, key=len, reverse=True)
        firsts = "".join(sorted({re.escape(text[0]) for text in longest_first}))
        # The lookahead also finds overlapping matches; the set of first characters keeps it fast.
        pattern = f"(?=[{firsts}])(?=({'|'.join(map(re.escape, longest_first))}))"
        self._pattern = re.compile(pattern) if longest_first else None

    def find(self, text: str, runs: Runs) -> list[_Match]:
        """All occurrences in ``text``, the joined ``runs``, ordered by position."""
        if self._pattern is None:
            return []
        scaffold: list[tuple[int, int]] = []
        position = 0
        for piece, is_scaffold in runs:
            if is_scaffold:
                scaffold.append((position, position + len(piece)))
            position += len(piece)
        matches = []
        run = 0
        for found in self._pattern.finditer(text):
            begin, end = found.span(1)
            while run < len(scaffold) and scaffold[run][1] <= begin:
                run += 1
            is_trusted = run < len(scaffold) and scaffold[run][0] <= begin and end <= scaffold[run][1]
            matches.append(_Match(begin, end, is_trusted, self._entries[found[1]]))
        return matches
