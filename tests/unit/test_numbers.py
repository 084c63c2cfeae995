"""Numbers between bounds: every text of some length, against arithmetic."""

from __future__ import annotations

import re
from decimal import Decimal
from itertools import product

import pytest

from tea_llm.grammar.numbers import INTEGER, NUMBER, integers_between, numbers_between

WHOLE = [-1001, -1000, -999, -90, -11, -10, -9, -1, 0, 1, 4, 9, 10, 11, 56, 99, 100, 101, 1234]
PARTS = ["-2.5", "-0.35", "-0.05", "0", "0.05", "0.305", "0.35", "1", "1.5", "9.99", "12.3"]
TEXTS = [
    f"{sign}{whole}{fraction}"
    for sign, whole, fraction in product(
        ("", "-"),
        ["0", "1", "2", "9", "10", "12", "13", "99", "00", "01"],
        ["", ".", *(f".{''.join(digits)}" for n in (1, 2, 3) for digits in product("01359", repeat=n))],
    )
]
VALUES = {
    text: Decimal(text)
    for text in TEXTS
    if re.fullmatch(r"(?!-0\.?0*$)-?(0|[1-9]\d*)(\.\d+)?", text)  # -0 is 0
}


def matcher(*alternatives: str) -> re.Pattern[str]:
    """GBNF as these functions write it, as a regular expression."""
    return re.compile("|".join(one.replace('"."', r"\.").replace('"', "").replace(" ", "") for one in alternatives))


@pytest.mark.parametrize("low", [None, *WHOLE])
@pytest.mark.parametrize("high", [None, *WHOLE])
def test_ranges_of_integers(low: int | None, high: int | None) -> None:
    pattern = matcher(*(integers_between(low, high) or ["(?!)"]))
    for number in {*range(-1100, 1300), -(10**17), 10**17, 12345678}:
        is_within = (low is None or number >= low) and (high is None or number <= high)
        assert bool(pattern.fullmatch(str(number))) == is_within, number
    assert not any(pattern.fullmatch(text) for text in ("", "-", "-0", "00", "01", "1.", "1.0"))


@pytest.mark.parametrize("low", [None, *PARTS])
@pytest.mark.parametrize("high", [None, *PARTS])
def test_ranges_of_numbers(low: str | None, high: str | None) -> None:
    least, most = (None if bound is None else Decimal(bound) for bound in (low, high))
    for excludes_low, excludes_high in product((False, True), repeat=2):
        found = numbers_between(least, most, excludes_low=excludes_low, excludes_high=excludes_high)
        pattern = matcher(*(found or ["(?!)"]))
        for text in TEXTS:
            value = VALUES.get(text)
            is_within = (
                value is not None
                and (least is None or (value > least if excludes_low else value >= least))
                and (most is None or (value < most if excludes_high else value <= most))
            )
            assert bool(pattern.fullmatch(text)) == is_within, text


def test_a_fraction_of_a_bound_is_not_rounded_over_it() -> None:
    pattern = matcher(*numbers_between(Decimal(0), Decimal("0.1"), excludes_high=True))
    assert pattern.fullmatch("0.0999999")
    assert not pattern.fullmatch("0.09999999999999999999")


@pytest.mark.parametrize("text", ["0", "-1", "12", "123456789012345678"])
def test_any_integer(text: str) -> None:
    assert matcher(INTEGER).fullmatch(text)


@pytest.mark.parametrize("text", ["0", "-0.5", "12.5e-3", "1E10", "-0"])
def test_any_number(text: str) -> None:
    assert matcher(NUMBER).fullmatch(text)


def test_digits_that_a_float_drops_do_not_reach_an_excluded_bound() -> None:
    bound = "4.124959533119196"
    pattern = matcher(*numbers_between(None, Decimal(bound), excludes_high=True))
    assert not pattern.fullmatch("4.1249595331191959999999")  # the same float
    assert pattern.fullmatch("4.124959533119195")
    pattern = matcher(*numbers_between(Decimal(bound), None, excludes_low=True))
    assert not pattern.fullmatch("4.1249595331191960000001")
    assert pattern.fullmatch("4.124959533119197")
