"""Every exception that tea-llm raises on purpose.

::

    LlmError
    ├── ConfigError                     names the setting and the nearest valid one
    ├── ModelNotFoundError              lists every place that was searched
    ├── ModelLoadError                  carries llama.cpp's own last error lines
    │   └── LocalBackendUnavailableError
    ├── InferenceError
    │   ├── ContextOverflowError        n_prompt, n_ctx
    │   ├── GrammarError
    │   ├── TemplateError
    │   ├── GenerationTimeoutError      partial
    │   ├── GenerationCancelledError
    │   ├── EngineClosedError
    │   ├── EngineForkedError
    │   └── AnswerCutError              text
    ├── EmbeddingNotSupportedError
    ├── StateFileError
    └── ApiError                        status_code, provider, request_id
        ├── ApiConnectionError
        ├── ApiTimeoutError             also a GenerationTimeoutError
        ├── ApiAuthError
        ├── ApiRateLimitError           retry_after
        └── ApiResponseError

Wrong argument types and values are plain ``TypeError`` and ``ValueError``, raised before anything runs.
"""

from __future__ import annotations

__all__ = [
    "AnswerCutError",
    "ApiAuthError",
    "ApiConnectionError",
    "ApiError",
    "ApiRateLimitError",
    "ApiResponseError",
    "ApiTimeoutError",
    "ConfigError",
    "ContextOverflowError",
    "EmbeddingNotSupportedError",
    "EngineClosedError",
    "EngineForkedError",
    "GenerationCancelledError",
    "GenerationTimeoutError",
    "GrammarError",
    "InferenceError",
    "LlmError",
    "LocalBackendUnavailableError",
    "ModelLoadError",
    "ModelNotFoundError",
    "StateFileError",
    "TemplateError",
]


class LlmError(Exception):
    """Base of all errors of this package."""


class ConfigError(LlmError):
    """Settings that cannot be meant: an unknown key, a wrong type, nothing that could answer."""


class ModelNotFoundError(LlmError):
    """No model file where it was asked for or in any place that was searched, or it could not be fetched."""


class ModelLoadError(LlmError):
    """A file is there but is not a model that can be used."""


class LocalBackendUnavailableError(ModelLoadError):
    """This installation was built without the native engine; the message says how to get it."""


class InferenceError(LlmError):
    """A request failed while it was prepared or ran."""


class ContextOverflowError(InferenceError):
    """The prompt does not fit into the context; nothing was cut off to make it fit.

    Attributes:
        n_prompt: tokens of the prompt.
        n_ctx: tokens that fit, prompt and answer together.
    """

    def __init__(self, message: str, n_prompt: int = 0, n_ctx: int = 0) -> None:
        super().__init__(message)
        self.n_prompt = n_prompt
        self.n_ctx = n_ctx

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.n_prompt, self.n_ctx)


class GrammarError(InferenceError):
    """A grammar or regular expression that is not valid, or that no text of this model can match."""


class TemplateError(InferenceError):
    """A chat template is not valid, or refused the messages (an unsupported role, say)."""


class GenerationTimeoutError(InferenceError):
    """The request's ``timeout`` ran out.

    Attributes:
        partial: the text generated until then, possibly empty.
    """

    def __init__(self, message: str, partial: str = "") -> None:
        super().__init__(message)
        self.partial = partial

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.partial)


class GenerationCancelledError(InferenceError):
    """The request was cancelled before it was done."""


class EngineClosedError(InferenceError):
    """The model was closed (by ``close()``, a ``with`` block or the end of the process)."""


class EngineForkedError(InferenceError):
    """The model was loaded before ``fork()``: threads do not survive it. Load it again in the child."""


class AnswerCutError(InferenceError):
    """An answer in a ``response_format`` ended before it was a whole value: reading ``parsed`` raises it.

    Attributes:
        text: the answer as far as it came.
    """

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.text)


class EmbeddingNotSupportedError(LlmError):
    """This model or backend gives no embeddings."""


class StateFileError(LlmError):
    """A file that ``load_state`` cannot use: not a state file, damaged, or of another model or other parameters."""


class ApiError(LlmError):
    """An API could not be asked, or did not answer as it should.

    Attributes:
        status_code: of the HTTP response; None when there was none.
        provider: ``"openai"``, ``"azure"`` or ``"ollama"``.
        request_id: the server's name for the request, to be quoted to its operators; None when it gave none.
        code: the server's name for what went wrong; None when it gave none.
        retry_after: seconds that the server asks to wait; None when it does not say.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int | None = None,
        provider: str | None = None,
        request_id: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status_code = status_code
        self.provider = provider
        self.request_id = request_id
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        # BaseException's own would call the class with the message alone, and set what __dict__ holds: all of ours.
        return _rebuild, (type(self), str(self), dict(self.__dict__))


class ApiConnectionError(ApiError):
    """The server could not be reached, or the connection broke."""


class ApiTimeoutError(ApiError, GenerationTimeoutError):
    """The server took longer than ``timeout``. Attributes: those of both bases."""

    def __init__(
        self,
        message: str,
        partial: str = "",
        *,
        status_code: int | None = None,
        provider: str | None = None,
        request_id: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, provider=provider, request_id=request_id, code=code)
        self.partial = partial


class ApiAuthError(ApiError):
    """No key, or one that the server refuses (401, 403)."""


class ApiRateLimitError(ApiError):
    """Too many requests (429), and the retries are used up; ``retry_after`` may say how long to wait."""


class ApiResponseError(ApiError):
    """The server refused the request, failed, or sent what is no answer."""


def _rebuild(kind: type[ApiError], message: str, attributes: dict[str, object]) -> ApiError:
    error = kind(message)
    error.__dict__.update(attributes)
    return error
