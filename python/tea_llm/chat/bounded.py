"""Chat templates that end, also in an interpreter that nothing can stop."""

from __future__ import annotations

import re

from jinja2 import Environment

__all__ = ["bounded"]

_NEWLINE = re.compile(r"\r\n?")
_COUNTER = "tea_llm_turns"
_MOST_TURNS = 4000
"""Of loops and macros together: far more than a few short messages need, and few enough for a stack."""

_COUNT = (
    f"{{% set {_COUNTER}.n = {_COUNTER}.n + 1 %}}{{% if {_COUNTER}.n > {_MOST_TURNS} %}}"
    "{{ raise_exception('too many turns') }}{% endif %}{{ '' }}"  # behind a block a newline would be lost
)


def bounded(source: str, environment: Environment) -> str:
    """The same template, but for an error when its loops and macros have taken thousands of turns together.

    llama.cpp's Jinja takes a recursive macro until the stack ends, and cannot be interrupted in a loop.

    Args:
        source: Jinja.
        environment: says how it is read.

    Raises:
        jinja2.TemplateSyntaxError: it is not Jinja.
    """
    source = _NEWLINE.sub("\n", source)  # as the lexer sees it
    pieces = [f"{{% set {_COUNTER} = namespace(n=0) %}}{{{{ '' }}}}"]
    position = 0
    name = None  # of the tag that is being read
    for _, kind, text in environment.lexer.tokeniter(source, None):
        end = source.index(text, position) + len(text)  # white space that a tag strips is no token
        pieces.append(source[position:end])
        position = end
        if kind == "block_begin":
            name = ""
        elif kind == "name" and name == "":
            name = text
        elif kind == "block_end":
            if name in ("for", "macro"):
                pieces.append(_COUNT)
            name = None
    return "".join([*pieces, source[position:]])
