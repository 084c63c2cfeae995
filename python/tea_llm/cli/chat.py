"""``tea-llm chat``: one question, or a conversation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from tea_llm._files import naming
from tea_llm.chat.conversation import Conversation
from tea_llm.cli._terminal import complain, note, read_stdin, say, say_exactly
from tea_llm.errors import ContextOverflowError, LlmError
from tea_llm.paths import models_dir

if TYPE_CHECKING:
    from tea_llm.backends.local import LocalLlmBackend
    from tea_llm.types import LlmCallResult

__all__ = ["chat", "converse"]

_HELP = """\
/clear  forget the conversation
/exit   leave (so does Ctrl-D)
/help   show this list
Ctrl-C stops an answer. Everything else is sent to the model."""


def chat(
    question: str | None = typer.Argument(
        None, help="Piped input is appended to it. Without both, a conversation starts.", show_default=False
    ),
    gguf: str | None = typer.Option(None, metavar="PATH", help="Model file.", show_default="searched"),
    system: str | None = typer.Option(None, metavar="TEXT", help="System message.", show_default=False),
    max_tokens: int | None = typer.Option(None, help="Maximum tokens of an answer.", show_default="until it ends"),
    temperature: float | None = typer.Option(None, help="Sampling temperature; 0: greedy.", show_default="0.7"),
    top_k: int | None = typer.Option(None, help="Sample from the K most likely tokens; 0: all.", show_default="40"),
    top_p: float | None = typer.Option(
        None, help="Sample from the most likely tokens whose probabilities add up to P; 1: all.", show_default="0.95"
    ),
    min_p: float | None = typer.Option(
        None, help="Drop tokens less likely than P times the most likely one.", show_default="0.05"
    ),
    seed: int | None = typer.Option(None, help="Same seed, same answer.", show_default="random"),
    n_ctx: int | None = typer.Option(None, help="Context size in tokens.", show_default="auto"),
    threads: int | None = typer.Option(None, help="CPU threads.", show_default="auto"),
) -> None:
    """Answer a question, streamed to stdout, or hold a conversation."""
    is_conversation = question is None and _is_terminal()
    if not is_conversation:
        question = _question(question)

    import tea_llm

    options = _given(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)
    options["max_tokens"] = max_tokens
    begin = Conversation([] if system is None else [{"role": "system", "content": system}])
    with tea_llm.load(gguf, **_given(n_ctx=n_ctx, n_threads=threads)) as llm:
        if question is None:
            with _history():
                converse(llm, begin, options, input)
        else:
            begin.append({"role": "user", "content": question})
            result = _answer(llm, begin, options, _print_chunk)
            _say_if_cut(result, max_tokens)


def converse(
    llm: LocalLlmBackend,
    begin: Conversation,
    options: dict[str, Any],
    read_line: Callable[[str], str],
) -> None:
    """Holds a conversation until the user leaves.

    The partial answer that Ctrl-C leaves stays in the conversation; a question that failed does not. When the context
    is full, the oldest turns are dropped, with a note.

    Args:
        llm: the loaded model.
        begin: what every conversation starts with: the system message or nothing.
        options: for ``stream_chat``.
        read_line: prints its argument and returns a line, as ``input`` does; EOFError ends the conversation.
    """
    say("Talk to the model. /help lists the commands, Ctrl-D leaves.")
    said = Conversation(begin)
    while True:
        try:
            line = read_line("> ").strip()
        except EOFError:
            say()
            return
        except KeyboardInterrupt:  # clears the line
            say()
            continue
        except UnicodeDecodeError as error:
            complain(f"tea-llm: error: {error}")
            continue
        if line == "/exit":
            return
        if line == "/clear":
            said = Conversation(begin)
        elif line == "/help":
            say(_HELP)
        elif line:
            said = _exchange(llm, said, line, options)


def _exchange(llm: LocalLlmBackend, said: Conversation, line: str, options: dict[str, Any]) -> Conversation:
    """Answers one line; returns the conversation with it."""
    longer = Conversation([*said, {"role": "user", "content": line}])
    texts: list[str] = []

    def take(text: str) -> None:
        texts.append(text)
        _print_chunk(text)

    try:
        n_forgotten = longer.trim(llm.info.n_ctx * 3 // 4, llm.count_tokens)
        if n_forgotten > 0:
            note(f"the context is nearly full: the first {n_forgotten} messages were dropped")
        _say_if_cut(_answer(llm, longer, options, take), options["max_tokens"])
    except KeyboardInterrupt:
        say()
        note("stopped")
    except (LlmError, ValueError) as error:
        if texts:
            say()
        complain(f"tea-llm: error: {error}")
        if isinstance(error, ContextOverflowError):
            note("/clear forgets the conversation and makes room")
        return said
    if not texts:
        return said
    longer.append({"role": "assistant", "content": "".join(texts)})
    return longer


def _answer(
    llm: LocalLlmBackend, messages: Conversation, options: dict[str, Any], take: Callable[[str], None]
) -> LlmCallResult:
    """Streams the answer to ``take`` and ends its line."""
    with llm.stream_chat(messages, **options) as stream:
        for chunk in stream:
            take(chunk.text)
        say()
        result: LlmCallResult = stream.result
        return result


def _print_chunk(text: str) -> None:
    say_exactly(text, end="")


def _say_if_cut(result: LlmCallResult, max_tokens: int | None) -> None:
    if result.finish_reason == "length":
        is_limit = max_tokens is not None and (result.tokens_used or 0) >= max_tokens
        note(f"cut off: --max-tokens {max_tokens} was reached" if is_limit else "cut off: the context is full")


def _given(**options: object) -> dict[str, Any]:
    """The options that the user set; the others keep the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _question(given: str | None) -> str:
    """The argument followed by the piped input, as in ``tea-llm chat "Summarize this:" < FILE``."""
    piped = read_stdin().rstrip("\r\n") if given is None or not sys.stdin.isatty() else ""
    parts = [part for part in (given or "", piped) if part.strip()]
    if not parts:
        raise ValueError("no question given: pass one as an argument or on stdin")
    return "\n\n".join(parts)


@contextmanager
def _history() -> Iterator[None]:
    """Line editing and the history of earlier conversations, where Python has readline."""
    try:
        import readline
    except ImportError:  # not on Windows, nor in every build
        yield
        return
    path = models_dir().parent / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)  # questions are private
        if path.stat().st_size:  # libedit refuses an empty file
            readline.read_history_file(path)
    except OSError as error:
        note(f"the history cannot be used: {error}")
        yield
        return
    readline.set_history_length(1000)
    readline.parse_and_bind("set enable-bracketed-paste on")  # pasted lines are one question
    try:
        yield
    finally:
        with naming(path):
            readline.write_history_file(path)
