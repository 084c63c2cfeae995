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
"""``"stop"``: the model ended its answer, or a stop string occurred; ``"length"``: ``max_tokens`` was reached or the
context is full; ``"tool_calls"``: the model calls functions; ``"content_filter"``: an API cut the answer."""


@dataclass(frozen=True, slots=True)
class LlmCallParams:
    """A prompt and its options in one object, for ``call(params)`` and ``stream(params)``.

    Attributes:
        prompt: text that the model continues.
        max_tokens: maximum number of tokens to generate; None: until the model ends or the context is full.
        temperature: 0 is greedy.
        stop: stop strings; the answer ends before the first one that occurs.
    """

    prompt: str
    max_tokens: int | None = 100
    temperature: float = 0.7
    stop: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a conversation.

    Attributes:
        role: ``"system"``, ``"user"``, ``"assistant"``, or another role that the model's template supports.
        content: the text.
    """

    role: str
    content: str


Message: TypeAlias = ChatMessage | Mapping[str, Any]
"""A message for ``chat``: a ``ChatMessage``, or a dict in the OpenAI API's form.

The keys are ``role``, ``content`` and ``name``; for an assistant's message ``reasoning_content`` and ``tool_calls``;
for a tool's message ``tool_call_id``."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call by the model.

    Attributes:
        id: identifies the call; the message with its result has it as ``tool_call_id``.
        name: the function's name.
        arguments: the arguments by parameter name.
        problems: why the arguments do not match the function's schema; empty: they match. Also logged.
    """

    id: str
    name: str
    arguments: dict[str, Any]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a function call while it is generated, as OpenAI's API streams it.

    Attributes:
        index: index of the call in its answer.
        id: the call's id, in its first piece; else None.
        name: the function's name, in the call's first piece; else None.
        arguments: the next part of the JSON text of its arguments.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request.

    Attributes:
        prompt_tokens: tokens of the prompt, including cached ones.
        completion_tokens: generated tokens, without the end-of-generation token.
        total_tokens: the sum of both.
        cached_tokens: prompt tokens that an earlier request had computed already.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """How long the phases of one request took, in milliseconds.

    Attributes:
        queue_ms: time until the engine started the request.
        prefill_ms: time to compute the prompt.
        ttft_ms: time from the call to the first generated token; 0.0 if there is none.
        decode_ms: time from the first to the last generated token.
        tokens_per_s: generated tokens per second of ``decode_ms``; 0.0 for fewer than two tokens.
    """

    queue_ms: float
    prefill_ms: float
    ttft_ms: float
    decode_ms: float
    tokens_per_s: float


_Bytes: TypeAlias = bytes  # because the class below has a field named bytes


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token and its log-probability, before sampling options apply.

    Attributes:
        token: the token's text; bytes that are not whole UTF-8 characters become U+FFFD.
        logprob: natural logarithm of the token's probability.
        bytes: the bytes of the token's text; None: not reported by an API.
        top_logprobs: the most likely tokens at this position, best first; empty if not requested.
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
    """The result of one request.

    Attributes:
        content: the generated text, without the stop string. A character that ``max_tokens`` cut off is left out.
        model: the model's name.
        tokens_used: number of generated tokens; None: not reported by an API.
        finish_reason: why generation ended; see ``FinishReason``.
        usage: token counts; all 0 if an API does not report them.
        timings: durations; None for an API's answer.
        backend: the kind of backend that answered.
        tool_calls: functions that the model calls.
        reasoning: the model's reasoning before the answer; None: no reasoning.
        logprobs: log-probabilities of the generated tokens, if requested.
        parsed: with ``response_format``, the value of ``content``: an object of the pydantic class, or plain lists and
            dicts. None for a JSON null, or if the model called functions instead. Reading it raises
            ``AnswerCutError`` if the answer was cut off before the value was complete.
        choices: all answers, if ``n`` is above 1; else empty. ``content``, ``finish_reason``, ``tool_calls``,
            ``reasoning``, ``logprobs`` and ``parsed`` are then those of the first answer; ``tokens_used``, ``usage``
            and ``timings`` cover all answers.
        fallback_reason: why an API answered instead of a local model, or another local model instead of the one that
            ``TEA_MODEL_PATH`` or the settings name; None: the requested model answered.
        refusal: the text with which an API's model refused to answer, which is also in ``content``; None: no refusal.
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
    """A piece of a streamed answer. The texts of all pieces together are the result's ``content``.

    Attributes:
        text: new text; empty in the last chunk of a choice, and if only other fields are new.
        index: index of the choice that this piece belongs to; 0 unless ``n`` is above 1.
        finish_reason: set in the last chunk of each choice; else None.
        tool_calls: the result's ``tool_calls``, in the last chunk of each choice.
        reasoning: new reasoning text.
        tool_call_deltas: new pieces of function calls.
    """

    text: str
    index: int = 0
    finish_reason: FinishReason | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str = ""
    tool_call_deltas: tuple[ToolCallDelta, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedInfo:
    """Token counts that ``embed(return_info=True)`` returns with the vectors.

    Attributes:
        n_tokens: number of tokens of each text, as it was embedded.
        is_truncated: whether each text was cut.
    """

    n_tokens: tuple[int, ...]
    is_truncated: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class RerankResult:
    """The score of one document for a query.

    Attributes:
        index: the document's index in the list that was passed.
        score: higher is better; the scale depends on the model.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model and its parameters.

    Attributes:
        path: path of the model file.
        name: the file's name without its suffix; also ``LlmCallResult.model``.
        description: architecture, size and quantization, as llama.cpp describes them.
        n_params: number of parameters.
        size_bytes: size of the weights.
        n_vocab: number of tokens in the vocabulary.
        n_ctx: maximum number of tokens in one request, prompt and answer together.
        n_ctx_train: context size in tokens that the model was trained with.
        n_parallel: maximum number of requests that run at once.
        n_threads: number of compute threads.
        chat_format: ``"template"``, or the name of a format.
        chat_format_source: origin of the format: ``"argument"``, ``"model"``, ``"file name"`` or ``"default"``.
        kernels: CPU features that the kernels use.
        weights: whose kernels multiply the weights on the CPU, for each type: ``"tea-llm"`` or ``"llama.cpp"``.
        deterministic: an answer does not depend on what else is computed (``load(deterministic=True)``).
        pooling: how the file combines token vectors into the vector of a text: ``"mean"``, ``"cls"``, ``"last"`` or
            ``"rank"``; ``"none"``: the file does not say, and ``embed`` uses the mean.
        fallback_reason: why this model was loaded instead of the one that ``TEA_MODEL_PATH`` or the settings name;
            None: this is the requested model.
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
    weights: dict[str, str]
    deterministic: bool
    pooling: str
    fallback_reason: str | None = None


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Counters of an engine since it was loaded, and its current state.

    Attributes:
        requests: requests submitted so far.
        running: requests that are being computed.
        waiting: requests that wait for a sequence, for cells, or for a prefix that another request is computing.
        prompt_tokens: prompt tokens computed, without cached ones.
        cached_tokens: prompt tokens that did not have to be computed.
        generated_tokens: tokens sampled.
        guessed_tokens: tokens computed as guesses (``load(prompt_lookup=...)``).
        right_guesses: guesses that the model then chose.
        cells: current size of the KV cache in cells; a cell holds one token.
        cells_used: cells that running requests use; shared cells count once.
        cells_idle: cells that finished requests left for reuse.
        cells_free: cells that hold nothing.
        parked_tokens: tokens of finished requests that are kept outside the KV cache (``load(cache_ram=...)``).
        steps: batches computed.
        preemptions: how often a running request had to give way to a more urgent one.
        threads: current number of compute threads; lower than ``info.n_threads`` while other processes use the CPUs.
        wake_ups: how often event loops were woken: at most once per loop and step.
        step_ms_p50: median duration of the last 1024 steps, in milliseconds.
        step_ms_p95: 95th percentile of these durations.
        step_ms_p99: 99th percentile of these durations.
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
