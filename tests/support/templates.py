"""Chat templates as the tests use them: ours beside the reference."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from support.reference_template import render_reference
from tea_llm.chat.template import ChatTemplate

DIRECTORY = Path(__file__).parents[2] / "vendor/llama.cpp/models/templates"
NAMES = sorted(path.stem for path in DIRECTORY.glob("*.jinja"))
BOS, EOS = "<BOS>", "<EOS>"
NOW = datetime(2025, 3, 4, 5, 6, 7)

Messages = list[dict[str, Any]]


def chat(*turns: str) -> Messages:
    """Turns in the form ``"role: content"``."""
    return [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]


@cache
def source_of(name: str) -> str:
    return (DIRECTORY / f"{name}.jinja").read_text(encoding="utf-8")


@cache
def compiled(source: str) -> ChatTemplate:
    return ChatTemplate(source, bos_token=BOS, eos_token=EOS)


def attempt(render: Callable[[], str]) -> str | Exception:
    try:
        return render()
    except Exception as error:
        return error


def render_both(source: str, messages: Messages, **options: Any) -> tuple[str | Exception, str | Exception]:
    """Our text and the reference's, or their exceptions."""
    extra = options.pop("extra", {})
    ours = attempt(lambda: compiled(source).render_text(messages, now=NOW, extra=extra, **options))
    theirs = attempt(
        lambda: render_reference(source, messages, now=NOW, bos_token=BOS, eos_token=EOS, **options, **extra)
    )
    return ours, theirs
