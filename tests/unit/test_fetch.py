"""vendor/fetch.py: the right tree, whole, or an error that says what to do and nothing half-written."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "vendor" / "fetch.py"
FILES = {"LICENSE": b"MIT", "CMakeLists.txt": b"project(x)", "src/a.cpp": b"int a;"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vendor_fetch", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["vendor_fetch"] = module
    spec.loader.exec_module(module)
    return module


def write_sdist(directory: Path, files: dict[str, bytes], version: str = "1.0") -> Path:
    """A source distribution that pip can ask for its metadata, and our files under ``vendor/llama.cpp``."""
    backend = b"""
def prepare_metadata_for_build_wheel(directory, settings=None):
    import pathlib
    info = pathlib.Path(directory) / "tea_fake-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: tea-fake\\nVersion: VERSION\\n")
    return info.name
def build_wheel(*args): raise NotImplementedError
def build_sdist(*args): raise NotImplementedError
""".replace(b"VERSION", version.encode())
    content = {
        "pyproject.toml": b'[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: tea-fake\nVersion: {version}\n".encode(),
        "other/file": b"not ours",
    }
    content |= {f"vendor/llama.cpp/{name}": data for name, data in files.items()}
    path = directory / f"tea_fake-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(f"tea_fake-{version}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A vendor directory, and a package index that is a directory."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "vendor").mkdir()
    write_pin(tmp_path, write_sdist(index, {**FILES, ".git": b"gitdir: nowhere"}))
    return tmp_path


def write_pin(place: Path, sdist: Path, **changes: str) -> None:
    pin = {
        "package": "tea-fake",
        "version": "1.0",
        "sha256": hashlib.sha256(sdist.read_bytes()).hexdigest(),
        "subtree": "vendor/llama.cpp",
        "upstream": "x@1",
    }
    (place / "vendor" / "pin.json").write_text(json.dumps(pin | changes))


def fetch(script: ModuleType, place: Path) -> bool:
    return bool(script.fetch(place / "vendor" / "pin.json", place / "vendor" / "llama.cpp"))


def left_over(place: Path) -> list[str]:
    return sorted(path.name for path in (place / "vendor").iterdir())


def test_the_tree_comes_once(script: ModuleType, place: Path) -> None:
    assert fetch(script, place)
    tree = place / "vendor" / "llama.cpp"
    assert {
        str(p.relative_to(tree)): p.read_bytes() for p in tree.rglob("*") if p.is_file() and p.name[0] != "."
    } == FILES
    assert not (tree / ".git").exists()
    assert not fetch(script, place)
    assert left_over(place) == ["llama.cpp", "pin.json"]


def test_a_wrong_hash_leaves_nothing(script: ModuleType, place: Path) -> None:
    write_pin(place, place / "index" / "tea_fake-1.0.tar.gz", sha256="0" * 64)
    with pytest.raises(script.FetchError, match="could not bring tea-fake==1.0"):
        fetch(script, place)
    assert left_over(place) == ["pin.json"]


def test_no_index_says_what_to_do(script: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(place / "nowhere"))
    with pytest.raises(script.FetchError, match="TEA_LLM_LLAMA_CPP_DIR"):
        fetch(script, place)
    assert left_over(place) == ["pin.json"]


def test_no_pip_says_what_to_do(script: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(script.FetchError, match="ensurepip"):
        fetch(script, place)


def test_half_a_tree_is_not_taken(script: ModuleType, place: Path) -> None:
    fetch(script, place)
    (place / "vendor" / "llama.cpp" / "src" / "a.cpp").unlink()
    with pytest.raises(script.FetchError, match="damaged: 2 files of 3"):
        fetch(script, place)


def test_a_tree_of_somebody_else_is_left_alone(script: ModuleType, place: Path) -> None:
    (place / "vendor" / "llama.cpp").mkdir()
    with pytest.raises(script.FetchError, match="delete or move it"):
        fetch(script, place)
    assert (place / "vendor" / "llama.cpp").is_dir()


def test_a_new_pin_replaces_the_tree(script: ModuleType, place: Path) -> None:
    fetch(script, place)
    new = write_sdist(place / "index", FILES | {"src/a.cpp": b"int b;"}, "2.0")
    write_pin(place, new, version="2.0")
    assert fetch(script, place)
    assert (place / "vendor" / "llama.cpp" / "src" / "a.cpp").read_bytes() == b"int b;"
    assert left_over(place) == ["llama.cpp", "pin.json"]


def test_an_archive_without_llama_cpp(script: ModuleType, place: Path) -> None:
    write_pin(place, place / "index" / "tea_fake-1.0.tar.gz", subtree="vendor/other")
    with pytest.raises(script.FetchError, match="holds no llama.cpp"):
        fetch(script, place)
    assert left_over(place) == ["pin.json"]
