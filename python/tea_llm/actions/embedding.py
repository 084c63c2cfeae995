"""``llm.embed`` and ``llm.similarity``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tea_llm.actions._answer import failure, in_words
from tea_llm.actions._host import Host
from tea_llm.actions._request import ActionError, Request
from tea_llm.backends.api.endpoint import is_openai
from tea_llm.backends.base import LlmBackend
from tea_llm.errors import EmbeddingNotSupportedError
from tea_llm.settings import LlmSettings

__all__ = ["EMBED_PARAMETERS", "SIMILARITY_PARAMETERS", "embed", "similarity"]

_EMBED_OPTIONS = ("normalize", "truncate", "dimensions", "prompt")
EMBED_PARAMETERS = frozenset({"text", *_EMBED_OPTIONS})
SIMILARITY_PARAMETERS = frozenset({"text_a", "text_b", "vector_a", "vector_b"})

_OPENAI_MODEL = "text-embedding-3-small"
_UNSUPPORTED = "Embeddings require local backend with embedding=True or explicit API configuration"


def embed(params: Mapping[str, Any], *, host: Host, state: Mapping[str, Any] | None, is_local: bool) -> dict[str, Any]:
    """The vector of a text, or the vectors of several."""
    backend: LlmBackend | None = None
    try:
        request = Request.of(params, known=EMBED_PARAMETERS, host=host, state=state, is_local=is_local)
        text = request.own.get("text")
        if not text:
            raise ActionError("Missing required parameter: text")
        backend = request.open(host)
        options: Any = {name: request.own[name] for name in _EMBED_OPTIONS if request.own.get(name) is not None}
        vectors = backend.embed(text, **options)
    except ActionError as error:
        return failure(str(error))
    except EmbeddingNotSupportedError as error:
        return failure(_UNSUPPORTED, error, detail=str(error))
    except Exception as error:
        return failure(in_words(error, backend), error)
    if isinstance(text, str):
        return {"embedding": vectors.tolist(), "dimensions": len(vectors)}
    return {"embedding": vectors[0].tolist(), "embeddings": vectors.tolist(), "dimensions": vectors.shape[1]}


def similarity(params: Mapping[str, Any], *, host: Host, state: Mapping[str, Any] | None) -> dict[str, Any]:
    """The cosine similarity of two texts or two vectors."""
    backend: LlmBackend | None = None
    try:
        request = Request.of(params, known=SIMILARITY_PARAMETERS, host=host, state=state)
        own = request.own
        if own.get("vector_a") is not None and own.get("vector_b") is not None:
            a, b = (_vector(name, own[name]) for name in ("vector_a", "vector_b"))
        elif own.get("text_a") and own.get("text_b"):
            if params.get("model") is None and is_openai(LlmSettings.parse({"llm": request.settings})):
                request.settings["model"] = _OPENAI_MODEL  # the model of the settings generates text
            backend = request.open(host)
            a, b = backend.embed([own["text_a"], own["text_b"]])
        else:
            raise ActionError("Missing required parameter: text_a and text_b, or vector_a and vector_b")
        if len(a) != len(b):
            raise ActionError(f"vector_a has {len(a)} numbers and vector_b {len(b)}: they must have the same length")
    except ActionError as error:
        return failure(str(error))
    except EmbeddingNotSupportedError as error:
        return failure(_UNSUPPORTED, error, detail=str(error))
    except Exception as error:
        return failure(in_words(error, backend), error)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths else 0.0
    words = "Very similar" if cosine > 0.8 else "Somewhat similar" if cosine > 0.5 else "Not very similar"
    return {
        "cosine_similarity": cosine,
        "interpretation": words if cosine > 0.2 else "Unrelated",
        "text_a": own.get("text_a"),
        "text_b": own.get("text_b"),
    }


def _vector(name: str, given: Sequence[float]) -> NDArray[np.float64]:
    try:
        vector = np.array(given, np.float64)
    except (TypeError, ValueError):
        vector = np.empty((0, 0))
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise ActionError(f"{name} must be a list of numbers")
    return vector
