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
    deterministic: bool = False,
    seed: int | None = None,
    probe: bool = False,
    progress: Callable[[float], object] | None = None,
) -> LocalLlmBackend:
    """Loads a GGUF model into this process.

    Args:
        model: path of the model file. None: the first model that ``resolve_model_path`` finds.
        n_ctx: maximum number of tokens in one request, prompt and answer together. ``"auto"``: the context that the
            model was trained with, reduced so that its KV cache fits into half of the free memory (a quarter if the
            cache cannot grow). ``info.n_ctx`` has the value in use. Memory reserved for mapped weights does not count
            as free; the page cache does.
        n_parallel: number of requests that run at once, 1 to 256. ``"auto"``: 8. They share one KV cache of ``n_ctx``
            tokens. The cache starts small and grows on demand; models with a sliding window or a recurrent state
            allocate all of it for the first request.
        n_threads: number of compute threads. None: the physical cores that CPU affinity and cgroups leave to this
            process, and fewer while other processes use them. If the system cannot start that many, a warning is
            logged and fewer are used; ``stats().threads`` has the number in use.
        n_gpu_layers: number of layers to offload to GPUs. ``"auto"`` or -1: as many as fit, none without a GPU.
        chat_format: ``"chatml"``, ``"gemma"`` or ``"plain"``, instead of the model's chat template. None: its template.
        chat_template: Jinja source of a chat template, or the path of a file that contains it. None: the model's own.
        cache_type_k: data type of the keys in the KV cache: ``"f16"``, ``"f32"``, ``"bf16"``, ``"q8_0"``, ``"q4_0"``,
            ``"q4_1"``, ``"q5_0"``, ``"q5_1"`` or ``"iq4_nl"``.
        cache_type_v: data type of the values in the KV cache. Quantized types need flash attention.
        flash_attn: ``"on"`` or True, ``"off"`` or False, or ``"auto"``: if the device supports it.
        mmap: map the file into memory instead of reading it. The file must not change while the model is in use.
        mlock: keep the weights from being swapped out. If a limit prevents it, a warning is logged (on Linux).
        main_gpu: index of the GPU to use when only one is used.
        tensor_split: share of the model for each GPU. None: in proportion to their free memory.
        rope_scaling: method for positions beyond the trained context. None: the one that the file names.
        stream_slowdown: how much longer a step may take, as a factor from 1 to 1000, when it also computes prompts of
            new requests. Small values keep running streams even; large values start new requests sooner.
        prompt_lookup: maximum number of tokens, up to 64, to guess per step by copying from earlier text in which the
            last words occurred. The model checks all guesses at once, so greedy answers do not change, apart from
            float rounding (not even that with ``deterministic=True``). Helps if answers quote their prompts. 0: off.
        cache_ram: size in bytes of the memory that keeps the KV cache of finished requests when others need their
            cells; it is copied back for prompts that continue them. If the caches are not f16 or flash attention is
            off, the cache also moves there when other requests start, because attention then computes over all cells in
            use. ``"auto"``: half the size of the full KV cache, but at most an eighth of the free memory. 0: keep
            nothing. Has no effect for models with a sliding window or a recurrent state.
        deterministic: guarantee that an answer has the same bits, with the same seed, whatever else is computed at the
            same time and whatever is in the cache. Needs the CPU kernels of tea-llm (AVX2), an f16 KV cache, flash
            attention and a model without a recurrent state. If llama.cpp's kernels multiply some of the weights
            (``info.weights``), tokens are computed one at a time. State files are taken only from a model that was
            loaded with this option on the same kind of CPU. By default, answers have the same bits, too, where all of
            this holds.
        seed: seed for requests that do not set one, which makes a program's random answers repeatable. None: random.
        probe: load the file and generate one token in a child process first. A file that crashes llama.cpp then raises
            ``ModelLoadError`` here. Loading takes about twice as long.
        progress: called a few times per second with the loaded fraction, 0.0 to 1.0. If it raises, loading stops.

    Returns:
        The loaded model. It can be used from any number of threads.

    Raises:
        ModelNotFoundError: the file does not exist, or no model was found; the message lists all places searched.
        ModelLoadError: the file cannot be used; the message includes the last error lines of llama.cpp.
        LocalBackendUnavailableError: this installation has no engine, or ``probe`` finds no ``tea-llm-child``.
        TemplateError: ``chat_template`` is not a valid template.
        TypeError: an argument has a wrong type.
        ValueError: an argument is out of range, or ``deterministic=True`` cannot be honoured; the message says why.

    Example:
        >>> with tea_llm.load() as llm:  # doctest: +SKIP
        ...     print(llm.chat([{"role": "user", "content": "Hi"}]).content)
    """
    load_native = _core.Model.load  # first, because without an engine nothing else matters
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
        "deterministic": check_flag("deterministic", deterministic),
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
    """llama.cpp does not fail if it may not lock memory, but Linux says how much is locked."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    found = re.search(r"VmLck:\s*(\d+) kB", status)
    n_locked = 1024 * int(found[1]) if found else 0
    has_gpu = len(_core.devices()) > 1  # GPU memory does not count as locked
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
        LocalBackendUnavailableError: the child program is missing.
    """
    try:
        _child.run("probe", str(path))
    except LocalBackendUnavailableError:
        raise
    except _child.ChildDiedError as error:
        raise ModelLoadError(f"{path} was tried in a child process, which {error}") from error
    except (LlmError, ValueError) as error:
        raise ModelLoadError(f"{path} was tried in a child process, which failed:\n{error}") from error
