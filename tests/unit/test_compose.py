"""Grammars put together from others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.answer_grammar import AnswerGrammar
from tea_llm.grammar.compose import excluding

WORDS = st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, max_size=3)


@given(WORDS, st.booleans(), st.lists(st.text("abc<", max_size=7), max_size=20))
def test_texts_without_words(words: list[str], is_unbegun: bool, texts: list[str]) -> None:
    grammar = AnswerGrammar("root ::= text\n" + excluding("text", words, words[:1] if is_unbegun else []))
    begun = [words[0][:length] for length in range(1, len(words[0]))] if is_unbegun else []
    for text in texts:
        is_right = not any(word in text for word in words) and not any(text.endswith(one) for one in begun)
        assert grammar.takes(text) == is_right, (text, words)
