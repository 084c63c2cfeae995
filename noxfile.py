"""What is not for every run: sanitizers and other Pythons. `nox -l` lists it; `make test` needs none of it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import nox

nox.options.sessions = []
BUILD_TOOLS = ("scikit-build-core>=1.1", "pybind11>=3.0", "cmake", "ninja", "pip")


@nox.session
def asan(session: nox.Session) -> None:
    """C++ and native tests under AddressSanitizer and UBSan."""
    _sanitize(session, "address,undefined", "libasan.so", {"ASAN_OPTIONS": "detect_leaks=0 handle_segv=0"})


@nox.session
def tsan(session: nox.Session) -> None:
    """C++ and native tests under ThreadSanitizer."""
    suppressions = f"suppressions={session.invoked_from}/csrc/tests/tsan.supp"
    _sanitize(session, "thread", "libtsan.so", {"TSAN_OPTIONS": f"{suppressions} report_signal_unsafe=0 handle_segv=0"})


@nox.session
def coverage(session: nox.Session) -> None:
    """The share of our Python and C++ (without kernels) that the tests run, in numbers; posargs go to pytest."""
    defines = {"TEA_LLM_COVERAGE": "ON", "TEA_LLM_WERROR": "ON"}
    build = _install_build(session, defines, build_type="Release")  # llama.cpp as `make build` has it: for ccache
    session.install("coverage==7.17.5", "gcovr==8.8")
    session.run("ctest", "--test-dir", build, "--output-on-failure")
    try:
        session.run("coverage", "run", "-m", "pytest", *session.posargs)
    finally:
        session.run("coverage", "combine", "--quiet")
        session.run("coverage", "report", "--skip-covered", "--sort=cover")
        others = ("--exclude", "csrc/tests/", "--exclude", "csrc/child/")  # the child ends without writing its counts
        session.run("gcovr", "--root", "csrc", *others, "--sort=uncovered-percent", build)


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy over our own C++, by the commands of `make build`."""
    session.install("clang-tidy==23.1.4")
    files = sorted(map(str, Path("csrc").glob("[!t]*/*.cpp"))) if not session.posargs else session.posargs
    # GCC's options; and its std::stable_sort, which uses what GCC itself calls deprecated.
    gcc_only = ("-Wno-unknown-warning-option", "-Wno-unused-command-line-argument", "-Wno-deprecated-declarations")
    session.run(
        "clang-tidy", "-p", "build/dev", "--quiet", "--removed-arg=-fno-gnu-unique",
        *(f"--extra-arg={option}" for option in gcc_only), *files,
    )  # fmt: skip


@nox.session
def soak(session: nox.Session) -> None:
    """Thousands of requests of every kind at once; posargs go to tests/soak.py."""
    _install(session, ".[dev]")
    session.run("python", "tests/soak.py", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Random input of every kind for TEA_LLM_FUZZ_MINUTES (default 20); posargs go to pytest."""
    _run_files(session, "fuzz")


@nox.session
def kernel_fuzz(session: nox.Session) -> None:
    """Random operators through our kernels against plain loops, for TEA_LLM_FUZZ_MINUTES (default 20)."""
    build = _install_build(session, {"TEA_LLM_WERROR": "ON"}, build_type="Release")  # as `make build`: for ccache
    end = time.monotonic() + 60 * float(os.environ.get("TEA_LLM_FUZZ_MINUTES", "20"))
    seed = 1
    while time.monotonic() < end:
        session.run(f"{build}/csrc/tests/fuzz_kernels", str(seed), "2000", external=True)
        seed += 1


@nox.session
def hostile(session: nox.Session) -> None:
    """Limits, namespaces, full disks and odd interpreters; some tests need root. posargs go to pytest."""
    _run_files(session, "hostile")


@nox.session
def structured(session: nox.Session) -> None:
    """A real model's answers under 100 schemas; posargs go to tests/structured.py."""
    _install(session, ".[dev]")
    session.run("python", "tests/structured.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """What `make wheel` built: every CPU variant, and company with llama-cpp-python. Needs qemu-user and the model."""
    session.install(*map(str, Path("wheelhouse").glob("*.whl")))
    session.run("python", "tests/wheel_variants.py")
    session.install("llama-cpp-python")
    session.run("python", "tests/wheel_company.py")


@nox.session
def frozen(session: nox.Session) -> None:
    """PyInstaller's programs, of one directory and of one file; posargs: a wheel to take instead of building one."""
    _install(session, *(session.posargs or ["."]), "pyinstaller", "gguf")
    session.run("python", "tests/frozen_program.py")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The whole suite on one Python, from an installed wheel."""
    _install(session, ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session(python="3.13t")
def free_threaded(session: nox.Session) -> None:
    """Many threads without a GIL: native tests on a free-threaded Python."""
    _install(session, ".", "numpy<2.4", "gguf", "hypothesis", "jsonschema", "pytest", "pytest-timeout")
    native = [f"tests/native/test_{name}.py" for name in ("engine", "sharing", "async", "embed", "select")]
    session.run("python", "-c", "import sys, tea_llm._core; assert not sys._is_gil_enabled()")
    session.run("pytest", "-p", "no:cacheprovider", "-W", "default", *(session.posargs or native))


def _install(session: nox.Session, *requirements: str) -> None:
    """With the tools and options of `make build`, so that ccache finds what that has compiled."""
    session.install(*BUILD_TOOLS)
    options = ("-Cbuild-dir=build/nox", "-Ccmake.define.TEA_LLM_WERROR=ON")
    session.install("--no-build-isolation", *options, *requirements)


def _run_files(session: nox.Session, kind: str) -> None:
    """The files `tests/KIND/KIND_*.py`, whose names keep them out of `make test`."""
    _install(session, ".[dev]")
    session.run("pytest", "-o", f"python_files={kind}_*.py", "--timeout=1800", f"tests/{kind}", *session.posargs)


def _install_build(session: nox.Session, defines: dict[str, str], build_type: str = "RelWithDebInfo") -> str:
    """Installs a build of its own, C++ tests included; returns its folder."""
    session.install(*BUILD_TOOLS)
    settings = [f"-Ccmake.define.{name}={value}" for name, value in {**defines, "TEA_LLM_TESTS": "ON"}.items()]
    build = f"build/{session.name}"
    session.install(
        "--no-build-isolation", f"-Cbuild-dir={build}", f"-Ccmake.build-type={build_type}", *settings, ".[dev]"
    )
    return build


def _sanitize(session: nox.Session, sanitizer: str, library: str, options: dict[str, str]) -> None:
    build = _install_build(session, {"TEA_LLM_SANITIZE": sanitizer})
    session.run("ctest", "--test-dir", build, "--output-on-failure", env=options)
    # The interpreter is not built with the sanitizer: its runtime has to be there first.
    # So has the C++ library, whose throw it wraps.
    paths = [
        subprocess.run(["cc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in (library, "libstdc++.so.6")
    ]
    preload = {"LD_PRELOAD": " ".join(paths)}
    names = ("engine", "sharing", "state", "long_prompts", "child", "memory", "parked", "answer_formats")
    files = session.posargs or [f"tests/native/test_{name}.py" for name in names]
    reports = Path(session.create_tmp()) / "report"  # pytest keeps what is written to stderr to itself
    name, given = next(iter(options.items()))
    try:
        session.run(
            "pytest",
            "-p",
            "no:cacheprovider",
            "--timeout=1500",
            # These two limit or measure memory, of which sanitizers use their own.
            "--deselect=tests/native/test_parked.py::test_a_past_that_has_no_memory_outside_is_forgotten",
            "--deselect=tests/native/test_sharing.py::test_a_long_context_costs_memory_only_when_it_is_used",
            *files,
            env={name: f"{given} log_path={reports.absolute()}"} | preload,
        )
    finally:
        for report in reports.parent.glob(f"{reports.name}.*"):
            session.log(report.read_text())
