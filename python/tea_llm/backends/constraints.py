"""What the text of a local model's answer must match, from whichever option says so."""

from __future__ import annotations

from tea_llm.backends.options import GenerationOptions

__all__ = ["grammar_of"]


def grammar_of(options: GenerationOptions) -> str:
    """GBNF; empty: any text.

    Raises:
        GrammarError: it cannot be written as a grammar.
    """
    if options.response_format is not None:
        return options.response_format.grammar()
    if options.regex is not None:
        from tea_llm.grammar.regex import regex_to_gbnf

        return regex_to_gbnf(options.regex)
    return options.grammar or ""
