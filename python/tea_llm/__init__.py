"""A local LLM inside your Python process."""

from tea_llm._version import __version__
from tea_llm.backends.base import LlmBackend
from tea_llm.backends.local import LocalLlmBackend
from tea_llm.backends.streams import AsyncTextStream, TextStream
from tea_llm.catalog import DEFAULT_MODELS, ModelConfig, get_model_config
from tea_llm.chat.formats import format_chat_prompt
from tea_llm.errors import (
    ContextOverflowError,
    EmbeddingNotSupportedError,
    EngineClosedError,
    EngineForkedError,
    GenerationCancelledError,
    GenerationTimeoutError,
    InferenceError,
    LlmError,
    ModelLoadError,
    ModelNotFoundError,
    TemplateError,
)
from tea_llm.loading import load
from tea_llm.paths import resolve_model_path
from tea_llm.tokenizer import Tokenizer
from tea_llm.types import (
    ChatMessage,
    EngineStats,
    LlmCallParams,
    LlmCallResult,
    ModelInfo,
    StreamChunk,
    Timings,
    Usage,
)

__all__ = [
    "DEFAULT_MODELS",
    "AsyncTextStream",
    "ChatMessage",
    "ContextOverflowError",
    "EmbeddingNotSupportedError",
    "EngineClosedError",
    "EngineForkedError",
    "EngineStats",
    "GenerationCancelledError",
    "GenerationTimeoutError",
    "InferenceError",
    "LlmBackend",
    "LlmCallParams",
    "LlmCallResult",
    "LlmError",
    "LocalLlmBackend",
    "ModelConfig",
    "ModelInfo",
    "ModelLoadError",
    "ModelNotFoundError",
    "StreamChunk",
    "TemplateError",
    "TextStream",
    "Timings",
    "Tokenizer",
    "Usage",
    "__version__",
    "format_chat_prompt",
    "get_model_config",
    "load",
    "resolve_model_path",
]
