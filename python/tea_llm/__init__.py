"""A local LLM inside your Python process."""

from importlib import import_module
from typing import TYPE_CHECKING

from tea_llm import _native  # noqa: F401  (first: it refuses sub-interpreters, where numpy fails with a message of its own)
from tea_llm._version import __version__
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.local import LocalLlmBackend
from tea_llm.backends.local.loading import load
from tea_llm.backends.streams import AsyncTextStream, TextStream
from tea_llm.catalog import DEFAULT_MODELS, ModelConfig, get_model_config
from tea_llm.chat.conversation import Conversation
from tea_llm.chat.formats import format_chat_prompt
from tea_llm.errors import (
    AnswerCutError,
    ApiAuthError,
    ApiConnectionError,
    ApiError,
    ApiRateLimitError,
    ApiResponseError,
    ApiTimeoutError,
    ConfigError,
    ContextOverflowError,
    EmbeddingNotSupportedError,
    EngineClosedError,
    EngineForkedError,
    GenerationCancelledError,
    GenerationTimeoutError,
    GrammarError,
    InferenceError,
    LlmError,
    LocalBackendUnavailableError,
    ModelLoadError,
    ModelNotFoundError,
    StateFileError,
    TemplateError,
)
from tea_llm.paths import resolve_model_path
from tea_llm.settings import LlmSettings
from tea_llm.tokenizer import Tokenizer
from tea_llm.types import (
    ChatMessage,
    Choice,
    EmbedInfo,
    EngineStats,
    LlmCallParams,
    LlmCallResult,
    ModelInfo,
    RerankResult,
    StreamChunk,
    Timings,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

if TYPE_CHECKING:
    from tea_llm.backends.api import ApiLlmBackend
    from tea_llm.backends.fallback import FallbackBackend
    from tea_llm.backends.select import close_all, create_llm_backend, get_llm_backend, is_local_llm_available
    from tea_llm.quantization import quantize

__all__ = [
    "AnswerCutError",
    "ApiAuthError",
    "ApiConnectionError",
    "ApiError",
    "ApiLlmBackend",
    "ApiRateLimitError",
    "ApiResponseError",
    "ApiTimeoutError",
    "AsyncTextStream",
    "ChatMessage",
    "Choice",
    "ConfigError",
    "ContextOverflowError",
    "Conversation",
    "DEFAULT_MODELS",
    "EmbedInfo",
    "EmbeddingNotSupportedError",
    "EngineClosedError",
    "EngineForkedError",
    "EngineStats",
    "FallbackBackend",
    "GenerationCancelledError",
    "GenerationTimeoutError",
    "GrammarError",
    "InferenceError",
    "LlmBackend",
    "LlmCallParams",
    "LlmCallResult",
    "LlmError",
    "LlmSettings",
    "LocalBackendUnavailableError",
    "LocalLlmBackend",
    "ModelConfig",
    "ModelInfo",
    "ModelLoadError",
    "ModelNotFoundError",
    "RerankResult",
    "StateFileError",
    "StreamChunk",
    "TemplateError",
    "TextStream",
    "Timings",
    "TokenLogprob",
    "Tokenizer",
    "ToolCall",
    "ToolCallDelta",
    "Usage",
    "__version__",
    "close_all",
    "create_llm_backend",
    "format_chat_prompt",
    "get_llm_backend",
    "get_model_config",
    "is_local_llm_available",
    "load",
    "quantize",
    "resolve_model_path",
]

_LATER = {
    "ApiLlmBackend": "tea_llm.backends.api",
    "FallbackBackend": "tea_llm.backends.fallback",
    "close_all": "tea_llm.backends.select",
    "create_llm_backend": "tea_llm.backends.select",
    "get_llm_backend": "tea_llm.backends.select",
    "is_local_llm_available": "tea_llm.backends.select",
    "quantize": "tea_llm.quantization",
}
"""Imported on first use: most of it needs asyncio, which takes longer to import than all the rest."""


_MODULES = frozenset({"actions", "hub", "testing", "workflow"})
"""Public modules, for ``import tea_llm; tea_llm.hub.pull(...)``."""


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"tea_llm.{name}")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    # Without the modules: help() imports all of these names, and workflows need packages that may be missing.
    return sorted({*globals(), *_LATER})
