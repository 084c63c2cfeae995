"""What is not for every run: sanitizers and other Pythons. `nox -l` lists it; `make test` needs none of it."""

from __future__ import annotations

import nox

nox.options.sessions = []
BUILD_TOOLS = ("scikit-build-core>=1.1", "pybind11>=3.0", "cmake", "ninja", "pip")


@nox.session
@nox.parametrize("sanitizer", ["asan", "tsan"])
def sanitize(session: nox.Session, sanitizer: str) -> None:
    """The C++ unit tests under AddressSanitizer with UBSan, or ThreadSanitizer."""
    session.install(*BUILD_TOOLS)
    pybind11 = session.run("python", "-m", "pybind11", "--cmakedir", silent=True)
    session.run("cmake", "--preset", sanitizer, f"-Dpybind11_DIR={str(pybind11).strip()}")
    session.run("cmake", "--build", "--preset", sanitizer)
    session.run("ctest", "--test-dir", f"build/{sanitizer}", "--output-on-failure")


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """The whole suite on one Python, from an installed wheel."""
    session.install(".[dev]")
    session.run("pytest", *session.posargs)
