"""``load()``: from a path and settings to a model that answers."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from tea_llm import _child
from tea_llm._check import MAX_CTX, MAX_SEQUENCES, MAX_THREADS, check_flag, check_float, check_int
from tea_llm._log import forward_native_log
from tea_llm._native import _core
from tea_llm.backends.local.backend import LocalLlmBackend
from tea_llm.catalog import get_model_config
from tea_llm.chat.prompt import ChatPrompt
from tea_llm.errors import LlmError, LocalBackendUnavailableError, ModelLoadError, ModelNotFoundError
from tea_llm.paths import missing_models, model_not_found, resolve_model_path

__all__ = ["load"]

logger = logging.getLogger("tea_llm")

_MAX_GUESSES = 64


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    n_ctx: int | Literal["auto"] = "auto",
    n_parallel: int | Literal["auto"] = "auto",
    n_threads: int | None = None,
    n_gpu_layers: int | Literal["auto"] = "auto",
    chat_format: str | None = None,
    chat_template: str | os.PathLike[str] | None = None,
    cache_type_k: str = "f16",
    cache_type_v: str = "f16",
    flash_attn: Literal["auto", "on", "off"] | bool = "auto",
    mmap: bool = True,
    mlock: bool = False,
    main_gpu: int = 0,
    tensor_split: Sequence[float] | None = None,
    rope_scaling: Literal["none", "linear", "yarn", "longrope"] | None = None,
    stream_slowdown: float = 2.0,
    prompt_lookup: int = 0,
    cache_ram: int | Literal["auto"] = "auto",
    seed: int | None = None,
    probe: bool = False,
    progress: Callable[[float], object] | None = None,
) -> LocalLlmBackend:
    """Loads a GGUF model into this process.

    Args:
        model: path of the file; None: the first one found (``resolve_model_path``).
        n_ctx: tokens of the longest request, prompt and answer together; ``"auto"``: what the model was trained for,
            as far as half of the free memory holds its cache, or a quarter where the cache cannot grow
            (``info.n_ctx`` tells). Memory that mapped weights need is not free; the page cache is.
        n_parallel: requests that run at once, 1 to 256; ``"auto"``: 8. They share ``n_ctx`` tokens of KV cache. (It
            begins small and grows as requests need it; a model with a sliding window or a recurrent state has all
            of it from the first request on.)
        n_threads: threads that compute; None: the physical cores that affinity and cgroup leave to this process, and
            fewer while other processes use them. Fewer also where the system starts no more, with a warning in the
            log (``stats().threads`` tells).
        n_gpu_layers: layers to keep on GPUs; ``"auto"`` or -1: as many as fit, none where there is no GPU.
        chat_format: ``"chatml"``, ``"gemma"`` or ``"plain"`` instead of the model's own template; None: its own.
        chat_template: Jinja source, or the path of a file with it, instead of the model's own template.
        cache_type_k: type of the KV cache's keys: ``"f16"``, ``"f32"``, ``"bf16"``, ``"q8_0"``, ``"q4_0"``,
            ``"q4_1"``, ``"q5_0"``, ``"q5_1"`` or ``"iq4_nl"``.
        cache_type_v: the same for its values. A quantized one needs flash attention.
        flash_attn: ``"on"`` (True), ``"off"`` (False), or ``"auto"``: where the device can.
        mmap: map the file instead of reading it; it must not be changed meanwhile.
        mlock: keep the weights from being swapped out; a limit that prevents it is a logged warning (on Linux).
        main_gpu: index of the GPU that is used when there is only one to use.
        tensor_split: share of the model for each GPU; None: by their free memory.
        rope_scaling: how positions beyond the trained context are handled; None: as the model says.
        stream_slowdown: how many times as long as without it a step may take when others' prompts are computed beside
            running requests, 1 to 1000: small keeps streams even, large answers newcomers sooner. Default 2.
        prompt_lookup: most tokens, up to 64, to guess in each step from what stands in the text so far, where its
            last words came up before; the model checks them all at once. Never changes a greedy answer but for float
            rounding, and pays where answers quote their prompts. 0 (default): none.
        cache_ram: bytes for what finished requests computed, beside the KV cache: it is moved there when others
            need the room (or start, where caches are not f16 or flash attention is off: attention then passes over
            every cell in use), and back for a prompt that continues it.
            ``"auto"``: half of what the full KV cache takes, at most an eighth of the free memory. 0: none, it is
            forgotten. (Not for models with a sliding window or a recurrent state.)
        seed: for requests that give none, so that a program's random answers repeat; None: random.
        probe: first load the file and generate a token in a child process, so that a file that crashes llama.cpp
            raises here instead. Takes about twice as long.
        progress: called with the fraction loaded, 0.0 to 1.0, a few times a second; what it raises ends the load.

    Returns:
        The model, ready for any number of threads.

    Raises:
        ModelNotFoundError: no file there, or nowhere; lists every place that was searched.
        ModelLoadError: the file cannot be used; carries llama.cpp's last error lines.
        LocalBackendUnavailableError: this installation has no engine, or ``probe`` finds no ``tea-llm-child``.
        TemplateError: ``chat_template`` is not valid.
        TypeError, ValueError: an argument of a wrong type or out of range.

    Example:
        >>> with tea_llm.load() as llm:  # doctest: +SKIP
        ...     print(llm.chat([{"role": "user", "content": "Hi"}]).content)
    """
    load_native = _core.Model.load  # first of all: nothing below matters where there is no engine
    model_arguments = {
        "n_gpu_layers": -1 if n_gpu_layers == "auto" else check_int("n_gpu_layers", n_gpu_layers, -1, 2**31 - 1),
        "main_gpu": check_int("main_gpu", main_gpu, 0, 255),
        "tensor_split": _check_split(tensor_split),
        "mmap": check_flag("mmap", mmap),
        "mlock": check_flag("mlock", mlock),
    }
    engine_arguments = {
        "n_ctx": -1 if n_ctx == "auto" else check_int("n_ctx", n_ctx, 1, MAX_CTX),
        "n_parallel": 8 if n_parallel == "auto" else check_int("n_parallel", n_parallel, 1, MAX_SEQUENCES),
        "n_threads": -1 if n_threads is None else check_int("n_threads", n_threads, 1, MAX_THREADS),
        "cache_type_k": _check_name("cache_type_k", cache_type_k),
        "cache_type_v": _check_name("cache_type_v", cache_type_v),
        "flash_attn": _check_name("flash_attn", {"True": "on", "False": "off"}.get(str(flash_attn), flash_attn)),
        "rope_scaling": "auto" if rope_scaling is None else _check_name("rope_scaling", rope_scaling),
        "stream_slowdown": check_float("stream_slowdown", stream_slowdown, 1, 1000),
        "prompt_lookup": check_int("prompt_lookup", prompt_lookup, 0, _MAX_GUESSES),
        "cache_ram": -1 if cache_ram == "auto" else check_int("cache_ram", cache_ram, 0, 2**63 - 1),
        "audits": bool(os.environ.get("TEA_LLM_AUDIT")),  # for tests: docs/architecture.md
    }
    seed = None if seed is None else check_int("seed", seed, 0, 2**64 - 1)
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable, not {type(progress).__name__}")
    path = resolve_model_path(explicit=model)
    if path is None:
        raise model_not_found()
    if check_flag("probe", probe):
        _probe(path)
    try:
        native = load_native(os.fsencode(path), progress=progress, **model_arguments)  # type: ignore[arg-type]
        engine = _core.Engine(native, **engine_arguments)  # type: ignore[arg-type]
    finally:
        forward_native_log()
    if mlock:
        _warn_if_not_locked(native.size_bytes)
    family_format = get_model_config(path).chat_format
    prompt = ChatPrompt(native, chat_format=chat_format, chat_template=chat_template, family_format=family_format)
    missing = missing_models() if model is None else []
    try:
        return LocalLlmBackend(native, engine, prompt, path, seed=seed, fallback_reason="; ".join(missing) or None)
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"{error.filename} was removed while it was loaded") from error


def _warn_if_not_locked(n_bytes: int) -> None:
    """llama.cpp goes on where it may not lock memory. Linux tells how much this process has locked."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    found = re.search(r"VmLck:\s*(\d+) kB", status)
    n_locked = 1024 * int(found[1]) if found else 0
    has_gpu = len(_core.devices()) > 1  # whose memory counts for nothing here
    if n_locked < n_bytes / 2 and not (has_gpu and n_locked):
        logger.warning(
            "mlock=True: of %.1f MB only %.1f are locked, and the rest may be swapped out. Raise the limit: "
            "'ulimit -l', LimitMEMLOCK= in systemd, --ulimit memlock=-1 in Docker",
            n_bytes / 1e6,
            n_locked / 1e6,
        )


def _check_name(argument: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a string, not {type(value).__name__} ({value!r})")
    return value


def _check_split(tensor_split: Sequence[float] | None) -> list[float]:
    if tensor_split is None:
        return []
    return [check_float(f"tensor_split[{i}]", share, 0, 1e9) for i, share in enumerate(tensor_split)]


def _probe(path: Path) -> None:
    """Loads the file and generates a token in a child process.

    Raises:
        ModelLoadError: the child failed or died.
        LocalBackendUnavailableError: there is no child to use.
    """
    try:
        _child.run("probe", str(path))
    except LocalBackendUnavailableError:
        raise
    except _child.ChildDiedError as error:
        raise ModelLoadError(f"{path} was tried in a child process, which {error}") from error
    except (LlmError, ValueError) as error:
        raise ModelLoadError(f"{path} was tried in a child process, which failed:\n{error}") from error
