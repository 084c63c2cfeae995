"""Fill ``vendor/llama.cpp/`` from the pinned source distribution.

The pin (``llama.cpp.json``) names a source distribution on the package index that carries the
llama.cpp tree we build. pip downloads it, its SHA-256 is checked, the subtree is unpacked beside
its final place and renamed into it in one step. CMake runs this when the tree is missing; to run
it by hand: ``python vendor/fetch.py``. Needs pip, nothing else.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
STAMP = ".tea-llm-pin"


class FetchError(Exception):
    """The tree could not be brought; the message says what to do."""


@dataclass(frozen=True)
class Pin:
    package: str
    version: str
    sha256: str
    subtree: str
    upstream: str

    @classmethod
    def read(cls, path: Path) -> Pin:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def is_complete(tree: Path, pin: Pin) -> bool:
    """Whether ``tree`` holds the pinned sources, all of them.

    Raises:
        FetchError: something is there that this script did not finish.
    """
    if not tree.exists():
        return False
    stamp = tree / STAMP
    if not stamp.is_file():
        raise FetchError(f"{tree} exists but was not put there by vendor/fetch.py: delete or move it and run again")
    recorded = json.loads(stamp.read_text(encoding="utf-8"))
    if recorded["sha256"] != pin.sha256:
        return False
    n_files = count_files(tree)
    if n_files != recorded["n_files"]:
        raise FetchError(
            f"{tree} is damaged: {n_files} files of {recorded['n_files']}. Delete the directory and run again"
        )
    return True


def count_files(tree: Path) -> int:
    """Number of files under ``tree``, the stamp and Python's caches left out."""
    n_files = 0
    for _, dirs, files in os.walk(tree):
        if "__pycache__" in dirs:
            dirs.remove("__pycache__")
        n_files += sum(name != STAMP for name in files)
    return n_files


def download(pin: Pin, directory: Path) -> Path:
    """Download the pinned source distribution into ``directory`` and return its path."""
    if importlib.util.find_spec("pip") is None:
        raise FetchError(f"{sys.executable} has no pip, which fetches llama.cpp: run '{sys.executable} -m ensurepip'")
    requirements = directory / "requirements.txt"
    requirements.write_text(f"{pin.package}=={pin.version} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
    # pip asks the source distribution for its metadata. Where its build backend is at hand (always
    # so inside our own build) pip need not fetch it a second time.
    if importlib.util.find_spec("scikit_build_core") is not None:
        command.append("--no-build-isolation")
    command += ["--quiet", "--disable-pip-version-check", "-d", str(directory), "-r", str(requirements)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    found = list(directory.glob("*.tar.gz"))
    if done.returncode != 0 or len(found) != 1:
        tail = "\n    ".join(done.stdout.strip().splitlines()[-12:])
        raise FetchError(
            f"pip could not bring {pin.package}=={pin.version}, the source of llama.cpp. It said:\n    {tail}\n"
            "Check that the package index can be reached (pip's own settings and proxies apply), or point the "
            "build at a llama.cpp tree you have: -C cmake.define.TEA_LLM_LLAMA_CPP_DIR=DIR"
        )
    return found[0]


def verify(archive: Path, pin: Pin) -> None:
    """Check the archive's SHA-256 against the pin."""
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != pin.sha256:
        raise FetchError(
            f"{archive.name} has sha256 {digest.hexdigest()}, the pin in vendor/llama.cpp.json says {pin.sha256}. "
            "Nothing was unpacked. If you changed the pin, correct it; if not, do not trust that download"
        )


def unpack(archive: Path, pin: Pin, target: Path) -> None:
    """Unpack the subtree of ``archive`` into the new directory ``target``."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            parts = Path(member.name).parts[1:]  # the first one is NAME-VERSION
            subtree = Path(pin.subtree).parts
            # .git is a file that names a repository which is not there: git would complain of it.
            if parts[: len(subtree)] != subtree or not member.isfile() or parts[-1] == ".git":
                continue
            if ".." in parts:
                raise FetchError(f"{archive.name} holds an unsafe path: {member.name!r}")
            destination = target.joinpath(*parts[len(subtree) :])
            destination.parent.mkdir(parents=True, exist_ok=True)
            source = tar.extractfile(member)
            assert source is not None  # isfile() said so
            with source, destination.open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
            destination.chmod(member.mode & 0o777 | 0o200)
    if not (target / "LICENSE").is_file() or not (target / "CMakeLists.txt").is_file():
        raise FetchError(f"{archive.name} holds no llama.cpp under {pin.subtree!r}: correct vendor/llama.cpp.json")
    stamp = {"sha256": pin.sha256, "upstream": pin.upstream, "n_files": count_files(target)}
    (target / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def put_in_place(new: Path, tree: Path, pin: Pin, scratch: Path) -> None:
    """Rename ``new`` to ``tree``; a tree of an older pin goes away."""
    if tree.exists() and not is_complete(tree, pin):
        tree.rename(scratch / "previous")
    try:
        new.rename(tree)
    except OSError:
        if not is_complete(tree, pin):  # else: another build was quicker, and its tree is as good
            raise


def fetch(pin_file: Path = HERE / "llama.cpp.json", tree: Path = HERE / "llama.cpp") -> bool:
    """Make ``tree`` hold the pinned sources. Returns whether anything had to be done.

    Raises:
        FetchError: no pip, no network, a wrong hash, no space, a damaged tree.
    """
    pin = Pin.read(pin_file)
    if is_complete(tree, pin):
        return False
    try:
        with tempfile.TemporaryDirectory(prefix=".llama.cpp.", dir=tree.parent) as name:
            scratch = Path(name)
            archive = download(pin, scratch)
            verify(archive, pin)
            unpack(archive, pin, scratch / "new")
            put_in_place(scratch / "new", tree, pin, scratch)
    except (OSError, tarfile.TarError) as error:
        raise FetchError(f"llama.cpp could not be unpacked into {tree}: {error}") from error
    return True


def main() -> int:
    try:
        fetched = fetch()
    except FetchError as error:
        print(f"vendor/fetch.py: {error}", file=sys.stderr)
        return 1
    pin = Pin.read(HERE / "llama.cpp.json")
    print(f"llama.cpp {pin.upstream}: {'fetched' if fetched else 'already here'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
