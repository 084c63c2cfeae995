"""Finds files on the Hugging Face hub. ``huggingface_hub`` handles tokens, mirrors and gated repositories."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath

from tea_llm._shown import without_secrets
from tea_llm.catalog import HubSource
from tea_llm.errors import LlmError, ModelNotFoundError
from tea_llm.hub.sources import UnreachableError, Wanted

__all__ = ["locate"]

_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


def locate(wanted: Wanted, source: HubSource) -> tuple[Wanted, str, dict[str, str]]:
    """Returns ``wanted`` with the file's name, size and SHA-256 on the hub, its URL, and the headers to read it with.

    The token comes from ``hf auth login`` or ``HF_TOKEN``; ``HF_ENDPOINT`` selects another hub.

    Raises:
        ModelNotFoundError: the file does not exist, access to the repository is not granted, the network fails, or
            ``huggingface_hub`` is not installed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ModelNotFoundError(f'{wanted.name} is on the Hugging Face hub, which needs: pip install "tea-llm[hub]"')
    import huggingface_hub

    with _errors(wanted, source):
        path = source.file or _choose(source)
        if _PART.search(path):
            raise ModelNotFoundError(f"{path} is one part of a split model, which pull cannot download: do it by hand")
        url = huggingface_hub.hf_hub_url(source.repo, path, revision=source.revision)
        metadata = huggingface_hub.get_hf_file_metadata(url)
        if metadata.commit_hash is not None:  # so that a change during the download cannot mix two versions
            url = huggingface_hub.hf_hub_url(source.repo, path, revision=metadata.commit_hash)
        token = huggingface_hub.get_token()
    is_sha256 = metadata.etag is not None and re.fullmatch(r"[0-9a-f]{64}", metadata.etag)
    known = replace(
        wanted,
        file_name=wanted.file_name or PurePosixPath(path).name,
        size_bytes=metadata.size,
        sha256=wanted.sha256 or (metadata.etag if is_sha256 else None),
    )
    return known, url, {"Authorization": f"Bearer {token}"} if token else {}


def _choose(source: HubSource) -> str:
    """The only GGUF file of the given quantization, or, without one, of the repository."""
    from huggingface_hub import HfApi

    files = HfApi().list_repo_files(source.repo, revision=source.revision)
    # mmproj: the image projector that is stored beside a model
    models = sorted(file for file in files if file.lower().endswith(".gguf") and "mmproj" not in file.lower())
    if source.quant is not None:
        wanted = re.compile(rf"(^|[-._/]){re.escape(source.quant)}($|[-._/])", re.IGNORECASE)
        fitting = [file for file in models if wanted.search(file[: -len(".gguf")])]
    else:
        fitting = models
    if len(fitting) == 1:
        return fitting[0]
    if source.quant is None:
        problem = (
            f"{len(models) or 'no'} GGUF files, not one: name the file, or a quantization (hf:{source.repo}:Q4_K_M)"
        )
    else:
        problem = f"{len(fitting) or 'no'} GGUF files of quantization {source.quant}"
    raise ModelNotFoundError(f"{source.repo} has {problem}. GGUF files there: {', '.join(models) or 'none'}")


@contextmanager
def _errors(wanted: Wanted, source: HubSource) -> Iterator[None]:
    """Converts the exceptions of ``huggingface_hub``, whose HTTP errors differ from version to version."""
    from huggingface_hub import errors

    where = f"{source.repo} at {source.revision}"
    try:
        yield
    except LlmError:
        raise
    except errors.GatedRepoError as error:
        raise ModelNotFoundError(
            f"{where} is gated: accept its licence on the hub and log in ('hf auth login', or set HF_TOKEN)"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            f"the hub has no repository {source.repo}, or it is private: check the name, or log in ('hf auth login', "
            "or set HF_TOKEN)"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{source.repo} has no revision {source.revision}") from error
    except errors.EntryNotFoundError as error:
        raise ModelNotFoundError(f"{where} has no file {source.file}") from error
    except Exception as error:
        said = f"{type(error).__name__}: {without_secrets(error)}"
        raise UnreachableError(f"cannot find {wanted.name}: the hub does not answer ({said})") from error
