"""Every exception that tea-llm raises on purpose.

::

    LlmError
    ├── ModelNotFoundError              lists every place that was searched
    ├── ModelLoadError                  carries llama.cpp's own last error lines
    ├── InferenceError
    │   ├── ContextOverflowError        n_prompt, n_ctx
    │   ├── TemplateError
    │   ├── GenerationTimeoutError      partial
    │   ├── GenerationCancelledError
    │   ├── EngineClosedError
    │   └── EngineForkedError
    └── EmbeddingNotSupportedError

Wrong argument types and values are plain ``TypeError`` and ``ValueError``, raised before anything runs.
"""

from __future__ import annotations

__all__ = [
    "ContextOverflowError",
    "EmbeddingNotSupportedError",
    "EngineClosedError",
    "EngineForkedError",
    "GenerationCancelledError",
    "GenerationTimeoutError",
    "InferenceError",
    "LlmError",
    "ModelLoadError",
    "ModelNotFoundError",
    "TemplateError",
]


class LlmError(Exception):
    """Base of all errors of this package."""


class ModelNotFoundError(LlmError):
    """No model file where it was asked for or in any place that was searched, or it could not be fetched."""


class ModelLoadError(LlmError):
    """A file is there but is not a model that can be used."""


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


class EmbeddingNotSupportedError(LlmError):
    """This model or backend gives no embeddings."""
