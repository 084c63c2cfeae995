"""The interface of all backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from tea_llm.backends.embedding import Embeds
from tea_llm.backends.options import takes_options
from tea_llm.backends.streams import AsyncTextStream, PendingAnswer, PendingInLoop, TextStream, deliver
from tea_llm.types import LlmCallParams, LlmCallResult, Message

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from tea_llm.backends.options import Options

__all__ = ["LlmBackend"]


class LlmBackend(Embeds, ABC):
    """Answers prompts and conversations. All methods are thread-safe.

    All methods that generate text take the same ``**options``:

    Args:
        max_tokens: maximum number of tokens to generate, at least 1. None: until the model ends its answer or the
            context is full. Default 100. With a ``response_format`` the default is None, because half a JSON document
            is useless.
        temperature: randomness; 0 is greedy. Default 0.7.
        top_p: keep the most likely tokens whose probabilities add up to this value; 1: keep all. Default 0.95.
        top_k: keep this many of the most likely tokens; 0: keep all. Default 40.
        min_p: drop tokens whose probability is below this fraction of the most likely token's; 0: keep all. Default
            0.05.
        typical_p: locally typical sampling: keep the tokens whose surprise is closest to the expected surprise, up to
            this total probability; 1: keep all. Default 1.
        seed: 0 to 2**64-1. The same seed gives the same text, apart from float rounding. None (default): random.
        stop: a string or several; the answer ends before the first one that occurs. None (default): no stop strings.
        n: number of answers, 1 to 128. The prompt is computed once for all of them. Each answer's seed is one higher
            than the seed of the answer before it. Default 1.
        repeat_penalty: divisor for the logits of tokens that occurred before; 1: off. Default 1.
        presence_penalty: subtracted from the logits of tokens that occurred before, -2 to 2. Default 0.
        frequency_penalty: subtracted from the logits of tokens for each time that they occurred. Default 0.
        repeat_last_n: number of tokens that these three penalties look back, including the prompt's; -1: all. Default
            64.
        dry_multiplier: strength of the DRY penalty for tokens that would continue a repetition; 0: off. The penalty is
            ``dry_multiplier * dry_base ** (length - dry_allowed_length)``. Default 0.
        dry_base: see ``dry_multiplier``. Default 1.75.
        dry_allowed_length: longest repetition without a penalty. Default 2.
        dry_penalty_last_n: number of tokens that DRY looks back; -1: all. Default -1.
        dry_sequence_breakers: texts that end a repetition. Default newline, ``:``, ``"``, ``*``.
        xtc_probability: probability of excluding the top choices (XTC) at a token: of the tokens above
            ``xtc_threshold``, only the least likely one is kept. Default 0.
        xtc_threshold: see ``xtc_probability``; above 0.5: off. Default 0.1.
        mirostat: 2: replace the filters above with Mirostat 2.0, which keeps the surprise of the text near
            ``mirostat_tau``; 0: off. Default 0.
        mirostat_tau: target surprise in bits. Default 5.
        mirostat_eta: learning rate of Mirostat. Default 0.1.
        logit_bias: values to add to logits, by token id. None (default): nothing.
        logprobs: whether to report ``LlmCallResult.logprobs``. Default False.
        top_logprobs: number of most likely tokens to report at each position, 0 to 20; needs ``logprobs``. None
            (default): none.
        ignore_eos: generate past the end-of-generation token, for benchmarks. Default False.
        tools: functions that the model may call, for ``chat`` and ``stream_chat``: Python functions (as in
            ``run_tools``), or descriptions in the OpenAI API's form. A local model writes calls in the form that it was
            trained on, and a grammar keeps arguments to their schemas as far as llama.cpp's grammars allow.
        tool_choice: ``"auto"`` (default), ``"none"``, ``"required"``, or one function in the OpenAI API's form.
        response_format: the JSON to answer with: a pydantic class, a JSON schema, or ``{"type": "json_object"}`` or
            ``json_schema`` in the OpenAI API's form. ``LlmCallResult.parsed`` has the value. A grammar keeps local
            models to it. None (default): any text.
        priority: -1000 to 1000. Requests with a higher priority start first, and preempt running ones if they need
            their place. Each ten seconds of waiting count as one more. Default 0. Local only.
        grammar: a GBNF grammar, in llama.cpp's syntax, that the whole answer matches, unless ``max_tokens`` or a stop
            string ends it early. Local only.
        regex: a regular expression that the whole answer matches, as ``grammar``. Python's syntax without lookbehind
            and backreferences; ``.`` matches anything but a newline; ``\\d``, ``\\w`` and ``\\s`` are ASCII. Local
            only.
        template_kwargs: extra variables for the chat template, for example ``{"enable_thinking": False}``. Local only.
        now: the time for templates that ask for it. None (default): the current time. Local only.
        reasoning_budget: maximum number of reasoning tokens before the answer; 0: no reasoning. None (default): no
            limit. Local only.
        trust_special_tokens: let texts in messages that look like control tokens become control tokens. Default
            False. Local only.
        continue_final_message: treat the last message, which must be an assistant's, as the beginning of the answer
            and continue it; ``content`` has only the new text. Cannot be used with ``tools`` or ``response_format``;
            ``grammar`` and ``regex`` apply to the new text. Default False. Local only.
        timeout: seconds until the request fails with ``GenerationTimeoutError``. None (default): no limit.

    Raises:
        TypeError: an unknown option, or an argument of a wrong type.
        ValueError: an argument out of range, an empty prompt, no messages, or an option that this backend does not
            support.
        ContextOverflowError: the prompt does not fit into the context.
        GenerationTimeoutError: the timeout expired; ``partial`` has the text generated so far.
        EngineClosedError: the backend is closed.
        InferenceError: any other failure of a local model.
        ApiError: any other failure of an API.
    """

    @takes_options
    def call(self, prompt: str | Sequence[int] | LlmCallParams, **options: Unpack[Options]) -> LlmCallResult:
        """Continues a raw prompt.

        Args:
            prompt: a text, token ids, or ``LlmCallParams``. The values of ``LlmCallParams`` are used for options of the
                same names that are not given. A text is prefixed with the model's BOS token, and control tokens may be
                written in it as text.
            **options: see the class.
        """
        return self._ask(prompt, options).wait()

    @takes_options
    def chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> LlmCallResult:
        """Generates the assistant's next message.

        Args:
            messages: dicts in the OpenAI API's form, or ``ChatMessage``s. Their contents cannot become control tokens.
            **options: see the class.
        """
        return self._ask_chat(messages, options).wait()

    @overload
    def stream(
        self, prompt: str | Sequence[int] | LlmCallParams, callback: None = None, **options: Unpack[Options]
    ) -> TextStream: ...
    @overload
    def stream(
        self,
        prompt: str | Sequence[int] | LlmCallParams,
        callback: Callable[[str], object],
        **options: Unpack[Options],
    ) -> LlmCallResult: ...
    @takes_options
    def stream(
        self,
        prompt: str | Sequence[int] | LlmCallParams,
        callback: Callable[[str], object] | None = None,
        **options: Unpack[Options],
    ) -> TextStream | LlmCallResult:
        """Like ``call``, but streams the text.

        Args:
            prompt: as ``call``.
            callback: called on this thread with each new piece of text; if it raises, the request is cancelled. None:
                return a ``TextStream`` to iterate over instead of the result.
            **options: see the class.
        """
        return deliver(lambda: self._ask(prompt, options).stream(), callback, options)

    @overload
    def stream_chat(
        self, messages: Iterable[Message], callback: None = None, **options: Unpack[Options]
    ) -> TextStream: ...
    @overload
    def stream_chat(
        self, messages: Iterable[Message], callback: Callable[[str], object], **options: Unpack[Options]
    ) -> LlmCallResult: ...
    @takes_options
    def stream_chat(
        self,
        messages: Iterable[Message],
        callback: Callable[[str], object] | None = None,
        **options: Unpack[Options],
    ) -> TextStream | LlmCallResult:
        """Like ``chat``, but streams the text.

        Args:
            messages: as ``chat``.
            callback: as ``stream``.
            **options: see the class.
        """
        return deliver(lambda: self._ask_chat(messages, options).stream(), callback, options)

    @takes_options
    async def acall(self, prompt: str | Sequence[int] | LlmCallParams, **options: Unpack[Options]) -> LlmCallResult:
        """``call`` for asyncio. Cancelling the task cancels the request. No thread is blocked meanwhile."""
        return await self._in_loop(self._ask, prompt, options).join()

    @takes_options
    async def achat(self, messages: Iterable[Message], **options: Unpack[Options]) -> LlmCallResult:
        """``chat`` for asyncio; see ``acall``."""
        return await self._in_loop(self._ask_chat, messages, options).join()

    @takes_options
    def astream(self, prompt: str | Sequence[int] | LlmCallParams, **options: Unpack[Options]) -> AsyncTextStream:
        """``stream`` for asyncio: iterate with ``async for``."""
        return self._in_loop(self._ask, prompt, options).astream()

    @takes_options
    def astream_chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> AsyncTextStream:
        """``stream_chat`` for asyncio: iterate with ``async for``."""
        return self._in_loop(self._ask_chat, messages, options).astream()

    # Backends implement these.

    @abstractmethod
    def _ask(self, prompt: str | Sequence[int] | LlmCallParams, options: Options) -> PendingAnswer:
        """The pending answer to a raw prompt. Invalid arguments raise before anything is sent or queued."""

    @abstractmethod
    def _ask_chat(self, messages: Iterable[Message], options: Options) -> PendingAnswer:
        """The pending answer to a conversation; see ``_ask``."""

    def _in_loop(self, ask: Callable[[Any, Options], PendingAnswer], given: object, options: Options) -> PendingInLoop:
        """``ask`` for an event loop. Backends override this to move long preparation off the loop."""
        return ask(given, options)

    def run_tools(  # type: ignore[misc]  # "tools" is an option, too
        self,
        messages: Iterable[Message],
        tools: Sequence[Callable[..., object]],
        *,
        max_rounds: int = 10,
        **options: Unpack[Options],
    ) -> LlmCallResult:
        """Chats, runs the functions that the model calls and sends it their results, until it calls none.

        Args:
            messages: as ``chat``. If this is a ``Conversation``, all new messages are added to it.
            tools: Python functions with type hints. The model sees their names, their hints and the first paragraph of
                each docstring. If a function raises, the model gets the error message and may try again; the log has
                the traceback (level DEBUG).
            max_rounds: maximum number of answers, 1 to 1000.
            **options: see the class. ``tool_choice`` applies to the first round only.

        Returns:
            The last answer. Its ``finish_reason`` is ``"tool_calls"`` if ``max_rounds`` was too low.

        Raises:
            TypeError, ValueError: a function cannot be a tool (because it is ``async``, for example); and as ``chat``.

        Example:
            >>> def add(a: int, b: int) -> int:
            ...     "Adds two numbers."
            ...     return a + b
            >>> llm.run_tools([{"role": "user", "content": "17 + 25?"}], [add]).content  # doctest: +SKIP
            '42'
        """
        from tea_llm.chat.functions import ToolRun

        run = ToolRun(messages, tools, max_rounds, options)
        while run.goes_on:
            for call in run.take(self.chat(run.talk, **run.options())):
                run.talk.append(run.functions.answer(call))
        return run.result

    async def arun_tools(  # type: ignore[misc]  # "tools" is an option, too
        self,
        messages: Iterable[Message],
        tools: Sequence[Callable[..., object]],
        *,
        max_rounds: int = 10,
        **options: Unpack[Options],
    ) -> LlmCallResult:
        """``run_tools`` for asyncio. The functions may be ``async``."""
        from tea_llm.chat.functions import ToolRun

        run = ToolRun(messages, tools, max_rounds, options, takes_async=True)
        while run.goes_on:
            for call in run.take(await self.achat(run.talk, **run.options())):
                run.talk.append(await run.functions.aanswer(call))
        return run.result

    @abstractmethod
    def close(self) -> None:
        """Frees all resources. Running requests fail with ``EngineClosedError``. Closing twice does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
