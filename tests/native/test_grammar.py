"""Answers that match a grammar or a regular expression, whatever the model would rather say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tea_llm
from support.process import assert_raises_in_child
from tea_llm import GrammarError, LocalLlmBackend
from tea_llm.grammar.regex import regex_to_gbnf

JSON = r"""
root ::= object
object ::= "{" pair ("," pair)* "}"
pair ::= string ":" value
value ::= string | number | object
string ::= "\"" [a-z]{0,8} "\""
number ::= [1-9] [0-9]{0,3}
"""


@pytest.fixture(scope="module")
def llm(tiny_model: Callable[..., Path]) -> Iterator[LocalLlmBackend]:
    with tea_llm.load(tiny_model("llama"), n_ctx=1024, n_parallel=4, n_threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("options", [{"temperature": 0}, {}, {"temperature": 1.5, "top_k": 0, "top_p": 1, "min_p": 0}])
@pytest.mark.parametrize(
    "pattern",
    [
        r"yes|no|maybe",
        r"\d{4}-\d{2}-\d{2}",
        r"^[A-Z][a-z]{2,9}( [A-Z][a-z]+){1,2}\.$",
        r"(ab?c*){3}|[^a-z\n]{5,7}",
        r"\(\+?\d{1,3}\) \"\w+\" \\ \[\]",
        r"über (naïve|日本語|😀)+",
        r".{3}\s\S\D",
        r"(a|b|)c",
    ],
)
def test_a_finished_answer_matches(llm: LocalLlmBackend, pattern: str, options: dict[str, float]) -> None:
    for seed in range(4):
        result = llm.call("Hello", regex=pattern, max_tokens=200, seed=seed, **options)  # type: ignore[arg-type]
        if result.finish_reason == "stop":
            assert re.fullmatch(pattern, result.content), result.content
    assert result.finish_reason == "stop" or "+" in pattern or "*" in pattern


def test_json_of_a_grammar(llm: LocalLlmBackend) -> None:
    n_finished = 0
    for seed in range(10):
        result = llm.chat([{"role": "user", "content": "x"}], grammar=JSON, max_tokens=300, temperature=1.4, seed=seed)
        assert result.content.startswith("{")
        if result.finish_reason == "stop":
            json.loads(result.content)
            n_finished += 1
    assert n_finished > 3


def test_requests_keep_their_own_grammar(llm: LocalLlmBackend) -> None:
    streams = [llm.stream("Hello", regex=f"({digit}){{30}}", max_tokens=100) for digit in "1234"]
    for digit, stream in zip("1234", streams, strict=True):
        assert stream.result.content == digit * 30
    result = llm.call("Hello", regex="[ab]{5}", n=3, temperature=1.5, max_tokens=50)
    assert all(re.fullmatch("[ab]{5}", choice.content) for choice in result.choices)


def test_mirostat_chooses_from_what_is_allowed(llm: LocalLlmBackend) -> None:
    """With next to no surprise wanted, the best of those, though another one is hardly less likely."""
    a, b, c = (llm.tokenize("b" + letter)[-1] for letter in "abc")
    chance_a, chance_b = (float(llm.score([*llm.tokenize("Hello"), letter])[-1]) for letter in (a, b))
    bias = {a: 1001.0, b: 1000.0 + chance_a - chance_b, c: 1020.0}

    def texts(**options: Any) -> set[str]:
        return {llm.call("Hello", regex="[ab]", logit_bias=bias, seed=i, **options).content for i in range(40)}

    assert texts(mirostat=2, mirostat_tau=0.01) == {"a"}
    assert texts(temperature=1) == {"a", "b"}


def test_a_grammar_holds_with_prompt_lookup(tiny_model: Callable[..., Path]) -> None:
    with tea_llm.load(tiny_model("llama"), n_ctx=1024, n_threads=1, prompt_lookup=8) as llm:
        result = llm.call("abab" * 20, regex="(ab){20}", max_tokens=100, temperature=0)
        assert result.content == "ab" * 20
        assert llm.stats().right_guesses > 0


def test_an_end_that_is_not_allowed_is_no_answer(llm: LocalLlmBackend) -> None:
    with pytest.raises(GrammarError, match="allows no token"):
        llm.call("Hello", regex="ab", ignore_eos=True, max_tokens=50)


def test_a_dead_end_harms_nobody_else(llm: LocalLlmBackend) -> None:
    with llm.stream("Hello", max_tokens=300, ignore_eos=True) as beside:
        next(beside)
        for _ in range(5):
            with pytest.raises(GrammarError):
                llm.call("Hello", regex="ab", ignore_eos=True, max_tokens=50)
        assert beside.result.tokens_used == 300


@pytest.mark.parametrize("pattern", ["(", "a{3000}", r"(a)\1", "(?=a)b", "(?i)a", r"a\bc", "(?i:a)", "[^\\s\\S]"])
def test_what_no_grammar_can_express(llm: LocalLlmBackend, pattern: str) -> None:
    with pytest.raises(GrammarError):
        llm.call("Hello", regex=pattern)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(a{3000})b", "{3000} in a regular expression is too large: repeat at most 2000 times"),
        ("a{5,3000}", "{5,3000} in"),
        ("a{2001,}", "{2001,} in"),
        ("(a{1000}){1000}", "regex='(a{1000}){1000}' is too large for llama.cpp's grammars: repeat less"),
    ],
)
def test_what_is_too_large_is_named(llm: LocalLlmBackend, pattern: str, words: str) -> None:
    with pytest.raises(GrammarError, match=re.escape(words)):
        llm.call("Hello", regex=pattern)
    with pytest.raises(GrammarError, match=re.escape(words)):
        llm.chat([{"role": "user", "content": "Hello"}], regex=pattern)


def test_constraints_exclude_each_other(llm: LocalLlmBackend) -> None:
    with pytest.raises(ValueError, match="grammar and regex exclude each other"):
        llm.call("Hello", grammar=JSON, regex="a")


@pytest.mark.parametrize(
    "grammar",
    ["", "x ::= 'a'", "root ::= y", "root ::= " + "(" * 20000, 'root ::= "a"{5000}', "root ::= root", "\0"],
    ids=["empty", "no-root", "undefined", "deep", "repeats", "left-recursive", "nul"],
)
def test_a_grammar_that_is_none(tiny_model: Callable[..., Path], grammar: str) -> None:
    """In a process of its own, which lives on."""
    code = f"""
        import sys, tea_llm
        llm = tea_llm.load(sys.argv[1], n_ctx=256, n_threads=1)
        llm.call("Hello", grammar={grammar!r} or " ", max_tokens=5)
    """
    after = "assert llm.call('Hello', max_tokens=2, ignore_eos=True).tokens_used == 2"
    assert_raises_in_child(code, "GrammarError", after=after, args=[str(tiny_model("llama"))])


@pytest.mark.parametrize(
    ("grammar", "message"),
    [
        ("# nothing else", "no rule named root"),
        ('root ::= "a" y', "no rule named y"),
        ('root ::= "a"\ny ::= "b" )\n', r"expecting newline or end in line 2, at '\)'"),
        ("root ::= (", "in line 1, at its end"),
        ('\n\nroot ::= "' + "é" * 50, "in line 3|unexpected end"),
        ('root ::= "a" ) ' + "é" * 50, r"at '\) é{19}\.\.\.'"),
        ('root ::= a "x"\na ::= b | "y"\nb ::= root', "rule root begins with itself"),
        ('root ::= "a"{5000}', "number of repetitions"),
        ("root ::= <no such token>", "no such token"),
    ],
)
def test_what_is_wrong_with_a_grammar(llm: LocalLlmBackend, grammar: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message) as caught:
        llm.call("Hello", grammar=grammar, max_tokens=5)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("grammar", ['root ::= "a"', '\r\n \t# c [\r\n#\nroot ::= "a"\n#', 'a ::= "a"\nroot ::= a\n'])
def test_comments_and_space_around_rules(llm: LocalLlmBackend, grammar: str) -> None:
    assert llm.call("Hello", grammar=grammar, max_tokens=5).content == "a"


def test_gbnf_of_a_pattern() -> None:
    assert regex_to_gbnf("a+[^b-d]?|é") == 'root ::= (("a")+ ([\\x01-ae-\\uD7FF\\uE000-\\U0010FFFF])? | "\\u00E9")\n'
