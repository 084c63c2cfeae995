"""An OpenAI-compatible server on loopback that lets an ``LlmBackend`` answer, and fails on request."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import sys
import threading
from collections import deque
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple

from typing_extensions import Self

from tea_llm import (
    ApiLlmBackend,
    Choice,
    ContextOverflowError,
    EmbeddingNotSupportedError,
    LlmBackend,
    LlmCallResult,
    LlmError,
    StreamChunk,
    TokenLogprob,
    ToolCall,
)

__all__ = ["OpenAiServer", "SeenRequest"]

_OPTIONS = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "stop",
    "n",
    "ignore_eos",
    "logit_bias",
    "repeat_penalty",
    "repeat_last_n",
    "tools",
    "response_format",
    "tool_choice",
)


class SeenRequest(NamedTuple):
    """What came in: path, lower-case header names, decoded body."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class _Failure(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class OpenAiServer:
    """Serves in threads while its ``with`` block lasts.

    Args:
        backend: answers.
        has_completions: whether there is ``/completions``.
        key: the only key that is let in; None: anyone is.
    """

    def __init__(self, backend: LlmBackend, *, has_completions: bool = True, key: str | None = None) -> None:
        self.backend = backend
        self.has_completions = has_completions
        self.key = key
        self.requests: list[SeenRequest] = []
        self._failures: deque[_Failure] = deque()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        """What goes into ``api_url``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def client(self) -> ApiLlmBackend:
        """A backend that asks this server."""
        return ApiLlmBackend({"llm": {"api_url": self.url, "model": "tiny", "api_key": "a-key", "timeout": 60}})

    def fail_next(self, status: int, headers: dict[str, str] | None = None, body: object = None) -> None:
        """The next request that has no such fate yet gets this instead of an answer; a dict is sent as JSON."""
        given = {"error": {"message": f"made to fail with {status}"}} if body is None else body
        data = given if isinstance(given, bytes) else json.dumps(given).encode()
        self._failures.append(_Failure(status, headers or {}, data))

    def take_failure(self) -> _Failure | None:
        return self._failures.popleft() if self._failures else None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Unplugs it: open connections, too. Again: nothing."""
        self._server.shutdown()
        self._server.server_close()
        for connection in self._server.connections:
            with contextlib.suppress(OSError):  # the client has closed it
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(address, handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients come and go as they like
            super().handle_error(request, client_address)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address


class _Handler(BaseHTTPRequestHandler):
    owner: OpenAiServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.owner.requests.append(SeenRequest(self.path, headers, body))
        failure = self.owner.take_failure()
        if failure is not None:
            self._send(failure.status, failure.body, failure.headers)
        elif self.owner.key is not None and headers.get("authorization") != f"Bearer {self.owner.key}":
            self._send_error(401, f"wrong key: {headers.get('authorization')}", "invalid_api_key")
        else:
            self._answer(body)

    def _answer(self, body: dict[str, Any]) -> None:
        path = self.path.partition("?")[0].removeprefix("/v1")
        try:
            if path == "/embeddings":
                self._embed(body)
            elif path == "/rerank":
                self._rerank(body)
            elif path == "/chat/completions":
                self._generate(body, is_chat=True)
            elif path == "/completions" and self.owner.has_completions:
                self._generate(body, is_chat=False)
            else:
                self._send_error(404, f"no such path: {path}", "not_found")
        except ContextOverflowError as error:
            self._send_error(400, str(error), "context_length_exceeded")
        except EmbeddingNotSupportedError as error:
            self._send_error(501, str(error), "not_supported")
        except (ValueError, TypeError) as error:
            self._send_error(400, str(error), "invalid_request_error")
        except LlmError as error:
            self._send_error(500, str(error), "server_error")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _embed(self, body: dict[str, Any]) -> None:
        vectors = self.owner.backend.embed(body["input"])
        data = [{"index": i, "embedding": [float(x) for x in vector]} for i, vector in enumerate(vectors)]
        self._send_json({"object": "list", "model": body["model"], "data": data})

    def _rerank(self, body: dict[str, Any]) -> None:
        ranked = self.owner.backend.rerank(body["query"], body["documents"], top_n=body.get("top_n"))
        results = [{"index": one.index, "relevance_score": one.score} for one in ranked]
        self._send_json({"model": body["model"], "results": results})

    def _generate(self, body: dict[str, Any], *, is_chat: bool) -> None:
        options = {name: body[name] for name in _OPTIONS if name in body} | {"max_tokens": body.get("max_tokens")}
        if "logprobs" in body:
            n = body.get("top_logprobs") if is_chat else body["logprobs"]
            options |= {"logprobs": True, "top_logprobs": n}
        backend = self.owner.backend
        if not body.get("stream"):
            result = backend.chat(body["messages"], **options) if is_chat else backend.call(body["prompt"], **options)
            self._send_json(self._answer_of(body, result, is_chat=is_chat))
            return
        asked = (
            backend.stream_chat(body["messages"], **options) if is_chat else backend.stream(body["prompt"], **options)
        )
        with asked as stream:
            first = next(stream)  # an error comes before the status
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for chunk in itertools.chain([first], stream):
                content: dict[str, Any] = {"delta": _delta(chunk)} if is_chat else {"text": chunk.text}
                choice = {"index": chunk.index, "finish_reason": chunk.finish_reason, **content}
                self._send_event({"model": body["model"], "choices": [choice]})
            if body.get("stream_options", {}).get("include_usage"):
                self._send_event({"model": body["model"], "choices": [], "usage": _usage(stream.result)})
        self._send_chunk(b"data: [DONE]\n\n")
        self._send_chunk(b"")

    def _answer_of(self, body: dict[str, Any], result: LlmCallResult, *, is_chat: bool) -> dict[str, Any]:
        alone = Choice(0, result.content, result.finish_reason, result.tool_calls, result.reasoning, result.logprobs)
        choices = []
        for one in result.choices or (alone,):
            content: dict[str, Any] = {"text": one.content}
            if is_chat:
                message = {"role": "assistant", "content": one.content, "tool_calls": _calls(one.tool_calls)}
                message |= {"reasoning_content": one.reasoning} if one.reasoning else {}
                content = {"message": message}
            if one.logprobs is not None:
                content["logprobs"] = _chat_logprobs(one.logprobs) if is_chat else _raw_logprobs(one.logprobs)
            choices.append({"index": one.index, "finish_reason": one.finish_reason, **content})
        return {"model": body["model"], "choices": choices, "usage": _usage(result)}

    def _send_event(self, event: dict[str, Any]) -> None:
        self._send_chunk(f"data: {json.dumps(event)}\n\n".encode())

    def _send_chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def _send_json(self, answer: dict[str, Any]) -> None:
        self._send(200, json.dumps(answer).encode(), {})

    def _send_error(self, status: int, message: str, code: str) -> None:
        self._send(status, json.dumps({"error": {"message": message, "code": code}}).encode(), {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _delta(chunk: StreamChunk) -> dict[str, Any]:
    calls = [
        {
            "index": delta.index,
            **({} if delta.id is None else {"id": delta.id, "type": "function"}),
            "function": {"arguments": delta.arguments} | ({} if delta.name is None else {"name": delta.name}),
        }
        for delta in chunk.tool_call_deltas
    ]
    return (
        {"content": chunk.text}
        | ({"tool_calls": calls} if calls else {})
        | ({"reasoning_content": chunk.reasoning} if chunk.reasoning else {})
    )


def _calls(calls: Sequence[ToolCall]) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for call in calls
    ]


def _chat_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    def entry(one: TokenLogprob) -> dict[str, Any]:
        return {"token": one.token, "logprob": one.logprob, "bytes": list(one.bytes or b"")}

    return {"content": [{**entry(one), "top_logprobs": [entry(best) for best in one.top_logprobs]} for one in tokens]}


def _raw_logprobs(tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
    return {
        "tokens": [one.token for one in tokens],
        "token_logprobs": [one.logprob for one in tokens],
        "top_logprobs": [{best.token: best.logprob for best in one.top_logprobs} for one in tokens],
    }


def _usage(result: LlmCallResult) -> dict[str, Any]:
    usage = result.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
