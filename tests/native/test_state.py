"""Saved prefixes: what comes back is what was there, and a file that is not right is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

import tea_llm
from support.forged_state import forge
from support.process import run_python
from support.steps import EXACT, assert_equal, steps, submit
from tea_llm import EngineClosedError, LocalLlmBackend, StateFileError

PROMPT = list(range(20, 170))
OTHER = list(range(300, 200, -1))


@pytest.fixture
def llm(tiny_model: Callable[..., Path]) -> LocalLlmBackend:
    return tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1)


@pytest.fixture
def saved(llm: LocalLlmBackend, tmp_path: Path) -> Path:
    """The state after two requests."""
    for prompt in (PROMPT, OTHER):
        llm.call(prompt, max_tokens=2, ignore_eos=True)
    assert llm.save_state(tmp_path / "state") == len(PROMPT) + len(OTHER) + 2
    return tmp_path / "state"


@pytest.mark.parametrize("arch", ["llama", "qwen2", "gemma3", "phi3", "mamba"])
def test_what_was_computed_is_there_again(tiny_model: Callable[..., Path], tmp_path: Path, arch: str) -> None:
    def load() -> LocalLlmBackend:
        return tea_llm.load(tiny_model(arch), n_ctx=1024, n_threads=1, **EXACT)

    with load() as first:
        answer = [best[0] for best, _ in steps(first, PROMPT, 10)]
        longer = [*PROMPT, *answer, 7]
        expected = steps(first, longer, 30)
        first.call(OTHER, max_tokens=2)
    with load() as first:
        steps(first, PROMPT, 10)
        first.call(OTHER, max_tokens=2)
        n_saved = first.save_state(tmp_path / "state")
    with load() as second:
        assert second.load_state(tmp_path / "state") == n_saved == second.stats().cells_idle
        result = submit(second, longer, 30).wait()
        assert result.n_cached == len(PROMPT) + 9
        assert_equal(result.top_logits, expected)
        assert second.load_state(tmp_path / "state") >= 0  # once more, beside what is there
        assert_equal(submit(second, longer, 30).wait().top_logits, expected)


def test_saving_beside_requests_that_run(llm: LocalLlmBackend, tmp_path: Path) -> None:
    with llm, llm.stream(PROMPT, max_tokens=300, ignore_eos=True) as stream:
        next(stream)
        assert llm.save_state(tmp_path / "state") == 0
        assert llm.load_state(tmp_path / "state") == 0
        assert stream.result.finish_reason == "length"


def test_what_has_no_room_is_left_out(tiny_model: Callable[..., Path], saved: Path) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=256, n_parallel=1, n_threads=1) as llm:
        assert llm.load_state(saved) == len(OTHER) + 1 + len(PROMPT) + 1
    with tea_llm.load(tiny_model("llama"), n_ctx=200, n_parallel=1, n_threads=1) as llm:
        with llm.stream(PROMPT[:100], max_tokens=50, ignore_eos=True) as stream:
            next(stream)
            assert llm.load_state(saved) in (0, len(OTHER) + 1)
        assert llm.call("Hello", max_tokens=3, ignore_eos=True).tokens_used == 3


def test_shared_prefixes_are_held_once_again(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    prefix = list(range(20, 270))
    prompts = [[*prefix, *range(300 + 10 * i, 310 + 10 * i)] for i in range(8)]
    with tea_llm.load(tiny_model("llama", n_ctx_train=4096), n_ctx=1024, n_threads=1, **EXACT) as llm:
        expected = [steps(llm, [*prompt, 7], 10) for prompt in prompts]
    with tea_llm.load(tiny_model("llama", n_ctx_train=4096), n_ctx=1024, n_threads=1, **EXACT) as llm:
        for prompt in prompts:
            llm.call(prompt, max_tokens=1)
        used = llm.stats().cells_idle
        assert used < 600
        llm.save_state(tmp_path / "state")
    with tea_llm.load(tiny_model("llama", n_ctx_train=4096), n_ctx=4096, n_threads=1, **EXACT) as llm:
        kept = list(range(400, 300, -1))
        llm.call(kept, max_tokens=1)
        assert llm.load_state(tmp_path / "state") == 8 * 260
        assert llm.stats().cells_idle == used + 100
        for prompt, one in zip(prompts, expected, strict=True):
            result = submit(llm, [*prompt, 7], 10).wait()
            assert result.n_cached == 260
            assert_equal(result.top_logits, one)
        assert submit(llm, [*kept, 7], 1).wait().n_cached == 100  # what was there was not forgotten for it


def test_a_model_file_that_was_replaced(tiny_model: Callable[..., Path], tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(tiny_model("llama").read_bytes())
    with tea_llm.load(model, n_ctx=256, n_threads=1) as llm:
        llm.call(PROMPT, max_tokens=1)
        other = tmp_path / "other.gguf"
        other.write_bytes(tiny_model("llama", seed=5).read_bytes())
        other.replace(model)
        for use in (llm.save_state, llm.load_state):
            with pytest.raises(StateFileError, match="has changed since it was loaded"):
                use(tmp_path / "state")


def test_a_foreign_file_is_refused(tiny_model: Callable[..., Path], saved: Path, tmp_path: Path) -> None:
    for path in (tiny_model("llama", seed=5), tiny_model("qwen2")):
        with tea_llm.load(path, n_ctx=512, n_threads=1) as other, pytest.raises(StateFileError, match="another model"):
            other.load_state(saved)
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1, cache_type_k="f32") as other:
        with pytest.raises(StateFileError, match="parameters.*f16.*f32"):
            other.load_state(saved)
        assert other.call("Hello", max_tokens=2).tokens_used
    (tmp_path / "text").write_text("state")
    (tmp_path / "empty").write_bytes(b"")
    with tea_llm.load(tiny_model("llama"), n_ctx=512, n_threads=1) as llm:
        for name in ("text", "empty"):
            with pytest.raises(StateFileError, match="not a state file"):
                llm.load_state(tmp_path / name)
        with pytest.raises(FileNotFoundError):
            llm.load_state(tmp_path / "nothing")


def test_a_damaged_file_is_refused(llm: LocalLlmBackend, saved: Path) -> None:
    whole = saved.read_bytes()
    chance = random.Random(1)
    cuts = [whole[:n] for n in (1, 16, 20, 30, 60, 1000, len(whole) - 33, len(whole) - 1)]
    flips = []
    for _ in range(60):
        place = chance.randrange(len(whole))
        flips.append(whole[:place] + bytes([whole[place] ^ 1 << chance.randrange(8)]) + whole[place + 1 :])
    with llm:
        before = llm.stats().cells_idle
        for damaged in [*cuts, *flips, whole + b"x"]:
            saved.write_bytes(damaged)
            with pytest.raises(StateFileError):
                llm.load_state(saved)
        assert llm.stats().cells_idle == before
        saved.write_bytes(whole)
        assert llm.load_state(saved) > 0


@pytest.mark.parametrize(
    "added",
    [[[0, 0]], [[0, 5]], [[5, 0]], [[-1, 4]], [[2**62, 4]], [[True, True]], [[1.0, 4]], [[1]], [["1", 4]], ["ab"]],
    ids=str,
)
def test_sizes_that_are_not_those_of_the_file(llm: LocalLlmBackend, saved: Path, added: list[object]) -> None:
    """[[0, 0]], a past of no tokens, was taken once, and the next request ended the process."""
    saved.write_bytes(
        forge(saved.read_bytes(), lambda header, body: (header | {"sizes": header["sizes"] + added}, body))
    )
    with llm, pytest.raises(StateFileError, match="sizes"):
        llm.load_state(saved)


@pytest.mark.parametrize("header", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"{}", b'{"sizes": 5}'], ids=str)
def test_a_header_that_is_not_right(llm: LocalLlmBackend, saved: Path, header: bytes) -> None:
    saved.write_bytes(forge(saved.read_bytes(), lambda _, body: (header, body)))
    with llm:
        with pytest.raises(StateFileError, match="damaged|belongs to another"):
            llm.load_state(saved)
        assert llm.call(PROMPT, max_tokens=2, ignore_eos=True).tokens_used == 2


def test_tokens_that_the_model_does_not_have(llm: LocalLlmBackend) -> None:
    with llm:
        llm.call(PROMPT, max_tokens=2, ignore_eos=True)
        ((tokens, state),) = llm._engine.save_pasts()
        for wrong, message in (([], "no tokens"), ([-1, *tokens[1:]], "-1"), ([*tokens[:-1], 10**6], "1000000")):
            with pytest.raises(ValueError, match=message):
                llm._engine.load_pasts([(wrong, state)])
        assert llm._engine.load_pasts([(tokens, state)]) == len(tokens)


def test_a_state_that_lies_about_its_length(llm: LocalLlmBackend) -> None:
    """Not from a file that save_state wrote: llama.cpp reads it, and its last position is wrong."""
    with llm:
        llm.call(PROMPT, max_tokens=2, ignore_eos=True)
        ((tokens, state),) = llm._engine.save_pasts()
        for wrong in ((tokens[:-1], state), (tokens, state[:-1]), (tokens, b""), (tokens, state + b"x")):
            with pytest.raises(ValueError, match="refuses"):
                llm._engine.load_pasts([wrong])
        assert llm.call(PROMPT, max_tokens=2, ignore_eos=True).usage.cached_tokens == len(PROMPT) - 1


@pytest.mark.parametrize("how", ["killed", "disk full"])
def test_an_older_file_stays_whole(tiny_model: Callable[..., Path], saved: Path, how: str) -> None:
    before = saved.read_bytes()
    child = run_python(
        """
        import os, resource, signal, sys
        import tea_llm
        model, path, how = sys.argv[1:]
        with tea_llm.load(model, n_ctx=512, n_threads=1) as llm:
            llm.call(list(range(30, 400)), max_tokens=2, ignore_eos=True)
            if how == "killed":
                os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
            else:
                resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
            try:
                llm.save_state(path)
            except OSError as error:
                print("OSError")
        """,
        args=[str(tiny_model("llama")), str(saved), how],
    )
    assert child.returncode == (-9 if how == "killed" else 0), child.stderr
    assert child.stdout == ("" if how == "killed" else "OSError\n")
    assert saved.read_bytes() == before
    if how == "disk full":
        assert [file.name for file in saved.parent.iterdir()] == ["state"]


def test_a_closed_model_saves_and_loads_nothing(llm: LocalLlmBackend, saved: Path) -> None:
    llm.close()
    for use in (llm.save_state, llm.load_state):
        with pytest.raises(EngineClosedError):
            use(saved)
