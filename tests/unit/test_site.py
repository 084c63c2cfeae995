"""The documentation's pages: all in the navigation, all public names in the reference, the command line's page true."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import tea_llm
from support.cli_page import PAGE, cli_page
from support.prose import code_in, problem_with
from tea_llm.backends.options import SAMPLING, Options

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
GENERATED = {"benchmarks.md", "changelog.md"}  # docs/hooks.py


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in pages(part)]


def test_every_page_is_in_the_navigation_once() -> None:
    named = pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(there | GENERATED)


def test_every_public_name_is_in_the_reference() -> None:
    text = "".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    assert "tea_llm.errors" in shown  # the whole module
    for name in set(tea_llm.__all__) - {"__version__"}:
        value = getattr(tea_llm, name)
        is_error = isinstance(value, type) and issubclass(value, Exception)
        assert is_error or f"tea_llm.{name}" in shown, name


PROSE = [ROOT / "README.md", *(page for page in sorted(DOCS.glob("*.md")) if page.name != "architecture.md")]


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_code_in_the_text_names_what_there_is(page: Path) -> None:
    problems = {code: problem for code in code_in(page.read_text()) if (problem := problem_with(code))}
    assert problems == {}


def test_code_in_the_text_is_looked_at() -> None:
    assert sum(problem_with(code) is None for page in PROSE for code in code_in(page.read_text())) > 500
    assert list(code_in("a `b` c\n```python\n`d`\n```\n`e.f`")) == ["b", "e.f"]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("tea_llm.hub.pul('x')", "has no 'pul'"),
        ("llm.info.kernel", "llm.info has no 'kernel'"),
        ("stats().thread", "has no 'thread'"),
        ("result.usage.cached", "has no 'cached'"),
        ("load(n_ctxx=1)", "load does not take n_ctxx"),
        ("llm.chat(messages, topk=1)", "does not take topk"),
        ("embed(text, normalise=True)", "does not take normalise"),
        ("AnwserCutError", "there is no AnwserCutError"),
        ("GenerationTimeoutError.partly", "has no 'partly'"),
        ("unload()", "there is no function 'unload'"),
        ("await flow.brun(state)", "has no 'brun'"),
    ],
)
def test_a_name_that_is_wrong_is_found(code: str, problem: str) -> None:
    assert problem in str(problem_with(code))


def test_the_page_of_the_command_line_is_the_commands_own() -> None:
    assert PAGE.read_text(encoding="utf-8") == cli_page(), "python tests/support/cli_page.py writes it anew"


def test_the_page_of_sampling_names_every_option_of_it() -> None:
    named = set(re.findall(r"`(\w+)`", (DOCS / "sampling.md").read_text()))
    assert {*SAMPLING, "logit_bias", "seed"} <= named


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("`Llama(...)`", set(inspect.signature(tea_llm.load).parameters)),
        ("`create_completion`", set(Options.__annotations__)),
    ],
)
def test_the_migration_page_names_what_there_is(heading: str, known: set[str]) -> None:
    section = (DOCS / "migration.md").read_text().split(f"### {heading}")[1].split("###")[0]
    rows = [row.split("|")[1:3] for row in section.splitlines() if row.startswith("| `")]
    assert len(rows) > 10
    names = set(dir(tea_llm.LocalLlmBackend)) | {"LlmCallResult", "Tokenizer", "tea_llm", "pooling"} | known
    for there, here in rows:
        ours = there if here.strip().startswith("the same") else here
        for name in re.findall(r"`([a-z_]+)(?:=[^`]*)?`", ours):
            assert name in names, f"{there}: {name}"
