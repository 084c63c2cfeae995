"""Makes requests of what callers ask for, and hands them to the native engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

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
    formats: AnswerFormats,
    messages: Iterable[Message],
    options: GenerationOptions,
    *,
    check: Callable[[], object] | None = None,
    check_fits: Callable[[str], object] | None = None,
) -> tuple[list[int], GenerationOptions, str, AnswerFormat | None]:
    """What a chat is for ``submit``: the prompt's tokens, the options, the constraint's GBNF, the answer's form.

    Args:
        prompt: renders and encodes the messages.
        formats: of the answers to it.
        messages: of the chat.
        options: of the call.
        check: called now and then while the prompt is tokenized; may raise.
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
    form = formats.get(
        tools=tools,
        is_required=is_required,
        constraint="" if continues else grammar,
        is_json=options.response_format is not None,
        variables=options.template_kwargs,
    )
    if options.reasoning_budget is not None and (continues or form is None or not form.reasoning_end):
        prompt.warn("reasoning_budget", "reasoning_budget has no effect: these answers have no reasoning")
    if continues and form is not None:  # the answer has come to its text already
        return tokens, replace(options, stop=(*options.stop, *form.native.stop)), grammar, None
    return tokens, options, grammar, form


def grammar_of(options: GenerationOptions) -> str:
    """The GBNF that an answer must match; empty: any text.

    Raises:
        GrammarError: it cannot be written as a grammar.
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
    form: AnswerFormat | None,
    timeout_s: float,
) -> list[_core.Request]:
    """One request for each of ``options.n`` answers.

    Args:
        engine: that runs them.
        tokens: of the prompt.
        options: of the call.
        seed: of the first answer, in place of the options'.
        grammar: GBNF of the answers, where they have no ``form`` with another.
        form: of the answers; None: they are plain text.
        timeout_s: in place of the options', of which some has passed; 0: no limit.
    """
    sampling: dict[str, object] = {name: getattr(options, name) for name in SAMPLING}
    sampling["logit_bias"] = list((options.logit_bias or {}).items())
    with _too_large_a_regex(options):
        return engine.submit(
            tokens,
            max_tokens=-1 if options.max_tokens is None else options.max_tokens,
            sampling=sampling,
            grammar=grammar if form is None else form.grammar,
            grammar_prefix="" if form is None else form.grammar_prefix,
            markers=() if form is None else form.native.markers,
            reasoning_budget=-1 if form is None or options.reasoning_budget is None else options.reasoning_budget,
            reasoning_start="" if form is None else form.native.reasoning_start,
            reasoning_end="" if form is None else form.reasoning_end,
            is_reasoning=form is not None and form.is_reasoning,
            n_logprobs=(options.top_logprobs or 0) if options.logprobs else -1,
            seeds=[(seed + index) % 2**64 for index in range(options.n)],
            stop=options.stop if form is None else [*options.stop, *form.native.stop],
            ignore_eos=options.ignore_eos,
            timeout_s=timeout_s,
            priority=options.priority,
        )


@contextmanager
def _too_large_a_regex(options: GenerationOptions) -> Iterator[None]:
    """What is written for a regular expression is a valid grammar: llama.cpp refuses it only for its size."""
    try:
        yield
    except GrammarError as error:
        if options.regex is None:
            raise
        raise GrammarError(
            f"regex={options.regex!r} is too large for llama.cpp's grammars: repeat less, or nest repetitions less"
        ) from error
