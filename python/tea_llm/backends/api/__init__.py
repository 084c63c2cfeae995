"""Models behind an OpenAI-compatible API."""

from tea_llm.backends.api.backend import ApiLlmBackend

__all__ = ["ApiLlmBackend"]
