"""The answer to a call: one native request, or ``n`` that share the prompt."""

from __future__ import annotations

import json
import select
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.answers.calls import with_problems
from tea_llm.answers.reader import AnswerReader, CallIds
from tea_llm.backends.options import GenerationOptions
from tea_llm.backends.streams import AsyncTextStream, TextStream
from tea_llm.errors import LlmError
from tea_llm.types import Choice, LlmCallResult, StreamChunk, Timings, TokenLogprob, ToolCall, Usage

if TYPE_CHECKING:
    from tea_llm.answers.format import AnswerFormat

__all__ = ["LocalAnswer"]


class LocalAnswer:
    """The native requests of one call. Dropping the object cancels them.

    Args:
        requests: one request per choice.
        model: the model's name.
        answer_format: format of the answers; None: plain text.
        options: options of the call.
        owner: kept alive, and so open, as long as the answer.
        fallback_reason: for the result.
    """

    def __init__(
        self,
        requests: Sequence[_core.Request],
        model: str,
        answer_format: AnswerFormat | None = None,
        *,
        options: GenerationOptions,
        owner: object,
        fallback_reason: str | None = None,
    ) -> None:
        self._owner = owner
        self._fallback_reason = fallback_reason
        self._requests = requests
        self._options = options
        self._model = model
        self._format = answer_format
        self._call_ids = CallIds()
        self._readers: list[AnswerReader] = []
        if answer_format is not None:
            self._readers = [AnswerReader(answer_format, i, self._call_ids) for i in range(len(requests))]
        self._read: deque[StreamChunk] = deque()
        self._unread = dict(enumerate(requests))  # requests with unread text, the next one to read first
        self._mailbox: _core.Mailbox | None = None
        self._is_checked = False  # problems of calls have been logged

    def wait(self) -> LlmCallResult:
        """Waits for the result. Ctrl-C cancels the requests."""
        try:
            results = [request.wait() for request in self._requests]
        except BaseException:
            self.cancel()
            raise
        finally:
            forward_native_log()
        return self._result(results)

    async def join(self) -> LlmCallResult:
        """``wait`` for asyncio. Cancelling the task cancels the requests."""
        from tea_llm.backends.local.mailbox import LoopMailbox

        mailbox = LoopMailbox.of_running_loop()
        try:
            for request in self._requests:
                while not request.is_done:  # another task may be waiting for its text
                    await mailbox.wait([request], wants_text=False)
        except BaseException:
            self.cancel()
            raise
        return self.wait()  # all requests have ended

    def cancel(self) -> None:
        """Cancels the requests."""
        for request in self._requests:
            request.cancel()

    def stream(self) -> TextStream:
        """Streams the answer to a thread."""
        return TextStream(self._next, self.wait, self.cancel)

    def astream(self) -> AsyncTextStream:
        """Streams the answer to a task."""
        return AsyncTextStream(self.anext, self.join, self.cancel)

    def _next(self) -> StreamChunk | None:
        if len(self._requests) == 1 and self._format is None:  # the common case: one wait in native code
            text = self._requests[0].next_text()
            return None if text is None else StreamChunk(text)
        while self._unread or self._read:
            chunk = self._take()
            if chunk is not None:
                return chunk
            try:
                self._wait_for_any()
            except BaseException:
                self.cancel()
                raise
        return None

    async def anext(self) -> StreamChunk | None:
        """The next chunk of ``astream``; None at the end."""
        from tea_llm.backends.local.mailbox import LoopMailbox

        while self._unread or self._read:
            chunk = self._take()
            if chunk is not None:
                return chunk
            if self._unread:
                requests = list(self._unread.values())
                await LoopMailbox.of_running_loop().wait(requests, wants_text=True)
        return None

    def _take(self) -> StreamChunk | None:
        """The chunks that are available, of the choice whose turn it is."""
        for index, request in list(self._unread.items()):
            if self._read:
                break
            is_done = request.is_done  # checked before the text is taken, so that no text is missed
            text = request.take_text()
            del self._unread[index]
            if not is_done:
                self._unread[index] = request  # behind the others
            if self._format is None:
                self._read += [StreamChunk(text, index)] if text else []
            else:
                self._read += self._readers[index].take(text)
                if is_done:
                    self._read += self._readers[index].finish(is_cut=_is_cut(request))
        return self._read.popleft() if self._read else None

    def _wait_for_any(self) -> None:
        if not self._unread:
            return
        if self._mailbox is None:
            self._mailbox = _core.Mailbox()
        for index, request in self._unread.items():
            request.notify(self._mailbox, index, wants_text=True)
        waiter = select.poll()  # select() does not support descriptors above 1023
        waiter.register(self._mailbox.fileno(), select.POLLIN)
        waiter.poll()
        self._mailbox.take()

    def _result(self, results: Sequence[_core.RequestResult]) -> LlmCallResult:
        first = results[0]
        choices = tuple(self._choice(index, result) for index, result in enumerate(results))
        n_generated = sum(result.n_generated for result in results)
        whole = LlmCallResult(
            content=choices[0].content,
            model=self._model,
            tokens_used=n_generated,
            finish_reason=choices[0].finish_reason,
            usage=Usage(
                prompt_tokens=first.n_prompt,
                completion_tokens=n_generated,
                total_tokens=first.n_prompt + n_generated,
                cached_tokens=first.n_cached,
            ),
            timings=_timings(results, n_generated),
            tool_calls=choices[0].tool_calls,
            reasoning=choices[0].reasoning,
            logprobs=choices[0].logprobs,
            backend="local",
            fallback_reason=self._fallback_reason,
        )
        if len(choices) > 1:
            whole = replace(whole, choices=choices)
        whole = with_problems(whole, self._options.tools, is_logged=self._is_checked)
        self._is_checked = True
        response_format = self._options.response_format
        return whole if response_format is None else response_format.read(whole)

    def _choice(self, index: int, result: _core.RequestResult) -> Choice:
        finish_reason, content, reasoning = result.finish_reason, result.text, ""
        calls: tuple[ToolCall, ...] = ()
        if self._format is not None:
            parts = self._readers[index].parts  # the result is the text as it was streamed
            if parts is None:
                parts = self._format.parse(result.text, is_cut=finish_reason == "length")
            content, reasoning = parts.content, parts.reasoning
            calls = tuple(
                ToolCall(self._call_ids.of(index, number, call_id), name, json.loads(arguments))
                for number, (call_id, name, arguments) in enumerate(parts.calls)
            )
        logprobs = result.logprobs if self._options.logprobs else None
        return Choice(
            index=index,
            content=content,
            finish_reason="tool_calls" if calls and finish_reason == "stop" else finish_reason,
            tool_calls=calls,
            reasoning=reasoning or None,
            logprobs=None if logprobs is None else tuple(_logprob(*chosen, best) for chosen, best in logprobs),
        )


def _is_cut(request: _core.Request) -> bool:
    """Whether a finished request was cut off by a limit or an error."""
    try:
        return request.wait().finish_reason == "length"
    except LlmError:
        return True  # reading the result raises it


def _logprob(piece: bytes, logprob: float, best: Sequence[tuple[bytes, float]] = ()) -> TokenLogprob:
    return TokenLogprob(piece.decode("utf-8", "replace"), logprob, piece, tuple(_logprob(*one) for one in best))


def _timings(results: Sequence[_core.RequestResult], n_generated: int) -> Timings:
    started = min(result.ttft_ms for result in results)
    decode_ms = max(result.ttft_ms + result.decode_ms for result in results) - started
    n_intervals = n_generated - len(results)
    is_measured = n_intervals > 0 and decode_ms > 0
    return Timings(
        queue_ms=min(result.queue_ms for result in results),
        prefill_ms=results[0].prefill_ms,
        ttft_ms=started,
        decode_ms=decode_ms,
        tokens_per_s=1000 * n_intervals / decode_ms if is_measured else 0.0,
    )
