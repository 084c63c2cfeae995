"""The contract that every backend keeps."""

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
    """Answers prompts and conversations. Every method may be called from any thread.

    ``**options`` are the same everywhere:

    Args:
        max_tokens: most tokens to generate, at least 1; None: until the model ends or the context is full.
            Default 100. With a ``response_format``, of which half is of no use, the default is None.
        temperature: 0 is greedy; higher is more random. Default 0.7.
        top_p: keep the most likely tokens that make up this probability; 1: all. Default 0.95.
        top_k: keep this many of the most likely tokens; 0: all. Default 40.
        min_p: keep tokens at least this likely relative to the most likely one; 0: all. Default 0.05.
        typical_p: keep the tokens whose surprise is nearest to the expected one, that make up this probability; 1: all.
            Default 1.
        seed: 0 to 2**64-1; the same seed gives the same text up to float rounding. None (default): random.
        stop: one or several strings; the text ends before the first of them. None (default): none.
        n: answers to give, 1 to 128; they share the prompt's computation. The second one's seed is ``seed + 1``, and
            so on. Default 1.
        repeat_penalty: divides the logits of tokens that came up before; 1: none. Default 1.
        presence_penalty: subtracted from the logits of tokens that came up before, -2 to 2. Default 0.
        frequency_penalty: the same times how often they did. Default 0.
        repeat_last_n: tokens that these three look back, the prompt's included; -1: all. Default 64.
        dry_multiplier: how much less likely a token gets that would go on with a repetition ("DRY"); 0: none. The
            penalty is ``dry_multiplier * dry_base ** (length - dry_allowed_length)``. Default 0.
        dry_base: see there. Default 1.75.
        dry_allowed_length: the longest repetition that costs nothing. Default 2.
        dry_penalty_last_n: tokens that it looks back; -1: all. Default -1.
        dry_sequence_breakers: texts over which nothing counts as repeated. Default newline, ``:``, ``"``, ``*``.
        xtc_probability: how often the likeliest tokens are left out, so that only the least likely of those above
            ``xtc_threshold`` is kept ("exclude top choices"). Default 0.
        xtc_threshold: see there; above 0.5: none. Default 0.1.
        mirostat: 2: instead of the filters above keep the surprise of the text near ``mirostat_tau``. Default 0.
        mirostat_tau: bits. Default 5.
        mirostat_eta: how fast it adapts. Default 0.1.
        logit_bias: numbers to add to logits, by token id. None (default): none.
        logprobs: report ``LlmCallResult.logprobs``. Default False.
        top_logprobs: with it, so many of the likeliest tokens at each place, 0 to 20. None (default): none.
        ignore_eos: never end by itself (for measuring). Default False.
        tools: functions that the model may call: Python functions (as ``run_tools``), or descriptions in the OpenAI
            API's form; for ``chat`` and ``stream_chat``. A local model writes calls in its own form, and only with
            arguments that their schema allows, as far as llama.cpp's grammars go.
        tool_choice: ``"auto"`` (the default), ``"none"``, ``"required"``, or one function in the OpenAI API's form.
        response_format: what JSON the answer is: a pydantic class, a JSON schema, or ``{"type": "json_object"}`` and
            ``json_schema`` in the OpenAI API's form; ``LlmCallResult.parsed`` has its value. Local models cannot
            but keep to it. None (default): any text.
        priority: -1000 to 1000; requests of a higher one go first, and a running request gives way to them where
            they need its place. Ten seconds of waiting count as one more. Default 0. Local only.
        grammar: GBNF, as llama.cpp has it, that the answer matches from its first to its last character, unless
            ``max_tokens`` or a stop string ends it before. Local only.
        regex: a regular expression that it matches in the same way: Python's syntax without look-behind and
            back-references; ``.`` is anything but a newline, ``\\d``, ``\\w`` and ``\\s`` are ASCII. Local only.
        template_kwargs: more variables for the chat template, ``{"enable_thinking": False}`` say. Local only.
        now: the time that a chat template may ask for; None (default): the clock's. Local only.
        reasoning_budget: most tokens of reasoning before the answer; 0: none. None (default): any. Local only.
        trust_special_tokens: texts in messages that read like control tokens become those. Default False. Local only.
        continue_final_message: the last message is the begin of the answer, an assistant's, and the model writes what
            follows it: ``content`` is the new text alone. Not with ``tools`` or ``response_format``; ``grammar`` and
            ``regex`` hold for the new text. Default False: the answer is a message of its own. Local only.
        timeout: seconds after which the request ends with ``GenerationTimeoutError``; None (default): no limit.

    Raises:
        TypeError: an option that does not exist, an argument of a wrong type.
        ValueError: an argument out of range, an empty prompt, no messages, an option that this backend has not got.
        ContextOverflowError: the prompt does not fit.
        GenerationTimeoutError: out of time; ``partial`` has the text so far.
        EngineClosedError: after ``close()``.
        InferenceError: anything else that went wrong in a local model.
        ApiError: anything else that went wrong with an API.
    """

    @takes_options
    def call(self, prompt: str | Sequence[int] | LlmCallParams, **options: Unpack[Options]) -> LlmCallResult:
        """Continues a raw prompt.

        Args:
            prompt: a text, token ids, or ``LlmCallParams``, whose values stand for the options of the same names where
                those are not given. A text gets the model's BOS, and the texts of control tokens in it are control
                tokens.
            **options: see the class.
        """
        return self._ask(prompt, options).wait()

    @takes_options
    def chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> LlmCallResult:
        """Gives the assistant's next message.

        Args:
            messages: dicts in the OpenAI API's form or ``ChatMessage``s. Their contents never become control tokens.
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
        """Like ``call``, with the text as it comes.

        Args:
            prompt: as ``call``.
            callback: called with each new text on this thread; what it raises ends the request. None: a
                ``TextStream`` to iterate over is returned instead of the result.
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
        """Like ``chat``, with the text as it comes.

        Args:
            messages: as ``chat``.
            callback: as ``stream``.
            **options: see the class.
        """
        return deliver(lambda: self._ask_chat(messages, options).stream(), callback, options)

    @takes_options
    async def acall(self, prompt: str | Sequence[int] | LlmCallParams, **options: Unpack[Options]) -> LlmCallResult:
        """``call`` for asyncio. Cancelling the task cancels the request; no thread waits for it."""
        return await self._in_loop(self._ask, prompt, options).join()

    @takes_options
    async def achat(self, messages: Iterable[Message], **options: Unpack[Options]) -> LlmCallResult:
        """``chat`` for asyncio, as ``acall``."""
        return await self._in_loop(self._ask_chat, messages, options).join()

    @takes_options
    def astream(self, prompt: str | Sequence[int] | LlmCallParams, **options: Unpack[Options]) -> AsyncTextStream:
        """``stream`` for asyncio: iterate with ``async for``."""
        return self._in_loop(self._ask, prompt, options).astream()

    @takes_options
    def astream_chat(self, messages: Iterable[Message], **options: Unpack[Options]) -> AsyncTextStream:
        """``stream_chat`` for asyncio: iterate with ``async for``."""
        return self._in_loop(self._ask_chat, messages, options).astream()

    # What a backend implements.

    @abstractmethod
    def _ask(self, prompt: str | Sequence[int] | LlmCallParams, options: Options) -> PendingAnswer:
        """The answer to a raw prompt. Wrong arguments are refused before anything is asked."""

    @abstractmethod
    def _ask_chat(self, messages: Iterable[Message], options: Options) -> PendingAnswer:
        """The answer to a conversation, as ``_ask``."""

    def _in_loop(self, ask: Callable[[Any, Options], PendingAnswer], given: object, options: Options) -> PendingInLoop:
        """What ``ask`` gives, for an event loop: a backend that prepares requests for long does it elsewhere."""
        return ask(given, options)

    def run_tools(  # type: ignore[misc]  # "tools" is an option, too
        self,
        messages: Iterable[Message],
        tools: Sequence[Callable[..., object]],
        *,
        max_rounds: int = 10,
        **options: Unpack[Options],
    ) -> LlmCallResult:
        """Chats, carries out the functions that the model calls and tells it what they gave, until it calls no more.

        Args:
            messages: as ``chat``. A ``Conversation`` gets all messages that come, to go on with.
            tools: Python functions with type hints. The model is told their names, hints and the first paragraphs of
                their docstrings. What a function raises is told to the model, which may do better, and is in the log
                with its traceback (level DEBUG).
            max_rounds: most answers, 1 to 1000.
            **options: see the class. A ``tool_choice`` is for the first round.

        Returns:
            The last answer; its ``finish_reason`` is ``"tool_calls"`` where ``max_rounds`` were not enough.

        Raises:
            TypeError, ValueError: a function that cannot be a tool, an ``async`` one for instance; also as ``chat``.

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
        """``run_tools`` for asyncio; the functions may be ``async``."""
        from tea_llm.chat.functions import ToolRun

        run = ToolRun(messages, tools, max_rounds, options, takes_async=True)
        while run.goes_on:
            for call in run.take(await self.achat(run.talk, **run.options())):
                run.talk.append(await run.functions.aanswer(call))
        return run.result

    @abstractmethod
    def close(self) -> None:
        """Ends running requests with ``EngineClosedError`` and frees everything. Again: does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
