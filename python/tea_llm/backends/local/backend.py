"""``LocalLlmBackend``: a model in this process."""

from __future__ import annotations

import copy
import os
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tea_llm._check import check_path, check_text
from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.local.at_exit import open_backends
from tea_llm.backends.local.embedding import LocalEmbedder
from tea_llm.backends.local.local_answer import LocalAnswer
from tea_llm.backends.local.preparation import Check, Deadline, check_fits, in_thread, is_long, prepared
from tea_llm.backends.local.submission import chat_request, grammar_of, submit
from tea_llm.backends.options import GenerationOptions, split_params
from tea_llm.backends.streams import PendingInLoop
from tea_llm.errors import EngineClosedError, StateFileError
from tea_llm.paths import model_files
from tea_llm.tokenizer import check_tokens, decode, encoder_of
from tea_llm.types import EngineStats, LlmCallParams, Message, ModelInfo

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from tea_llm.answers.format import AnswerFormat
    from tea_llm.answers.grammars import AnswerFormats
    from tea_llm.backends.embedding import Embedded, EmbedOptions
    from tea_llm.backends.options import Options
    from tea_llm.chat.prompt import ChatPrompt

__all__ = ["LocalLlmBackend"]


class LocalLlmBackend(LlmBackend):
    """A loaded model; ``tea_llm.load()`` returns it.

    Any number of threads can share one object. Up to ``info.n_parallel`` concurrent requests are computed together;
    further requests wait. Call ``close()`` or use a ``with`` block to free the memory at a defined time.
    """

    def __init__(
        self,
        model: _core.Model,
        engine: _core.Engine,
        prompt: ChatPrompt,
        path: Path,
        *,
        seed: int | None,
        fallback_reason: str | None = None,
    ) -> None:
        from tea_llm.backends.local.state_file import ModelFiles

        self._model: _core.Model | None = model
        self._engine = engine
        self._prompt = prompt
        self._path = path
        self._fallback_reason = fallback_reason
        files = model_files(path, int(n) if (n := model.metadata("split.count")).isdigit() else 1)
        self._files = ModelFiles(files)
        self._name = re.sub(r"-00001-of-\d{5}$", "", path.stem) if len(files) > 1 else path.stem
        self._encode = encoder_of(model)
        self._embedder = LocalEmbedder(model, self._name, self._encode, prompt.encode, engine)
        self._seeds = random.Random(seed)  # noqa: S311 - seeds for sampling
        open_backends.add(self)

    def _in_loop(self, ask: Callable[..., Any], given: object, options: Options) -> PendingInLoop:
        return prepared(ask, given, options)

    def _embed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        return self._embedder.embed(text, options)

    def _embed_from(self, begin: int, texts: list[str], options: EmbedOptions) -> list[NDArray[np.float32]]:
        """The vectors of a batch of texts; error messages name the first one ``text[begin]``."""
        return self._embedder.embed(texts, options, begin=begin)[0]

    async def _aembed(self, text: str | Iterable[str], options: EmbedOptions) -> Embedded:
        return await in_thread(self._embedder.embed, text, options)

    def _rank(self, query: str, documents: list[str]) -> Sequence[float]:
        return self._embedder.rank(query, documents)

    async def _arank(self, query: str, documents: list[str]) -> Sequence[float]:
        return await in_thread(self._embedder.rank, query, documents)

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The token ids of a text; see ``Tokenizer.encode``."""
        self._open_model()
        return self._encode(check_text("text", text), add_special=bool(add_special), parse_special=bool(parse_special))

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of token ids; see ``Tokenizer.decode``."""
        return decode(self._open_model(), tokens)

    def render_chat(
        self,
        messages: Iterable[Message],
        *,
        tools: Sequence[Mapping[str, object] | Callable[..., object]] | None = None,
        template: str | None = None,
        template_kwargs: Mapping[str, object] | None = None,
        now: datetime | None = None,
        add_generation_prompt: bool = True,
        continue_final_message: bool = False,
    ) -> str:
        """The prompt that ``chat`` computes for a conversation. (``chat`` adds BOS if the template does not.)

        Args:
            messages: as ``chat``.
            tools: as ``chat``. If the template does not support tools, they are described in a message.
            template: Jinja source to use instead of the model's chat template. None: the model's template.
            template_kwargs: extra variables for the template.
            now: the time for templates that ask for it. None: the current time.
            add_generation_prompt: end with the text that introduces the assistant's answer.
            continue_final_message: end inside the last message, as the option of ``chat``.

        Raises:
            TemplateError: the template is invalid, rejects the messages, or drops one of them.
            TypeError: an argument has a wrong type.
            ValueError: a message is invalid.
        """
        self._open_model()
        checked = GenerationOptions.checked({"tools": tools, "template_kwargs": template_kwargs, "now": now})
        runs = self._prompt.render(
            messages,
            tools=checked.tools,
            template=template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            now=now,
            extra=template_kwargs,
        )
        return "".join(text for text, _ in runs)

    def count_tokens(
        self,
        messages: Iterable[Message],
        *,
        tools: Sequence[Mapping[str, object] | Callable[..., object]] | None = None,
    ) -> int:
        """Number of tokens of the prompt that ``chat`` computes, as in ``usage.prompt_tokens``.

        Raises:
            TemplateError, TypeError, ValueError: as ``render_chat``.
        """
        self._open_model()
        checked = GenerationOptions.checked({"tools": tools})
        return len(self._prompt.encode(self._prompt.render(messages, tools=checked.tools)))

    @property
    def info(self) -> ModelInfo:
        """The loaded model and its parameters."""
        model = self._open_model()
        return ModelInfo(
            path=str(self._path),
            name=self._name,
            description=model.description.decode("utf-8", "replace"),
            n_params=model.n_params,
            size_bytes=model.size_bytes,
            n_vocab=model.n_vocab,
            n_ctx=self._engine.n_ctx,
            n_ctx_train=model.n_ctx_train,
            n_parallel=self._engine.n_parallel,
            n_threads=self._engine.n_threads,
            chat_format=self._prompt.format,
            chat_format_source=self._prompt.source,
            kernels=_core.system_info(),
            weights={kind: "tea-llm" if is_ours else "llama.cpp" for kind, is_ours in model.weight_types().items()},
            deterministic=self._engine.deterministic,
            pooling=model.pooling,
            fallback_reason=self._fallback_reason,
        )

    def stats(self) -> EngineStats:
        """Counters and current state of the engine. Can be called after ``close()``."""
        return EngineStats(**self._engine.stats())

    def score(self, text: str | Sequence[int], *, timeout: float | None = None) -> NDArray[np.float32]:
        """Computes the log-probability of each token of a text, given the tokens before it.

        Args:
            text: a text, encoded like the prompt of ``call``, or token ids.
            timeout: seconds; None: no limit.

        Returns:
            float32, shape (tokens,): natural logarithms. The first value is NaN, because nothing precedes the first
            token. The sum of the others is the log-likelihood of the text, and ``exp(-mean)`` the perplexity.

        Raises:
            ContextOverflowError: the text does not fit into the context.
            GenerationTimeoutError: the timeout expired.
            TypeError, ValueError: an argument is invalid, or the text is empty.
            InferenceError: a score is NaN or infinite, or the request failed.
            EngineClosedError: the model is closed.

        Example:
            >>> llm.score("The sky is blue.").shape  # doctest: +SKIP
            (6,)
        """
        request = self._score_request(text, timeout)
        return _scores(None if request is None else request.wait())

    async def ascore(self, text: str | Sequence[int], *, timeout: float | None = None) -> NDArray[np.float32]:
        """``score`` for asyncio. Cancelling the task cancels the request."""
        from tea_llm.backends.local.mailbox import LoopMailbox

        ask = self._score_request
        request = await in_thread(ask, text, timeout) if is_long(text) else ask(text, timeout)
        if request is None:
            return _scores(None)
        await LoopMailbox.of_running_loop().wait([request], wants_text=False)
        return _scores(request.wait())

    def save_state(self, path: str | os.PathLike[str]) -> int:
        """Saves the KV cache of finished requests to a file, so that another process can reuse it.

        Running requests continue and are not saved. The file is replaced atomically.

        Args:
            path: path of the file. It contains the tokens of prompts and answers: protect it as you protect them.

        Returns:
            The number of tokens saved.

        Raises:
            EngineClosedError, InferenceError: the model is closed, or the engine failed.
            OSError: the file cannot be written; an existing file is unchanged.
        """
        from tea_llm.backends.local.state_file import write_state

        target = Path(check_path("path", path))
        pasts = self._engine.save_pasts()
        write_state(target, pasts, self._facts())
        return sum(len(tokens) for tokens, _ in pasts)

    def load_state(self, path: str | os.PathLike[str]) -> int:
        """Loads a file of ``save_state`` into the KV cache, in addition to its contents, as far as there is room.

        Models with a sliding window or a recurrent state can only continue a saved text at its end.

        Args:
            path: path of a file that you trust. Sizes, token ids and positions are checked, but the values in it
                cannot be compared with those that the model would compute.

        Returns:
            The number of tokens loaded; the most recently used ones are loaded first.

        Raises:
            StateFileError: the file is not a state file, is damaged, or belongs to another model or other parameters.
            EngineClosedError, InferenceError: the model is closed, or the engine failed.
            OSError: the file cannot be read.
        """
        from tea_llm.backends.local.state_file import read_state

        self._open_model()
        pasts = read_state(Path(check_path("path", path)), self._facts())
        try:
            return self._engine.load_pasts(pasts)
        except ValueError as error:
            raise StateFileError(f"{os.fspath(path)}: {error}") from error

    def _facts(self) -> dict[str, str]:
        """Values that must be equal for a saved state to be valid."""
        return {"model": self._files.fingerprint(), "set of parameters": self._engine.state_parameters}

    def close(self) -> None:
        open_backends.discard(self)
        self._model = None
        self._engine.close()
        self._embedder.close()
        forward_native_log()

    def _with_reason(self, reason: str) -> LocalLlmBackend:
        """The same loaded model with another ``fallback_reason`` in its results and ``info``.

        Args:
            reason: the ``fallback_reason``.
        """
        same = copy.copy(self)
        same._fallback_reason = reason
        open_backends.add(same)
        return same

    def __repr__(self) -> str:
        state = " closed" if self._model is None else ""
        return f"<LocalLlmBackend {self._path.name!r} n_ctx={self._engine.n_ctx}{state}>"

    def _open_model(self) -> _core.Model:
        if self._model is None:
            raise EngineClosedError("the model was closed")
        return self._model

    def _ask(
        self, prompt: str | Sequence[int] | LlmCallParams, options: Mapping[str, object], check: Check | None = None
    ) -> LocalAnswer:
        prompt, options = split_params(prompt, options)
        checked = GenerationOptions.checked(options)
        checked.refuse_for_raw_prompt()
        deadline = Deadline(checked.timeout, check)
        return self._answer(self._tokens(prompt, deadline), checked, deadline, grammar_of(checked))

    def _tokens(self, prompt: str | Sequence[int], check: Check) -> list[int]:
        model = self._open_model()
        tokens: list[int] = []
        if not isinstance(prompt, str):
            tokens = check_tokens(model, prompt)
        elif prompt:
            self._check_fits(check_text("prompt", prompt))
            tokens = self._encode(prompt, add_special=True, parse_special=True, check=check)
            if model.adds_bos and tokens[:2] == [model.bos, model.bos]:
                del tokens[0]  # the prompt has BOS already, as those of render_chat()
        if not tokens:
            raise ValueError("prompt is empty")
        return tokens

    @cached_property
    def _answer_formats(self) -> AnswerFormats:
        from tea_llm.answers.grammars import AnswerFormats

        return AnswerFormats(self._prompt.template)

    @cached_property
    def _longest_token_bytes(self) -> int:
        return self._open_model().longest_token_bytes

    def _check_fits(self, text: str) -> None:
        if len(text) > self._engine.n_ctx:
            check_fits(text, self._engine.n_ctx, self._longest_token_bytes)

    def _ask_chat(
        self, messages: Iterable[Message], options: Mapping[str, object], check: Check | None = None
    ) -> LocalAnswer:
        checked = GenerationOptions.checked(options)
        self._open_model()
        deadline = Deadline(checked.timeout, check)
        tokens, asked, grammar, answer_format = chat_request(
            self._prompt, self._answer_formats, messages, checked, check=deadline, check_fits=self._check_fits
        )
        return self._answer(tokens, asked, deadline, grammar, answer_format)

    def _answer(
        self,
        tokens: Sequence[int],
        options: GenerationOptions,
        deadline: Deadline,
        grammar: str,
        answer_format: AnswerFormat | None = None,
    ) -> LocalAnswer:
        seed = self._seeds.getrandbits(64) if options.seed is None else options.seed
        requests = submit(
            self._engine,
            tokens,
            options,
            seed=seed,
            grammar=grammar,
            answer_format=answer_format,
            timeout_s=deadline.rest_s,
        )
        return LocalAnswer(
            requests, self._name, answer_format, options=options, owner=self, fallback_reason=self._fallback_reason
        )

    def _score_request(
        self, text: str | Sequence[int], timeout: float | None, check: Check | None = None
    ) -> _core.Request | None:
        """The request for a score; None: the text has one token, which has no score."""
        deadline = Deadline(GenerationOptions.checked({"timeout": timeout}).timeout, check)
        tokens = self._tokens(text, deadline)
        if len(tokens) == 1:
            return None
        (request,) = self._engine.submit(
            tokens, max_tokens=1, sampling={}, seeds=[0], scores=True, timeout_s=deadline.rest_s
        )
        return request


def _scores(result: _core.RequestResult | None) -> NDArray[np.float32]:
    import numpy as np

    return np.append(np.float32(np.nan), [] if result is None else result.scores).astype(np.float32)
