"""Text against str: equal values from every method, and the marks of the characters they came from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from string import Formatter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from tea_llm.chat.provenance import SafeText, Text, concat, format_text, runs, trusted

OURS = "ab\n {}<"
THEIRS = "éö\t\r\u2028>'"
"""Two alphabets: a character tells by itself whether it has to be trusted, whatever was done to the text."""

SEPARATORS = ["a", "ab", "é", "éa", " ", "\n", "\t", "aé", "bb", ""]


def marked(value: str) -> Text:
    return concat(trusted(c) if c in OURS else c for c in value)


def is_ours(character: str) -> bool:
    return character.lower() in OURS


strings = st.text(OURS + THEIRS, max_size=12)
texts = st.builds(marked, strings)
separators = st.sampled_from(SEPARATORS)
counts = st.integers(-2, 4)


def flat(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    assert isinstance(value, (list, tuple))
    return list(value)


def check(got: object, expected: object, *, is_kept: bool = True) -> None:
    """Equal to what str gives, in the same shape; each character's mark as its alphabet says."""
    assert got == expected
    for piece, value in zip(flat(got), flat(expected), strict=True):
        assert not is_kept or type(piece) is Text
        assert "".join(text for text, _ in runs(piece)) == value
        for text, is_trusted in runs(piece):
            assert type(text) is str
            assert all(is_ours(c) == is_trusted for c in text) if is_kept else not is_trusted


METHODS: dict[str, Callable[[str, str, int], object]] = {
    "str": lambda s, _, __: str(s),
    "add": lambda s, x, _: s + x,
    "add plain": lambda s, _, __: s + "é",
    "plain add": lambda s, _, __: "ö" + s,
    "mul": lambda s, _, n: s * n,
    "rmul": lambda s, _, n: n * s,
    "index": lambda s, _, n: s[n] if -len(s) <= n < len(s) else s[:0],
    "slice": lambda s, x, n: s[n : len(x)],
    "stride": lambda s, _, n: s[:: n or -1],
    "iter": lambda s, _, __: list(s),
    "reversed": lambda s, _, __: list(reversed(s)),
    "join": lambda s, x, n: s.join([x] * max(n, 0)),
    "join pieces": lambda s, x, _: x.join(s.split("a")),
    "replace": lambda s, x, n: s.replace(x, x + x, n) if x else s,
    "replace by nothing": lambda s, x, n: s.replace("b", x[:0], n),
    "strip": lambda s, _, __: s.strip(),
    "lstrip": lambda s, _, __: s.lstrip(),
    "rstrip": lambda s, _, __: s.rstrip(),
    "strip chars": lambda s, x, _: s.strip(x),
    "lstrip chars": lambda s, x, _: s.lstrip(x),
    "rstrip chars": lambda s, x, _: s.rstrip(x),
    "removeprefix": lambda s, x, _: s.removeprefix(x),
    "removesuffix": lambda s, x, _: s.removesuffix(x),
    "split": lambda s, x, n: s.split(x or None, n),
    "split space": lambda s, _, n: s.split(None, n),
    "rsplit": lambda s, x, n: s.rsplit(x or None, n),
    "rsplit space": lambda s, _, n: s.rsplit(None, n),
    "splitlines": lambda s, _, __: s.splitlines(),
    "splitlines with ends": lambda s, _, __: s.splitlines(keepends=True),
    "partition": lambda s, x, _: s.partition(x or " "),
    "rpartition": lambda s, x, _: s.rpartition(x or " "),
    "upper": lambda s, _, __: s.upper(),
    "lower": lambda s, _, __: s.upper().lower(),
    "percent": lambda s, x, _: marked_like(s, "a%sb%s") % (s, x),
}


def marked_like(sample: str, value: str) -> str:
    """The value as a plain string or with marks, as the sample is."""
    return concat(trusted(value).split()) if isinstance(sample, Text) else value


@settings(derandomize=True, max_examples=100, deadline=None)
@given(strings, separators, counts)
@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_what_str_gives_and_keeps_the_marks(name: str, value: str, other: str, count: int) -> None:
    method = METHODS[name]
    check(method(marked(value), marked(other), count), method(value, other, count))


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.title(),
        lambda s: s.capitalize(),
        lambda s: s.swapcase(),
        lambda s: s.casefold(),
        lambda s: s.center(20),
        lambda s: s.ljust(20),
        lambda s: s.zfill(20),
        lambda s: s.expandtabs(),
        lambda s: s.translate({97: "b"}),
        lambda s: s.replace("", "-"),
        lambda s: f"{s:>20}",
        lambda s: repr(s),
    ],
)
@settings(derandomize=True, max_examples=30, deadline=None)
@given(strings)
def test_what_is_not_overridden_is_untrusted(call: Callable[[str], str], value: str) -> None:
    check(call(marked(value)), call(value), is_kept=False)


@pytest.mark.parametrize("value", ["ß", "aßb", "\u0130", "\ufb03x", "ŉ"])
def test_a_change_of_case_that_changes_the_length_is_untrusted(value: str) -> None:
    for changed in (value.upper(), value.lower()):
        got = trusted(value).upper() if changed == value.upper() else trusted(value).lower()
        assert got == changed
        assert runs(got) == [(changed, len(changed) == len(value))]


@settings(derandomize=True, deadline=None)
@given(texts, strings)
def test_it_is_the_string_it_stands_for(text: Text, other: str) -> None:
    plain = "".join(text)
    assert type(plain) is str
    counted: dict[str, int] = {text: 1}
    assert (text == plain, hash(text), len(text), counted[plain]) == (True, hash(plain), len(plain), 1)
    assert (text < other, other in text, text in other, text.find(other)) == (
        plain < other,
        other in plain,
        plain in other,
        plain.find(other),
    )


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(strings, st.booleans())))
def test_runs_are_the_longest_of_a_kind(pieces: list[tuple[str, bool]]) -> None:
    text = concat(trusted(value) if is_trusted else value for value, is_trusted in pieces)
    got = runs(text)
    assert [(c, kind) for piece, kind in got for c in piece] == [(c, kind) for piece, kind in pieces for c in piece]
    assert all(piece for piece, _ in got)
    assert all(left != right for (_, left), (_, right) in pairwise(got))


def test_a_text_is_untrusted_unless_it_is_told() -> None:
    assert runs(Text("x")) == runs("x") == [("x", False)]
    assert runs(Text(trusted("x"))) == [("x", False)]
    assert runs("") == []
    with pytest.raises(ValueError, match="the mask has 1 bytes for 2 characters"):
        Text("ab", b"\x01")


def test_errors_are_those_of_str() -> None:
    text: str = trusted("ab")
    for call in (
        lambda: text + 1,  # type: ignore[operator]
        lambda: 1 + text,  # type: ignore[operator]
        lambda: text * "2",  # type: ignore[operator]
        lambda: text.replace(None, "x"),  # type: ignore[arg-type]
        lambda: text.replace("a", 1),  # type: ignore[arg-type]
        lambda: text.split(1),  # type: ignore[arg-type]
        lambda: text.join([1]),  # type: ignore[list-item]
        lambda: concat(["a", 1]),  # type: ignore[list-item]
        lambda: text["x"],  # type: ignore[index]
        lambda: text % 1,
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match="empty separator"):
        text.split("")
    with pytest.raises(ValueError, match="empty separator"):
        text.partition("")


def test_a_template_sees_no_name_that_str_does_not_have() -> None:
    assert all(name.startswith("_") for name in set(dir(Text)) - set(dir(str)))
    assert all(name.startswith("_") for name in set(dir(SafeText)) - set(dir(Markup)))


@pytest.mark.parametrize(
    ("form", "args", "expected"),
    [
        ("<%s>", ("x",), [("<", True), ("x", False), (">", True)]),
        ("<%s>", "x", [("<", True), ("x", False), (">", True)]),
        ("%s%s", (trusted("<"), "x"), [("<", True), ("x", False)]),
        ("%d<%s>", (1, "x"), [("1<x>", False)]),
        ("%s%%", ("x",), [("x%", False)]),
        ("%%s", (), [("%s", False)]),
        ("<%(a)s>", {"a": "x"}, [("<x>", False)]),
    ],
)
def test_percent_keeps_the_marks_of_plain_fields_only(
    form: str, args: object, expected: list[tuple[str, bool]]
) -> None:
    got = trusted(form) % args
    assert got == form % args
    assert runs(got) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("<{}|{}>", [("<", True), ("x{}", False), ("|y>", True)]),
        ("<{1}{k}>", [("<yz>", True)]),
        ("{{{0}}}", [("{", True), ("x{}", False), ("}", True)]),
        ("<{0:>4}>", [("< x{}>", False)]),
        ("<{0!s}>", [("<x{}>", False)]),
        ("", []),
    ],
)
def test_format_keeps_the_marks_of_plain_fields_only(form: str, expected: list[tuple[str, bool]]) -> None:
    args, kwargs = ("x{}", trusted("y")), {"k": trusted("z")}
    value = form.format(*args, **kwargs)
    got = format_text(trusted(form), Formatter(), value, args, kwargs)
    assert got == value
    assert runs(got) == expected


def test_a_format_that_is_not_all_trusted_gives_nothing_trusted() -> None:
    assert runs(format_text(trusted("<") + "{}>", Formatter(), "<y>", (trusted("y"),), {})) == [("<y>", False)]


@settings(derandomize=True, deadline=None)
@given(strings, strings)
def test_safe_text_is_markup_with_marks(value: str, other: str) -> None:
    safe, markup = SafeText(marked(value)), Markup(value)  # noqa: S704
    for got, expected in ((safe + marked(other), markup + other), (marked(other) + safe, other + markup)):
        assert type(got) is SafeText
        assert (got, repr(got)) == (expected, repr(expected))
        shown = str(got)
        assert type(shown) is Text
        assert all(is_ours(c) for text, is_trusted in runs(shown) if is_trusted for c in text)
        if not set("<>'") & set(value + other):
            check(shown, str(expected))
    assert (safe * 2, safe.strip(), safe.join([other])) == (markup * 2, markup.strip(), markup.join([other]))
    assert runs(safe.strip() + "") == runs(str(markup.strip()))
