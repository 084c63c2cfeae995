"""The values that go into and come out of every backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from tea_llm._parsed import Parsed, takes_parsed

__all__ = [
    "ChatMessage",
    "Choice",
    "EmbedInfo",
    "EngineStats",
    "FinishReason",
    "LlmCallParams",
    "LlmCallResult",
    "Message",
    "ModelInfo",
    "RerankResult",
    "StreamChunk",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
]

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
"""``"stop"``: the model ended its text or a stop string came up; ``"length"``: max_tokens or the context is used up;
``"tool_calls"``: the model wants functions called; ``"content_filter"``: an API cut the answer."""


@dataclass(frozen=True, slots=True)
class LlmCallParams:
    """A raw completion as one value, for ``call(params)`` and ``stream(params)``.

    Attributes:
        prompt: text that the model continues.
        max_tokens: most tokens to generate; None: until the model ends or the context is full.
        temperature: 0 is greedy.
        stop: the text ends before the first of these.
    """

    prompt: str
    max_tokens: int | None = 100
    temperature: float = 0.7
    stop: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation.

    Attributes:
        role: ``"system"``, ``"user"`` or ``"assistant"``; what else a model's template knows is passed on.
        content: the text.
    """

    role: str
    content: str


Message: TypeAlias = ChatMessage | Mapping[str, Any]
"""What ``chat`` takes as one message: a ``ChatMessage``, or a dict in the OpenAI API's form.

Its keys are ``role``, ``content``, ``name``, an assistant's ``reasoning_content`` and ``tool_calls``, and a tool's
``tool_call_id``."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the model wants called.

    Attributes:
        id: names this call in the ``tool_call_id`` of the message that answers it.
        name: of the function.
        arguments: by parameter name.
        problems: why the arguments do not fit the function's parameters; empty: they do. The log has them, too.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call while it is written, as OpenAI's API streams it.

    Attributes:
        index: of the call in its answer.
        id: of the call, in its first piece; else None.
        name: of the function, in the call's first piece; else None.
        arguments: more of the JSON text of its arguments.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one request.

    Attributes:
        prompt_tokens: of the prompt, cached ones included.
        completion_tokens: generated, without the end-of-generation token.
        total_tokens: the sum of both.
        cached_tokens: of the prompt, taken from an earlier request's computation.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one request went, in milliseconds.

    Attributes:
        queue_ms: until the engine began with it.
        prefill_ms: computing the prompt.
        ttft_ms: from the call to the first generated token; 0.0 when there was none.
        decode_ms: from the first to the last generated token.
        tokens_per_s: generated tokens per second of ``decode_ms``; 0.0 below two tokens.
    """

    queue_ms: float
    prefill_ms: float
    ttft_ms: float
    decode_ms: float
    tokens_per_s: float


_Bytes: TypeAlias = bytes  # inside the class that name is a field


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and how likely the model found it, before any sampling option.

    Attributes:
        token: its text; bytes that are not whole UTF-8 characters become U+FFFD.
        logprob: natural logarithm of its probability.
        bytes: of its text; None: an API did not say.
        top_logprobs: of the place where it was generated, the most likely tokens, best first; empty if not asked for.
    """

    token: str
    logprob: float
    bytes: _Bytes | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()


@takes_parsed
@dataclass(frozen=True, slots=True, repr=False)
class Choice(Parsed):
    """One of several answers to the same prompt.

    Attributes:
        index: 0 to n-1.
        content: as ``LlmCallResult``.
        finish_reason: as ``LlmCallResult``.
        tool_calls: as ``LlmCallResult``.
        reasoning: as ``LlmCallResult``.
        logprobs: as ``LlmCallResult``.
        parsed: as ``LlmCallResult``.
        refusal: as ``LlmCallResult``.
    """

    index: int
    content: str
    finish_reason: FinishReason
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    if TYPE_CHECKING:
        parsed: Any = None
    else:
        _parsed: Any = None
    refusal: str | None = None


@takes_parsed
@dataclass(frozen=True, slots=True, repr=False)
class LlmCallResult(Parsed):
    """What one request gave.

    Attributes:
        content: the generated text, without the stop string. A character cut by ``max_tokens`` is left out.
        model: the model's name.
        tokens_used: generated tokens; None: an API did not say.
        finish_reason: why it ended: see ``FinishReason``.
        usage: token counts; all 0 where an API did not say.
        timings: durations; None for an API's answer.
        backend: who answered.
        tool_calls: functions that the model wants called.
        reasoning: what the model wrote for itself before the answer; None: nothing.
        logprobs: of each generated token, if asked for.
        parsed: with ``response_format``, what ``content`` holds: an object of the pydantic class, or plain lists and
            dicts; None for a JSON null, and where the model called functions instead. Reading it raises
            ``AnswerCutError`` where the answer was cut off before it was a whole value.
        choices: with ``n`` above 1 all answers, in their order; ``content``, ``finish_reason``, ``tool_calls``,
            ``reasoning``, ``logprobs`` and ``parsed`` are then the first one's; ``tokens_used``, ``usage`` and
            ``timings`` those of all. Else empty.
        fallback_reason: why an API answered where a local model was wanted, or another local model than the one that
            ``TEA_MODEL_PATH`` or the settings name, which is not there; None: it answered as asked.
        refusal: the text in which an API's model refused to answer, which is in ``content``, too; None: it did not.
    """

    content: str
    model: str
    tokens_used: int | None
    finish_reason: FinishReason
    usage: Usage
    timings: Timings | None = None
    backend: Literal["local", "api"] = "local"
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    logprobs: tuple[TokenLogprob, ...] | None = None
    if TYPE_CHECKING:
        parsed: Any = None
    else:
        _parsed: Any = None
    choices: tuple[Choice, ...] = ()
    fallback_reason: str | None = None
    refusal: str | None = None


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A piece of a streamed answer; the pieces' texts joined are the result's content.

    Attributes:
        text: new text; empty in the last chunk, and where something else is new.
        index: of the choice that goes on so; 0 unless ``n`` is above 1.
        finish_reason: None but in the last chunk, of which each choice has its own.
        tool_calls: the result's, in the last chunk.
        reasoning: more of the result's.
        tool_call_deltas: more of calls, while they are written.
    """

    text: str
    index: int = 0
    finish_reason: FinishReason | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    tool_call_deltas: tuple[ToolCallDelta, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedInfo:
    """What ``embed(return_info=True)`` tells beside the vectors.

    Attributes:
        n_tokens: of each text, as it was embedded.
        is_truncated: of each text, whether it was cut.
    """

    n_tokens: tuple[int, ...]
    is_truncated: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class RerankResult:
    """How well a document answers a query.

    Attributes:
        index: of the document in the list that was given.
        score: the higher, the better; what it means is the model's.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is loaded, and how.

    Attributes:
        path: of the model file.
        name: the file's name without its ending; ``LlmCallResult.model``.
        description: architecture, size and quantization in llama.cpp's words.
        n_params: parameters.
        size_bytes: of the weights.
        n_vocab: tokens of the vocabulary.
        n_ctx: tokens of the longest request, prompt and answer together.
        n_ctx_train: tokens of context the model was trained for.
        n_parallel: requests that run at once.
        n_threads: threads that compute.
        chat_format: ``"template"``, or the name of a format.
        chat_format_source: where it comes from: ``"argument"``, ``"model"``, ``"file name"`` or ``"default"``.
        kernels: the CPU features llama.cpp's kernels use.
        pooling: how the file says that a text's vector is made of its tokens': ``"mean"``, ``"cls"``, ``"last"``,
            ``"rank"``; ``"none"``: it does not say, and ``embed`` takes the mean.
        fallback_reason: why this model was loaded instead of the one that ``TEA_MODEL_PATH`` or the settings name;
            None: it was wanted.
    """

    path: str
    name: str
    description: str
    n_params: int
    size_bytes: int
    n_vocab: int
    n_ctx: int
    n_ctx_train: int
    n_parallel: int
    n_threads: int
    chat_format: str
    chat_format_source: str
    kernels: str
    pooling: str
    fallback_reason: str | None = None


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What an engine did since it was loaded, and what it does now.

    Attributes:
        requests: submitted.
        running: requests that are computed now.
        waiting: requests that wait for a sequence, for cells, or for a prefix that another one computes.
        prompt_tokens: computed; cached ones are not.
        cached_tokens: of prompts, that needed no computing.
        generated_tokens: sampled.
        guessed_tokens: computed on a guess (``load(prompt_lookup=...)``).
        right_guesses: of them, those that the model then chose.
        cells: of the KV cache as large as it is now; one holds one token.
        cells_used: by running requests. What several share counts once.
        cells_idle: by finished ones, kept for reuse.
        cells_free: by nobody.
        parked_tokens: of finished requests, kept outside of the KV cache (``load(cache_ram=...)``).
        steps: batches computed.
        preemptions: times a running request had to give way to a more urgent one.
        threads: that compute now; fewer than ``info.n_threads`` while other processes take the processors.
        wake_ups: of event loops: at most one for each loop and step.
        step_ms_p50: of the last 1024 steps, the median time in milliseconds.
        step_ms_p95: of these, what 95 % did not exceed.
        step_ms_p99: of these, what 99 % did not exceed.
    """

    requests: int
    running: int
    waiting: int
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int
    guessed_tokens: int
    right_guesses: int
    cells: int
    cells_used: int
    cells_idle: int
    cells_free: int
    parked_tokens: int
    steps: int
    preemptions: int
    threads: int
    wake_ups: int
    step_ms_p50: float
    step_ms_p95: float
    step_ms_p99: float
