"""Chat templates that end, also in an interpreter that nothing can stop."""

from __future__ import annotations

import re

from jinja2 import Environment

__all__ = ["bounded"]

_NEWLINE = re.compile(r"\r\n?")
_COUNTS = "tea_llm_counts"
_MAX_TURNS = 20_000
"""Of loops and macros together."""
_MAX_DEPTH = 100
"""Macros inside of each other."""

_BEGIN = f"{{% set {_COUNTS} = namespace(turns=0, depth=0) %}}{{{{ '' }}}}"  # behind a block a newline would be lost
_CHECK = (
    f"{{% if {_COUNTS}.turns > {_MAX_TURNS} or {_COUNTS}.depth > {_MAX_DEPTH} %}}"
    "{{ raise_exception('a loop or a macro without end') }}{% endif %}{{ '' }}"
)
_TURN = f"{{% set {_COUNTS}.turns = {_COUNTS}.turns + 1 %}}"
_DEEPER = f"{{% set {_COUNTS}.depth = {_COUNTS}.depth + 1 %}}"
_BACK = f" set {_COUNTS}.depth = {_COUNTS}.depth - 1 %}}"
_BEHIND = {"for": _TURN + _CHECK, "macro": _TURN + _DEEPER + _CHECK}


def bounded(source: str, environment: Environment) -> str:
    """The same template, but for an error when its loops turn or its macros call each other far too often.

    llama.cpp's Jinja takes a recursive macro until the stack ends, and cannot be interrupted in a loop.

    Args:
        source: Jinja.
        environment: says how it is read.

    Raises:
        jinja2.TemplateSyntaxError: it is not Jinja.
    """
    source = _NEWLINE.sub("\n", source)  # as the lexer sees it
    pieces = [_BEGIN]
    position = begin = 0
    name = None  # of the tag that is being read
    for _, kind, text in environment.lexer.tokeniter(source, None):
        end = source.index(text, position) + len(text)  # white space that a tag strips is no token
        if kind == "block_begin":
            name = ""
            pieces.append(source[position : end - len(text)])
            begin, position = len(pieces), end - len(text)
        elif kind == "name" and name == "":
            name = text
            if name == "endmacro":
                pieces.insert(begin, pieces[begin] + _BACK)  # strips the same white space
        pieces.append(source[position:end])
        position = end
        if kind == "block_end":
            pieces.append(_BEHIND.get(name or "", ""))
            name = None
    return "".join([*pieces, source[position:]])
