"""Files as users have them: in parts, with odd names, behind links, not readable."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from support.process import assert_raises_in_child, run_python
from support.tiny_gguf import Tensors, write_tiny_model
from tea_llm import LocalLlmBackend, ModelLoadError, ModelNotFoundError, StateFileError
from tea_llm.inspection import inspect_model


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    first = write_tiny_model(tmp_path / "big.gguf", tensors_a_file=8)
    return sorted(first.parent.glob("big-*"))


def load(path: Path) -> LocalLlmBackend:
    return tea_llm.load(path, n_ctx=128, n_threads=1)


def answer(path: Path) -> str:
    with load(path) as llm:
        return llm.call("Hello", max_tokens=8, temperature=0).content


def test_a_model_in_parts_is_one_model(parts: list[Path], tiny_model: Callable[..., Path]) -> None:
    assert [path.name for path in parts] == [f"big-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    with load(parts[0]) as llm:
        assert llm.info.name == llm.call("Hello", max_tokens=1).model == "big"
    assert answer(parts[0]) == answer(tiny_model())


def test_a_later_part_names_the_first(parts: list[Path]) -> None:
    for path in parts[1:]:
        with pytest.raises(ModelLoadError, match=r"later part of a model in 3 files: give the path of the first"):
            load(path)


def test_a_missing_part_is_named(parts: list[Path]) -> None:
    parts[2].unlink()
    with pytest.raises(ModelLoadError, match=r"big-00003-of-00003\.gguf"):
        load(parts[0])


def test_a_renamed_first_part(parts: list[Path]) -> None:
    with pytest.raises(ModelLoadError, match=r"it is the first of 3 parts, and its name does not end"):
        load(parts[0].rename(parts[0].with_name("mine.gguf")))


def test_a_whole_model_may_be_named_like_a_part(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    path = tmp_path / "x-00001-of-00003.gguf"
    shutil.copy(tiny_model(), path)
    with load(path) as llm:
        llm.call("Hello", max_tokens=2)
        assert llm.save_state(tmp_path / "state") == llm.load_state(tmp_path / "state") > 0
        assert llm.info.name == "x-00001-of-00003"
    assert inspect_model(path).n_files == 1
    assert tea_llm.quantize(path, tmp_path / "q.gguf", "q8_0", n_threads=1).is_file()


def test_a_state_is_saved_after_a_change_of_directory(
    tmp_path: Path, tiny_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(tiny_model(), tmp_path / "m.gguf")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with load(Path("m.gguf")) as llm:
        assert llm.info.path == str(tmp_path / "m.gguf")
        monkeypatch.chdir(tmp_path / "elsewhere")
        llm.call("Hello", max_tokens=2)
        assert llm.save_state("state") > 0
        (tmp_path / "m.gguf").unlink()
        with pytest.raises(StateFileError, match=r"m\.gguf was loaded, but it does not exist any more"):
            llm.save_state("state")


def test_a_file_that_is_removed_while_it_is_loaded(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    path = tmp_path / "m.gguf"
    shutil.copy(tiny_model(), path)
    with pytest.raises(ModelNotFoundError, match=r"m\.gguf was removed while it was loaded"):
        tea_llm.load(path, n_threads=1, progress=lambda _: path.unlink(missing_ok=True))


def test_a_projector_is_no_model(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    path = write_tiny_model(tmp_path / "mmproj.gguf", overrides={"general.architecture": "clip"})
    with pytest.raises(ModelLoadError, match=r"it is a projector for images or sounds \(mmproj\)") as caught:
        load(path)
    assert "--mmproj" not in str(caught.value)  # not an option of ours


def test_mlock_that_locks_nothing_says_so(tiny_model: Callable[..., Path]) -> None:
    """In a process that may lock nothing, whoever runs it."""
    code = """
        import ctypes, resource, sys, tea_llm
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        libc = ctypes.CDLL(None, use_errno=True)
        header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        assert libc.capget(header, sets) == 0
        sets[0] &= ~(1 << 14)  # CAP_IPC_LOCK
        assert libc.capset(header, sets) == 0
        for wanted in (False, True):
            tea_llm.load(sys.argv[1], mlock=wanted, n_threads=1).close()
            print(wanted, file=sys.stderr)
    """
    done = run_python(code, args=[str(tiny_model())])
    assert done.returncode == 0, done.stderr
    before, after = done.stderr.split("False\n")
    assert before == ""
    assert after.startswith("mlock=True: of 0.5 MB only 0.0 are locked"), after


def test_daemon_threads_print_nothing_at_the_end(tiny_model: Callable[..., Path]) -> None:
    code = """
        import sys, tea_llm, threading, time
        llm = tea_llm.load(sys.argv[1], n_threads=1)
        llm.embed("x")

        def work(ask):
            while True:
                ask()

        asks = [lambda: llm.call("x", max_tokens=50, ignore_eos=True), lambda: llm.embed(["x"] * 9),
                lambda: list(llm.stream("x", max_tokens=50)), lambda: llm.tokenize("x" * 1000)]
        for ask in asks * 2:
            threading.Thread(target=work, args=(ask,), daemon=True).start()
        time.sleep(0.3)
        print("end", file=sys.stderr)
    """
    done = run_python(code, args=[str(tiny_model())])
    assert done.returncode == 0
    assert done.stderr.endswith("end\n"), done.stderr


def test_an_archive_says_that_it_is_one(tmp_path: Path) -> None:
    package = Path(tea_llm.__file__).parent
    with zipfile.ZipFile(tmp_path / "app.pyz", "w") as archive:
        for file in package.rglob("*.py"):
            archive.write(file, Path("tea_llm", file.relative_to(package)))
    code = f"""
        import sys
        sys.meta_path = [finder for finder in sys.meta_path if not hasattr(finder, "rebuild_flag")]
        sys.path.insert(0, {str(tmp_path / "app.pyz")!r})
        import tea_llm
        tea_llm.load("x.gguf")
    """
    assert_raises_in_child(code, "LocalBackendUnavailableError", "it lies in an archive", "app.pyz", "unpack it")


def test_a_template_file_that_is_missing(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    for given in ("no.jinja", tmp_path / "no.jinja"):
        with pytest.raises(ValueError, match="is neither a Jinja template nor an existing file"):
            tea_llm.load(tiny_model(), chat_template=given)
    with pytest.raises(TypeError, match="chat_template must be a string or"):
        tea_llm.load(tiny_model(), chat_template=b"no.jinja")  # type: ignore[arg-type]


def test_a_poisoned_later_part(tmp_path: Path) -> None:
    def poison(tensors: Tensors) -> None:
        name = next(name for name in tensors if name.endswith("ffn_norm.weight"))
        tensors[name] = tensors[name].astype("float16")

    first = write_tiny_model(tmp_path / "big.gguf", tensors_a_file=1, edit=poison)
    with pytest.raises(ModelLoadError, match=r"ffn_norm\.weight is of type f16"):
        load(first)


@pytest.mark.parametrize(
    "name", ["A MODEL.GGUF", "mit Leerzeichen und ü.gguf", "no-ending", "日本.gguf", "a'b\"c$d.gguf"]
)
def test_odd_names(tmp_path: Path, tiny_model: Callable[..., Path], name: str) -> None:
    path = tmp_path / name
    shutil.copy(tiny_model(), path)
    with load(path) as llm:
        assert llm.info.path == str(path)
    linked = tmp_path / "link.gguf"
    linked.symlink_to(path)
    with load(linked) as llm:
        assert llm.info.path == str(linked)  # links are kept
        assert llm.info.name == "link"


def test_what_is_no_file(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    shutil.copy(tiny_model(), tmp_path / "a.gguf")
    with pytest.raises(
        ModelNotFoundError, match=r"is a directory: give the path of a file in it\. It contains a\.gguf"
    ):
        load(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("loop", "Too many levels"), ("pipe", "not a regular file"), ("none", "no such file")):
        with pytest.raises(ModelNotFoundError, match=words):
            load(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path: Path, tiny_model: Callable[..., Path]) -> None:
    path = tmp_path / "secret.gguf"
    shutil.copy(tiny_model(), path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads what it likes
        assert answer(path)
        return
    with pytest.raises(ModelLoadError, match="Permission denied"):
        load(path)
