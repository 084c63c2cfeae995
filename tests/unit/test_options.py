"""Options are checked before anything runs, and the error names what was given."""

from __future__ import annotations

import math

import pytest

from tea_llm.backends.options import GenerationOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", -1),
        ("max_tokens", 2**31),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", 10**400),
        ("top_p", 1.5),
        ("top_p", math.nan),
        ("top_k", -1),
        ("top_k", 2**40),
        ("min_p", -1),
        ("seed", -1),
        ("seed", 2**64),
        ("timeout", -1),
        ("timeout", 0),
        ("timeout", math.nan),
        ("timeout", 10**400),
        ("stop", ["a", ""]),
        ("stop", "a\ud800"),
    ],
)
def test_values_out_of_range(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=name):
        GenerationOptions.checked({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_tokens", 1.5),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("temperature", "hot"),
        ("temperature", None),
        ("top_k", 1.0),
        ("seed", "x"),
        ("stop", 5),
        ("stop", [5]),
        ("ignore_eos", 1),
        ("timeout", "soon"),
    ],
)
def test_values_of_a_wrong_type(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        GenerationOptions.checked({name: value})


def test_an_unknown_option_names_the_nearest() -> None:
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        GenerationOptions.checked({"temprature": 1})
    with pytest.raises(TypeError, match="there are max_tokens"):
        GenerationOptions.checked({"zzz": 1})


def test_what_is_not_given_has_its_default() -> None:
    assert GenerationOptions.checked({}) == GenerationOptions()
    assert GenerationOptions.checked({"stop": "x"}).stop == ("x",)
    assert (
        GenerationOptions.checked({"stop": None, "max_tokens": None, "seed": None, "timeout": None}).max_tokens is None
    )
    assert GenerationOptions.checked({"temperature": 1}).temperature == 1.0
