"""Turns calls into requests, and submits them to the native engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tea_llm.backends.options import SAMPLING, GenerationOptions
from tea_llm.chat.tools import chosen_tools
from tea_llm.errors import GrammarError
from tea_llm.types import Message

if TYPE_CHECKING:
    from tea_llm import _core
    from tea_llm.answers.format import AnswerFormat
    from tea_llm.answers.grammars import AnswerFormats
    from tea_llm.chat.prompt import ChatPrompt

__all__ = ["chat_request", "grammar_of", "submit"]


def chat_request(
    prompt: ChatPrompt,
    answer_formats: AnswerFormats,
    messages: Iterable[Message],
    options: GenerationOptions,
    *,
    check: Callable[[], object] | None = None,
    check_fits: Callable[[str], object] | None = None,
) -> tuple[list[int], GenerationOptions, str, AnswerFormat | None]:
    """Prepares a chat for ``submit``: the prompt's tokens, the options, the grammar, and the answer format.

    Args:
        prompt: renders and encodes the messages.
        answer_formats: the formats of the prompt's template.
        messages: messages of the chat.
        options: options of the call.
        check: called regularly while the prompt is tokenized; may raise.
        check_fits: called with the prompt before it is tokenized; may raise.

    Raises:
        GrammarError, TemplateError, TypeError, ValueError: as ``LlmBackend.chat``.
    """
    tools, is_required = chosen_tools(options.tools, options.tool_choice)
    continues = options.continue_final_message
    runs = prompt.render(
        messages, tools=tools, continue_final_message=continues, now=options.now, extra=options.template_kwargs
    )
    if check_fits is not None:
        check_fits("".join(text for text, _ in runs))
    tokens = prompt.encode(runs, trusts_contents=options.trust_special_tokens, check=check)
    grammar = grammar_of(options)
    answer_format = answer_formats.get(
        tools=tools,
        is_required=is_required,
        constraint="" if continues else grammar,
        is_json=options.response_format is not None,
        variables=options.template_kwargs,
    )
    if options.reasoning_budget is not None and (continues or answer_format is None or not answer_format.reasoning_end):
        prompt.warn("reasoning_budget", "reasoning_budget has no effect: these answers have no reasoning")
    if continues and answer_format is not None:  # the answer continues inside its text
        return tokens, replace(options, stop=(*options.stop, *answer_format.native.stop)), grammar, None
    return tokens, options, grammar, answer_format


def grammar_of(options: GenerationOptions) -> str:
    """The GBNF grammar that the answer must match; empty: any text.

    Raises:
        GrammarError: the constraint cannot be written as a grammar.
    """
    if options.response_format is not None:
        return options.response_format.grammar()
    if options.regex is not None:
        from tea_llm.grammar.regex import regex_to_gbnf

        return regex_to_gbnf(options.regex)
    return options.grammar or ""


def submit(
    engine: _core.Engine,
    tokens: Sequence[int],
    options: GenerationOptions,
    *,
    seed: int,
    grammar: str,
    answer_format: AnswerFormat | None,
    timeout_s: float,
) -> list[_core.Request]:
    """Submits one request for each of ``options.n`` answers.

    Args:
        engine: engine that runs the requests.
        tokens: tokens of the prompt.
        options: options of the call.
        seed: seed of the first answer; used instead of ``options.seed``.
        grammar: GBNF grammar of the answers, used if there is no ``answer_format``.
        answer_format: format of the answers; None: plain text.
        timeout_s: remaining time; used instead of ``options.timeout``. 0: no limit.
    """
    sampling: dict[str, object] = {name: getattr(options, name) for name in SAMPLING}
    sampling["logit_bias"] = list((options.logit_bias or {}).items())
    kept_to = _plain_text(options, grammar) if answer_format is None else _kept_to(answer_format, options)
    with _too_large_a_regex(options):
        return engine.submit(
            tokens,
            max_tokens=-1 if options.max_tokens is None else options.max_tokens,
            sampling=sampling,
            n_logprobs=(options.top_logprobs or 0) if options.logprobs else -1,
            seeds=[(seed + index) % 2**64 for index in range(options.n)],
            ignore_eos=options.ignore_eos,
            timeout_s=timeout_s,
            priority=options.priority,
            **kept_to,
        )


def _plain_text(options: GenerationOptions, grammar: str) -> dict[str, Any]:
    return {"grammar": grammar, "stop": options.stop}


def _kept_to(answer_format: AnswerFormat, options: GenerationOptions) -> dict[str, Any]:
    """The arguments of ``Engine.submit`` that an answer format determines."""
    native = answer_format.native
    return {
        "grammar": answer_format.grammar,
        "grammar_prefix": answer_format.grammar_prefix,
        "markers": native.markers,
        "reasoning_budget": -1 if options.reasoning_budget is None else options.reasoning_budget,
        "reasoning_start": native.reasoning_start,
        "reasoning_end": answer_format.reasoning_end,
        "is_reasoning": answer_format.is_reasoning,
        "stop": [*options.stop, *native.stop],
    }


@contextmanager
def _too_large_a_regex(options: GenerationOptions) -> Iterator[None]:
    """Says that the regex is too large: its grammar is valid, so llama.cpp can only reject it for its size."""
    try:
        yield
    except GrammarError as error:
        if options.regex is None:
            raise
        raise GrammarError(
            f"regex={options.regex!r} is too large for llama.cpp's grammars: repeat less, or nest repetitions less"
        ) from error
