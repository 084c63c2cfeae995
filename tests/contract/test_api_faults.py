"""What an API can do wrong, on real sockets: the typed error or the right text, in time, and no token twice."""

from __future__ import annotations

import asyncio
import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from tenacity import wait_none

from support.scripted_server import Script, ScriptedServer, http_response, refused_url, reset
from tea_llm import (
    ApiAuthError,
    ApiConnectionError,
    ApiError,
    ApiLlmBackend,
    ApiRateLimitError,
    ApiResponseError,
    ApiTimeoutError,
    ContextOverflowError,
    GenerationCancelledError,
    GenerationTimeoutError,
    LlmError,
)
from tea_llm.backends.api import transport

KEY = "sk-very-secret-key"
HI = [{"role": "user", "content": "Hi"}]
TEXT = "Grüße, \u2028 wörld \U0001f600!"
NESTED = b'{"choices": ' + b"[" * 100_000
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def event(text: object, finish_reason: str | None = None) -> dict[str, object]:
    return {"model": "m", "choices": [{"delta": {"content": text}, "finish_reason": finish_reason}]}


def sse(*events: object, newline: str = "\n", done: bool = True) -> bytes:
    lines = [f"data: {json.dumps(one, ensure_ascii=False)}" for one in events] + ["data: [DONE]"] * done
    return "".join(line + newline * 2 for line in lines).encode()


ANSWER = {
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
    "usage": USAGE,
}
EVENTS = [event(TEXT[:5]), event(TEXT[5:]), event(None, "stop"), {"model": "m", "choices": [], "usage": USAGE}]
GOOD = http_response(200, json.dumps(ANSWER).encode())
GOOD_STREAM = http_response(200, sse(*EVENTS), "text/event-stream")


def send(data: bytes) -> Script:
    return lambda connection: connection.sendall(data)


def send_and_reset(data: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(data)
        time.sleep(0.05)  # let it arrive: a reset may overtake what is on its way
        reset(connection)

    return script


def error(status: int, words: str = "no", code: str | None = None, **headers: str) -> Script:
    body = json.dumps({"error": {"message": words, "code": code}}).encode()
    return send(http_response(status, body, **headers))


def hang(connection: socket.socket) -> None:
    connection.settimeout(20)
    connection.recv(1)  # until the client goes away


def send_and_hang(data: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(data)
        hang(connection)

    return script


def by_bytes(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in GOOD_STREAM:
        connection.sendall(bytes((byte,)))


def trickle(connection: socket.socket) -> None:
    connection.sendall(http_response(200, b"", "text/event-stream"))
    while True:
        connection.sendall(sse(event("x"), done=False))
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_backoff", wait_none())


Ask = Callable[[ApiLlmBackend], str]


def chat(llm: ApiLlmBackend) -> str:
    return llm.chat(HI).content


def stream(llm: ApiLlmBackend) -> str:
    with llm.stream_chat(HI) as chunks:
        text = "".join(chunk.text for chunk in chunks)
        assert chunks.result.content == text
        return text


def achat(llm: ApiLlmBackend) -> str:
    return asyncio.run(llm.achat(HI)).content


def astream(llm: ApiLlmBackend) -> str:
    async def collect() -> str:
        async with llm.astream_chat(HI) as chunks:
            text = "".join([chunk.text async for chunk in chunks])
            assert (await chunks.result()).content == text
            return text

    return asyncio.run(collect())


WHOLE, STREAMED = [chat, achat], [stream, astream]
HTML = b"<html><body>Bad gateway</body></html>"


def cases() -> Iterator[object]:
    """(name, ways to ask, scripts, the text or the error, number of requests)"""
    for asks, good in ((WHOLE, GOOD), (STREAMED, GOOD_STREAM)):
        for ask in asks:
            for name, scripts, expected, n in (
                ("good", [send(good)], TEXT, 1),
                ("reset-before-headers", [lambda c: reset(c), send(good)], TEXT, 2),
                ("closed-before-headers", [lambda c: None, send(good)], TEXT, 2),
                ("always-closed", [lambda c: None], ApiConnectionError, 3),
                ("no-http", [send(b"\x00\x01garbage\r\n\r\n")], ApiConnectionError, 3),
                ("hang", [hang], ApiTimeoutError, 1),
                ("headers-then-hang", [send_and_hang(b"HTTP/1.1 200 OK\r\nContent-Ty")], ApiTimeoutError, 1),
                ("html-200", [send(http_response(200, HTML, "text/html"))], ApiResponseError, 1),
                ("html-500", [send(http_response(500, HTML, "text/html"))], ApiResponseError, 3),
                ("html-502-once", [send(http_response(502, HTML, "text/html")), send(good)], TEXT, 2),
                ("empty-200", [send(http_response(200, b""))], ApiResponseError, 1),
                ("json-null", [send(http_response(200, b"null"))], ApiResponseError, 1),
                ("nested-too-deeply-200", [send(http_response(200, NESTED))], ApiResponseError, 1),
                ("nested-too-deeply-400", [send(http_response(400, NESTED))], ApiResponseError, 1),
                ("error-object-200", [error(200, "overloaded")], ApiResponseError, 1),
                ("error-string-404", [send(http_response(404, b'{"error": "model not found"}'))], ApiResponseError, 1),
                ("vllm-error", [send(http_response(400, b'{"object": "error", "message": "x"}'))], ApiResponseError, 1),
                ("redirect", [send(http_response(302, b"", Location="http://example.invalid/"))], ApiResponseError, 1),
                ("401", [error(401, f"bad key {KEY}")], ApiAuthError, 1),
                ("403", [error(403)], ApiAuthError, 1),
                ("400", [error(400)], ApiResponseError, 1),
                ("422", [error(422)], ApiResponseError, 1),
                ("429-once", [error(429, Retry_After="0.1"), send(good)], TEXT, 2),
                ("429-always", [error(429, Retry_After="0")], ApiRateLimitError, 3),
                ("429-for-long", [error(429, Retry_After="3600")], ApiRateLimitError, 1),
                ("429-date", [error(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), send(good)], TEXT, 2),
                ("503-once", [error(503), send(good)], TEXT, 2),
                ("503-for-long", [error(503, Retry_After="3600")], ApiResponseError, 1),
                ("echoed-key", [send(http_response(200, f'{{"auth": "{KEY}"}}'.encode()))], ApiResponseError, 1),
                ("echoed-key-cut", [send(http_response(500, b"x" * 185 + KEY.encode()))], ApiResponseError, 3),
                ("echoed-key-late", [send(http_response(500, b"x" * 1990 + KEY.encode()))], ApiResponseError, 3),
                ("501", [error(501)], ApiResponseError, 1),
                ("overflow", [error(400, "too long", "context_length_exceeded")], ContextOverflowError, 1),
            ):
                yield pytest.param(ask, scripts, expected, n, id=f"{ask.__name__}-{name}")
    for ask in WHOLE:
        for name, scripts, expected, n in (
            ("truncated-json", [send(GOOD[:-9])], ApiResponseError, 1),
            ("truncated-body", [send(http_response(200, GOOD[-90:], Content_Length="900"))], ApiConnectionError, 3),
            ("reset-in-body", [send_and_reset(GOOD[:-9])], ApiConnectionError, 3),
            ("no-choices", [send(http_response(200, b'{"choices": []}'))], ApiResponseError, 1),
            ("choices-null", [send(http_response(200, b'{"choices": [null]}'))], ApiResponseError, 1),
        ):
            yield pytest.param(ask, scripts, expected, n, id=f"{ask.__name__}-{name}")
    for ask in STREAMED:
        for name, scripts, expected, n in (
            ("split-at-every-byte", [by_bytes], TEXT, 1),
            ("crlf", [events(sse(*EVENTS, newline="\r\n"))], TEXT, 1),
            ("cr", [events(sse(*EVENTS, newline="\r"))], TEXT, 1),
            ("pings", [events(b"event: ping\n\nretry: 3000\n\nid: 1\n: here\n\n" + sse(*EVENTS))], TEXT, 1),
            ("byte-order-mark", [events(b"\xef\xbb\xbf" + sse(*EVENTS))], TEXT, 1),
            ("comments", [events(b": ping\n\n" + sse(*EVENTS).replace(b"\n\n", b"\n\n: ping\n\n"))], TEXT, 1),
            ("missing-done", [events(sse(*EVENTS, done=False))], TEXT, 1),
            ("open-after-done", [send_and_hang(GOOD_STREAM)], TEXT, 1),
            ("no-end", [events(sse(*EVENTS[:2], done=False))], ApiResponseError, 1),
            ("only-done", [events(b"data: [DONE]\n\n")], "", 1),
            ("nothing", [events(b"")], ApiResponseError, 1),
            ("reset-before-events", [send_and_reset(GOOD_STREAM[:60]), send(GOOD_STREAM)], TEXT, 2),
            ("reset-in-mid-stream", [send_and_reset(GOOD_STREAM[:200])], ApiConnectionError, 1),
            ("closed-in-mid-stream", [send(GOOD_STREAM[:200])], ApiResponseError, 1),
            ("error-in-mid-stream", [events(sse(EVENTS[0], {"error": {"message": "lost"}}))], ApiResponseError, 1),
            ("nested-too-deeply", [events(b"data: " + NESTED + b"\n\n")], ApiResponseError, 1),
            ("content-is-no-text", [events(sse(event(5)))], ApiResponseError, 1),
            ("truncated-event", [events(b'data: {"choices": [\n\n')], ApiResponseError, 1),
            ("hang-in-mid-stream", [send_and_hang(GOOD_STREAM[:200])], ApiTimeoutError, 1),
            ("trickle", [trickle], ApiTimeoutError, 1),
            ("json-instead", [send(GOOD)], ApiResponseError, 1),
        ):
            yield pytest.param(ask, scripts, expected, n, id=f"{ask.__name__}-{name}")


def events(data: bytes) -> Script:
    return send(http_response(200, data, "text/event-stream"))


CASES = list(cases())
print(f"{len(CASES)} API faults")


@pytest.mark.parametrize(("ask", "scripts", "expected", "n_requests"), CASES)
def test_fault(
    ask: Ask, scripts: list[Script], expected: str | type[LlmError], n_requests: int, caplog: pytest.LogCaptureFixture
) -> None:
    begin = time.monotonic()
    timeout = 0.3 if expected is ApiTimeoutError else 5.0
    with ScriptedServer(*scripts) as server, api(server.url, timeout=timeout) as llm:
        if isinstance(expected, str):
            assert ask(llm) == expected
        else:
            with pytest.raises(LlmError) as caught:
                ask(llm)
            check_error(caught.value, expected)
        assert server.n_requests == n_requests
    assert KEY not in caplog.text
    assert time.monotonic() - begin < 10


def api(url: str, **llm: object) -> ApiLlmBackend:
    return ApiLlmBackend({"llm": {"api_url": url, "api_key": KEY, "model": "m", "timeout": 1.0, **llm}})


def check_error(raised: LlmError, expected: type[LlmError]) -> None:
    assert type(raised) is expected
    copy = pickle.loads(pickle.dumps(raised))  # noqa: S301
    for one in (raised, copy):
        assert KEY not in f"{one}{one!r}{vars(one)}"
        assert vars(one) == vars(raised)
    assert KEY.encode() not in pickle.dumps(raised)
    if isinstance(raised, ApiError):
        assert raised.provider == "openai"
    if isinstance(raised, ApiTimeoutError):
        assert isinstance(raised, GenerationTimeoutError)


def test_a_refused_connection_is_an_error() -> None:
    for ask in (chat, stream, achat, astream):
        with api(refused_url()) as llm, pytest.raises(ApiConnectionError, match=r"openai at http://127"):
            ask(llm)


def test_a_timeout_keeps_what_came() -> None:
    with ScriptedServer(send_and_hang(GOOD_STREAM[:200])) as server, api(server.url) as llm:
        got: list[str] = []
        with pytest.raises(ApiTimeoutError) as caught:
            llm.stream_chat(HI, got.append)
        assert "".join(got) == caught.value.partial == TEXT[:5]


def test_details_of_refusals() -> None:
    body = {"error": {"message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}}
    overflow = send(http_response(400, json.dumps(body).encode()))
    limit = error(429, "slow down", "rate_limited", Retry_After="90", X_Request_Id="req-1")
    with ScriptedServer(overflow, limit) as server, api(server.url) as llm:
        with pytest.raises(ContextOverflowError) as overflowed:
            chat(llm)
        assert (overflowed.value.n_prompt, overflowed.value.n_ctx) == (9, 8)
        with pytest.raises(ApiRateLimitError, match="429: slow down") as limited:
            chat(llm)
        raised = limited.value
        assert (raised.retry_after, raised.status_code, raised.request_id, raised.code) == (
            90,
            429,
            "req-1",
            "rate_limited",
        )


def test_a_cancelled_task_hangs_up() -> None:
    gone = threading.Event()

    def watch(connection: socket.socket) -> None:
        connection.settimeout(10)
        assert connection.recv(1) == b""
        gone.set()

    async def cancel(llm: ApiLlmBackend) -> None:
        task = asyncio.create_task(llm.achat(HI))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ScriptedServer(watch) as server, api(server.url, timeout=30) as llm:
        asyncio.run(cancel(llm))
        assert gone.wait(5)


@pytest.mark.parametrize("leave", ["break", "cancel", "drop"])
def test_leaving_a_stream_hangs_up(leave: str) -> None:
    gone = threading.Event()

    def watch(connection: socket.socket) -> None:
        connection.sendall(GOOD_STREAM[:200])
        connection.settimeout(10)
        assert connection.recv(1) == b""
        gone.set()

    with ScriptedServer(watch) as server, api(server.url, timeout=30) as llm:
        chunks = llm.stream_chat(HI)
        assert next(chunks).text == TEXT[:5]
        if leave == "break":
            with chunks:
                pass
        elif leave == "cancel":
            threading.Timer(0.1, chunks.cancel).start()
            with pytest.raises(GenerationCancelledError):
                next(chunks)
        del chunks
        assert gone.wait(5)


def test_many_requests_and_no_more_threads() -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(0.3)
        connection.sendall(GOOD)

    async def ask(llm: ApiLlmBackend) -> int:
        tasks = [asyncio.create_task(llm.achat(HI)) for _ in range(20)]
        await asyncio.sleep(0.1)
        n_ours = sum(thread.name == "tea-llm-network" for thread in threading.enumerate())
        assert {result.content for result in await asyncio.gather(*tasks)} == {TEXT}
        return n_ours

    with ScriptedServer(late) as server, api(server.url) as llm:
        assert asyncio.run(ask(llm)) == 1
        assert asyncio.run(ask(llm)) == 1  # a second loop
