"""JSON numbers between bounds, as GBNF.

The grammar compares a number with its bounds digit by digit. The remaining digits are limited, so that rounding to a
float cannot move the number past a bound.
"""

from __future__ import annotations

import math
from decimal import Decimal

__all__ = ["INTEGER", "NUMBER", "integers_between", "numbers_between"]

INTEGER = '("0" | "-"? [1-9] [0-9]{0,17})'
NUMBER = '"-"? ("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?'

_MAX_DIGITS = 18  # digits of an integer without an upper bound
_MORE = "[0-9]{0,6}"  # fraction digits after the comparison is decided
_FRACTION = '("." [0-9]{1,6})?'


def integers_between(low: int | None, high: int | None) -> list[str]:
    """GBNF alternatives for integers from ``low`` to ``high`` inclusive; None: no bound. Empty if there are none."""
    found = []
    if low is None or low < 0:
        min_size, max_size = max(1, -high) if high is not None else 1, None if low is None else -low
        found += [f'"-" {digits}' for digits in _magnitudes(min_size, max_size)]
    if high is None or high >= 0:
        found += _magnitudes(max(0, low or 0), high)
    return found


def numbers_between(
    low: Decimal | None, high: Decimal | None, *, excludes_low: bool = False, excludes_high: bool = False
) -> list[str]:
    """As ``integers_between``, for numbers without an exponent."""
    if low is not None and excludes_low and _is_long(low):
        low, excludes_low = _next_float(low, math.inf), False
    if high is not None and excludes_high and _is_long(high):
        high, excludes_high = _next_float(high, -math.inf), False
    if low == math.inf or high == -math.inf:  # no float is beyond the bound
        return []
    found = []
    zero = Decimal(0)
    if low is None or low < 0:
        min_size, excludes_min = (-high, excludes_high) if high is not None and high < 0 else (zero, True)
        max_size = None if low is None else -low
        found += [f'"-" {digits}' for digits in _decimals(min_size, max_size, excludes_min, excludes_low)]
    if high is None or high >= 0:
        min_size, excludes_min = (low, excludes_low) if low is not None and low >= 0 else (zero, False)
        found += _decimals(min_size, high, excludes_min, excludes_high)
    return found


def _is_long(bound: Decimal) -> bool:
    """Whether a float may drop the digits that follow the bound's own, and so equal the bound."""
    return len(bound.as_tuple().digits) > 8


def _next_float(bound: Decimal, towards: float) -> Decimal:
    return Decimal(repr(math.nextafter(float(bound), towards)))


def _magnitudes(low: int, high: int | None) -> list[str]:
    """GBNF alternatives for an unsigned integer; neither bound is negative."""
    if high is None:
        n = max(_MAX_DIGITS, len(str(low)) + 1)
        return [*_magnitudes(low, 10 ** len(str(low)) - 1), f"[1-9] [0-9]{{{len(str(low))},{n - 1}}}"]
    found = []
    for n in range(len(str(low)), len(str(high)) + 1):
        low_n, high_n = max(low, 10 ** (n - 1) if n > 1 else 0), min(high, 10**n - 1)
        if low_n <= high_n:
            found += _same_length(str(low_n), str(high_n))
    return found


def _same_length(low: str, high: str) -> list[str]:
    """GBNF alternatives from ``low`` to ``high``, which have the same length."""
    n_after = len(low) - 1
    if low[1:] == "0" * n_after and high[1:] == "9" * n_after:
        return [_digits(low[0], high[0]) + (f" [0-9]{{{n_after}}}" if n_after else "")]
    if low[0] == high[0]:
        return [f'"{low[0]}" {rest}' for rest in _same_length(low[1:], high[1:])]
    found = [f'"{low[0]}" {rest}' for rest in _same_length(low[1:], "9" * n_after)]
    if int(low[0]) + 1 < int(high[0]):
        found.append(f"{_digits(int(low[0]) + 1, int(high[0]) - 1)} [0-9]{{{n_after}}}")
    return found + [f'"{high[0]}" {rest}' for rest in _same_length("0" * n_after, high[1:])]


def _decimals(low: Decimal, high: Decimal | None, excludes_low: bool, excludes_high: bool) -> list[str]:
    """GBNF alternatives for an unsigned number; neither bound is negative."""
    if high is not None and (low > high or (low == high and (excludes_low or excludes_high))):
        return []
    whole_low, low_digits = int(low), _fraction(low)
    whole_high, high_digits = (int(high), _fraction(high)) if high is not None else (None, "")
    if whole_low == whole_high:
        return _fractions(whole_low, _between(low_digits, high_digits, excludes_low, excludes_high))
    found = _fractions(whole_low, _at_least(low_digits, excludes_low))
    if whole_high is None or whole_low + 1 < whole_high:
        max_whole = None if whole_high is None else whole_high - 1
        found += [f"{digits} {_FRACTION}" for digits in _magnitudes(whole_low + 1, max_whole)]
    if whole_high is not None:
        found += _fractions(whole_high, _at_most(high_digits, excludes_high))
    return found


def _fraction(number: Decimal) -> str:
    """The digits after the decimal point, without trailing zeros."""
    return f"{number:f}".partition(".")[2].rstrip("0")


def _fractions(whole: int, tails: list[str]) -> list[str]:
    """Numbers from a whole part and alternatives for the fraction digits; "" omits the decimal point."""
    return [f'"{whole}" "." {tail}' if tail else f'"{whole}"' for tail in tails]


# The functions below compare digits after the decimal point with those of a bound. Each returns alternatives for the
# digit strings that satisfy the bound; "" is the empty string.


def _at_least(bound: str, excludes: bool) -> list[str]:
    if not bound:
        return ['"0"{0,6} [1-9] ' + _MORE] if excludes else ["", "[0-9] " + _MORE]
    return [f'"{bound[0]}" {rest}'.rstrip() for rest in _at_least(bound[1:], excludes)] + _from(int(bound[0]) + 1, 9)


def _at_most(bound: str, excludes: bool) -> list[str]:
    if not bound:
        return [] if excludes else ["", '"0"{1,6}']
    rests = _at_most(bound[1:], excludes)
    return ["", *(f'"{bound[0]}" {rest}'.rstrip() for rest in rests), *_from(0, int(bound[0]) - 1)]


def _between(low: str, high: str, excludes_low: bool, excludes_high: bool) -> list[str]:
    if not low and not high:
        return ["", '"0"{1,6}']  # the caller has checked that the bounds are included
    if not low:
        return ([""] if not excludes_low else []) + [one for one in _positive(high, excludes_low, excludes_high) if one]
    first, last = low[0], high[0]
    if first == last:
        rests = _between(low[1:], high[1:], excludes_low, excludes_high)
        return [f'"{first}" {rest}'.rstrip() for rest in rests]
    return [
        *(f'"{first}" {rest}'.rstrip() for rest in _at_least(low[1:], excludes_low)),
        *_from(int(first) + 1, int(last) - 1),
        *(f'"{last}" {rest}'.rstrip() for rest in _at_most(high[1:], excludes_high)),
    ]


def _positive(high: str, excludes_zero: bool, excludes_high: bool) -> list[str]:
    """At most ``high``, and above 0 if ``excludes_zero``."""
    if not excludes_zero:
        return _at_most(high, excludes_high)
    if high[0] == "0":
        return [f'"0" {rest}' for rest in _positive(high[1:], True, excludes_high) if rest]
    rests = _at_most(high[1:], excludes_high)
    found = [f'"{high[0]}" {rest}'.rstrip() for rest in rests] + _from(1, int(high[0]) - 1)
    return [*found, '"0"{1,6} [1-9] ' + _MORE]


def _from(first: int, last: int) -> list[str]:
    return [f"{_digits(first, last)} {_MORE}"] if first <= last else []


def _digits(first: int | str, last: int | str) -> str:
    return f'"{first}"' if str(first) == str(last) else f"[{first}-{last}]"
