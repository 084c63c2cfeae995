"""Every exception that tea-llm raises on purpose.

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
    """The settings are invalid: an unknown key, a wrong type, or neither a model nor an API is configured."""


class ModelNotFoundError(LlmError):
    """The model file does not exist, no model was found, or it could not be downloaded."""


class ModelLoadError(LlmError):
    """The file exists, but it is not a usable model."""


class LocalBackendUnavailableError(ModelLoadError):
    """This installation has no native engine. The message says how to get it."""


class InferenceError(LlmError):
    """A request to a local model failed."""


class ContextOverflowError(InferenceError):
    """The prompt does not fit into the context. Prompts are never cut to fit.

    Attributes:
        n_prompt: number of tokens of the prompt.
        n_ctx: number of tokens that fit, prompt and answer together.
    """

    def __init__(self, message: str, n_prompt: int = 0, n_ctx: int = 0) -> None:
        super().__init__(message)
        self.n_prompt = n_prompt
        self.n_ctx = n_ctx

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.n_prompt, self.n_ctx)


class GrammarError(InferenceError):
    """A grammar or regular expression is invalid, or no text of this model can match it."""


class TemplateError(InferenceError):
    """A chat template is invalid, or it rejects the messages (because of an unsupported role, for example)."""


class GenerationTimeoutError(InferenceError):
    """The request's ``timeout`` expired.

    Attributes:
        partial: the text generated so far; may be empty.
    """

    def __init__(self, message: str, partial: str = "") -> None:
        super().__init__(message)
        self.partial = partial

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.partial)


class GenerationCancelledError(InferenceError):
    """The request was cancelled before it was finished."""


class EngineClosedError(InferenceError):
    """The backend was closed by ``close()``, by a ``with`` block, or at the end of the process."""


class EngineForkedError(InferenceError):
    """The model was loaded before ``fork()``, which threads do not survive. Load it again in the child process."""


class AnswerCutError(InferenceError):
    """Raised by ``parsed`` if an answer with a ``response_format`` was cut off before its value was complete.

    Attributes:
        text: the incomplete answer.
    """

    def __init__(self, message: str, text: str = "") -> None:
        super().__init__(message)
        self.text = text

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.text)


class EmbeddingNotSupportedError(LlmError):
    """This model or backend has no embeddings."""


class StateFileError(LlmError):
    """``load_state`` cannot use the file: it is not a state file, it is damaged, or the model or parameters differ."""


class ApiError(LlmError):
    """A request to an API failed.

    Attributes:
        status_code: status code of the HTTP response; None: no response.
        provider: ``"openai"``, ``"azure"`` or ``"ollama"``.
        request_id: the server's id of the request, for support; None: not given.
        code: the server's error code; None: not given.
        retry_after: seconds to wait before the next attempt, as the server asks; None: not given.
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
        # BaseException's method would call the class with the message alone.
        return _rebuild, (type(self), str(self), dict(self.__dict__))


class ApiConnectionError(ApiError):
    """The server could not be reached, or the connection broke."""


class ApiTimeoutError(ApiError, GenerationTimeoutError):
    """The server did not answer within ``timeout``. Has the attributes of both base classes."""

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
    """The server rejects the key, or there is no key (401, 403)."""


class ApiRateLimitError(ApiError):
    """Too many requests (429), also after all retries. ``retry_after`` may say how long to wait."""


class ApiResponseError(ApiError):
    """The server rejected the request, failed, or sent an invalid answer."""


def _rebuild(kind: type[ApiError], message: str, attributes: dict[str, object]) -> ApiError:
    error = kind(message)
    error.__dict__.update(attributes)
    return error
