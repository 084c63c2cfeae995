"""Finds messages in the prompt rendered from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any

from tea_llm.chat.tools import text_of
from tea_llm.errors import TemplateError

__all__ = ["check_traces", "render_open"]

Runs = list[tuple[str, bool]]
Messages = Sequence[Mapping[str, Any]]
_MARK = "mark9of9message{}end"


def check_traces(messages: Messages, runs: Runs, render: Callable[[Messages], Runs]) -> None:
    """Checks that the template dropped no text except an assistant's; templates may drop messages of unknown roles.

    Args:
        messages: checked messages.
        runs: the prompt rendered from them.
        render: renders messages; may raise TemplateError.

    Raises:
        TemplateError: the prompt does not depend on the text of a message.
    """
    texts = [text_of(message["content"] or "").strip() for message in messages]
    n_wanted = Counter(texts)
    n_written = Counter(text.strip() for text, is_scaffold in runs if not is_scaffold)
    doubtful = {
        index
        for index, (text, message) in enumerate(zip(texts, messages, strict=True))
        if text and message["role"] != "assistant" and n_written[text] < n_wanted[text]
    }
    shown = _text_with(messages, doubtful, render) if doubtful else None
    for index in sorted(doubtful):  # joined with other text, or changed, or dropped
        if shown is not None and _MARK.format(index) in shown:
            continue
        if _text_with(messages, {index}, render) == "".join(text for text, _ in runs):
            raise TemplateError(
                f"the template dropped message {index} (role {messages[index]['role']!r}): its text makes no "
                "difference to the prompt. Use a role that the template supports, or remove the message"
            )


def render_open(messages: Messages, render: Callable[[Messages], Runs]) -> Runs:
    """The prompt up to the end of the last message's text, so that the model continues it.

    Like transformers' ``continue_final_message``, it keeps white space at the end of the text if the template does.

    Args:
        messages: checked messages; the last one is an assistant's, with text.
        render: renders messages without a generation prompt.

    Raises:
        TemplateError: the template failed, or does not write the last message.
    """
    *others, last = messages
    mark = _MARK.format(len(others))
    runs = render([*others, {**last, "content": f"{text_of(last['content'])}{mark} "}])
    prompt = "".join(text for text, _ in runs)
    end = prompt.rfind(mark)
    if end < 0:
        raise TemplateError("the template dropped the last message, so it cannot be continued")
    if not prompt.startswith(f"{mark} ", end):
        end = len(prompt[:end].rstrip())
    kept: Runs = []
    for text, is_scaffold in runs:
        if end > 0:
            kept.append((text[:end], is_scaffold))
        end -= len(text)
    return kept


def _text_with(messages: Messages, marked: Set[int], render: Callable[[Messages], Runs]) -> str | None:
    """The prompt with marks instead of the texts of some messages; None: the template failed."""
    changed = [
        {**message, "content": _MARK.format(index)} if index in marked else message
        for index, message in enumerate(messages)
    ]
    try:
        return "".join(text for text, _ in render(changed))
    except TemplateError:
        return None
