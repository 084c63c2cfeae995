"""What an answer of a local model must match, from whichever option says so."""

from __future__ import annotations

from tea_llm.backends.options import GenerationOptions
from tea_llm.chat.tools import call_schema

__all__ = ["grammar_of"]


def grammar_of(options: GenerationOptions) -> str:
    """GBNF; empty: the answer is free.

    Raises:
        GrammarError: it cannot be written as a grammar.
        ValueError: two options that cannot both hold; a ``tool_choice`` that is none of the tools.
    """
    if options.tool_choice not in (None, "auto", "none"):
        for name in ("grammar", "regex", "response_format"):
            if getattr(options, name) is not None:
                raise ValueError(f"tool_choice={options.tool_choice!r} and {name} exclude each other")
        from tea_llm.grammar.schema import schema_to_gbnf

        return schema_to_gbnf(call_schema(options.tools, options.tool_choice or "required"))
    if options.response_format is not None:
        return options.response_format.grammar()
    if options.regex is not None:
        from tea_llm.grammar.regex import regex_to_gbnf

        return regex_to_gbnf(options.regex)
    return options.grammar or ""
